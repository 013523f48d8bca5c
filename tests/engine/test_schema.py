"""What follows from declared properties: pure functions, no engine."""

import pytest

from lab.engine.aws.cloud import Cloud
from lab.engine.aws.table import resource_types
from lab.engine.schema import (
    DEFAULTS,
    Change,
    Kind,
    Property,
    compare,
    fill_in,
    find_failures,
    overlay,
    same_json,
    unique_name,
)
from lab.engine.values import UNKNOWN, Props, decode, encode

TYPES = resource_types(Cloud())

PROPERTIES = {
    "size": Property(required=True),
    "zone": Property(replaces=True),
    "address": Property(computed=True, replaces=True),
    "groups": Property(unordered=True),
    "policy": Property(same=same_json),
    "name": Property(computed=True, replaces=True, autoname=20),
    "kind": Property(default="plain", choices=("plain", "fancy")),
    "options": Property(fields={"tokens": Property(), "key": Property(replaces=True)}),
    "tags": Property(),
}


def changes(old: Props, new: Props, state: Props | None = None) -> dict[str, tuple[Kind, bool]]:
    found = compare(PROPERTIES, old, new, state or {})
    return {change.path: (change.kind, change.replaces) for change in found}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"size": 1}, {"size": 1}, {}),
        ({"size": 1}, {"size": 2}, {"size": (Kind.UPDATE, False)}),
        ({}, {"zone": "a"}, {"zone": (Kind.ADD, True)}),
        ({"zone": "a"}, {}, {"zone": (Kind.DELETE, True)}),
        ({"zone": "a"}, {"zone": UNKNOWN}, {"zone": (Kind.UPDATE, True)}),
        ({"groups": ["a", "b"]}, {"groups": ["b", "a"]}, {}),
        ({"groups": ["a"]}, {"groups": ["a", UNKNOWN]}, {"groups": (Kind.UPDATE, False)}),
        ({"policy": '{"a": 1}'}, {"policy": '{ "a":1 }'}, {}),
        ({"options": {"key": 1}}, {"options": {"key": 2}}, {"options.key": (Kind.UPDATE, True)}),
        ({}, {"options": {"tokens": 1}}, {"options": (Kind.ADD, False)}),
        ({}, {"options": {"key": 1}}, {"options": (Kind.ADD, True)}),
        ({"tags": {"a": "b"}}, {"tags": {"a": "c"}}, {"tags.a": (Kind.UPDATE, False)}),
        ({"__defaults": []}, {"__defaults": ["name"]}, {}),
    ],
)
def test_a_change_updates_or_replaces_as_declared(
    old: Props, new: Props, expected: dict[str, tuple[Kind, bool]]
) -> None:
    assert changes(old, new) == expected


def test_leaving_out_what_aws_chooses_changes_nothing() -> None:
    assert changes({"address": "10.0.0.4"}, {}) == {}


def test_giving_what_aws_had_chosen_changes_nothing_and_another_replaces() -> None:
    state = {"address": "10.0.0.4"}
    assert changes({}, {"address": "10.0.0.4"}, state) == {}
    assert changes({}, {"address": "10.0.0.5"}, state) == {"address": (Kind.UPDATE, True)}


def test_what_is_wrong_is_said_in_sentences() -> None:
    inputs = {"sise": 1, "kind": "odd", "options": {"tokens": 1, "token": 2}}
    reasons = [failure.reason for failure in find_failures("aws", "t", PROPERTIES, inputs)]
    assert reasons == [
        "the lab's aws plugin does not know property sise of t; known are address, groups, kind, "
        "name, options, policy, size, tags, zone",
        "kind is 'odd'; allowed are plain, fancy",
        "the lab's aws plugin does not know property options.token of t; known are options.key, "
        "options.tokens",
        "required property size of t is missing",
    ]


def test_an_automatic_name_is_made_once_and_a_given_one_is_not_taken_for_it() -> None:
    first = fill_in(PROPERTIES, {"size": 1}, {}, "web", b"one")
    assert first["name"].startswith("web-")
    assert len(first["name"]) == len("web-") + 7
    assert first[DEFAULTS] == ["name"]
    assert fill_in(PROPERTIES, {"size": 1}, first, "web", b"two")["name"] == first["name"]
    given = fill_in(PROPERTIES, {"size": 1, "name": "mine"}, first, "web", b"two")
    assert given["name"] == "mine"
    assert given[DEFAULTS] == []
    again = fill_in(PROPERTIES, {"size": 1}, given, "web", b"two")
    assert again["name"] not in ("mine", first["name"])


def test_an_automatic_name_keeps_to_its_limit() -> None:
    assert len(unique_name("x" * 100, b"seed", 64)) == 64


def test_a_refresh_shows_what_changed_and_nothing_that_was_not_set() -> None:
    inputs = {"size": 1, "groups": ["a", "b"], "options": {"tokens": 1}, "policy": '{"a":1}'}
    found = {
        "size": 2,
        "groups": ["b", "a"],
        "options": {"tokens": 3, "key": "new"},
        "policy": '{"a": 1}',
        "zone": "a",
    }
    expected = {**inputs, "size": 2, "options": {"tokens": 3}}
    assert overlay(PROPERTIES, inputs, found) == expected


def test_values_survive_the_wire() -> None:
    props: Props = {"a": 1, "b": 1.5, "c": [True, None, "x", {"d": UNKNOWN}], "e": {}}
    back = decode(encode(props))
    assert back == props
    assert isinstance(back["a"], int)


@pytest.mark.parametrize("user_data_replaces", [True, False])
def test_user_data_replaces_an_instance_only_when_told_to(user_data_replaces: bool) -> None:
    instance = TYPES["aws:ec2/instance:Instance"]
    change = Change("userData", Kind.UPDATE, replaces=False)
    inputs = {"userDataReplaceOnChange": user_data_replaces}
    assert instance.replaces(change, inputs) is user_data_replaces


@pytest.mark.parametrize(
    ("token", "inputs", "sentence"),
    [
        (
            "aws:ec2/route:Route",
            {"destinationCidrBlock": "0.0.0.0/0"},
            "a route has exactly one target of gatewayId, natGatewayId, networkInterfaceId; "
            "0 are given",
        ),
        (
            "aws:ec2/instance:Instance",
            {"userData": "x" * 16385},
            "user data is 16385 bytes; EC2 allows 16384",
        ),
        (
            "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule",
            {"cidrIpv4": "0.0.0.0/0", "prefixListId": "pl-1"},
            "a rule has exactly one of cidrIpv4, cidrIpv6, prefixListId, "
            "referencedSecurityGroupId; 2 are given",
        ),
        (
            "aws:ssm/parameter:Parameter",
            {"type": "SecureString"},
            "a parameter has exactly one of value and insecureValue",
        ),
        (
            "aws:dynamodb/table:Table",
            {"billingMode": "PAY_PER_REQUEST", "hashKey": "id", "attributes": []},
            "attributes does not describe the key id",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(token: str, inputs: Props, sentence: str) -> None:
    assert [failure.reason for failure in TYPES[token].validate(inputs)] == [sentence]
