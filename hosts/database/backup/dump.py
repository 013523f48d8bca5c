"""A full backup: a dump that is consistent at one set of transactions, streamed into the bucket.

Two snapshots are opened while nothing is committed, which is for a few milliseconds: that of
mysqldump, and one in which every table is counted and summed, to compare a restored copy with.
The lock is of a session that mysqld ends when it is silent for a few seconds: should this process
be frozen in that moment, it blocks nobody for longer.
"""

import re
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from hosts.database.backup import checksum
from hosts.database.backup.catalog import Full, Table
from hosts.database.backup.gtids import Gtids
from hosts.database.backup.pipes import Compressed, Program
from hosts.database.backup.server import connect
from hosts.database.backup.store import Store
from hosts.database.mysql import Session

LOCK = 2
"""Seconds to wait for statements that are under way: others wait meanwhile."""
SILENT = 3
"""Seconds of silence after which mysqld ends the session that holds the lock."""
OPENED = 5.0
"""Seconds within which mysqldump has to have its snapshot."""
ACCOUNTS_OF_MYSQL = ("mysql.infoschema", "mysql.session", "mysql.sys", "root")

Report = Callable[[str], None]


class DumpError(Exception):
    """No backup came of it."""


def dump(socket: Path, store: Store, line: str, machine: str, report: Report) -> Full:
    """Takes a full backup of the mysqld behind a socket; as its manifest has it.

    Raises `DumpError`, `StoreError`, `ProgramError`, `MySQLError`; then there is no manifest.
    """
    with connect(socket) as reader:
        server, version = reader.row("SELECT @@server_uuid, @@version")
        schemas = checksum.schemas(reader)
        if not schemas:
            raise DumpError("there is no schema yet that could be backed up")
        data_size = checksum.data_size(reader)
        with _snapshots(socket, reader, schemas) as (began, gtids, accounts, dumping):
            name = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(began))}-{str(server)[:8]}"
            folder = f"{line}/full/{name}"
            counted = _Counted(dumping, report)
            stream = Compressed(counted, ended=dumping.finish)
            report(f"backup {name}: dumping")
            # A dump in text may be some times the size of the data, and is compressed.
            store.upload(f"{folder}/data.sql.gz", stream, expected=data_size * 2)
            tables, objects = _contents(reader, report)
    logins = Compressed(_Text(accounts))
    store.upload(f"{folder}/accounts.sql.gz", logins)
    full = Full(
        line=line,
        id=name,
        gtids=gtids,
        time=began,
        finished=time.time(),
        machine=machine,
        server=str(server),
        version=str(version),
        sha256=stream.sha256,
        size=stream.size,
        raw_size=stream.raw_size,
        accounts_sha256=logins.sha256,
        data_size=data_size,
        tables=tables,
        objects=objects,
    )
    store.write(f"{folder}/manifest.json", full.to_json())
    report(f"backup {name}: {len(tables)} tables, {stream.size} bytes")
    return full


@contextmanager
def _snapshots(
    socket: Path, reader: Session, schemas: list[str]
) -> Generator[tuple[float, Gtids, str, Program]]:
    """When and at which transactions both snapshots are, who may log in, and mysqldump."""
    reader.run(f"SET SESSION wait_timeout = {24 * 3600}, time_zone = '+00:00'")
    reader.run("SET SESSION information_schema_stats_expiry = 0, group_concat_max_len = 1048576")
    reader.run("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    with connect(socket, timeout=LOCK + SILENT) as pause:
        pause.run(f"SET SESSION lock_wait_timeout = {LOCK}, wait_timeout = {SILENT}")
        pause.run("FLUSH TABLES WITH READ LOCK")
        program = Program(_mysqldump(socket, schemas))
        try:
            reader.run("START TRANSACTION WITH CONSISTENT SNAPSHOT")
            _await_snapshot(pause, program)
            began = time.time()
            gtids = Gtids.parse(str(pause.row("SELECT @@GLOBAL.gtid_executed")[0]))
            accounts = _accounts(pause)
            pause.run("UNLOCK TABLES")
            yield began, gtids, accounts, program
        finally:
            program.end()


def _mysqldump(socket: Path, schemas: list[str]) -> list[str]:
    return [
        *("mysqldump", "--no-defaults", f"--socket={socket}", "--user=root"),
        # Older ones do not know it, and wait for as long as it takes.
        f"--loose-init-command=SET SESSION lock_wait_timeout = {LOCK}, wait_timeout = {24 * 3600}",
        *("--single-transaction", "--set-gtid-purged=ON", "--no-tablespaces"),
        *("--routines", "--triggers", "--events", "--hex-blob", "--max-allowed-packet=1G"),
        *("--default-character-set=utf8mb4", "--databases", *schemas),
    ]


def _await_snapshot(session: Session, program: Program) -> None:
    """Waits until mysqldump has its snapshot: then it gives up the lock that it had itself."""
    deadline = time.monotonic() + OPENED
    while time.monotonic() < deadline:
        opened = session.rows(
            "SELECT 1 FROM performance_schema.session_connect_attrs"
            " JOIN performance_schema.threads USING (processlist_id)"
            " JOIN performance_schema.events_statements_summary_by_thread_by_event_name"
            "  USING (thread_id)"
            " WHERE attr_name = '_pid' AND attr_value = %s"
            " AND event_name = 'statement/sql/unlock_tables' AND count_star > 0",
            str(program.process.pid),
        )
        if opened:
            return
        if program.process.poll() == 0:
            return  # all of it within the lock
        if program.process.poll() is not None:
            program.finish()
        time.sleep(0.01)
    raise DumpError(f"mysqldump had no snapshot within {OPENED:.0f} s")


def _accounts(session: Session) -> str:
    """Statements that make every account as it is, its password's hash included."""
    session.run("SET SESSION print_identified_with_as_hex = ON")
    listed = session.rows("SELECT user, host FROM mysql.user ORDER BY user, host")
    names = [(str(user), str(host)) for user, host in listed if user not in ACCOUNTS_OF_MYSQL]
    made: list[str] = []
    for user, host in names:
        (statement,) = session.row("SHOW CREATE USER %s@%s", user, host)
        made.append(re.sub("^CREATE USER", "CREATE USER IF NOT EXISTS", str(statement)))
    # Grants may be of roles, which are accounts, too.
    for user, host in names:
        made += [str(grant) for (grant,) in session.rows("SHOW GRANTS FOR %s@%s", user, host)]
    return "".join(f"{statement};\n" for statement in made)


def _contents(reader: Session, report: Report) -> tuple[dict[str, Table], dict[str, int]]:
    tables: dict[str, Table] = {}
    for schema, name in checksum.tables(reader):
        report(f"summing {schema}.{name}")
        tables[f"{schema}.{name}"] = checksum.table(reader, schema, name)
    return tables, checksum.objects(reader)


class _Counted:
    """What mysqldump says, with a word on how much it was from time to time."""

    def __init__(self, program: Program, report: Report) -> None:
        assert program.process.stdout  # noqa: S101 it was asked for
        self._source = program.process.stdout
        self._report = report
        self._size = 0
        self._said = time.monotonic()

    def read(self, size: int = -1, /) -> bytes:
        piece = self._source.read(size)
        self._size += len(piece)
        if time.monotonic() - self._said >= 1:
            self._said = time.monotonic()
            self._report(f"dumped {self._size // 1024 // 1024} MiB")
        return piece


class _Text:
    """A text as a stream."""

    def __init__(self, text: str) -> None:
        self._left = text.encode()

    def read(self, size: int = -1, /) -> bytes:
        taken = self._left if size < 0 else self._left[:size]
        self._left = self._left[len(taken) :]
        return taken
