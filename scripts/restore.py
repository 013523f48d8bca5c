"""Restore the database to a second, or to a transaction, as a new pair of machines.

python -m scripts.restore --to 2026-11-22T21:30:00Z [--stack S] [--yes] [--no-backup] [--plan]
                          [--full ID] [--json]
python -m scripts.restore --to 3e11fa47-71ca-11e1-9e33-c80aa9429562:1-500

Everything committed before the time is there, nothing that was committed at it or later; with
transactions, everything up to the last of them. A backup is taken first. Then the stack is told
(`site:database.restore`), the database machines are stopped, and `pulumi up` replaces them by new
ones with new volumes: the first loads the newest verified backup and the binary logs after it, the
others copy it. The site is down meanwhile. For a large database let site:machines.readyWithin be
long enough.

The former volumes stay as they are, unused, until they are taken out of
`site:database.restore.kept`. Exit status: 0 done; 1 refused or failed, with the reason; 2 not
understood, no such stack, or AWS does not answer.
"""

import argparse
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from hosts.base.coordination import Coordination, UnreachableError
from hosts.database.backup import catalog
from hosts.database.backup import plan as planning
from hosts.database.backup.catalog import PlanError, moment
from hosts.database.backup.plan import Plan, Target
from hosts.database.backup.store import StoreError
from scripts import backup, deployed
from scripts.backup import BackupError, Place
from scripts.command import DONE, NotAskedError, NotDoneError, attempt, teller
from scripts.deployed import Deployed
from scripts.drain import drain
from scripts.watched import Watched

KEY = "site:database"
FIRST = "first"
"""What the volumes of a database that was never restored are called among those that are kept."""
LOOK = 2.0
"""Seconds between two looks at the machines."""
STOPPED = 120.0
"""Seconds that a former machine may take to stop; then it is deleted as it is."""

Say = Callable[[str], None]


class RefusedError(NotDoneError):
    """It is not done, for this reason."""


@dataclass(frozen=True)
class Change:
    """What the stack is told."""

    id: str
    to: str
    bucket: str
    line: str
    full: str
    """The backup that was named; empty if none was."""
    kept: tuple[str, ...]

    def settings(self) -> list[str]:
        """As `pulumi config set-all --path` takes it."""
        # `full` also if none was named: the restore before may have had one.
        names = ("id", "to", "bucket", "line", "full")
        plain = {name: getattr(self, name) for name in names}
        return [
            *(f"{KEY}.restore.{name}={value}" for name, value in plain.items()),
            *(f"{KEY}.restore.kept[{index}]={one}" for index, one in enumerate(self.kept)),
        ]


def change(
    plan: Plan, named: str, bucket: str, before: Mapping[str, Any] | None, now: float
) -> Change:
    """The next restore of a stack whose setting was this before."""
    former = [before["id"], *before.get("kept", [])] if before else [FIRST]
    return Change(
        id=time.strftime("%Y%m%dt%H%M%S", time.gmtime(now)),
        to=moment(plan.target.time) if plan.target.time is not None else str(plan.target.gtids),
        bucket=bucket,
        line=plan.full.line,
        full=named,
        kept=tuple(str(one) for one in former),
    )


def plan(place: Place, target: Target, *, only: str = "", named: str = "") -> Plan:
    """The way there: of the line that is written now, else of the newest that has it.

    Raises `PlanError` with why there is none.
    """
    lines = [only] if only else [place.line, *_others(place, target)]
    refused: PlanError | None = None
    for line in lines:
        try:
            fulls, known = catalog.fulls(place.store, line), catalog.logs(place.store, line)
            found = planning.plan(target, fulls, known, named, catalog.forks(place.store, line))
            planning.check(place.store, found)
            return found
        except PlanError as error:
            refused = refused or error
    raise refused or PlanError(f"there are no backups in s3://{place.store.bucket}/")


def _others(place: Place, target: Target) -> list[str]:
    """Earlier lines, the one that began last first."""
    began: dict[str, float] = {}
    for line in catalog.lines(place.store):
        fulls = catalog.fulls(place.store, line)
        if line != place.line and fulls and (target.time is None or fulls[0].time <= target.time):
            began[line] = fulls[0].time
    return sorted(began, key=lambda line: -began[line])


def shown(found: Plan) -> str:
    """A plan, for people."""
    full = found.full
    size = sum(log.end for log in found.logs)
    unverified = "" if full.verified else ", not verified: it is compared when it is loaded"
    lines = [
        f"restore to  {found.target}",
        f"from        {full.id}, taken {moment(full.time)}, {backup.size(full.size)},"
        f" {len(full.tables)} tables{unverified}",
        f"then        {len(found.logs)} binary logs, {backup.size(size)} at most",
    ]
    if found.logs and found.target.time is not None:
        lines.append(f"forgetting  whatever was committed at {found.target} or later")
    return "\n".join(lines)


def planned(found: Plan) -> dict[str, object]:
    """A plan, for programs."""
    return {
        "to": str(found.target),
        "full": found.full.id,
        "logs": [log.folder for log in found.logs],
    }


def confirm(stack: str, say: Say, ask: Callable[[str], str]) -> None:
    """Raises `RefusedError` unless the stack's name is typed."""
    say(f"The database machines of {stack} are replaced, and the site is down meanwhile.")
    say("Their volumes stay as they are, unused.")
    if ask(f"Type the name of the stack to go on ({stack}): ").strip() != stack:
        raise RefusedError("not confirmed; nothing was changed")


def run(asked: argparse.Namespace, say: Say, ask: Callable[[str], str]) -> int:
    """All of it. Raises what the functions above do."""
    try:
        target = planning.target(asked.to)
    except ValueError as error:
        raise NotAskedError(str(error)) from error
    place, own = backup.find(asked), backup.current(asked)
    found = deployed.find(asked)
    stack = asked.stack or deployed.pulumi("stack", "--show-name").strip()
    chosen = ["--stack", stack]
    if asked.backup and not asked.plan:
        say("shipping the binary log up to now")
        _first(lambda: backup.order(own.board, "ship", say))
    way = plan(place, target, only=asked.line or "", named=asked.full)
    say(shown(way))
    if asked.plan:
        return _done(asked, {"restored": False, **planned(way)})
    if not asked.yes:
        confirm(stack, say, ask)
    if asked.backup:
        say("backing up what there is now")
        taken = _first(lambda: backup.now(own, say))
        say(f"backup {taken.id} of what there was is in s3://{own.store.bucket}/{taken.folder}/")
    before = _restored(deployed.pulumi("config", "--json", *chosen))
    told = change(way, asked.full, place.store.bucket, before, time.time())
    deployed.pulumi("config", "set-all", *chosen, "--path", *_plaintext(told.settings()))
    say(f"site:database.restore is set (id {told.id})")
    stop(found, say)
    with _Watching(found, say):
        done = subprocess.run(
            ["pulumi", "up", "--yes", "--skip-preview", "--non-interactive", *chosen],
            stdout=sys.stderr if asked.json else None,
            check=False,
        )
    say(_afterwards(told, stack))
    if done.returncode:
        raise RefusedError(
            "`pulumi up` failed: see above. Once what it names is mended, `pulumi up` goes on with"
            " the restore."
        )
    return _done(asked, {"restored": True, "id": told.id, "kept": told.kept, **planned(way)})


def _done(asked: argparse.Namespace, content: Mapping[str, object]) -> int:
    if asked.json:
        print(json.dumps(content, indent=1))
    return DONE


def stop(found: Deployed, say: Say) -> None:
    """Takes the former machines out of service, all of them, before there are new ones.

    Else the site would go on writing to the former pair, which is forgotten, until its last
    machine is replaced.
    """
    machines = Coordination(found.dynamodb(), found.table).machines("database")
    told = [
        {
            "SITE_REGION": found.region,
            "SITE_TABLE": found.table,
            "SITE_MACHINE": machine.name,
            "SITE_INSTANCE": machine.id,
        }
        for machine in machines
    ]
    if told:
        say("stopping the former database machines")
        with ThreadPoolExecutor(len(told)) as pool:
            list(pool.map(_drain, told))


def _drain(told: Mapping[str, str]) -> None:
    drain(Watched.of(told), STOPPED)


def _first(work: "Callable[[], Any]") -> Any:
    try:
        return work()
    except (BackupError, StoreError, UnreachableError) as error:
        raise RefusedError(
            f"what there is now could not be backed up first: {error}; --no-backup goes on without"
        ) from error


def _restored(config: str) -> Mapping[str, Any] | None:
    """The setting as it is, of `pulumi config --json`."""
    value: dict[str, Any] = json.loads(config).get(KEY, {})
    content: Any = value.get("objectValue") or json.loads(value.get("value") or "{}")
    return content.get("restore")


def _plaintext(settings: Sequence[str]) -> list[str]:
    return [part for one in settings for part in ("--plaintext", one)]


def _afterwards(told: Change, stack: str) -> str:
    return (
        f"The former volumes ({', '.join(told.kept)}) are still there. To have them deleted, when"
        f" nobody wants them: `pulumi config rm --stack {stack} --path"
        f" {KEY}.restore.kept` and `pulumi up`. (With deletionProtection, lift that first:"
        f" `pulumi config set --stack {stack} deletionProtection false` and `pulumi up`.)"
    )


class _Watching:
    """Says what the database machines report, while something else is waited for."""

    def __init__(self, found: Deployed, say: Say) -> None:
        self._coordination = Coordination(found.dynamodb(), found.table)
        self._say = say
        self._said: dict[str, str] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(LOOK):
            try:
                machines = self._coordination.machines("database")
            except UnreachableError:
                continue
            for machine in machines:
                line = f"{machine.name} ({machine.id}): {machine.state} {machine.detail}".strip()
                line = line.partition("\n")[0]
                if self._said.get(machine.id) != line:
                    self._said[machine.id] = line
                    self._say(line)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    asked = _parser().parse_args(arguments)

    def say(line: str) -> None:
        print(line, file=sys.stderr if asked.json else sys.stdout, flush=True)

    def ask(question: str) -> str:
        if not sys.stdin.isatty():
            raise RefusedError("nobody is there to confirm it: --yes goes on without")
        return input(question)

    return attempt(
        lambda: run(asked, say, ask),
        teller(as_json=asked.json),
        interrupted="interrupted. If it was said that site:database.restore is set, `pulumi up`"
        " goes on with the restore; else nothing was changed.",
        refusals=(PlanError,),
        silences=(StoreError,),
    )


def _parser() -> argparse.ArgumentParser:
    said = (__doc__ or "").split("\n\n")
    parser = argparse.ArgumentParser(
        prog="python -m scripts.restore",
        description=said[0],
        epilog="\n\n".join(said[2:]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    backup.add_options(parser)
    parser.add_argument("--to", required=True, help="a time in ISO 8601 (UTC), or transactions")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument(
        "--no-backup", dest="backup", action="store_false", help="take no backup first"
    )
    parser.add_argument(
        "--full",
        metavar="ID",
        default="",
        help="the full backup to begin with, verified or not (the newest verified one)",
    )
    parser.add_argument("--plan", action="store_true", help="only say how it would be done")
    parser.add_argument("--json", action="store_true", help="the outcome as JSON on stdout")
    return parser


if __name__ == "__main__":
    sys.exit(main())
