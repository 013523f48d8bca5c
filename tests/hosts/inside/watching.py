"""Run in the machine image: Prometheus, Alertmanager, node exporter and relay, as units run them.

Three machines in one place, by their addresses; a fourth stands in the name of its role and is not
there. AWS is a list of what it was told. At the end, as JSON, what each of them said.
"""

import json
import re
import shlex
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path[:0] = ["/opt/site", "/srv/inside"]

import names  # noqa: E402

from hosts.base import metrics  # noqa: E402
from hosts.base.certificate import look  # noqa: E402
from hosts.monitoring import firing as told  # noqa: E402
from hosts.monitoring.relay import Relay  # noqa: E402

NAMES = {
    "load-balancer": ["10.0.0.1"],
    "app-server": ["10.0.0.2", "10.0.0.4"],
    "database": ["10.0.0.3"],
}
GONE = "10.0.0.4"
ASKED: dict[str, Any] = {}
SENT: list[dict[str, Any]] = []
PROMETHEUS = "http://127.0.0.1:9090"


class Aws:
    """Takes what it is told."""

    def publish(self, **said: str) -> None:
        SENT.append(said)

    def put_metric_data(self, **said: object) -> None:
        SENT.append(dict(said))


def start(unit: Path, **changes: str) -> "subprocess.Popen[bytes]":
    """What a unit starts, as its user."""
    text = unit.read_text().replace("\\\n", " ")
    (command,) = re.findall(r"^ExecStart=(/.+)$", text, flags=re.MULTILINE)
    words = [changes.get(word, word) for word in shlex.split(command)]
    with Path(f"/tmp/{unit.parent.name}{len(changes)}.log").open("w") as log:  # noqa: S108
        return subprocess.Popen(
            ["setpriv", "--reuid=prometheus", "--regid=prometheus", "--clear-groups", *words],
            stdout=log,
            stderr=log,
        )


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310
        body = answer.read().decode()
        return json.loads(body) if "json" in answer.headers["Content-Type"] else body


def until(what: str, condition: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        try:
            if found := condition():
                return found
        except (OSError, KeyError, IndexError):
            pass
        if time.monotonic() > deadline:
            logs = {str(path): path.read_text()[-2000:] for path in Path("/tmp").glob("*.log")}  # noqa: S108
            raise AssertionError(f"{what}: {logs} {SENT}")
        time.sleep(0.2)


def query(expr: str) -> list[dict[str, Any]]:
    return get(f"{PROMETHEUS}/api/v1/query?query={urllib.request.quote(expr)}")["data"]["result"]  # type: ignore[attr-defined]


def firing() -> set[str]:
    alerts = get(f"{PROMETHEUS}/api/v1/alerts")["data"]["alerts"]
    return {one["labels"]["alertname"] for one in alerts if one["state"] == "firing"}


def main() -> None:
    subprocess.run(["mount", "-t", "sysfs", "sysfs", "/sys"], check=True)
    for address in (a for found in NAMES.values() for a in found if a != GONE):
        subprocess.run(["ip", "address", "add", f"{address}/32", "dev", "lo"], check=True)
    names.serve(lambda name: NAMES.get(name, []))
    metrics.write(
        "agent",
        [
            metrics.gauge("site_machine_info", "x", 1, machine="all-of-them", role="any"),
            metrics.Histogram("site_application_request_seconds", "x", (0.1, 1), (5, 3, 1), 4.5),
            *metrics.certificate("edge", look(Path("/srv/certificate.pem").read_text())),
        ],
    )
    aws = Aws()
    relay = Relay(lambda: aws, lambda: aws, "arn:topic", "site-lab-monitoring")
    threading.Thread(target=relay.server().serve_forever, daemon=True).start()
    units = Path("/srv/units")
    started = [
        start(units / "prometheus-node-exporter.service.d/site.conf"),
        start(units / "prometheus-alertmanager.service.d/site.conf"),
        start(units / "prometheus.service.d/site.conf"),
    ]
    for port in (9093, 9090):
        until(f"{port} is ready", lambda port=port: get(f"http://127.0.0.1:{port}/-/ready"))
    ASKED["page"] = get(f"{PROMETHEUS}/user/")
    ASKED["panels"] = get(f"{PROMETHEUS}/user/panels.json")
    ASKED["script"] = urllib.request.urlopen(f"{PROMETHEUS}/user/page.js").headers["Content-Type"]  # noqa: S310
    until("all are asked", lambda: len(query('up{job="node"}')) == 4)
    until("who is there", lambda: len(query('up{job="node"} == 1')) == 3)
    own = 'up{job=~"prometheus|alertmanager"} == 1'
    until("its own are asked, too", lambda: len(query(own)) == 2)
    ASKED["up"] = sorted(
        [one["metric"]["role"], one["metric"]["instance"], one["value"][1]]
        for one in query('up{job="node"}')
    )
    ASKED["own"] = {one["metric"]["job"]: one["value"][1] for one in query("up")}
    ASKED["quantile"] = query(
        'site_application_request_seconds_bucket{le="1.0"} or'
        ' site_application_request_seconds_bucket{le="1"}'
    )[0]["value"][1]
    until("the one that is gone is missed", lambda: "MachineNotReporting" in firing(), 90)
    until(
        "people are told",
        lambda: [o for o in SENT if "MachineNotReporting" in o.get("Subject", "")],
    )
    until("there is a sign of life", lambda: [one for one in SENT if "Namespace" in one])
    ASKED["firing"] = sorted(firing())
    ASKED["reported"] = told.fetch()
    ASKED["sent"] = SENT
    ASKED["alive"] = [process.poll() for process in started]
    for process in started:
        process.terminate()
        process.wait(20)
    print(json.dumps(ASKED))


main()
