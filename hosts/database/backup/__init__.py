"""Backups of the database: full ones, verified, and its binary logs as they grow.

A process of its own on each database machine (`site-backup.service`), of low priority, so that
nothing that happens to it can disturb the agent. Of the machines one does the work: the in-sync
replica of the lowest ordinal, else the primary. `layout` says what is where in the bucket.
"""

from hosts.base import services

UNIT = "site-backup.service"


def install() -> None:
    """Starts the process, now and at each start of the machine. Raises `ServiceError`."""
    services.systemctl("enable", "--now", "--no-block", UNIT)
