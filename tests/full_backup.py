"""A full backup as its manifest has it; tests change what they are about."""

from dataclasses import replace
from typing import Any

from hosts.database.backup.catalog import Full, Verdict
from hosts.database.backup.gtids import Gtids

SERVER = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
_FULL = Full(
    line="database",
    id="",
    gtids=Gtids(),
    time=0,
    finished=0,
    machine="database-2",
    server=SERVER,
    version="9.7.4",
    sha256="",
    size=1,
    raw_size=1,
    accounts_sha256="",
    data_size=1,
    tables={},
    objects={},
)


def full(
    time: float, *, good: bool | None = True, detail: str = "it was tried", **changes: Any
) -> Full:
    """The one of `time`, done a second later; `good` is its verdict, None of one not yet tried."""
    verdict = None if good is None else Verdict(good, detail, time, "database-2")
    named = replace(_FULL, id=f"at-{time:.0f}", time=time, finished=time + 1, verified=verdict)
    return replace(named, **changes)
