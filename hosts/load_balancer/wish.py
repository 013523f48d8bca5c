"""The wish of a machine for an address that another one holds, in the lease's record."""

import re

from hosts.base.lease import Record

ASKED_FOR = "asks"
"""Under this name it is in the record."""
ASKED = 2.0
"""Seconds after which a wish that was not repeated is none any more."""


class Wish:
    """The other machine's wish for the address, as the holder reads it in the record.

    It counts while it is repeated: a wish that stands there unchanged may be a dead machine's.
    """

    def __init__(self, me: str) -> None:
        """Nothing was read yet."""
        self._me = me
        self._text: str | None = None
        self._heard_at = float("-inf")

    def read(self, record: Record | None, now: float) -> None:
        """Notes what a record says that was read `now`."""
        text = str(record.extra.get(ASKED_FOR, "")) if record else ""
        if text and self._text is not None and text != self._text:
            self._heard_at = now
        self._text = text

    def by(self, now: float) -> tuple[str, float] | None:
        """Who wishes for the address now, and the seconds for which it has been well."""
        if now - self._heard_at > ASKED or not self._text:
            return None
        found = re.fullmatch(r"([^/]+)/(\d+)/\d+", self._text)
        return (found[1], float(found[2])) if found and found[1] != self._me else None

    @staticmethod
    def text(me: str, well_for: float, count: int) -> str:
        """A wish as it stands in the record; `count` makes it another one each time."""
        return f"{me}/{min(well_for, 1e6):.0f}/{count}"
