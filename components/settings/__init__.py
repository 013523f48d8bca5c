"""The settings of a stack: one pydantic model per component, read once from `pulumi.Config`."""

from components.settings.backups import Backups, Restore
from components.settings.models import (
    AppServers,
    Database,
    Limits,
    LoadBalancers,
    Machines,
    Network,
    Settings,
)
from components.settings.monitoring import Logs, Monitoring
from components.settings.read import parse, read
from components.settings.tls import Acme, Tls

__all__ = [
    "Acme",
    "AppServers",
    "Backups",
    "Database",
    "Limits",
    "LoadBalancers",
    "Logs",
    "Machines",
    "Monitoring",
    "Network",
    "Restore",
    "Settings",
    "Tls",
    "parse",
    "read",
]
