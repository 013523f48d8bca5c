"""`pulumi` commands of the documentation, by what the program was tried with and its settings."""

import contextlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast, get_args

import pulumi
import yaml
from pydantic import BaseModel
from pydantic.alias_generators import to_camel

from components.settings.models import Settings
from components.settings.read import parse
from tests.scripts.docs_commands import PROJECT, NotUnderstoodError

UNKNOWN = "…"
"""Stands for whatever the reader has."""
PULUMI: dict[str, dict[str, bool]] = {
    "up": {"--refresh": False, "--replace": True, "--policy-pack": True},
    "preview": {"--diff": False, "--policy-pack": True},
    "destroy": {},
    "login": {},
    "stack": {"--show-urns": False},
    "stack init": {"--secrets-provider": True},
    "stack select": {},
    "stack output": {"--json": False},
    "stack change-secrets-provider": {},
    "config set": {"--path": False, "--secret": False},
    "config rm": {"--path": False},
}
"""What the program was tried with, and what is Pulumi's alone; whether an option takes a value.
tests/lab asks Pulumi's own CLI whether it has them."""
_NAMED = ("stack init", "stack select", "stack change-secrets-provider")
"""They take a name, whatever it is."""


def check(arguments: Sequence[str], *, fed: bool = False) -> None:
    """The command, its options, and the setting or output that it names.

    `fed`: the value is on its standard input. Raises `NotUnderstoodError`.
    """
    name = command(arguments)
    rest = [*arguments[len(name.split()) :]]
    flags: set[str] = set()
    places: list[str] = []
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            places.append(word)
            continue
        if word not in PULUMI[name]:
            raise NotUnderstoodError(f"the program was not tried with `pulumi {name} {word}`")
        flags.add(word)
        # `pulumi up --replace` in a sentence says what is done, and not to what.
        if PULUMI[name][word] and not rest and word != "--replace":
            raise NotUnderstoodError(f"{word} wants a value")
        rest = rest[1:] if PULUMI[name][word] else rest
    match name, places:
        case "config set", [key, value]:
            setting(key, value, path="--path" in flags)
        case "config set" | "config rm", [key] if fed or name == "config rm":
            setting(key, UNKNOWN, path="--path" in flags)
        case "stack output", [output]:
            if output not in re.findall(r'export\("(\w+)"', (PROJECT / "__main__.py").read_text()):
                raise NotUnderstoodError(f"the program has no output {output}")
        case _:
            if len(places) != (name in _NAMED) and (name, len(places)) != ("login", 1):
                raise NotUnderstoodError(f"`pulumi {name}` does not take {' '.join(places)!r}")


def command(arguments: Sequence[str]) -> str:
    """Of one word or two. Raises `NotUnderstoodError`."""
    for words in (2, 1):
        if (name := " ".join(arguments[:words])) in PULUMI:
            return name
    raise NotUnderstoodError(f"the program was not tried with `pulumi {' '.join(arguments)}`")


def setting(key: str, value: str, *, path: bool) -> None:
    """The settings have it, and take the value. Raises `NotUnderstoodError`."""
    if key == "aws:region":
        return
    first, *more = key.removeprefix("site:").split(".")
    if more and not path:
        raise NotUnderstoodError(f"{key} wants --path")
    model: Any = Settings
    for name in (first, *more):
        fields: dict[str, Any] = getattr(model, "model_fields", {})
        field = next((one for known, one in fields.items() if to_camel(known) == name), None)
        if field is None:
            raise NotUnderstoodError(f"{key} is no setting: there is no {name}")
        model = _model(field.annotation)
    if UNKNOWN in value:
        return
    given: Any = value
    with contextlib.suppress(ValueError):
        given = json.loads(value)
    for name in reversed(more):
        given = {name: given}
    why = [_refused(stack, first, given) for stack in sorted(PROJECT.glob("Pulumi.*.yaml"))]
    if all(why):
        raise NotUnderstoodError(why[0])


def _refused(stack: Path, key: str, given: Any) -> str:
    """Why a stack cannot have it beside what its file says; empty if it can."""
    config = yaml.safe_load(stack.read_text())["config"]
    settings: dict[str, Any] = {"deletionProtection": False} | {
        name.removeprefix("site:"): value
        for name, value in config.items()
        if name.startswith("site:")
    }
    settings[key] = _merged(settings.get(key), given)
    try:
        parse({n: v if isinstance(v, str) else json.dumps(v) for n, v in settings.items()})
    except pulumi.RunError as error:
        return str(error)
    return ""


def _merged(former: Any, given: Any) -> Any:
    if not (isinstance(former, dict) and isinstance(given, dict)):
        return given
    known = cast("dict[str, Any]", former)
    return known | {
        key: _merged(known.get(key), value) for key, value in cast("dict[str, Any]", given).items()
    }


def _model(annotation: Any) -> Any:
    """A model, also of what may be None."""
    kinds = [annotation, *get_args(annotation)]
    return next((k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)), None)
