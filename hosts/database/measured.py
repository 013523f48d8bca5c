"""What a database machine says of itself to Prometheus, beside what mysqld says."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hosts.base import certificate, metrics
from hosts.base.metrics import Metric, gauge
from hosts.database.tunables import Tunables


def member(
    status: Mapping[str, Any], tunables: Tunables, *, primary: bool, follows: bool
) -> Iterable[Metric]:
    """One member: `status` is its agent's (`hosts.database.report`)."""
    me = status["member"]
    in_sync: list[str] = status["in_sync"]
    yield gauge("site_database_primary", "Whether writes come to this machine.", float(primary))
    yield gauge(
        "site_database_replica",
        "Whether this machine applies what the primary writes, however far behind it is.",
        float(follows),
    )
    yield gauge(
        "site_database_in_sync",
        "Whether the pair's record says that this member has every acknowledged write.",
        float(me in in_sync),
    )
    yield gauge(
        "site_database_holder",
        "Whether the pair's record names this member as the one that leads.",
        float(status["holder"] == me),
    )
    if status["generation"] is not None:
        yield gauge(
            "site_database_generation",
            "How often the lead was taken; it grows with each change of primary.",
            status["generation"],
        )
    if status["lag"] is not None:
        yield gauge(
            "site_database_lag_seconds",
            "The data of this machine is at most this old; 0 on the primary.",
            status["lag"],
        )
    if status["waiting"] is not None:
        yield gauge(
            "site_database_waiting_commits",
            "Commits that wait for a replica's acknowledgement.",
            status["waiting"],
        )
    yield gauge(
        "site_database_table_reachable",
        "Whether the table with the lease answers this machine.",
        float(status["table"] == "reachable"),
    )
    yield gauge(
        "site_database_semi_synchronous",
        "Whether commits are to wait for a replica, as the settings have it.",
        float(tunables.replication == "semi-synchronous"),
    )
    yield gauge(
        "site_database_max_replica_lag_seconds",
        "How far behind a replica may be that takes reads, as the settings have it.",
        tunables.max_replica_lag,
    )


class Certificate:
    """When mysqld's ends. It is looked at again only when its file has changed."""

    def __init__(self, file: Path) -> None:
        """Key and certificate in one."""
        self._file = file
        self._seen: tuple[int, certificate.Certificate] | None = None

    def metrics(self) -> Iterable[Metric]:
        """None before there is one."""
        try:
            changed = self._file.stat().st_mtime_ns
            if self._seen is None or self._seen[0] != changed:
                self._seen = changed, certificate.look(self._file.read_text())
        except (OSError, certificate.CertificateError):
            return
        yield from metrics.certificate("database", self._seen[1])
