"""What an operator may choose about a load balancer, as plain values."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Distribution = Literal["round-robin", "least-connections", "active-passive"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Times are in seconds."""

    addresses: Sequence[str]
    """Allocation ids of the Elastic IPs that this machine may claim."""
    distribution: Distribution
    app_port: int
    """Where the application servers listen."""
    health_path: str
    """The path that an application server answers with 200 while it can serve."""
    connections_per_server: int
    """Requests given to one application server at once: its threads less one, which is
    left for health checks. The others wait here."""
    connections: int
    """Clients' connections held at once."""
    request_timeout: float
    """The longest legal request: how long an application server may take to answer."""
    client_timeout: float
    """How long a client may be silent within a request, or an answer not be taken."""
    keep_alive_timeout: float
    """How long a client's connection is kept between two requests."""
    queue_timeout: float
    """How long a request may wait for a free application server before it is refused."""
    connect_timeout: float
    """How long an application server may take to accept a connection."""
