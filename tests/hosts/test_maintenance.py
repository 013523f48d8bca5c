"""When machines take their updates: one after the other, within the window."""

import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosts.base import maintenance, services
from hosts.base.maintenance import (
    DAY,
    NONE,
    QUIET,
    SLOTS,
    Maintenance,
    Window,
    calendar,
    files,
    parse,
    slot,
)
from hosts.base.services import ServiceError, Unit
from lab import image


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("03:00-05:00", Window((), 180, 120)),
        ("Sun 03:00-04:00", Window((6,), 180, 60)),
        ("Mon,Sat 23:30-01:30", Window((0, 5), 23 * 60 + 30, 120)),
        (NONE, QUIET),
    ],
)
def test_a_window_is_read(text: str, window: Window) -> None:
    assert parse(text) == window


def test_without_a_window_nothing_reboots() -> None:
    assert not QUIET.reboots
    assert parse("03:00-05:00").reboots


WINDOWS = st.builds(
    Window,
    st.lists(st.integers(0, 6), unique=True).map(tuple),
    st.integers(0, DAY - 1),
    st.integers(60, DAY - 1),
)


@given(window=WINDOWS, ordinal=st.integers(1, 60))
def test_a_slot_is_within_the_window_and_as_long_as_the_others(
    window: Window, ordinal: int
) -> None:
    begins = slot(window, f"database-{ordinal}")
    assert window.start <= begins
    assert begins + window.length // SLOTS <= window.start + window.length


@given(window=WINDOWS)
def test_the_first_eight_machines_of_a_role_have_slots_of_their_own(window: Window) -> None:
    slots = [slot(window, f"app-server-{ordinal}") for ordinal in range(1, SLOTS + 1)]
    assert slots[1] - slots[0] == window.length // 2, "a pair has half the window between"
    apart = [later - earlier for earlier, later in pairwise(sorted(slots))]
    assert min(apart) >= window.length // SLOTS
    assert slot(window, f"app-server-{SLOTS + 1}") == slots[0]


@pytest.mark.parametrize(
    ("days", "minutes", "said"),
    [
        ((), 195, "*-*-* 03:15:00 UTC"),
        ((6,), 195, "Sun *-*-* 03:15:00 UTC"),
        ((6,), DAY + 15, "Mon *-*-* 00:15:00 UTC"),
        ((0, 5), DAY + 15, "Tue,Sun *-*-* 00:15:00 UTC"),
        ((0,), -10, "Sun *-*-* 23:50:00 UTC"),
        ((), -10, "*-*-* 23:50:00 UTC"),
    ],
)
def test_a_slot_may_be_on_the_day_before_or_after(
    days: tuple[int, ...], minutes: int, said: str
) -> None:
    assert calendar(Window(days, 0, 60), minutes) == said


def test_updates_are_fetched_before_the_slot_in_which_they_are_installed() -> None:
    made = {str(path): text for path, text in files(parse("Sun 00:00-08:00"), "database-2").items()}
    assert (
        "OnCalendar=Sun *-*-* 03:40:00 UTC\n"
        in made[f"{maintenance.UNITS}/apt-daily.timer.d/60-slot.conf"]
    )
    assert (
        "OnCalendar=Sun *-*-* 04:00:00 UTC\n"
        in made[f"{maintenance.UNITS}/apt-daily-upgrade.timer.d/60-slot.conf"]
    )
    assert 'Automatic-Reboot "true"' in made[str(maintenance.APT)]
    assert 'Automatic-Reboot "false"' in files(QUIET, "database-2")[maintenance.APT]


class Systemd:
    """What it was asked, and which timers it has."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []
        self.load_state = "loaded"
        self.refuses = False

    def systemctl(self, *arguments: str) -> None:
        if self.refuses:
            raise ServiceError("it does not answer")
        self.asked.append(arguments)

    def show(self, unit: str) -> Unit:
        assert unit.endswith(".timer")
        return Unit("active", "waiting", "success", loaded=self.load_state == "loaded")


@pytest.fixture
def systemd(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Systemd:
    made = Systemd()
    monkeypatch.setattr(services, "systemctl", made.systemctl)
    monkeypatch.setattr(services, "show", made.show)
    monkeypatch.setattr(maintenance, "UNITS", tmp_path / "units")
    monkeypatch.setattr(maintenance, "APT", tmp_path / "apt.conf")
    return made


def test_the_timers_are_told_of_a_change_and_of_nothing_else(systemd: Systemd) -> None:
    machine = Maintenance("database-1")
    assert machine.follow("Sun 03:00-05:00")
    assert systemd.asked == [
        ("daemon-reload",),
        ("restart", "apt-daily.timer", "apt-daily-upgrade.timer"),
    ]
    assert not machine.follow("Sun 03:00-05:00")
    assert len(systemd.asked) == 2
    assert machine.follow(NONE)
    assert 'Automatic-Reboot "false"' in maintenance.APT.read_text()
    assert len(systemd.asked) == 4


def test_timers_that_an_image_does_not_have_are_left_alone(systemd: Systemd) -> None:
    systemd.load_state = "masked"
    assert Maintenance("database-1").follow(NONE)
    assert systemd.asked == [("daemon-reload",)]


def test_a_change_that_systemd_did_not_hear_of_is_told_again(systemd: Systemd) -> None:
    machine = Maintenance("database-1")
    systemd.refuses = True
    with pytest.raises(ServiceError):
        machine.follow(NONE)
    systemd.refuses = False
    assert machine.follow(NONE)
    assert systemd.asked[-1][0] == "restart"


@pytest.mark.usefixtures("machine_image")
def test_systemd_understands_the_times() -> None:
    times = {
        calendar(parse(text), slot(parse(text), f"database-{ordinal}"))
        for text in ("03:00-05:00", "Sun 23:00-01:00", "Mon,Wed,Sat 00:00-08:00", NONE)
        for ordinal in (1, 5, 8)
    }
    done = image.run(["systemd-analyze", "calendar", *times])
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Next elapse") == len(times)


def test_the_timers_of_this_machines_systemd_are_named_so() -> None:
    listed = subprocess.run(
        ["ls", image.path() / "usr/lib/systemd/system"], capture_output=True, text=True, check=True
    ).stdout.split()
    assert {maintenance.FETCH, maintenance.INSTALL, maintenance.SERVICE} <= set(listed)
