"""The lab tests' own client: it trusts one site, and notices what became of its connection."""

import http.server
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from components import new_secret
from tests.lab import traffic


class Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/last":
            self.close_connection = True  # without having said so
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 its base's name
        pass


class Server(http.server.ThreadingHTTPServer):
    connections = 0

    def process_request(self, request: object, client_address: object) -> None:
        self.connections += 1
        super().process_request(request, client_address)  # type: ignore[arg-type]

    def handle_error(self, request: object, client_address: object) -> None:
        pass


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """As the program makes it for a site without a domain; with its key, for the server."""
    file = tmp_path / "both.pem"
    file.write_text(new_secret.self_signed(["127.0.0.1", "www.site.test"]))
    return file


@pytest.fixture
def server(authority: Path) -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Answers) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(authority)
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def url(server: Server) -> str:
    return f"https://127.0.0.1:{server.server_address[1]}"


def test_a_kept_connection_is_one_connection(server: Server, authority: Path) -> None:
    with traffic.Client(url(server), keep_alive=True, authority=authority) as client:
        assert [client.send(traffic.page()).status for _ in range(5)] == [200] * 5
    assert server.connections == 1


def test_a_name_that_no_dns_knows_is_looked_for_at_an_address(
    server: Server, authority: Path
) -> None:
    named = f"https://www.site.test:{server.server_address[1]}"
    with traffic.Client(named, keep_alive=True, authority=authority, at="127.0.0.1") as client:
        assert [client.send(traffic.page()).status for _ in range(3)] == [200] * 3
        assert client.connections == 1
    answer = traffic.send(named.replace("www", "other"), authority=authority, at="127.0.0.1")
    assert "CERTIFICATE_VERIFY_FAILED" in answer.error


def test_a_connection_that_the_server_ended_is_not_used_again(
    server: Server, authority: Path
) -> None:
    with traffic.Client(url(server), keep_alive=True, authority=authority) as client:
        for count in range(1, 4):
            answer = client.send(traffic.Request(path="/last"))
            assert answer.ok, answer
            ended(client)
            assert server.connections == count


def ended(client: traffic.Client) -> None:
    """Waits until the other side's end of the connection is here."""
    connection = client._connection  # pyright: ignore[reportPrivateUsage]
    assert connection
    assert isinstance(connection.sock, ssl.SSLSocket)
    connection.sock.settimeout(10)
    assert connection.sock.recv(1) == b""


def test_a_site_that_is_not_trusted_gets_no_request(server: Server, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    other.write_text(new_secret.self_signed(["127.0.0.1"]))
    with traffic.Client(url(server), keep_alive=False, authority=other) as client:
        answer = client.send(traffic.page())
    assert answer.status == 0
    assert "CERTIFICATE_VERIFY_FAILED" in answer.error


def test_curl_trusts_it_by_the_same_file(server: Server, authority: Path) -> None:
    run = subprocess.run(
        ["curl", "--silent", "--show-error", "--noproxy", "*", "--cacert", authority, url(server)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
