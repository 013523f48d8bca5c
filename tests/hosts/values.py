"""Machines and options to render, ordinary and extreme."""

from hosts import app_server, database, load_balancer, monitoring
from hosts.base import Bundle, MachineFacts

LONG = "x" * 60
ACME = load_balancer.Acme(
    domain="www.example.org",
    directory="https://acme.example/directory",
    contact="somebody@example.org",
    authority=True,
)


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
        resolver="10.100.200.2" if long else "10.0.0.2",
        bundles=(bundle, app) if role == "app-server" else (bundle,),
    )


UNLIMITED = load_balancer.Limits(
    requests_per_second=0, burst=1, connections=0, uploads=0, body=100 << 20
)


def load_balancer_options(**changes: object) -> load_balancer.Options:
    """Options of a load balancer, with some of them changed."""
    values: dict[str, object] = {
        "addresses": ["eipalloc-0123456789abcdef0"],
        "own": "eipalloc-0123456789abcdef0",
        "distribution": "round-robin",
        "app_port": 8443,
        "health_path": "/healthz",
        "connections_per_server": 15,
        "connections": 8192,
        "request_timeout": 30.0,
        "client_timeout": 30.0,
        "keep_alive_timeout": 60.0,
        "queue_timeout": 5.0,
        "connect_timeout": 1.0,
        "tunnel_timeout": 3600.0,
        "hsts": 63072000,
        "hosts": [],
        "limits": load_balancer.Limits(
            requests_per_second=100, burst=1000, connections=200, uploads=20, body=100 << 20
        ),
    }
    return load_balancer.Options(**{**values, **changes})  # type: ignore[arg-type]


def app_server_options(**changes: object) -> app_server.Options:
    """Options of an application server, with some of them changed."""
    values: dict[str, object] = {
        "port": 8443,
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


def monitoring_options(**changes: object) -> monitoring.Options:
    """Options of the monitoring machine, with some of them changed."""
    values: dict[str, object] = {
        "retention": 15,
        "room": 5120,
        "topic": "arn:aws:sns:eu-central-1:123456789012:site-lab-alerts",
        "webhook": False,
        "namespace": "site-lab-monitoring",
    }
    return monitoring.Options(**{**values, **changes})  # type: ignore[arg-type]
