"""A table for people: columns under their heads, numbers to the right."""

from collections.abc import Collection, Sequence


def lines(
    head: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[str] = ()
) -> list[str]:
    """The rows as lines; `right` names the columns that are numbers."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    return [
        "  ".join(
            text.rjust(width) if name in right else text.ljust(width)
            for name, text, width in zip(head, row, widths, strict=True)
        ).rstrip()
        for row in (head, *rows)
    ]
