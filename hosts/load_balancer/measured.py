"""What a load balancer says of itself to Prometheus, beside what its HAProxy says."""

from collections.abc import Iterable, Sequence

from hosts.base.certificate import Certificate
from hosts.base.metrics import Metric, certificate, gauge
from hosts.load_balancer.claim_address import Claim, Pulse


def addresses(claims: Sequence[Claim], pulse: Pulse) -> Iterable[Metric]:
    """Who has which public address."""
    yield gauge(
        "site_load_balancer_answers",
        "Whether this machine's HAProxy answers its agent.",
        float(pulse.well),
    )
    yield Metric(
        "site_address_held",
        "Whether this machine has the lease of a public address, and the address leads here.",
        [({"address": claim.allocation}, float(claim.here)) for claim in claims],
    )
    yield Metric(
        "site_address_failed",
        "Whether this machine cannot have an address that it has the lease of.",
        [({"address": claim.allocation}, float(bool(claim.error))) for claim in claims],
    )


def served(found: Certificate | None) -> Iterable[Metric]:
    """The certificate that clients see, once there is one."""
    if found is not None:
        yield from certificate("edge", found)
