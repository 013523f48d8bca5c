"""The machines' own items in the table `coordination`: what each is, and what it was told."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast

from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

State = Literal["booting", "ready", "failed", "draining", "drained"]

DETAIL = 4000
"""Characters of a detail that are kept: its end."""


class UnreachableError(Exception):
    """The table did not answer."""


class GoneError(Exception):
    """The machine's item was removed: the operator is done with it."""


@dataclass(frozen=True)
class Machine:
    """A machine as it last reported."""

    id: str
    name: str
    role: str
    address: str
    state: str
    detail: str
    updated: float
    """Seconds since the epoch, on that machine's clock."""
    order: str
    """``drain``, or empty."""
    figures: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What can be counted, as of its last report."""


class Coordination:
    """Thin access to the items ``machine/<instance id>``."""

    def __init__(self, client: "DynamoDBClient", table: str) -> None:
        """With a client that fails soon: `aws.dynamodb`."""
        self._client: Any = client
        self._table = table

    def register(self, instance: str, name: str, role: str, address: str) -> Machine:
        """Makes the machine's item, or makes it anew; an order that stands in it stays."""
        return self._update(
            instance,
            {"name": name, "role": role, "address": address, "state": "booting", "detail": ""},
        )

    def report(
        self,
        instance: str,
        state: State,
        detail: str = "",
        figures: Mapping[str, object] | None = None,
    ) -> Machine:
        """Says what the machine is doing. Raises `GoneError` if its item was removed.

        The `figures` of before stay if there are none.
        """
        values = {"state": state, "detail": detail[-DETAIL:]}
        if figures is not None:
            values["figures"] = json.dumps(figures)
        return self._update(instance, values, "attribute_exists(id)")

    def read(self, instance: str) -> Machine:
        """The machine's own item. Raises `GoneError` if it was removed."""
        item = self._call("get_item", Key=_key(instance), ConsistentRead=True).get("Item")
        if item is None:
            raise GoneError(instance)
        return machine(item)

    def machines(self, role: str) -> list[Machine]:
        """Every machine of a role, by name, then the one that reported last."""
        found: list[Machine] = []
        start: dict[str, Any] = {}
        while True:
            page = self._call(
                "scan",
                FilterExpression="begins_with(id, :m) AND #r = :r",
                ExpressionAttributeNames={"#r": "role"},
                ExpressionAttributeValues={":m": {"S": "machine/"}, ":r": {"S": role}},
                **start,
            )
            found += (machine(item) for item in page["Items"])
            if "LastEvaluatedKey" not in page:
                return sorted(found, key=lambda machine: (machine.name, -machine.updated))
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

    def _update(self, instance: str, values: dict[str, str], condition: str = "") -> Machine:
        names = {f"#{key}": key for key in values}
        attributes: dict[str, Any] = {f":{key}": {"S": value} for key, value in values.items()}
        attributes[":updated"] = {"N": str(int(time.time()))}
        assignments = [f"#{key} = :{key}" for key in values]
        request: dict[str, Any] = {"ConditionExpression": condition} if condition else {}
        answer = self._call(
            "update_item",
            Key=_key(instance),
            UpdateExpression="SET updated = :updated, " + ", ".join(assignments),
            ExpressionAttributeNames=names,
            ExpressionAttributeValues=attributes,
            ReturnValues="ALL_NEW",
            **request,
        )
        return machine(answer["Attributes"])

    def _call(self, operation: str, **request: object) -> dict[str, Any]:
        try:
            call = getattr(self._client, operation)
            return cast(dict[str, Any], call(TableName=self._table, **request))
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") == "ConditionalCheckFailedException":
                raise GoneError(str(request.get("Key"))) from error
            raise UnreachableError(str(error)) from error
        except BotoCoreError as error:
            raise UnreachableError(str(error)) from error


def _key(instance: str) -> dict[str, dict[str, str]]:
    return {"id": {"S": f"machine/{instance}"}}


def machine(item: Mapping[str, Mapping[str, str]]) -> Machine:
    """What an item says."""

    def text(name: str) -> str:
        return item.get(name, {}).get("S", "")

    return Machine(
        id=text("id").removeprefix("machine/"),
        name=text("name"),
        role=text("role"),
        address=text("address"),
        state=text("state"),
        detail=text("detail"),
        updated=float(item.get("updated", {}).get("N", "0")),
        order=text("order"),
        figures=json.loads(text("figures") or "{}"),
    )
