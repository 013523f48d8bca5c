"""The settings of a stack: one pydantic model per component, read once from `pulumi.Config`."""

from components.settings.models import (
    AppServers,
    Database,
    LoadBalancers,
    Machines,
    Network,
    Settings,
)
from components.settings.read import parse, read

__all__ = [
    "AppServers",
    "Database",
    "LoadBalancers",
    "Machines",
    "Network",
    "Settings",
    "parse",
    "read",
]
