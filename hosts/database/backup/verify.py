"""Whether a full backup can be restored: it is, into a scratch mysqld, and compared."""

import time
from collections.abc import Iterator
from pathlib import Path

from hosts.database.backup import checksum
from hosts.database.backup.catalog import Full, Verdict
from hosts.database.backup.dump import Report
from hosts.database.backup.gtids import Gtids
from hosts.database.backup.pipes import CorruptError, ProgramError, decompressed, feed
from hosts.database.backup.server import RoomError, check_room, client, connect, scratch
from hosts.database.backup.store import MissingError, Store

MIB = 1024 * 1024
SAID = 2.0
"""Seconds between two words on how a load goes."""
SHOWN = 5
"""Differences that a verdict names."""


def verify(store: Store, full: Full, folder: Path, machine: str, report: Report) -> Verdict:
    """Restores a backup into a folder that is made for it; the verdict is kept beside it.

    Raises `RoomError`, `ScratchError`, `StoreError`: then nothing is known of the backup.
    """
    check_room(folder.parent, full.data_size)
    began = time.monotonic()
    report(f"verify {full.id}: restoring it into a scratch mysqld")
    with scratch(folder) as server:
        try:
            load(store, full, server.socket, report)
        except (CorruptError, MissingError, ProgramError) as error:
            said = str(error)
            if "is full" in said or "No space left" in said:
                raise RoomError(
                    f"the disk was full before {full.id} was restored: {said}"
                ) from error
            found = [said]
        else:
            found = list(differences(full, server.socket, report))
    took = time.monotonic() - began
    rows = sum(table.rows for table in full.tables.values())
    verdict = Verdict(
        good=not found,
        detail="; ".join(found[:SHOWN])
        or f"restored in {took:.0f} s: {len(full.tables)} tables with {rows} rows are as they were",
        time=time.time(),
        machine=machine,
    )
    store.write(f"{full.folder}/verified.json", verdict.to_json())
    report(f"verify {full.id}: {'good' if verdict.good else 'BAD'}: {verdict.detail}")
    return verdict


def load(store: Store, full: Full, socket: Path, report: Report) -> None:
    """Executes a backup on an empty mysqld, without a trace in its binary log.

    Raises `CorruptError`, `MissingError`, `ProgramError`.
    """
    key = f"{full.folder}/data.sql.gz"
    stream, _ = store.open(key)
    pieces = decompressed(stream, f"s3://{store.bucket}/{key}", full.sha256)
    feed(client(socket, logged=False), _counted(pieces, full, report))


def _counted(pieces: Iterator[bytes], full: Full, report: Report) -> Iterator[bytes]:
    done, said = 0, time.monotonic()
    for piece in pieces:
        done += len(piece)
        if time.monotonic() - said >= SAID:
            said = time.monotonic()
            report(f"loaded {done // MIB} of {full.raw_size // MIB} MiB of {full.id}")
        yield piece


def differences(full: Full, socket: Path, report: Report) -> Iterator[str]:
    """How what a mysqld holds differs from the backup that was loaded into it, in words."""
    with connect(socket) as session:
        session.run("SET SESSION time_zone = '+00:00', information_schema_stats_expiry = 0")
        session.run("SET SESSION group_concat_max_len = 1048576")
        (executed,) = session.row("SELECT @@GLOBAL.gtid_executed")
        if Gtids.parse(str(executed)) != full.gtids:
            yield f"its transactions are {executed} and not {full.gtids}"
        there = {f"{schema}.{name}": (schema, name) for schema, name in checksum.tables(session)}
        yield from (f"there is no table {name}" for name in full.tables if name not in there)
        for label, (schema, name) in there.items():
            report(f"comparing {label}")
            found, noted = checksum.table(session, schema, name), full.tables.get(label)
            if noted is None:
                yield f"there is a table {label} that there was not"
            elif found.rows != noted.rows:
                yield f"{label} has {found.rows} rows and had {noted.rows}"
            elif found != noted:
                yield f"{label} has other content"
        for label, count in {**dict.fromkeys(checksum.objects(session), 0), **full.objects}.items():
            found_count = checksum.objects(session).get(label, 0)
            if found_count != count:
                yield f"{label}: {found_count}, and there were {count}"
