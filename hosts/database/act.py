"""How each step of a database machine is done."""

import logging
import time
from collections.abc import Mapping
from pathlib import Path

from hosts.base import services
from hosts.database import accounts
from hosts.database.certificate import AUTHORITY
from hosts.database.mysql import Account, MySQLError, local, remote
from hosts.database.observe import UNIT

log = logging.getLogger("database")

COPYING = 6 * 3600.0
"""Seconds that a CLONE may take."""
RESTART = 300.0
"""Seconds that mysqld may take to come back after one."""
ACCESS_DENIED = 1045


class ActionError(Exception):
    """A step was not done."""


def start() -> None:
    """Starts mysqld; does not wait for it."""
    services.run("systemctl", "reset-failed", UNIT)
    services.systemctl("start", "--no-block", UNIT)


def open_for_writes(schema: str, passwords: Mapping[str, str]) -> None:
    """Makes this mysqld the primary, with its accounts as they are to be."""
    with local(30) as session:
        session.run("STOP REPLICA")
        session.run("RESET REPLICA ALL")
        session.run("SET GLOBAL super_read_only = OFF")
        session.run("SET GLOBAL read_only = OFF")
        accounts.ensure(session, schema, passwords)
        for user in ("application", "replication"):
            if not _accepts(Account(user, passwords[user])):
                accounts.change_password(session, user, passwords[user])
                log.info("the account %s has a new password", user)


def _accepts(account: Account) -> bool:
    try:
        remote("127.0.0.1", account, AUTHORITY, 3).close()
    except MySQLError as error:
        if error.args and error.args[0] == ACCESS_DENIED:
            return False
        raise
    return True


def close_for_writes() -> None:
    """Lets nobody write here."""
    with local(10) as session:
        session.run("SET GLOBAL super_read_only = ON")


def resume(account: Account) -> None:
    """Goes on replicating from where it replicated from."""
    with local(10) as session:
        session.run("START REPLICA USER = %s PASSWORD = %s", account.user, account.password)


def follow(address: str, account: Account, authority: Path = AUTHORITY) -> None:
    """Replicates from the primary at this address."""
    with local(30) as session:
        session.run("STOP REPLICA")
        session.run(
            "CHANGE REPLICATION SOURCE TO SOURCE_HOST = %s, SOURCE_PORT = 3306,"
            " SOURCE_AUTO_POSITION = 1, SOURCE_SSL = 1, SOURCE_SSL_CA = %s,"
            " SOURCE_SSL_VERIFY_SERVER_CERT = 1, SOURCE_CONNECT_RETRY = 1,"
            " SOURCE_RETRY_COUNT = 0, SOURCE_HEARTBEAT_PERIOD = 1",
            address,
            str(authority),
        )
    # Its password is not stored on the disk: the agent gives it at each start.
    resume(account)


def copy(address: str, account: Account) -> None:
    """Replaces this mysqld's data by the primary's. mysqld restarts at the end of it."""
    began = time.monotonic()
    with local(COPYING) as session:
        session.run("STOP REPLICA")
        session.run("RESET REPLICA ALL")
        session.run("SET GLOBAL clone_valid_donor_list = %s", f"{address}:3306")
        # CLONE refuses under super_read_only; read_only stays, and clients have no accounts yet.
        session.run("SET GLOBAL super_read_only = OFF")
        try:
            session.run(
                "CLONE INSTANCE FROM %s@%s:3306 IDENTIFIED BY %s REQUIRE SSL",
                account.user,
                address,
                account.password,
            )
        except MySQLError as error:
            # The session ends with mysqld; whether the copy is whole is asked of the next one.
            log.info("CLONE: %s", error)
    if not services.wait_until(_copied, RESTART, every=0.5):
        message = f"the copy of the database at {address} did not come up"
        raise ActionError(message)
    log.info("copied the database at %s in %.1f s", address, time.monotonic() - began)


def _copied() -> bool:
    try:
        with local() as session:
            state, number, message = session.row(
                "SELECT STATE, ERROR_NO, ERROR_MESSAGE FROM performance_schema.clone_status"
            )
    except (MySQLError, ValueError):
        return False
    if state == "Failed":
        text = f"CLONE failed: {number} {message}"
        raise ActionError(text)
    return state == "Completed"
