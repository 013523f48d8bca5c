"""When this machine takes the distribution's security updates, and whether it may reboot for them.

A stack's window is divided into slots, and machines of one role have different ones: an update
restarts what it replaces, and that must not happen to both load balancers, or to the primary and
its replica, at once. The timers are the distribution's own (apt-daily-upgrade.timer), which run
unattended-upgrades.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from hosts.base import services
from hosts.base.parameters import FOLDER

NONE = "none"
"""What the parameter says if the setting gives no window."""
ALLOWED = (
    'a window of an hour or more, in UTC and in quotes: "03:00-05:00" for each day, or'
    ' "Sun 03:00-05:00", "Sat,Sun 23:00-02:00"'
)
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
DAY = 24 * 60
"""Minutes."""
SHORTEST = 60
"""Minutes."""
ORDER = (0, 4, 2, 6, 1, 5, 3, 7)
"""Slots of a role's machines: those of a pair are half a window apart."""
SLOTS = len(ORDER)
"""A ninth machine of a role shares the slot of the first."""
BEFORE = 20
"""Minutes before its slot that a machine fetches what there is."""

UNITS = Path("/run/systemd/system")
APT = FOLDER / "apt.conf"
DROP_IN = "60-slot.conf"
FETCH, INSTALL = "apt-daily.timer", "apt-daily-upgrade.timer"
SERVICE = "apt-daily-upgrade.service"

_WINDOW = re.compile(
    rf"(?:(?P<days>(?:{'|'.join(DAYS)})(?:,(?:{'|'.join(DAYS)}))*) )?"
    r"(?P<start>(?:[01]\d|2[0-3]):[0-5]\d)-(?P<end>(?:[01]\d|2[0-3]):[0-5]\d)"
)


@dataclass(frozen=True)
class Window:
    """Times are in minutes, the start counted from midnight, UTC."""

    days: tuple[int, ...]
    """0 is Monday. None: each day."""
    start: int
    length: int
    reboots: bool = True


QUIET = Window(days=(), start=2 * 60, length=4 * 60, reboots=False)
"""Without a window: each night, and nothing that needs a reboot takes effect until there is one."""


def parse(text: str) -> Window:
    """What the setting, and the parameter, say. Raises `ValueError` with what is allowed."""
    if text == NONE:
        return QUIET
    found = _WINDOW.fullmatch(text)
    if not found:
        raise ValueError(ALLOWED)
    start, end = _minutes(found["start"]), _minutes(found["end"])
    length = (end - start) % DAY
    if length < SHORTEST:
        raise ValueError(ALLOWED)
    days = tuple(DAYS.index(day) for day in (found["days"] or "").split(",") if day)
    return Window(days, start, length)


def _minutes(clock: str) -> int:
    hours, minutes = clock.split(":")
    return int(hours) * 60 + int(minutes)


def slot(window: Window, machine: str) -> int:
    """When a machine's slot begins, in minutes from midnight; perhaps on the day after."""
    ordinal = int(machine.rpartition("-")[2])
    return window.start + window.length * ORDER[(ordinal - 1) % SLOTS] // SLOTS


def calendar(window: Window, minutes: int) -> str:
    """The times of a window's days in systemd's words; `minutes` may be of the day before or after.

    ``Sun *-*-* 03:15:00 UTC``
    """
    later, within = divmod(minutes, DAY)
    days = sorted({(day + later) % len(DAYS) for day in window.days})
    listed = ",".join(DAYS[day] for day in days)
    return f"{listed} *-*-* {within // 60:02}:{within % 60:02}:00 UTC".strip()


def files(window: Window, machine: str) -> dict[Path, str]:
    """Files in memory that say so to systemd and to unattended-upgrades: path to content."""
    begins = slot(window, machine)
    return {
        UNITS / f"{FETCH}.d" / DROP_IN: _timer(calendar(window, begins - BEFORE)),
        UNITS / f"{INSTALL}.d" / DROP_IN: _timer(calendar(window, begins)),
        UNITS / f"{SERVICE}.d" / DROP_IN: f"[Service]\nEnvironment=APT_CONFIG={APT}\n",
        APT: (
            f'Unattended-Upgrade::Automatic-Reboot "{str(window.reboots).lower()}";\n'
            'Unattended-Upgrade::Automatic-Reboot-Time "now";\n'
            'Unattended-Upgrade::Automatic-Reboot-WithUsers "true";\n'
        ),
    }


def _timer(when: str) -> str:
    return f"[Timer]\nOnCalendar=\nOnCalendar={when}\nRandomizedDelaySec=0\nPersistent=false\n"


class Maintenance:
    """Of this machine."""

    def __init__(self, machine: str) -> None:
        """Nothing happens yet."""
        self._machine = machine

    def follow(self, text: str) -> bool:
        """Brings the timers to what the parameter says; whether they changed.

        Raises `ValueError` or `services.ServiceError`.
        """
        wanted = files(parse(text), self._machine)
        stale = {
            path: content
            for path, content in wanted.items()
            if not path.exists() or path.read_text() != content
        }
        if not stale:
            return False
        for path, content in stale.items():
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            path.write_text(content)
        try:
            services.systemctl("daemon-reload")
            if timers := [timer for timer in (FETCH, INSTALL) if services.show(timer).loaded]:
                services.systemctl("restart", *timers)
        except services.ServiceError:
            # Not done: it is to be done again.
            for path in stale:
                path.unlink(missing_ok=True)
            raise
        return True
