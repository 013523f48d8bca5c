"""What an operator may choose about a load balancer, as plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Distribution = Literal["round-robin", "least-connections", "active-passive"]


@dataclass(frozen=True, kw_only=True)
class Acme:
    """How the load balancers get a certificate, if they are to."""

    domain: str
    """What it is for."""
    directory: str
    """The URL of the ACME authority's."""
    contact: str
    """A mail address, or empty."""
    authority: bool
    """Whether a parameter says who signed the directory's own certificate."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one client may take: one address, or one /64 of IPv6. 0 is no limit."""

    requests_per_second: float
    """On average."""
    burst: int
    """Requests that may come at once, after a while with few."""
    connections: int
    """Connections at a time."""
    uploads: int
    """Requests with a long body, or one of unknown length, at a time."""
    body: int
    """Bytes of a request's body."""

    @property
    def period(self) -> float:
        """Seconds in which a burst is spent when it is spent evenly."""
        return self.burst / self.requests_per_second if self.requests_per_second else 1


@dataclass(frozen=True, kw_only=True)
class Options:
    """Times are in seconds."""

    addresses: Sequence[str]
    """Allocation ids of the Elastic IPs that this machine may claim."""
    own: str
    """The one that is this machine's while all are well; empty if any machine may keep any."""
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
    """How long an application server may take to accept a connection, its handshake included."""
    tunnel_timeout: float
    """How long both sides of a WebSocket may be silent. So long may a process that was replaced
    by a reload go on for the connections it has."""
    hsts: int
    """How long browsers are to remember that the site is reached by HTTPS only. 0: not at all."""
    hosts: Sequence[str]
    """The names that the site answers to, perhaps with a first label of ``*``. None: to any."""
    limits: Limits
    acme: Acme | None = None
    """Without it, the parameter with the certificate is only read."""

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> "Options":
        """As a machine finds them in its file."""
        acme = given["acme"]
        parts: dict[str, Any] = {
            "limits": Limits(**given["limits"]),
            "acme": acme and Acme(**acme),
        }
        return cls(**{**given, **parts})
