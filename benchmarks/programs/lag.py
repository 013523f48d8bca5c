"""How long after its commit on the primary a transaction is applied on this replica.

Standard input: for how many seconds to look. Standard output: JSON, a list of seconds. The last
transaction of each applier is looked at fifty times a second; both times of it are the machines'
own clocks, which are one in the lab.
"""

import json
import sys
import time
from typing import Any

import pymysql

APPLIED = """
SELECT LAST_APPLIED_TRANSACTION, TIMESTAMPDIFF(MICROSECOND,
       LAST_APPLIED_TRANSACTION_ORIGINAL_COMMIT_TIMESTAMP,
       LAST_APPLIED_TRANSACTION_END_APPLY_TIMESTAMP)
FROM performance_schema.replication_applier_status_by_worker
WHERE LAST_APPLIED_TRANSACTION <> ''
"""


def main() -> None:
    """Looks, and says what was seen of transactions that were applied meanwhile."""
    end = time.monotonic() + float(sys.stdin.read())
    connection: Any = pymysql.connect(unix_socket="/run/mysqld/mysqld.sock", user="root")
    seen: dict[str, float] = {}
    before: set[str] | None = None
    while time.monotonic() < end:
        with connection.cursor() as cursor:
            cursor.execute(APPLIED)
            found = {gtid: microseconds / 1e6 for gtid, microseconds in cursor.fetchall()}
        connection.rollback()
        before = set(found) if before is None else before
        seen |= {gtid: lag for gtid, lag in found.items() if gtid not in before}
        time.sleep(0.02)
    json.dump(list(seen.values()), sys.stdout)


if __name__ == "__main__":
    main()
