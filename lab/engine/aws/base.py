"""What the aws resource types have in common: the cloud, and tags as the real plugin keeps them."""

# ruff: noqa: ARG002  the interface gives every type more than it needs

from typing import ClassVar

from lab.engine.aws.cloud import Client, Cloud, tag_list
from lab.engine.plugin import Call, Resource
from lab.engine.schema import Properties, Property
from lab.engine.values import UNKNOWN, Props, has_unknown

TAGS: Properties = {"tags": Property(), "tagsAll": Property(computed=True)}


class AwsResource(Resource):
    """A type that lives in one account and region."""

    taggable: ClassVar[bool] = False

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud

    @property
    def ec2(self) -> Client:
        return self.cloud.ec2

    def prepare(self, inputs: Props) -> Props:
        """Merge the provider's default tags under the resource's own, as `tagsAll`."""
        if not self.taggable:
            return inputs
        own = inputs.get("tags", {})
        merged = UNKNOWN if has_unknown(own) else {**self.cloud.default_tags, **own}
        return {**inputs, "tagsAll": merged}

    def tags_found(self, tags: dict[str, str], state: Props) -> Props:
        """`tags` and `tagsAll` of the tags that AWS has; default tags are only in the latter."""
        own = state.get("tags", {})
        defaults = self.cloud.default_tags
        kept = {k: v for k, v in tags.items() if k in own or defaults.get(k) != v}
        return {"tagsAll": tags, "tags": kept if kept or "tags" in state else None}


def added_and_removed(old: Props, new: Props) -> tuple[dict[str, str], list[str]]:
    """Which tags to set and which keys to remove, from two states' tagsAll."""
    before, after = old.get("tagsAll", {}), new.get("tagsAll", {})
    changed = {key: value for key, value in after.items() if before.get(key) != value}
    return changed, sorted(set(before) - set(after))


def retag(
    client: Client, state: Props, inputs: Props, *, kind: str = "resource", **which: str
) -> None:
    """Bring the tags of one thing (`which`) to what the inputs say: tag_KIND and untag_KIND."""
    added, removed = added_and_removed(state, inputs)
    if added:
        getattr(client, f"tag_{kind}")(Tags=tag_list(added), **which)
    if removed:
        getattr(client, f"untag_{kind}")(TagKeys=removed, **which)


class Ec2Resource(AwsResource):
    """A type of the EC2 API: they are all tagged alike."""

    taggable = True
    kind: ClassVar[str] = ""
    """Its name in tag specifications."""

    def specification(self, inputs: Props) -> list[dict[str, object]]:
        """Tags for the call that creates it."""
        tags = inputs.get("tagsAll")
        return [{"ResourceType": self.kind, "Tags": tag_list(tags)}] if tags else []

    def retag(self, resource_id: str, state: Props, inputs: Props) -> None:
        """Bring its tags to what the inputs say."""
        changed, removed = added_and_removed(state, inputs)
        if changed:
            self.ec2.create_tags(Resources=[resource_id], Tags=tag_list(changed))
        if removed:
            self.ec2.delete_tags(Resources=[resource_id], Tags=[{"Key": key} for key in removed])

    def update(
        self,
        resource_id: str,
        state: Props,
        inputs: Props,
        changed: set[str],
        call: Call,
    ) -> None:
        """Tags are all that most EC2 types can change."""
        if "tagsAll" in changed:
            self.retag(resource_id, state, inputs)
