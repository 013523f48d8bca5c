"""Binary logs on their way into the bucket: the closed ones, and the growing one's new end.

Pieces are cut between transactions, and are of bytes of the file. `head.json` says how far a log
was shipped and is written after the piece: what it does not speak of is no part of the log yet.
"""

import time
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from hosts.database.backup import binlog, catalog
from hosts.database.backup.catalog import Log
from hosts.database.backup.gtids import Gtids
from hosts.database.backup.pipes import Compressed
from hosts.database.backup.plan import chain
from hosts.database.backup.store import Store
from hosts.database.mysql import Session

PIECE = 64 * 1024 * 1024
"""Bytes of a log after which a piece ends with the transaction."""
STILL = 60.0
"""Seconds after which a log that does not grow is said to be as long as it was."""


class GapError(Exception):
    """The logs that this server still has do not lead on from what is in the bucket."""


class Shipper:
    """Ships the logs of one server. It is made anew when a machine begins to."""

    def __init__(self, store: Store, line: str, machine: str, data: Path) -> None:
        """`data` is the server's folder. Nothing happens yet."""
        self._store = store
        self._line = line
        self._machine = machine
        self._data = data
        self._log: Log | None = None
        self.bucket = store.bucket

    def ship(self, session: Session) -> int:
        """Brings the bucket up to what the server has written; how many bytes that took.

        Raises `GapError`, `LogError`, `StoreError`, `MySQLError`, `OSError`; what was not shipped
        is at the next call.
        """
        as_of = time.time()
        local, position = binlog.logs(session)
        names = [log.name for log in local]
        if self._log is None or self._log.name not in names:
            self._log = self._resume(session, local)
        shipped = 0
        for log in local[names.index(self._log.name) :]:
            if log.name != self._log.name:
                self._log = self._begin(session, log.name)
            end = position.end if log.name == position.name else log.size
            while self._log.end < end:
                before = self._log.end
                self._log = self._piece(self._log, end, as_of)
                shipped += self._log.end - before
        if as_of - self._log.as_of >= STILL:
            self._note(replace(self._log, as_of=as_of))
        return shipped

    def _resume(self, session: Session, local: list[binlog.Local]) -> Log:
        """Where to go on: at the newest log before which nothing is missing in the bucket."""
        fulls = catalog.fulls(self._store, self._line)
        if not fulls:
            raise GapError("there is no full backup yet that binary logs could lead on from")
        known = catalog.logs(self._store, self._line)
        covered, _ = chain(fulls[-1].gtids, known)
        for log in reversed(local):
            if binlog.previous(session, log.name) <= covered:
                begun = self._begin(session, log.name)
                return next((one for one in known if one.folder == begun.folder), begun)
        missing = binlog.previous(session, local[0].name) - covered
        raise GapError(f"the transactions {missing} are in no binary log any more")

    def _begin(self, session: Session, name: str) -> Log:
        (server,) = session.row("SELECT @@server_uuid")
        before = binlog.previous(session, name)
        return Log(
            line=self._line,
            server=str(server),
            name=name,
            begun=binlog.created(self._data / name),
            previous=before,
            executed=before,
            end=0,
            first=None,
            last=None,
            as_of=0.0,
            machine=self._machine,
        )

    def _piece(self, log: Log, end: int, as_of: float) -> Log:
        path = self._data / log.name
        found: list[str] = []
        first, last = log.first, log.last
        for one in binlog.transactions(path, log.end, end):
            found.append(one.gtid)
            first = first or one.committed
            last = max(last or 0.0, one.committed)
            if one.end - log.end >= PIECE:
                end = one.end
                break
        with path.open("rb") as file:
            file.seek(log.end)
            content = _Bytes(file, end - log.end)
            stream = Compressed(content, level=1)
            key = f"{log.folder}/{log.end:012}-{end:012}.gz"
            self._store.upload(key, stream, expected=end - log.end)
        longer = replace(
            log,
            end=end,
            executed=log.executed + Gtids.parse(",".join(found)),
            first=first,
            last=last,
            as_of=as_of,
        )
        self._note(longer)
        return longer

    def _note(self, log: Log) -> None:
        self._store.write(f"{log.folder}/head.json", log.to_json())
        self._log = log


class _Bytes:
    """So many bytes of a file."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._left = size

    def read(self, size: int = -1, /) -> bytes:
        taken = self._file.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(taken)
        return taken
