"""The text of a machine's user data, in cloud-init's own format.

Every file is a literal block, so that `pulumi preview --diff` shows the very line of the
file that changes, rather than one long changed string.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hosts.base.facts import MACHINE_FILE, MachineFacts, machine_json

if TYPE_CHECKING:
    import yaml
    from _typeshed import DataclassInstance

LIMIT = 16 * 1024
"""EC2 takes this many bytes of user data at most."""

BOOT = Path("/usr/local/lib/site/boot")
BOOTED = Path("/var/lib/cloud/instance/site-booted")
"""There once a first boot came to its end."""
# cloud-init does each of its steps once for an instance, done or interrupted: until the whole
# came to its end, each is to be done again.
AGAIN = (
    f"test -e {BOOTED} || {{ rm -f /var/lib/cloud/instance/sem/config_*;"
    " DEBIAN_FRONTEND=noninteractive dpkg --configure -a; }"
)

CLOSED = "\n".join(
    (
        "nft list table inet site >/dev/null 2>&1 || nft -f - <<END || true",
        (Path(__file__).parent / "root/etc/site/closed.nft").read_text() + "END",
        "",
    )
)
"""Until the agent has the machine's rules for the first time, nobody reaches it: packages start
what they install. Later nftables.service has them before."""
PACKAGES = ("chrony", "nftables", "prometheus-node-exporter", "unattended-upgrades")
"""Of every machine, beside its role's."""


class TooLongError(ValueError):
    """The user data is more than EC2 takes."""


@dataclass(frozen=True)
class File:
    """A file as cloud-init is to write it, once the packages are installed."""

    path: str
    content: str
    permissions: str = "0644"


def cloud_config(
    facts: MachineFacts,
    options: "DataclassInstance",
    *,
    packages: Sequence[str],
    files: Iterable[File],
) -> str:
    """The user data of one machine.

    Raises `TooLongError` if EC2 would refuse it.
    """
    here = Path(__file__).parent
    every_file = (
        File(str(MACHINE_FILE), machine_json(facts, options)),
        *files,
        File(str(BOOT), (here / "boot.py").read_text(), "0755"),
    )
    config: dict[str, Any] = {
        "hostname": facts.name,
        "users": [],  # not even the distribution's own, who may become root
        "bootcmd": [["sh", "-c", AGAIN], CLOSED],
        "package_update": True,
        "packages": sorted({*PACKAGES, *packages}),
        "write_files": [
            {
                "path": file.path,
                "permissions": file.permissions,
                # After the packages, whose own files these may replace.
                "defer": True,
                "content": file.content,
            }
            for file in every_file
        ],
        "runcmd": [[str(BOOT), str(BOOTED)]],
    }
    text = "#cloud-config\n" + _as_yaml(config)
    if (size := len(text.encode())) > LIMIT:
        raise TooLongError(
            f"the user data of {facts.name} is {size} bytes long and EC2 takes {LIMIT}:"
            " shorten this machine's settings (the longest are the environment of the application"
            " servers, and the names in the load balancers' certificate)"
        )
    return text


def _as_yaml(content: object) -> str:
    """YAML as a person would write it."""
    # Not on a machine, where a role's programs are to start soon and write none.
    import yaml  # noqa: PLC0415

    class Dumper(yaml.SafeDumper):
        def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
            _ = indentless
            super().increase_indent(flow, indentless=False)

    Dumper.add_representer(str, _text)
    return yaml.dump(content, Dumper=Dumper, sort_keys=False, width=10_000, allow_unicode=True)


def _text(dumper: "yaml.SafeDumper", text: str) -> "yaml.ScalarNode":
    style = "|" if "\n" in text else None
    return cast(Any, dumper).represent_scalar("tag:yaml.org,2002:str", text, style=style)
