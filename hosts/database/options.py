"""What an operator may choose about a database machine, as plain values."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Options:
    """Times are in seconds."""

    ordinal: int
    """Which of the database machines this is, from 1; also mysqld's server_id."""
    volume: str
    """The id of the EBS volume that the data is on: ``vol-0123456789abcdef0``."""
    database: str
    """The name of the application's schema."""
    max_replica_lag: float
    """A replica that is further behind takes no reads."""
    buffer_pool: int
    """InnoDB's buffer pool, in MiB."""
    max_connections: int
