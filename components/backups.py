"""Where backups are kept, for how long, and who may write them; what is backed up is in `hosts`.

Two kinds, of which neither needs the other: dumps and binary logs in a bucket, from which any
second of the retention can be had again, and AWS Backup's snapshots of the data volumes.
"""

import json
import math
import secrets
from collections.abc import Sequence

import pulumi
import pulumi_aws as aws
from pulumi_command import local

from components import settings
from components.bucket import close_to_the_world
from components.foundation import Foundation
from components.policies import Statement, document
from components.site import Site

PARAMETER = "database/backups"
"""What the machines follow: `hosts.database.backup.schedule.Settings`."""
_AWS_BACKUP = "service-role/AWSBackupServiceRolePolicyForBackup"
_ORPHANS = 2
"""Days after which parts of an upload that was never finished are removed."""
_EARLIER = 7
"""Days for which what was written over or removed can be had back."""
_START_WITHIN, _DONE_WITHIN = 60, 24 * 60
"""Minutes that AWS Backup may take to begin, and to be done."""


class Backups(pulumi.ComponentResource):
    """A bucket and a vault.

    With `final_backup` they outlive the stack: a bucket that `pulumi destroy` lets go of keeps its
    encryption, its policy and its life cycle. A new stack of the same name makes a bucket of its
    own, so its name ends with something that no other has.
    """

    def __init__(
        self,
        *,
        site: Site,
        settings: settings.Backups,
        restore: settings.Restore | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("site:backups:Backups", "backups", None, opts)
        self._site = site
        self._settings = settings
        self._restore = restore
        keep = settings.final_backup
        self._child = pulumi.ResourceOptions(parent=self)
        self._kept = pulumi.ResourceOptions(parent=self, retain_on_delete=keep)
        self.volume_tags = {"Backup": site.name("database")}
        """Of the volumes that are to be in the vault."""
        self.parameter = site.parameter(PARAMETER)
        self.bucket = self._bucket(keep=keep)
        self._followed_settings()
        if settings.snapshots:
            self._snapshots()
        self.register_outputs({"bucket": self.bucket})

    @property
    def line(self) -> str:
        """The history that is being written: see `hosts.database.backup.catalog`."""
        return f"database-{self._restore.id}" if self._restore else "database"

    @property
    def may(self) -> list[pulumi.Input[Statement]]:
        """What the database machines may do: write, read and list, and delete nothing."""
        return [
            self.bucket.apply(self._objects),
            self.bucket.apply(self._list),
            *self._former(),
        ]

    def _objects(self, bucket: str) -> Statement:
        return {
            "Sid": "Backups",
            "Effect": "Allow",
            "Action": ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"],
            "Resource": f"{self._arn(bucket)}/database*",
            # Never into a bucket of somebody else's who took the name.
            "Condition": {"StringEquals": {"aws:ResourceAccount": self._site.account}},
        }

    def _former(self) -> list[Statement]:
        """What is restored from is only read."""
        if self._restore is None:
            return []
        return [
            {
                "Sid": "RestoredFrom",
                "Effect": "Allow",
                "Action": "s3:GetObject",
                "Resource": f"{self._arn(self._restore.bucket)}/database*",
            }
        ]

    def _list(self, bucket: str) -> Statement:
        readable = {bucket, *([self._restore.bucket] if self._restore else [])}
        return {
            "Sid": "ListBackups",
            "Effect": "Allow",
            "Action": "s3:ListBucket",
            "Resource": [self._arn(name) for name in sorted(readable)],
        }

    def _arn(self, bucket: str) -> str:
        return self._site.arn("s3", bucket, region=False, account=False)

    def before_destroy(
        self, foundation: Foundation, after: Sequence[pulumi.Resource], parent: pulumi.Resource
    ) -> pulumi.Resource:
        """The final backup: taken when this resource is deleted, which is before all of `after`.

        What is drained before it depends on it.
        """
        environment: dict[str, pulumi.Input[str]] = {
            "SITE_TABLE": foundation.table,
            "SITE_REGION": self._site.region,
            "SITE_BUCKET": self.bucket,
            "SITE_LINE": self.line,
            "SITE_FINAL_BACKUP": "yes" if self._settings.final_backup else "no",
        }
        if profile := aws.config.profile:
            environment["AWS_PROFILE"] = profile
        return local.Command(
            "final-backup",
            create="true",
            delete=".venv/bin/python -m scripts.backup final",
            environment=environment,
            opts=pulumi.ResourceOptions(
                parent=parent, depends_on=[*after, self], protect=self._site.deletion_protection
            ),
        )

    def _unique(self) -> pulumi.Output[str]:
        """Eight hexadecimal digits, made once."""
        stash = pulumi.Stash(
            "backups",
            input=secrets.token_hex(4),
            opts=pulumi.ResourceOptions(parent=self, ignore_changes=["input"]),
        )
        return stash.output

    def _bucket(self, *, keep: bool) -> pulumi.Output[str]:
        self._suffix = self._unique()
        bucket = aws.s3.Bucket(
            "backups",
            bucket=pulumi.Output.format("{}-{}", self._site.name("backups"), self._suffix),
            force_destroy=not keep,
            tags=self._site.tags("backups"),
            opts=pulumi.ResourceOptions(
                parent=self, retain_on_delete=keep, protect=self._site.deletion_protection
            ),
        )
        close_to_the_world("backups", bucket.bucket, bucket.bucket.apply(self._arn), self._kept)
        versioned = aws.s3.BucketVersioning(
            "backups",
            bucket=bucket.bucket,
            versioning_configuration={"status": "Enabled"},
            opts=self._kept,
        )
        aws.s3.BucketLifecycleConfiguration(
            "backups",
            bucket=bucket.bucket,
            rules=[
                {
                    "id": "retention",
                    "status": "Enabled",
                    "filter": {"prefix": ""},
                    "expiration": {"days": self._days()},
                    "noncurrent_version_expiration": {"noncurrent_days": _EARLIER},
                    "abort_incomplete_multipart_upload": {"days_after_initiation": _ORPHANS},
                }
            ],
            opts=pulumi.ResourceOptions(parent=self, depends_on=[versioned], retain_on_delete=keep),
        )
        return bucket.bucket

    def _days(self) -> int:
        """For the first second of the retention the full backup before it is needed, too."""
        return self._settings.retention_days + math.ceil(self._settings.every / 24) + 1

    def _followed_settings(self) -> None:
        chosen = self._settings
        aws.ssm.Parameter(
            "backups-settings",
            name=self.parameter,
            type="String",
            value=self.bucket.apply(
                lambda bucket: json.dumps(
                    {
                        "bucket": bucket,
                        "at": chosen.at,
                        "every": chosen.every,
                        "ship_every": chosen.ship_every,
                        "verify": chosen.verify,
                    }
                )
            ),
            tags=self._site.tags("backups-settings", "database"),
            opts=self._child,
        )

    def _snapshots(self) -> None:
        site, chosen = self._site, self._settings
        vault = aws.backup.Vault(
            "backups",
            name=pulumi.Output.format("{}-{}", site.name("backups")[:41], self._suffix),
            # The final backup is the one in the bucket; snapshots go with the stack.
            force_destroy=not site.deletion_protection,
            tags=site.tags("backups"),
            opts=pulumi.ResourceOptions(parent=self, protect=site.deletion_protection),
        )
        role = aws.iam.Role(
            "backups",
            name=site.name("backups"),
            assume_role_policy=document([_trust_aws_backup()]),
            tags=site.tags("backups"),
            opts=self._child,
        )
        # AWS's own, which it changes when its service needs something else.
        attached = aws.iam.RolePolicyAttachment(
            "backups",
            role=role.name,
            policy_arn=f"arn:{site.partition}:iam::aws:policy/{_AWS_BACKUP}",
            opts=self._child,
        )
        hour, minute = (int(part) for part in chosen.at.split(":"))
        plan = aws.backup.Plan(
            "backups",
            name=site.name("backups"),
            rules=[
                {
                    "rule_name": "daily",
                    "target_vault_name": vault.name,
                    "schedule": f"cron({minute} {hour} * * ? *)",
                    "start_window": _START_WITHIN,
                    "completion_window": _DONE_WITHIN,
                    "lifecycle": {"delete_after": chosen.retention_days},
                }
            ],
            tags=site.tags("backups"),
            opts=self._child,
        )
        ((key, value),) = self.volume_tags.items()
        aws.backup.Selection(
            "backups",
            name=site.name("backups")[:50],
            plan_id=plan.id,
            iam_role_arn=role.arn,
            selection_tags=[{"type": "STRINGEQUALS", "key": key, "value": value}],
            opts=pulumi.ResourceOptions(parent=self, depends_on=[attached]),
        )


def _trust_aws_backup() -> Statement:
    return {
        "Effect": "Allow",
        "Action": "sts:AssumeRole",
        "Principal": {"Service": "backup.amazonaws.com"},
    }
