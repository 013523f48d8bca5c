"""What the guard answers, to whom it waits to answer, and when it closes mysqld."""

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from hosts.app_server.render import haproxy_cfg
from hosts.base.lease import boottime
from hosts.database.guard import Guard
from hosts.database.published import Fenced, Published, fenced, publish, read, record
from lab import image
from tests.hosts import values

INSIDE = Path(__file__).parent / "inside"
HOSTS = Path(__file__).parents[2] / "hosts"


@dataclass
class Database:
    """A mysqld that is fenced as `hosts.database.fence` would."""

    folder: Path
    open: bool = True
    fences: list[float] = field(default_factory=list[float])
    failures: int = 0
    lasts: float = 0.0

    def fence(self, why: str, *, folder: Path) -> Fenced:
        assert folder == self.folder
        began = boottime()
        self.fences.append(began)
        record(Fenced(why=why, began=began, pid=os.getpid()), folder)
        time.sleep(self.lasts)
        if self.failures:
            self.failures -= 1
            raise OSError("not yet")
        self.open = False
        return Fenced(why=why, began=began, pid=os.getpid(), ended=boottime(), how="read-only")

    def writable(self) -> bool:
        return self.open


@dataclass
class Site:
    """A guard, and whoever speaks to it."""

    port: int
    folder: Path
    database: Database

    def publish(self, **said: Any) -> None:
        publish(Published(**said), self.folder)

    def open(self, lease: float = 60.0, **more: Any) -> None:
        now = boottime()
        said = {"role": "primary", "open": True, "serving": True, "opened_at": now}
        self.publish(**{**said, "deadline": now + lease, **more})

    def ask(self, request: str) -> tuple[str, float]:
        """The whole answer, and the seconds that it took."""
        began = time.monotonic()
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as sock:
            sock.sendall(request.encode())
            answer = b""
            while heard := sock.recv(65536):
                answer += heard
        return answer.decode(), time.monotonic() - began

    def get(self, path: str, *headers: str) -> tuple[int, float]:
        """The status, and the seconds that it took."""
        lines = (f"GET {path} HTTP/1.1", "Host: x", *headers, "", "")
        answer, took = self.ask("\r\n".join(lines))
        return int(answer.split()[1]), took

    def becomes(self, path: str, status: int, seconds: float = 2.0) -> None:
        end = time.monotonic() + seconds
        while self.get(path)[0] != status:
            assert time.monotonic() < end, f"{path} did not become {status}"
            time.sleep(0.005)


@contextlib.contextmanager
def running(folder: Path, database: Database) -> Generator[Site]:
    """A guard in a thread of the test."""
    listener = socket.create_server(("127.0.0.1", 0))
    hearing = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    hearing.bind(str(folder / "guard.sock"))
    guard = Guard(listener, hearing, database, lambda: None, folder)
    thread = threading.Thread(target=guard.run, daemon=True)
    thread.start()
    try:
        yield Site(listener.getsockname()[1], folder, database)
    finally:
        publish(Published(), folder)
        guard.end()
        thread.join(5)
        listener.close()
        hearing.close()
        (folder / "guard.sock").unlink()


def test_a_machine_that_stood_still_between_finding_out_and_answering_says_no(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = boottime()
    monkeypatch.setattr("hosts.database.guard.boottime", lambda: now)
    said = Published(role="primary", open=True, serving=True, opened_at=now, deadline=now + 3)
    publish(said, tmp_path)
    hearing, agent = socket.socketpair()
    with hearing, agent, socket.create_server(("127.0.0.1", 0)) as listener:
        guard = Guard(listener, hearing, Database(tmp_path), lambda: None, tmp_path)
        guard._read()  # pyright: ignore[reportPrivateUsage]
        guard._judge()  # pyright: ignore[reportPrivateUsage]
        with socket.create_connection(listener.getsockname()) as sock:
            sock.sendall(b"GET /primary HTTP/1.1\r\n\r\n")
            now += 7
            guard._accept()  # pyright: ignore[reportPrivateUsage]
            assert b"503" in sock.recv(4096)


@pytest.fixture
def site(tmp_path: Path) -> Generator[Site]:
    with running(tmp_path, Database(tmp_path)) as found:
        yield found


def test_a_machine_that_has_just_started_is_nothing(site: Site) -> None:
    assert [site.get(path)[0] for path in ("/primary", "/replica", "/readable")] == [503] * 3
    assert site.get("/nothing")[0] == 404


def test_it_answers_what_the_agent_says(site: Site) -> None:
    site.open()
    site.becomes("/primary", 200)
    assert site.get("/replica")[0] == 503
    site.open(serving=False)
    site.becomes("/primary", 503)
    site.publish(readable=True, replica=True, valid_until=boottime() + 60)
    site.becomes("/replica", 200)
    assert site.get("/readable")[0] == 200


def test_a_guard_that_starts_reads_what_was_said_before(tmp_path: Path) -> None:
    database = Database(tmp_path)
    now = boottime()
    said = Published(open=True, serving=True, opened_at=now, deadline=now + 60)
    publish(said, tmp_path)
    with running(tmp_path, database) as site:
        assert site.get("/primary")[0] == 200
    assert not database.fences


def test_what_is_said_of_a_replica_ends_without_another_word(site: Site) -> None:
    site.publish(readable=True, replica=True, valid_until=boottime() + 0.4)
    site.becomes("/replica", 200)
    status, took = site.get("/replica?wait=5000&is=1")
    assert status == 503
    assert took < 0.6


def test_writes_end_at_the_deadline_without_another_word_and_mysqld_is_closed(site: Site) -> None:
    site.open(lease=0.5)
    site.becomes("/primary", 200)
    assert not site.database.fences
    status, took = site.get("/primary?wait=5000&is=1")
    deadline = read(site.folder).deadline
    assert status == 503
    assert took < 0.6
    time.sleep(0.2)
    assert not site.database.open
    assert len(site.database.fences) == 1
    assert deadline <= site.database.fences[0] < deadline + 0.15


def test_a_deadline_that_is_renewed_closes_nothing(site: Site) -> None:
    opened = boottime()
    for _ in range(10):
        site.open(lease=0.4, opened_at=opened)
        time.sleep(0.1)
        assert site.get("/primary")[0] == 200
    assert not site.database.fences


def test_a_machine_that_is_not_open_is_not_closed(site: Site) -> None:
    site.publish(open=False, deadline=boottime() - 1)
    time.sleep(0.3)
    assert not site.database.fences


def test_a_fence_that_fails_is_tried_until_it_is_done(site: Site) -> None:
    site.database.failures = 3
    site.open(lease=-1)
    time.sleep(0.6)
    assert len(site.database.fences) == 4
    assert not site.database.open


def test_mysqld_found_open_after_a_fence_is_closed_again(site: Site) -> None:
    site.open(lease=-1)
    time.sleep(0.3)
    assert not site.database.open
    site.database.open = True
    time.sleep(0.6)
    assert not site.database.open
    assert len(site.database.fences) == 2


def test_a_fence_does_not_keep_anybody_waiting_for_an_answer(site: Site) -> None:
    site.database.lasts = 1.0
    site.open(lease=-1)
    time.sleep(0.1)
    assert site.get("/primary")[1] < 0.2
    assert site.get("/status")[1] < 0.2


def test_what_a_fence_closed_stays_closed_until_it_was_opened_again(site: Site) -> None:
    opened = boottime()
    site.open(lease=-1, opened_at=opened)
    time.sleep(0.3)
    assert site.database.fences
    site.open(lease=60, opened_at=opened)
    time.sleep(0.3)
    assert site.get("/primary")[0] == 503, "the lease is back, mysqld is still closed"
    site.open(lease=60)
    site.becomes("/primary", 200)


def test_what_a_fence_closed_stays_closed_for_the_next_guard(tmp_path: Path) -> None:
    database = Database(tmp_path)
    opened = boottime()
    with running(tmp_path, database) as site:
        site.open(lease=-1, opened_at=opened)
        time.sleep(0.3)
    with running(tmp_path, database) as site:
        site.open(lease=60, opened_at=opened)
        time.sleep(0.3)
        assert site.get("/primary")[0] == 503


def test_a_guard_that_ended_amid_a_fence_is_followed_by_one_that_fences(tmp_path: Path) -> None:
    now = boottime()
    publish(Published(open=True, serving=True, opened_at=now, deadline=now - 1), tmp_path)
    record(Fenced(why="x", began=now, pid=1), tmp_path)
    database = Database(tmp_path)
    with running(tmp_path, database):
        time.sleep(0.3)
    assert not database.open


@pytest.mark.parametrize(("believed", "is_open"), [(1, True), (0, False)])
def test_an_answer_waits_while_it_is_what_is_believed(
    site: Site, believed: int, is_open: bool
) -> None:
    if is_open:
        site.open()
        site.becomes("/primary", 200)
    status, took = site.get(f"/primary?wait=400&is={believed}")
    assert status == (200 if is_open else 503)
    assert 0.39 < took < 0.7


@pytest.mark.parametrize("path", ["/primary?wait=5000&is=1", "/primary?is=0", "/primary?wait=5000"])
def test_an_answer_does_not_wait_if_it_is_not_believed_or_nobody_said(
    site: Site, path: str
) -> None:
    assert site.get(path)[1] < 0.2


def test_haproxys_checks_of_a_server_that_it_believes_down_wait_and_others_do_not(
    site: Site,
) -> None:
    header = "X-Haproxy-Server-State: {}; name=primary/slot-1; node=x; scur=0/1"
    assert site.get("/primary?wait=400", header.format("DOWN"))[1] > 0.39
    assert site.get("/primary?wait=400", header.format("DOWN 1/2"))[1] > 0.39
    assert site.get("/primary?wait=400", header.format("UP"))[1] < 0.2
    site.open()
    site.becomes("/primary", 200)
    assert site.get("/primary?wait=400", header.format("DOWN"))[1] < 0.2
    assert site.get("/primary?wait=400", header.format("UP 1/2"))[1] < 0.2


def waiting(site: Site, request: str) -> tuple[threading.Thread, list[tuple[str, float]]]:
    """A request whose answer waits, and when it came."""
    came: list[tuple[str, float]] = []

    def work() -> None:
        answer, _ = site.ask(request)
        came.append((answer, time.monotonic()))

    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(0.2)
    assert not came
    return thread, came


@pytest.mark.parametrize(
    "request_text",
    ["GET /primary?wait=5000&is=0 HTTP/1.1\r\n\r\n", "primary 5000\n"],
)
def test_whoever_waits_hears_of_a_change_at_once(site: Site, request_text: str) -> None:
    time.sleep(0.1)
    threads = [waiting(site, request_text) for _ in range(5)]
    changed = time.monotonic()
    site.open()
    for thread, came in threads:
        thread.join(5)
        answer, at = came[0]
        assert answer.startswith(("HTTP/1.1 200", "up\n"))
        assert at - changed < 0.2


def test_an_agent_check_that_comes_just_after_a_change_does_not_wait(site: Site) -> None:
    """What it believes is not known: it may have missed the change."""
    site.open()
    time.sleep(0.3)
    thread, came = waiting(site, "primary 5000\n")
    site.open(serving=False)
    thread.join(5)
    assert came[0][0] == "down\n"
    answer, took = site.ask("primary 5000\n")
    assert answer == "down\n"
    assert took < 0.2


def test_requests_that_make_no_sense_harm_nobody(site: Site) -> None:
    thread, came = waiting(site, "GET /primary?wait=600&is=0 HTTP/1.1\r\n\r\n")
    for nonsense in ("\r\n\r\n", "\n", "GET  HTTP/1.1\r\n\r\n", "\0\n", "GET / HTTP/1.1\r\n\r\n"):
        assert "404" in site.ask(nonsense)[0]
    with contextlib.suppress(ConnectionError):
        assert site.ask("x" * 100_000) == ("", pytest.approx(0, abs=1))
    assert site.get("/primary?wait=-5&is=x&&=")[1] < 0.2
    with socket.create_connection(("127.0.0.1", site.port)):
        assert site.get("/primary")[0] == 503
    thread.join(5)
    assert came


def test_status_is_the_agents_with_the_guards_beside_it(site: Site) -> None:
    site.open(status={"duty": "x"})
    site.becomes("/primary", 200)
    answer, _ = site.ask("GET /status HTTP/1.1\r\n\r\n")
    found = json.loads(answer.partition("\r\n\r\n")[2])
    assert found["duty"] == "x"
    assert found["guard"]["primary"] is True
    assert 50 < found["guard"]["deadline_in"] <= 60


def test_what_another_version_of_the_agent_says_is_understood_as_far_as_possible(
    site: Site,
) -> None:
    site.open()
    file = site.folder / "database.json"
    content = json.loads(file.read_text())
    content |= {"something new": 1}
    del content["status"]
    file.write_text(json.dumps(content))
    site.becomes("/primary", 200)
    file.write_text("{")
    time.sleep(0.4)
    assert site.get("/primary")[0] == 200, "what was said before stays, with its deadline"


def test_the_agent_does_not_wait_for_a_guard_that_is_not_there_or_frozen(tmp_path: Path) -> None:
    publish(Published(), tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as frozen:
        frozen.bind(str(tmp_path / "guard.sock"))
        began = time.monotonic()
        for _ in range(1000):
            publish(Published(), tmp_path)
        assert time.monotonic() - began < 5
    assert fenced(tmp_path) is None


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What an application sees through a real HAProxy: milliseconds, sorted."""
    folder = tmp_path_factory.mktemp("changes")
    folder.chmod(0o755)
    (folder / "haproxy.cfg").write_text(haproxy_cfg(values.facts("app-server")))
    done = image.run(
        ["sh", "-ec", f"{COPY} exec python3 /srv/inside/changes.py"],
        {folder / "haproxy.cfg": "/srv/haproxy.cfg", INSIDE: "/srv/inside", HOSTS: "/srv/hosts"},
        timeout=180,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    print(done.stdout)
    return json.loads(done.stdout)


COPY = "mkdir -p /opt/site; cp -r /srv/hosts /opt/site; export PYTHONPATH=/opt/site; cd /;"


def median(times: list[float]) -> float:
    return times[len(times) // 2]


@pytest.mark.usefixtures("machine_image")
def test_applications_hear_of_a_change_at_once(seen: dict[str, Any]) -> None:
    for kind in ("up to down", "down to up"):
        assert median(seen[kind]) < 25, kind
        assert max(seen[kind]) < 250, kind


@pytest.mark.usefixtures("machine_image")
def test_an_idle_site_asks_seldom(seen: dict[str, Any]) -> None:
    for kind in ("up", "down"):
        assert seen[f"checks per second, {kind}"] < 20
    assert seen["processor time of that, percent"] < 5


@pytest.mark.usefixtures("machine_image")
def test_a_haproxy_that_starts_or_is_reloaded_takes_writes_soon(seen: dict[str, Any]) -> None:
    assert max(seen["start"]) < 2000
    assert max(seen["reload, longest gap"]) < 1000


@pytest.mark.usefixtures("machine_image")
def test_no_session_is_cut_when_one_of_the_guards_processes_is_killed_or_frozen(
    seen: dict[str, Any],
) -> None:
    assert not seen["said of that"]
    assert seen["session lives after that"] is True
    assert median(seen["guard killed or frozen, answers after"]) < 100


@pytest.mark.usefixtures("machine_image")
def test_writes_end_where_the_whole_guard_is_frozen_or_the_machine_silent(
    seen: dict[str, Any],
) -> None:
    assert 200 < median(seen["guard frozen"]) < 650
    assert 200 < median(seen["machine silent"]) < 550
