"""Sets of transactions (GTIDs), without a server to ask. Pure.

`a1b2…:1-5:7, c3d4…:tag:1-3`: for each source (a server's UUID, perhaps with a tag) the numbers of
its transactions, as intervals.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

Interval = tuple[int, int]
"""The first and the last, both in it."""

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_NUMBERS = re.compile(r"(\d+)(?:-(\d+))?")
_TAG = re.compile(r"[a-z_][a-z0-9_]{0,31}")


@dataclass(frozen=True)
class Gtids:
    """A set of transactions.

    `+` is the union, `-` the difference, `&` what both have, `<=` whether it is contained.
    """

    sources: Mapping[str, tuple[Interval, ...]] = field(
        default_factory=dict[str, tuple[Interval, ...]]
    )
    """Intervals in their order, none touching the next."""

    @classmethod
    def parse(cls, text: str) -> "Gtids":
        """Of MySQL's notation. Raises `ValueError` with what is wrong."""
        found: dict[str, list[Interval]] = {}
        for part in "".join(text.split()).lower().split(","):
            if not part:
                continue
            uuid, *rest = part.split(":")
            if not _UUID.fullmatch(uuid) or not rest:
                raise ValueError(f"{part!r} is no set of transactions such as {_EXAMPLE}")
            source = uuid
            for piece in rest:
                numbers = _NUMBERS.fullmatch(piece)
                if numbers:
                    first = int(numbers[1])
                    last = int(numbers[2] or first)
                    if not 0 < first <= last:
                        raise ValueError(f"{piece!r} is no interval of transactions such as 1-5")
                    found.setdefault(source, []).append((first, last))
                elif _TAG.fullmatch(piece):
                    source = f"{uuid}:{piece}"
                else:
                    raise ValueError(f"{part!r} is no set of transactions such as {_EXAMPLE}")
        return cls({source: _merged(intervals) for source, intervals in sorted(found.items())})

    def __str__(self) -> str:
        """In MySQL's notation, on one line."""
        return ",".join(
            ":".join([source, *(f"{a}-{b}" if a != b else str(a) for a, b in intervals)])
            for source, intervals in self.sources.items()
        )

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.sources)

    def __add__(self, other: "Gtids") -> "Gtids":
        """All of both."""
        names = sorted({*self.sources, *other.sources})
        return Gtids({name: _merged([*self._of(name), *other._of(name)]) for name in names})

    def __sub__(self, other: "Gtids") -> "Gtids":
        """Those that the other has not."""
        left = {name: _without(self._of(name), other._of(name)) for name in self.sources}
        return Gtids({name: intervals for name, intervals in left.items() if intervals})

    def __and__(self, other: "Gtids") -> "Gtids":
        """Those that both have."""
        return self - (self - other)

    def __le__(self, other: "Gtids") -> bool:
        """Whether the other has all of them."""
        return not self - other

    def __len__(self) -> int:
        """How many."""
        return sum(b - a + 1 for intervals in self.sources.values() for a, b in intervals)

    def _of(self, source: str) -> tuple[Interval, ...]:
        return self.sources.get(source, ())


def union(sets: Iterable[Gtids]) -> Gtids:
    """All of all of them."""
    return sum(sets, Gtids())


_EXAMPLE = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5"


def _merged(intervals: Iterable[Interval]) -> tuple[Interval, ...]:
    merged: list[Interval] = []
    for first, last in sorted(intervals):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return tuple(merged)


def _without(ours: Iterable[Interval], theirs: Iterable[Interval]) -> tuple[Interval, ...]:
    left = list(ours)
    for first, last in theirs:
        cut: list[Interval] = []
        for a, b in left:
            if b < first or a > last:
                cut.append((a, b))
                continue
            cut += [(a, first - 1)] if a < first else []
            cut += [(last + 1, b)] if b > last else []
        left = cut
    return tuple(left)
