"""What the application did, for Prometheus: from the files that its worker processes keep.

A worker's file stays when it ends, so that nothing that was counted is lost with it.
"""

from collections.abc import Iterable
from pathlib import Path

from hosts.app_server.gunicorn_conf import BOUNDS, CLASSES, COUNTERS, COUNTS, FOLDER, LAYOUT
from hosts.base.metrics import Histogram, Metric, gauge


def application(folder: Path = FOLDER) -> Iterable[Metric | Histogram]:
    """Of all workers since the application's start."""
    in_flight, seconds = 0, 0.0
    classes, buckets = [0] * len(CLASSES), [0] * (len(BOUNDS) + 1)
    for path in folder.glob(f"{COUNTERS}*"):
        content = path.read_bytes()
        if len(content) < LAYOUT.size + COUNTS.size:
            continue
        if Path(f"/proc/{path.name.removeprefix(COUNTERS)}").exists():
            in_flight += LAYOUT.unpack_from(content)[0]
        found = COUNTS.unpack_from(content, LAYOUT.size)
        classes = [a + b for a, b in zip(classes, found[: len(CLASSES)], strict=True)]
        seconds += found[len(CLASSES)]
        buckets = [a + b for a, b in zip(buckets, found[len(CLASSES) + 1 :], strict=True)]
    yield Metric(
        "site_application_requests_total",
        "Requests that the application answered, by class of status.",
        [({"code": code}, count) for code, count in zip(CLASSES, classes, strict=True)],
        "counter",
    )
    yield Histogram(
        "site_application_request_seconds",
        "From a request's coming to the application to the beginning of its answer.",
        BOUNDS,
        buckets,
        seconds,
    )
    yield gauge(
        "site_application_requests_in_flight", "Requests that it is answering now.", in_flight
    )
