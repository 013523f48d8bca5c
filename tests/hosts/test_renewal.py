"""When a certificate is ordered by ACME, by whom, and what becomes of failures."""

import base64
import functools
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives.asymmetric import ec

from components.new_secret import private_key, self_signed
from hosts.base import certificate
from hosts.base.lease import Lease, UnreachableError
from hosts.base.parameters import ParameterError
from hosts.load_balancer import renewal
from hosts.load_balancer.acme_order import Account, AcmeError, thumbprint
from hosts.load_balancer.certificate import EDGE, EVERY
from hosts.load_balancer.files import CERTIFICATE, CHALLENGE_MAP
from hosts.load_balancer.options import Acme
from hosts.load_balancer.renewal import BACK_OFF, DIRECTORY, LIMITED, TIMES, Renewal, due
from tests.certificates import NOW, authority, pem, server, text
from tests.hosts.fakes import Clock, MemoryTable

DOMAIN = "www.example.org"
HERE = "https://acme.example/directory"
ACME = Acme(domain=DOMAIN, directory=HERE, contact="", authority=False)
ACCOUNT = private_key()
SIGNER = authority()
DAY = 86_400.0


def given(domain: str = DOMAIN, days: float = 90) -> str:
    """What an authority gives: begun just now."""
    key, made = server(domain, days=days, begins=0, signer=SIGNER)
    return key + pem(made, SIGNER[1])


def stored(text: str, directory: str = HERE) -> str:
    return f"{DIRECTORY}{directory}\n{text}"


class Ssm:
    """Parameters by name."""

    def __init__(self, certificate: str) -> None:
        self.values = {EDGE: certificate, renewal.ACCOUNT: ACCOUNT}
        self.written = 0
        self.refuses = ""

    def get_parameter(self, **asked: Any) -> dict[str, Any]:
        return {"Parameter": {"Value": self.values[asked["Name"]]}}

    def put_parameter(self, **put: Any) -> None:
        if self.refuses:
            raise ClientError({"Error": {"Code": self.refuses}}, "PutParameter")
        assert (put["Type"], put["Overwrite"], put["Name"]) == ("SecureString", True, EDGE)
        self.written += 1
        self.values[EDGE] = put["Value"]


class Site:
    """Load balancers, an authority, and the time."""

    def __init__(self, folder: Path, certificate: str = "") -> None:
        self.clock = Clock(0.0)
        self.table = MemoryTable()
        self.ssm = Ssm(certificate or self_signed([DOMAIN]))
        self.orders: list[tuple[float, str]] = []
        self.error: BaseException | None = None
        self.unseen = ""
        self.lost = False
        """Whether the table is away from the end of an order on."""
        self.said: list[str] = []
        self._folder = folder

    def epoch(self) -> float:
        """Not a whole second: what is rounded up must not come before its time."""
        return int(NOW.timestamp()) + 0.7 + self.clock()

    def machine(self, name: str, clock: Callable[[], float] | None = None) -> Renewal:
        def order(account: Account, domain: str, seconds: float) -> str:
            assert (account.directory, account.key, domain) == (HERE, ACCOUNT, DOMAIN)
            assert seconds < TIMES.lease - TIMES.margin
            self.orders.append((self.clock(), name))
            self.table.unreachable = self.lost
            if self.error:
                raise self.error
            key, made = server(
                DOMAIN, begins=self.clock() / DAY, days=90 + self.clock() / DAY, signer=SIGNER
            )
            return key + pem(made)

        def admin(command: str) -> str:
            self.said.append(command)
            return ""

        client: Any = self.ssm
        lease = Lease(self.table, "certificate", name, TIMES, clock or self.clock)
        folder = self._folder / name
        folder.mkdir(exist_ok=True)
        return Renewal(
            ACME,
            client,
            lambda parameter: parameter,
            lease,
            folder=folder,
            admin=admin,
            epoch=self.epoch,
            clock=self.clock,
            order=order,
            unseen=lambda _domain, _key: self.unseen,
        )

    def turns(self, machines: list[Renewal], seconds: float, every: float = EVERY) -> None:
        """Each machine looks every half minute."""
        end = self.clock() + seconds
        while self.clock() < end:
            for machine in machines:
                machine.turn()
            self.clock.advance(every)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Where the same text is looked at once only: days of half minutes pass here."""
    for name in ("look", "covers", "refuse_other_key"):
        monkeypatch.setattr(certificate, name, functools.cache(getattr(certificate, name)))
    monkeypatch.setattr(renewal, "thumbprint", functools.cache(thumbprint))
    return Site(tmp_path)


def test_a_good_certificate_is_due_at_two_thirds_of_its_lifetime() -> None:
    made, begins = stored(given(days=90)), NOW.timestamp()
    assert due(made, ACME, begins) == ""
    assert due(made, ACME, begins + 59.9 * DAY) == ""
    assert due(made, ACME, begins + 60.1 * DAY) == "30 days of it are left"
    assert due(made, ACME, begins + 99 * DAY) == "0 days of it are left"


def test_a_short_one_is_due_at_two_thirds_as_well() -> None:
    made, begins = stored(given(days=6)), NOW.timestamp()
    assert due(made, ACME, begins + 3.9 * DAY) == ""
    assert due(made, ACME, begins + 4.1 * DAY) != ""


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (self_signed([DOMAIN]), "there is none by ACME yet"),
        (stored(given("example.org")), f"it is not for {DOMAIN}"),
        (stored(given(), "https://staging.example/"), "it is by https://staging.example/"),
        (given(), ""),
    ],
    ids=["none", "another name", "another authority", "good"],
)
def test_why_a_certificate_is_due(made: str, why: str) -> None:
    assert due(made, ACME, NOW.timestamp() + DAY) == why


def test_one_of_several_machines_orders_and_once(site: Site) -> None:
    machines = [site.machine(name) for name in ("i-1", "i-2", "i-3")]
    site.turns(machines, 3600)
    assert len(site.orders) == 1
    assert site.ssm.values[EDGE].startswith(f"{DIRECTORY}{HERE}\n-----BEGIN PRIVATE KEY-----")
    assert [machine.trouble for machine in machines] == ["", "", ""]


def test_it_is_renewed_in_time_for_years(site: Site) -> None:
    machine = site.machine("i-1")
    while site.clock() < 400 * DAY:
        machine.turn()
        site.clock.advance(DAY / 4)
    days = [when / DAY for when, _ in site.orders]
    assert [b - a for a, b in pairwise(days)] == pytest.approx([60] * 6, abs=0.6)


def test_after_a_failure_all_wait_and_longer_each_time(site: Site) -> None:
    site.error = AcmeError("nobody is there")
    machines = [site.machine(name) for name in ("i-1", "i-2")]
    site.turns(machines, 2.5 * DAY, every=60)
    times = [when for when, _ in site.orders]
    waits = [b - a for a, b in pairwise(times)]
    expected = [*BACK_OFF, *BACK_OFF[-1:] * 9][: len(waits)]
    assert waits == pytest.approx(expected, abs=120)
    assert len(waits) > len(BACK_OFF)
    for start in times:
        assert len([t for t in times if start <= t < start + 3600]) <= 5, "Let's Encrypt's limit"
    for machine in machines:
        assert machine.trouble.endswith("The last failed: nobody is there")
        assert "no certificate by ACME; the next order is at 20" in machine.trouble


def test_after_a_success_failures_are_forgotten(site: Site) -> None:
    machine = site.machine("i-1")
    site.error = AcmeError("no")
    site.turns([machine], 3600)
    site.error = None
    site.turns([machine], 3 * 3600)
    failed = len(site.orders)
    assert machine.trouble == ""
    site.error = AcmeError("no")
    site.ssm.values[EDGE] = self_signed([DOMAIN])
    site.turns([machine], BACK_OFF[0] + 2 * EVERY)
    assert len(site.orders) == failed + 2, "it begins with the shortest wait again"


def test_an_authority_that_says_it_is_too_much_is_left_alone(site: Site) -> None:
    site.error = AcmeError("rateLimited", limited=True)
    site.turns([site.machine("i-1"), site.machine("i-2")], LIMITED - 60, every=60)
    assert len(site.orders) == 1


def test_a_machine_that_ends_during_an_order_counts_as_a_failure(site: Site) -> None:
    one, other = site.machine("i-1"), site.machine("i-2")
    site.error = SystemExit()
    with pytest.raises(SystemExit):
        one.turn()
    site.error = None
    site.turns([other], TIMES.lease - EVERY)
    assert len(site.orders) == 1, "the lease has not lapsed"
    site.turns([other], BACK_OFF[0] + 4 * EVERY)
    assert [name for _, name in site.orders] == ["i-1", "i-2"]
    assert other.trouble == ""


def test_a_program_that_ended_during_an_order_goes_on_when_it_is_back(site: Site) -> None:
    site.error = SystemExit()
    with pytest.raises(SystemExit):
        site.machine("i-1").turn()
    site.error = None
    site.clock.advance(1)
    site.turns([site.machine("i-1")], BACK_OFF[0] + 3 * EVERY)
    assert [name for _, name in site.orders] == ["i-1", "i-1"]


def test_with_the_table_away_nothing_is_ordered(site: Site) -> None:
    machine = site.machine("i-1")
    site.table.unreachable = True
    with pytest.raises(UnreachableError):
        machine.turn()
    assert site.orders == []
    site.table.unreachable = False
    machine.turn()
    assert len(site.orders) == 1


def test_a_release_that_nobody_heard_of_does_not_end_the_renewals(site: Site) -> None:
    machine = site.machine("i-1")
    site.lost = True
    machine.turn()
    assert "the table" not in machine.trouble
    site.lost = site.table.unreachable = False
    site.ssm.values[EDGE] = self_signed([DOMAIN])
    site.turns([machine], BACK_OFF[0] + 3 * EVERY)
    assert len(site.orders) == 2
    assert machine.trouble == ""


def test_a_certificate_that_cannot_be_written_is_a_failure_that_is_said(site: Site) -> None:
    site.ssm.refuses = "AccessDeniedException"
    machine = site.machine("i-1")
    machine.turn()
    assert "the parameter edge/certificate cannot be written" in machine.trouble
    site.turns([machine], BACK_OFF[0] - EVERY)
    assert len(site.orders) == 1


def test_a_site_that_is_not_seen_under_its_name_orders_when_it_is(site: Site) -> None:
    machine = site.machine("i-1")
    site.unseen = "its DNS leads elsewhere"
    site.turns([machine], 1800)
    assert site.orders == []
    assert machine.trouble == "no certificate is ordered yet: its DNS leads elsewhere"
    site.unseen = ""
    machine.turn()
    assert len(site.orders) == 1


def test_a_site_that_only_this_machine_does_not_see_orders_all_the_same(site: Site) -> None:
    site.unseen = "the machine may not ask"
    site.turns([site.machine("i-1")], renewal.ANYWAY + 2 * EVERY)
    assert len(site.orders) == 1


def test_a_parameter_that_was_set_back_gets_the_certificate_that_is_served(
    site: Site, tmp_path: Path
) -> None:
    served = stored(given())
    machine = site.machine("i-1")
    (tmp_path / "i-1" / CERTIFICATE.name).write_text(served)
    machine.turn()
    assert site.ssm.values[EDGE] == served
    assert site.orders == []


def test_what_is_served_is_not_put_back_if_it_is_no_better(site: Site, tmp_path: Path) -> None:
    machine = site.machine("i-1")
    for served in (self_signed([DOMAIN]), given(), stored(given("example.org")), "nonsense"):
        (tmp_path / "i-1" / CERTIFICATE.name).write_text(served)
        site.ssm.values[EDGE] = self_signed([DOMAIN])
        before = len(site.orders)
        machine.turn()
        assert len(site.orders) == before + 1, served


def test_haproxy_answers_for_the_account_from_its_start_and_for_another_one_later(
    site: Site, tmp_path: Path
) -> None:
    machine = site.machine("i-1")
    machine.prepare()
    file = tmp_path / "i-1" / CHALLENGE_MAP.name
    assert file.read_text() == f"thumbprint {thumbprint(ACCOUNT)}\n"
    machine.turn()
    assert site.said == [], "HAProxy has read it"
    file.unlink()
    file.write_text("thumbprint of-another-account\n")
    site.ssm.values[EDGE] = self_signed([DOMAIN])
    machine.turn()
    assert site.said == [f"set map {file} thumbprint {thumbprint(ACCOUNT)}"]
    assert file.read_text() == f"thumbprint {thumbprint(ACCOUNT)}\n"


def test_the_thumbprint_is_that_of_rfc_7638() -> None:
    # The elliptic curve's key of RFC 7517, appendix A.2.
    number = base64.urlsafe_b64decode("870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE=")
    key = ec.derive_private_key(int.from_bytes(number), ec.SECP256R1())
    assert thumbprint(text(key)) == "cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s"


def test_a_parameter_that_is_not_there_is_an_error_of_its_own(site: Site) -> None:
    machine = site.machine("i-1")
    site.ssm.values[renewal.ACCOUNT] = ""
    with pytest.raises(ParameterError, match="is empty"):
        machine.turn()
