"""A real exchange with an ACME authority, pebble, through the site's own HAProxy."""

import json
from pathlib import Path
from typing import Any

import pytest

from components import new_secret
from hosts.load_balancer.render import haproxy_cfg
from lab import image
from tests.hosts import values

pytestmark = pytest.mark.usefixtures("machine_image")

INSIDE = Path(__file__).parent / "inside"
HOSTS = Path(__file__).parents[2] / "hosts"


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What happened: see tests/hosts/inside/ordering.py."""
    folder = tmp_path_factory.mktemp("acme")
    given = {
        "certificate": new_secret.self_signed(["127.0.0.1", "www.site.test"]),
        "account": new_secret.private_key(),
        "authority": new_secret.certificate_authority("site application server authority"),
        "pebble": new_secret.certificate_authority("pebble's own"),
    }
    (folder / "given.json").write_text(json.dumps(given))
    text = haproxy_cfg(
        values.facts("load-balancer"),
        values.load_balancer_options(acme=values.ACME, connections=1000, limits=values.UNLIMITED),
    )
    (folder / "haproxy.cfg").write_text(text)
    done = image.run(
        ["python3", "/srv/inside/ordering.py"],
        {
            HOSTS: "/opt/site/hosts",
            INSIDE: "/srv/inside",
            INSIDE.parent / "fakes.py": "/srv/fakes.py",
            folder / "given.json": "/srv/given.json",
            folder / "haproxy.cfg": "/srv/haproxy.cfg",
        },
        timeout=240,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_every_load_balancer_answers_for_a_token_and_for_nothing_else(seen: Any) -> None:
    assert seen["answers"] == {
        "a token": True,
        "a short one": "404",
        "a long one": "404",
        "in a folder": "404",
        "none": "404",
        "elsewhere": "301",
    }


def test_one_machine_orders_the_first_certificate_and_all_serve_it(seen: Any) -> None:
    first = dict(seen["first"])
    assert first.pop("certificates") >= 2, "with what leads to its authority"
    assert first.pop("detail").startswith("certificate: ")
    assert first == {
        "orders": 1,
        "trouble": ["", ""],
        "for the domain": True,
        "self-signed": False,
        "served": True,
        "due": "",
        "the key is another than the account's": True,
        "verified by pebble's root": True,
    }


def test_it_is_renewed_with_the_account_that_there_is(seen: Any) -> None:
    assert seen["renewed"] == {"orders": 1, "another one": True, "trouble": ""}


def test_a_site_that_is_not_seen_costs_no_order(seen: Any) -> None:
    assert seen["not seen"].startswith("no certificate is ordered yet: http://elsewhere.site.test/")


def test_what_the_authority_says_against_it_is_said_and_nothing_changes(seen: Any) -> None:
    assert "next order is at" in seen["refused"]
    assert "elsewhere.site.test" in seen["refused"]
    assert seen["refused, kept"]
    assert "next order is at" in seen["away"]
    assert "localhost" in seen["away"]
