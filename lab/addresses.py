"""Elastic IPs: each is an address of the user's machine, in 127/8, that leads to its holder.

So does a port that on AWS only Session Manager's port forwarding leads to, one on a machine's own
loopback.
"""

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass

from lab import network, paths
from lab.facts import Facts, Instance, Rule

log = logging.getLogger(__name__)

_MOST_PORTS = 32
"""A rule that opens more than these is not a service: the lab does not listen on them all."""

SESSIONS = {"monitoring": ("127.0.9.90", 9090)}
"""By role: the address of the user's machine, and the port, the same on the machine's loopback."""


@dataclass(frozen=True, order=True)
class Forward:
    """A port of a public address, and where it leads."""

    address: str
    port: int
    private: str
    inside: str = ""
    """The name space that `private` is in; empty: the lab's internet."""


def forwards(facts: Facts) -> frozenset[Forward]:
    """What the user's machine listens on: the holders' ports that are open to the whole world.

    Also while a holder is off: what is sent to it vanishes, nobody says that it is.
    """
    found: set[Forward] = set()
    for eip in facts.elastic:
        instance = facts.instances.get(eip.instance or "")
        if instance and eip.private and instance.state != "shutting-down":
            for port in open_ports(facts, instance):
                found.add(Forward(eip.address, port, eip.private))
    return frozenset(found)


def sessions(facts: Facts) -> frozenset[Forward]:
    """As if there were a session to each port of `SESSIONS` all the time."""
    return frozenset(
        Forward(*SESSIONS[instance.role], "127.0.0.1", network.name_space(instance.id))
        for instance in facts.instances.values()
        if instance.role in SESSIONS and instance.state != "shutting-down"
    )


def open_ports(facts: Facts, instance: Instance) -> set[int]:
    """The TCP ports that the instance's groups open to 0.0.0.0/0."""
    rules = [
        rule
        for group in instance.groups
        if group in facts.groups
        for rule in facts.groups[group].ingress
    ]
    return {port for rule in rules for port in _ports(rule)}


def _ports(rule: Rule) -> range:
    if rule.cidr != "0.0.0.0/0" or rule.protocol not in ("tcp", "6") or rule.ports is None:
        return range(0)
    first, last = rule.ports
    return range(first, last + 1) if last - first < _MOST_PORTS else range(0)


class Forwarding:
    """The process that carries the connections (`lab.forwarder`), kept at what is wanted."""

    def __init__(self, died: Callable[[], None]) -> None:
        """`died` is called, on a thread, if it ends by itself: `want` starts it again."""
        self._died = died
        self._process: subprocess.Popen[str] | None = None
        self._wanted: frozenset[Forward] | None = None
        self._guard = threading.Lock()
        self.failed: dict[str, str] = {}
        """What could not be listened on, and why."""

    def want(self, wanted: frozenset[Forward]) -> None:
        """Listen on these and no others; connections of what changed are lost."""
        with self._guard:
            if self._process is None or self._process.poll() is not None:
                self._process, self._wanted = self._start(), frozenset()
            # What failed is tried again at every change of the account.
            if wanted == self._wanted and not self.failed:
                return
            self._wanted = wanted
            failed = self._tell(self._process, wanted)
            for address, why in sorted(failed.items()):
                if address not in self.failed:
                    log.error("Cannot listen on %s: %s.", address, why)
            self.failed = failed

    def _start(self) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-m", "lab.forwarder"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=paths.PROJECT,
        )
        threading.Thread(target=self._watch, args=(process,), daemon=True).start()
        return process

    def _watch(self, process: "subprocess.Popen[str]") -> None:
        process.wait()
        if process is self._process:
            self._died()

    def _tell(self, process: "subprocess.Popen[str]", wanted: frozenset[Forward]) -> dict[str, str]:
        if process.stdin is None or process.stdout is None:
            return {}
        lines = [
            [one.address, one.port, one.private, one.port, one.inside] for one in sorted(wanted)
        ]
        try:
            process.stdin.write(json.dumps({"forward": lines}) + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except OSError:
            answer = ""
        if not answer:
            return {one.address: "the forwarder has died; see the lab's log" for one in wanted}
        failed: dict[str, str] = json.loads(answer)["failed"]
        return failed

    def stop(self) -> None:
        """Carry nothing more."""
        process, self._process = self._process, None
        if process:
            process.kill()
            process.wait()
