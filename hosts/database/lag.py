"""How far behind a replica is, as a bound that holds whatever the reason is.

About once a second the primary's set of transactions is asked for, and the time at which it
was. When the replica has executed such a set, its data is at least as new as that time.
"""

from collections.abc import Callable
from dataclasses import dataclass

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
