"""Take a machine out of service before it is deleted: order it to drain, wait until it has.

The program runs this for each machine that goes. It always lets the deletion go on: a machine that
does not drain in time, or is gone already, is said so and is no error.
"""

import sys

from botocore.exceptions import ClientError

from scripts.watched import Watched, code, run, say

_NEVER_STARTED = "boot:"  # how a machine begins what it says when its agent never ran


def drain(machine: Watched, seconds: float) -> int:
    """0, whatever becomes of the machine within these seconds."""
    try:
        if not _order(machine):
            say(f"{machine}: never reported; nothing to drain")
            return 0
        outcome = machine.until(seconds, lambda: _look(machine))
        if outcome is None:
            _warn(f"{machine} did not drain within {seconds:.0f} s; it is deleted as it is.")
        machine.dynamodb.delete_item(TableName=machine.table, Key=machine.key)
    except ClientError as error:
        if code(error) != "ResourceNotFoundException":
            raise
        say(f"{machine}: the coordination table is gone; nothing to drain")
    return 0


def _order(machine: Watched) -> bool:
    """Whether there is a machine to take the order."""
    try:
        machine.dynamodb.update_item(
            TableName=machine.table,
            Key=machine.key,
            UpdateExpression="SET #order = :drain",
            ConditionExpression="attribute_exists(id)",
            ExpressionAttributeNames={"#order": "order"},
            ExpressionAttributeValues={":drain": {"S": "drain"}},
        )
    except ClientError as error:
        if code(error) == "ConditionalCheckFailedException":
            return False
        raise
    say(f"{machine}: draining")
    return True


def _look(machine: Watched) -> int | None:
    report = machine.report()
    if report is None or report.state == "drained":
        say(f"{machine}: drained")
        return 0
    if report.state == "failed" and report.detail.startswith("drain:"):
        _warn(f"{machine} could not drain and is deleted as it is: {report.detail}")
        return 0
    if report.state == "failed" and report.detail.startswith(_NEVER_STARTED):
        say(f"{machine}: never came up; nothing to drain")
        return 0
    if ended := machine.ended():
        say(f"{machine}: {ended}; nothing to drain")
        return 0
    return None


def _warn(line: str) -> None:
    print(line, file=sys.stderr)


if __name__ == "__main__":
    run(drain, "SITE_DRAIN_WITHIN")
