"""The monitoring machine: Prometheus and Alertmanager, and the page that one looks at."""

from hosts.monitoring.options import Options
from hosts.monitoring.render import user_data

__all__ = ["Options", "user_data"]
