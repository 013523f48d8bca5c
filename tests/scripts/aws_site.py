"""A deployed site in an AWS of this process: machines, addresses, the table, parameters, backups.

No machine runs: what they would do, a test does in their place (`report`, `renew`).
"""

import json
import time
from typing import Any, cast

import boto3

from hosts.base.coordination import Coordination
from hosts.base.lease_table import DynamoTable
from hosts.database.backup.catalog import Log
from hosts.database.backup.gtids import Gtids
from hosts.database.backup.store import Store
from scripts.deployed import Deployed
from tests.scripts import sites

REGION = "eu-central-1"
TABLE = "site-prod-coordination"
TOLD = ["--table", TABLE, "--region", REGION]
SETTINGS: dict[str, Any] = {
    "replication": "semi-synchronous",
    "lease": 2.5,
    "max_replica_lag": 5,
    "max_failover_lag": 5,
    "variables": {},
}


class AwsSite:
    """The site of `sites.WELL`, in moto."""

    def __init__(self) -> None:
        self.ec2 = self.client("ec2")
        self.ssm = self.client("ssm")
        self.dynamodb = self.client("dynamodb")
        self.dynamodb.create_table(
            TableName=TABLE,
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
            Tags=[{"Key": "Project", "Value": "site"}, {"Key": "Stack", "Value": "prod"}],
        )
        self.table = DynamoTable(self.dynamodb, TABLE)
        self.coordination = Coordination(self.dynamodb, TABLE)
        self._image = self.ec2.register_image(Name="image")["ImageId"]
        self.ids = {name: self.run(name) for name in sites.NAMES}
        self.allocations = [self._address(ordinal) for ordinal in (1, 2)]
        for name in ("database/settings", "database/backups"):
            value = SETTINGS if name.endswith("settings") else vars(sites.SETTINGS)
            self.ssm.put_parameter(
                Name=f"/site/prod/{name}", Value=json.dumps(value), Type="String"
            )
        members = {f"database-{n}/vol-{n}" for n in (1, 2)}
        self.lease(
            "database",
            holder="database-1/vol-1",
            in_sync=frozenset(members),
            mode="semi-synchronous",
        )
        for name in sites.NAMES:
            self.report(name)
        self.s3 = self.client("s3")
        self.s3.create_bucket(
            Bucket="backups", CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        self.store = Store(self.s3, "backups")

    def client(self, service: str) -> Any:
        """As the operator has it."""
        return cast("Any", boto3).client(service, region_name=REGION)

    def run(self, name: str, stack: str = "prod") -> str:
        """An instance of EC2's; its id."""
        role = name.rpartition("-")[0]
        tags = {"Project": "site", "Stack": stack, "Name": f"site-{stack}-{name}", "Role": role}
        made = self.ec2.run_instances(
            ImageId=self._image,
            MinCount=1,
            MaxCount=1,
            TagSpecifications=[{"ResourceType": "instance", "Tags": _listed(tags)}],
        )
        return made["Instances"][0]["InstanceId"]

    def _address(self, ordinal: int) -> str:
        tags = {
            "Project": "site",
            "Stack": "prod",
            "Name": f"site-prod-address-{ordinal}",
            "Role": "load-balancer",
        }
        made = self.ec2.allocate_address(
            Domain="vpc",
            TagSpecifications=[{"ResourceType": "elastic-ip", "Tags": _listed(tags)}],
        )["AllocationId"]
        holder = self.ids[f"load-balancer-{ordinal}"]
        self.ec2.associate_address(AllocationId=made, InstanceId=holder)
        self.lease(f"address-{made}", holder=holder)
        return made

    def lease(self, name: str, **values: Any) -> None:
        """A record that nobody has yet."""
        whole = {"generation": 7, "counter": 1, "released": False, "lease": 2500, **values}
        assert self.table.write(name, None, whole)

    def renew(self, *names: str) -> None:
        """Their holders do, of all leases if none is named."""
        known = ["database", *(f"address-{one}" for one in self.allocations)]
        for name in names or known:
            record = self.table.read(name)
            assert record
            wanted = {"counter": record.counter}
            assert self.table.write(name, wanted, {"counter": record.counter + 1})

    def report(self, name: str, state: Any = "ready", detail: str | None = None) -> None:
        """A machine says how it is."""
        role = name.rpartition("-")[0]
        address = sites.instance(name).address
        self.coordination.register(self.ids[name], name, role, address)
        said = sites.DETAILS.get(name, "") if detail is None else detail
        self.coordination.report(self.ids[name], state, said, sites.FIGURES[role])

    def back_up(self, age: float = 3600.0) -> None:
        """A verified backup of so many seconds ago, and the log since."""
        made = sites.full(age + sites.NOW - time.time())
        self.store.write(f"{made.folder}/manifest.json", made.to_json())
        assert made.verified
        self.store.write(f"{made.folder}/verified.json", made.verified.to_json())
        for number, until in ((1, 600.0), (2, 5.0)):
            log = Log(
                line="database",
                server=made.server,
                name=f"binlog.{number:06}",
                begun=int(made.time) + number,
                previous=Gtids(),
                executed=Gtids(),
                end=100,
                first=None,
                last=None,
                as_of=time.time() - until,
                machine="database-2",
            )
            self.store.write(f"{log.folder}/head.json", log.to_json())

    def deployed(self) -> Deployed:
        """The site as its outputs tell of it."""
        outputs = {
            "region": REGION,
            "table": TABLE,
            "machines": dict(self.ids),
            "backups": {"bucket": "backups", "line": "database"},
        }
        return Deployed(REGION, TABLE, outputs=outputs)


def _listed(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]
