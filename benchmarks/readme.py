"""The README's tables of figures, each between two markers."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


@dataclass(frozen=True)
class Figure:
    what: str
    measured: str
    goal: str = ""


def table(figures: list[Figure]) -> str:
    rows = [(figure.what, figure.measured, figure.goal or "-") for figure in figures]
    return columns(("what", "measured", "goal"), rows)


def columns(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def write(name: str, content: str) -> None:
    """Put `content` between `<!-- name -->` and `<!-- /name -->`."""
    markers = re.compile(rf"(<!-- {name} -->\n).*(<!-- /{name} -->)", re.DOTALL)
    new = markers.sub(lambda found: found[1] + content + found[2], README.read_text())
    README.write_text(new)
