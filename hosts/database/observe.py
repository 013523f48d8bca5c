"""What is seen of this machine's mysqld, several times a second."""

from dataclasses import dataclass
from typing import Literal, cast

from hosts.base.lease import boottime
from hosts.database import mysql
from hosts.database.decide import Mysqld
from hosts.database.mysql import MySQLError, Session

UNIT = "mysql.service"

_VARIABLES = """
SELECT @@global.super_read_only, @@global.offline_mode, @@global.gtid_executed,
       @@global.rpl_semi_sync_source_enabled, @@global.rpl_semi_sync_source_wait_for_replica_count,
       @@global.rpl_semi_sync_replica_enabled
"""
_STATUS = """
SELECT VARIABLE_NAME, VARIABLE_VALUE FROM performance_schema.global_status
WHERE VARIABLE_NAME IN ('Rpl_semi_sync_source_clients', 'Rpl_semi_sync_source_wait_sessions',
                        'Rpl_semi_sync_source_yes_tx')
"""
_REPLICATION = """
SELECT c.HOST, s.SERVICE_STATE, a.SERVICE_STATE, s.RECEIVED_TRANSACTION_SET, s.LAST_ERROR_MESSAGE,
       (SELECT MAX(w.LAST_ERROR_MESSAGE)
        FROM performance_schema.replication_applier_status_by_worker w)
FROM performance_schema.replication_connection_configuration c
JOIN performance_schema.replication_connection_status s USING (CHANNEL_NAME)
JOIN performance_schema.replication_applier_status a USING (CHANNEL_NAME)
WHERE CHANNEL_NAME = ''
"""


@dataclass(frozen=True)
class Seen:
    """An observation; `at` is when it was begun."""

    at: float
    mysqld: Mysqld | None = None
    executed: str = ""
    received: str = ""
    """What a replica has received since it was last set to its source."""
    clients: int = 0
    """Replicas that acknowledge."""
    acknowledged: int = 0
    """Commits that were acknowledged by replicas since mysqld started."""
    receive_error: str = ""
    apply_error: str = ""
    trouble: str = ""

    @property
    def follows(self) -> bool:
        """Whether it receives what a primary writes, and applies it, however late."""
        return bool(self.mysqld and self.mysqld.receiving == "ON" and self.mysqld.applying)

    @property
    def has(self) -> str:
        """All transactions that are here, applied or not."""
        return ",".join(part for part in (self.executed, self.received) if part)


class Observer:
    """Looks through a session that is kept: a server that is full of clients has no room for us."""

    def __init__(self, timeout: float = 1.0) -> None:
        """Seconds that mysqld may take for one answer."""
        self._timeout = timeout
        self._session: Session | None = None

    def look(self) -> Seen:
        """Never raises: a mysqld that does not answer is an observation too."""
        at = boottime()
        try:
            if self._session is None:
                self._session = mysql.connect(self._timeout)
            return _look(self._session, at)
        except (MySQLError, OSError) as error:
            if self._session:
                self._session.close()
                self._session = None
            return Seen(at, trouble=str(error))


def _look(session: Session, at: float) -> Seen:
    read_only, offline, executed, waits, count, acknowledging = session.row(_VARIABLES)
    status = {str(name).lower(): value for name, value in session.rows(_STATUS)}
    source, receiving, applying, received, receive_error, apply_error = "", "OFF", "OFF", "", "", ""
    for row in session.rows(_REPLICATION):
        source, receiving, applying, received, receive_error, apply_error = row
    executed, received = joined(executed), joined(received)
    mysqld = Mysqld(
        writable=not read_only,
        empty=not executed and not received,
        waits_for=int(count) if waits else 0,
        waiting=int(status.get("rpl_semi_sync_source_wait_sessions", 0)),
        acknowledging=bool(acknowledging),
        offline=bool(offline),
        source=source,
        receiving=cast(Literal["ON", "CONNECTING", "OFF"], receiving),
        applying=applying == "ON",
    )
    return Seen(
        at,
        mysqld,
        executed,
        received,
        clients=int(status.get("rpl_semi_sync_source_clients", 0)),
        acknowledged=int(status.get("rpl_semi_sync_source_yes_tx", 0)),
        receive_error=receive_error,
        apply_error=apply_error or "",
    )


def joined(gtids: str) -> str:
    """A set of transactions on one line."""
    return gtids.replace("\n", "")
