"""Where moto's S3 says what is not so, it is put right here.

`install` must be called before the first request.
"""

import json
from typing import Any

from moto.iam.access_control import IAMPolicy, PermissionResult
from moto.s3.models import FakeBucket

PLAIN_HTTP_ONLY = {"Bool": {"aws:SecureTransport": "false"}}


def _permission(self: Any, action: str, resource: str) -> PermissionResult:
    """What the bucket's policy says, conditions included as far as the lab can say them.

    moto takes every condition for fulfilled, so the usual "nobody over plain HTTP" refuses all.
    The lab's wires are name spaces of one machine and stand for TLS.
    """
    if self.policy is None:
        return PermissionResult.NEUTRAL
    policy = json.loads(self.policy)
    policy["Statement"] = [
        statement
        for statement in policy["Statement"]
        if not (statement["Effect"] == "Deny" and statement.get("Condition") == PLAIN_HTTP_ONLY)
    ]
    return IAMPolicy(json.dumps(policy)).is_action_permitted(action, resource)


def install() -> None:
    """Put moto's buckets right."""
    bucket: Any = FakeBucket
    bucket.get_permission = _permission
