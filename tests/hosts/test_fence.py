"""After a fence nobody has heard, or hears, that a waiting commit was done. With real mysqld."""

import json
from typing import Any

import pytest

from lab import image
from tests.hosts.test_guard import COPY, HOSTS, INSIDE

pytestmark = pytest.mark.usefixtures("machine_image")

SOON = 0.6
"""Seconds within which clients are cut; a lease's margin is 1."""
CLOSED = (
    "a_commit_waits",
    "an_administrators_commit_waits",
    "many_commits_wait",
    "a_transaction_is_open",
    "a_table_is_locked",
    "everything_is_locked",
    "a_replica_is_frozen",
    "another_fence_is_under_way",
    "many_are_idle",
)
KILLED = ("mysqld_is_frozen", "another_process_is_changing_the_role")


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """What came of a fence in each case."""
    ready = f"{COPY} mkdir -p /run/mysqld; chown mysql /run/mysqld;"
    done = image.run(
        ["sh", "-ec", f"{ready} exec python3 /srv/inside/closing.py"],
        {INSIDE: "/srv/inside", HOSTS: "/srv/hosts"},
        timeout=180,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    for case, result in found.items():
        assert "error" not in result, f"{case}: {result}"
        fence = result.get("fence", {})
        print(f"{case}: {fence.get('how')} in {result.get('took')} s, {fence.get('steps')}")
    return found


@pytest.mark.parametrize("case", CLOSED)
def test_mysqld_is_closed_and_goes_on_for_readers_when(case: str, found: dict[str, Any]) -> None:
    result = found[case]
    if result["fence"]["how"] == "killed":
        # Rightly so where the rest takes too long, as on a machine that is busy with other tests.
        assert result["took"] >= SOON, result
        assert_nobody_heard(result)
        return
    assert result["fence"]["how"] == "read-only", result
    assert result["fence"]["steps"]["cut the clients"] < SOON
    assert result["state"] == {
        "super_read_only": 1,
        "offline_mode": 0,
        "rpl_semi_sync_source_enabled": 0,
    }
    assert "1290" in result["a new write"]
    assert_nobody_heard(result)


@pytest.mark.parametrize("case", KILLED)
def test_mysqld_is_killed_when(case: str, found: dict[str, Any]) -> None:
    result = found[case]
    assert result["fence"]["how"] == "killed", result
    assert result["took"] < SOON + 1.0
    assert_nobody_heard(result)


def assert_nobody_heard(result: dict[str, Any]) -> None:
    heard = [*result["heard"], *result.get("heard after its acknowledgement", [])]
    heard += [result["later"]] if "later" in result else []
    assert "OK" not in heard
    assert "" not in heard, "somebody still waits for an answer"


def test_agent_and_guard_that_find_at_once_that_the_lease_is_gone_kill_nothing(
    found: dict[str, Any],
) -> None:
    assert found["a_replica_is_frozen"]["another fence"] == ["read-only"]


def test_a_mysqld_that_is_not_there_is_closed(found: dict[str, Any]) -> None:
    assert found["mysqld_is_not_there"]["fence"]["how"] == "absent"


def test_whoever_waits_would_hear_of_it_if_clients_were_not_cut_first(
    found: dict[str, Any],
) -> None:
    assert found["clients_are_not_cut"]["heard"] == ["OK"]
