"""AWS Backup: vaults, plans, and what a plan backs up."""

# ruff: noqa: ARG002  the interface gives every type more than it needs

from typing import Any, ClassVar

from lab.engine.aws.base import TAGS, AwsResource, added_and_removed
from lab.engine.aws.cloud import Client, given, items, mapping
from lab.engine.plugin import Call, Gone
from lab.engine.schema import Properties, Property
from lab.engine.values import Props


class _Backup(AwsResource):
    @property
    def backup(self) -> Client:
        return self.cloud.client("backup")

    def retag(self, arn: str, state: Props, inputs: Props) -> None:
        """Bring the tags of a vault or plan to what the inputs say."""
        added, removed = added_and_removed(state, inputs)
        if added:
            self.backup.tag_resource(ResourceArn=arn, Tags=added)
        if removed:
            self.backup.untag_resource(ResourceArn=arn, TagKeyList=removed)

    def tags_of(self, arn: str, state: Props) -> Props:
        """`tags` and `tagsAll` as they are."""
        found = self.backup.list_tags(ResourceArn=arn).get("Tags", {})
        return self.tags_found(dict(found), state)


class Vault(_Backup):
    """aws_backup_vault."""

    token = "aws:backup/vault:Vault"  # noqa: S105  a type's token
    taggable = True
    properties: ClassVar[Properties] = {
        "name": Property(computed=True, replaces=True, autoname=50),
        "kmsKeyArn": Property(computed=True, replaces=True),
        "forceDestroy": Property(default=False),
        **TAGS,
    }
    outputs = ("arn", "recoveryPoints")

    def create(self, inputs: Props, call: Call) -> str:
        self.backup.create_backup_vault(
            BackupVaultName=inputs["name"],
            BackupVaultTags=inputs["tagsAll"],
            **given(inputs, {"kmsKeyArn": "EncryptionKeyArn"}),
        )
        return str(inputs["name"])

    def read(self, resource_id: str, state: Props) -> Props:
        vault = self.backup.describe_backup_vault(BackupVaultName=resource_id)
        return {
            "name": vault["BackupVaultName"],
            "kmsKeyArn": vault.get("EncryptionKeyArn") or "",
            "arn": vault["BackupVaultArn"],
            "recoveryPoints": vault.get("NumberOfRecoveryPoints", 0),
            **self.tags_of(vault["BackupVaultArn"], state),
        }

    def update(
        self,
        resource_id: str,
        state: Props,
        inputs: Props,
        changed: set[str],
        call: Call,
    ) -> None:
        if "tagsAll" in changed:
            self.retag(state["arn"], state, inputs)

    def delete(self, resource_id: str, state: Props, call: Call) -> None:
        # Nothing in the lab makes recovery points that `forceDestroy` would have to delete.
        self.backup.delete_backup_vault(BackupVaultName=resource_id)


LIFECYCLE = {"deleteAfter": "DeleteAfterDays", "coldStorageAfter": "MoveToColdStorageAfterDays"}
RULE = {
    "ruleName": "RuleName",
    "targetVaultName": "TargetBackupVaultName",
    "schedule": "ScheduleExpression",
    "scheduleExpressionTimezone": "ScheduleExpressionTimezone",
    "startWindow": "StartWindowMinutes",
    "completionWindow": "CompletionWindowMinutes",
}


class Plan(_Backup):
    """aws_backup_plan, without copies to other vaults."""

    token = "aws:backup/plan:Plan"  # noqa: S105
    taggable = True
    properties: ClassVar[Properties] = {
        "name": Property(computed=True, replaces=True, autoname=50),
        "rules": Property(
            required=True,
            unordered=True,
            fields={
                "ruleName": Property(required=True),
                "targetVaultName": Property(required=True),
                "schedule": Property(),
                "scheduleExpressionTimezone": Property(default="Etc/UTC"),
                "startWindow": Property(default=60),
                "completionWindow": Property(default=180),
                "lifecycle": Property(
                    fields={"deleteAfter": Property(), "coldStorageAfter": Property()}
                ),
            },
        ),
        **TAGS,
    }
    outputs = ("arn", "version")

    def unsettled(self, changed: set[str]) -> tuple[str, ...]:
        return ("version",) if "rules" in changed else ()

    def _document(self, inputs: Props) -> dict[str, Any]:
        rules: list[dict[str, Any]] = []
        for rule in items(inputs["rules"]):
            lifecycle = given(mapping(rule.get("lifecycle")), LIFECYCLE)
            rules.append({**given(rule, RULE), **({"Lifecycle": lifecycle} if lifecycle else {})})
        return {"BackupPlanName": inputs["name"], "Rules": rules}

    def create(self, inputs: Props, call: Call) -> str:
        made = self.backup.create_backup_plan(
            BackupPlan=self._document(inputs), BackupPlanTags=inputs["tagsAll"]
        )
        return str(made["BackupPlanId"])

    def read(self, resource_id: str, state: Props) -> Props:
        found = self.backup.get_backup_plan(BackupPlanId=resource_id)
        if found.get("DeletionDate"):
            raise Gone(resource_id)
        document = found["BackupPlan"]
        rules: list[Props] = []
        for rule in document["Rules"]:
            lifecycle = given(
                mapping(rule.get("Lifecycle")), {api: name for name, api in LIFECYCLE.items()}
            )
            rules.append(
                {
                    **given(rule, {api: name for name, api in RULE.items()}),
                    **({"lifecycle": lifecycle} if lifecycle else {}),
                }
            )
        return {
            "name": document["BackupPlanName"],
            "rules": rules,
            "arn": found["BackupPlanArn"],
            "version": found["VersionId"],
            **self.tags_of(found["BackupPlanArn"], state),
        }

    def update(
        self,
        resource_id: str,
        state: Props,
        inputs: Props,
        changed: set[str],
        call: Call,
    ) -> None:
        if "rules" in changed:
            self.backup.update_backup_plan(
                BackupPlanId=resource_id, BackupPlan=self._document(inputs)
            )
        if "tagsAll" in changed:
            self.retag(state["arn"], state, inputs)

    def delete(self, resource_id: str, state: Props, call: Call) -> None:
        self.backup.delete_backup_plan(BackupPlanId=resource_id)


CONDITION = {"type": "ConditionType", "key": "ConditionKey", "value": "ConditionValue"}


class Selection(_Backup):
    """aws_backup_selection by tags or by ARN: another choice is another selection."""

    token = "aws:backup/selection:Selection"  # noqa: S105
    properties: ClassVar[Properties] = {
        "name": Property(computed=True, replaces=True, autoname=50),
        "planId": Property(required=True, replaces=True),
        "iamRoleArn": Property(required=True, replaces=True),
        "resources": Property(replaces=True, unordered=True),
        "selectionTags": Property(
            replaces=True,
            unordered=True,
            fields={
                "type": Property(required=True, choices=("STRINGEQUALS",)),
                "key": Property(required=True),
                "value": Property(required=True),
            },
        ),
    }

    def create(self, inputs: Props, call: Call) -> str:
        tags = [given(tag, CONDITION) for tag in items(inputs.get("selectionTags"))]
        selection = {
            "SelectionName": inputs["name"],
            "IamRoleArn": inputs["iamRoleArn"],
            **({"Resources": inputs["resources"]} if inputs.get("resources") else {}),
            **({"ListOfTags": tags} if tags else {}),
        }
        made = self.backup.create_backup_selection(
            BackupPlanId=inputs["planId"], BackupSelection=selection
        )
        return str(made["SelectionId"])

    def read(self, resource_id: str, state: Props) -> Props:
        found = self.backup.get_backup_selection(
            BackupPlanId=state["planId"], SelectionId=resource_id
        )["BackupSelection"]
        names = {api: name for name, api in CONDITION.items()}
        tags = [given(tag, names) for tag in found.get("ListOfTags", [])]
        return {
            "name": found["SelectionName"],
            "planId": state["planId"],
            "iamRoleArn": found["IamRoleArn"],
            "resources": found.get("Resources") or None,
            "selectionTags": tags or None,
        }

    def delete(self, resource_id: str, state: Props, call: Call) -> None:
        self.backup.delete_backup_selection(BackupPlanId=state["planId"], SelectionId=resource_id)


TYPES = (Vault, Plan, Selection)
