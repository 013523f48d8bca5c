"""From Alertmanager to AWS: alerts to an SNS topic, the sign of life to CloudWatch.

Alertmanager could publish to SNS itself, with the machine's credentials; but those are for root
alone (`hosts/base/firewall.nft`), which Alertmanager is not. So it tells the agent, on loopback.
What AWS does not take is answered with an error, and Alertmanager tries again.
"""

import json
import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

from botocore.exceptions import BotoCoreError, ClientError

from hosts.base.metrics import Metric, gauge

log = logging.getLogger("alerts")

PORT = 9094
LONGEST = 1 << 20
"""Bytes of one message from Alertmanager."""
SUBJECT = 100
"""Characters that SNS takes of one."""
BODY = 200_000
METRIC = "SignOfLife"
SENT, FAILED = "site_notifications_sent_total", "site_notifications_failed_total"


@dataclass(frozen=True)
class Message:
    """As people get it."""

    subject: str
    body: str


def message(said: Mapping[str, Any]) -> Message:
    """Of what Alertmanager's webhook says: https://prometheus.io/docs/alerting/latest/configuration/
    #webhook_config. Raises `KeyError`, `TypeError` if it is something else."""
    alerts: list[dict[str, Any]] = said["alerts"]
    firing = [one for one in alerts if one["status"] == "firing"]
    name = said["groupLabels"].get("alertname", "alerts")
    where = "/".join(said.get("commonLabels", {}).get(key, "") for key in ("project", "stack"))
    state = f"FIRING: {name} ({len(firing)})" if firing else f"resolved: {name}"
    # SNS takes ASCII without line breaks here.
    subject = f"[{where.strip('/') or 'site'}] {state}".encode("ascii", "replace").decode()
    return Message(subject[:SUBJECT], "\n\n".join(_paragraph(one) for one in alerts)[:BODY])


def _paragraph(alert: Mapping[str, Any]) -> str:
    labels, notes = alert["labels"], alert["annotations"]
    lines = [
        f"{alert['status'].upper()}: {labels['alertname']} ({labels.get('severity', '')})",
        notes.get("summary", ""),
        notes.get("description", ""),
        f"since {alert['startsAt']}",
        *([f"until {alert['endsAt']}"] if alert["status"] == "resolved" else []),
        *([f"what to do: {notes['runbook']}"] if "runbook" in notes else []),
    ]
    return "\n".join(line for line in lines if line)


@dataclass
class Relay:
    """One machine's. `sns` and `cloudwatch` are boto3's clients, made when first needed."""

    sns: Callable[[], Any]
    cloudwatch: Callable[[], Any]
    topic: str
    namespace: str
    sent: int = 0
    failed: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def alerts(self, said: Mapping[str, Any]) -> None:
        """Publishes a message to the topic."""
        text = message(said)
        self.sns().publish(TopicArn=self.topic, Subject=text.subject, Message=text.body)
        log.info("published: %s", text.subject)

    def sign_of_life(self, said: Mapping[str, Any]) -> None:
        """Says to CloudWatch that Prometheus, Alertmanager and this program work."""
        _ = said
        data = [{"MetricName": METRIC, "Value": 1.0, "Unit": "Count"}]
        self.cloudwatch().put_metric_data(Namespace=self.namespace, MetricData=data)

    def take(self, path: str, body: bytes) -> int:
        """What Alertmanager posted; the status of the answer."""
        what = {"/alerts": self.alerts, "/sign-of-life": self.sign_of_life}.get(path)
        if what is None:
            return 404
        try:
            what(cast("dict[str, Any]", json.loads(body)))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("%s: not what Alertmanager says: %r", path, error)
            status = 400
        except (BotoCoreError, ClientError) as error:
            log.warning("%s: AWS did not take it: %s", path, error)
            status = 502
        else:
            status = 200
        with self._lock:
            self.sent += status == 200  # noqa: PLR2004
            self.failed += status != 200  # noqa: PLR2004
        return status

    def metrics(self) -> Iterable[Metric]:
        """How it went so far."""
        yield Metric(SENT, "Messages that AWS took.", [({}, self.sent)], "counter")
        yield Metric(FAILED, "Messages that AWS did not take.", [({}, self.failed)], "counter")
        yield gauge("site_notifications_topic", "The topic of alerts.", 1, topic=self.topic)

    def server(self, port: int = PORT) -> ThreadingHTTPServer:
        """Listens on loopback; `serve_forever` answers."""
        relay = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 5

            def do_POST(self) -> None:
                length = self.headers.get("Content-Length", "")
                fine = length.isdecimal() and int(length) <= LONGEST
                status = relay.take(self.path, self.rfile.read(int(length))) if fine else 413
                self.send_response_only(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 as in the base
                """What matters is logged where it is known what it was."""

        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        server.daemon_threads = True
        return server
