"""As many writes as there can be: each writer inserts a row, waits for the answer, and again.

Standard input: JSON, the fields of `Given`. Standard output: JSON, the seconds that each
acknowledged write took. It takes a few processes, so that not Python is what is measured.
"""

import json
import multiprocessing
import ssl
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any

import pymysql

PROCESSES = 4
PASSWORD = "/run/site/database-password"  # noqa: S105 where it is
AUTHORITY = "/run/site/database-ca.pem"
INSERT = f"INSERT INTO writes (filling) VALUES ('{'x' * 100}')"  # noqa: S608 nobody's input


@dataclass(frozen=True)
class Given:
    """Times are in seconds."""

    address: str
    writers: int
    warm_up: float
    """Writes of that time do not count."""
    seconds: float


def main() -> None:
    """Writes, and says how it went."""
    given = Given(**json.loads(sys.stdin.read()))
    processes = min(PROCESSES, given.writers)
    shares = [len(range(number, given.writers, processes)) for number in range(processes)]
    # All begin to count at the same moment, connected.
    start = time.monotonic() + 1
    fork = multiprocessing.get_context("fork")
    with fork.Pool(processes) as pool:
        found = pool.starmap(share, [(given, writers, start) for writers in shares], chunksize=1)
    json.dump([seconds for some in found for seconds in some], sys.stdout)


def share(given: Given, writers: int, start: float) -> list[float]:
    """One process and its writers."""
    found: list[list[float]] = [[] for _ in range(writers)]
    threads = [
        threading.Thread(target=write, args=(given, connect(given.address), start, mine))
        for mine in found
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [seconds for mine in found for seconds in mine]


def write(given: Given, connection: Any, start: float, taken: list[float]) -> None:
    """One writer."""
    time.sleep(max(0, start - time.monotonic()))
    first = start + given.warm_up
    last = first + given.seconds
    begun = time.monotonic()
    while begun < last:
        connection.query(INSERT)
        ended = time.monotonic()
        if first < ended < last:
            taken.append(ended - begun)
        begun = ended
    connection.close()


def connect(address: str) -> Any:
    """Over TLS, verified."""
    with open(PASSWORD) as file:  # noqa: PTH123
        password = file.read().strip()
    return pymysql.connect(
        host=address,
        user="application",
        password=password,
        database="site",
        autocommit=True,
        ssl=ssl.create_default_context(cafile=AUTHORITY),
    )


if __name__ == "__main__":
    main()
