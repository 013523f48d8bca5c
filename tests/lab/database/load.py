"""A steady load on the database, as an application behind 127.0.0.1:3306 sees it."""

import json
import subprocess
import threading
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import IO

from hosts.base.lease import boottime
from tests.lab.database.judge import Read, Write, write_gap
from tests.lab.site import SLOWNESS, Site, eventually

PROGRAM = Path(__file__).with_name("program.py")
SCHEMA = "site"
TABLE = f"{SCHEMA}.load_rows"
STEADY = 50
"""Acknowledged writes after which a load counts as running."""


@dataclass
class Load:
    """What the writers and readers have seen so far; complete when the block has ended."""

    run: str
    writes: list[Write] = field(default_factory=list[Write])
    reads: list[Read] = field(default_factory=list[Read])

    def acknowledged(self, since: float, *, elsewhere_than: str = "") -> Write | None:
        """The last acknowledged write if it was begun after `since` (CLOCK_BOOTTIME).

        Only one of another server than `elsewhere_than`.
        """
        for write in reversed(self.writes):
            if write.ended < since:
                return None
            good = write.outcome == "acknowledged" and write.started > since
            if good and write.server != elsewhere_than:
                return write
        return None

    def gap(self, since: float, until: float = float("inf")) -> float:
        """See `write_gap`."""
        return write_gap(list(self.writes), since, until)

    def where(self, since: float) -> str:
        """When the longest gap began, and between which machines it was."""
        good = [w for w in self.writes if w.outcome == "acknowledged" and w.ended > since]
        good.sort(key=lambda write: write.ended)
        before, after = max(pairwise(good), key=lambda two: two[1].ended - two[0].ended)
        clock = datetime.fromtimestamp(time.time() - boottime() + before.ended).astimezone()
        return f"{clock:%H:%M:%S.%f}, {before.server} to {after.server}"

    def last(self, count: int = 12) -> str:
        """The latest attempts, for a message."""
        return "\n".join(f"{write}" for write in self.writes[-count:])


@contextmanager
def load(
    site: Site,
    *,
    server: str = "app-server-1",
    writers: int = 4,
    readers: int = 2,
    pause: float = 0.05,
    read_pause: float = 0.1,
) -> Generator[Load]:
    """Write and read on one application server for as long as the block lasts.

    Each writer waits `pause` seconds after a row, each reader `read_pause`. The block begins when
    writes are acknowledged.
    """
    seen = Load(uuid.uuid4().hex)
    orders = {
        "run": seen.run,
        "schema": SCHEMA,
        "writers": writers,
        "readers": readers,
        "pause": pause,
        "read_pause": read_pause,
        "timeout": 1.0 * SLOWNESS,
    }
    pid = site.machine(server).pid
    program = subprocess.Popen(
        [
            *("nsenter", f"--target={pid}", "--all", "--"),
            *("python3", "-c", PROGRAM.read_text()),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert program.stdin
    assert program.stdout
    assert program.stderr
    said: list[str] = []
    hear = [
        threading.Thread(target=_hear, args=(program.stdout, seen)),
        threading.Thread(target=said.extend, args=(program.stderr,)),
    ]
    for thread in hear:
        thread.start()
    try:
        program.stdin.write(json.dumps(orders) + "\n")
        program.stdin.flush()
        eventually(
            "writes are acknowledged",
            lambda: len(seen.writes) > STEADY or program.poll() is not None,
            15,
        )
        if program.poll() is not None:
            raise AssertionError(f"the load did not begin: {''.join(said)}")
        yield seen
    finally:
        program.stdin.close()
        try:
            program.wait(10 * SLOWNESS)
        except subprocess.TimeoutExpired:
            program.kill()
            program.wait()
        for thread in hear:
            thread.join()
        program.stdout.close()
        program.stderr.close()


def _hear(lines: IO[str], seen: Load) -> None:
    for line in lines:
        match json.loads(line):
            case ["write", *words]:
                seen.writes.append(Write(*words))
            case ["read", *words]:
                seen.reads.append(Read(*words))
            case _:
                pass


def rows(site: Site, database: str, run: str) -> dict[tuple[int, int], int]:
    """How often each id of a load is in the table of this machine."""
    query = f"SELECT writer, number, COUNT(*) FROM {TABLE} WHERE run = '{run}' GROUP BY 1, 2"  # noqa: S608
    return {(int(w), int(n)): int(times) for w, n, times in site.rows(database, query)}
