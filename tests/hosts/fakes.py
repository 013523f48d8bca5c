"""A clock that is moved by hand, and a table of leases in memory."""

from collections.abc import Mapping
from dataclasses import replace

from hosts.base.lease import Record, UnreachableError, Value


class Clock:
    """Seconds, moved by the test."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class MemoryTable:
    """Conditional writes, as DynamoDB does them; can be made unreachable."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.unreachable = False
        self.writes_unanswered = False
        """Writes are done, and nobody is told."""
        self.writes = 0

    def read(self, name: str) -> Record | None:
        if self.unreachable:
            raise UnreachableError("away")
        return self.records.get(name)

    def write(
        self, name: str, expected: Mapping[str, Value] | None, changes: Mapping[str, Value | None]
    ) -> Record | None:
        if self.unreachable:
            raise UnreachableError("away")
        before = self.records.get(name)
        if expected is None:
            if before is not None:
                return None
        elif before is None or any(
            getattr(before, key, before.extra.get(key)) != value for key, value in expected.items()
        ):
            return None
        self.writes += 1
        record = before or Record("", 0, 0, released=False, lease=0.0)
        extra = dict(record.extra)
        for key, value in changes.items():
            if key == "lease" and isinstance(value, int):
                record = replace(record, lease=value / 1000)
            elif key in ("holder", "generation", "counter", "released"):
                record = replace(record, **{key: value})  # type: ignore[arg-type]
            elif value is None:
                extra.pop(key, None)
            else:
                extra[key] = value
        self.records[name] = replace(record, extra=extra)
        if self.writes_unanswered:
            raise UnreachableError("no answer")
        return self.records[name]
