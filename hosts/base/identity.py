"""Which instance this is, from the metadata service (IMDSv2: by token only)."""

import urllib.request
from dataclasses import dataclass

SERVICE = "http://169.254.169.254/latest"


@dataclass(frozen=True)
class Identity:
    """What EC2 says of this machine."""

    instance: str
    address: str
    """Its primary private address."""


def identity() -> Identity:
    """Asks the metadata service. Raises `OSError` if it does not answer."""
    token = _ask("api/token", "PUT", {"X-aws-ec2-metadata-token-ttl-seconds": "60"})
    header = {"X-aws-ec2-metadata-token": token}
    return Identity(
        instance=_ask("meta-data/instance-id", "GET", header),
        address=_ask("meta-data/local-ipv4", "GET", header),
    )


def _ask(path: str, method: str, headers: dict[str, str]) -> str:
    url = f"{SERVICE}/{path}"
    request = urllib.request.Request(url, method=method, headers=headers)  # noqa: S310 fixed
    with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310 a fixed address
        return answer.read().decode()
