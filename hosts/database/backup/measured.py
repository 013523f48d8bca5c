"""What the backups say of themselves to Prometheus, on the machine whose turn it is."""

from collections.abc import Iterable, Sequence

from hosts.base.metrics import Metric, gauge
from hosts.database.backup.catalog import Full
from hosts.database.backup.schedule import HOUR, Settings


def backups(
    settings: Settings | None, fulls: Sequence[Full] | None, shipped: float | None, *, duty: bool
) -> Iterable[Metric]:
    """`fulls` are the complete ones, the oldest first; None: not looked yet. `shipped` is when all
    of the binary log was last in the bucket, or since when this machine is to see to it, in seconds
    since the epoch."""
    yield gauge("site_backup_duty", "Whether this machine is the one that backs up.", float(duty))
    if not duty or settings is None:
        return
    yield gauge(
        "site_backup_every_seconds",
        "From one full backup to the next, as the settings have it.",
        settings.every * HOUR,
    )
    yield gauge(
        "site_backup_verifies",
        "Whether each full backup is to be restored to see that it can be.",
        float(settings.verify),
    )
    yield gauge(
        "site_backup_ship_every_seconds",
        "From one look at the binary log to the next, as the settings have it.",
        settings.ship_every,
    )
    if shipped is not None:
        yield gauge(
            "site_backup_shipped_timestamp_seconds",
            "When all of the binary log was last in the bucket, or since when it is to be.",
            shipped,
        )
    if fulls is None:
        return
    verified = [full for full in fulls if full.verified and full.verified.good]
    yield gauge(
        "site_backup_full_timestamp_seconds",
        "Of which moment the newest full backup is; 0 if there is none.",
        fulls[-1].time if fulls else 0,
    )
    yield gauge(
        "site_backup_verified_timestamp_seconds",
        "Of which moment the newest full backup is that was restored to try it; 0 if none is.",
        verified[-1].time if verified else 0,
    )
    yield gauge(
        "site_backup_broken",
        "Whether the newest full backup was tried and cannot be restored.",
        float(bool(fulls and fulls[-1].verified and not fulls[-1].verified.good)),
    )
