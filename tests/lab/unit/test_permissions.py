"""IAM's decisions, by its own documentation."""

from typing import Any

import pytest

from lab.permissions import Request, Resource, refused

TABLE = "arn:aws:dynamodb:eu-west-1:123456789012:table/site-lab-coordination"
READ = Request("dynamodb:GetItem", (Resource(TABLE),))


def allow(action: Any, resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def deny(action: Any, resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {**allow(action, resource, **more), "Effect": "Deny"}


def test_what_nobody_allows_is_refused_and_named() -> None:
    assert refused([], READ) == (
        f"dynamodb:GetItem on resource: {TABLE} because no identity-based policy allows "
        "the dynamodb:GetItem action"
    )


@pytest.mark.parametrize(
    "action",
    ["dynamodb:GetItem", "dynamodb:getitem", "dynamodb:Get*", "*", ["s3:*", "dynamodb:???Item"]],
)
def test_an_action_is_named_whatever_its_case_and_by_wildcards(action: Any) -> None:
    assert refused([allow(action)], READ) is None


@pytest.mark.parametrize("action", ["dynamodb:GetItems", "dynamodb:Put*", "s3:*", []])
def test_another_action_is_not_allowed(action: Any) -> None:
    assert refused([allow(action)], READ)


@pytest.mark.parametrize("resource", [TABLE, TABLE[:-1] + "*", [f"{TABLE}x", TABLE]])
def test_a_resource_is_named_by_wildcards(resource: Any) -> None:
    assert refused([allow("dynamodb:GetItem", resource)], READ) is None


@pytest.mark.parametrize("resource", [TABLE.upper(), f"{TABLE}/index/*", TABLE[:-1], "?"])
def test_another_resource_is_not_allowed(resource: str) -> None:
    assert refused([allow("*", resource)], READ)


def test_a_call_about_nothing_in_particular_must_be_allowed_on_all() -> None:
    everywhere = Request("ec2:DescribeAddresses")
    assert refused([allow("ec2:DescribeAddresses")], everywhere) is None
    assert refused([allow("ec2:DescribeAddresses", "arn:aws:ec2:*")], everywhere)


def test_a_deny_wins() -> None:
    why = refused([allow("*"), deny("dynamodb:*")], READ)
    assert why
    assert "explicit deny" in why


def test_every_resource_of_a_call_must_be_allowed() -> None:
    both = Request("ec2:AssociateAddress", (Resource("arn:a"), Resource("arn:b")))
    assert refused([allow("*", "arn:a"), allow("*", "arn:b")], both) is None
    why = refused([allow("*", "arn:a")], both)
    assert why
    assert "arn:b" in why


def test_not_action_and_not_resource_are_all_but_those() -> None:
    but_s3 = {"Effect": "Allow", "NotAction": "s3:*", "Resource": "*"}
    assert refused([but_s3], READ) is None
    assert refused([but_s3], Request("s3:GetObject"))
    elsewhere = {"Effect": "Allow", "Action": "*", "NotResource": TABLE}
    assert refused([elsewhere], READ)


ITEMS = {"dynamodb:leadingkeys": ("machine/i-1", "lease/primary")}
TAGGED = {"aws:resourcetag/role": ("load-balancer",)}


@pytest.mark.parametrize(
    ("condition", "context", "holds"),
    [
        ({"StringEquals": {"aws:ResourceTag/Role": "load-balancer"}}, TAGGED, True),
        ({"StringEquals": {"aws:ResourceTag/Role": ["database", "load-balancer"]}}, TAGGED, True),
        ({"StringEquals": {"aws:ResourceTag/Role": "Load-Balancer"}}, TAGGED, False),
        ({"StringEqualsIgnoreCase": {"aws:ResourceTag/Role": "Load-Balancer"}}, TAGGED, True),
        ({"StringEquals": {"aws:ResourceTag/Role": "load-*"}}, TAGGED, False),
        ({"StringLike": {"aws:ResourceTag/Role": "load-*"}}, TAGGED, True),
        ({"StringEquals": {"aws:ResourceTag/Role": "load-balancer"}}, {}, False),
        ({"StringEqualsIfExists": {"aws:ResourceTag/Role": "load-balancer"}}, {}, True),
        ({"StringNotEquals": {"aws:ResourceTag/Role": "database"}}, TAGGED, True),
        ({"StringNotEquals": {"aws:ResourceTag/Role": "load-balancer"}}, TAGGED, False),
        ({"StringNotEquals": {"aws:ResourceTag/Role": "load-balancer"}}, {}, True),
        ({"Null": {"aws:ResourceTag/Role": "true"}}, {}, True),
        ({"Null": {"aws:ResourceTag/Role": "true"}}, TAGGED, False),
        ({"Bool": {"aws:SecureTransport": True}}, {"aws:securetransport": ("true",)}, True),
        ({"ArnEquals": {"ec2:Subnet": "arn:*:a"}}, {"ec2:subnet": ("arn:x:a",)}, True),
        ({"ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["machine/*", "lease/*"]}},
         ITEMS, True),
        ({"ForAllValues:StringLike": {"dynamodb:LeadingKeys": "machine/*"}}, ITEMS, False),
        ({"ForAllValues:StringLike": {"dynamodb:LeadingKeys": "machine/*"}}, {}, True),
        ({"ForAnyValue:StringLike": {"dynamodb:LeadingKeys": "machine/*"}}, ITEMS, True),
        ({"ForAnyValue:StringLike": {"dynamodb:LeadingKeys": "other/*"}}, ITEMS, False),
        ({"StringEquals": {"a": "1"}, "StringLike": {"b": "2"}}, {"a": ("1",), "b": ("3",)}, False),
        ({"StringEquals": {"a": "${aws:x}"}}, {"a": ("1",), "aws:x": ("1",)}, True),
        ({"StringEquals": {"a": "${aws:x}"}}, {"a": ("1",)}, False),
        ({"StringLike": {"a": "${*}"}}, {"a": ("anything",)}, True),
        ({"DateLessThan": {"aws:CurrentTime": "2099-01-01T00:00:00Z"}}, {}, False),
    ],
)  # fmt: skip
def test_a_condition_must_hold(
    condition: dict[str, Any], context: dict[str, tuple[str, ...]], *, holds: bool
) -> None:
    request = Request("a:B", context=context)
    assert (refused([allow("a:B", Condition=condition)], request) is None) is holds


def test_a_condition_that_is_not_understood_never_allows_and_always_denies() -> None:
    odd = {"NumericLessThan": {"s3:max-keys": "10"}}
    assert refused([allow("a:B", Condition=odd)], Request("a:B"))
    assert refused([allow("*"), deny("a:B", Condition=odd)], Request("a:B"))


def test_a_condition_on_one_resource_does_not_hold_for_another() -> None:
    mine = Resource("arn:mine", {"aws:resourcetag/role": ("load-balancer",)})
    other = Resource("arn:other", {"aws:resourcetag/role": ("database",)})
    tagged = {"StringEquals": {"aws:ResourceTag/Role": "load-balancer"}}
    assert refused([allow("a:B", Condition=tagged)], Request("a:B", (mine,))) is None
    assert refused([allow("a:B", Condition=tagged)], Request("a:B", (mine, other)))


def test_a_policy_variable_stands_for_the_caller() -> None:
    own = Request(
        "a:B",
        (Resource("arn:machine/i-1"),),
        {"ec2:sourceinstancearn": ("arn:machine/i-1",)},
    )
    assert refused([allow("a:B", "${ec2:SourceInstanceARN}")], own) is None
    assert refused([allow("a:B", "${aws:unknown}*")], own)
