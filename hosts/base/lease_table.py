"""Where the records of leases are: DynamoDB. How a lease works is in `hosts.base.lease`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import BotoCoreError, ClientError

from hosts.base.lease import Record, UnreachableError, Value

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient


class DynamoTable:
    """Records in DynamoDB: items ``lease/<name>`` of the table `coordination`."""

    def __init__(self, client: "DynamoDBClient", table: str) -> None:
        """The client must fail soon (`aws.dynamodb`): a lease waits for it."""
        self._client: Any = client
        self._table = table

    def read(self, name: str) -> Record | None:
        """See `Table`."""
        try:
            answer = self._client.get_item(
                TableName=self._table, Key=_key(name), ConsistentRead=True
            )
        except (BotoCoreError, ClientError) as error:
            raise UnreachableError(str(error)) from error
        return record(answer["Item"]) if "Item" in answer else None

    def write(
        self, name: str, expected: Mapping[str, Value] | None, changes: Mapping[str, Value | None]
    ) -> Record | None:
        """See `Table`."""
        names: dict[str, str] = {}
        values: dict[str, Any] = {}
        conditions: list[str] = []
        for number, (key, value) in enumerate((expected or {}).items()):
            names[f"#e{number}"], values[f":e{number}"] = key, _encode(value)
            conditions.append(f"#e{number} = :e{number}")
        sets: list[str] = []
        removes: list[str] = []
        for number, (key, value) in enumerate(changes.items()):
            names[f"#c{number}"] = key
            if value is None:
                removes.append(f"#c{number}")
            else:
                values[f":c{number}"] = _encode(value)
                sets.append(f"#c{number} = :c{number}")
        if expected is None:
            names["#id"] = "id"
            conditions.append("attribute_not_exists(#id)")
        update = "SET " + ", ".join(sets) if sets else ""
        if removes:
            update += " REMOVE " + ", ".join(removes)
        try:
            answer = self._client.update_item(
                TableName=self._table,
                Key=_key(name),
                UpdateExpression=update,
                ConditionExpression=" AND ".join(conditions),
                ExpressionAttributeNames=names,
                ExpressionAttributeValues=values,
                ReturnValues="ALL_NEW",
            )
        except (BotoCoreError, ClientError) as error:
            if isinstance(error, ClientError) and _refused(error):
                return None
            raise UnreachableError(str(error)) from error
        return record(answer["Attributes"])


def _refused(error: ClientError) -> bool:
    return error.response.get("Error", {}).get("Code") == "ConditionalCheckFailedException"


def _key(name: str) -> dict[str, dict[str, str]]:
    return {"id": {"S": f"lease/{name}"}}


def _encode(value: Value) -> dict[str, Any]:
    match value:
        case bool():
            return {"BOOL": value}
        case int():
            return {"N": str(value)}
        case str():
            return {"S": value}
        case frozenset():
            return {"SS": sorted(value)}


def _decode(value: Mapping[str, Any]) -> Value:
    match dict(value):
        case {"BOOL": bool(found)}:
            return found
        case {"N": str(found)}:
            return int(found)
        case {"S": str(found)}:
            return found
        case {"SS": found}:
            return frozenset(cast(list[str], found))
        case other:
            raise ValueError(f"a lease's record holds {other!r}, which no lease writes")


def record(item: Mapping[str, Mapping[str, Any]]) -> Record:
    """What an item says."""
    values = {key: _decode(value) for key, value in item.items() if key != "id"}
    return Record(
        holder=str(values.pop("holder")),
        generation=cast(int, values.pop("generation")),
        counter=cast(int, values.pop("counter")),
        released=bool(values.pop("released")),
        lease=cast(int, values.pop("lease")) / 1000,
        extra=values,
    )
