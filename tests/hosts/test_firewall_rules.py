"""The machine's own firewall: what its rules say, and how they follow the arrows."""

import os
import subprocess
from pathlib import Path

import pytest

from hosts.base import firewall, services
from hosts.base.firewall import Arrow, ArrowError, Firewall, FirewallError, parse, rules

RESOLVER = "10.0.0.2"
APP = Arrow("in", 8443, "10.0.128.0/17", "gunicorn from load-balancer")
WEB = Arrow("in", 443, "0.0.0.0/0", "https from internet")
DATABASE = Arrow("out", 3306, "10.0.0.0/17", "mysql to database")
AWS = Arrow("out", 443, "0.0.0.0/0", "https to aws")


def added(text: str) -> list[str]:
    """The elements that a ruleset has beside what every machine's has."""
    assert text.startswith(firewall.RULES.read_text())
    lines = text.removeprefix(firewall.RULES.read_text()).splitlines()
    return [line.removeprefix("add element inet site ") for line in lines if line]


def test_a_machine_without_arrows_has_the_rules_of_every_machine() -> None:
    assert added(rules([], RESOLVER)) == ["resolvers { 169.254.169.253, 10.0.0.2 }"]


def test_an_arrow_is_an_element_with_its_name_above() -> None:
    assert added(rules([DATABASE, APP], RESOLVER))[1:] == [
        "# gunicorn from load-balancer",
        "callers { 10.0.128.0/17 . 8443 }",
        "# mysql to database",
        "called { 10.0.0.0/17 . 3306 }",
    ]


def test_what_anyone_may_reach_is_apart() -> None:
    assert added(rules([AWS, WEB], RESOLVER))[1:] == [
        "# https from internet",
        "open { 443 }",
        "# https to aws",
        "anywhere { 443 }",
    ]


def test_networks_of_one_port_are_joined_where_they_overlap() -> None:
    nets = ["10.0.0.0/17", "10.0.128.0/17", "10.0.4.0/24", "192.0.2.0/24"]
    arrows = [Arrow("in", 80, network, f"x from {network}") for network in nets]
    assert added(rules(arrows, RESOLVER))[2:] == ["callers { 10.0.0.0/16 . 80, 192.0.2.0/24 . 80 }"]
    everyone = Arrow("in", 80, "0.0.0.0/0", "x from all")
    assert added(rules([*arrows, everyone], RESOLVER))[2:] == ["open { 80 }"]


def test_the_order_in_which_arrows_are_known_makes_no_difference() -> None:
    arrows = [APP, WEB, DATABASE, AWS]
    assert rules(arrows, RESOLVER) == rules([*reversed(arrows), APP], RESOLVER)


def test_an_arrow_is_read_as_it_was_written() -> None:
    for arrow in (APP, WEB, DATABASE, AWS):
        assert parse(arrow.to_json()) == arrow


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"way": "in", "port": 80, "network": "10.0.0.0/8"}',
        '{"way": "up", "port": 80, "network": "10.0.0.0/8", "what": "x"}',
        '{"way": "in", "port": 0, "network": "10.0.0.0/8", "what": "x"}',
        '{"way": "in", "port": 65536, "network": "10.0.0.0/8", "what": "x"}',
        '{"way": "in", "port": "80", "network": "10.0.0.0/8", "what": "x"}',
        '{"way": "in", "port": true, "network": "10.0.0.0/8", "what": "x"}',
        '{"way": "in", "port": 80, "network": "10.0.0.1/8", "what": "x"}',
        '{"way": "in", "port": 80, "network": "fd00::/8", "what": "x"}',
        '{"way": "in", "port": 80, "network": "10.0.0.0/8", "what": "x\\nflush ruleset"}',
    ],
)
def test_what_is_no_arrow_opens_nothing(text: str) -> None:
    with pytest.raises(ArrowError, match="no arrow"):
        parse(text)


class Nft:
    """nft, as far as the firewall asks it."""

    def __init__(self) -> None:
        self.loaded = ""
        self.loads = 0
        self.refuses = ""

    def __call__(self, *command: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        match command:
            case ("nft", "list", "chain", "inet", "site", "in"):
                return subprocess.CompletedProcess(command, 0 if self.loaded else 1, "", "")
            case ("nft", "-f", file):
                if self.refuses:
                    return subprocess.CompletedProcess(command, 1, "", self.refuses)
                self.loaded = stdin if file == "-" and stdin else Path(file).read_text()
                self.loads += 1
                return subprocess.CompletedProcess(command, 0, "", "")
            case _:
                raise AssertionError(command)


@pytest.fixture
def nft(monkeypatch: pytest.MonkeyPatch) -> Nft:
    made = Nft()
    monkeypatch.setattr(services, "run", made)
    return made


@pytest.fixture
def wall(nft: Nft, tmp_path: Path) -> Firewall:
    assert nft.loads == 0
    return Firewall(RESOLVER, tmp_path / "site/firewall.nft")


def test_a_machine_that_knows_no_arrows_yet_is_closed(wall: Firewall, nft: Nft) -> None:
    assert not wall.known
    wall.close()
    assert nft.loaded == rules([], RESOLVER)
    assert not wall.known, "it is still to be told of them"


def test_rules_that_nft_no_longer_takes_are_an_error_and_not_an_open_door(
    wall: Firewall, nft: Nft
) -> None:
    wall.follow([APP])
    nft.loaded, nft.refuses = "", "Error: syntax error"
    with pytest.raises(FirewallError, match="syntax error"):
        wall.close()
    assert nft.loaded == ""
    nft.refuses = ""
    assert wall.follow([APP]), "the next look repairs it"


def test_what_was_known_is_loaded_if_nobody_did(wall: Firewall, nft: Nft) -> None:
    wall.follow([APP])
    wall.close()
    assert nft.loads == 1, "nftables.service did"
    nft.loaded = ""
    wall.close()
    assert nft.loaded == rules([APP], RESOLVER)


def test_the_rules_follow_the_arrows_and_are_loaded_once(
    wall: Firewall, nft: Nft, tmp_path: Path
) -> None:
    assert wall.follow([APP])
    assert not wall.follow([APP])
    assert nft.loads == 1
    assert wall.follow([APP, WEB])
    kept = (tmp_path / "site/firewall.nft").read_text()
    assert nft.loaded == kept == rules([APP, WEB], RESOLVER), "for the next start"


def test_rules_that_somebody_took_away_are_back_at_the_next_look(wall: Firewall, nft: Nft) -> None:
    wall.follow([APP])
    nft.loaded = ""
    assert wall.follow([APP])
    assert nft.loaded == rules([APP], RESOLVER)


def test_rules_that_nft_refuses_leave_the_last_ones_for_the_next_start(
    wall: Firewall, nft: Nft, tmp_path: Path
) -> None:
    wall.follow([APP])
    nft.refuses = "Error: syntax error"
    with pytest.raises(FirewallError, match="syntax error"):
        wall.follow([WEB])
    assert (tmp_path / "site/firewall.nft").read_text() == rules([APP], RESOLVER)


@pytest.mark.skipif(os.geteuid() != 0, reason="nft reads rules only as root")
@pytest.mark.parametrize(
    "arrows",
    [
        [],
        [APP, WEB, DATABASE, AWS],
        [Arrow("in", port, "0.0.0.0/0", "x") for port in range(1, 40)],
        [Arrow("out", port, "10.0.0.0/8", "x") for port in (1, 65535)],
    ],
    ids=["none", "ordinary", "many", "ends"],
)
def test_this_machines_nft_takes_the_rules_twice(arrows: list[Arrow]) -> None:
    text = rules(arrows, RESOLVER)
    check = f"nft -c -f - <<'EOF'\n{text}EOF\n"
    load = f"nft -f - <<'EOF'\n{text}EOF\n"
    subprocess.run(["unshare", "--net", "sh", "-euc", check + load * 2], check=True, timeout=10)
