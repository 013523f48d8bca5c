"""A shell script run in a machine, as root, by Systems Manager's Run Command."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from scripts.command import NotDoneError

DOCUMENT = "AWS-RunShellScript"
POLL = 0.3
"""Seconds between two looks whether it has ended."""
MOST = 24_000
"""Characters that Systems Manager shows of what a script says."""
_UNDER_WAY = frozenset({"Pending", "InProgress", "Delayed", "Cancelling"})


@dataclass(frozen=True)
class Ended:
    """What became of a script."""

    status: int
    """Its exit status."""
    out: str
    """The first `MOST` characters, as of `err`."""
    err: str


class Commands:
    """Run Command of one region."""

    def __init__(
        self,
        ssm: Any,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Nothing is sent yet."""
        self._ssm = ssm
        self._clock = clock
        self._sleep = sleep

    def run(self, instance: str, script: str, seconds: float = 60.0) -> Ended:
        """Runs a script to its end. Raises `NotDoneError` if it is not delivered or does not end.

        On AWS a machine takes it if Amazon's agent runs there and has a way to Systems Manager.
        """
        exceptions = self._ssm.exceptions
        try:
            sent = self._ssm.send_command(
                InstanceIds=[instance],
                DocumentName=DOCUMENT,
                Parameters={"commands": [script], "executionTimeout": [f"{max(1, seconds):.0f}"]},
                TimeoutSeconds=max(30, round(seconds)),
            )
        except exceptions.InvalidInstanceId as error:
            raise NotDoneError(
                f"Systems Manager does not reach {instance}: it does not run, or its agent has"
                " not registered"
            ) from error
        command = sent["Command"]["CommandId"]
        end = self._clock() + seconds
        while self._clock() < end:
            try:
                found = self._ssm.get_command_invocation(CommandId=command, InstanceId=instance)
            except exceptions.InvocationDoesNotExist:
                found = {"Status": "Pending"}  # of a moment ago: not known everywhere yet
            if found["Status"] not in _UNDER_WAY:
                return self._ended(found, instance)
            self._sleep(POLL)
        raise NotDoneError(f"{instance} did not end a command within {seconds:.0f} s")

    @staticmethod
    def _ended(found: dict[str, Any], instance: str) -> Ended:
        code = int(found.get("ResponseCode", -1))
        out, err = found.get("StandardOutputContent", ""), found.get("StandardErrorContent", "")
        if found["Status"] not in ("Success", "Failed") or code < 0:
            said = found.get("StatusDetails") or found["Status"]
            raise NotDoneError(f"{instance} did not run a command: {said} {err}".strip())
        return Ended(code, out, err)
