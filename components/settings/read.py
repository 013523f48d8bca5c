"""Reads the settings and says what is wrong with them, all at once and in the operator's words."""

import difflib
import json
from collections.abc import Iterable, Mapping
from typing import Any, cast, get_args

import pulumi
import pulumi.runtime
from annotated_types import Ge, Le
from pydantic import BaseModel, ValidationError
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from components.settings.model import WORDED
from components.settings.models import Settings
from components.settings.tls import has_key

_NAMED = {
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "string_type": "text",
    "list_type": "a list such as [1]",
    "model_type": "an object, whose fields are set one by one",
    "dict_type": "an object, whose fields are set one by one",
}

_KEPT_SECRET = frozenset({"monitoring"})
"""Whose secrets never are in user data."""


def read() -> Settings:
    """The stack's settings.

    Raises:
        pulumi.RunError: one line for each setting that is wrong.
    """
    project = pulumi.get_project()
    keys = [key.removeprefix(f"{project}:") for key in _keys() if key.startswith(f"{project}:")]
    config = pulumi.Config()
    given = {key: config.get(key) for key in keys}
    secret = [key for key in keys if pulumi.runtime.is_config_secret(config.full_key(key))]
    return parse({key: value for key, value in given.items() if value is not None}, secret=secret)


def parse(given: Mapping[str, str], *, secret: Iterable[str] = ()) -> Settings:
    """Settings from the configuration's texts (JSON for objects), as the engine hands them over.

    Raises:
        pulumi.RunError: one line for each setting that is wrong.
    """
    values = {key: _value(text) for key, text in given.items()}
    secret = frozenset(secret)
    with_key = {key for key in ("loadBalancers",) if has_key(values.get(key))}
    errors = [
        f"site:{key} holds a secret, but what it sets is written to the machines' user data in the"
        f" clear. Put the secret into SSM Parameter Store and set its name, with"
        f" `pulumi config set --path site:{key}.…` and no --secret."
        for key in sorted(secret - with_key - _KEPT_SECRET)
    ]
    errors += [
        f"site:{key}.tls.key is in the stack's file in the clear. Set it with"
        f" `pulumi config set --path --secret site:{key}.tls.key < key.pem`, and use another key:"
        " this one may have been read."
        for key in sorted(with_key - secret)
    ]
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        errors += [
            _explain(detail, hidden=bool(secret.intersection(detail["loc"][:1])))
            for detail in error.errors()
        ]
        raise _refusal(errors) from None
    if errors:
        raise _refusal(errors)
    return settings


def _keys() -> list[str]:
    """Every key of the stack's configuration: `pulumi.Config` only looks up keys that one knows."""
    store = cast("Any", pulumi.runtime.config)
    return [*{**store.get_config_env(), **store.CONFIG.get()}]


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _refusal(errors: list[str]) -> pulumi.RunError:
    return pulumi.RunError("\n".join(["the stack's settings cannot be used:", *errors]))


def _explain(error: ErrorDetails, *, hidden: bool) -> str:
    """`hidden`: the value may be a secret."""
    if error["type"] == WORDED:
        return error["msg"]
    path = [str(part) for part in error["loc"]]
    key = "site:" + "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"]
    ).removeprefix(".")
    if error["type"] == "extra_forbidden":
        return _unknown(key, path)
    field = _field(path)
    flag = "--path " if len(path) > 1 else ""
    command = f"`pulumi config set {flag}{_quoted(key)} {_quoted(_example(field))}`"
    if error["type"] == "missing":
        return f"{key} is not set. Set it with {command}."
    value = "…" if hidden else json.dumps(error["input"], ensure_ascii=False)
    return f"{key} is {value}; allowed is {_allowed(error, field)}. Set it with {command}."


def _unknown(key: str, path: list[str]) -> str:
    *parents, name = path
    known = [to_camel(field) for field in _model(parents).model_fields]
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    meant = f"did you mean {nearest[0]}?" if nearest else f"known are {', '.join(known)}."
    flag = "--path " if parents else ""
    return f"{key} is no setting; {meant} Remove it with `pulumi config rm {flag}{_quoted(key)}`."


def _model(path: list[str]) -> type[BaseModel]:
    model: type[BaseModel] = Settings
    for name in path:
        field = _by_alias(model, name)
        annotation = field.annotation if field else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            break
        model = annotation
    return model


def _by_alias(model: type[BaseModel], alias: str) -> FieldInfo | None:
    return next((f for n, f in model.model_fields.items() if to_camel(n) == alias), None)


def _field(path: list[str]) -> FieldInfo | None:
    for depth in range(len(path), 0, -1):
        if field := _by_alias(_model(path[: depth - 1]), path[depth - 1]):
            return field
    return None


def _allowed(error: ErrorDetails, field: FieldInfo | None) -> str:
    context = error.get("ctx", {})
    match error["type"]:
        case "literal_error":
            return str(context["expected"])
        case "greater_than_equal" | "less_than_equal":
            bounds = _bounds(field) if field else []
            low = next((b.ge for b in bounds if isinstance(b, Ge)), "…")
            high = next((b.le for b in bounds if isinstance(b, Le)), "…")
            return f"{low} to {high}"
        case "value_error":
            return str(context["error"])
        case kind:
            return _NAMED.get(kind, error["msg"])


def _bounds(field: FieldInfo) -> list[Any]:
    """What is annotated, also inside of what may be None."""
    inside = [one for kind in get_args(field.annotation) for one in get_args(kind)[1:]]
    return [*field.metadata, *(bound for one in inside for bound in getattr(one, "metadata", ()))]


def _example(field: FieldInfo | None) -> str:
    if field is None or field.is_required():
        return "true"
    if field.examples:
        return str(field.examples[0])
    default = field.get_default(call_default_factory=True, validated_data={})
    return "…" if default is None or isinstance(default, BaseModel | dict) else str(default)


def _quoted(text: str) -> str:
    """For a shell, and for reading."""
    return text if all(c.isalnum() or c in ":.,_/+-…" for c in text) else f"'{text}'"
