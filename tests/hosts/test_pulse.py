"""Whether HAProxy lives: a refusal is believed at once, silence when it is repeated."""

import http.server
import socket
import threading
from collections.abc import Iterator

import pytest

from hosts.load_balancer import pulse
from hosts.load_balancer.pulse import REVIVE, REVIVE_AGAIN, HaproxyPulse, Heard
from tests.hosts.fakes import Clock


class Haproxy:
    """What it answers next, and what was done about it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.hears: list[Heard] = []
        self.changes = self.kills = 0
        self.pulse = HaproxyPulse(self.clock, self._changed, ask=self._ask, revive=self._revive)

    def _ask(self) -> Heard:
        return self.hears.pop(0) if len(self.hears) > 1 else self.hears[0]

    def _changed(self) -> None:
        self.changes += 1

    def _revive(self) -> None:
        self.kills += 1

    def beat(self, *hears: Heard) -> None:
        self.hears = [*hears]
        self.pulse.beat()


def test_it_is_well_once_it_answers() -> None:
    haproxy = Haproxy()
    assert not haproxy.pulse.well
    haproxy.beat(Heard.REFUSAL)
    assert not haproxy.pulse.well
    assert not haproxy.pulse.recovered, "it has only not been started yet"
    haproxy.beat(Heard.ANSWER)
    assert haproxy.pulse.well
    assert not haproxy.pulse.recovered
    haproxy.clock.advance(7)
    haproxy.beat(Heard.ANSWER)
    assert haproxy.pulse.well_for == 7
    assert haproxy.changes == 1


def test_one_refusal_is_its_end() -> None:
    haproxy = Haproxy()
    haproxy.beat(Heard.ANSWER)
    haproxy.beat(Heard.REFUSAL)
    assert not haproxy.pulse.well
    assert haproxy.pulse.well_for == 0
    assert haproxy.changes == 2


def test_one_answer_that_does_not_come_is_nothing() -> None:
    haproxy = Haproxy()
    haproxy.beat(Heard.ANSWER)
    haproxy.beat(Heard.SILENCE, Heard.ANSWER)
    assert haproxy.pulse.well
    haproxy.beat(Heard.SILENCE, Heard.SILENCE)
    assert not haproxy.pulse.well


def test_one_that_came_back_has_failed_before() -> None:
    haproxy = Haproxy()
    for heard in (Heard.ANSWER, Heard.REFUSAL, Heard.ANSWER):
        haproxy.beat(heard)
    assert haproxy.pulse.well
    assert haproxy.pulse.recovered
    assert haproxy.pulse.well_for == 0


def test_one_that_hangs_is_killed_and_not_again_and_again() -> None:
    haproxy = Haproxy()
    haproxy.beat(Heard.ANSWER)
    haproxy.clock.advance(REVIVE - 0.1)
    haproxy.beat(Heard.SILENCE)
    assert haproxy.kills == 0
    haproxy.clock.advance(0.2)
    haproxy.beat(Heard.SILENCE)
    haproxy.beat(Heard.SILENCE)
    assert haproxy.kills == 1
    haproxy.clock.advance(REVIVE_AGAIN)
    haproxy.beat(Heard.SILENCE)
    assert haproxy.kills == 2


def test_one_that_is_gone_is_systemds_affair() -> None:
    haproxy = Haproxy()
    haproxy.beat(Heard.ANSWER)
    haproxy.clock.advance(60)
    haproxy.beat(Heard.REFUSAL)
    assert haproxy.kills == 0


class Answers(http.server.BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/health" else 404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Answers]]:
    class Handler(Answers):
        pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as listener:
        monkeypatch.setattr(pulse, "PORT", listener.server_port)
        thread = threading.Thread(target=listener.serve_forever, args=(0.01,))
        thread.start()
        yield Handler
        listener.shutdown()
        thread.join()


def test_an_answer_is_heard(server: type[Answers]) -> None:
    assert pulse.ask() is Heard.ANSWER
    server.status = 500
    assert pulse.ask() is Heard.SILENCE


def test_a_refusal_and_a_silence_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "PATIENCE", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setattr(pulse, "PORT", listener.getsockname()[1])
        assert pulse.ask() is Heard.SILENCE
    assert pulse.ask() is Heard.REFUSAL
