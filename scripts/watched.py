"""A machine as `await_ready` and `drain` see it: its item in the table, and EC2's word.

The program names it in the environment: SITE_TABLE, SITE_REGION, SITE_MACHINE, SITE_INSTANCE.
Credentials are the operator's.
"""

import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import boto3
from botocore import exceptions
from botocore.config import Config
from botocore.exceptions import ClientError

from scripts.command import NotAskedError, attempt, teller

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_ec2 import EC2Client

POLL = 0.5
"""Seconds between two looks at the table."""
ASK_EC2 = 5.0
"""Seconds between two questions to EC2, which minds being asked more often."""
ENDED = frozenset({"shutting-down", "terminated", "stopping", "stopped"})
UNKNOWN = "unknown to EC2"

_client: Any = cast("Any", boto3).client
_CONFIG = Config(connect_timeout=3, read_timeout=10, retries={"total_max_attempts": 3})


def say(line: str) -> None:
    """A line of progress, at once."""
    print(line, flush=True)


@dataclass(frozen=True)
class Report:
    """What a machine last said of itself."""

    state: str
    detail: str


@dataclass
class Watched:
    """One machine, watched until a deadline."""

    name: str
    instance: str
    table: str
    dynamodb: "DynamoDBClient"
    connect_ec2: "Callable[[], EC2Client]"
    """Called when EC2 is first asked: its client is slow to make, and mostly nobody asks."""
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _ask_next: float = field(init=False)
    _ended: str = field(default="", init=False)
    _unreachable: bool = field(default=False, init=False)

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Watched":
        """The machine that the program names in the environment."""
        region = environment["SITE_REGION"]
        return cls(
            name=environment["SITE_MACHINE"],
            instance=environment["SITE_INSTANCE"],
            table=environment["SITE_TABLE"],
            dynamodb=_client("dynamodb", region_name=region, config=_CONFIG),
            connect_ec2=lambda: _client("ec2", region_name=region, config=_CONFIG),
        )

    def __post_init__(self) -> None:
        self._ask_next = self.clock() + ASK_EC2
        self._ec2: EC2Client | None = None

    def __str__(self) -> str:
        return f"{self.name} ({self.instance})"

    @property
    def key(self) -> dict[str, dict[str, str]]:
        """Of its item."""
        return {"id": {"S": f"machine/{self.instance}"}}

    def until(self, seconds: float, look: Callable[[], int | None]) -> int | None:
        """Looks every half second until there is an outcome; None when there is none in time.

        An API that does not answer for a while is no outcome; one that refuses is an error.
        """
        deadline = self.clock() + seconds
        while self.clock() < deadline:
            try:
                outcome = look()
                self._unreachable = False
                if outcome is not None:
                    return outcome
            except (exceptions.ConnectionError, exceptions.HTTPClientError) as error:
                if not self._unreachable:
                    self._unreachable = True
                    say(f"{self}: AWS does not answer ({error}); asking on")
            self.sleep(POLL)
        return None

    def report(self) -> Report | None:
        """What the machine last said of itself, if anything."""
        answer = self.dynamodb.get_item(TableName=self.table, Key=self.key, ConsistentRead=True)
        item = answer.get("Item")
        if item is None:
            return None
        return Report(
            state=item.get("state", {}).get("S", ""), detail=item.get("detail", {}).get("S", "")
        )

    def ended(self) -> str:
        """EC2's word for an instance that runs no more, or that it does not know; else nothing."""
        if not self._ended and self.clock() >= self._ask_next:
            self._ask_next = self.clock() + ASK_EC2
            self._ended = self._ask_ec2()
        return self._ended

    def _ask_ec2(self) -> str:
        try:
            self._ec2 = self._ec2 or self.connect_ec2()
            answer = self._ec2.describe_instances(InstanceIds=[self.instance])
        except ClientError as error:
            if code(error) == "InvalidInstanceID.NotFound":
                return UNKNOWN
            raise
        states = [
            instance.get("State", {}).get("Name", "")
            for reservation in answer["Reservations"]
            for instance in reservation.get("Instances", [])
        ]
        return next((state for state in states if state in ENDED), "")


def code(error: ClientError) -> str:
    """AWS's name of an error."""
    return error.response.get("Error", {}).get("Code", "")


def run(command: Callable[[Watched, float], int], deadline: str) -> None:
    """Runs a command on the machine and within the seconds that the environment names; exits."""

    def work() -> int:
        try:
            machine, seconds = Watched.of(os.environ), float(os.environ[deadline])
        except KeyError as error:
            message = f"{error.args[0]} is not set; the Pulumi program sets it when it runs this."
            raise NotAskedError(message) from error
        except ValueError as error:
            raise NotAskedError(f"{deadline}: {error}") from error
        return command(machine, seconds)

    name = os.environ.get("SITE_MACHINE", "the machine")
    tell = teller(as_json=False, prefix=f"{name}: ")
    sys.exit(attempt(work, tell, interrupted="interrupted"))
