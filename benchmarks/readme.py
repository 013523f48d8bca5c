"""The README's table of figures, between its two markers."""

import re
from dataclasses import dataclass
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
MARKERS = re.compile(r"(<!-- figures -->\n).*(<!-- /figures -->)", re.DOTALL)


@dataclass(frozen=True)
class Figure:
    what: str
    measured: str
    goal: str = ""


def table(figures: list[Figure], machine: str) -> str:
    rows = [f"| {figure.what} | {figure.measured} | {figure.goal} |" for figure in figures]
    return "\n".join(
        [
            f"Measured by `make bench` on {machine}; your machine will differ, ratios less so.",
            "",
            "| what | measured | goal |",
            "| --- | --- | --- |",
            *rows,
            "",
        ]
    )


def write(figures: list[Figure], machine: str) -> None:
    text = README.read_text()
    new = MARKERS.sub(lambda found: found[1] + table(figures, machine) + found[2], text)
    README.write_text(new)
