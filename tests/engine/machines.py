"""Plays the machines' part: every running instance reports itself ready, and drains when ordered.

What a machine does for real is the lab tier's; here it only answers, as `hosts/base/agent.py` does.
"""

import threading
import time
from typing import Any

from botocore.exceptions import ClientError

POLL = 0.1  # seconds
PASSING = {"ResourceNotFoundException", "500"}


class Machines:
    """Answers for every machine of a cloud, until it is ended."""

    def __init__(self, ec2: Any, dynamodb: Any) -> None:
        self._ec2 = ec2
        self._dynamodb = dynamodb
        self._ended = threading.Event()
        self._ready: set[str] = set()
        self.drained: set[str] = set()
        """Ids of the instances that drained when ordered, before they were terminated."""
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    def end(self) -> None:
        """Answer no more."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                for table in self._tables():
                    self._answer(table)
            except ClientError as error:
                # A table may go between two calls, and moto may be changing what it is asked for.
                if error.response.get("Error", {}).get("Code") not in PASSING:
                    raise
            time.sleep(POLL)

    def _tables(self) -> list[str]:
        names = self._dynamodb.list_tables()["TableNames"]
        return [name for name in names if name.endswith("-coordination")]

    def _answer(self, table: str) -> None:
        for instance, name in self._running(table.removesuffix("-coordination")):
            if instance not in self._ready:
                self._report(table, instance, name, "ready")
                self._ready.add(instance)
        for item in self._dynamodb.scan(TableName=table)["Items"]:
            ordered = item.get("order", {}).get("S") == "drain"
            if ordered and item["state"]["S"] != "drained":
                instance = item["id"]["S"].removeprefix("machine/")
                self._report(table, instance, item["name"]["S"], "drained")
                self.drained.add(instance)

    def _running(self, prefix: str) -> list[tuple[str, str]]:
        filters = [{"Name": "instance-state-name", "Values": ["running"]}]
        found: list[tuple[str, str]] = []
        for reservation in self._ec2.describe_instances(Filters=filters)["Reservations"]:
            for instance in reservation["Instances"]:
                tags = {tag["Key"]: tag["Value"] for tag in instance.get("Tags", [])}
                name = tags.get("Name", "")
                if name.startswith(prefix):
                    found.append((instance["InstanceId"], name))
        return found

    def _report(self, table: str, instance: str, name: str, state: str) -> None:
        self._dynamodb.put_item(
            TableName=table,
            Item={
                "id": {"S": f"machine/{instance}"},
                "name": {"S": name},
                "state": {"S": state},
                "detail": {"S": ""},
            },
        )
