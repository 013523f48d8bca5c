"""Writes go to the primary, arrive on the replica, and are read from there."""

import json

import pytest

from tests.lab import traffic
from tests.lab.site import Site, eventually


@pytest.fixture
def primary(site: Site) -> str:
    """Whichever leads now."""
    return traffic.send(site.url, traffic.entry()).headers["x-database"]


@pytest.fixture
def replica(site: Site, primary: str) -> str:
    """The other one."""
    (other,) = {machine.name for machine in site.machines("database")} - {primary}
    return other


def test_a_write_is_on_the_replica_and_is_read_from_there(
    site: Site, primary: str, replica: str
) -> None:
    with traffic.Client(site.url, keep_alive=True) as client:
        entry = traffic.entry()
        written = client.send(entry)
        assert written.status == 201, written
        assert written.headers["x-database"] == primary
        cookie = written.headers["set-cookie"].split(";")[0]
        read = client.send(traffic.Request(path="/api/entries", headers={"Cookie": cookie}))
    assert read.headers["x-database"] == replica
    assert entry.id in json.dumps(read.json())
    query = f"SELECT COUNT(*) FROM site.entries WHERE message = '{entry.id}'"  # noqa: S608
    assert site.rows(replica, query) == [["1"]]


def test_a_reader_always_finds_what_it_wrote_itself(site: Site) -> None:
    for _ in range(50):
        entry = traffic.entry()
        written = traffic.send(site.url, entry)
        cookie = written.headers["set-cookie"].split(";")[0]
        read = traffic.send(
            site.url, traffic.Request(path="/api/entries", headers={"Cookie": cookie})
        )
        assert entry.id in json.dumps(read.json()), f"{written} then {read}"


def test_both_servers_hold_the_same_transactions(site: Site, primary: str, replica: str) -> None:
    def same() -> bool:
        sets = [site.rows(name, "SELECT @@global.gtid_executed") for name in (primary, replica)]
        return sets[0] == sets[1] != [[""]]

    eventually("equal GTID sets", same, 30)


WRITE = """
import pymysql, sys
password = sys.stdin.read()
try:
    connection = pymysql.connect(
        host={host!r}, user={user!r}, password=password, ssl={{"check_hostname": False}},
    )
    connection.query("INSERT INTO site.entries (name, message) VALUES ('nobody', 'nowhere')")
except pymysql.MySQLError as refusal:
    print("refused", refusal)
else:
    print("written")
"""


@pytest.mark.parametrize("account", ["application", "replication", "monitor"])
def test_the_replica_refuses_writes_from_every_account(
    site: Site, primary: str, replica: str, account: str
) -> None:
    """With the account's real password, from where it may connect: refused by the server itself."""
    source = "app-server-1" if account == "application" else primary
    program = WRITE.format(host=site.machine(replica).address, user=account)
    password = site.secret(f"/site/lab/database/{account}-password")
    said = site.run(source, "python3", "-c", program, given=password)
    assert said.startswith("refused"), said
    assert "read-only" in said, said


def test_the_replica_refuses_writes_from_its_own_administrator(site: Site, replica: str) -> None:
    statement = "INSERT INTO site.entries (name, message) VALUES ('nobody', 'nowhere')"
    said = site.run(replica, "sh", "-c", f'mysql -e "{statement}" 2>&1; echo "status $?"')
    assert "super-read-only" in said, said
    assert "status 1" in said, said


@pytest.mark.parametrize("variable", ["super_read_only", "read_only"])
def test_only_the_primary_is_writable(
    site: Site, primary: str, replica: str, variable: str
) -> None:
    query = f"SELECT @@global.{variable}"
    assert site.rows(primary, query) == [["0"]]
    assert site.rows(replica, query) == [["1"]]


def test_connections_without_tls_are_refused(site: Site) -> None:
    with_tls = WRITE.format(host="127.0.0.1", user="application").replace(
        "INSERT", "EXPLAIN INSERT"
    )
    without = with_tls.replace('ssl={"check_hostname": False}', "ssl_disabled=True")
    password = site.secret("/site/lab/database/application-password")
    assert site.run("app-server-1", "python3", "-c", with_tls, given=password) == "written\n"
    said = site.run("app-server-1", "python3", "-c", without, given=password)
    assert "Access denied" in said, said
