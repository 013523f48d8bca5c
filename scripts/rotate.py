"""Exchange a password of the database's, or an authority of certificates, while the site runs.

python -m scripts.rotate password application|replication|monitor [--stack S] [--yes] [--json]
python -m scripts.rotate authority [database|app-servers] [--stack S] [--yes] [--json]

Servers' certificates need no command: each machine renews its own in time.

Nothing is replaced and no connection is cut. A password: Pulumi makes a new one; the primary takes
it beside the old one, which ends a quarter of an hour later, and every machine changes over by
itself. An authority: first all trust the new one as well, then it signs, then the old one is
trusted no more; interrupted, the same command goes on where it was. Exit status: 0 done; 1 failed;
2 not understood, no such stack, or AWS does not answer.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from hosts.base.coordination import Coordination, Machine
from scripts import deployed
from scripts.command import DONE, NotDoneError, attempt, teller
from scripts.facts import HEARD, trouble

ACCOUNTS = ("application", "replication", "monitor")
COMMAND = "command:local:Command"
SETTLE = 120.0
"""Seconds in which every machine has looked at the parameters several times."""
PATIENCE = 900.0
"""Seconds that machines which are not well get to become so."""
POLL = 5.0


@dataclass(frozen=True)
class Authority:
    """Whose certificates it signs, and who verifies them."""

    key: str
    """Of the settings: `authorities` of this is a list of generations."""
    secrets: str
    """The URNs of all that it consists of."""
    roles: tuple[str, ...]
    """Of the machines that have to know of a step before the next one."""
    trusted: str
    """The parameter with the certificates of all that are trusted, by its name in the program."""

    @property
    def setting(self) -> str:
        """What is changed in the stack's file."""
        return f"site:{self.key}.authorities"


AUTHORITIES = {
    "database": Authority(
        "database",
        "**site:secrets:DatabaseSecrets**",
        ("app-server", "database"),
        "certificate-authority-certificate",
    ),
    "app-servers": Authority(
        "appServers",
        "**site:secrets:AppServerSecrets**",
        ("app-server", "load-balancer"),
        "app-server-certificate-authority-certificate",
    ),
}


class RotationError(NotDoneError):
    """It did not go on; the message says from where."""


def next_authorities(now: list[int]) -> list[int]:
    """The step after this one: trust another, let it sign, trust the former one no more."""
    if len(now) == 1:
        return [now[0], now[0] + 1]
    first, second = now
    return [second, first] if second > first else [first]


def steps(now: list[int], trusted: int) -> list[list[int]]:
    """What is left to do until there is one authority, another one than now.

    `now` is the setting, `trusted` how many authorities the machines are told to trust. What was
    set when an exchange was interrupted may not have reached the machines: it is done again.
    """
    if len(now) == 1 and trusted > 1:
        return [now]
    left = [now if len(now) > 1 else next_authorities(now)]
    while len(left[-1]) > 1:
        left.append(next_authorities(left[-1]))
    return left


def unsettled(parameter: dict[str, Any], now: float) -> float:
    """Seconds until nobody uses what a parameter held before its last change; 0 if it had none.

    `parameter` is the resource as Pulumi's state has it, `now` in seconds since the epoch.
    """
    made, changed = parameter.get("created"), parameter.get("modified")
    if not changed or made == changed:
        return 0.0
    return max(0.0, SETTLE - (now - datetime.fromisoformat(changed).timestamp()))


def describe(step: list[int]) -> str:
    """What a step is, for people."""
    if len(step) == 1:
        return f"authority {step[0]} is the only one that is trusted"
    first, second = step
    if second > first:
        return f"authority {second} is trusted beside {first}, which signs"
    return f"authority {first} signs; {second} is still trusted"


def troubles(machines: list[Machine], now: float) -> list[str]:
    """Which machines may not have the newest secrets, and why."""
    newest: dict[str, Machine] = {}
    for machine in machines:
        newest.setdefault(machine.name, machine)
    found: list[str] = []
    for name, machine in sorted(newest.items()):
        if now - machine.updated >= HEARD:
            found.append(f"{name} has not been heard of for {now - machine.updated:.0f} s")
        elif machine.state != "ready":
            found.append(f"{name} is {machine.state}")
        elif said := trouble(machine):
            found.append(f"{name}: {said}")
    return found


@dataclass
class Rotation:
    """One stack's."""

    stack: str | None
    coordination: Coordination
    say: Callable[[str], None]
    pulumi: Callable[..., str] = deployed.pulumi
    up: Callable[[list[str]], int] = lambda arguments: (
        subprocess.run(["pulumi", "--non-interactive", *arguments], check=False).returncode
    )
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    epoch: Callable[[], float] = time.time

    def password(self, account: str) -> None:
        """Makes a new one; the machines do the rest. Raises `RotationError`."""
        name = f"{account}-password"
        found = {
            resource["type"]: resource
            for resource in self._resources()
            if resource["urn"].endswith(f"::{name}")
        }
        try:
            command, parameter = found[COMMAND], found["aws:ssm/parameter:Parameter"]
        except KeyError as error:
            msg = f"the stack has no {name}: `pulumi up` makes it"
            raise RotationError(msg) from error
        if wait := unsettled(parameter, self.epoch()):
            # MySQL keeps one password beside the new one, not two.
            self.say(
                f"{name} was exchanged a moment ago: {wait:.0f} s until nobody uses the former"
            )
            self.sleep(wait)
        self._up("--target-replace", command["urn"], "--target", parameter["urn"])
        self.say(
            f"There is a new {name}. The primary takes it within half a minute, the machines that"
            " use it change over once it works, and the old one ends a quarter of an hour later."
        )

    def authority(self, whose: str = "database") -> None:
        """Goes from where the stack is to another authority. Raises `RotationError`."""
        of = AUTHORITIES[whose]
        for step in steps(self._now(of), self._trusted(of)):
            self._well(of)
            self.pulumi("config", "set", *self._chosen, "--path", of.setting, json.dumps(step))
            self._up("--target", of.secrets)
            self.say(f"{describe(step)}; waiting until every machine knows")
            self.sleep(SETTLE)
        self._well(of)
        # Machines were made after it, so Pulumi deletes it only when it looks at them as well.
        self.say(
            f"Done. {of.setting} has changed: commit the stack's file. The next `pulumi up` removes"
            " the former authority's key from the state."
        )

    def _resources(self) -> list[dict[str, Any]]:
        state: dict[str, Any] = json.loads(self.pulumi("stack", "export", *self._chosen))
        return state["deployment"].get("resources", [])

    @property
    def _chosen(self) -> list[str]:
        return ["--stack", self.stack] if self.stack else []

    def _now(self, of: Authority) -> list[int]:
        config: dict[str, Any] = json.loads(self.pulumi("config", "--json", *self._chosen))
        given = config.get(f"site:{of.key}", {}).get("objectValue", {})
        found = given.get("authorities", [1])
        return json.loads(found) if isinstance(found, str) else found

    def _trusted(self, of: Authority) -> int:
        """How many authorities machines are told to trust, whatever the setting says by now."""
        values = [
            str(resource.get("inputs", {}).get("value", ""))
            for resource in self._resources()
            if resource["urn"].endswith(f"::{of.trusted}")
        ]
        return sum(value.count("BEGIN CERTIFICATE") for value in values)

    def _up(self, *what: str) -> None:
        # One step after the other: else what is not targeted may be written to the state before
        # a resource that it depended on and that the program has no more, and the engine refuses
        # such a state ever after (pulumi/pulumi pull request 16247, whose steps are not ordered).
        arguments = ["up", "--yes", "--skip-preview", "--suppress-outputs", "--parallel=1"]
        arguments += [*self._chosen, *what]
        if self.up(arguments):
            msg = "`pulumi up` failed; what it said is above. The same command goes on from here"
            raise RotationError(msg)

    def _well(self, of: Authority) -> None:
        """Waits until no machine may lack what it was told before."""
        deadline, said = self.clock() + PATIENCE, ""
        while True:
            machines = [
                machine for role in of.roles for machine in self.coordination.machines(role)
            ]
            trouble = "; ".join(troubles(machines, self.epoch()))
            if not trouble:
                return
            if trouble != said:
                said = trouble
                self.say(f"waiting: {trouble}")
            if self.clock() >= deadline:
                msg = f"not every machine is well: {trouble}. The same command goes on from here"
                raise RotationError(msg)
            self.sleep(POLL)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m scripts.rotate",
        description="Exchange a password or the certificate authority while the site runs.",
    )
    what = made.add_subparsers(dest="what", required=True, metavar="password|authority")
    password = what.add_parser("password", help="a new password for an account of the database")
    password.add_argument("account", choices=ACCOUNTS)
    authority = what.add_parser("authority", help="a new authority for the servers' certificates")
    authority.add_argument("whose", nargs="?", choices=AUTHORITIES, default="database")
    for each in (password, authority):
        each.add_argument("--yes", action="store_true", help="do not ask")
        each.add_argument("--json", action="store_true", help="the outcome as JSON on stdout")
        each.add_argument("--stack", help="the stack; without it the one that is selected")
    return made


def main(arguments: list[str]) -> int:
    """Does it; the exit status."""
    asked = parser().parse_args(arguments)
    asked.table = asked.region = None
    what = (
        f"the {asked.account} account's password"
        if asked.what == "password"
        else f"the {asked.whose} authority"
    )

    def work() -> int:
        where = deployed.find(asked)
        if not asked.yes:
            print(f"Exchange {what}? Type yes: ", end="", file=sys.stderr, flush=True)
            if sys.stdin.readline().strip() != "yes":
                raise RotationError("it was not confirmed: nothing was changed")
        rotation = Rotation(
            asked.stack,
            Coordination(where.dynamodb(), where.table),
            say,
        )
        if asked.what == "password":
            rotation.password(asked.account)
        else:
            rotation.authority(asked.whose)
        if asked.json:
            print(json.dumps({"changed": True}))
        return DONE

    def say(line: str) -> None:
        print(line, file=sys.stderr if asked.json else sys.stdout, flush=True)

    return attempt(
        work,
        teller(as_json=asked.json, prefix="not done: "),
        interrupted="interrupted: the same command goes on from here",
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
