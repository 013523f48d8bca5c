"""Systems Manager's Run Command, of which moto says that all went well, and runs nothing.

A shell script that is sent to an instance runs in its machine as root, as Amazon's agent would run
it there. `install` must be called before the first request.
"""

import subprocess
import threading
from collections.abc import Callable
from typing import Any, cast

from moto.ssm.exceptions import InvalidDocument, SSMException
from moto.ssm.models import Command, SimpleSystemManagerBackend

from lab import account, machines
from lab.usererror import UserError

DOCUMENT = "AWS-RunShellScript"
KEPT = 24_000
"""Characters of an output that GetCommandInvocation gives."""
TIMEOUT = 3600.0
"""Seconds that a script may take, unless it says otherwise."""


class InvalidInstanceId(SSMException):
    """The agent of a machine that does not run answers nobody."""

    def __init__(self, ids: list[str]) -> None:
        listed = ", ".join(ids)
        super().__init__("InvalidInstanceId", f"Instances [[{listed}]] not in a valid state")


def install() -> None:
    """Has moto's commands run."""
    backend: Any = SimpleSystemManagerBackend
    if backend.send_command.__name__ != "send_and_run":
        backend.send_command = _sending(backend.send_command)


def _sending(send: Callable[..., Command]) -> Callable[..., Command]:
    def send_and_run(self: SimpleSystemManagerBackend, **asked: Any) -> Command:
        if asked["document_name"] != DOCUMENT:
            raise InvalidDocument(f"The lab runs {DOCUMENT} alone, not {asked['document_name']}.")
        if silent := [one for one in asked["instance_ids"] if not _runs(one)]:
            raise InvalidInstanceId(silent)
        command = send(self, **asked)
        parameters: dict[str, list[str]] = asked["parameters"] or {}
        script = "\n".join(parameters.get("commands", []))
        limit = float(parameters.get("executionTimeout", [str(TIMEOUT)])[0])
        invocations: list[dict[str, Any]] = cast("Any", command).invocations
        for invocation in invocations:
            invocation.update(Status="InProgress", StatusDetails="InProgress", ResponseCode=-1)
            # Whoever sends it does not wait for it, and nobody else's call either.
            arguments = (invocation, script, limit)
            threading.Thread(target=_run, args=arguments, daemon=True).start()
        return command

    return send_and_run


def _runs(instance_id: str) -> bool:
    found = account.instance(instance_id)
    return found is not None and found.state == "running"


def _run(invocation: dict[str, Any], script: str, limit: float) -> None:
    """Runs a script in its machine, and says how it ended."""
    try:
        done = subprocess.run(
            machines.entering(invocation["InstanceId"], ["sh", "-c", script]),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired:
        invocation.update(Status="TimedOut", StatusDetails="ExecutionTimedOut")
        return
    except UserError as error:
        # It ended in between.
        invocation.update(
            Status="Failed", StatusDetails="Undeliverable", StandardErrorContent=str(error)
        )
        return
    status = "Success" if done.returncode == 0 else "Failed"
    invocation.update(
        StandardOutputContent=done.stdout[:KEPT],
        StandardErrorContent=done.stderr[:KEPT],
        ResponseCode=done.returncode,
        # Last: who sees it finds the rest.
        StatusDetails=status,
        Status=status,
    )
