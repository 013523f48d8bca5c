"""What a machine says of itself to Prometheus: files of text that the node exporter shows.

Files, and not a port of its own: the agent has better to do than to answer scrapes, and what it
said last stays readable when it is gone, with the time at which it was said
(``node_textfile_mtime_seconds``).
"""

import logging
import math
import threading
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from hosts.base import services
from hosts.base.certificate import Certificate
from hosts.base.coordination import State
from hosts.base.facts import MachineFacts
from hosts.base.parameters import FOLDER as MEMORY

log = logging.getLogger("agent")

FOLDER = MEMORY / "metrics"
"""What the node exporter reads."""
EVERY = 5.0
"""Seconds between two times that a program says how it is."""
NODE_EXPORTER = "prometheus-node-exporter.service"

Sample = tuple[Mapping[str, str], float]


@dataclass(frozen=True)
class Metric:
    """All that is said under one name: https://prometheus.io/docs/practices/naming/."""

    name: str
    help: str
    samples: Sequence[Sample]
    kind: Literal["gauge", "counter"] = "gauge"


def gauge(name: str, help: str, value: float, **labels: str) -> Metric:  # noqa: A002 its own word
    """A metric of one value."""
    return Metric(name, help, [(labels, value)])


@dataclass(frozen=True)
class Histogram:
    """How often something took how long. The last bucket is of what took longer than all bounds."""

    name: str
    help: str
    bounds: Sequence[float]
    """Seconds, rising."""
    buckets: Sequence[int]
    """How many fell between each bound and the one before: one more than there are bounds."""
    sum: float
    """Seconds in all."""


def text(metrics: Iterable[Metric | Histogram]) -> str:
    """In Prometheus' own format, version 0.0.4."""
    lines: list[str] = []
    for metric in metrics:
        if isinstance(metric, Histogram):
            lines += _head(metric.name, metric.help, "histogram")
            below = 0
            for bound, count in zip([*metric.bounds, math.inf], metric.buckets, strict=True):
                below += count
                lines.append(_line(f"{metric.name}_bucket", {"le": _number(bound)}, below))
            lines.append(_line(f"{metric.name}_sum", {}, metric.sum))
            lines.append(_line(f"{metric.name}_count", {}, below))
        else:
            lines += _head(metric.name, metric.help, metric.kind)
            lines += [_line(metric.name, labels, value) for labels, value in metric.samples]
    return "".join(f"{line}\n" for line in lines)


def _head(name: str, said: str, kind: str) -> list[str]:
    escaped = said.replace("\\", r"\\").replace("\n", r"\n")
    return [f"# HELP {name} {escaped}", f"# TYPE {name} {kind}"]


def _line(name: str, labels: Mapping[str, str], value: float) -> str:
    inside = ",".join(f'{label}="{_escaped(text)}"' for label, text in sorted(labels.items()))
    return f"{name}{{{inside}}} {_number(value)}" if inside else f"{name} {_number(value)}"


def _escaped(label: str) -> str:
    return label.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def write(name: str, metrics: Iterable[Metric | Histogram], folder: Path = FOLDER) -> None:
    """Says them under the name of a program; at no time can half of them be read."""
    said = text(metrics)
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    new = folder / f".{name}.new"
    new.write_text(said)
    new.chmod(0o644)
    new.replace(folder / f"{name}.prom")


def machine(
    facts: MachineFacts, instance: str, state: State, trouble: str
) -> Iterable[Metric | Histogram]:
    """What every machine says."""
    labels = {"machine": facts.name, "role": facts.role, "instance_id": instance}
    yield gauge("site_machine_info", "Which machine this is.", 1, **labels)
    yield Metric(
        "site_machine_state",
        "1 for the state that the machine's agent says it is in, else 0.",
        [({"state": one}, float(one == state)) for one in get_args(State)],
    )
    yield gauge(
        "site_machine_trouble",
        "Whether the agent cannot follow the stack's parameters: firewall, updates.",
        float(bool(trouble)),
    )


def certificate(which: str, found: Certificate) -> Iterable[Metric]:
    """From when until when one of this machine's certificates is good."""
    for name, at in (("begins", found.begins), ("ends", found.ends)):
        yield gauge(
            f"site_certificate_{name}_timestamp_seconds",
            f"When a certificate {name}, in seconds since the epoch.",
            at,
            certificate=which,
        )


class Exposition:
    """The loop that says it. Whatever goes wrong in it costs metrics and nothing else."""

    def __init__(
        self,
        name: str,
        measure: Callable[[], Iterable[Metric | Histogram]],
        folder: Path = FOLDER,
    ) -> None:
        """`measure` is asked each time."""
        self._name = name
        self._measure = measure
        self._folder = folder
        self._said = ""

    def run(self) -> None:
        """Does not return."""
        pause = threading.Event()
        while True:
            self.step()
            pause.wait(EVERY)

    def step(self) -> None:
        """Says it once."""
        try:
            write(self._name, self._measure(), self._folder)
            self._said = ""
        except Exception as error:  # noqa: BLE001 it is not worth the program
            if str(error) != self._said:
                self._said = str(error)
                log.warning("metrics: %s", traceback.format_exc())


def start_exporter(unit: str) -> None:
    """One that does not start is missed by Prometheus, and is no reason not to serve."""
    try:
        services.start_once(unit, MEMORY / f"{unit}-started")
    except (services.ServiceError, OSError) as error:
        log.warning("metrics: %s", error)
