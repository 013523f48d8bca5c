"""IAM: no wildcard that AWS does not force.

Which actions can be told which resource is in AWS's service authorization reference; cfn-lint
ships it as a file.
"""

import functools
import importlib.util
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from policies.rule import Found, Resource, rule

INLINE = {
    "aws:iam/rolePolicy:RolePolicy": "policy",
    "aws:iam/policy:Policy": "policy",
    "aws:iam/userPolicy:UserPolicy": "policy",
    "aws:iam/groupPolicy:GroupPolicy": "policy",
}
ROLE = "aws:iam/role:Role"
OF_RESOURCES = {
    ROLE: "assumeRolePolicy",
    "aws:s3/bucketPolicy:BucketPolicy": "policy",
}
ATTACHMENT = "aws:iam/rolePolicyAttachment:RolePolicyAttachment"

BACKUP = "service-role/AWSBackupServiceRolePolicyForBackup"
"""AWS's own policies are wider than need be. This one is of no machine, and AWS Backup asks for it.
"""

WHOLLY_ONES_OWN = {
    "ssm:UpdateInstanceInformation",
    "logs:CreateLogStream",
    "logs:PutLogEvents",
}
"""Actions on what a machine calls its own; IAM cannot tell its name out of what it knows of it."""

TOLD_BY_CONDITION = {"cloudwatch:PutMetricData": "cloudwatch:namespace"}
"""Actions of which AWS's own policies say by a Condition what is meant, and its key."""

Statement = Mapping[str, Any]


@functools.cache
def reference() -> dict[str, Any]:
    """By service, its `Actions` by name in small letters; `Resources` of one, if it knows any."""
    found = importlib.util.find_spec("cfnlint")  # importing it would take a second
    if found is None or found.origin is None:
        msg = "cfn-lint, which brings AWS's reference of actions, is not installed: `make venv`"
        raise RuntimeError(msg)
    path = Path(found.origin).with_name("data") / "AdditionalSpecs" / "Policies.json"
    return json.loads(path.read_text())


def names_resources(action: str) -> bool | None:
    """Whether an action can be told which resource is meant; None if there is no such action."""
    service, _, name = action.partition(":")
    known = reference().get(service, {}).get("Actions", {}).get(name.lower())
    return None if known is None else bool(known.get("Resources"))


@rule(*INLINE, ROLE)
def permissions_have_no_wildcard_that_aws_does_not_force(policy: Resource) -> Found:
    """A role may do named things to named resources: `*` stands only where AWS knows no names."""
    for statement in (one for document in _documents(policy) for one in _allowing(document)):
        if unusual := {"NotAction", "NotResource"} & statement.keys():
            yield f"{' and '.join(sorted(unusual))}: say what is allowed, not what is not"
        for action in _several(statement.get("Action", ())):
            for resource in _several(statement.get("Resource", ())):
                yield from _too_wide(action, resource, statement)


@rule(*OF_RESOURCES)
def nothing_is_open_to_everybody(policy: Resource) -> Found:
    """No role may be assumed, and nothing read, by whoever likes to."""
    for statement in _allowing(policy.get(OF_RESOURCES[policy.type], "{}")):
        principal = statement.get("Principal")
        named: list[Any] = (
            [principal] if isinstance(principal, str) else [*(principal or {}).values()]
        )
        if "*" in [one for several in named for one in _several(several)]:
            yield "a statement allows Principal *; name the service or account"


@rule(ATTACHMENT, ROLE)
def policies_are_written_for_their_role(attachment: Resource) -> Found:
    """No role has a policy of AWS's own, but AWS Backup's, which there is no way round."""
    if attachment.type == ROLE:
        name, arns = "managedPolicyArns", list(attachment.get("managedPolicyArns", ()))
    else:
        name, arns = "policyArn", [attachment.get("policyArn", "")]
    for arn in arns:
        if ":iam::aws:policy/" in arn and not arn.endswith(f":iam::aws:policy/{BACKUP}"):
            yield f"{name} has {arn}; write a RolePolicy of what is needed"


def _documents(policy: Resource) -> list[str]:
    if policy.type == ROLE:
        return [one.get("policy") or "{}" for one in policy.get("inlinePolicies", ())]
    return [policy.get(INLINE[policy.type], "{}")]


def _allowing(document: str) -> Iterator[Statement]:
    content = json.loads(document)
    for statement in _listed(content.get("Statement", ())):
        if statement.get("Effect") == "Allow":
            yield statement


def _too_wide(action: str, resource: str, statement: Statement) -> Found:
    if {"*", "?"} & {*action}:
        yield f"Action {action}: name each action"
        return
    named = names_resources(action)
    if named is None:
        yield f"Action {action}: AWS has none of that name"
    elif resource == "*" and (key := TOLD_BY_CONDITION.get(action)):
        if key not in _keys(statement):
            yield f"{action} on *: set a Condition on {key}"
    elif resource == "*" and named:
        yield f"{action} on *: AWS can be told which"
    elif resource != "*" and "*" in resource.split(":")[:5]:
        yield f"{action} on {resource}: name the region and the account"
    elif (
        resource != "*"
        and {"*", "?"} & {*resource}
        and action not in WHOLLY_ONES_OWN
        and not statement.get("Condition")
    ):
        yield f"{action} on {resource}: every one of them; name them, or set a Condition"


def _keys(statement: Statement) -> set[str]:
    """What its Condition asks about."""
    return {key for test in statement.get("Condition", {}).values() for key in test}


def _several(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [str(one) for one in value or ()]


def _listed(value: Any) -> list[Statement]:
    return [cast("Statement", value)] if isinstance(value, Mapping) else list(value)
