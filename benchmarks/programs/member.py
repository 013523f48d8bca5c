"""Says to this machine's guard what its member of a replication group is.

What the agent does for the site's own pair: so the applications' HAProxy hears of a group's
change of primary by the same way, as soon. The primary is asked for in performance_schema, fifty
times a second; it serves while it is writable and sees a majority.
"""

import subprocess
import time
from typing import Any

import pymysql

from hosts.base.lease import boottime
from hosts.database.published import Published, publish

EVERY = 0.02
VALID = 5.0
"""Seconds after which the guard would close a primary that nobody has spoken for."""
PRIMARY = """
SELECT MEMBER_ROLE = 'PRIMARY' AND MEMBER_STATE = 'ONLINE' AND NOT @@global.super_read_only
       AND (SELECT 2 * SUM(MEMBER_STATE IN ('ONLINE', 'RECOVERING')) > COUNT(*)
            FROM performance_schema.replication_group_members)
FROM performance_schema.replication_group_members WHERE MEMBER_ID = @@server_uuid
"""


def main() -> None:
    """Does not return."""
    publish(Published())
    subprocess.run(["systemctl", "start", "site-database-guard.service"], check=True)
    connection: Any = None
    opened_at: float | None = None
    said_at = float("-inf")
    while True:
        try:
            connection = connection or pymysql.connect(
                unix_socket="/run/mysqld/mysqld.sock", user="root", read_timeout=1, autocommit=True
            )
            with connection.cursor() as cursor:
                cursor.execute(PRIMARY)
                row = cursor.fetchone()
            primary = bool(row and row[0])
        except (pymysql.MySQLError, OSError):
            connection, primary = None, False
        now = boottime()
        if primary != (opened_at is not None) or now - said_at > VALID / 10:
            opened_at, said_at = (opened_at or now) if primary else None, now
            publish(published(opened_at, now))
        time.sleep(EVERY)


def published(opened_at: float | None, now: float) -> Published:
    """As the guard wants it."""
    if opened_at is None:
        return Published()
    return Published(
        role="primary", open=True, opened_at=opened_at, deadline=now + VALID, serving=True
    )


if __name__ == "__main__":
    main()
