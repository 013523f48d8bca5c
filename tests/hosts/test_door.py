"""An address is emptied before it goes: with real HAProxy and nftables of the machine image."""

import json
from typing import Any

import pytest

from hosts.load_balancer.door import AFTER_RELOAD, WAIT
from lab import image
from tests.hosts.test_guard import COPY, HOSTS, INSIDE

pytestmark = pytest.mark.usefixtures("machine_image")


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """What became of clients."""
    done = image.run(
        ["sh", "-ec", f"{COPY} exec python3 /srv/inside/leaving.py"],
        {INSIDE: "/srv/inside", HOSTS: "/srv/hosts"},
        timeout=60,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def test_new_connections_are_kept_off_and_the_other_address_is_not_touched(
    found: dict[str, Any],
) -> None:
    case = found["with everybody connected"]
    assert not case["reached"]
    assert case["the other is reached"]
    assert case["on the other"] == "HTTP/1.1 200 OK"


def test_who_comes_meanwhile_waits_and_is_answered(found: dict[str, Any]) -> None:
    (waited,) = found["with everybody connected"]["the one that came late"]
    assert waited >= 0.9
    assert found["with everybody connected"]["reached again"]


def test_connections_end_with_their_answers(found: dict[str, Any]) -> None:
    case = found["with everybody connected"]
    assert case["kept alive"].startswith("HTTP/1.1 200 OK")
    assert "connection: close" in case["kept alive"].lower()
    assert case["HTTP/2 is told"]
    assert case["in flight"].startswith("HTTP/1.1 200 OK")
    assert case["connections"] == 0
    assert case["empty after"] < WAIT


def test_an_idle_client_is_not_waited_for_for_long(found: dict[str, Any]) -> None:
    case = found["with somebody idle"]
    assert WAIT <= case["waited"] < WAIT + AFTER_RELOAD + 1.0
    assert case["left"] == 1


def test_without_a_connection_nothing_is_waited_for_nor_reloaded(found: dict[str, Any]) -> None:
    assert found["with nobody"]["waited"] < 1.0
    assert not found["with nobody"]["reloaded"]


def test_rules_that_somebody_flushed_are_made_again(found: dict[str, Any]) -> None:
    assert not found["after a flush"]["reached"]
    assert "expires" in found["after a flush"]["table"], "no address is shut for ever"


def test_a_program_that_begins_lets_everybody_in(found: dict[str, Any]) -> None:
    assert found["made anew"]["reached"]
