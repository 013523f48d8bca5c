"""How far behind a replica is, as a bound that holds whatever the reason is.

About once a second the primary's set of transactions is asked for, and the time at which it
was. When the replica has executed such a set, its data is at least as new as that time.
"""

import json
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

KEPT = 64


@dataclass(frozen=True)
class _Mark:
    at: float
    transactions: str


class Lag:
    """The bound. Times are of one monotonic clock, in seconds."""

    def __init__(self) -> None:
        """Nothing is known yet: infinitely far behind."""
        self._marks: list[_Mark] = []
        self._current = float("-inf")

    def asked(self, at: float, transactions: str) -> None:
        """The primary was asked at this time, and had executed these."""
        mark = _Mark(at, transactions)
        if len(self._marks) >= KEPT:
            # Far behind: the earlier marks are the ones that will be reached first.
            self._marks[-1] = mark
        else:
            self._marks.append(mark)

    def executed(self, contains: Callable[[str], bool]) -> None:
        """The replica was asked after that: `contains` says whether it has executed a set."""
        for number in range(len(self._marks) - 1, -1, -1):
            if contains(self._marks[number].transactions):
                self._current = self._marks[number].at
                del self._marks[: number + 1]
                return

    def seconds(self, now: float) -> float:
        """The replica is at most this far behind."""
        return now - self._current


class Kept:
    """The lag at the primary's last sign of life, for an agent that starts anew after it.

    The file is not to outlive the boot. What cannot be written or read is not known.
    """

    def __init__(self, file: Path) -> None:
        """Nothing is read yet."""
        self._file = file
        self._written: tuple[str, float] = ("", math.inf)

    def at(self, sign: str, lag: float) -> float:
        """The lag at this sign of life, in seconds: as it is known now, else as it was kept."""
        if lag == math.inf:
            return self._read(sign)
        if (sign, lag) != self._written:
            new = self._file.with_suffix(".new")
            with suppress(OSError):
                new.write_text(json.dumps([sign, lag]))
                new.replace(self._file)
                self._written = sign, lag
        return lag

    def _read(self, sign: str) -> float:
        try:
            kept, lag = json.loads(self._file.read_text())
            return float(lag) if kept == sign else math.inf
        except (OSError, TypeError, ValueError):
            return math.inf
