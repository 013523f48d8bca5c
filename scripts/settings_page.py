"""Write docs/settings.md: every setting, as the models, Pulumi.yaml and the stack files have it.

python -m scripts.settings_page
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any, Literal, cast, get_args, get_origin

import pulumi
import yaml
from pydantic import BaseModel, SecretStr
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo

from components.settings import Restore, Settings, parse
from scripts.setting_effects import EFFECTS

PROJECT = Path(__file__).parents[1]
PAGE = PROJECT / "docs" / "settings.md"
STACKS = ("dev", "prod", "lab")
TYPES = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    list: "list",
    dict: "object",
    SecretStr: "secret text",
}
_NOWHERE = "nowhere"
WRONG: dict[str, Any] = {
    "network.blockedNetworks": [_NOWHERE],
    "appServers.authorities": [],
    "appServers.environment": {"1": "x"},
    "database.authorities": [],
    "logs.retentionDays": 2,
}
"""Values that are refused, where none follows from the type."""

COLUMNS = ["key", "what it is", "type", "default", "allowed", "a change", "stack files"]
HEAD = """\
# Settings

Written by `make docs` from `components/settings/`, `Pulumi.yaml` and the stack files: change those.

A setting that is wrong is refused before anything is made, with its value, what is allowed and how to set it. Set one with `pulumi config set --path site:appServers.count 3`, take it back with `pulumi config rm --path site:appServers.count`; `pulumi preview --diff` shows what a change would do. "Replaces" is never an outage: load balancers and application servers are replaced by new ones that are ready before the old ones drain, databases one after the other, the primary after it has handed over ([architecture.md](architecture.md)). With one load balancer or one database only, that is a gap.

Below, the last column says what the stack files set; what they leave out has the default.
"""  # noqa: E501  Markdown has a paragraph on a line


@dataclass(frozen=True)
class Setting:
    """One row."""

    path: str
    """`loadBalancers.limits.burst`."""
    field: FieldInfo

    @property
    def type(self) -> Any:
        """Without the None of an optional one, and without what it is annotated with."""
        kinds = [one for one in get_args(self.field.annotation) if one is not NoneType]
        optional = NoneType in get_args(self.field.annotation)
        kind = kinds[0] if optional else self.field.annotation
        while hasattr(kind, "__metadata__"):
            kind = get_args(kind)[0]
        return get_origin(kind) or kind

    @property
    def type_name(self) -> str:
        if self.type is Literal:
            return TYPES[type(get_args(self.field.annotation)[0])]
        return TYPES.get(self.type, "object")

    @property
    def default(self) -> str:
        if self.field.is_required():
            return shown(_declared()[self.path]["default"])
        value = self.field.get_default(call_default_factory=True, validated_data={})
        return "none" if value in (None, [], {}) else shown(value)


def settings(model: type[BaseModel] = Settings, above: str = "") -> Iterator[Setting]:
    """All of them. A point to restore to is one, which a script writes."""
    for name, field in model.model_fields.items():
        path, kind = above + to_camel(name), field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel) and kind is not Restore:
            yield from settings(kind, f"{path}.")
        else:
            yield Setting(path, field)


def shown(value: object) -> str:
    """A value as in a stack file."""
    if isinstance(value, dict) and "secure" in value:
        return "(a secret)"
    text = value if isinstance(value, str) else json.dumps(value)
    return f"`{text}`"


def allowed(setting: Setting) -> str:
    """In the words with which a wrong value is refused."""
    parts = setting.path.split(".")
    wrong = WRONG.get(setting.path, -1 if setting.type in (int, float) else "")
    given: Any = wrong
    for part in reversed(parts[1:]):
        given = {part: given}
    config = {"deletionProtection": "false", parts[0]: json.dumps(given)}
    try:
        parse(config)
    except pulumi.RunError as error:
        said = rf"site:{re.escape(setting.path)}\S* is .*; allowed is (.*)\. Set it"
        if found := re.search(said, str(error)):
            words = re.sub(rf" \({_NOWHERE}.*?\)", "", found[1])
            return re.sub("'(.*?)'", r"`\1`", words)
    return ""


def described() -> dict[str, str]:
    """What Pulumi.yaml says of each setting, by path."""
    known = {setting.path for setting in settings()}
    found: dict[str, str] = {}
    for key, declared in _declared().items():
        text: str = declared["description"]
        if key in known:
            found[key] = text
        else:
            found |= _by_path(key, text.splitlines(), known)
    return found


def _by_path(component: str, lines: list[str], known: set[str]) -> dict[str, str]:
    """`key: text`, what is indented below it, and, where that is of an object, its keys."""
    found: dict[str, str] = {}
    above, current = component, list[str]()
    for line in lines:
        names, colon, rest = line.strip().partition(": ")
        outermost = not line.startswith(" ")
        above = component if outermost else above
        paths = [f"{above}.{name}" for name in names.split(", ")] if colon else []
        if paths and known.issuperset(paths):
            current = paths
            found |= dict.fromkeys(paths, rest)
        elif outermost:  # an object, whose keys follow; or something about several
            current = []
            above = paths[0] if paths else component
        else:
            choice = colon and re.fullmatch(r"[a-z0-9-]+", names)
            more = f"<br>`{names}`: {rest}" if choice else f" {line.strip()}"
            found |= {path: found[path] + more for path in current}
    return found


def _declared() -> dict[str, Any]:
    return yaml.safe_load((PROJECT / "Pulumi.yaml").read_text())["config"]


def _set(stack: str, path: str) -> str:
    """What a stack file sets, if it does."""
    config = yaml.safe_load((PROJECT / f"Pulumi.{stack}.yaml").read_text())["config"]
    first, *rest = path.split(".")
    value: Any = config.get(f"site:{first}")
    for part in rest:
        value = cast("Mapping[str, Any]", value).get(part) if isinstance(value, Mapping) else None
    return "" if value is None else f"{stack} {shown(value)}"


def page() -> str:
    """The whole file."""
    words = described()
    parts, section = [HEAD], ""
    for setting in settings():
        component = setting.path.partition(".")[0]
        if component != section:
            section = component
            parts.append(f"\n## site:{component}\n\n{_row(COLUMNS)}{_row(['---'] * len(COLUMNS))}")
        sets = [said for stack in STACKS if (said := _set(stack, setting.path))]
        parts.append(
            _row(
                [
                    f"`{setting.path.partition('.')[2] or setting.path}`",
                    words.get(setting.path, ""),
                    setting.type_name,
                    setting.default,
                    allowed(setting),
                    str(EFFECTS.get(setting.path, "")),
                    ", ".join(sets),
                ]
            )
        )
    return "".join(parts)


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def main() -> int:
    """Writes the page."""
    argparse.ArgumentParser(
        prog="python -m scripts.settings_page", description=__doc__
    ).parse_args()
    PAGE.write_text(page())
    print(PAGE.relative_to(PROJECT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
