"""What is seen of the databases, about once a second."""

from dataclasses import dataclass
from typing import Literal, cast

from hosts.base import services
from hosts.base.lease import boottime
from hosts.database.decide import Observation, Primary
from hosts.database.lag import Lag
from hosts.database.mysql import MySQLError, Session, local

UNIT = "mysql.service"

REPLICATION = """
SELECT c.HOST, s.SERVICE_STATE, a.SERVICE_STATE, s.LAST_ERROR_MESSAGE,
       (SELECT MAX(w.LAST_ERROR_MESSAGE)
        FROM performance_schema.replication_applier_status_by_worker w)
FROM performance_schema.replication_connection_configuration c
JOIN performance_schema.replication_connection_status s USING (CHANNEL_NAME)
JOIN performance_schema.replication_applier_status a USING (CHANNEL_NAME)
WHERE CHANNEL_NAME = ''
"""


@dataclass(frozen=True)
class Seen:
    """An observation, when it was made, and what there is to say of it."""

    at: float
    observation: Observation
    executed: str = ""
    lag: float = float("inf")
    """A replica's data is at most this old, in seconds, as of `at`."""
    trouble: str = ""


@dataclass
class Remote:
    """The primary's address, and the session to it while there is one."""

    address: str
    session: Session | None


def observe(remote: Remote | None, lag: Lag, prepared: bool) -> Seen:
    """Looks at this machine's mysqld, and at the primary's if there is a session to it.

    Our own transactions first and the primary's after them: in the other order, those that just
    arrived would seem to be ours alone.
    """
    try:
        with local() as session:
            return _alive(session, remote, lag, prepared)
    except MySQLError as error:
        unit = services.show(UNIT)
        starting = unit.active in ("active", "activating", "deactivating", "reloading")
        return Seen(boottime(), Observation(alive=False, starting=starting), trouble=str(error))


def _alive(session: Session, remote: Remote | None, lag: Lag, prepared: bool) -> Seen:
    read_only, executed = session.row("SELECT @@global.super_read_only, @@global.gtid_executed")
    executed = _set(executed)
    source, receiving, applying, trouble = "", "OFF", False, ""
    for host, io, sql, io_error, sql_error in session.rows(REPLICATION):
        source, receiving, applying = host, io, sql == "ON"
        trouble = sql_error or io_error
    primary = _primary(session, remote, executed, lag)
    lag.executed(
        lambda theirs: bool(
            session.row("SELECT GTID_SUBSET(%s, @@global.gtid_executed)", theirs)[0]
        )
    )
    now = boottime()
    observation = Observation(
        alive=True,
        prepared=prepared,
        super_read_only=bool(read_only),
        empty=not executed,
        source=source,
        receiving=cast(Literal["ON", "CONNECTING", "OFF"], receiving),
        applying=applying,
        primary=primary,
    )
    return Seen(now, observation, executed, lag.seconds(now), trouble)


def _primary(session: Session, remote: Remote | None, executed: str, lag: Lag) -> Primary | None:
    if remote is None or remote.session is None:
        return None
    asked_at = boottime()
    try:
        theirs, purged, read_only = remote.session.row(
            "SELECT @@global.gtid_executed, @@global.gtid_purged, @@global.super_read_only"
        )
    except MySQLError:
        remote.session.close()
        remote.session = None
        return None
    theirs, purged = _set(theirs), _set(purged)
    lag.asked(asked_at, theirs)
    contained, available = session.row(
        "SELECT GTID_SUBSET(%s, %s), GTID_SUBSET(%s, %s)", executed, theirs, purged, executed
    )
    return Primary(remote.address, not read_only, bool(contained), bool(available))


def _set(text: str) -> str:
    return text.replace("\n", "")
