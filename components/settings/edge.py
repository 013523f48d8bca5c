"""What must hold among the settings of `site:loadBalancers`."""

import re
from typing import Literal

from pydantic_core import PydanticCustomError

from components.settings.model import WORDED

Mode = Literal["single", "active-passive", "active-active"]


def check_room(mode: Mode, instance_type: str) -> None:
    """Refuses machines whose network interface has no room for the addresses of a mode.

    EC2's limit, by type: one private address for the machine, one for each Elastic IP.
    """
    small = re.fullmatch(r"[a-z0-9-]+\.(nano|micro)", instance_type)
    if small and mode == "active-active":
        larger = instance_type.removesuffix(small[1]) + "small"
        raise _refusal(
            f"instanceType is {instance_type}, which has room for two private addresses; mode"
            " active-active needs three. Choose a larger one with"
            f" `pulumi config set --path site:loadBalancers.instanceType {larger}`."
        )


def check_threads(mode: Mode, threads: int) -> None:
    """Refuses application servers with too few threads for two load balancers to share."""
    if mode == "active-active" and threads <= 2:  # noqa: PLR2004 one each, and one for checks
        text = (
            f"site:appServers.threads is {threads}; mode active-active of site:loadBalancers needs"
            " three: one for requests of each load balancer, one for health checks. Set it with"
            " `pulumi config set --path site:appServers.threads 16`."
        )
        raise PydanticCustomError(WORDED, "{text}", {"text": text})


def check_domain(domain: str | None, zone: str | None) -> None:
    """Refuses a hosted zone that the domain is not in."""
    if zone and not domain:
        raise _refusal(
            f"hostedZone is {zone}, and no domain is set that would be in it. Set one with"
            f" `pulumi config set --path site:loadBalancers.domain www.{zone}`."
        )
    if zone and domain and domain != zone and not domain.endswith(f".{zone}"):
        raise _refusal(
            f"domain is {domain}, which is not in hostedZone {zone}. Set the zone that it is in"
            " with `pulumi config set --path site:loadBalancers.hostedZone"
            f" {domain.partition('.')[2]}`."
        )


def _refusal(text: str) -> PydanticCustomError:
    return PydanticCustomError(WORDED, "site:loadBalancers.{text}", {"text": text})
