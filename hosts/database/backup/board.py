"""The item of the table `coordination` in which backups are ordered, and reported on.

``lease/<line>-backup``: an operator writes an order with an id of its own; the machine that backs
up takes it, says how it goes, and at the end how it went. A machine that takes over finds an order
that is not done, and does it.
"""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from hosts.base.coordination import UnreachableError

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

DETAIL = 1000
"""Characters of a detail that are kept."""


@dataclass(frozen=True)
class Entry:
    """What the item says."""

    order: str = ""
    """The id of the last order."""
    what: str = ""
    """``full``, ``ship`` or ``verify <id>``."""
    done: str = ""
    """The id of the last order that was carried out, or given up."""
    outcome: str = ""
    """``good`` or ``failed``, of that."""
    result: str = ""
    """What came of it: the id of a backup, or why it failed."""
    machine: str = ""
    """The machine that reported last."""
    detail: str = ""
    """What it is at."""
    updated: float = 0.0
    """Seconds since the epoch, on that machine's clock."""

    @property
    def open(self) -> bool:
        """Whether there is an order that is not done."""
        return bool(self.order) and self.order != self.done


class Board:
    """Access to the item."""

    def __init__(self, client: "DynamoDBClient", table: str, line: str) -> None:
        """Nothing is asked yet."""
        self._client: Any = client
        self._table = table
        self._key = {"id": {"S": f"lease/{line}-backup"}}

    def read(self) -> Entry:
        """What stands there. Raises `UnreachableError`."""
        try:
            answer = self._client.get_item(
                TableName=self._table, Key=self._key, ConsistentRead=True
            )
        except (BotoCoreError, ClientError) as error:
            raise UnreachableError(str(error)) from error
        item: dict[str, Any] = answer.get("Item", {})
        texts = {
            name: str(item.get(name, {}).get("S", ""))
            for name in ("order", "what", "done", "outcome", "result", "machine", "detail")
        }
        return Entry(**texts, updated=float(item.get("updated", {}).get("N", "0")))

    def order(self, order: str, what: str) -> None:
        """Asks for something, under an id that nobody used before. Raises `UnreachableError`."""
        self._set({"order": order, "what": what})

    def report(self, machine: str, detail: str) -> None:
        """Says what a machine is at. Raises `UnreachableError`."""
        self._set({"machine": machine, "detail": detail[:DETAIL]})

    def close(self, order: str, machine: str, outcome: str, result: str) -> None:
        """Says how an order went. Raises `UnreachableError`."""
        self._set(
            {
                "done": order,
                "machine": machine,
                "outcome": outcome,
                "result": result[:DETAIL],
                "detail": "",
            }
        )

    def _set(self, values: dict[str, str]) -> None:
        attributes: dict[str, Any] = {f":{name}": {"S": text} for name, text in values.items()}
        attributes[":updated"] = {"N": f"{time.time():.3f}"}
        assignments = ["#updated = :updated", *(f"#{name} = :{name}" for name in values)]
        try:
            self._client.update_item(
                TableName=self._table,
                Key=self._key,
                UpdateExpression="SET " + ", ".join(assignments),
                ExpressionAttributeNames={f"#{name}": name for name in ("updated", *values)},
                ExpressionAttributeValues=attributes,
            )
        except (BotoCoreError, ClientError) as error:
            raise UnreachableError(str(error)) from error
