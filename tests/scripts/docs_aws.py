"""`aws` commands of the documentation, by botocore's models of the services."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import botocore.session
from botocore import xform_name

from tests.scripts.docs_commands import NotUnderstoodError

_ANY = frozenset({"--region", "--profile", "--output", "--query", "--endpoint-url"})
"""Of any `aws` command, each with a value."""
_LOGS_TAIL = _ANY | {
    *("--since", "--follow", "--format", "--filter-pattern"),
    *("--log-stream-names", "--log-stream-name-prefix"),
}
"""Of `aws logs tail`, which is the CLI's own and no operation of the service."""


@cache
def service(name: str) -> Any:
    """botocore's model of it. Raises `NotUnderstoodError`."""
    session = botocore.session.Session()
    if name not in session.get_available_services():
        raise NotUnderstoodError(f"aws has no service {name}")
    return session.get_service_model(name)


def operation(of: str, name: str) -> Any:
    """The model of a service's operation, by its name for the CLI. Raises `NotUnderstoodError`."""
    names = {xform_name(one, "-"): one for one in service(of).operation_names}
    if name not in names:
        raise NotUnderstoodError(f"aws {of} has no operation {name}")
    return service(of).operation_model(names[name])


def options(words: Sequence[str]) -> dict[str, list[str]]:
    """Each option with its values. Raises `NotUnderstoodError`: something is before the first."""
    found: dict[str, list[str]] = {}
    for word in words:
        if word.startswith("--"):
            name, _, value = word.partition("=")
            found[name] = [value] if value else []
        elif not found:
            raise NotUnderstoodError(f"it takes options alone, and {word!r} is none")
        else:
            found[[*found][-1]].append(word)
    return found


def check(of: str, name: str, words: Sequence[str], *, mentioned: bool) -> None:
    """The operation is there, has these options, and all that it must be given.

    `mentioned` in a sentence, it may do without any options. Raises `NotUnderstoodError`.
    """
    if (of, name) == ("logs", "tail"):
        for option in options(words[1:]):
            if option not in _LOGS_TAIL:
                raise NotUnderstoodError(f"aws logs tail has no {option}")
        return
    shape = operation(of, name).input_shape
    known = {f"--{xform_name(one, '-')}": m for one, m in shape.members.items()} if shape else {}
    given = options(words)
    for option, values in given.items():
        switch = option.replace("--no-", "--", 1)
        if option in _ANY or (option in known and not _is_switch(known[option])):
            if not values:
                raise NotUnderstoodError(f"{option} wants a value")
        elif switch not in known or not _is_switch(known[switch]):
            raise NotUnderstoodError(f"aws {of} {name} has no {option}")
        elif values:
            raise NotUnderstoodError(f"{option} takes no value")
    for member in shape.required_members if shape else ():
        option = f"--{xform_name(member, '-')}"
        if option not in given and (words or not mentioned):
            raise NotUnderstoodError(f"aws {of} {name} wants {option}")


def _is_switch(member: Any) -> bool:
    """Whether the CLI has it as --this and --no-this: true or false, or EC2's wrapping of it."""
    if member.type_name == "structure" and [*member.members] == ["Value"]:
        member = member.members["Value"]
    return member.type_name == "boolean"


def request(of: str, name: str, words: Sequence[str]) -> dict[str, Any]:
    """What the operation is given: texts, numbers, and lists of texts or of Key=value,…"""
    shape = operation(of, name).input_shape
    names = {f"--{xform_name(one, '-')}": one for one in shape.members} if shape else {}
    return {
        names[option]: _value(shape.members[names[option]], values)
        for option, values in options(words).items()
        if option not in _ANY
    }


def _value(shape: Any, values: Sequence[str]) -> Any:
    match shape.type_name:
        case "list":
            return [_value(shape.member, [value]) for value in values]
        case "structure":
            return {
                key: _value(shape.members[key], value.split(","))
                for key, value in _pairs(" ".join(values))
            }
        case "integer" | "long":
            return int(values[0])
        case "boolean":
            return True
        case _:
            return values[0]


def _pairs(text: str) -> list[tuple[str, str]]:
    """``Name=a,Values=b,c`` is two."""
    found: list[tuple[str, str]] = []
    for part in text.split(","):
        key, is_pair, value = part.partition("=")
        if is_pair:
            found.append((key, value))
        else:
            found[-1] = (found[-1][0], f"{found[-1][1]},{part}")
    return found
