"""What an operator may choose about the monitoring machine, as plain values."""

from dataclasses import dataclass

WEBHOOK = "monitoring/webhook"
"""The stack's parameter with the URL that alerts are sent to, if there is one."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How long to remember, and whom to tell."""

    retention: int
    """Days."""
    room: int
    """MiB of the disk that what is remembered may take. The oldest goes first."""
    topic: str
    """The ARN of the SNS topic that alerts are published to."""
    webhook: bool
    """Whether they are sent to a URL, too: the one in the parameter `WEBHOOK`."""
    namespace: str
    """CloudWatch's, for the sign of life."""
