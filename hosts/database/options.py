"""What a database machine is told once. What may change while it runs is in `tunables`."""

from dataclasses import dataclass

from hosts.database.pair import NAME

SETTINGS = "database/settings"
"""The stack's parameter with what may change."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Which machine this is, and what is its own."""

    ordinal: int
    """Which of the database machines this is, from 1; also mysqld's server_id."""
    volume: str
    """The id of the EBS volume that the data is on: ``vol-0123456789abcdef0``."""
    database: str
    """The name of the application's schema."""
    restore: dict[str, str] | None = None
    """The point that the first machine begins at: `hosts.database.backup.restore.Restore`."""

    @property
    def line(self) -> str:
        """The pair's lease, and the history of the database that it writes.

        A restored database is another pair than the one before it, of which machines may be about.
        """
        return f"{NAME}-{self.restore['id']}" if self.restore else NAME
