"""A load balancer: HAProxy, and the claim to the public address."""

from hosts.load_balancer.options import Acme, Limits, Options
from hosts.load_balancer.render import user_data

__all__ = ["Acme", "Limits", "Options", "user_data"]
