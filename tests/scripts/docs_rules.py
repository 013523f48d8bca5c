"""What is wrong with a command of the documentation, by the real thing that would read it."""

import argparse
import contextlib
import importlib
import importlib.util
import inspect
import io
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any
from unittest import mock

from lab.__main__ import parse as parse_lab
from tests.scripts import docs_aws, docs_pulumi
from tests.scripts.docs_commands import (
    PROJECT,
    NotUnderstoodError,
    Simple,
    Written,
    take_apart,
    variants,
)

IN_MACHINE = {
    "journalctl -u site-agent": "database-1",
    "journalctl -u site-agent -n 100": "database-1",
    "journalctl -u site-agent | grep address": "load-balancer-1",
    "journalctl -u mysql -u prometheus-mysqld-exporter -n 50": "database-1",
    "mysql -E -e 'SHOW REPLICA STATUS'": "database",
    "systemctl status site-agent": "app-server-1",
    "systemctl status prometheus-node-exporter site-agent": "app-server-1",
    "systemctl status prometheus-mysqld-exporter": "database-1",
    "systemd-analyze security haproxy.service": "load-balancer-1",
    "nft list ruleset": "app-server-1",
    "nft list counters": "app-server-1",
    "curl -s localhost:8404/metrics | head": "load-balancer-1",
    "curl -s localhost:8404/ | less": "load-balancer-1",
    "curl -s localhost:8008/status": "database-1",
    "df -h": "database-1",
    "du -xh --max-depth=2 / | sort -h | tail": "app-server-1",
}
"""What only looks, inside a machine; and the machine on which tests/lab runs it, or the role on one
of whose machines it has to say something."""

HARMLESS = {
    "systemctl kill -s KILL site-app": "app-server-1",
    "systemctl restart site-app": "app-server-1",
    "systemctl reload haproxy": "load-balancer-1",
}
"""What a site has to take, inside a machine; and the machine on which tests/lab does it."""

LISTED = {
    "systemctl stop site-agent mysql": "for a state that the model shows not to be reached",
    """journalctl -u haproxy -o cat | grep '"status": 5'""": "finds nothing on a site that is well:"
    " tests/lab/test_docs_commands.py makes an error first",
    'curl -i --cacert "$(make -s ca)" "$(make -s url)"': "run by tests/lab/test_docs_commands.py",
    'curl --cacert "$(make -s ca)" "$(make -s url)"': "run by tests/lab/test_docs_commands.py",
    "curl --resolve": "an option of curl's that is named",
    "git checkout Pulumi.lab.yaml": "git's own",
    "git revert": "git's own",
    "ls /var/lib/mysql/aside": "there once something was put aside: tests/lab/database",
    "cd examples/reports": "the folder is there: tests/engine runs that example",
    "python3 -m venv .venv": "Python's own",
    ".venv/bin/pip install ../..": "pip's own; what is installed is tests/engine's",
}
"""What no rule knows, and why it may stand there all the same."""


class UnderstoodError(Exception):
    """A script's parser took its arguments."""


def complaint(written: Written) -> str:
    """Why a reader could not run it; empty if they can."""
    if any(written.text in known for known in (IN_MACHINE, HARMLESS, LISTED)):
        return ""
    try:
        for text in variants(written.text):
            for simple in take_apart(text):
                check(simple, mentioned=not written.fenced)
    except ValueError as error:
        return f"a shell does not read it: {error}"
    except NotUnderstoodError as error:
        return str(error)
    return ""


def check(command: Simple, *, mentioned: bool) -> None:
    """By the rule of its program. Raises `NotUnderstoodError`."""
    match command.words:
        case ("python" | ".venv/bin/python", "-m", module, *arguments):
            python(module, arguments, mentioned=mentioned)
        case ("make", *arguments):
            make(arguments, command.variables, mentioned=mentioned)
        case ("aws", service, operation, *options):
            docs_aws.check(service, operation, options, mentioned=mentioned)
        case ("pulumi", *arguments):
            docs_pulumi.check(arguments, fed=command.fed)
        case ("eval", "SUBSTITUTED") | ("date", "-d", "-1hour", "+%s") | ("date", "+%s"):
            pass
        case words:
            raise NotUnderstoodError(
                f"no rule knows `{' '.join(words)}`: tests/scripts/docs_rules.py has them"
            )


def python(module: str, arguments: Sequence[str], *, mentioned: bool) -> None:
    """By the script's own parser; nothing else of it runs. Raises `NotUnderstoodError`."""
    if module == "lab":
        _parsed(lambda: parse_lab(list(arguments)))
        return
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        spec = None
    if spec is None:
        raise NotUnderstoodError(f"there is no module {module}")
    whole = f"{module}.__main__" if spec.submodule_search_locations else module
    main = importlib.import_module(whole)
    if ".parse_args(" not in inspect.getsource(main):
        raise NotUnderstoodError(f"{module} has no parser to ask")
    if mentioned and not arguments:
        return

    def understood(
        parser: argparse.ArgumentParser, given: Sequence[str] | None = None, _: Any = None
    ) -> argparse.Namespace:
        rest = parser.parse_known_args(given)[1]
        if rest:
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
        raise UnderstoodError

    def run() -> None:
        with (
            mock.patch.object(argparse.ArgumentParser, "parse_args", understood),
            mock.patch.object(sys, "argv", [whole, *arguments]),
            contextlib.suppress(UnderstoodError),
        ):
            main.main(*([list(arguments)] if inspect.signature(main.main).parameters else []))

    _parsed(run)


def _parsed(parse: Callable[[], object]) -> None:
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            parse()
    except SystemExit as ended:
        if ended.code:
            why = said.getvalue().strip().rpartition("\n")[2]
            raise NotUnderstoodError(why) from None


def make(arguments: Sequence[str], variables: dict[str, str], *, mentioned: bool) -> None:
    """By make itself, which says what it would do. Raises `NotUnderstoodError`."""
    given = {**variables, **dict(one.split("=", 1) for one in arguments if "=" in one)}
    known = (PROJECT / "Makefile").read_text()
    for name in given:
        if not re.search(rf"\b{name}\b", known):
            raise NotUnderstoodError(f"the Makefile has no {name}")
    name = ["NAME=x"] if mentioned and {"shell", "logs"} & {*arguments} else []
    if why := _refused((*name, *arguments), variables.get("STACK", "")):
        raise NotUnderstoodError(why)


@cache
def _refused(arguments: tuple[str, ...], stack: str) -> str:
    done = subprocess.run(
        ["make", "--dry-run", *arguments],
        cwd=PROJECT,
        env={**os.environ, "STACK": stack},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stderr.strip() if done.returncode else ""
