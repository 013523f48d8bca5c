"""The steps of a machine that follows the primary."""

import logging
import os
import time
from pathlib import Path

from pymysql.constants import CR

from hosts.base import services
from hosts.database import semisync, volume
from hosts.database.certificate import AUTHORITY
from hosts.database.mysql import Account, MySQLError, Row, Session, local

log = logging.getLogger("database")

COPYING = 6 * 3600.0
"""Seconds that a CLONE may take."""
RESTART = 300.0
"""Seconds that mysqld may take to come back after one."""
ENDS_WITH_MYSQLD = (CR.CR_SERVER_GONE_ERROR, CR.CR_SERVER_LOST, 3707)
"""The errors of a CLONE that is done. 3707: mysqld has nobody who starts it again, so it says."""
UNFINISHED = volume.MOUNT / "copy-unfinished"
"""There from before a CLONE drops the tables here until it is whole: whatever ends in between, an
agent or a machine, a set of transactions without their tables is not taken for a database."""


class ActionError(Exception):
    """A step was not done."""


def resume(account: Account, *, yes: bool) -> None:
    """Goes on replicating from where it replicated from, and acknowledges what arrives or not."""
    with local(10) as session:
        session.run("SET GLOBAL rpl_semi_sync_replica_enabled = %s", int(yes))
        session.run("START REPLICA USER = %s PASSWORD = %s", account.user, account.password)
        session.run("SET GLOBAL binlog_expire_logs_auto_purge = ON")


def follow(address: str, account: Account, authority: Path = AUTHORITY, *, yes: bool) -> None:
    """Replicates from the primary at this address. What was received and not applied goes."""
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
    resume(account, yes=yes)


def stop() -> None:
    """Neither receives nor applies."""
    with local(30) as session:
        session.run("STOP REPLICA")


def acknowledge(account: Account, *, yes: bool) -> None:
    """Acknowledges to the primary what arrives, or stops that: said when connecting anew."""
    with local(10) as session:
        session.run("SET GLOBAL rpl_semi_sync_replica_enabled = %s", int(yes))
        if semisync.received(session) is None:
            return
        session.run("STOP REPLICA IO_THREAD")
        session.run(
            "START REPLICA IO_THREAD USER = %s PASSWORD = %s", account.user, account.password
        )


def copy(address: str, account: Account) -> None:
    """Replaces this mysqld's data by the primary's. mysqld restarts at the end of it."""
    began = time.monotonic()
    with local(COPYING) as session:
        # Nobody reads here meanwhile; CLONE refuses under super_read_only, read_only stays.
        session.run("SET GLOBAL offline_mode = ON")
        session.run("STOP REPLICA")
        session.run("RESET REPLICA ALL")
        session.run("SET GLOBAL clone_valid_donor_list = %s", f"{address}:3306")
        session.run("SET GLOBAL super_read_only = OFF")
        session.run("SET GLOBAL read_only = ON")
        before, marked = last_copy(session), UNFINISHED.exists()
        _mark()
        # After its restart mysqld has another UUID. Else it would count on from what the primary
        # has of it, and give new transactions the numbers of those that are dropped here.
        (volume.DATA / "auto.cnf").unlink(missing_ok=True)
        try:
            session.run(
                "CLONE INSTANCE FROM %s@%s:3306 IDENTIFIED BY %s REQUIRE SSL",
                account.user,
                address,
                account.password,
            )
        except MySQLError as error:
            # The session ends with mysqld; whether the copy is whole is asked of the next one.
            if error.args[0] not in ENDS_WITH_MYSQLD:
                if not marked and untouched(before):
                    UNFINISHED.unlink()
                message = f"CLONE failed: {error}"
                raise ActionError(message) from error
            log.info("CLONE: %s", error)
    if not services.wait_until(lambda: _copied(before), RESTART, every=0.5):
        message = f"the copy of the database at {address} did not come up"
        raise ActionError(message)
    UNFINISHED.unlink(missing_ok=True)
    log.info("copied the database at %s in %.1f s", address, time.monotonic() - began)


def _mark() -> None:
    with UNFINISHED.open("wb") as mark:
        os.fsync(mark.fileno())
    folder = os.open(UNFINISHED.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def last_copy(session: Session) -> Row:
    """What mysqld knows of the last CLONE, also of one before its restart."""
    rows = session.rows(
        "SELECT STATE, ERROR_NO, ERROR_MESSAGE, BEGIN_TIME FROM performance_schema.clone_status"
    )
    return rows[0] if rows else ("", 0, "", None)


def untouched(before: Row) -> bool:
    """Whether a CLONE that failed dropped nothing: it did not begin, or not with that."""
    try:
        with local() as session:
            dropped = session.rows(
                "SELECT STATE FROM performance_schema.clone_progress WHERE STAGE = 'DROP DATA'"
            )
            # There is no line of any stage when the donor refused the connection.
            return last_copy(session) == before or dropped in ([], [("Not Started",)])
    except MySQLError:
        return False


def _copied(before: Row) -> bool:
    try:
        with local() as session:
            now = last_copy(session)
    except MySQLError:
        return False
    state, number, message, _ = now
    if now == before:
        return False
    if state == "Failed":
        text = f"CLONE failed: {number} {message}"
        raise ActionError(text)
    return state == "Completed"
