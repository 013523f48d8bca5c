"""The name that clients know, in a public zone that is there already: all addresses that answer.

Multivalue records and not weighted ones: clients are told every address that is well, and try the
next when one does not answer. Of the weighted ones they would be told one.
"""

from collections.abc import Sequence

import pulumi
import pulumi_aws as aws

from components.site import Site

TTL = 60
"""Seconds. What Route 53 advises for records with a health check, at most."""
CHECK_EVERY = 10
"""Seconds. A failed load balancer's address is with the other one long before; this is for an
address that nobody can have."""
FAILURES = 3


class PublicNames(pulumi.ComponentResource):
    """A record and a health check for each address."""

    def __init__(
        self,
        name: str,
        *,
        site: Site,
        domain: str,
        zone: str,
        addresses: Sequence[pulumi.Output[str]],
        after: Sequence[pulumi.Resource],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("site:names:PublicNames", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        zone_id = _find(zone)
        for ordinal, address in enumerate(addresses, 1):
            called = f"public-{ordinal}"
            check = aws.route53.HealthCheck(
                called,
                # HAProxy answers for itself there, whatever becomes of application servers. It
                # costs nothing to follow: a redirect is well.
                type="HTTP",
                ip_address=address,
                port=80,
                fqdn=domain,
                resource_path="/",
                request_interval=CHECK_EVERY,
                failure_threshold=FAILURES,
                tags=site.tags(called),
                opts=child,
            )
            aws.route53.Record(
                called,
                zone_id=zone_id,
                name=domain,
                type="A",
                ttl=TTL,
                records=[address],
                set_identifier=site.name(called),
                multivalue_answer_routing_policy=True,
                health_check_id=check.id,
                opts=pulumi.ResourceOptions(parent=self, depends_on=after),
            )
        self.register_outputs({})


def _find(zone: str) -> str:
    try:
        return aws.route53.get_zone(name=zone, private_zone=False).zone_id
    except Exception as error:  # noqa: BLE001 an invoke raises no type of its own
        msg = (
            f"there is no public hosted zone {zone} in this account: make one in Route 53, set"
            " another with `pulumi config set --path site:loadBalancers.hostedZone …`, or remove"
            " that setting and keep the records of site:loadBalancers.domain yourself."
            f" AWS says: {error}"
        )
        raise pulumi.RunError(msg) from None
