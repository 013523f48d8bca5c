"""`site:backups`, and the point that a stack's database was restored to."""

from typing import Annotated

from pydantic import Field

from components.settings.model import Model, matching

ID = r"[a-z0-9]{1,32}"
LINE = rf"database(-{ID})?"


class Backups(Model):
    """`site:backups`"""

    at: Annotated[
        str, matching(r"([01]\d|2[0-3]):[0-5]\d", 'a time of the day in UTC such as "03:00"')
    ] = "03:00"
    every: Annotated[int, Field(ge=1, le=168)] = 24
    retention_days: Annotated[int, Field(ge=1, le=3650)] = 14
    ship_every: Annotated[float, Field(ge=1, le=300)] = 10
    verify: bool = True
    final_backup: bool = True
    snapshots: bool = True


class Restore(Model):
    """`site:database.restore`: written by `scripts/restore.py`, not by hand."""

    id: Annotated[str, matching(ID, "lower-case letters and digits, 32 at most")]
    to: Annotated[str, matching(r"\S+", "a time or a set of transactions")]
    bucket: Annotated[str, matching(r"[a-z0-9.-]{3,63}", "the name of a bucket")]
    line: Annotated[str, matching(LINE, "a line of backups such as database")] = "database"
    full: Annotated[str, matching(r"[\w-]*", "the id of a full backup, or nothing")] = ""
    """The backup to begin with; the newest verified one if none is named."""
    kept: list[Annotated[str, matching(rf"first|{ID}", "ids of restores, or first")]] = Field(
        default_factory=list[str]
    )
    """Whose volumes stay, unused, until they are taken out of this list."""
