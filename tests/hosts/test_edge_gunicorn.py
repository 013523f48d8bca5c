"""From a client to an application: the image's HAProxy and gunicorn as their machines have them."""

import json
import subprocess
import time
from collections import Counter
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor

import pytest

from hosts.app_server.gunicorn_conf import CERTIFICATE
from hosts.load_balancer import Limits
from tests.hosts.edge.client import ask, connect, get, request
from tests.hosts.edge.site import NAME, PORT, SERVERS, Site, running, until

pytestmark = pytest.mark.usefixtures("machine_image")

LIMIT = 100_000
APPLICATION = """\
import json
import time

def application(environ, start_response):
    if environ["PATH_INFO"] == "/busy":
        end = time.thread_time() + 0.02
        while time.thread_time() < end:
            pass
    size = 0
    if environ["PATH_INFO"] != "/unread":
        while part := environ["wsgi.input"].read(10_000):
            size += len(part)
    said = {name: environ.get(name) for name in (
        "REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "wsgi.url_scheme",
        "HTTP_HOST", "HTTP_X_FORWARDED_FOR", "HTTP_X_BODY_LIMIT")}
    body = json.dumps(said | {"size": size}).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Generator[Site]:
    limits = Limits(requests_per_second=0, burst=1, connections=0, uploads=0, body=LIMIT)
    with running(tmp_path_factory.mktemp("site"), limits=limits) as found:
        for server in found.servers:
            server.close()
        (found.memory / "app.py").write_text(APPLICATION)
        pair = found.certified(found.role).read_text()
        found.run_inside("mkdir", "-p", str(CERTIFICATE.parent))
        found.run_inside("tee", str(CERTIFICATE), stdin=pair)
        gunicorn = serve(found)
        try:
            found.up(1)
            yield found
        finally:
            gunicorn.kill()
            gunicorn.wait()


def serve(site: Site) -> subprocess.Popen[bytes]:
    """gunicorn on the first application server's address."""
    command = (
        *("gunicorn", "--config", "/opt/site/hosts/app_server/gunicorn_conf.py"),
        *("--bind", f"{SERVERS[0]}:{PORT}", "--threads", "16", "--chdir", "/run/site"),
        *("--env", "SITE_MACHINE=app-server-1", "--env", "SITE_HEALTH_PATH=/healthz"),
        "app:application",
    )
    enter = ("nsenter", "--target", str(site.pid), "--net", "--mount", "--pid", "--root")
    with (site.memory / "gunicorn.log").open("wb") as log:
        return subprocess.Popen(
            [*enter, "sh", "-c", 'cd / && exec "$@"', "sh", *command], stdout=log, stderr=log
        )


def test_an_application_sees_who_asks_and_by_what(site: Site) -> None:
    answer = ask(site, get("/a%20b?c=d", "X-Forwarded-For: 6.6.6.6", "X-Body-Limit: 1"))
    assert answer.headers["x-served-by"] == "app-server-1"
    assert json.loads(answer.body) == {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/a b",
        "QUERY_STRING": "c=d",
        "wsgi.url_scheme": "https",
        "HTTP_HOST": NAME,
        "HTTP_X_FORWARDED_FOR": "127.0.0.1",
        "HTTP_X_BODY_LIMIT": None,
        "size": 0,
    }


@pytest.mark.parametrize(
    "asked",
    [
        get("/" + "a" * 7990),
        get("/", "Cookie: " + "a" * 13_000),
        get("/", *(f"X-{number}: y" for number in range(98))),
    ],
)
def test_what_the_load_balancer_lets_through_gunicorn_takes(asked: bytes, site: Site) -> None:
    assert ask(site, asked).status == 200


def chunked(size: int, path: str = "/") -> bytes:
    body = f"{size:x}\r\n".encode() + bytes(size) + b"\r\n0\r\n\r\n"
    return request(f"POST {path} HTTP/1.1", "Transfer-Encoding: chunked", body=body)


def test_a_body_without_a_length_has_the_same_limit_as_one_with(site: Site) -> None:
    within = ask(site, chunked(LIMIT))
    assert (within.status, json.loads(within.body)["size"]) == (200, LIMIT)
    with connect(site) as connection:
        connection.send(chunked(LIMIT + 1))
        assert connection.answer().status == 413
    long = request("POST / HTTP/1.1", f"Content-Length: {LIMIT}", body=bytes(LIMIT))
    assert json.loads(ask(site, long).body)["size"] == LIMIT


def test_what_an_application_leaves_of_a_body_is_no_next_request(site: Site) -> None:
    inner = f"GET /smuggled HTTP/1.1\r\nHost: {NAME}\r\n\r\n".encode()
    with connect(site) as connection:
        for _ in range(5):
            asked = request("POST /unread HTTP/1.1", f"Content-Length: {len(inner)}", body=inner)
            connection.send(asked)
            assert json.loads(connection.answer().body)["PATH_INFO"] == "/unread"
            connection.send(get("/next"))
            assert json.loads(connection.answer().body)["PATH_INFO"] == "/next"


def test_connections_to_gunicorn_are_used_again(site: Site) -> None:
    def handshakes() -> int:
        return int(site.statistic("app-servers", "BACKEND", "connect"))

    ask(site, get())
    before = handshakes()
    for _ in range(30):
        assert ask(site, get()).status == 200
    until(lambda: handshakes() - before <= 2)


def test_a_server_whose_threads_all_compute_is_busy_and_not_dead(site: Site) -> None:
    """Handshakes and health checks wait for their turn in the same interpreter."""
    end = time.monotonic() + 4

    def client(_: int) -> Counter[int]:
        found: Counter[int] = Counter()
        while time.monotonic() < end:
            found[ask(site, get("/busy")).status] += 1
        return found

    with ThreadPoolExecutor(24) as clients:
        answers = sum(clients.map(client, range(24)), Counter[int]())
    assert {*answers} == {200}
    assert "is DOWN, reason" not in site.log()
