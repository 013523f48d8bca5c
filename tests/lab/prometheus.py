"""The site's Prometheus, asked on its machine's own loopback: nobody else reaches it."""

import json
from typing import Any

from tests.lab.site import Site

MACHINE = "monitoring-1"
URL = "http://127.0.0.1:9090"


def ask(site: Site, what: str, **parameters: str) -> Any:
    """One of its API's calls."""
    given = [
        part for key, text in parameters.items() for part in ("--data-urlencode", f"{key}={text}")
    ]
    said = json.loads(site.run(MACHINE, "curl", "-sS", "--get", *given, f"{URL}/api/v1/{what}"))
    assert said["status"] == "success", said
    return said["data"]


def query(site: Site, expr: str) -> list[dict[str, Any]]:
    """What an expression is now."""
    return ask(site, "query", query=expr)["result"]


def firing(site: Site) -> set[str]:
    """The names of the alerts that fire."""
    alerts = ask(site, "alerts")["alerts"]
    return {one["labels"]["alertname"] for one in alerts if one["state"] == "firing"}
