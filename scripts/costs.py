"""Count what of each stack is billed for as long as it is there, and its price if AWS says it.

python -m scripts.costs [--stack S]... [--no-prices] [--json]

Quantities are of the stacks' own resources, as Pulumi's state has them. Prices are asked of AWS's
Price List API, with your credentials and `pricing:GetProducts`: on demand, in USD, without tax and
without any discount that the account has. Without them there are quantities alone.

Exit status: 0 done; 2 there is no such stack, or the options were not understood.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, cast

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from scripts import bill, columns, deployed, prices
from scripts.bill import Bill, BillError, Item, Unit
from scripts.command import DONE, attempt, teller

HOURS = 730
"""In a month, as AWS reckons."""
_CONFIG = Config(connect_timeout=3, read_timeout=20, retries={"total_max_attempts": 2})


@dataclass(frozen=True)
class Priced:
    """A stack's bill and the prices that are known."""

    bill: Bill
    prices: Mapping[Item, Decimal]

    def of(self, item: Item) -> Decimal | None:
        """All that there is of an item, for a month, in `prices.CURRENCY`."""
        if item not in self.prices:
            return None
        times = HOURS if item.unit == Unit.HOUR else 1
        return self.prices[item] * self.bill.items[item] * times

    @property
    def month(self) -> Decimal:
        """Of all that has a price."""
        return sum((cost for item in self.bill.items if (cost := self.of(item))), Decimal(0))

    def to_json(self) -> dict[str, object]:
        """For programs."""
        return {
            "stack": self.bill.stack,
            "region": self.bill.region,
            "items": [
                {
                    "kind": item.kind,
                    "type": item.type,
                    "quantity": quantity,
                    "unit": item.unit,
                    "price": float(self.prices[item]) if item in self.prices else None,
                }
                for item, quantity in self.bill.items.items()
            ],
            "by_use": list(self.bill.by_use),
            "month": float(self.month) if self.prices else None,
            "currency": prices.CURRENCY if self.prices else None,
        }


PRICES = (f"{prices.CURRENCY} FOR ONE", f"{prices.CURRENCY} A MONTH")


def table(priced: Priced) -> str:
    """For people."""
    head = ["BILLED", "QUANTITY", "BY", *(PRICES if priced.prices else ())]
    rows: list[list[str]] = []
    for item, quantity in priced.bill.items.items():
        row, cost = [str(item), str(quantity), item.unit.value], priced.of(item)
        if priced.prices:
            row += ["?", "?"] if cost is None else [f"{priced.prices[item]:f}", f"{cost:.2f}"]
        rows.append(row)
    if priced.prices:
        whole = "all" if priced.bill.items.keys() <= priced.prices.keys() else "all but ?"
        rows.append([f"{whole}, {HOURS} hours", "", "month", "", f"{priced.month:.2f}"])
    return "\n".join(
        [
            f"{priced.bill.stack}, {priced.bill.region}",
            *columns.lines(head, rows, right={"QUANTITY", *PRICES}),
            "",
            "By use, and not counted:",
            *(f"- {words}" for words in priced.bill.by_use),
        ]
    )


def _export(stack: str | None) -> dict[str, Any]:
    return json.loads(deployed.pulumi("stack", "export", *(["--stack", stack] if stack else [])))


def _priced(of: Bill, *, ask: bool) -> Priced:
    if not ask:
        return Priced(of, {})
    client = cast("Any", boto3).client("pricing", region_name=prices.HOME, config=_CONFIG)
    try:
        return Priced(of, prices.of(client, of.region, of.items))
    except (BotoCoreError, ClientError) as error:
        print(f"no prices of {of.stack}, quantities alone: {error}", file=sys.stderr)
        return Priced(of, {})


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    asked = _parser().parse_args(arguments)

    def work() -> int:
        exports = [_export(name) for name in asked.stack or [None]]
        stacks = [_priced(bill.read(one), ask=asked.prices) for one in exports]
        if asked.json:
            print(json.dumps([priced.to_json() for priced in stacks], indent=1))
        else:
            print("\n\n".join(table(priced) for priced in stacks))
        return DONE

    tell = teller(as_json=asked.json)
    return attempt(work, tell, interrupted="interrupted", silences=(BillError,))


def _parser() -> argparse.ArgumentParser:
    said = (__doc__ or "").split("\n\n")
    parser = argparse.ArgumentParser(
        prog="python -m scripts.costs",
        description=said[0],
        epilog="\n\n".join(said[2:]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--stack", action="append", help="a stack, or several; without it the one that is selected"
    )
    parser.add_argument(
        "--no-prices", dest="prices", action="store_false", help="ask AWS for nothing"
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser


if __name__ == "__main__":
    sys.exit(main())
