"""What visitors saw: counted, and drawn along the time."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from math import ceil, log10

from scripts.visitors import Answer

WIDTH, LEFT, RIGHT, TOP, ROW, BETWEEN, BOTTOM = 960, 150, 16, 40, 110, 16, 44
"""Of the picture, in pixels."""
FASTEST, SLOWEST = 0.001, 20.0
"""Seconds: the ends of a row's scale."""
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#222}.grid{stroke:#ddd}.good{fill:#2b6cb0;"
    "fill-opacity:.45}.bad{stroke:#c53030;stroke-width:1.6}.event{stroke:#b7791f;"
    "stroke-dasharray:4 3}.number{fill:#b7791f;font-weight:700}.small{font-size:10px;fill:#666}"
)


@dataclass(frozen=True)
class Event:
    """Something that happened, seconds after the first visitor."""

    at: float
    what: str


@dataclass(frozen=True)
class Count:
    """The visitors of one kind at one address. Times are in seconds."""

    method: str
    address: str
    sent: int
    failed: int
    gap: float
    """The longest time in which none got the answer that it should have."""
    median: float
    p99: float
    slowest: float

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.method} at {self.address}"


def counts(answers: Sequence[Answer], ended: float) -> list[Count]:
    """One for each kind of request at each address; `ended`: when the last visitor came."""
    kinds = sorted({(one.method, one.address) for one in answers})
    return [
        _count(*kind, [one for one in answers if (one.method, one.address) == kind], ended)
        for kind in kinds
    ]


def _count(method: str, address: str, answers: Sequence[Answer], ended: float) -> Count:
    good = sorted(one.at + one.seconds for one in answers if one.ok)
    moments = [min(one.at for one in answers), *(at for at in good if at < ended), ended]
    took = sorted(one.seconds for one in answers)
    return Count(
        method=method,
        address=address,
        sent=len(answers),
        failed=sum(not one.ok for one in answers),
        gap=max(after - before for before, after in pairwise(moments)),
        median=_rank(took, 0.5),
        p99=_rank(took, 0.99),
        slowest=took[-1],
    )


def _rank(ordered: Sequence[float], share: float) -> float:
    return ordered[max(0, ceil(share * len(ordered)) - 1)]


def failures(answers: Sequence[Answer]) -> Counter[str]:
    """How often visitors failed in which way."""
    return Counter(one.error or f"status {one.status}" for one in answers if not one.ok)


def servers(answers: Sequence[Answer]) -> Counter[str]:
    """How many requests each application server answered."""
    return Counter(one.server for one in answers if one.ok and one.server)


def timeline(title: str, answers: Sequence[Answer], events: Sequence[Event], ended: float) -> str:
    """An SVG: a row for each kind of request at each address; a dot for each answer, as high as it
    took long; a cross for each failure; a numbered line for each event."""
    kinds = sorted({(one.method, one.address) for one in answers})
    height = TOP + len(kinds) * (ROW + BETWEEN) + BOTTOM
    base = height - BOTTOM

    def across(at: float) -> float:
        return LEFT + min(1.0, max(0.0, at / ended)) * (WIDTH - LEFT - RIGHT)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style>",
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="{LEFT}" y="16">{escape(title)}</text>',
    ]
    for number, (method, address) in enumerate(kinds):
        top = TOP + number * (ROW + BETWEEN)
        mine = [one for one in answers if (one.method, one.address) == (method, address)]
        parts += _row(f"{method}", address, top)
        parts += (_mark(one, across(one.at), top) for one in mine)
    for number, event in enumerate(events, 1):
        x = across(event.at)
        parts.append(f'<line class="event" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 8}" y2="{base}"/>')
        parts.append(f'<text class="number" x="{x - 3:.1f}" y="{TOP - 12}">{number}</text>')
    step = _step(ended)
    for tick in range(int(ended / step) + 1):
        x = across(tick * step)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{base}" y2="{base + 5}"/>')
        parts.append(f'<text class="small" x="{x - 8:.1f}" y="{base + 18}">{tick * step} s</text>')
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def _row(method: str, address: str, top: float) -> list[str]:
    parts = [
        f'<text x="8" y="{top + ROW / 2 - 4}">{escape(method)}</text>',
        f'<text class="small" x="8" y="{top + ROW / 2 + 12}">{escape(address)}</text>',
    ]
    for seconds, name in ((0.01, "10 ms"), (0.1, "100 ms"), (1, "1 s"), (10, "10 s")):
        y = top + _height(seconds)
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        parts.append(f'<text class="small" x="{LEFT - 42}" y="{y + 3:.1f}">{name}</text>')
    return parts


def _height(seconds: float) -> float:
    """How far below a row's top, on a logarithmic scale."""
    within = min(SLOWEST, max(FASTEST, seconds))
    return ROW * (1 - log10(within / FASTEST) / log10(SLOWEST / FASTEST))


def _mark(answer: Answer, x: float, top: float) -> str:
    y = top + _height(answer.seconds)
    if answer.ok:
        return f'<circle class="good" cx="{x:.1f}" cy="{y:.1f}" r="2"/>'
    return (
        f'<path class="bad" d="M{x - 3:.1f} {y - 3:.1f}l6 6m0 -6l-6 6">'
        f"<title>{escape(answer.error or str(answer.status))}</title></path>"
    )


def _step(seconds: float) -> int:
    """Of the time's scale: about ten of them."""
    return next((step for step in (1, 2, 5, 10, 20, 30, 60, 120, 300) if seconds / step <= 12), 600)  # noqa: PLR2004
