"""What a machine does before its own data goes: nothing that was only here is lost unseen."""

import logging
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from hosts.base import services
from hosts.database import process, volume
from hosts.database.mysql import local
from hosts.database.observe import UNIT
from hosts.database.replica import ActionError

log = logging.getLogger("database")

ASIDE = volume.MOUNT / "aside"
KEPT = 20
"""Files that are kept, the newest."""
ROOM = 64 * 1024 * 1024
"""Bytes that stay free on the volume."""


def keep_aside(missing: str, data: Path = volume.DATA, folder: Path = ASIDE) -> Path:
    """Writes transactions that only this machine has into a file that people and mysql can read.

    Nobody was ever told that they were done. Raises `ActionError` if that cannot be.
    """
    with local(10) as session:
        session.run("SET GLOBAL binlog_expire_logs_auto_purge = OFF")
        session.run("FLUSH BINARY LOGS")
        names = [row[0] for row in session.rows("SHOW BINARY LOGS")]
        purged = session.row(
            "SELECT GTID_SUBTRACT(%s, GTID_SUBTRACT(%s, @@global.gtid_purged))", missing, missing
        )[0]
    if purged:
        log.error("of what was only here, this is in no binary log any more: %s", purged)
    _room(folder, sum((data / name).stat().st_size for name in names) // 10)
    path = folder / f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-never-acknowledged.sql"
    done = _dump([data / name for name in names], f"--include-gtids={missing}", path=path)
    if done.returncode:
        message = f"what was only here could not be kept aside: {done.stderr.strip()}"
        raise ActionError(message)
    log.warning("kept aside in %s, as it was never acknowledged: %s", path, missing)
    _oldest_go(folder)
    return path


def empty(there: str, data: Path = volume.DATA, folder: Path = ASIDE) -> None:
    """Makes an empty database in the place of one that does not start; its logs are kept.

    What they have beside the primary's transactions, which are given, is kept readable, too.
    """
    services.systemctl("stop", UNIT)
    if process.main_pid():
        message = "mysqld does not end"
        raise ActionError(message)
    logs = [path for path in data.glob("binlog.*") if path.is_file()]
    kept = folder / f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-did-not-start"
    _room(folder, 0)
    kept.mkdir(exist_ok=True)
    for path in logs:
        path.rename(kept / path.name)
    log.warning("the database did not start and is made anew; its binary logs are in %s", kept)
    _read(sorted(kept.glob("binlog.[0-9]*")), there, kept.with_name(f"{kept.name}.sql"))
    _oldest_go(folder)
    if data.exists():
        shutil.rmtree(data)
    volume.initialise()
    process.start()


def _read(logs: Sequence[Path], there: str, path: Path) -> None:
    """As far as they can be read. Whatever happens here, the logs themselves are kept."""
    try:
        _room(path.parent, sum(one.stat().st_size for one in logs))
        done = _dump(logs, f"--exclude-gtids={there}", "--force-read", path=path)
    except (ActionError, OSError) as error:
        log.warning("what only this machine had is not written out: %s", error)
        return
    with path.open(encoding="utf-8", errors="replace") as lines:
        found = sum(line.startswith("SET @@SESSION.GTID_NEXT= '") and ":" in line for line in lines)
    if done.returncode:
        log.warning("not all of them could be read: %s", done.stderr.strip())
    if found:
        log.warning("kept aside in %s: %d transactions that only this machine had", path, found)
    elif not done.returncode:
        path.unlink()


def _dump(logs: Sequence[Path], *options: str, path: Path) -> subprocess.CompletedProcess[str]:
    command = ("mysqlbinlog", "--verbose", *options, f"--result-file={path}")
    return services.run(*command, *(str(one) for one in logs))


def _room(folder: Path, needed: int) -> None:
    folder.mkdir(mode=0o750, exist_ok=True)
    found = os.statvfs(folder)
    if found.f_bavail * found.f_frsize < needed + ROOM:
        message = f"there is no room in {folder} to keep anything aside"
        raise ActionError(message)


def _oldest_go(folder: Path) -> None:
    for path in sorted(folder.iterdir())[:-KEPT]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
