"""Exchange a password of the database's, or the authority of its certificates, while the site runs.

python -m scripts.rotate password application|replication|monitor [--stack S] [--yes]
python -m scripts.rotate authority [--stack S] [--yes]

Servers' certificates need no command: each machine renews its own in time.

Nothing is replaced and no connection is cut. A password: Pulumi makes a new one; the primary takes
it beside the old one, which ends a quarter of an hour later, and every machine changes over by
itself. An authority: first all trust the new one as well, then it signs, then the old one is
trusted no more; interrupted, the same command goes on where it was. Exit status: 0 done; 1 failed;
2 not understood.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from hosts.base.coordination import Coordination, Machine, UnreachableError
from scripts import deployed
from scripts.deployed import DeployedError

ACCOUNTS = ("application", "replication", "monitor")
SETTING = "site:database.authorities"
COMMAND = "command:local:Command"
SECRETS = "**site:secrets:DatabaseSecrets**"
"""The URNs of all that an authority consists of."""
SETTLE = 120.0
"""Seconds in which every machine has looked at the parameters several times."""
PATIENCE = 900.0
"""Seconds that machines which are not well get to become so."""
POLL = 5.0
HEARD = 90.0
"""Seconds after which a machine that reports every 30 s counts as away."""


class RotationError(Exception):
    """It did not go on; the message says from where."""


def next_authorities(now: list[int]) -> list[int]:
    """The step after this one: trust another, let it sign, trust the former one no more."""
    if len(now) == 1:
        return [now[0], now[0] + 1]
    first, second = now
    return [second, first] if second > first else [first]


def steps(now: list[int]) -> list[list[int]]:
    """What is left to do until there is one authority, another one than now."""
    left = [next_authorities(now)]
    while len(left[-1]) > 1:
        left.append(next_authorities(left[-1]))
    return left


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
        detail = machine.detail.partition("\n")
        said = machine.detail if machine.role == "app-server" else detail[2]
        if now - machine.updated >= HEARD:
            found.append(f"{name} has not been heard of for {now - machine.updated:.0f} s")
        elif machine.state != "ready":
            found.append(f"{name} is {machine.state}")
        elif said:
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
        urns = {
            resource["type"]: resource["urn"]
            for resource in self._resources()
            if resource["urn"].endswith(f"::{name}")
        }
        try:
            command, parameter = urns[COMMAND], urns["aws:ssm/parameter:Parameter"]
        except KeyError as error:
            msg = f"the stack has no {name}: `pulumi up` makes it"
            raise RotationError(msg) from error
        self._up("--target-replace", command, "--target", parameter)
        self.say(
            f"There is a new {name}. The primary takes it within half a minute, the machines that"
            " use it change over once it works, and the old one ends a quarter of an hour later."
        )

    def authority(self) -> None:
        """Goes from where the stack is to another authority. Raises `RotationError`."""
        for step in steps(self._now()):
            self._well()
            self.pulumi("config", "set", *self._chosen, "--path", SETTING, json.dumps(step))
            self._up("--target", SECRETS)
            self.say(f"{describe(step)}; waiting until every machine knows")
            self.sleep(SETTLE)
        self._well()
        # Machines were made after it, so Pulumi deletes it only when it looks at them as well.
        self.say(
            f"Done. {SETTING} has changed: commit the stack's file. The next `pulumi up` removes"
            " the former authority's key from the state."
        )

    def _resources(self) -> list[dict[str, Any]]:
        state: dict[str, Any] = json.loads(self.pulumi("stack", "export", *self._chosen))
        return state["deployment"].get("resources", [])

    @property
    def _chosen(self) -> list[str]:
        return ["--stack", self.stack] if self.stack else []

    def _now(self) -> list[int]:
        config: dict[str, Any] = json.loads(self.pulumi("config", "--json", *self._chosen))
        database = config.get("site:database", {}).get("objectValue", {})
        found = database.get("authorities", [1])
        return json.loads(found) if isinstance(found, str) else found

    def _up(self, *what: str) -> None:
        arguments = ["up", "--yes", "--skip-preview", "--suppress-outputs", *self._chosen, *what]
        if self.up(arguments):
            msg = "`pulumi up` failed; what it said is above. The same command goes on from here"
            raise RotationError(msg)

    def _well(self) -> None:
        """Waits until no machine may lack what it was told before."""
        deadline, said = self.clock() + PATIENCE, ""
        while True:
            machines = [
                machine
                for role in ("app-server", "database")
                for machine in self.coordination.machines(role)
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
    for each in (password, authority):
        each.add_argument("--yes", action="store_true", help="do not ask")
        each.add_argument("--stack", help="the stack; without it the one that is selected")
    return made


def main(arguments: list[str]) -> int:
    """Does it; the exit status."""
    asked = parser().parse_args(arguments)
    asked.table = asked.region = None
    what = (
        f"the {asked.account} account's password" if asked.what == "password" else "the authority"
    )
    try:
        where = deployed.find(asked)
        if not asked.yes:
            print(f"Exchange {what}? Type yes: ", end="", file=sys.stderr, flush=True)
            if sys.stdin.readline().strip() != "yes":
                return _failed("it was not confirmed: nothing was changed", 1)
        rotation = Rotation(
            asked.stack,
            Coordination(where.dynamodb(), where.table),
            lambda line: print(line, flush=True),
        )
        if asked.what == "password":
            rotation.password(asked.account)
        else:
            rotation.authority()
    except KeyboardInterrupt:
        return _failed("interrupted: the same command goes on from here", 1)
    except DeployedError as error:
        return _failed(str(error), 2)
    except (RotationError, UnreachableError, BotoCoreError, ClientError) as error:
        return _failed(str(error), 1)
    return 0


def _failed(why: str, status: int) -> int:
    print(f"not done: {why}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
