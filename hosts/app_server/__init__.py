"""An application server: gunicorn, and a HAProxy that knows the way to the database."""

from hosts.app_server.options import Options
from hosts.app_server.render import user_data

__all__ = ["Options", "user_data"]
