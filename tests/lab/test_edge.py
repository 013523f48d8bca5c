"""The site as clients meet it: HTTPS that they can verify, limits, and nothing malformed passed on.

What each byte and each limit does is in tests/hosts/test_edge_*; here it is the site as deployed.
"""

import http.client
import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from lab import paths
from lab.stack import LAB
from tests.lab import traffic
from tests.lab.conftest import lab
from tests.lab.site import Site, eventually

BALANCER = "load-balancer-1"
AUTHORITY = paths.authority(LAB)
UNVERIFIED = 60
"""What curl ends with if it does not trust the server."""


def curl(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["curl", "--silent", "--show-error", "--noproxy", "*", "--max-time", "30", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def host(site: Site) -> str:
    return urlsplit(site.url).hostname or ""


def said(site: Site, what: bytes) -> bytes:
    """All that comes back of some bytes, by HTTPS, until the connection ends."""
    context = ssl.create_default_context(cafile=AUTHORITY)
    with (
        socket.create_connection((host(site), 443), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname=host(site)) as connection,
    ):
        connection.sendall(what)
        answer = b""
        try:
            while part := connection.recv(65536):
                answer += part
        except (ConnectionError, ssl.SSLEOFError):
            pass  # an end without a word is an end
    return answer


def test_curl_verifies_the_site_by_the_file_that_up_and_ca_name(site: Site) -> None:
    up = lab("up")
    assert up.returncode == 0, up.stdout + up.stderr
    url = lab("url").stdout.strip()
    file = lab("ca").stdout.strip()
    assert url == site.url
    assert url.startswith("https://")
    lines = up.stdout.splitlines()
    assert lines[lines.index(url) - 1] == f"curl --cacert {file} {url}"

    trusting = curl("--cacert", file, "--write-out", "\n%{http_code}", url)
    assert trusting.returncode == 0, trusting.stderr
    assert trusting.stdout.endswith("\n200")
    assert curl(url).returncode == UNVERIFIED


@pytest.mark.parametrize(("option", "version"), [("--http2", "2"), ("--http1.1", "1.1")])
def test_curl_speaks_http_2_or_what_it_wants(site: Site, option: str, version: str) -> None:
    write = ("--output", "/dev/null", "--write-out", "%{http_version} %{http_code}")
    run = curl(option, "--cacert", AUTHORITY, *write, site.url)
    assert run.stdout == f"{version} 200", run.stderr


@pytest.mark.parametrize(("method", "status"), [("GET", 301), ("HEAD", 301), ("POST", 308)])
def test_who_comes_by_http_is_sent_to_https(site: Site, method: str, status: int) -> None:
    connection = http.client.HTTPConnection(host(site), 80, timeout=10)
    connection.request(method, "/a?b=c", b"x" if method == "POST" else None)
    answer = connection.getresponse()
    assert answer.status == status
    assert answer.getheader("Location") == f"{site.url}/a?b=c"
    assert answer.getheader("Strict-Transport-Security") is None
    connection.close()


def test_browsers_are_told_to_come_by_https_only(site: Site) -> None:
    answer = traffic.send(site.url)
    assert answer.headers["strict-transport-security"] == "max-age=63072000"
    assert "server" not in answer.headers


SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 4\r\nContent-Length: 5\r\n",
        b"Content-Length: +4\r\n",
        b"Content-Length: 4, 5\r\n",
        b"Content-Length: 0x4\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        b"X: a\rTransfer-Encoding: chunked\r\n",
        b"Host: somebody.example\r\n",
    ],
    ids=repr,
)
def test_what_has_two_meanings_is_answered_400_and_nothing_after_it_is_read(
    site: Site, headers: bytes
) -> None:
    own = f"Host: {host(site)}\r\n".encode()
    answer = said(site, b"POST / HTTP/1.1\r\n" + own + headers + b"\r\n0\r\n\r\n" + SMUGGLED)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400 "), answer
    assert answer.count(b"HTTP/1.1 ") <= 1, answer
    assert b"x-served-by" not in answer.lower()


def test_a_body_with_chunks_and_a_length_hides_no_request(site: Site) -> None:
    """It is read as chunks, and the connection ends with its answer."""
    answer = said(
        site,
        f"POST / HTTP/1.1\r\nHost: {host(site)}\r\n".encode()
        + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        + SMUGGLED,
    )
    assert answer.count(b"HTTP/1.1 ") == 1, answer


@pytest.mark.thorough
def test_who_is_too_fast_is_told_when_to_come_again(as_before: Site) -> None:
    site = as_before
    burst = 20
    outcome = site.up({"loadBalancers.limits": {"requestsPerSecond": 5, "burst": burst}})
    assert outcome.status == 0, outcome.text
    with traffic.Client(site.url, keep_alive=True) as client:
        answers = [client.send(traffic.page()) for _ in range(5 * burst)]
        refused = [answer for answer in answers if answer.status == 429]
        assert {answer.status for answer in answers} == {200, 429}
        assert all(answer.ok for answer in answers[:burst])
        assert len(refused) > 2 * burst
        assert all(not answer.server for answer in refused)
        (wait,) = {answer.headers["retry-after"] for answer in refused}
        # Who does as he is told is served at the rate that he may have.
        served = 0
        end = time.monotonic() + 10
        while time.monotonic() < end:
            time.sleep(int(wait))
            served += client.send(traffic.page()).ok
        assert served >= 7


def test_haproxy_runs_with_the_restrictions_of_its_unit(site: Site) -> None:
    shown = site.run(
        BALANCER,
        *("systemctl", "show", "haproxy.service", "--property"),
        "ActiveState,MemoryDenyWriteExecute,NoNewPrivileges,ProtectSystem",
    )
    assert set(shown.split()) == {
        "ActiveState=active",
        "MemoryDenyWriteExecute=yes",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
    }


def assert_nothing_is_lost(site: Site, change: Callable[[], object]) -> None:
    with traffic.load(site.url, lambda _: traffic.page(), clients=6) as load:
        eventually("a first round of answers", lambda: len(load.answers) > 100, 30)
        change()
        before = len(load.answers)
        eventually("answers afterwards", lambda: len(load.answers) > before + 200, 30)
    assert not load.failed(), load.report()


def test_a_reload_by_systemd_loses_no_request(site: Site) -> None:
    master = site.run(BALANCER, "systemctl", "show", "haproxy.service", "-P", "MainPID")
    assert_nothing_is_lost(
        site, lambda: site.run(BALANCER, "systemctl", "reload", "haproxy.service")
    )
    assert site.run(BALANCER, "systemctl", "show", "haproxy.service", "-P", "MainPID") == master
