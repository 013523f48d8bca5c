"""`python -m lab`: the site on this machine, or a stack of it on AWS."""

import argparse
import os
import signal
import sys

from lab import commands, terminal
from lab.engine.cli import CliError
from lab.network import NetworkError
from lab.stack import LAB, Stack
from lab.usererror import UserError

COMMANDS: dict[str, commands.Command] = {
    "up": commands.up,
    "preview": commands.preview,
    "down": commands.down,
    "destroy": commands.destroy,
    "status": commands.status,
    "url": commands.url,
    "ca": commands.ca,
    "env": commands.env,
    "shell": commands.shell,
    "logs": commands.logs,
    "install": commands.install,
}
_PULUMI = ("up", "preview", "down", "destroy")
_NAMED = ("shell", "logs")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="python -m lab", description=__doc__)
    top.add_argument(
        "--stack",
        default=os.environ.get("STACK") or LAB,
        help="the stack to work on, $STACK or lab; any other than lab is on AWS",
    )
    subs = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, function in COMMANDS.items():
        said = (function.__doc__ or "").strip()
        sub = subs.add_parser(name, help=said, description=said)
        if name in _NAMED:
            sub.add_argument("name", metavar="NAME", help="as `status` shows it, or an instance id")
        if name in _NAMED:
            what = "command and arguments" if name == "shell" else "options for journalctl"
            sub.add_argument("rest", nargs=argparse.REMAINDER, metavar="...", help=what)
        if name in _PULUMI:
            sub.epilog = "Other options are for pulumi."
        if name == "down":
            sub.add_argument("--destroy", action="store_true", help="the same as `destroy`")
        if name == "status":
            sub.add_argument("--json", action="store_true", help="for programs")
    return top


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command and its `rest`: what is for pulumi, journalctl or a machine's shell."""
    top = parser()
    asked, unknown = top.parse_known_args(arguments)
    if unknown and asked.command not in _PULUMI:
        top.error(f"unrecognized arguments: {' '.join(unknown)}")
    asked.rest = [*getattr(asked, "rest", []), *unknown]
    if asked.rest[:1] == ["--"]:
        asked.rest = asked.rest[1:]
    return asked


def main() -> int:
    """Run one command; the exit status."""
    asked = parse(sys.argv[1:])
    command = COMMANDS[asked.command]
    if getattr(asked, "destroy", False):
        command = commands.destroy
    # Ended by a signal we still end what we began.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        return command(Stack(asked.stack), asked)
    except (UserError, CliError, NetworkError) as error:
        terminal.complain(str(error))
    except KeyboardInterrupt:
        terminal.complain("Interrupted; `make up` goes on from here.")
        return 130
    except BrokenPipeError:
        # The reader, `head` perhaps, has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


if __name__ == "__main__":
    sys.exit(main())
