"""A database machine: MySQL, and the agent that gives it its role."""

from hosts.database.options import SETTINGS, Options
from hosts.database.render import user_data

__all__ = ["SETTINGS", "Options", "user_data"]
