"""A game day: something goes wrong on purpose, and what visitors see of it is measured.

python -m scripts.drill [FAULT] [--machine NAME] [--list] [--yes] [--json] [--stack S]

First it is seen whether the site can take it: nothing is wrong, and there is another machine for
what is going to fail. Then it is asked. Visitors come at a bounded rate; the fault is injected
(by EC2, or by Run Command), stays for --seconds, is undone, and the site is waited for until all is
well again. A report in Markdown with a picture of the time is left in --folder. Without FAULT one
is drawn by lot. Exit status: 0 it was done, and all is well again; 1 refused, or not well again in
time; 2 not understood, no such stack, or AWS does not answer.
"""

import argparse
import json
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from hosts.database.backup.store import StoreError
from scripts import deployed, drill_report
from scripts.command import DONE, NO, NotAskedError, NotDoneError, attempt, teller
from scripts.commands import Commands
from scripts.course import WITHIN, Course, Director, Watch
from scripts.deployed import Deployed
from scripts.drill_report import Drill
from scripts.faults import FAULTS, by_lot, check, victim
from scripts.findings import findings
from scripts.look import Looker
from scripts.visitors import Visitors, Wish, places

BEFORE = 5.0
"""Seconds of visits before anything happens, and after all is well again."""


def measured(
    drill: Callable[[], str], visitors: Visitors, sleep: Callable[[float], None] = time.sleep
) -> str:
    """Runs a drill while visitors come. Raises `NotDoneError` if the site does not answer them."""
    with visitors:
        sleep(BEFORE)
        answers = visitors.answers
        if not answers or not all(answer.ok for answer in answers):
            bad = next((a.error or f"status {a.status}" for a in answers if not a.ok), "no answer")
            raise NotDoneError(
                f"visitors are not served even before anything happens ({bad}): --path and --post"
                " say what they ask for; nothing was done"
            )
        why = drill()
        sleep(BEFORE)
    return why


def _parser() -> argparse.ArgumentParser:
    said = (__doc__ or "").split("\n\n")
    parser = argparse.ArgumentParser(
        prog="python -m scripts.drill", description=said[0], epilog=said[2]
    )
    parser.add_argument("fault", metavar="FAULT", nargs="?", choices=[*FAULTS], help="see --list")
    parser.add_argument("--list", action="store_true", help="what can happen, and no more")
    parser.add_argument("--machine", metavar="NAME", default="", help="to which machine")
    parser.add_argument("--seconds", type=_seconds, default=20.0, help="how long it lasts (20)")
    parser.add_argument("--within", type=_seconds, default=WITHIN, help="seconds to be well (600)")
    parser.add_argument("--rate", type=_rate, default=10.0, help="visitors a second, 100 most (10)")
    parser.add_argument("--path", action="append", help="what they fetch; may be repeated (/)")
    parser.add_argument(
        "--post", nargs=2, action="append", default=[], metavar=("PATH", "JSON"),
        help="what they write, as well",
    )  # fmt: skip
    parser.add_argument("--folder", type=Path, default=Path("drills"), help="for the report")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--json", action="store_true", help="the outcome as JSON on stdout")
    deployed.add_options(parser)
    return parser


def _number(least: float, most: float, of: str) -> Callable[[str], float]:
    """For argparse: a number within these."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not {least:g} to {most:g} {of}")
        return value

    return read


_seconds = _number(1, 3600, "seconds")
_rate = _number(0.1, 100, "visitors a second: more is a load test")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    if asked.list:
        known = {fault.name: fault.what.format(machine="a machine") for fault in FAULTS.values()}
        lines = [f"{name:<24}{what}" for name, what in known.items()]
        print(json.dumps(known) if asked.json else "\n".join(lines))
        return DONE
    if asked.json and not asked.yes:
        parser.error("--json asks nothing: give --yes as well")

    def say(line: str) -> None:
        print(line, file=sys.stderr if asked.json else sys.stdout, flush=True)

    return attempt(
        lambda: _run(asked, say),
        teller(as_json=asked.json, prefix="not done: "),
        interrupted="interrupted; what had been done to a machine was undone",
        silences=(StoreError,),
    )


def _run(asked: argparse.Namespace, say: Callable[[str], None]) -> int:
    found = deployed.find(asked)
    visitors = _visitors(asked, found)
    looker = Looker(found)
    facts = looker.look()
    wrong = [finding.what for finding in findings(facts)]
    fault = FAULTS[asked.fault] if asked.fault else by_lot(facts, wrong)
    check(facts, wrong, fault)
    machine = victim(facts, fault, asked.machine)
    what = fault.what.format(machine=machine.name)
    lasts = f", for {asked.seconds:.0f} s" if fault.lasts else ""
    say(f"{facts.site}: {what}{lasts}. {asked.rate:g} visitors a second come meanwhile.")
    if not asked.yes:
        print("Type yes to let it happen: ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip() != "yes":
            raise NotDoneError("it was not confirmed: nothing was done")
    watch = Watch(looker, lambda: visitors.now, say, primary=facts.primary)
    director = Director(found.ec2(), Commands(found.ssm()), asked.seconds)
    course = Course(watch, director, fault, machine, asked.seconds, asked.within)
    why = measured(course.run, visitors)
    drill = Drill(
        site=facts.site,
        fault=fault.name,
        what=what,
        began=visitors.began,
        ended=visitors.ended,
        rate=asked.rate,
        events=tuple(watch.events),
        answers=tuple(visitors.answers),
        held_back=visitors.held_back,
        trouble=why,
    )
    report = drill_report.write(drill, asked.folder)
    if asked.json:
        print(json.dumps({**drill.to_json(), "report": str(report)}, indent=1))
    else:
        say("\n".join(["", *drill.lines(), f"report: {report}"]))
    if why:
        print(why, file=sys.stderr)
    return NO if why else DONE


def _visitors(asked: argparse.Namespace, found: Deployed) -> Visitors:
    outputs = found.outputs
    if not outputs.get("url"):
        raise NotAskedError(
            "where the site is, its outputs say: a drill needs --stack, not --table and --region"
        )
    at = places(outputs["url"], outputs["addresses"], outputs.get("certificate"))
    for _, text in asked.post:
        try:
            json.loads(text)
        except ValueError as error:
            raise NotAskedError(f"--post: {text!r} is no JSON: {error}") from error
    wishes = [Wish(path) for path in asked.path or ["/"]]
    return Visitors(at, [*wishes, *(Wish(*one) for one in asked.post)], asked.rate)


if __name__ == "__main__":
    threading.stack_size(512 * 1024)  # visitors are many, and shallow
    sys.exit(main())
