"""Certificates change under load, at both ends of a load balancer: real HAProxy and gunicorn."""

import json
from pathlib import Path
from typing import Any

import pytest

from components import new_secret
from hosts.base.certificate import certificates
from hosts.load_balancer.render import haproxy_cfg
from lab import image
from tests.hosts import values

pytestmark = pytest.mark.usefixtures("machine_image")

INSIDE = Path(__file__).parent / "inside"
HOSTS = Path(__file__).parents[2] / "hosts"


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What clients saw: see tests/hosts/inside/swap.py."""
    folder = tmp_path_factory.mktemp("swap")
    one, other = (new_secret.self_signed(["127.0.0.1"]) for _ in range(2))
    given = {
        "certificates": [one, other, new_secret.self_signed(["127.0.0.1"])],
        "mismatch": new_secret.private_key() + certificates(one),
        "authorities": [
            new_secret.certificate_authority(f"authority {number}") for number in range(2)
        ],
        "database": new_secret.certificate_authority(),
    }
    (folder / "given.json").write_text(json.dumps(given))
    text = haproxy_cfg(
        values.facts("load-balancer"),
        values.load_balancer_options(connections=1000, limits=values.UNLIMITED),
    )
    (folder / "haproxy.cfg").write_text(text)
    done = image.run(
        ["python3", "/srv/inside/swap.py"],
        {
            HOSTS: "/opt/site/hosts",
            INSIDE: "/srv/inside",
            folder / "given.json": "/srv/given.json",
            folder / "haproxy.cfg": "/srv/haproxy.cfg",
        },
        timeout=240,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_a_new_certificate_is_shown_at_once_and_costs_no_connection(seen: Any) -> None:
    swaps = seen["swaps"]
    assert swaps["failed"] == []
    assert swaps["sent"] > 400
    assert swaps["each was shown to new connections"]
    assert swaps["the connection from before"] == "HTTP/1.1 200 OK"
    assert swaps["without a reload"]


def test_what_is_no_certificate_is_not_served_and_said(seen: Any) -> None:
    first, trouble = seen["of nonsense"].splitlines()
    assert first == "self-signed certificate: 824 days left"
    assert trouble == "the certificate stays: a certificate in PEM was expected"
    assert seen["of another key"].endswith(
        "the certificate stays: the key is not the certificate's"
    )
    assert seen["kept"]
    assert seen["well again"] == first


def test_a_reload_that_read_the_old_file_is_noticed(seen: Any) -> None:
    assert seen["a reload in between"] == [False, True]


def test_gunicorn_takes_a_renewed_certificate_without_a_lost_request(seen: Any) -> None:
    server = seen["application server"]
    assert server["failed"] == []
    assert server["sent"] >= 300
    assert server["another one"]
    assert server["the same processes"]


def test_the_application_servers_authority_is_exchanged_without_a_lost_request(seen: Any) -> None:
    exchange = seen["authorities"]
    assert exchange["failed"] == []
    assert exchange["sent"] >= 180
    assert exchange["nothing new, no reload"]
    assert len(exchange["detail"].splitlines()) == 1, exchange["detail"]


@pytest.mark.parametrize("what", ["of the database's authority", "for another name"])
def test_a_server_that_is_no_application_server_gets_nothing(seen: Any, what: str) -> None:
    assert seen[f"a server with a certificate {what}"] == "refused"
