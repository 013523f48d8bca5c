"""The price of safety, as ratios from one run: `python -m benchmarks.replication`.

Measured on the lab's primary and its replica, with the machines' own settings (`sync_binlog` and
`innodb_flush_log_at_trx_commit` are 1):

- Writes per second and the 99th percentile of how long one takes, with 1, 8 and 32 writers that
  insert small rows over TLS from an application server, each as fast as it is answered. Three
  ways: one lone server (binary log on, nobody reads it), asynchronous, and semi-synchronous
  (AFTER_SYNC, as the site replicates). The ways take turns, in another order each round, and the
  ratios are medians of the rounds' own ratios: what slows the machine slows all of them alike.
- The replica's lag under that load: from a transaction's commit on the primary until it is
  applied, of a sample of transactions.
- The time to rebuild a replica of 1 GB by CLONE, as the agent does: until mysqld is back, and
  until it has caught up. The primary has nothing else to do meanwhile.

All machines of a lab share its processors and its disk. So a replica costs the primary more here
than it does on machines of their own, and the way between them costs next to nothing: for two
availability zones add a round trip to every semi-synchronous write.

Wants a machine on which no lab runs, and leaves none. Takes some eight minutes.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks import by_hand, readme
from benchmarks.by_hand import say
from benchmarks.programs import lag, writers
from benchmarks.programs.writers import Given
from tests.lab.site import Site, eventually

SETTINGS = {"database.replicas": 1, "database.volumeSize": 8, "appServers.count": 1}
ROUNDS = 4
WRITERS = (1, 8, 32)
WARM_UP = 1.0
SECONDS = 3.0
GIGABYTE = 1_000_000_000
ROW = 1000
"""Bytes, as in `FILL`."""
CHUNK = 50_000
"""Rows of one transaction."""
LONGEST = 180.0
TABLE = """
CREATE TABLE site.writes
(id BIGINT AUTO_INCREMENT PRIMARY KEY, filling VARCHAR(100) NOT NULL)
"""
FILL = """
INSERT INTO site.ballast (content)
WITH RECURSIVE numbers (n) AS
(SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < @@session.cte_max_recursion_depth)
SELECT RANDOM_BYTES(1000) FROM numbers
"""
LONE, ASYNCHRONOUS, SEMI_SYNCHRONOUS = WAYS = ("lone", "asynchronous", "semi-synchronous")


@dataclass
class Throughput:
    """Of one way with so many writers, a value for each round."""

    per_second: list[float] = field(default_factory=list[float])
    p99: list[float] = field(default_factory=list[float])
    """Seconds."""
    lags: list[float] = field(default_factory=list[float])
    """Seconds, of sampled transactions of all rounds."""


@dataclass
class Clone:
    """Seconds, but for the size."""

    gigabytes: float
    """Of the tables on the disk."""
    copied: float
    """Until mysqld is back with the copy."""
    caught_up: float
    """Until it is a replica that has everything."""


Load = dict[str, dict[int, Throughput]]


class Pair:
    """A primary and its replica, led by hand."""

    def __init__(self, site: Site) -> None:
        """Takes both from their agents."""
        self._site = site
        self._password = site.secret("/site/lab/database/replication-password")
        self.primary, self.replica = by_hand.take(site)
        self.address = site.machine(self.primary).address
        # The guard that was stopped may have closed it.
        self._on_primary("SET GLOBAL super_read_only = OFF", "SET GLOBAL read_only = OFF", TABLE)

    def _on_primary(self, *statements: str) -> None:
        by_hand.sql(self._site, self.primary, *statements)

    def _on_replica(self, *statements: str) -> None:
        by_hand.sql(self._site, self.replica, *statements)

    def replicate(self, way: str) -> None:
        """One of `WAYS`; returns when it is so, and the replica, if any, is up to date."""
        self._on_replica("STOP REPLICA")
        self._on_primary("SET GLOBAL rpl_semi_sync_source_enabled = OFF")
        if way == LONE:
            return
        semi = way == SEMI_SYNCHRONOUS
        self._on_replica(f"SET GLOBAL rpl_semi_sync_replica_enabled = {semi}")
        self.follow()
        if semi:
            self._on_primary(
                "SET GLOBAL rpl_semi_sync_source_wait_for_replica_count = 1",
                "SET GLOBAL rpl_semi_sync_source_wait_point = AFTER_SYNC",
                "SET GLOBAL rpl_semi_sync_source_timeout = 4294967295",
                "SET GLOBAL rpl_semi_sync_source_enabled = ON",
            )
            eventually("the replica acknowledges", self._acknowledges, LONGEST)

    def _acknowledges(self) -> bool:
        query = (
            "SELECT SUM(VARIABLE_NAME = 'Rpl_semi_sync_source_status' AND VARIABLE_VALUE = 'ON'"
            " OR VARIABLE_NAME = 'Rpl_semi_sync_source_clients' AND VARIABLE_VALUE = '1')"
            " FROM performance_schema.global_status"
        )
        return by_hand.value(self._site, self.primary, query) == "2"

    def follow(self) -> None:
        """Makes the replica one; returns when it is up to date."""
        self._on_replica(
            f"CHANGE REPLICATION SOURCE TO SOURCE_HOST = '{self.address}', SOURCE_PORT = 3306,"
            " SOURCE_AUTO_POSITION = 1, SOURCE_SSL = 1, SOURCE_SSL_VERIFY_SERVER_CERT = 1,"
            " SOURCE_SSL_CA = '/etc/mysql/tls/ca.pem', SOURCE_CONNECT_RETRY = 1",
            f"START REPLICA USER = 'replication' PASSWORD = '{self._password}'",
        )
        by_hand.caught_up(self._site, [self.primary, self.replica], LONGEST)

    def fill(self) -> float:
        """Puts a gigabyte into the primary; how many gigabytes its tables take."""
        self._on_primary(
            "CREATE TABLE site.ballast"
            f" (id BIGINT AUTO_INCREMENT PRIMARY KEY, content VARBINARY({ROW}) NOT NULL)",
            "SET GLOBAL innodb_redo_log_capacity = 1073741824",
            f"SET SESSION cte_max_recursion_depth = {CHUNK}",
            *[FILL] * (GIGABYTE // ROW // CHUNK),
        )
        query = "SELECT SUM(FILE_SIZE) FROM information_schema.INNODB_TABLESPACES"
        return int(by_hand.value(self._site, self.primary, query)) / GIGABYTE

    def clone(self) -> None:
        """Replaces what the replica has by a copy; returns when mysqld is back."""
        try:
            self._on_replica(
                "STOP REPLICA",
                "RESET REPLICA ALL",
                f"SET GLOBAL clone_valid_donor_list = '{self.address}:3306'",
                "SET GLOBAL super_read_only = OFF",
                f"CLONE INSTANCE FROM 'replication'@'{self.address}':3306"
                f" IDENTIFIED BY '{self._password}' REQUIRE SSL",
            )
        except AssertionError as ended:  # with the session, as mysqld restarts
            said = str(ended)
        else:
            said = "CLONE did not restart mysqld"
        by_hand.up(self._site, self.replica, LONGEST)
        query = "SELECT STATE FROM performance_schema.clone_status"
        if by_hand.value(self._site, self.replica, query) != "Completed":
            raise RuntimeError(said)


def measure_load(site: Site, pair: Pair, rounds: int) -> Load:
    """Every way with every number of writers, in every round."""
    found: Load = {way: {number: Throughput() for number in WRITERS} for way in WAYS}
    for number in range(rounds):
        for way in rotated(WAYS, number):
            pair.replicate(way)
            for count in rotated(WRITERS, number):
                one(site, pair, way, count, found[way][count])
    return found


def rotated(items: Sequence[Any], by: int) -> list[Any]:
    """The same items, beginning with another one."""
    by %= len(items)
    return [*items[by:], *items[:by]]


def one(site: Site, pair: Pair, way: str, count: int, to: Throughput) -> None:
    """One measurement."""
    given = asdict(Given(pair.address, count, WARM_UP, SECONDS))
    with ThreadPoolExecutor() as pool:
        work = pool.submit(by_hand.run, site, by_hand.CLIENT, writers, given)
        if way != LONE:
            to.lags += by_hand.run(site, pair.replica, lag, 1 + WARM_UP + SECONDS)
        taken = sorted(work.result())
    to.per_second.append(len(taken) / SECONDS)
    to.p99.append(percentile(taken, 99))
    say(f"{way}, {count} writers: {to.per_second[-1]:.0f} writes/s, p99 {to.p99[-1] * 1000:.1f} ms")


def measure_clone(pair: Pair) -> Clone:
    """A replica of a gigabyte, made anew."""
    pair.replicate(LONE)
    say("a gigabyte of rows")
    gigabytes = pair.fill()
    say("CLONE")
    begun = time.monotonic()
    pair.clone()
    copied = time.monotonic() - begun
    pair.follow()
    clone = Clone(gigabytes, copied, time.monotonic() - begun)
    say(f"{gigabytes:.2f} GB: {copied:.1f} s, a replica after {clone.caught_up:.1f} s")
    return clone


def percentile(values: Sequence[float], of: int) -> float:
    """The value that this many of a hundred do not exceed."""
    return sorted(values)[min(len(values) - 1, len(values) * of // 100)]


def table(load: Load, clone: Clone) -> str:
    """As it stands in the README."""

    def ratio(get: Callable[[Throughput], list[float]], to: str, of: str, count: int) -> str:
        pairs = zip(get(load[of][count]), get(load[to][count]), strict=True)
        return f"{statistics.median(value / base for value, base in pairs):.2f}"

    lines = [
        "| writers | one lone server | asynchronous, to lone | semi-synchronous, to lone "
        "| semi-synchronous, to asynchronous |",
        "| --- | --- | --- | --- | --- |",
    ]
    for count in WRITERS:
        lone = load[LONE][count]
        per_second, p99 = statistics.median(lone.per_second), statistics.median(lone.p99)
        cells = [f"{per_second:.0f} writes/s, p99 {p99 * 1000:.1f} ms"]
        for of, to in (
            (ASYNCHRONOUS, LONE),
            (SEMI_SYNCHRONOUS, LONE),
            (SEMI_SYNCHRONOUS, ASYNCHRONOUS),
        ):
            writes = ratio(lambda way: way.per_second, to, of, count)
            cells.append(f"writes x {writes}, p99 x {ratio(lambda way: way.p99, to, of, count)}")
        lines.append(f"| {count} | {' | '.join(cells)} |")
    lines += [
        "",
        "| writers | replica lag, asynchronous, p50 / p99 | semi-synchronous, p50 / p99 |",
        "| --- | --- | --- |",
    ]
    for count in WRITERS:
        cells = [
            " / ".join(milliseconds(percentile(load[way][count].lags, of)) for of in (50, 99))
            for way in (ASYNCHRONOUS, SEMI_SYNCHRONOUS)
        ]
        lines.append(f"| {count} | {' | '.join(cells)} |")
    lines += [
        "",
        f"A replica of {clone.gigabytes:.1f} GB rebuilt by CLONE: {clone.copied:.1f} s until mysqld"
        f" is back with the copy, {clone.caught_up:.1f} s until it has caught up.",
        "",
    ]
    return "\n".join(lines)


def milliseconds(seconds: float) -> str:
    """For people."""
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replication")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of all ways (%(default)s)")
    parser.add_argument("--json", action="store_true", help="every round, and leave the README be")
    options = parser.parse_args()
    with by_hand.a_lab(SETTINGS) as site:
        pair = Pair(site)
        load = measure_load(site, pair, options.rounds)
        clone = measure_clone(pair)
    if options.json:
        every = {
            "load": {way: {n: asdict(one) for n, one in of.items()} for way, of in load.items()},
            "clone": asdict(clone),
        }
        sys.stdout.write(json.dumps(every, indent=1) + "\n")
        return
    sys.stdout.write(table(load, clone))
    readme.write("price", table(load, clone))


if __name__ == "__main__":
    main()
