"""What Alertmanager holds just now, for the machine's report: `scripts.status` reads it there."""

import http.client
import json
import urllib.request
from collections.abc import Sequence
from typing import Any

URL = "http://127.0.0.1:9093/api/v2/alerts?active=true&silenced=false&inhibited=false"
TIMEOUT = 2.0
"""Seconds."""
SIGN_OF_LIFE = "Watchdog"
"""Fires always (`rules/site.yml`)."""
MOST = 20
"""A report is read by every machine; nobody reads further than this."""


def fetch(url: str = URL) -> list[dict[str, str]]:
    """What hurts. Raises `OSError`, also for an answer that is none of Alertmanager's."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:  # noqa: S310 our own
            return firing(json.load(answer))
    except (ValueError, KeyError, TypeError, http.client.HTTPException) as error:
        raise OSError(f"{url} answers something else: {error}") from error


def firing(alerts: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """Each once, by name: `name` and `summary`."""
    found = {
        (alert["labels"]["alertname"], alert["annotations"]["summary"])
        for alert in alerts
        if alert["labels"]["alertname"] != SIGN_OF_LIFE
    }
    return [{"name": name, "summary": summary} for name, summary in sorted(found)[:MOST]]
