"""Machines and options to render, ordinary and extreme."""

from hosts import app_server, database, load_balancer
from hosts.base import Bundle, MachineFacts

LONG = "x" * 60


def facts(role: str, name: str = "", *, long: bool = False) -> MachineFacts:
    """The facts of a machine; `long`: as long as AWS and the settings let them be."""
    bundle = Bundle(f"hosts-{role}-{'a' * 64}.tar.gz", "a" * 64, "/opt/site/hosts")
    app = Bundle(f"app-{'b' * 64}.tar.gz", "b" * 64, "/opt/site/app")
    stack = "s" * 40 if long else "lab"
    return MachineFacts(
        name=name or f"{role}-1",
        role=role,
        project="site",
        stack=stack,
        region="ap-southeast-7" if long else "eu-central-1",
        table=f"site-{stack}-coordination",
        bucket="b" * 63 if long else "site-lab-programs",
        zone=f"{stack}.site.internal",
        bundles=(bundle, app) if role == "app-server" else (bundle,),
    )


def load_balancer_options(**changes: object) -> load_balancer.Options:
    """Options of a load balancer, with some of them changed."""
    values: dict[str, object] = {
        "addresses": ["eipalloc-0123456789abcdef0"],
        "distribution": "round-robin",
        "app_port": 8000,
        "health_path": "/healthz",
        "connections_per_server": 15,
        "connections": 8192,
        "request_timeout": 30.0,
        "client_timeout": 30.0,
        "keep_alive_timeout": 60.0,
        "queue_timeout": 5.0,
        "connect_timeout": 0.3,
    }
    return load_balancer.Options(**{**values, **changes})  # type: ignore[arg-type]


def app_server_options(**changes: object) -> app_server.Options:
    """Options of an application server, with some of them changed."""
    values: dict[str, object] = {
        "port": 8000,
        "module": "wsgi:application",
        "health_path": "/healthz",
        "threads": 16,
        "workers": 1,
        "memory_max": "512M",
        "request_timeout": 30.0,
        "environment": {},
        "database": "site",
    }
    return app_server.Options(**{**values, **changes})  # type: ignore[arg-type]


def database_options(**changes: object) -> database.Options:
    """Options of a database machine, with some of them changed."""
    values: dict[str, object] = {
        "ordinal": 1,
        "volume": "vol-0123456789abcdef0",
        "database": "site",
    }
    return database.Options(**{**values, **changes})  # type: ignore[arg-type]
