"""Reads the facts of a site, all at once: DynamoDB, EC2, Parameter Store, the backups' bucket."""

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

from hosts.base import coordination
from hosts.base.coordination import Machine
from hosts.base.lease import Record
from hosts.base.lease_table import record
from hosts.database import tunables
from hosts.database.backup import catalog, service
from hosts.database.backup.board import Board
from hosts.database.backup.catalog import Full
from hosts.database.backup.schedule import Settings
from hosts.database.backup.store import ForeignError, MissingError, Store
from hosts.database.options import SETTINGS
from hosts.database.pair import pair
from scripts.deployed import Deployed, Owner
from scripts.facts import Address, Alarm, Backups, Facts, Instance

LOOKED = 3
"""Backups that are looked at, from the newest on, for one that was restored."""
POLL = 0.2
"""Seconds between two looks whether leases are renewed."""
PATIENCE = 1.5
"""Seconds beyond its own time in which a lease that is held is renewed."""
_ADDRESS = "lease/address-"
_PARALLEL = 8
_Settings = TypeVar("_Settings")


class Looker:
    """Whoever looks again and again: its clients are made once."""

    def __init__(
        self,
        found: Deployed,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        epoch: Callable[[], float] = time.time,
    ) -> None:
        """Nothing is asked yet."""
        self._found = found
        self._clock = clock
        self._sleep = sleep
        self._epoch = epoch
        self._dynamodb: Any = found.dynamodb()
        self._others = False

    def _connect(self) -> None:
        """Makes the other clients: one after the other, as boto3 makes no two at once."""
        if self._others:
            return
        found = self._found
        self._ec2: Any = found.ec2()
        self._ssm: Any = found.ssm()
        self._cloudwatch = found.client("cloudwatch")
        self._s3 = found.client("s3") if found.outputs.get("backups") else None
        self._others = True

    def look(self) -> Facts:
        """The facts of now. Raises `ClientError`, `BotoCoreError` or `StoreError`."""
        began = self._clock()
        with ThreadPoolExecutor(_PARALLEL) as pool:
            # First: from here on leases have time to be renewed.
            table = pool.submit(self._table)
            self._connect()
            described = pool.submit(instances, self._ec2, self._found.prefix)
            owner = pool.submit(self._found.owner)
            addresses = pool.submit(self._addresses)
            alarms = pool.submit(self._alarms)
            stored = self._stored(pool)
            parameters = self._parameters(owner.result())
            machines = described.result()
            checks = pool.submit(self._checks, [one.id for one in machines])
            troubles = checks.result()
            items = table.result()
            renewed = self._renewed(_leases(items), began)
            leases = _leases(items)
            known = _parsed(tunables.parse, parameters.get(SETTINGS, ""))
            database = leases.get(f"lease/{self._found.line}")
            expected: Mapping[str, str] = self._found.outputs.get("machines", {})
            return Facts(
                site=self._found.prefix,
                region=self._found.region,
                now=self._epoch(),
                expected=expected,
                instances=tuple(
                    replace(one, troubles=tuple(troubles.get(one.id, ()))) for one in machines
                ),
                reports=_reports(items),
                addresses=_joined(addresses.result(), leases, renewed),
                pair=pair(database) if database else None,
                renewed=f"lease/{self._found.line}" in renewed,
                max_replica_lag=known.max_replica_lag if known else None,
                backups=self._backups(stored, parameters.get(service.SETTINGS, "")),
                alarms=alarms.result(),
            )

    def _table(self) -> list[dict[str, Any]]:
        pages = self._dynamodb.get_paginator("scan").paginate(
            TableName=self._found.table, ConsistentRead=True
        )
        return [item for page in pages for item in page["Items"]]

    def _renewed(self, before: Mapping[str, Record], began: float) -> set[str]:
        """Those that are held and change; those that do not get as long as they last to do it."""
        waiting = {
            name
            for name, one in before.items()
            if not one.released and (name.startswith(_ADDRESS) or self._is_database(name))
        }
        longest = max((before[name].lease for name in waiting), default=0.0) + PATIENCE
        changed: set[str] = set()
        while waiting and self._clock() - began < longest:
            now = _leases(self._table())
            moved = {name for name in waiting if now.get(name) != before[name]}
            changed |= moved
            waiting -= moved
            if waiting:
                self._sleep(POLL)
        return changed

    def _is_database(self, name: str) -> bool:
        return name == f"lease/{self._found.line}"

    def _checks(self, ids: list[str]) -> dict[str, list[str]]:
        """What EC2 says is wrong with machines that run, by instance id."""
        if not ids:
            return {}
        # Of those that run; and by a filter: an id that has just gone would be an error.
        wanted = [{"Name": "instance-state-name", "Values": ["running"]}]
        pages = self._ec2.get_paginator("describe_instance_status").paginate(Filters=wanted)
        return {
            one["InstanceId"]: list(_said(one))
            for page in pages
            for one in page["InstanceStatuses"]
            if one["InstanceId"] in ids
        }

    def _addresses(self) -> list[dict[str, Any]]:
        answer = self._ec2.describe_addresses(
            Filters=[
                {"Name": "tag:Role", "Values": ["load-balancer"]},
                {"Name": "tag:Name", "Values": [f"{self._found.prefix}-*"]},
            ]
        )
        return [one for one in answer["Addresses"] if _owner(one) == self._found.prefix]

    def _alarms(self) -> tuple[Alarm, ...]:
        pages = self._cloudwatch.get_paginator("describe_alarms").paginate(
            AlarmNamePrefix=f"{self._found.prefix}-"
        )
        return tuple(
            Alarm(one["AlarmName"], one.get("AlarmDescription") or one.get("StateReason", ""))
            for page in pages
            for one in page["MetricAlarms"]
            if one["StateValue"] == "ALARM" and self._is_ours(one["AlarmArn"])
        )

    def _is_ours(self, alarm: str) -> bool:
        """The names of another stack's may begin alike: `site-prod-eu-…`."""
        tags = self._cloudwatch.list_tags_for_resource(ResourceARN=alarm)
        return _owner(tags) == self._found.prefix

    def _parameters(self, owner: Owner) -> dict[str, str]:
        prefix = f"/{owner.project}/{owner.stack}/"
        names = [f"{prefix}{name}" for name in (SETTINGS, service.SETTINGS)]
        answer = self._ssm.get_parameters(Names=names)
        return {one["Name"].removeprefix(prefix): one["Value"] for one in answer["Parameters"]}

    def _stored(self, pool: ThreadPoolExecutor) -> "tuple[Future[Any], ...] | None":
        """What the bucket holds, and what stands on the board; asked in threads of their own."""
        if self._s3 is None:
            return None
        store = Store(self._s3, self._found.outputs["backups"]["bucket"])
        board = Board(self._dynamodb, self._found.table, self._found.line)
        return (
            pool.submit(_newest, store, self._found.line),
            pool.submit(_shipped, store, self._found.line),
            pool.submit(board.read),
        )

    def _backups(self, stored: "tuple[Future[Any], ...] | None", settings: str) -> Backups | None:
        if stored is None:
            return None
        fulls, shipped, last = (one.result() for one in stored)
        good = [full for full in fulls if full.verified and full.verified.good]
        return Backups(
            newest=fulls[0] if fulls else None,
            good=good[0] if good else None,
            shipped=shipped,
            settings=_parsed(Settings.parse, settings),
            last=last,
        )


def instances(ec2: Any, prefix: str) -> list[Instance]:
    """A site's machines, as EC2 has them. `prefix` is project and stack: ``site-prod``."""
    pages = ec2.get_paginator("describe_instances").paginate(
        Filters=[{"Name": "tag:Name", "Values": [f"{prefix}-*"]}]
    )
    every = (one for page in pages for r in page["Reservations"] for one in r["Instances"])
    # Not those of another stack whose name only begins alike.
    return [_instance(one, prefix) for one in every if _owner(one) == prefix]


def _newest(store: Store, line: str) -> list[Full]:
    """The newest backups, that one first: their names begin with their times."""
    found: list[Full] = []
    for name in sorted(store.folders(f"{line}/full/"), reverse=True):
        try:
            found.append(catalog.full(store, line, name))
        except (MissingError, ForeignError):
            continue  # not finished yet, or no backup
        if len(found) == LOOKED:
            break
    return sorted(found, key=lambda full: -full.time)


def _shipped(store: Store, line: str) -> float | None:
    """Up to when the binary log is there, of whichever server shipped last."""
    times = [log.as_of for log in catalog.heads(store, line)]
    return max(times, default=None)


def _leases(items: list[dict[str, Any]]) -> dict[str, Record]:
    """The records that have a holder."""
    return {
        item["id"]["S"]: record(item)
        for item in items
        if item["id"]["S"].startswith("lease/") and "holder" in item
    }


def _reports(items: list[dict[str, Any]]) -> tuple[Machine, ...]:
    machines = (item for item in items if item["id"]["S"].startswith("machine/"))
    return tuple(coordination.machine(item) for item in machines)


def _joined(
    found: list[dict[str, Any]], leases: Mapping[str, Record], renewed: set[str]
) -> tuple[Address, ...]:
    """Each address with its lease."""
    made: list[Address] = []
    for one in found:
        name = f"{_ADDRESS}{one['AllocationId']}"
        lease = leases.get(name)
        made.append(
            Address(
                public=one["PublicIp"],
                instance=one.get("InstanceId") or "",
                holder=lease.holder if lease and not lease.released else "",
                renewed=name in renewed,
            )
        )
    return tuple(sorted(made, key=lambda address: address.public))


def _tags(one: Mapping[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in one.get("Tags", [])}


def _owner(one: Mapping[str, Any]) -> str:
    """Project and stack that a resource is tagged with."""
    tags = _tags(one)
    return f"{tags.get('Project')}-{tags.get('Stack')}"


def _instance(one: Mapping[str, Any], prefix: str) -> Instance:
    tags = _tags(one)
    launched: datetime = one["LaunchTime"]
    return Instance(
        id=one["InstanceId"],
        name=tags["Name"].removeprefix(f"{prefix}-"),
        role=tags.get("Role", ""),
        state=one["State"]["Name"],
        address=one.get("PrivateIpAddress") or "",
        zone=one.get("Placement", {}).get("AvailabilityZone", ""),
        launched=launched.timestamp(),
    )


def _said(status: Mapping[str, Any]) -> Iterator[str]:
    """Checks that fail, and what is planned."""
    for what, name in (("InstanceStatus", "the machine"), ("SystemStatus", "its host")):
        if status.get(what, {}).get("Status") == "impaired":
            yield f"its check of {name} fails"
    for event in status.get("Events", []):
        # What is over stays there for a while, said so at its beginning.
        if not event.get("Description", "").startswith(("[Completed]", "[Canceled]")):
            yield f"{event['Code']} at {event.get('NotBefore', 'a time to come')}"


def _parsed(parse: Callable[[str], _Settings], text: str) -> _Settings | None:
    """Settings, unless there are none that can be read: machines that follow them say so."""
    try:
        return parse(text) if text else None
    except ValueError:
        return None
