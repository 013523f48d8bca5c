"""Back the database up now, list its backups, or try whether one can be restored.

python -m scripts.backup now [--stack S] [--json]
python -m scripts.backup list [--stack S] [--json]
python -m scripts.backup verify [ID] [--stack S] [--json]

The machine that backs up does the work, and is shown at it: the in-sync replica of the lowest
ordinal, else the primary. Exit status: 0 done; 1 failed, with the reason, and from `list` when
there is nothing that could be restored; 2 not understood, no such stack, or AWS does not answer.
"""

import argparse
import json
import os
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hosts.base.coordination import UnreachableError
from hosts.database.backup import catalog, plan, store
from hosts.database.backup.board import Board, Entry
from hosts.database.backup.catalog import Full, moment
from hosts.database.backup.store import MissingError, Store, StoreError
from scripts import columns, deployed
from scripts.command import DONE, NO, NotDoneError, attempt, teller
from scripts.deployed import Deployed, DeployedError

POLL = 0.5
"""Seconds between two looks at how it goes."""
TAKEN = 90.0
"""Seconds within which a machine has to take an order."""
SILENT = 1800.0
"""Seconds for which it may say nothing new: one large table may take that long."""


class BackupError(NotDoneError):
    """It was not done, for this reason."""


@dataclass(frozen=True)
class Place:
    """Where a stack's backups are, and where they are ordered."""

    store: Store
    line: str
    board: Board

    @classmethod
    def of(cls, region: str, table: str, bucket: str, line: str) -> "Place":
        """By names."""
        board = Board(Deployed(region=region, table=table).dynamodb(), table, line)
        return cls(Store(store.client(region), bucket), line, board)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options by which a script is told where the backups are."""
    deployed.add_options(parser)
    parser.add_argument("--bucket", help="the bucket of the backups, with --table and --region")
    parser.add_argument("--line", help="the history that is meant (the database's own)")


def find(asked: argparse.Namespace) -> Place:
    """Raises `DeployedError`."""
    found = deployed.find(asked)
    if asked.table:
        if not asked.bucket:
            raise DeployedError("--table and --region need --bucket, too")
        return Place.of(found.region, found.table, asked.bucket, asked.line or found.line)
    backups = deployed.outputs(asked.stack).get("backups")
    if not backups:
        raise DeployedError("the stack has no output backups: `pulumi up` makes it")
    bucket, line = asked.bucket or backups["bucket"], asked.line or backups["line"]
    return Place.of(found.region, found.table, bucket, line)


def current(asked: argparse.Namespace) -> Place:
    """Where the stack's own machines back up to, whatever else is to be read."""
    if asked.table:
        return find(asked)
    return find(argparse.Namespace(**{**vars(asked), "bucket": None, "line": None}))


def order(
    board: Board,
    what: str,
    say: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Entry:
    """Has a machine do something, and shows how it goes. Raises `BackupError`."""
    before = board.read()
    if before.open and time.time() - before.updated < TAKEN:
        raise BackupError(
            f"{before.machine or 'a machine'} is at another order ({before.what}: {before.detail});"
            " try again when that is done"
        )
    mine = uuid.uuid4().hex
    board.order(mine, what)
    asked = board.read()
    changed_at, last, away = clock(), asked, False
    while True:
        try:
            entry, away = board.read(), False
        except UnreachableError as error:
            entry = last
            if not away:
                say(f"the table does not answer ({error}); asking on")
            away = True
        if entry.order != mine:
            raise BackupError("somebody else ordered something in between; try again")
        if entry.done == mine:
            if entry.outcome != "good":
                raise BackupError(f"{entry.machine}: {entry.result}")
            return entry
        if entry != last:
            changed_at, last = clock(), entry
            if entry.detail:
                say(f"{entry.machine}: {entry.detail}")
        taken = last != asked
        if clock() - changed_at > (SILENT if taken else TAKEN):
            raise BackupError(
                f"{last.machine} said nothing for {SILENT:.0f} s; it was at: {last.detail}"
                if taken
                else f"no database machine took the order within {TAKEN:.0f} s: on the one that"
                " backs up, site-backup.service says why (`journalctl -u site-backup`)"
            )
        sleep(POLL)


def now(place: Place, say: Callable[[str], None]) -> Full:
    """Takes a full backup. Raises `BackupError`."""
    name, _, unverified = order(place.board, "full", say).result.partition(" ")
    if unverified:
        say(f"{name} is there, and not verified: {unverified}")
    return catalog.full(place.store, place.line, name)


def verify(place: Place, name: str, say: Callable[[str], None]) -> str:
    """Restores a backup, the newest if it is not named, into a scratch mysqld; what came of it.

    Raises `BackupError`.
    """
    fulls = catalog.fulls(place.store, place.line)
    if not fulls:
        raise BackupError("there is no backup yet: `python -m scripts.backup now` takes one")
    names = [full.id for full in fulls]
    if name and name not in names:
        raise BackupError(f"there is no backup {name}; the newest are {', '.join(names[-3:])}")
    return order(place.board, f"verify {place.line}/{name or names[-1]}", say).result


@dataclass(frozen=True)
class Listed:
    """Every backup, and between which times the database can be restored."""

    fulls: Sequence[Full]
    earliest: float | None
    latest: float | None
    gap: str

    def to_json(self) -> dict[str, object]:
        """For programs."""
        return {
            "backups": [
                {
                    **full.to_json(),
                    "verified": full.verified.to_json() if full.verified else None,
                }
                for full in self.fulls
            ],
            "restorable": {
                "from": self.earliest and moment(self.earliest),
                "to": self.latest and moment(self.latest),
                "gap": self.gap,
            },
        }


def listed(place: Place) -> Listed:
    """What there is. Raises `StoreError`."""
    fulls = catalog.fulls(place.store, place.line)
    good = [full for full in fulls if full.verified and full.verified.good]
    if not good:
        return Listed(fulls, None, None, "")
    logs = catalog.logs(place.store, place.line)
    reach, gap = plan.reach(good[0], logs, catalog.forks(place.store, place.line))
    return Listed(fulls, good[0].time, reach, gap)


HEAD = ("ID", "TAKEN (UTC)", "FROM", "SIZE", "TABLES", "ROWS", "VERIFIED")


def table(found: Listed) -> str:
    """For people: columns, numbers to the right."""
    rows = [_row(full) for full in found.fulls]
    lines = columns.lines(HEAD, rows, right={"SIZE", "TABLES", "ROWS"})
    if found.earliest and found.latest:
        lines += ["", f"restorable to any time from {moment(found.earliest)}"]
        lines[-1] += f" to {moment(found.latest)}"
    if found.gap:
        lines += [f"but: {found.gap}"]
    return "\n".join(lines)


def _row(full: Full) -> tuple[str, ...]:
    verdict = full.verified
    verified = "not yet" if verdict is None else "yes" if verdict.good else f"NO: {verdict.detail}"
    rows = sum(one.rows for one in full.tables.values())
    taken = moment(full.time)[:19].replace("T", " ")
    return (
        *(full.id, taken, full.machine, size(full.size)),
        *(str(len(full.tables)), str(rows), verified),
    )


def size(count: float) -> str:
    """Bytes, for people."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:  # noqa: PLR2004 what a KiB is
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def final(environment: Mapping[str, str], say: Callable[[str], None]) -> None:
    """The last backup of a stack, before its machines go. Raises `BackupError`."""
    if environment["SITE_FINAL_BACKUP"] != "yes":
        return
    place = Place.of(
        *(environment[f"SITE_{name}"] for name in ("REGION", "TABLE", "BUCKET", "LINE"))
    )
    try:
        taken = now(place, say)
    except (BackupError, StoreError, UnreachableError) as error:
        raise BackupError(
            f"the final backup could not be taken, so nothing more is destroyed: {error}\n"
            "To destroy the stack without one: `pulumi config set --path"
            " site:backups.finalBackup false`, `pulumi up`, and again `pulumi destroy`."
        ) from error
    say(
        f"the final backup is s3://{place.store.bucket}/{taken.folder}/;"
        " the bucket stays when the stack is gone"
    )


def _final(say: Callable[[str], None]) -> None:
    wanted = ("SITE_REGION", "SITE_TABLE", "SITE_BUCKET", "SITE_LINE", "SITE_FINAL_BACKUP")
    if missing := [name for name in wanted if name not in os.environ]:
        sys.exit(f"not set: {', '.join(missing)}; the Pulumi program does when it runs this.")
    final(os.environ, say)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    asked = _parser().parse_args(arguments)

    def say(line: str) -> None:
        print(line, file=sys.stderr if getattr(asked, "json", False) else sys.stdout, flush=True)

    def work() -> int:
        if asked.command == "final":
            _final(say)
            return DONE
        return _run(asked, find(asked), say)

    return attempt(
        work,
        teller(as_json=getattr(asked, "json", False)),
        interrupted="interrupted; a backup that was ordered goes on by itself",
        # A backup that is not there is an answer.
        refusals=(MissingError,),
        silences=(StoreError,),
    )


def _run(asked: argparse.Namespace, place: Place, say: Callable[[str], None]) -> int:
    match asked.command:
        case "now":
            full = now(place, say)
            said = full.verified.detail if full.verified else "not verified"
            text, content = f"{full.id}: {said}", full.to_json()
        case "verify":
            text = verify(place, asked.id, say)
            content = {"good": True, "detail": text}
        case _:
            found = listed(place)
            text, content = table(found), found.to_json()
            print(json.dumps(content, indent=1) if asked.json else text)
            return DONE if found.earliest else NO
    print(json.dumps(content, indent=1) if asked.json else text)
    return DONE


def _parser() -> argparse.ArgumentParser:
    said = (__doc__ or "").split("\n\n")
    parser = argparse.ArgumentParser(
        prog="python -m scripts.backup",
        description=said[0],
        epilog=said[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in {
        "now": "take a full backup",
        "list": "show what there is, and back to when the database can be restored",
        "verify": "restore a backup into a scratch mysqld and compare every table",
    }.items():
        command = commands.add_parser(name, help=text, description=text)
        add_options(command)
        command.add_argument("--json", action="store_true", help="for programs")
        if name == "verify":
            command.add_argument("id", nargs="?", default="", help="of the backup (the newest)")
    commands.add_parser("final", description="what `pulumi destroy` runs")
    return parser


if __name__ == "__main__":
    sys.exit(main())
