"""IAM's decision about one call: identity policies in, yes or no out. Pure.

Follows https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
for a role in one account: an explicit Deny wins, else some Allow is needed. Condition
operators and policy variables that it does not know make a statement's condition
fail for Allow and hold for Deny: never more is allowed than on AWS.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, cast

Context = Mapping[str, tuple[str, ...]]
"""Condition keys, in lower case, with their values in the request."""

Statement = Mapping[str, Any]


@dataclass(frozen=True)
class Resource:
    """What a call is about; `*` for a call about nothing in particular."""

    arn: str = "*"
    context: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """Condition keys of this resource: its tags and the like."""


@dataclass(frozen=True)
class Request:
    """One call, as IAM sees it. Each resource must be allowed."""

    action: str
    """As `dynamodb:GetItem`."""
    resources: tuple[Resource, ...] = (Resource(),)
    context: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])


def refused(statements: Iterable[Statement], request: Request) -> str | None:
    """Why the call is not allowed, in IAM's words; None if it is."""
    known = list(statements)
    for resource in request.resources:
        context = {**request.context, **resource.context}
        what = f"{request.action} on resource: {resource.arn}"
        if _any(known, "Deny", request.action, resource.arn, context):
            return f"{what} with an explicit deny in an identity-based policy"
        if not _any(known, "Allow", request.action, resource.arn, context):
            return f"{what} because no identity-based policy allows the {request.action} action"
    return None


def _any(statements: list[Statement], effect: str, action: str, arn: str, context: Context) -> bool:
    return any(
        statement.get("Effect") == effect
        and _listed(statement, "Action", lambda pattern: _like(pattern.lower(), action.lower()))
        and _listed(statement, "Resource", lambda pattern: _names(pattern, arn, context))
        and _conditions_hold(statement, context, unknown=effect == "Deny")
        for statement in statements
    )


def _listed(statement: Statement, key: str, matches: Callable[[str], bool]) -> bool:
    """`Action` or `NotAction`, `Resource` or `NotResource`."""
    if key in statement:
        return any(matches(pattern) for pattern in _strings(statement[key]))
    inverse = f"Not{key}"
    return inverse in statement and not any(matches(p) for p in _strings(statement[inverse]))


def _names(pattern: str, arn: str, context: Context) -> bool:
    filled = _fill(pattern, context)
    return filled is not None and _like(filled, arn)


def _strings(value: object) -> list[str]:
    values = cast("list[object]", value) if isinstance(value, list) else [value]
    return [str(item).lower() if isinstance(item, bool) else str(item) for item in values]


@cache
def _pattern(pattern: str) -> re.Pattern[str]:
    return re.compile(
        "".join({"*": ".*", "?": "."}.get(char, re.escape(char)) for char in pattern), re.DOTALL
    )


def _like(pattern: str, value: str) -> bool:
    return _pattern(pattern).fullmatch(value) is not None


_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_LITERALS = {"*": "*", "?": "?", "$": "$"}


def _fill(text: str, context: Context) -> str | None:
    """The text with its policy variables replaced; None if one is not known."""
    missing = False

    def value(match: re.Match[str]) -> str:
        nonlocal missing
        name = match[1]
        values = context.get(name.lower(), ())
        if name in _LITERALS:
            return _LITERALS[name]
        missing = missing or len(values) != 1
        return values[0] if len(values) == 1 else ""

    filled = _VARIABLE.sub(value, text)
    return None if missing else filled


def _exactly(wanted: str, value: str) -> bool:
    return wanted == value


def _ignoring_case(wanted: str, value: str) -> bool:
    return wanted.lower() == value.lower()


_OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": _exactly,
    "StringEqualsIgnoreCase": _ignoring_case,
    "StringLike": _like,
    "ArnEquals": _like,  # IAM's two are the same
    "ArnLike": _like,
    "Bool": _ignoring_case,
}
_NEGATIONS = {
    "StringNotEquals": "StringEquals",
    "StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
    "StringNotLike": "StringLike",
    "ArnNotEquals": "ArnEquals",
    "ArnNotLike": "ArnLike",
}


def _conditions_hold(statement: Statement, context: Context, *, unknown: bool) -> bool:
    conditions: Mapping[str, Mapping[str, object]] = statement.get("Condition", {})
    return all(
        _holds(operator, context.get(key.lower(), ()), _strings(wanted), context, unknown=unknown)
        for operator, keys in conditions.items()
        for key, wanted in keys.items()
    )


def _holds(
    operator: str, values: tuple[str, ...], wanted: list[str], context: Context, *, unknown: bool
) -> bool:
    quantifier, _, name = operator.rpartition(":")
    optional = name.endswith("IfExists")
    name = name.removesuffix("IfExists")
    if name == "Null":
        return (not values) == (wanted == ["true"])
    negated = name in _NEGATIONS
    compare = _OPERATORS.get(_NEGATIONS.get(name, name))
    filled = [_fill(text, context) for text in wanted]
    if compare is None or None in filled or quantifier not in ("", "ForAllValues", "ForAnyValue"):
        return unknown
    if not values:
        return optional or negated or quantifier == "ForAllValues"

    def matches(value: str) -> bool:
        return any(compare(text, value) for text in filled if text is not None) != negated

    return all(map(matches, values)) if quantifier == "ForAllValues" else any(map(matches, values))
