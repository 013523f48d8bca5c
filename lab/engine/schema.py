"""What a stand-in plugin knows of a resource type's properties, and what follows from it.

Pure functions of declared properties and plain values: filling in defaults and finding what is
wrong (check), and telling what a change of the inputs means (compare).
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, cast

from lab.engine.values import UNKNOWN, Asset, Props, has_unknown

DEFAULTS = "__defaults"
"""The input in which check notes which properties it filled in, as Pulumi's bridge does."""


def same_value(old: Any, new: Any) -> bool:
    """Plain equality; assets are equal when their digests are."""
    if isinstance(old, Asset) and isinstance(new, Asset):
        return old.digest == new.digest
    return bool(old == new)


def same_json(old: Any, new: Any) -> bool:
    """Whether two texts hold the same JSON document."""
    try:
        return bool(json.loads(old) == json.loads(new))
    except (TypeError, ValueError):
        return bool(old == new)


@dataclass(frozen=True)
class Property:
    """An input property of a resource type.

    `replaces` is the real provider's ForceNew. `computed`: AWS chooses when it is not given, so
    leaving it out changes nothing. `autoname`: made of the resource's name and a random suffix, at
    most that many characters long. `fields`: of an object, or of each object in a list.
    """

    required: bool = False
    replaces: bool = False
    computed: bool = False
    default: Any = None
    autoname: int = 0
    lowercase: bool = False
    unordered: bool = False
    choices: tuple[str, ...] = ()
    fields: Mapping[str, "Property"] = field(default_factory=dict[str, "Property"])
    same: Callable[[Any, Any], bool] = same_value


Properties = Mapping[str, Property]


@dataclass(frozen=True)
class Failure:
    """Something wrong with an input."""

    path: str
    reason: str


class Kind(Enum):
    """How an input differs, as the engine's protocol counts."""

    ADD = 0
    DELETE = 2
    UPDATE = 4


@dataclass(frozen=True)
class Change:
    """One input that differs."""

    path: str
    kind: Kind
    replaces: bool

    @property
    def name(self) -> str:
        """The top-level property."""
        return self.path.split(".", 1)[0].split("[", 1)[0]


def unique_name(name: str, seed: bytes, limit: int) -> str:
    """Pulumi's automatic name: `name-` and seven hexadecimal digits, cut to the limit."""
    suffix = hashlib.sha256(seed + name.encode()).hexdigest()[:7]
    return f"{name[: limit - len(suffix) - 1]}-{suffix}"


def fill_in(
    properties: Properties, inputs: Props, old_inputs: Props, name: str, seed: bytes
) -> Props:
    """The inputs with defaults and automatic names; a name once made is kept."""
    filled = _with_defaults(properties, inputs)
    automatic: list[str] = []
    for key, known in properties.items():
        if known.autoname and key not in inputs:
            automatic.append(key)
            if key in old_inputs and key in old_inputs.get(DEFAULTS, ()):
                filled[key] = old_inputs[key]
            else:
                base = name.lower() if known.lowercase else name
                filled[key] = unique_name(base, seed, known.autoname)
    filled[DEFAULTS] = automatic
    return filled


def _with_defaults(properties: Properties, inputs: Props) -> Props:
    filled = dict(inputs)
    for key, known in properties.items():
        value = filled.get(key)
        if value is None and known.default is not None:
            filled[key] = known.default
        elif isinstance(value, dict) and known.fields:
            filled[key] = _with_defaults(known.fields, cast("Props", value))
        elif isinstance(value, list) and known.fields:
            filled[key] = [
                _with_defaults(known.fields, cast("Props", item))
                if isinstance(item, dict)
                else item
                for item in cast("list[Any]", value)
            ]
    return filled


def find_failures(plugin: str, token: str, properties: Properties, inputs: Props) -> list[Failure]:
    """Properties that are not known or are missing, and values that are not allowed."""
    return list(_failures(plugin, token, properties, inputs, ""))


def _failures(
    plugin: str, token: str, properties: Properties, inputs: Props, prefix: str
) -> Iterator[Failure]:
    for key, value in inputs.items():
        if key.startswith("__"):
            continue
        known = properties.get(key)
        if known is None:
            yield Failure(
                prefix + key,
                f"the lab's {plugin} plugin does not know property {prefix}{key} of {token}; "
                f"known are {', '.join(prefix + name for name in sorted(properties))}",
            )
        elif known.choices and isinstance(value, str) and value not in known.choices:
            yield Failure(
                prefix + key,
                f"{prefix}{key} is {value!r}; allowed are {', '.join(known.choices)}",
            )
        elif known.fields:
            items = cast("list[Any]", value if isinstance(value, list) else [value])
            for item in items:
                if isinstance(item, dict):
                    yield from _failures(
                        plugin, token, known.fields, cast("Props", item), f"{prefix}{key}."
                    )
    for key, known in properties.items():
        if known.required and inputs.get(key) is None:
            yield Failure(prefix + key, f"required property {prefix}{key} of {token} is missing")


def compare(properties: Properties, old: Props, new: Props, state: Props) -> list[Change]:
    """What differs between a resource's last inputs and its new ones.

    `state` answers for what AWS had chosen when it was not given.
    """
    return list(_changes(properties, old, new, state, ""))


def _changes(
    properties: Properties, old: Props, new: Props, state: Props, prefix: str
) -> Iterator[Change]:
    for key in sorted({*old, *new}):
        if key.startswith("__"):
            continue
        known = properties.get(key, Property())
        before, after = old.get(key), new.get(key)
        if known.computed and before is None:
            before = state.get(key)
        if after is None:
            if before is not None and not known.computed:
                yield Change(prefix + key, Kind.DELETE, known.replaces)
        elif before is None:
            yield Change(prefix + key, Kind.ADD, known.replaces or _field_replaces(known, after))
        elif isinstance(before, dict) and isinstance(after, dict):
            inner = state.get(key)
            nested = list(
                _changes(
                    known.fields or {},
                    cast("Props", before),
                    cast("Props", after),
                    cast("Props", inner) if isinstance(inner, dict) else {},
                    f"{prefix}{key}.",
                )
            )
            for change in nested:
                yield Change(change.path, change.kind, change.replaces or known.replaces)
        elif has_unknown(after) or not equal(known, before, after):
            yield Change(prefix + key, Kind.UPDATE, known.replaces)


def _field_replaces(known: Property, value: Any) -> bool:
    """Whether an object that was not there before has a field whose change replaces."""
    if not isinstance(value, dict):
        return False
    return any(known.fields[key].replaces for key in cast("Props", value) if key in known.fields)


def equal(known: Property, old: Any, new: Any) -> bool:
    """Whether two known values mean the same."""
    if known.unordered and isinstance(old, list) and isinstance(new, list):
        return _sorted(cast("list[Any]", old)) == _sorted(cast("list[Any]", new))
    return known.same(old, new)


def _sorted(items: list[Any]) -> list[str]:
    return sorted(json.dumps(item, sort_keys=True, default=repr) for item in items)


def overlay(properties: Properties, inputs: Props, found: Props) -> Props:
    """The inputs as reality has them: what a refresh finds changed of what was set."""
    result = dict(inputs)
    for key, before in inputs.items():
        if key.startswith("__") or key not in found:
            continue
        known = properties.get(key, Property())
        after = found[key]
        if after is None:
            del result[key]
        elif isinstance(before, dict) and isinstance(after, dict) and known.fields:
            result[key] = overlay(known.fields, cast("Props", before), cast("Props", after))
        elif not equal(known, before, after):
            result[key] = after
    return result


def import_inputs(properties: Properties, found: Props) -> Props:
    """Inputs that would describe a resource which was read by its id alone."""
    return {
        key: found[key] for key in properties if found.get(key) not in (None, "", [], {}, UNKNOWN)
    }
