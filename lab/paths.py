"""Where the lab keeps things: one directory, `.lab` in the project, for everything it makes.

`LAB_STATE` names another directory, for a project on a file system that cannot hold
machines (an overlay, a network share).
"""

import os
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]


def state() -> Path:
    """The lab's directory; all others are below it."""
    named = os.environ.get("LAB_STATE")
    return Path(named).resolve() if named else PROJECT / ".lab"


def cache() -> Path:
    """What is worth keeping when the lab goes: rebuilt when missing, valid for ever."""
    return state() / "cache"


def image(digest: str) -> Path:
    """The root directory of the machine image that was made from the recipe with this digest."""
    return cache() / f"image-{digest}"


def cli() -> Path:
    """The Pulumi CLI that was built here, with its language host beside it."""
    return cache() / "cli"


def home() -> Path:
    """PULUMI_HOME of the lab: its plugins and credentials, apart from the user's own."""
    return state() / "home"


def backend() -> Path:
    """Where Pulumi keeps the lab stack's state."""
    return state() / "backend"


def machines() -> Path:
    """The parent of every machine's directory."""
    return state() / "machines"


def machine(instance_id: str) -> Path:
    """One machine's own files: its layer over the image and its mount point."""
    return machines() / instance_id


def volumes() -> Path:
    """The parent of every EBS volume's file."""
    return state() / "volumes"


def volume(volume_id: str) -> Path:
    """The sparse file that holds one EBS volume."""
    return volumes() / volume_id


def logs() -> Path:
    """Logs that outlive what wrote them, until the lab goes down."""
    return state() / "logs"


def console(instance_id: str) -> Path:
    """What a machine wrote to its console: systemd's and cloud-init's messages."""
    return logs() / instance_id / "console.log"


def journal(instance_id: str) -> Path:
    """A machine's journal, its /var/log/journal; readable after the machine is gone."""
    return logs() / instance_id / "journal"


def authority(stack: str) -> Path:
    """What a client of a stack's site trusts, where no authority that all know vouches for it."""
    return state() / "authorities" / f"{stack}.pem"


def daemon_pid() -> Path:
    """The process id of the lab's daemon."""
    return state() / "cloud.pid"


def daemon_log() -> Path:
    """What the lab's daemon has to say."""
    return state() / "cloud.log"
