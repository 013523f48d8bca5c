"""Silent cuts of the network, for drills: what is cut vanishes, nobody says "unreachable".

Kept apart from `lab.firewall`, before connection tracking, so that a cut also hits the
connections that are open. Pure: cuts and facts in, nftables text out.
"""

from dataclasses import dataclass
from typing import Literal

from lab import network
from lab.facts import Facts, Instance

TABLE = "lab-cuts"

Scope = Literal["peer", "aws", "all"]
Direction = Literal["both", "sends", "gets"]
"""What is lost: everything, or only what the machine sends, or only what it gets."""


@dataclass(frozen=True)
class Cut:
    """One machine cut off: from a peer, from AWS's services, or from all.

    The metadata service and the resolver stay: on AWS they are on the machine's own host.
    """

    instance: str
    scope: Scope
    peer: str | None = None
    """The instance that it no longer reaches, for scope `peer`."""
    direction: Direction = "both"


def render(facts: Facts, cuts: frozenset[Cut]) -> str:
    """The ruleset; `nft -f` puts it in place of the last one in one step."""
    head = [f"table ip {TABLE}", f"delete table ip {TABLE}"]
    if not cuts:
        return "\n".join([*head, ""])
    ordered = sorted(cuts, key=lambda cut: (cut.instance, cut.scope, cut.peer or "", cut.direction))
    arriving: list[str] = []
    leaving: list[str] = []
    for cut in ordered:
        instance = facts.instances.get(cut.instance)
        if instance:
            arriving += _arriving(facts, cut, instance)
            leaving += _leaving(cut, instance)
    return "\n".join(
        [
            *head,
            f"table ip {TABLE} {{",
            "\tchain arriving {",
            "\t\ttype filter hook prerouting priority -310; policy accept;",
            *(f"\t\t{line} drop" for line in arriving),
            "\t}",
            "\tchain leaving {",
            "\t\ttype filter hook output priority -310; policy accept;",
            *(f"\t\t{line} drop" for line in leaving),
            "\t}",
            "}",
            "",
        ]
    )


_AWS = f"{{ {network.AWS}, {network.S3}, {network.DYNAMODB} }}"
_HOST = "169.254.0.0/16"


def _arriving(facts: Facts, cut: Cut, instance: Instance) -> list[str]:
    """What the router throws away when it comes in from a machine, or from outside."""
    own = _addresses(instance)
    sent, got = [f"ip saddr {own} ip daddr {_AWS}"], list[str]()
    if cut.scope == "all":
        sent, got = [f"ip saddr {own} ip daddr != {_HOST}"], [f"ip daddr {own}"]
    elif cut.scope == "peer":
        peer = facts.instances.get(cut.peer or "")
        if peer is None:
            return []
        other = _addresses(peer)
        sent, got = [f"ip saddr {own} ip daddr {other}"], [f"ip saddr {other} ip daddr {own}"]
    return [*(sent if cut.direction != "gets" else ()), *(got if cut.direction != "sends" else ())]


def _leaving(cut: Cut, instance: Instance) -> list[str]:
    """The same for answers of the services that the router itself stands for."""
    if cut.scope == "peer" or cut.direction == "sends":
        return []
    return [f"ip saddr {_AWS} ip daddr {_addresses(instance)}"]


def _addresses(instance: Instance) -> str:
    return f"{{ {', '.join(private.address for private in instance.addresses)} }}"
