"""What machines of all roles share: image, coordination table, bucket of programs, logs."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import pulumi
import pulumi_aws as aws

from components import settings
from components.bucket import close_to_the_world
from components.policies import Statement, coordinate
from components.site import Site

PROJECT = Path()
"""Of the program: Pulumi runs it in its own folder, wherever this package is."""
_BUILT = Path(".build/bundles")


@dataclass(frozen=True)
class Programs:
    """Programs for a role's machines: a tar.gz in the bucket, named by its content."""

    key: str
    sha256: str
    object: aws.s3.BucketObjectv2


class Foundation(pulumi.ComponentResource):
    """Names of table and bucket are plain values, so that user data is whole in every preview."""

    def __init__(
        self,
        name: str,
        *,
        site: Site,
        settings: settings.Machines,
        logs: settings.Logs,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("site:foundation:Foundation", name, None, opts)
        self._site = site
        self._child = pulumi.ResourceOptions(parent=self)
        self._kept = pulumi.ResourceOptions(parent=self, protect=site.deletion_protection)
        self.settings = settings
        self.image_id = self._image(settings)
        self.table = self._table()
        self.bucket = self._bucket()
        self._logs(logs)
        self.register_outputs({"table": self.table, "bucket": self.bucket})

    def _image(self, settings: settings.Machines) -> pulumi.Output[str]:
        """The newest image of the setting's name when the setting was last changed.

        The stash keeps the image it was made with: a newer one shows in a preview as a change of
        the stash's input and replaces no machine; `pulumi up --replace` with the stash's URN takes
        it. (`ignore_changes` on the machines would keep the old image when the setting changes.)
        """
        wanted = f"{settings.image_name} of {settings.image_owner} for {settings.architecture}"
        try:
            found = aws.ec2.get_ami(
                most_recent=True,
                owners=[settings.image_owner],
                filters=[
                    {"name": "name", "values": [settings.image_name]},
                    {"name": "architecture", "values": [settings.architecture]},
                ],
            )
        except Exception as error:  # noqa: BLE001 an invoke raises no type of its own
            msg = (
                f"no machine image {wanted} in {self._site.region}: set site:machines.image,"
                " imageOwner and architecture to one that is there with `pulumi config set --path`."
                f" AWS says: {error}"
            )
            raise pulumi.RunError(msg) from None
        stash = pulumi.Stash(
            "image",
            input=found.id,
            opts=pulumi.ResourceOptions(parent=self, replacement_trigger=wanted),
        )
        return stash.output

    def _table(self) -> str:
        aws.dynamodb.Table(
            "coordination",
            name=self._site.name("coordination"),
            billing_mode="PAY_PER_REQUEST",
            hash_key="id",
            attributes=[{"name": "id", "type": "S"}],
            deletion_protection_enabled=self._site.deletion_protection,
            tags=self._site.tags("coordination"),
            opts=self._kept,
        )
        return self._site.name("coordination")

    def _logs(self, settings: settings.Logs) -> None:
        """Where the last words of a machine stay that is gone."""
        aws.cloudwatch.LogGroup(
            "logs",
            name=self._site.log_group,
            retention_in_days=settings.retention_days,
            tags=self._site.tags("logs"),
            opts=self._child,
        )

    def coordinate(self, *keys: str) -> Statement:
        """Leave to read and write these items of the coordination table."""
        return coordinate(self._site, self.table, keys)

    def _bucket(self) -> str:
        # Bucket names are the world's: the account and region make this one ours.
        name = self._site.name(f"programs-{self._site.account}-{self._site.region}")
        self.bucket_arn = self._site.arn("s3", name, region=False, account=False)
        bucket = aws.s3.Bucket(
            "programs",
            bucket=name,
            force_destroy=True,  # its objects outlive their resources
            tags=self._site.tags("programs"),
            opts=self._kept,
        )
        close_to_the_world("programs", bucket.id, self.bucket_arn, self._child)
        self._bucket_id = bucket.id
        return name

    def programs(self, name: str, content: bytes, role: str, parent: pulumi.Resource) -> Programs:
        """Puts an archive into the bucket for a role. The same content is the same object."""
        sha256 = hashlib.sha256(content).hexdigest()
        key = f"{name}-{sha256}.tar.gz"
        file = PROJECT / _BUILT / key
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            partial = file.with_suffix(".partial")
            partial.write_bytes(content)
            partial.replace(file)
        stored = aws.s3.BucketObjectv2(
            name,
            bucket=self._bucket_id,
            key=key,
            source=pulumi.FileAsset(str(_BUILT / key)),
            content_type="application/gzip",
            tags=self._site.tags(name, role),
            # After an update that failed, the former object waits to be deleted while the program
            # goes back to it: under the same key, the new one would be deleted in its stead.
            opts=pulumi.ResourceOptions(parent=parent, retain_on_delete=True),
        )
        return Programs(key, sha256, stored)
