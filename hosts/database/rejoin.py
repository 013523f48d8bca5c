"""What a machine does before its own data goes: nothing that was only here is lost unseen."""

import logging
import os
import shutil
import time
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
        session.run("FLUSH BINARY LOGS")
        names = [row[0] for row in session.rows("SHOW BINARY LOGS")]
    _room(folder, sum((data / name).stat().st_size for name in names) // 10)
    path = folder / f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-never-acknowledged.sql"
    command = ("mysqlbinlog", "--verbose", f"--include-gtids={missing}", f"--result-file={path}")
    done = services.run(*command, *(str(data / name) for name in names))
    if done.returncode:
        message = f"what was only here could not be kept aside: {done.stderr.strip()}"
        raise ActionError(message)
    log.warning("kept aside in %s, as it was never acknowledged: %s", path, missing)
    _oldest_go(folder)
    return path


def empty(data: Path = volume.DATA, folder: Path = ASIDE) -> None:
    """Makes an empty database in the place of one that does not start; its logs are kept."""
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
    _oldest_go(folder)
    if data.exists():
        shutil.rmtree(data)
    volume.initialise()
    process.start()


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
