"""The rules as a policy pack: `pulumi preview --policy-pack policies`.

The engine starts it in this folder and asks about each resource before it is made, and about the
whole stack at the end.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pulumi_policy import (
    EnforcementLevel,
    Policy,
    PolicyPack,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    StackValidationArgs,
    StackValidationPolicy,
)
from pulumi_policy.proxy import UnknownValueError

HERE = Path(__file__).resolve().parent
# Started in this folder, Python looks for modules here; they are known from one above.
sys.path[:] = [str(HERE.parent), *(path for path in sys.path if Path(path).resolve() != HERE)]

from policies.rule import Resource, Rule, StackRule  # noqa: E402
from policies.rules import RULES  # noqa: E402


def one(rule: Rule) -> Policy:
    """A rule about one resource."""

    def validate(args: ResourceValidationArgs, report: ReportViolation) -> None:
        resource = Resource(args.resource_type, args.urn, args.props, args.opts.protect)
        if not rule.applies(resource):
            return
        try:
            for found in rule.look(resource):
                report(found, None)
        except UnknownValueError:
            args.not_applicable("what it looks at is known during `up` only")

    return ResourceValidationPolicy(rule.name, rule.says, validate)


def whole(rule: StackRule) -> Policy:
    """A rule about a stack."""

    def validate(args: StackValidationArgs, report: ReportViolation) -> None:
        stack = [
            Resource(
                each.resource_type,
                each.urn,
                each.props,
                each.opts.protect,
                _referred(each.property_dependencies),
            )
            for each in args.resources
        ]
        try:
            for resource, found in rule.look(stack):
                report(found, resource.urn)
        except UnknownValueError:
            args.not_applicable("what it looks at is known during `up` only")

    return StackValidationPolicy(rule.name, rule.says, validate)


def _referred(dependencies: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    return {name: frozenset(of.urn for of in several) for name, several in dependencies.items()}


PolicyPack(
    name="site",
    enforcement_level=EnforcementLevel.MANDATORY,
    policies=[one(rule) if isinstance(rule, Rule) else whole(rule) for rule in RULES],
)
