"""The settings of a stack: one pydantic model per component, read once from `pulumi.Config`."""

from components.settings.backups import Backups, Restore
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
    "Backups",
    "Database",
    "LoadBalancers",
    "Machines",
    "Network",
    "Restore",
    "Settings",
    "parse",
    "read",
]
