"""What a machine is told about itself, as plain values."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

MACHINE_FILE = Path("/etc/site/machine.json")
"""Where user data leaves the facts, and the role's options beside them."""


@dataclass(frozen=True)
class Bundle:
    """Programs of this machine: an S3 object, its digest, and the folder it is unpacked to."""

    key: str
    sha256: str
    path: str


@dataclass(frozen=True)
class MachineFacts:
    """What does not depend on the role."""

    name: str
    """As people know it: ``app-server-1``. Also its host name and ``X-Served-By``."""
    role: str
    """``load-balancer``, ``app-server``, ``database`` or ``monitoring``."""
    project: str
    stack: str
    region: str
    table: str
    """The DynamoDB table `coordination`."""
    bucket: str
    """The S3 bucket that the bundles are in."""
    zone: str
    """The private DNS zone: ``lab.site.internal``."""
    resolver: str
    """The address of the VPC's own resolver: ``10.0.0.2``."""
    bundles: tuple[Bundle, ...]

    def parameter(self, name: str) -> str:
        """The full name of one of the stack's SSM parameters."""
        return f"/{self.project}/{self.stack}/{name}"


def machine_json(facts: MachineFacts, options: "DataclassInstance") -> str:
    """The text of /etc/site/machine.json: the facts, and the role's options."""
    content = {**dataclasses.asdict(facts), "options": dataclasses.asdict(options)}
    return json.dumps(content, indent=1, sort_keys=True) + "\n"


def load(path: Path = MACHINE_FILE) -> tuple[MachineFacts, dict[str, Any]]:
    """What `machine_json` wrote: the facts, and the role's options as they stand there."""
    content: dict[str, Any] = json.loads(path.read_text())
    options: dict[str, Any] = content.pop("options")
    content["bundles"] = tuple(Bundle(**bundle) for bundle in content["bundles"])
    return MachineFacts(**content), options
