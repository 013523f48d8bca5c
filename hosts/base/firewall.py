"""The machine's own firewall: nftables, from the arrows that its role's security group has too.

The rules that every machine has are in `firewall.nft`, in nft's own words. The arrows are elements
of its sets. Both are one file, which is put in place of the last one in one step and loaded again
at each start of the machine, by nftables.service, before there is a network.

What is known of the arrows comes from the stack's parameters: `hosts.base.followed`.
"""

import ipaddress
import json
import threading
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

from hosts.base import services

RULES = Path(__file__).with_name("firewall.nft")
FILE = Path("/etc/site/firewall.nft")
"""What nftables.service loads."""
CHAIN = ("inet", "site", "in")
"""There while the rules are."""
LINK_LOCAL_RESOLVER = "169.254.169.253"
PORTS = 65535

Way = Literal["in", "out"]


class FirewallError(Exception):
    """nft did not take the rules."""


class ArrowError(ValueError):
    """A parameter that should say who may reach whom does not."""


@dataclass(frozen=True)
class Arrow:
    """One end of one: who may reach a TCP port of this machine, or where this machine may go."""

    way: Way
    port: int
    network: str
    """The other side: an IPv4 network in CIDR notation."""
    what: str
    """For people: ``mysql from app-server``."""

    def to_json(self) -> str:
        """As it stands in the parameter."""
        return json.dumps(asdict(self))


def parse(text: str) -> Arrow:
    """What `to_json` wrote. Raises `ArrowError`."""
    try:
        given = cast("dict[str, Any]", json.loads(text))
        network = ipaddress.IPv4Network(given["network"])
        way, port = given["way"], given["port"]
        fine = way in get_args(Way) and type(port) is int and 0 < port <= PORTS
        what = str(given["what"])
    except (ValueError, TypeError, KeyError) as error:
        message = f"{text!r} is no arrow: {error!r}"
        raise ArrowError(message) from error
    if not fine or not what.isprintable():
        message = f"{text!r} is no arrow"
        raise ArrowError(message)
    return Arrow(way, port, str(network), what)


def rules(arrows: Iterable[Arrow], resolver: str) -> str:
    """The whole file. `resolver` is the address of the VPC's own."""
    lines = [RULES.read_text().rstrip("\n"), _add("resolvers", [LINK_LOCAL_RESOLVER, resolver])]
    known = sorted(set(arrows), key=lambda arrow: (arrow.way, arrow.port, arrow.what))
    for way, everyone, some in (("in", "open", "callers"), ("out", "anywhere", "called")):
        for port in sorted({arrow.port for arrow in known if arrow.way == way}):
            these = [arrow for arrow in known if (arrow.way, arrow.port) == (way, port)]
            lines.append(f"# {', '.join(dict.fromkeys(arrow.what for arrow in these))}")
            lines.append(_elements(everyone, some, port, [arrow.network for arrow in these]))
    return "\n".join([*lines, ""])


def _elements(everyone: str, some: str, port: int, networks: Sequence[str]) -> str:
    # nft takes no elements that overlap.
    joined = list(ipaddress.collapse_addresses(map(ipaddress.IPv4Network, networks)))
    if any(network.prefixlen == 0 for network in joined):
        return _add(everyone, [str(port)])
    return _add(some, [f"{network} . {port}" for network in joined])


def _add(name: str, elements: Sequence[str]) -> str:
    return f"add element inet site {name} {{ {', '.join(elements)} }}"


class Firewall:
    """The one of this machine. Called from several threads."""

    def __init__(self, resolver: str, file: Path = FILE) -> None:
        """Nothing happens yet."""
        self._resolver = resolver
        self._file = file
        self._lock = threading.Lock()

    @property
    def known(self) -> bool:
        """Whether this machine has had rules of its own, which are loaded at each start."""
        return self._file.exists()

    def close(self) -> None:
        """Before anything listens: the rules as they were last known, else none but everyone's.

        Raises `FirewallError`; then the machine is as shut as `closed.nft` made it.
        """
        with self._lock:
            if _loaded():
                return
            if self.known:
                _nft("-f", str(self._file))
            else:
                _nft("-f", "-", stdin=rules([], self._resolver))

    def follow(self, arrows: Iterable[Arrow]) -> bool:
        """Brings the rules up to date, and back if somebody took them away; whether they changed.

        Raises `FirewallError`; then they are as they were.
        """
        wanted = rules(arrows, self._resolver)
        with self._lock:
            if self.known and self._file.read_text() == wanted and _loaded():
                return False
            self._replace(wanted)
            return True

    def _replace(self, wanted: str) -> None:
        self._file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        new = self._file.with_name(f".{self._file.name}.new")
        new.write_text(wanted)
        _nft("-f", str(new))
        new.replace(self._file)


def _loaded() -> bool:
    return services.run("nft", "list", "chain", *CHAIN).returncode == 0


def _nft(*arguments: str, stdin: str | None = None) -> None:
    done = services.run("nft", *arguments, stdin=stdin)
    if done.returncode:
        message = f"nft does not take the machine's rules: {done.stderr.strip()}"
        raise FirewallError(message)
