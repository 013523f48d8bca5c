"""What of a stack is billed for as long as it is there, counted and priced."""

import json
import re
from decimal import Decimal
from typing import Any, cast

import boto3
import pytest
from botocore.stub import Stubber

from scripts import bill, costs, prices
from scripts.bill import BillError, Item, Unit
from scripts.deployed import DeployedError

Said = pytest.CaptureFixture[str]
SMALL = Item(Unit.HOUR, bill.INSTANCE, "t4g.small")
NAT = Item(Unit.HOUR, bill.NAT)
DISK = Item(Unit.GIB_MONTH, bill.VOLUME, "gp3")
ZONE = Item(Unit.MONTH, bill.ZONE)
CHECK = Item(Unit.MONTH, bill.CHECK)


def resource(kind: str, **outputs: object) -> dict[str, Any]:
    return {"urn": f"urn:pulumi:dev::site::{kind}::it", "type": kind, "outputs": outputs}


def machine(type_: str = "t4g.small", *, public: bool = False, size: int = 10) -> dict[str, Any]:
    disk = {"volumeType": "gp3", "volumeSize": size}
    return resource(
        "aws:ec2/instance:Instance",
        instanceType=type_,
        rootBlockDevice=disk,
        associatePublicIpAddress=public,
    )


def exported(*resources: dict[str, Any]) -> dict[str, Any]:
    stack = resource("pulumi:pulumi:Stack", region="eu-central-1")
    return {"deployment": {"resources": [stack, *resources]}}


WHOLE = exported(
    machine(public=True),
    machine(),
    machine("r7g.xlarge", size=20),
    resource("aws:ebs/volume:Volume", type="gp3", size=200),
    resource("aws:ec2/eip:Eip", publicIp="203.0.113.1"),
    resource("aws:ec2/natGateway:NatGateway"),
    resource("aws:ec2/vpcEndpoint:VpcEndpoint", vpcEndpointType="Gateway"),
    resource("aws:route53/zone:Zone"),
    resource("aws:dynamodb/table:Table"),
    resource("aws:ec2/vpc:Vpc"),
)


def test_a_stack_is_counted_by_what_each_thing_is_billed_by() -> None:
    found = bill.read(WHOLE)
    assert (found.stack, found.region) == ("dev", "eu-central-1")
    assert found.items == {
        Item(Unit.HOUR, bill.NAT): 1,
        Item(Unit.HOUR, bill.INSTANCE, "r7g.xlarge"): 1,
        Item(Unit.HOUR, bill.INSTANCE, "t4g.small"): 2,
        Item(Unit.HOUR, bill.ADDRESS): 2,
        Item(Unit.GIB_MONTH, bill.VOLUME, "gp3"): 10 + 10 + 20 + 200,
        Item(Unit.MONTH, bill.ZONE): 1,
    }


def test_an_interface_endpoint_is_billed_in_each_of_its_zones_and_a_gateway_nowhere() -> None:
    found = bill.read(
        exported(
            resource(
                "aws:ec2/vpcEndpoint:VpcEndpoint",
                vpcEndpointType="Interface",
                subnetIds=["subnet-1", "subnet-2"],
            ),
            resource("aws:ec2/vpcEndpoint:VpcEndpoint", vpcEndpointType="Gateway"),
        )
    )
    assert found.items == {Item(Unit.HOUR, bill.ENDPOINT): 2}
    assert [words.partition(":")[0] for words in found.by_use] == ["interface endpoints"]


def test_what_is_billed_by_use_is_said_in_words() -> None:
    named = [words.partition(":")[0] for words in bill.read(WHOLE).by_use]
    assert named == ["machines", "NAT gateway", "DynamoDB", "Route 53"]


def test_what_waits_to_be_deleted_is_not_counted() -> None:
    found = bill.read(exported(machine(), {**machine(), "delete": True}))
    assert found.items[SMALL] == 1


@pytest.mark.parametrize("export", [{}, {"deployment": None}, exported()])
def test_nothing_to_count_is_said_in_a_sentence(export: dict[str, Any]) -> None:
    with pytest.raises(BillError, match="deploy"):
        bill.read(export)


def product(usage: str, *tiers: tuple[str, str]) -> str:
    """As the Price List API has it."""
    dimensions = {
        f"rate-{begin}": {"beginRange": begin, "pricePerUnit": {"USD": price}}
        for begin, price in tiers
    }
    return json.dumps(
        {
            "product": {"attributes": {"usagetype": usage}},
            "terms": {"OnDemand": {"offer": {"priceDimensions": dimensions}}, "Reserved": {}},
        }
    )


class PriceList:
    """The API's client, whose answers are made up and whose questions are AWS's own model's."""

    def __init__(self) -> None:
        self.client = cast("Any", boto3).client(
            "pricing",
            region_name=prices.HOME,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        self._stub: Any = Stubber(self.client)
        self._stub.activate()

    def answers(self, service: str, wanted: dict[str, str], *products: str) -> None:
        filters = [{"Type": "TERM_MATCH", "Field": f, "Value": v} for f, v in wanted.items()]
        self._stub.add_response(
            "get_products",
            {"PriceList": list(products)},
            {"ServiceCode": service, "Filters": filters},
        )


@pytest.fixture
def price_list() -> PriceList:
    return PriceList()


LINUX = {
    "instanceType": "t4g.small",
    "capacitystatus": "Used",
    "operatingSystem": "Linux",
    "preInstalledSw": "NA",
    "tenancy": "Shared",
    "regionCode": "eu-central-1",
}


def test_a_price_is_that_of_the_usage_and_not_of_its_neighbours(price_list: PriceList) -> None:
    price_list.answers(
        "AmazonEC2",
        LINUX,
        product("EUC1-UnusedBox:t4g.small", ("0", "9")),
        product("EUC1-BoxUsage:t4g.small", ("0", "0.0192000000")),
    )
    price_list.answers(
        "AmazonEC2",
        {"productFamily": "NAT Gateway", "regionCode": "eu-central-1"},
        product("EUC1-RegionalNatGateway-Hours", ("0", "7")),
        product("EUC1-NatGateway-Bytes", ("0", "8")),
        product("EUC1-NatGateway-Hours", ("0", "0.05")),
    )
    found = prices.of(price_list.client, "eu-central-1", [SMALL, NAT])
    assert found == {SMALL: Decimal("0.0192"), NAT: Decimal("0.05")}


def test_of_several_tiers_the_first_counts(price_list: PriceList) -> None:
    price_list.answers("AmazonRoute53", {}, product("HostedZone", ("25", "0.1"), ("0", "0.5")))
    assert prices.of(price_list.client, "eu-central-1", [ZONE]) == {ZONE: Decimal("0.5")}


def test_what_has_no_price_or_two_has_none(price_list: PriceList) -> None:
    volume = {"volumeApiName": "gp3", "regionCode": "eu-central-1"}
    usage = "EUC1-EBS:VolumeUsage.gp3"
    price_list.answers("AmazonEC2", LINUX)
    price_list.answers(
        "AmazonEC2", volume, product(usage, ("0", "0.1")), product(usage, ("0", "0.2"))
    )
    assert prices.of(price_list.client, "eu-central-1", [SMALL, DISK, CHECK]) == {}


@pytest.fixture
def deployed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stack that is deployed, and nobody's credentials."""

    def export(*_: str) -> str:
        return json.dumps(WHOLE)

    monkeypatch.setattr(costs.deployed, "pulumi", export)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.mark.usefixtures("deployed")
def test_without_credentials_there_are_quantities_alone(capsys: Said) -> None:
    assert costs.main([]) == 0
    said = capsys.readouterr()
    assert said.err == "no prices of dev, quantities alone: Unable to locate credentials\n"
    assert said.out.splitlines()[:8] == [
        "dev, eu-central-1",
        "BILLED               QUANTITY  BY",
        "NAT gateway                 1  hour",
        "instance r7g.xlarge         1  hour",
        "instance t4g.small          2  hour",
        "public IPv4 address         2  hour",
        "disk gp3                  240  GiB and month",
        "hosted zone                 1  month",
    ]
    assert "USD" not in said.out


@pytest.mark.usefixtures("deployed")
def test_for_programs_it_is_json_with_no_price_that_nobody_gave(capsys: Said) -> None:
    assert costs.main(["--no-prices", "--json", "--stack", "dev", "--stack", "prod"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    first, _ = json.loads(said.out)
    assert (first["stack"], first["month"], first["currency"]) == ("dev", None, None)
    assert first["items"][0] == {
        "kind": "NAT gateway",
        "type": "",
        "quantity": 1,
        "unit": "hour",
        "price": None,
    }


@pytest.mark.usefixtures("deployed")
def test_a_month_is_the_sum_of_what_has_a_price(
    capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of(*_: object) -> dict[Item, Decimal]:
        return {SMALL: Decimal("0.5"), DISK: Decimal("0.1"), ZONE: Decimal(2)}

    monkeypatch.setattr(prices, "of", of)
    assert costs.main([]) == 0
    rows = {re.split("  +", line)[0]: line.split() for line in capsys.readouterr().out.splitlines()}
    assert rows["instance t4g.small"][-2:] == ["0.5", "730.00"]
    assert rows["disk gp3"][-2:] == ["0.1", "24.00"]
    assert rows["NAT gateway"][-2:] == ["?", "?"]
    assert rows["all but ?, 730 hours"][-2:] == ["month", "756.00"]


def test_a_stack_that_is_not_there_is_said_in_pulumis_words(
    capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: str) -> str:
        raise DeployedError("no stack named 'x' found")

    monkeypatch.setattr(costs.deployed, "pulumi", none)
    assert costs.main(["--stack", "x"]) == 2
    assert capsys.readouterr().err == "no stack named 'x' found\n"
