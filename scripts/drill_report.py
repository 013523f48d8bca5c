"""A drill's report: Markdown for people, with a picture of the time beside it."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scripts import seen
from scripts.seen import Event
from scripts.visitors import Answer


@dataclass(frozen=True)
class Drill:
    """What was done, and what came of it. Times are in seconds."""

    site: str
    fault: str
    what: str
    began: float
    """Since the epoch: the first visitor."""
    ended: float
    """After that: the last one."""
    rate: float
    events: tuple[Event, ...]
    answers: tuple[Answer, ...]
    held_back: int
    trouble: str
    """Why the site is not well again; empty if it is."""

    @property
    def name(self) -> str:
        """Of its files."""
        return f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(self.began))}-{self.fault}"

    def lines(self) -> list[str]:
        """What visitors saw, a line each."""
        return [
            f"{one.name}: {one.failed} of {one.sent} failed, no good answer for {one.gap:.2f} s at"
            f" most, p99 {one.p99:.2f} s, slowest {one.slowest:.2f} s"
            for one in seen.counts(self.answers, self.ended)
        ]

    def to_json(self) -> dict[str, Any]:
        """For programs; without each single answer."""
        return {
            "site": self.site,
            "fault": self.fault,
            "what": self.what,
            "began": self.began,
            "well": not self.trouble,
            "trouble": self.trouble,
            "visitors": [asdict(one) for one in seen.counts(self.answers, self.ended)],
            "failures": dict(seen.failures(self.answers)),
            "servers": dict(seen.servers(self.answers)),
            "held_back": self.held_back,
            "events": [asdict(event) for event in self.events],
        }


def markdown(drill: Drill) -> str:
    """The report's text."""
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(drill.began))
    outcome = f"**{drill.trouble}**" if drill.trouble else "All was well again in the end."
    lines = [
        f"# {drill.fault} on {drill.site}",
        "",
        f"{at} UTC. {drill.what[:1].upper()}{drill.what[1:]}. {drill.rate:g} visitors came in each"
        f" second, each on a connection of its own. {outcome}",
        "",
        "| visitors | sent | failed | longest without a good answer | median | p99 | slowest |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {one.name} | {one.sent} | {one.failed} | {one.gap:.2f} s | {one.median:.3f} s |"
        f" {one.p99:.2f} s | {one.slowest:.2f} s |"
        for one in seen.counts(drill.answers, drill.ended)
    ]
    lines += ["", f"![what visitors saw]({drill.name}.svg)", ""]
    lines += ["Each dot is an answer, as high as it took long; each cross a failure.", ""]
    lines += ["| | after | |", "| --- | --- | --- |"]
    lines += [
        f"| {number} | {event.at:.1f} s | {event.what} |"
        for number, event in enumerate(drill.events, 1)
    ]
    if failures := seen.failures(drill.answers):
        lines += [
            "",
            "Failures: " + "; ".join(f"{n} times {why}" for why, n in failures.most_common()),
        ]
    if served := seen.servers(drill.answers):
        total = served.total()
        lines += [
            "",
            "Served by: "
            + ", ".join(f"{who} {n / total:.0%}" for who, n in sorted(served.items())),
        ]
    if drill.held_back:
        lines += ["", f"{drill.held_back} requests were not sent: too many were under way."]
    if all(answer.method == "GET" for answer in drill.answers):
        lines += ["", "Only reads were measured; `--post` measures writes as well."]
    return "\n".join([*lines, ""])


def write(drill: Drill, folder: Path) -> Path:
    """Both files; where the report is. Raises `OSError`."""
    folder.mkdir(parents=True, exist_ok=True)
    picture = seen.timeline(f"{drill.site}: {drill.what}", drill.answers, drill.events, drill.ended)
    (folder / f"{drill.name}.svg").write_text(picture)
    report = folder / f"{drill.name}.md"
    report.write_text(markdown(drill))
    return report
