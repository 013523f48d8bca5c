"""IAM roles, their policies and instance profiles."""

# ruff: noqa: ARG002  the interface gives every type more than it needs

import json
import urllib.parse
from typing import Any, ClassVar

from lab.engine.aws.base import TAGS, AwsResource, retag
from lab.engine.aws.cloud import Client, given, items, mapping, tag_list, tag_map
from lab.engine.plugin import Call, Gone
from lab.engine.schema import Properties, Property, same_json
from lab.engine.values import Props


def _policy_text(document: Any) -> str:
    if isinstance(document, str):
        return urllib.parse.unquote(document) if document.startswith("%") else document
    return json.dumps(document)


class _Iam(AwsResource):
    @property
    def iam(self) -> Client:
        return self.cloud.client("iam")


class Role(_Iam):
    """aws_iam_role, without inline or managed policies of its own."""

    token = "aws:iam/role:Role"  # noqa: S105  a type's token
    taggable = True
    properties: ClassVar[Properties] = {
        "assumeRolePolicy": Property(required=True, same=same_json),
        "description": Property(),
        "forceDetachPolicies": Property(default=False),
        "maxSessionDuration": Property(default=3600),
        "name": Property(computed=True, replaces=True, autoname=64),
        "path": Property(default="/", replaces=True),
        "permissionsBoundary": Property(),
        **TAGS,
    }
    outputs = ("arn", "createDate", "uniqueId", "managedPolicyArns", "inlinePolicies")

    def create(self, inputs: Props, call: Call) -> str:
        response = self.iam.create_role(
            RoleName=inputs["name"],
            AssumeRolePolicyDocument=inputs["assumeRolePolicy"],
            Path=inputs["path"],
            MaxSessionDuration=inputs["maxSessionDuration"],
            Tags=tag_list(inputs["tagsAll"]),
            **given(
                inputs, {"description": "Description", "permissionsBoundary": "PermissionsBoundary"}
            ),
        )
        return str(response["Role"]["RoleName"])

    def read(self, resource_id: str, state: Props) -> Props:
        role = self.iam.get_role(RoleName=resource_id)["Role"]
        return {
            "assumeRolePolicy": _policy_text(role["AssumeRolePolicyDocument"]),
            "description": role.get("Description") or None,
            "maxSessionDuration": role.get("MaxSessionDuration", 3600),
            "name": role["RoleName"],
            "path": role["Path"],
            "permissionsBoundary": mapping(role.get("PermissionsBoundary")).get(
                "PermissionsBoundaryArn"
            ),
            "arn": role["Arn"],
            "createDate": str(role["CreateDate"]),
            "uniqueId": role["RoleId"],
            **self.tags_found(tag_map(role.get("Tags")), state),
        }

    def update(
        self,
        resource_id: str,
        state: Props,
        inputs: Props,
        changed: set[str],
        call: Call,
    ) -> None:
        if "assumeRolePolicy" in changed:
            self.iam.update_assume_role_policy(
                RoleName=resource_id, PolicyDocument=inputs["assumeRolePolicy"]
            )
        if changed & {"description", "maxSessionDuration"}:
            self.iam.update_role(
                RoleName=resource_id,
                Description=inputs.get("description", ""),
                MaxSessionDuration=inputs["maxSessionDuration"],
            )
        if "permissionsBoundary" in changed:
            boundary = inputs.get("permissionsBoundary")
            if boundary:
                self.iam.put_role_permissions_boundary(
                    RoleName=resource_id, PermissionsBoundary=boundary
                )
            else:
                self.iam.delete_role_permissions_boundary(RoleName=resource_id)
        if "tagsAll" in changed:
            retag(self.iam, state, inputs, kind="role", RoleName=resource_id)

    def delete(self, resource_id: str, state: Props, call: Call) -> None:
        profiles = self.iam.list_instance_profiles_for_role(RoleName=resource_id)[
            "InstanceProfiles"
        ]
        for profile in profiles:
            self.iam.remove_role_from_instance_profile(
                InstanceProfileName=profile["InstanceProfileName"], RoleName=resource_id
            )
        if state.get("forceDetachPolicies"):
            for policy in self.iam.list_attached_role_policies(RoleName=resource_id)[
                "AttachedPolicies"
            ]:
                self.iam.detach_role_policy(RoleName=resource_id, PolicyArn=policy["PolicyArn"])
            for name in self.iam.list_role_policies(RoleName=resource_id)["PolicyNames"]:
                self.iam.delete_role_policy(RoleName=resource_id, PolicyName=name)
        self.iam.delete_role(RoleName=resource_id)


class RolePolicy(_Iam):
    """aws_iam_role_policy: an inline policy."""

    token = "aws:iam/rolePolicy:RolePolicy"  # noqa: S105
    properties: ClassVar[Properties] = {
        "name": Property(computed=True, replaces=True, autoname=128),
        "policy": Property(required=True, same=same_json),
        "role": Property(required=True, replaces=True),
    }

    def _put(self, inputs: Props) -> None:
        self.iam.put_role_policy(
            RoleName=inputs["role"], PolicyName=inputs["name"], PolicyDocument=inputs["policy"]
        )

    def create(self, inputs: Props, call: Call) -> str:
        self._put(inputs)
        return f"{inputs['role']}:{inputs['name']}"

    def read(self, resource_id: str, state: Props) -> Props:
        role, _, name = resource_id.partition(":")
        found = self.iam.get_role_policy(RoleName=role, PolicyName=name)
        return {"name": name, "role": role, "policy": _policy_text(found["PolicyDocument"])}

    def update(
        self,
        resource_id: str,
        state: Props,
        inputs: Props,
        changed: set[str],
        call: Call,
    ) -> None:
        if "policy" in changed:
            self._put(inputs)

    def delete(self, resource_id: str, state: Props, call: Call) -> None:
        role, _, name = resource_id.partition(":")
        self.iam.delete_role_policy(RoleName=role, PolicyName=name)


class RolePolicyAttachment(_Iam):
    """aws_iam_role_policy_attachment: a managed policy on a role."""

    token = "aws:iam/rolePolicyAttachment:RolePolicyAttachment"  # noqa: S105
    properties: ClassVar[Properties] = {
        "policyArn": Property(required=True, replaces=True),
        "role": Property(required=True, replaces=True),
    }

    def create(self, inputs: Props, call: Call) -> str:
        self.iam.attach_role_policy(RoleName=inputs["role"], PolicyArn=inputs["policyArn"])
        return f"{inputs['role']}/{inputs['policyArn']}"

    def read(self, resource_id: str, state: Props) -> Props:
        role, _, arn = resource_id.partition("/")
        attached = self.iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]
        if all(policy["PolicyArn"] != arn for policy in attached):
            raise Gone(resource_id)
        return {"role": role, "policyArn": arn}

    def delete(self, resource_id: str, state: Props, call: Call) -> None:
        self.iam.detach_role_policy(RoleName=state["role"], PolicyArn=state["policyArn"])


class InstanceProfile(_Iam):
    """aws_iam_instance_profile."""

    token = "aws:iam/instanceProfile:InstanceProfile"  # noqa: S105
    taggable = True
    properties: ClassVar[Properties] = {
        "name": Property(computed=True, replaces=True, autoname=128),
        "path": Property(default="/", replaces=True),
        "role": Property(),
        **TAGS,
    }
    outputs = ("arn", "createDate", "uniqueId")

    def create(self, inputs: Props, call: Call) -> str:
        response = self.iam.create_instance_profile(
            InstanceProfileName=inputs["name"],
            Path=inputs["path"],
            Tags=tag_list(inputs["tagsAll"]),
        )
        return str(response["InstanceProfile"]["InstanceProfileName"])

    def settle(self, resource_id: str, inputs: Props, call: Call) -> None:
        if "role" in inputs:
            self.iam.add_role_to_instance_profile(
                InstanceProfileName=resource_id, RoleName=inputs["role"]
            )

    def read(self, resource_id: str, state: Props) -> Props:
        profile = self.iam.get_instance_profile(InstanceProfileName=resource_id)["InstanceProfile"]
        roles = items(profile.get("Roles"))
        return {
            "name": profile["InstanceProfileName"],
            "path": profile["Path"],
            "role": roles[0]["RoleName"] if roles else None,
            "arn": profile["Arn"],
            "createDate": str(profile["CreateDate"]),
            "uniqueId": profile["InstanceProfileId"],
            **self.tags_found(tag_map(profile.get("Tags")), state),
        }

    def update(
        self,
        resource_id: str,
        state: Props,
        inputs: Props,
        changed: set[str],
        call: Call,
    ) -> None:
        if "role" in changed:
            self._remove_role(resource_id, state)
            self.settle(resource_id, inputs, call)
        if "tagsAll" in changed:
            retag(self.iam, state, inputs, kind="instance_profile", InstanceProfileName=resource_id)

    def _remove_role(self, resource_id: str, state: Props) -> None:
        if state.get("role"):
            self.iam.remove_role_from_instance_profile(
                InstanceProfileName=resource_id, RoleName=state["role"]
            )

    def delete(self, resource_id: str, state: Props, call: Call) -> None:
        self._remove_role(resource_id, self.read(resource_id, state))
        self.iam.delete_instance_profile(InstanceProfileName=resource_id)


TYPES = (Role, RolePolicy, RolePolicyAttachment, InstanceProfile)
