"""Objects in S3, and the assets and archives that become them."""

# ruff: noqa: ARG002  the interface gives every type more than it needs

import base64
import io
import mimetypes
import tarfile
import urllib.parse
import zipfile
from pathlib import Path
from typing import Any, ClassVar, cast

from lab.engine.aws.base import TAGS
from lab.engine.aws.cloud import given, tag_list, tag_map
from lab.engine.aws.s3 import S3Resource
from lab.engine.plugin import Call, Gone, PluginError
from lab.engine.schema import Failure, Properties, Property
from lab.engine.values import Asset, Props

HEADERS = {
    "cacheControl": "CacheControl",
    "contentDisposition": "ContentDisposition",
    "contentEncoding": "ContentEncoding",
    "contentType": "ContentType",
    "metadata": "Metadata",
    "serverSideEncryption": "ServerSideEncryption",
    "storageClass": "StorageClass",
}


class BucketObjectv2(S3Resource):
    """aws_s3_object: new content is uploaded under the same key, another key is another object."""

    token = "aws:s3/bucketObjectv2:BucketObjectv2"  # noqa: S105
    taggable = True
    properties: ClassVar[Properties] = {
        "bucket": Property(required=True, replaces=True),
        "key": Property(computed=True, replaces=True, autoname=1024),
        "content": Property(),
        "contentBase64": Property(),
        "source": Property(),
        "sourceHash": Property(),
        "etag": Property(computed=True),
        "forceDestroy": Property(default=False),
        **{name: Property(computed=True) for name in HEADERS},
        **TAGS,
    }
    outputs = ("arn", "versionId")

    def validate(self, inputs: Props) -> list[Failure]:
        given_here = [name for name in ("content", "contentBase64", "source") if name in inputs]
        if len(given_here) > 1:
            return [Failure(given_here[0], f"give one of {', '.join(given_here)}")]
        return []

    def unsettled(self, changed: set[str]) -> tuple[str, ...]:
        content = {"content", "contentBase64", "source", "sourceHash", "etag"}
        return ("versionId", "etag") if changed & content else ()

    def create(self, inputs: Props, call: Call) -> str:
        self._upload(inputs)
        return f"{inputs['bucket']}/{inputs['key']}"

    def _upload(self, inputs: Props) -> None:
        headers = given(inputs, HEADERS)
        guessed, _ = mimetypes.guess_type(inputs["key"])
        if "ContentType" not in headers and guessed:
            headers["ContentType"] = guessed
        tags = "&".join(
            f"{urllib.parse.quote(key)}={urllib.parse.quote(value)}"
            for key, value in inputs["tagsAll"].items()
        )
        self.s3.put_object(
            Bucket=inputs["bucket"],
            Key=inputs["key"],
            Body=_content(inputs),
            **({"Tagging": tags} if tags else {}),
            **headers,
        )

    def read(self, resource_id: str, state: Props) -> Props:
        bucket, _, key = resource_id.partition("/")
        head = self.s3.head_object(Bucket=bucket, Key=key)
        tags = self.s3.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]
        version = head.get("VersionId")
        return {
            "bucket": bucket,
            "key": key,
            "etag": head["ETag"].strip('"'),
            "contentType": head.get("ContentType"),
            "storageClass": head.get("StorageClass", "STANDARD"),
            **given(
                {parameter: head.get(parameter) for parameter in HEADERS.values()},
                {
                    "CacheControl": "cacheControl",
                    "ContentDisposition": "contentDisposition",
                    "ContentEncoding": "contentEncoding",
                    "ServerSideEncryption": "serverSideEncryption",
                },
            ),
            **({"metadata": head["Metadata"]} if head.get("Metadata") else {}),
            "arn": f"arn:aws:s3:::{bucket}/{key}",
            "versionId": version if version not in (None, "null") else "",
            **self.tags_found(tag_map(tags), state),
        }

    def update(
        self,
        resource_id: str,
        state: Props,
        inputs: Props,
        changed: set[str],
        call: Call,
    ) -> None:
        if changed - {"tags", "tagsAll", "forceDestroy"}:
            self._upload(inputs)
        elif "tagsAll" in changed:
            bucket, _, key = resource_id.partition("/")
            self.s3.put_object_tagging(
                Bucket=bucket, Key=key, Tagging={"TagSet": tag_list(inputs["tagsAll"])}
            )

    def delete(self, resource_id: str, state: Props, call: Call) -> None:
        bucket, _, key = resource_id.partition("/")
        page = self.s3.list_object_versions(Bucket=bucket, Prefix=key)
        found = page.get("Versions", []) + page.get("DeleteMarkers", [])
        mine = [item for item in found if item["Key"] == key]
        if not mine:
            raise Gone(resource_id)
        for item in mine:
            self.s3.delete_object(Bucket=bucket, Key=key, VersionId=item["VersionId"])


def _content(inputs: Props) -> bytes:
    if "content" in inputs:
        return str(inputs["content"]).encode()
    if "contentBase64" in inputs:
        return base64.b64decode(inputs["contentBase64"])
    source = inputs.get("source")
    if source is None:
        return b""
    if not isinstance(source, Asset):
        message = "source of aws:s3/bucketObjectv2:BucketObjectv2 must be an asset or an archive"
        raise PluginError(message)
    return _archive(source, inputs["key"]) if source.is_archive else _asset(source)


def _asset(asset: Asset) -> bytes:
    if path := asset.get("path"):
        try:
            return Path(path).read_bytes()
        except OSError as error:
            message = f"cannot read the object's source {path}: {error.strerror}"
            raise PluginError(message) from error
    if uri := asset.get("uri"):
        message = f"the lab's aws plugin does not fetch remote assets such as {uri}"
        raise PluginError(message)
    return asset.get("text").encode()


def _archive(archive: Asset, key: str) -> bytes:
    """An archive as it is when it is one file; else packed, as zip unless the key says tar."""
    path = archive.get("path")
    if path and Path(path).is_file():
        return _asset(archive)
    members = dict(_members(archive, Path()))
    buffer = io.BytesIO()
    if key.endswith((".tar", ".tar.gz", ".tgz")):
        mode = "w" if key.endswith(".tar") else "w:gz"
        with tarfile.open(fileobj=buffer, mode=cast("Any", mode)) as tar:
            for name, data in sorted(members.items()):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    else:
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
            for name, data in sorted(members.items()):
                packed.writestr(zipfile.ZipInfo(name), data)
    return buffer.getvalue()


def _members(archive: Asset, below: Path) -> list[tuple[str, bytes]]:
    path = archive.get("path")
    if path:
        folder = Path(path)
        files = [item for item in sorted(folder.rglob("*")) if item.is_file()]
        return [(str(below / item.relative_to(folder)), item.read_bytes()) for item in files]
    found: list[tuple[str, bytes]] = []
    for name, item in cast("Props", dict(archive.fields).get("assets", {})).items():
        if not isinstance(item, Asset):
            continue
        inner = below / name
        found += _members(item, inner) if item.is_archive else [(str(inner), _asset(item))]
    return found


TYPES = (BucketObjectv2,)
