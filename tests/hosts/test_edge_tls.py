"""TLS at the load balancer: what clients are offered, and whom it trusts behind it."""

import json
import ssl
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from hosts.load_balancer.files import CHALLENGE_MAP
from hosts.load_balancer.options import Acme
from lab import image
from tests import certificates
from tests.hosts.edge.client import (
    Connection,
    ask,
    ask_plainly,
    connect,
    get,
    plain,
    request,
)
from tests.hosts.edge.site import NAME, SERVERS, Site, running, until

pytestmark = pytest.mark.usefixtures("machine_image")

YEARS = 63_072_000
CIPHERS = {
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
}
"""Those of Mozilla's intermediate profile that fit a key of an elliptic curve."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Generator[Site]:
    acme = Acme(domain=NAME, directory="https://acme.example/dir", contact="", authority=False)
    folder = tmp_path_factory.mktemp("site")
    with running(folder, acme=acme, hosts=[NAME, "*.example.com"]) as found:
        found.up()
        yield found


def offered(site: Site, *ciphers: str, version: ssl.TLSVersion) -> str:
    """The cipher of a connection of one version, empty if none comes about."""
    context = site.context()
    # An old version takes an old level of security on the client's side.
    context.set_ciphers(":".join(ciphers) + ":@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    try:
        with site.tls(context=context) as sock:
            cipher = sock.cipher()
            assert cipher
            return cipher[0]
    except (ssl.SSLError, ConnectionError):
        return ""


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_versions_of_tls_are_refused(site: Site, version: ssl.TLSVersion) -> None:
    assert offered(site, "ALL", version=version) == ""


def test_tls_1_2_has_the_ciphers_of_the_intermediate_profile_and_no_others(site: Site) -> None:
    every = ssl.create_default_context()
    every.set_ciphers("ALL:COMPLEMENTOFALL:@SECLEVEL=0")
    names = [str(cipher["name"]) for cipher in every.get_ciphers()]
    known = [name for name in names if not name.startswith("TLS_")]
    assert len(known) > 60
    found = {offered(site, cipher, version=ssl.TLSVersion.TLSv1_2) for cipher in known}
    assert found - {""} == CIPHERS


@pytest.mark.parametrize(
    ("offers", "chosen"),
    [
        (("h2", "http/1.1"), "h2"),
        (("http/1.1", "h2"), "h2"),
        (("http/1.1",), "http/1.1"),
        ((), None),
    ],
)
def test_http_2_is_chosen_where_the_client_can(
    site: Site, offers: tuple[str, ...], chosen: str | None
) -> None:
    with site.tls(*offers) as sock:
        assert sock.selected_alpn_protocol() == chosen
        assert sock.version() == "TLSv1.3"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_is_resumed(site: Site, version: ssl.TLSVersion) -> None:
    context = site.context("http/1.1")
    context.minimum_version = context.maximum_version = version
    with Connection(site.tls(context=context)) as first:
        first.send(get())  # sessions of TLS 1.3 come after the handshake
        assert first.answer().status == 200
        session = first.socket.session  # type: ignore[attr-defined]
    with Connection(site.tls(context=context, session=session)) as second:
        assert second.socket.session_reused  # type: ignore[attr-defined]
        second.send(get())
        assert second.answer().status == 200


def test_no_session_is_good_for_early_data(site: Site) -> None:
    """0-RTT would let anyone repeat a request that he recorded."""
    where = ("-connect", "127.0.0.1:443", "-servername", NAME)
    asked = get("/", "Connection: close").decode()
    said = site.run("openssl", "s_client", "-tls1_3", "-ign_eof", *where, stdin=asked).stdout
    tickets = [line.split()[-1] for line in said.splitlines() if "Max Early Data:" in line]
    assert tickets
    assert {*tickets} == {"0"}


def test_a_scanner_finds_mozillas_intermediate_profile(site: Site) -> None:
    """sslyze knows the profile as of guideline 5.7, of which 6.0 keeps all but two old ciphers."""
    judge = Path(__file__).parent / "edge/judge.py"
    done = site.run(sys.executable, str(judge), NAME, str(site.authority), timeout=120)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["issues"] == {}
    assert [len(ciphers) for ciphers in found["ciphers"]] == [len(CIPHERS), 3]
    assert {*found["curves"]} == {"X25519", "secp256r1", "secp384r1"}
    assert not found["renegotiates"]


def test_a_key_exchange_that_no_quantum_computer_breaks_is_offered(site: Site) -> None:
    where = ("-connect", "127.0.0.1:443", "-servername", NAME)
    inside = image.run(["openssl", "list", "-tls-groups"])
    assert "X25519MLKEM768" in inside.stdout
    said = site.run_inside("openssl", "s_client", *where, "-groups", "X25519MLKEM768")
    assert "X25519MLKEM768" in said.stdout


def test_browsers_are_told_to_come_by_https_only(site: Site, tmp_path: Path) -> None:
    answer = ask(site, get())
    assert answer.headers["strict-transport-security"] == f"max-age={YEARS}"
    # By plain HTTP it means nothing (RFC 6797).
    assert "strict-transport-security" not in ask_plainly(site, get()).headers
    with running(tmp_path, hsts=0) as other:
        other.up()
        assert "strict-transport-security" not in ask(other, get()).headers


@pytest.mark.parametrize(
    ("method", "status"),
    [("GET", 301), ("HEAD", 301), ("POST", 308), ("PUT", 308), ("DELETE", 308), ("OPTIONS", 308)],
)
def test_plain_http_leads_to_https(site: Site, method: str, status: int) -> None:
    answer = ask_plainly(site, request(f"{method} /a/b?c=d&e=%20 HTTP/1.1"))
    assert answer.status == status
    assert answer.headers["location"] == f"https://{NAME}/a/b?c=d&e=%20"


@pytest.mark.parametrize(
    ("asked", "leads_to"),
    [
        (request("GET /x HTTP/1.1", host=f"{NAME}:80"), f"https://{NAME}/x"),
        (request("GET /x HTTP/1.0"), f"https://{NAME}/x"),
        (request(f"GET http://{NAME}/x?y HTTP/1.1"), f"https://{NAME}/x?y"),
    ],
)
def test_plain_http_leads_to_https_from_any_form_of_a_request(
    site: Site, asked: bytes, leads_to: str
) -> None:
    assert ask_plainly(site, asked).headers["location"] == leads_to


def test_plain_http_leads_nowhere_else(site: Site) -> None:
    site.forget()
    for host in ("evil.example", f"{NAME}.evil.example", "aexample.com", f"{NAME}:8080"):
        assert ask_plainly(site, request(host=host)).status == 421
    assert ask_plainly(site, request("GET //evil.example/ HTTP/1.1")).headers["location"] == (
        f"https://{NAME}//evil.example/"
    )
    assert ask_plainly(site, request("OPTIONS * HTTP/1.1")).status == 400
    assert site.served() == []


def test_plain_http_is_not_for_http_2(site: Site) -> None:
    with plain(site) as connection:
        connection.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert connection.answer().status == 400


def test_an_acme_challenge_is_answered_with_the_accounts_thumbprint(site: Site) -> None:
    challenge = get("/.well-known/acme-challenge/the-token-of-an-order")
    site.ask(f"add map {CHALLENGE_MAP} thumbprint the-thumbprint")
    answer = ask_plainly(site, challenge)
    assert (answer.status, answer.body) == (200, b"the-token-of-an-order.the-thumbprint")
    assert ask_plainly(site, get("/.well-known/acme-challenge/a/b")).status == 404
    assert ask_plainly(site, get("/.well-known")).status == 301


def test_a_new_certificate_is_served_at_once_and_no_connection_is_lost(site: Site) -> None:
    key, certificate = certificates.server(NAME, signer=site.edge_authority)
    pem = key + certificates.pem(certificate)
    with connect(site) as before:
        before.send(get())
        assert before.answer().status == 200
        site.ask(f"set ssl cert /run/site/edge/certificate.pem <<\n{pem}")
        assert "Success" in site.ask("commit ssl cert /run/site/edge/certificate.pem")
        before.send(get())
        assert before.answer().status == 200
    with site.tls("http/1.1") as after:
        found = after.getpeercert()
        assert found
        assert int(str(found["serialNumber"]), 16) == certificate.serial_number


def test_a_connection_without_a_handshake_is_ended(site: Site) -> None:
    with Connection(site.socket(443)) as silent:
        assert silent.ended()


# Behind it.


def test_requests_go_encrypted_to_servers_that_prove_who_they_are(site: Site) -> None:
    site.forget()
    answers = {ask(site, get()).body for _ in range(4)}
    assert answers == {f"{address}\n".encode() for address in SERVERS}


def test_connections_to_application_servers_are_used_again(site: Site) -> None:
    for _ in range(4):
        ask(site, get())
    before = [server.connections for server in site.servers]
    for _ in range(20):
        ask(site, get())  # each by a connection of its own
    checks = 10  # whose connections are theirs alone
    after = [server.connections for server in site.servers]
    assert all(b - a <= checks for a, b in zip(before, after, strict=True)), (before, after)


@pytest.mark.parametrize(
    "wrong", ["another authority", "another machine's name", "no encryption", "TLS 1.2"]
)
def test_a_server_that_is_not_known_gets_nothing(wrong: str, tmp_path: Path) -> None:
    with running(tmp_path) as site:
        site.up()
        address = SERVERS[1]
        if wrong == "another authority":
            site.serve(address, site.certified(site.role, signer=certificates.authority()))
        elif wrong == "another machine's name":
            site.serve(address, site.certified("database.lab.site.internal"))
        elif wrong == "no encryption":
            site.serve(address, None)
        else:
            site.serve(address, site.certified(site.role), most=ssl.TLSVersion.TLSv1_2)
        site.up(1)
        assert {ask(site, get()).body for _ in range(6)} == {f"{SERVERS[0]}\n".encode()}
        assert not [request for request in site.served() if request.server == address]


def test_a_server_that_came_with_the_wrong_certificate_is_taken_once_it_has_the_right_one(
    tmp_path: Path,
) -> None:
    with running(tmp_path) as site:
        site.up()
        site.serve(SERVERS[1], site.certified("localhost"))
        site.up(1)
        site.serve(SERVERS[1], site.certified(site.role))
        site.up(2)
        until(lambda: len({ask(site, get()).body for _ in range(4)}) == 2)
