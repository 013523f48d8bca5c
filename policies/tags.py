"""Tags: by them one finds what is a stack's, what it costs, and what a destroy left."""

import functools
from typing import Any, cast

import pulumi_aws

from policies.rule import Found, Resource, rule

INSTANCE = "aws:ec2/instance:Instance"


@functools.cache
def can_carry_tags(token: str) -> bool:
    """Whether resources of a type have tags, as the SDK's own class knows."""
    _, path, name = token.split(":")
    module = getattr(cast("Any", pulumi_aws), path.partition("/")[0], None)
    cls = getattr(module, name, None)
    return cls is not None and "tags" in cls._internal_init.__annotations__


@rule()
def whatever_can_carry_tags_says_whose_it_is(resource: Resource) -> Found:
    """Everything carries the tags Project, Stack and Name, and each machine its Role."""
    if not can_carry_tags(resource.type):
        return
    for tag, wanted in {"Project": resource.project, "Stack": resource.stack}.items():
        if (found := resource.get(f"tags.{tag}", "not set")) != wanted:
            yield f"the tag {tag} is {found}; it has to be {wanted}"
    for tag in ("Name", "Role") if resource.type == INSTANCE else ("Name",):
        if not resource.get(f"tags.{tag}"):
            yield f"the tag {tag} is not set"


@rule(INSTANCE)
def a_machines_disk_has_its_machines_tags(machine: Resource) -> Found:
    """The root disk of a machine carries the machine's own tags."""
    disk, own = machine.get("rootBlockDevice.tags", {}), machine.get("tags", {})
    if {**disk} != {**own}:
        yield f"rootBlockDevice.tags are {dict(disk)}; they have to be the machine's, {dict(own)}"
