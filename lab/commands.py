"""What `python -m lab` does, a function per command. Each gives the exit status."""

import json
import os
import shutil
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable

from lab import addresses, fleet, image, machines, paths, preflight, service, setup, terminal
from lab.engine import home
from lab.stack import Stack, exports
from lab.usererror import UserError

Command = Callable[[Stack, Namespace], int]

_UNASKED = ["--yes", "--skip-preview", "--suppress-outputs"]
_UNASKED_STATUS = 2
"""Of an operator's script: it could not look."""
_JOURNAL = "/var/log/journal"
_SHELL = ["bash", "--login"]
# A terminal of the machine's own, which knows of none on the user's.
_TERMINAL = ["script", "--quiet", "--return", "--command", " ".join(_SHELL), "/dev/null"]


def up(stack: Stack, asked: Namespace) -> int:
    """Build the site, or bring it to what the program says now."""
    if not stack.is_lab:
        return stack.run("up", *asked.rest)
    started = time.monotonic()
    with service.exclusively():
        _ready(stack)
        status = _deploy(stack, asked.rest)
    if status == 0:
        _summary(stack)
        terminal.done("Up", started)
    return status


def preview(stack: Stack, asked: Namespace) -> int:
    """Show what `up` would change."""
    if not stack.is_lab:
        return stack.run("preview", *asked.rest)
    with service.exclusively():
        _ready(stack)
        return stack.run("preview", *asked.rest)


def install(_stack: Stack, _asked: Namespace) -> int:
    """Install what a lab needs, and start nothing."""
    with service.exclusively():
        setup.prepare(starting=False)
    return 0


def down(stack: Stack, asked: Namespace) -> int:
    """Remove the site. The lab goes at once with everything in it, but its caches."""
    if not stack.is_lab:
        return stack.run("destroy", *asked.rest)
    if os.geteuid() != 0:
        msg = "Only root may take the lab down: try again as root (`sudo make down`)."
        raise UserError(msg)
    with service.exclusively():
        if not preflight.missing():
            with terminal.step("Lab down"):
                service.stop()
    return 0


def destroy(stack: Stack, asked: Namespace) -> int:
    """`pulumi destroy`: every resource in its turn, each machine drained. The lab stays."""
    if not stack.is_lab:
        return stack.run("destroy", *asked.rest)
    with service.exclusively():
        _running()
        # With the preview: it refuses a protected stack before anything is deleted.
        return stack.run("destroy", "--yes", *asked.rest)


def status(stack: Stack, asked: Namespace) -> int:
    """How the site is; before it is deployed, the machines that there are."""
    if stack.is_lab:
        _running()
    if not asked.json:
        # As any operator would, on AWS as in the lab; a stack without outputs has its machines.
        command = [sys.executable, "-m", "scripts.status", "--stack", stack.name]
        done = subprocess.run(
            command, cwd=paths.PROJECT, env=stack.environment(), check=False
        ).returncode
        if done != _UNASKED_STATUS:
            return done
    rows = fleet.machines(stack)
    if asked.json:
        sys.stdout.write(json.dumps([row.shown() for row in rows], indent=2) + "\n")
        return 0
    if not rows:
        terminal.say(f"Stack {stack.name} has no machines.")
    else:
        _table(rows)
    return 0


def url(stack: Stack, _asked: Namespace) -> int:
    """Where the site is."""
    if stack.is_lab:
        _running()
    sys.stdout.write(stack.output("url") + "\n")
    return 0


def ca(stack: Stack, _asked: Namespace) -> int:
    """The file that a client has to trust to trust the site, as in curl --cacert FILE."""
    if stack.is_lab:
        _running()
    file = stack.authority()
    if file is None:
        msg = f"Clients trust the certificate of stack {stack.name} already: there is no file."
        raise UserError(msg)
    sys.stdout.write(f"{file}\n")
    return 0


def env(stack: Stack, _asked: Namespace) -> int:
    """What a shell must set to use pulumi, aws and the scripts on this stack."""
    if stack.is_lab:
        _running()
    ours = stack.own_variables()
    path = ours.get("PATH", os.environ.get("PATH", os.defpath))
    ours["PATH"] = os.pathsep.join([str(paths.PROJECT / ".venv/bin"), path])
    if not stack.is_lab and stack.region:
        ours |= dict.fromkeys(("AWS_REGION", "AWS_DEFAULT_REGION"), stack.region)
    # On AWS the user's own credentials and backend stay.
    sys.stdout.write("\n".join(exports(ours, os.environ if stack.is_lab else {})) + "\n")
    return 0


def shell(stack: Stack, asked: Namespace) -> int:
    """A shell in a machine, or one command in it."""
    machine = _machine(stack, asked.name)
    if stack.is_lab:
        command = asked.rest or (_TERMINAL if sys.stdin.isatty() else _SHELL)
        return subprocess.run(machines.entering(machine.id, command), check=False).returncode
    if shutil.which("aws") is None:
        msg = (
            f"{machine.name} is on AWS ({machine.id}), and a session there needs the aws command "
            "and its session-manager-plugin: install them, or use Session Manager in the console."
        )
        raise UserError(msg)
    region = ["--region", stack.region] if stack.region else []
    session = ["aws", "ssm", "start-session", *region, "--target", machine.id]
    if asked.rest:
        session += ["--document-name", "AWS-StartInteractiveCommand", "--parameters"]
        session.append(json.dumps({"command": [" ".join(asked.rest)]}))
    return subprocess.run(session, check=False).returncode


def logs(stack: Stack, asked: Namespace) -> int:
    """The journal of a machine, of one that is gone too."""
    if not stack.is_lab:
        asked.rest = ["journalctl", *(asked.rest or ["--no-pager", "--lines=1000"])]
        return shell(stack, asked)
    machine_id = asked.name
    if not paths.journal(machine_id).is_dir():
        machine_id = _machine(stack, asked.name, gone=True).id
    options = ["--no-pager", "--quiet", *asked.rest]
    if machines.leader(machine_id):
        command = machines.entering(machine_id, ["journalctl", *options])
    elif paths.journal(machine_id).is_dir():
        # With the image's own journalctl: the user's may be older than the journal's format.
        journal = {paths.journal(machine_id): _JOURNAL}
        command = image.entering(["journalctl", f"--directory={_JOURNAL}", *options], journal)
    else:
        msg = f"{asked.name} ({machine_id}) has left no journal."
        raise UserError(msg)
    return subprocess.run(command, check=False).returncode


def _ready(stack: Stack) -> None:
    """Everything up to a running, empty or not, AWS on this machine."""
    cli = setup.prepare()
    if not service.running():
        with terminal.step("AWS on this machine"):
            service.start()
    home.install(paths.home(), cli)
    stack.select()


def _deploy(stack: Stack, rest: list[str]) -> int:
    started = time.monotonic()
    if stack.interrupted():
        terminal.say("The last update was cut short: asking AWS what became of it.")
        stack.run("refresh", *_UNASKED, "--clear-pending-creates")
    if result := stack.run("up", *_UNASKED, *rest):
        terminal.complain(
            "The site is not as it should be; Pulumi's reason is above. "
            "`make logs NAME=...` shows a machine's journal, `make up` goes on from here."
        )
        return result
    terminal.done("Pulumi", started)
    return 0


def _summary(stack: Stack) -> None:
    rows = fleet.machines(stack)
    if rows:
        terminal.say("")
        _table(rows)
        terminal.say("")
        if stack.is_lab and any(row.role == "monitoring" for row in rows):
            terminal.say("monitoring: http://{}:{}/user/".format(*addresses.SESSIONS["monitoring"]))
        url = stack.output("url")
        if file := stack.authority():
            terminal.say(f"curl --cacert {file} {url}")
        terminal.say(url)


def _table(rows: list[fleet.Row]) -> None:
    columns = ("MACHINE", "ROLE", "ADDRESS", "PUBLIC", "STATE", "ID")
    cells = [(r.name, r.role, r.address, r.public, r.state, r.id) for r in rows]
    terminal.table(columns, cells)
    for row in rows:
        if row.state == "failed" and row.detail:
            terminal.say(f"\n{row.name} failed:\n{row.detail.rstrip()}")


def _running() -> None:
    if not service.running():
        msg = "The lab is not running: `make up` starts it."
        raise UserError(msg)


def _machine(stack: Stack, name: str, *, gone: bool = False) -> fleet.Row:
    if stack.is_lab:
        _running()
    return fleet.find(stack, name, gone=gone)
