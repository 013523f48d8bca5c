"""Semi-synchronous replication on the primary: who is waited for, and who counts."""

import logging
import re
from collections.abc import Sequence

from hosts.database.mysql import MySQLError, Session, local
from hosts.database.observe import joined
from hosts.database.pair import Pair

log = logging.getLogger("database")

REPLICATION = "replication"
"""The account of the replicas."""
PATIENCE = 3.0
"""Seconds that a transaction of our own may wait for its acknowledgement."""


def received(session: Session) -> str | None:
    """What a replica has received; None if it is none."""
    rows = session.rows(
        "SELECT s.RECEIVED_TRANSACTION_SET"
        " FROM performance_schema.replication_connection_configuration c"
        " JOIN performance_schema.replication_connection_status s USING (CHANNEL_NAME)"
        " WHERE CHANNEL_NAME = '' AND c.HOST <> ''"
    )
    return joined(rows[0][0]) if rows else None


def everything(session: Session) -> str:
    """All transactions that were written here: done, or waiting to be acknowledged."""
    executed, owned = session.row("SELECT @@global.gtid_executed, @@global.gtid_owned")
    # Of those that are under way it says by which thread: ``uuid:23#45``.
    waiting = re.sub(r"#\d+", "", joined(owned))
    return ",".join(part for part in (joined(executed), waiting) if part)


def stop_receiving(session: Session) -> str | None:
    """What a replica has received, and nothing more comes; None if it is none."""
    if received(session) is None:
        return None
    # After a restart of mysqld nobody has applied what it received before.
    session.run("START REPLICA SQL_THREAD")
    session.run("STOP REPLICA IO_THREAD")
    return received(session)


def needed(now: Pair, in_sync: frozenset[str], me: str) -> int:
    """The acknowledgements that a commit needs: one of everyone else in sync.

    mysqld counts those of one who is joining as well, and they must not stand for another's.
    """
    others = in_sync - {me}
    if now.mode == "asynchronous" or not others:
        return 0
    return len(others) + bool(now.joining and now.joining not in in_sync)


def wait_for(session: Session, replicas: int) -> None:
    """Lets commits wait for this many acknowledgements."""
    if replicas:
        session.run("SET GLOBAL rpl_semi_sync_source_wait_for_replica_count = %s", replicas)
    session.run("SET GLOBAL rpl_semi_sync_source_enabled = %s", int(bool(replicas)))


def commit_something() -> None:
    """A transaction that changes nothing."""
    try:
        with local(PATIENCE) as session:
            session.run("DROP DATABASE IF EXISTS `_nothing`")
    except (MySQLError, OSError) as error:
        log.info("a transaction that changes nothing: %s", error)


def shut_out(session: Session, addresses: Sequence[str]) -> None:
    """Ends the connections of replicas, and lets them not connect again, on this server alone.

    mysqld counts the acknowledgements of whoever is connected. One that is not in sync and does
    not know it yet would stand for another that is.
    """
    if addresses:
        session.run("SET SESSION sql_log_bin = OFF")
    for address in addresses:
        session.run(
            "CREATE USER IF NOT EXISTS %s@%s IDENTIFIED BY RANDOM PASSWORD ACCOUNT LOCK",
            REPLICATION,
            address,
        )
        hang_up(session, address)


def let_in(session: Session, address: str = "") -> None:
    """Undoes it for one address, or for all."""
    hosts = are_shut_out(session)
    session.run("SET SESSION sql_log_bin = OFF")
    for host in hosts:
        if not address or host == address:
            session.run("DROP USER %s@%s", REPLICATION, host)


def are_shut_out(session: Session) -> set[str]:
    """The addresses of replicas that may not connect."""
    return {
        row[0]
        for row in session.rows(
            "SELECT host FROM mysql.user WHERE user = %s AND host <> '%%'", REPLICATION
        )
    }


def hang_up(session: Session, address: str) -> None:
    """Ends the sending to the replica at this address, or to all; one that lives comes again."""
    rows = session.rows(
        "SELECT ID, HOST FROM performance_schema.processlist WHERE COMMAND = 'Binlog Dump GTID'"
    )
    for number, host in rows:
        if host.partition(":")[0] == address or not address:
            try:
                session.run("KILL %s", number)
            except MySQLError:
                log.info("the thread of %s is gone already", host)
