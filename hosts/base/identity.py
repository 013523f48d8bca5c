"""Which instance this is, from the metadata service (IMDSv2: by token only)."""

import urllib.request
from collections.abc import Callable
from dataclasses import dataclass

SERVICE = "http://169.254.169.254/latest"


@dataclass(frozen=True)
class Identity:
    """What EC2 says of this machine."""

    instance: str
    address: str
    """Its primary private address."""


def metadata() -> Callable[[str], str]:
    """What asks the metadata service for the value at a path. Both raise `OSError`."""
    token = _ask("api/token", "PUT", {"X-aws-ec2-metadata-token-ttl-seconds": "60"})
    return lambda path: _ask(path, "GET", {"X-aws-ec2-metadata-token": token})


def identity() -> Identity:
    """Asks the metadata service. Raises `OSError` if it does not answer."""
    ask = metadata()
    return Identity(instance=ask("meta-data/instance-id"), address=ask("meta-data/local-ipv4"))


def _ask(path: str, method: str, headers: dict[str, str]) -> str:
    url = f"{SERVICE}/{path}"
    request = urllib.request.Request(url, method=method, headers=headers)  # noqa: S310 fixed
    with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310 a fixed address
        return answer.read().decode()
