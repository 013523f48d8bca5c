"""What a rule is: a function that looks at a resource, or at a whole stack, and says what is wrong.

Its name is the policy's name, the first line of its docstring the sentence that an operator reads.
Rules see the inputs that the program gave; what only `up` will know raises when it is looked at,
and the rule is then left for `up`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

LOAD_BALANCER = "load-balancer"
"""The only role that the internet reaches."""


@dataclass(frozen=True)
class Resource:
    """A resource as the engine or a test has it."""

    type: str
    """Pulumi's token: `aws:ec2/instance:Instance`."""
    urn: str
    properties: Mapping[str, Any]
    protected: bool = False
    refers: Mapping[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])
    """By property: the URNs of the resources that its value comes from."""

    @property
    def name(self) -> str:
        """In the program."""
        return self.urn.rpartition("::")[2]

    @property
    def stack(self) -> str:
        return self.urn.split("::")[0].removeprefix("urn:pulumi:")

    @property
    def project(self) -> str:
        return self.urn.split("::")[1]

    def get(self, path: str, default: Any = None) -> Any:
        """The value at a path such as `metadataOptions.httpTokens`; the default if any is not."""
        value: Any = self.properties
        for part in path.split("."):
            value = value.get(part) if value is not None else None
        if isinstance(value, float) and value.is_integer():
            return int(value)  # the engine has floats alone
        return default if value is None else value

    @property
    def role(self) -> str:
        """Of the machines that it is of, by its tag."""
        return self.get("tags.Role", "")


Stack = Sequence[Resource]
Found = Iterator[str]
"""Sentences: which property, its value, what is allowed."""
FoundInStack = Iterator[tuple[Resource, str]]


@dataclass(frozen=True)
class Rule:
    """About resources of some types, one at a time: refused before they are made."""

    look: Callable[[Resource], Found]
    types: frozenset[str]
    """Empty for all of AWS's."""

    @property
    def name(self) -> str:
        return name_of(self.look)

    @property
    def says(self) -> str:
        return says(self.look)

    def applies(self, resource: Resource) -> bool:
        """Whether the resource is of a type that the rule is about."""
        return resource.type in self.types if self.types else resource.type.startswith("aws:")

    def breaches(self, resources: Stack) -> FoundInStack:
        """All that is wrong with a stack."""
        for resource in filter(self.applies, resources):
            for found in self.look(resource):
                yield resource, found


@dataclass(frozen=True)
class StackRule:
    """About how resources belong together: refused in the preview."""

    look: Callable[[Stack], FoundInStack]
    types: frozenset[str]

    @property
    def name(self) -> str:
        return name_of(self.look)

    @property
    def says(self) -> str:
        return says(self.look)

    def applies(self, resource: Resource) -> bool:
        """Whether the rule says something of resources of this type."""
        return resource.type in self.types

    def breaches(self, resources: Stack) -> FoundInStack:
        """All that is wrong with a stack."""
        return self.look(resources)


AnyRule = Rule | StackRule
ALL: list[AnyRule] = []
Look = TypeVar("Look", bound=Callable[..., Any])


def name_of(look: Callable[..., Any]) -> str:
    """A policy's name, as Pulumi writes them."""
    return look.__name__.replace("_", "-")


def says(look: Callable[..., Any]) -> str:
    """The first paragraph of the docstring, on one line."""
    return " ".join((look.__doc__ or "").split("\n\n")[0].split())


def rule(*types: str) -> Callable[[Callable[[Resource], Found]], Callable[[Resource], Found]]:
    """Registers a rule about resources of these types, of all if there are none."""

    def register(look: Callable[[Resource], Found]) -> Callable[[Resource], Found]:
        ALL.append(Rule(look, frozenset(types)))
        return look

    return register


def stack_rule(*types: str) -> Callable[[Callable[[Stack], FoundInStack]], Any]:
    """Registers a rule about resources of these types and what else the stack has."""

    def register(look: Callable[[Stack], FoundInStack]) -> Callable[[Stack], FoundInStack]:
        ALL.append(StackRule(look, frozenset(types)))
        return look

    return register


def of_type(stack: Stack, kind: str) -> list[Resource]:
    """The stack's resources of a type."""
    return [resource for resource in stack if resource.type == kind]
