"""Prices, from AWS's Price List API: on demand, Linux, without any discount of the account's.

What the API does not say is not said here either.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from scripts import bill
from scripts.bill import Item

HOME = "us-east-1"
"""The API is in a few regions and knows the prices of all."""
CURRENCY = "USD"


@dataclass(frozen=True)
class Query:
    """How a product is found; `{type}` stands for the item's."""

    service: str
    usage: str
    """Its usage type, which elsewhere than in us-east-1 is prefixed: `EUC1-NatGateway-Hours`."""
    filters: Mapping[str, str]
    everywhere: bool = False
    """Whether it has one price in the world."""


_LINUX = {
    "capacitystatus": "Used",
    "operatingSystem": "Linux",
    "preInstalledSw": "NA",
    "tenancy": "Shared",
}
# What a health check, an alarm or a dashboard costs depends on how many the account has.
QUERIES = {
    bill.INSTANCE: Query("AmazonEC2", "BoxUsage:{type}", {"instanceType": "{type}", **_LINUX}),
    bill.VOLUME: Query("AmazonEC2", "EBS:VolumeUsage.{type}", {"volumeApiName": "{type}"}),
    bill.NAT: Query("AmazonEC2", "NatGateway-Hours", {"productFamily": "NAT Gateway"}),
    bill.ENDPOINT: Query("AmazonVPC", "VpcEndpoint-Hours", {"productFamily": "VpcEndpoint"}),
    bill.ADDRESS: Query("AmazonVPC", "PublicIPv4:InUseAddress", {}),
    bill.ZONE: Query("AmazonRoute53", "HostedZone", {}, everywhere=True),
}


def of(client: Any, region: str, items: Iterable[Item]) -> dict[Item, Decimal]:
    """The price of one of each item by its unit, of those that have exactly one.

    Raises:
        BotoCoreError, ClientError: the API does not answer, or not these credentials.
    """
    found: dict[Item, Decimal] = {}
    for item in items:
        if (asked := QUERIES.get(item.kind)) and (price := _price(client, region, item, asked)):
            found[item] = price
    return found


def _price(client: Any, region: str, item: Item, asked: Query) -> Decimal | None:
    wanted = dict(asked.filters) | ({} if asked.everywhere else {"regionCode": region})
    filters = [
        {"Type": "TERM_MATCH", "Field": field, "Value": value.format(type=item.type)}
        for field, value in wanted.items()
    ]
    pages = client.get_paginator("get_products").paginate(
        ServiceCode=asked.service, Filters=filters
    )
    usage = asked.usage.format(type=item.type)
    found = {
        price
        for page in pages
        for product in map(json.loads, page["PriceList"])
        if _is(product, usage)
        for price in _first_tier(product)
    }
    return found.pop() if len(found) == 1 else None


def _is(product: Mapping[str, Any], usage: str) -> bool:
    """Whether it is this usage, whatever region's prefix it has."""
    name: str = product["product"]["attributes"].get("usagetype", "")
    return name == usage or name.endswith(f"-{usage}")


def _first_tier(product: Mapping[str, Any]) -> Iterator[Decimal]:
    for offer in product["terms"].get("OnDemand", {}).values():
        for tier in offer["priceDimensions"].values():
            price = tier["pricePerUnit"].get(CURRENCY)
            if price is not None and tier.get("beginRange", "0") == "0":
                yield Decimal(price)
