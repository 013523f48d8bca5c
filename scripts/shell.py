"""A shell in a machine by Session Manager, or one command in it.

python -m scripts.shell NAME [--stack S]
python -m scripts.shell NAME [--json] [--stack S] -- COMMAND ...

NAME is a machine's (database-1) or an instance id. A shell needs AWS's session-manager-plugin; a
command, which Systems Manager runs as root, needs nothing. One word alone is a line for its shell
('df -h | tail -n 1'), several are a command and its arguments as they are.

Exit status: the shell's, or the command's own; with --json 0 if the command was run. 1 if it could
not be; 2 not understood, no such stack, or AWS does not answer.
"""

import argparse
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from types import FrameType
from urllib.parse import urlsplit

from scripts import deployed
from scripts.command import DONE, NotAskedError, NotDoneError, attempt, teller
from scripts.commands import MOST, Commands
from scripts.deployed import Deployed
from scripts.look import instances

PLUGIN = "session-manager-plugin"
_RESPONSE = "AWS_SSM_START_SESSION_RESPONSE"
"""The variable that the plugin takes its session from, since version 1.2.497."""
WITHIN = 600.0
"""Seconds that one command may take."""


def find(found: Deployed, name: str) -> str:
    """The instance that a name means: of several, one that replaces another, the newest.

    Raises `NotDoneError`.
    """
    known = sorted(instances(found.ec2(), found.prefix), key=lambda one: one.launched)
    running = [one for one in known if one.state == "running"]
    if named := [one for one in running if name in (one.name, one.id)]:
        return named[-1].id
    for one in reversed(known):
        if name in (one.name, one.id):
            raise NotDoneError(
                f"{name} is {one.state}: `python -m scripts.logs {name}` has its words"
            )
    names = ", ".join(sorted({one.name for one in running})) or "none"
    raise NotDoneError(f"there is no machine {name}; there are {names}")


def shell(found: Deployed, name: str, instance: str) -> int:
    """A session at the terminal, as `aws ssm start-session` has it; the plugin's exit status.

    Raises `NotAskedError` where there is none to be had.
    """
    ssm = found.ssm()
    endpoint = ssm.meta.endpoint_url
    if not (urlsplit(endpoint).hostname or "").endswith((".amazonaws.com", ".amazonaws.com.cn")):
        raise NotAskedError(
            f"the AWS at {endpoint} has no Session Manager; in the lab: `make shell NAME={name}`;"
            f" one command runs there, too: `python -m scripts.shell {name} -- COMMAND`"
        )
    if shutil.which(PLUGIN) is None:
        raise NotAskedError(
            f"{PLUGIN} is not on PATH, and a session needs it: AWS's documentation says how to"
            " install it (Systems Manager, Session Manager); or use the console"
        )
    session = ssm.start_session(Target=instance)
    given = {key: session[key] for key in ("SessionId", "TokenValue", "StreamUrl")}
    target = json.dumps({"Target": instance})
    # The token is not for everyone who lists processes.
    environment = {**os.environ, _RESPONSE: json.dumps(given)}
    command = [PLUGIN, _RESPONSE, found.region, "StartSession", "", target, endpoint]
    with _left_to_child():
        return subprocess.run(command, env=environment, check=False).returncode


@contextmanager
def _left_to_child() -> Generator[None]:
    """Ctrl-C and the like are for what runs at the other end."""

    def nothing(_number: int, _frame: FrameType | None) -> None:
        # A handler, not SIG_IGN: the child would inherit that.
        return

    numbers = (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP)
    before = {number: signal.signal(number, nothing) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run(found: Deployed, instance: str, command: Sequence[str], *, as_json: bool) -> int:
    """One command, and its exit status. Raises `NotDoneError`."""
    script = command[0] if len(command) == 1 else shlex.join(command)
    ended = Commands(found.ssm()).run(instance, script, WITHIN)
    if as_json:
        print(json.dumps({"instance": instance, **asdict(ended)}))
        return DONE
    sys.stdout.write(ended.out)
    sys.stderr.write(ended.err)
    if MOST in (len(ended.out), len(ended.err)):
        print(f"(Systems Manager shows the first {MOST:,} characters)", file=sys.stderr)
    return ended.status


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    said = (__doc__ or "").split("\n\n")
    parser = argparse.ArgumentParser(
        prog="python -m scripts.shell",
        usage="%(prog)s NAME [options] [-- COMMAND ...]",
        description=said[0],
        epilog="\n\n".join(said[2:]),
    )
    parser.add_argument("name", metavar="NAME", help="of a machine, or an instance id")
    parser.add_argument("--json", action="store_true", help="a command's outcome for programs")
    deployed.add_options(parser)
    given = list(sys.argv[1:] if arguments is None else arguments)
    # What is behind it is not for this program's parser, options and all.
    cut = given.index("--") if "--" in given else len(given)
    asked, command = parser.parse_args(given[:cut]), given[cut + 1 :]
    if asked.json and not command:
        parser.error("--json is for a command, after --: a shell is for people")

    def work() -> int:
        found = deployed.find(asked)
        instance = find(found, asked.name)
        if command:
            return run(found, instance, command, as_json=asked.json)
        return shell(found, asked.name, instance)

    return attempt(work, teller(as_json=asked.json), interrupted="interrupted")


if __name__ == "__main__":
    sys.exit(main())
