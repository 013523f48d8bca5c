"""What the lease's record says of the database machines: who leads, and who may follow on.

A member is a machine and the volume with its data: ``database-2/vol-0123456789abcdef0``. With
another volume it is another member, since it has not what the former one had.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from hosts.base.lease import Record, Value

Mode = Literal["semi-synchronous", "asynchronous"]
NAME = "database"


def member(machine: str, volume: str) -> str:
    """The member that a machine is with this volume."""
    return f"{machine}/{volume}"


def machine_of(name: str) -> str:
    """The machine of a member."""
    return name.partition("/")[0]


@dataclass(frozen=True)
class Pair:
    """The record in its own words."""

    holder: str
    generation: int
    released: bool
    in_sync: frozenset[str]
    """Members that have every acknowledged write; the holder is always one."""
    mode: Mode = "semi-synchronous"
    """How the holder replicates."""
    address: str = ""
    """The holder's."""
    joining: str = ""
    """The member that the holder is about to wait for."""
    switchover_to: str = ""
    """The machine that is to lead, by the operator's wish."""
    handed_to: str = ""
    """The member that the holder gave the lease to when it released it: it has all there is."""
    leaving: frozenset[str] = frozenset()
    """Members that are about to stop, and are not to be waited for."""
    force: str = ""
    """The machine that is to lead whatever may be lost, by the operator's wish."""

    def others(self, me: str) -> frozenset[str]:
        """Who else has every acknowledged write."""
        return self.in_sync - {me}


def pair(record: Record) -> Pair:
    """The record of a lease as that of the databases."""
    extra = record.extra
    return Pair(
        holder=record.holder,
        generation=record.generation,
        released=record.released,
        in_sync=_names(extra, "in_sync"),
        mode="asynchronous" if extra.get("mode") == "asynchronous" else "semi-synchronous",
        address=str(extra.get("address", "")),
        joining=str(extra.get("joining", "")),
        switchover_to=str(extra.get("switchover_to", "")),
        handed_to=str(extra.get("handed_to", "")),
        leaving=_names(extra, "leaving"),
        force=str(extra.get("force", "")),
    )


def _names(extra: Mapping[str, Value], key: str) -> frozenset[str]:
    found = extra.get(key, frozenset())
    return found if isinstance(found, frozenset) else frozenset()
