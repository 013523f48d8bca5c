"""What a load saw, judged: what is in the table against what was said about it."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

Id = tuple[int, int]
"""Writer, and the number in its sequence."""


@dataclass(frozen=True, slots=True)
class Write:
    """One attempt to write a row. Times are seconds of CLOCK_BOOTTIME."""

    writer: int
    number: int
    started: float
    ended: float
    outcome: Literal["acknowledged", "denied", "unknown"]
    """`denied`: it was refused before it could run; `unknown`: sent, and no answer."""
    server: str
    detail: str

    @property
    def id(self) -> Id:
        return self.writer, self.number


@dataclass(frozen=True, slots=True)
class Read:
    """One attempt to read."""

    reader: int
    started: float
    ended: float
    outcome: Literal["read", "late", "failed", "backwards"]
    """`late`: no server had what the session has seen; `backwards`: one gave less than that."""
    server: str
    detail: str


@dataclass(frozen=True)
class Verdict:
    """What is wrong, and how much of it are acknowledged writes that are gone."""

    complaints: list[str]
    lost: int


def judge(writes: Iterable[Write], reads: Iterable[Read], table: Mapping[Id, int]) -> Verdict:
    """What is wrong with the `table`, which says how often each id is in it.

    Acknowledged: exactly once. Never sent or refused: not at all. Otherwise: at most once.
    """
    said: dict[Id, list[Write]] = {}
    for write in writes:
        said.setdefault(write.id, []).append(write)
    lost: list[str] = []
    others: list[str] = []
    for id_, attempts in said.items():
        outcomes = {attempt.outcome for attempt in attempts}
        times = table.get(id_, 0)
        if times == 0 and "acknowledged" in outcomes:
            lost.append(f"acknowledged and gone: {attempts}")
        elif times > 1:
            others.append(f"{times} times in the table: {attempts}")
        elif times and outcomes == {"denied"}:
            others.append(f"refused, and in the table: {attempts}")
    others += [f"in the table, and never sent: {id_}" for id_ in table.keys() - said.keys()]
    asked = list(reads)
    others += [f"{read}" for read in asked if read.outcome == "backwards"]
    if asked and all(read.outcome == "failed" for read in asked):
        others.append(f"of {len(asked)} reads none was answered")
    return Verdict(lost + others, len(lost))


def write_gap(writes: Iterable[Write], since: float, until: float = float("inf")) -> float:
    """The longest time in seconds between two acknowledged writes that began in that time.

    From the last one before `since` to the first one after `until`; infinite if none came.
    """
    ends = sorted(write.ended for write in writes if write.outcome == "acknowledged")
    within = [end - begin for begin, end in pairwise(ends) if end > since and begin < until]
    return max(within, default=float("inf"))


def summary(writes: Iterable[Write], reads: Iterable[Read]) -> str:
    """How many of which outcome."""
    counts = Counter(f"{write.outcome} writes" for write in writes)
    counts += Counter(f"reads {read.outcome}" for read in reads)
    return ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))
