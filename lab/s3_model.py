"""Where moto's S3 says what is not so, it is put right here: as `ec2_model` does for EC2.

moto knows no `Bool` condition, and takes a statement with one as if it had none: "deny what does
not come over TLS" denies everything. In the lab port 443 stands for TLS, so that statement never
applies.

`install` must be called before the first request.
"""

import json
from typing import Any, cast

from moto.iam.access_control import IAMPolicy, PermissionResult
from moto.s3.models import FakeBucket

_NOT_OVER_TLS = {"Bool": {"aws:SecureTransport": "false"}}


def install() -> None:
    """Bucket policies are read without the statements on requests that are not over TLS."""
    cast("Any", FakeBucket).get_permission = _permission


def _permission(bucket: FakeBucket, action: str, resource: str) -> PermissionResult:
    if bucket.policy is None:
        return PermissionResult.NEUTRAL
    policy: dict[str, Any] = json.loads(bucket.policy)
    policy["Statement"] = [
        statement
        for statement in policy["Statement"]
        if statement.get("Condition") != _NOT_OVER_TLS
    ]
    return IAMPolicy(json.dumps(policy)).is_action_permitted(action, resource)
