"""What an operator may choose about an application server, as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Options:
    """Times are in seconds."""

    port: int
    module: str
    """The WSGI application: ``wsgi:application``."""
    health_path: str
    """The path that the application answers with 200 while it can serve."""
    threads: int
    """Requests answered at once by each worker process."""
    workers: int
    """Processes."""
    memory_max: str
    """The most memory that the application may take, in systemd's words: ``512M``, ``80%``."""
    request_timeout: float
    """The longest legal request; how long one in flight is waited for when stopping."""
    environment: Mapping[str, str]
    """The application's own settings. Never a secret: this is in user data."""
    database: str
    """The name of the application's schema."""
