"""What the commands show: steps with their times, and tables. Plain when not on a terminal."""

import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

QUIET = 10.0
"""Seconds between two lines of progress where each stays, off a terminal."""

COLOURS = {"ready": "green", "running": "green", "failed": "bold red", "terminated": "red"}

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """One line for the user."""
    out.print(escape(text))


def complain(text: str) -> None:
    """What went wrong, as a sentence on standard error."""
    sentence = text[:1].upper() + text[1:] + ("" if text.endswith((".", ")")) else ".")
    err.print(f"[bold red]✗[/] {escape(sentence)}")


@contextmanager
def step(title: str) -> Generator[Callable[[str], None]]:
    """A step of a longer task: what it is at, while it runs, and how long it took.

    Gives a function to be told of progress.
    """
    started = time.monotonic()
    if out.is_terminal:
        with out.status(f"{escape(title)} …") as status:
            yield lambda line: status.update(f"{escape(title)} [dim]{escape(line)}[/]")
    else:
        say(f"· {title} ...")
        yield _seldom()
    out.print(f"[green]✓[/] {escape(title)} [dim]{_seconds(time.monotonic() - started)}[/]")


def _seldom() -> Callable[[str], None]:
    last = time.monotonic()

    def tell(line: str) -> None:
        nonlocal last
        if time.monotonic() - last >= QUIET:
            last = time.monotonic()
            say(f"    {line}")

    return tell


def done(title: str, started: float) -> None:
    """Say that a step is done which showed its own progress; `started` is of time.monotonic."""
    out.print(f"[green]✓[/] {escape(title)} [dim]{_seconds(time.monotonic() - started)}[/]")


def _seconds(passed: float) -> str:
    minutes, seconds = divmod(passed, 60)
    return f"{minutes:.0f} min {seconds:.0f} s" if minutes else f"{seconds:.1f} s"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table; states are in colour."""
    shown = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        shown.add_column(column)
    for row in rows:
        shown.add_row(*(Text(cell, style=COLOURS.get(cell, "")) for cell in row))
    if out.is_terminal:
        out.print(shown)
        return
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    for row in (columns, *rows):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        sys.stdout.write(line.rstrip() + "\n")
    sys.stdout.flush()
