"""The bucket, from a machine: what is written, read and listed, with one clear error.

Machines may write, read and list, and may not delete: who breaks into a database has no way to its
backups (a key that is written again has its earlier version kept).
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

_client: Any = cast(Any, boto3).client
_CONFIG = Config(
    connect_timeout=5, read_timeout=60, retries={"mode": "standard", "total_max_attempts": 8}
)
MIB = 1024 * 1024
PARTS = 8000
"""S3 takes 10,000 parts of one object."""
SMALLEST_PART = 16 * MIB


class StoreError(Exception):
    """The bucket did not answer, or refused."""


class MissingError(StoreError):
    """There is no such object."""


class ForeignError(StoreError):
    """An object is not what a machine of this program writes."""


class Readable(Protocol):
    """What is uploaded: read until it gives nothing."""

    def read(self, size: int = -1, /) -> bytes:
        """At most so many bytes."""
        ...


@dataclass(frozen=True)
class Object:
    """An object as a list has it."""

    key: str
    size: int


def client(region: str) -> "S3Client":
    """Patient: what it asks for is repeated over about a minute."""
    return _client("s3", region_name=region, config=_CONFIG)


class Store:
    """One bucket."""

    def __init__(self, s3: "S3Client", bucket: str) -> None:
        """Nothing is asked yet."""
        self._s3: Any = s3
        self.bucket = bucket

    def upload(
        self, key: str, content: Readable, expected: int = 0, metadata: Mapping[str, str] = {}
    ) -> None:
        """Writes an object as it is read, in parts, whole or not at all.

        `expected` bytes at most, about: it decides how large the parts are, one of which is in
        memory at a time. What `content.read` raises ends the upload and is raised.
        """
        config = TransferConfig(
            multipart_chunksize=max(SMALLEST_PART, expected // PARTS),
            multipart_threshold=SMALLEST_PART,
            use_threads=False,
        )
        with _errors(f"write s3://{self.bucket}/{key}"):
            self._s3.upload_fileobj(
                content, self.bucket, key, ExtraArgs={"Metadata": dict(metadata)}, Config=config
            )

    def write(self, key: str, content: object) -> None:
        """Writes an object of JSON."""
        body = json.dumps(content, indent=1, sort_keys=True).encode()
        with _errors(f"write s3://{self.bucket}/{key}"):
            self._s3.put_object(
                Bucket=self.bucket, Key=key, Body=body, ContentType="application/json"
            )

    def read(self, key: str) -> dict[str, Any]:
        """An object of JSON. Raises `MissingError`, `ForeignError`."""
        with _errors(f"read s3://{self.bucket}/{key}"):
            body: bytes = self._s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        try:
            return json.loads(body)
        except ValueError:
            message = f"s3://{self.bucket}/{key} is not the JSON that was written"
            raise ForeignError(message) from None

    def open(self, key: str) -> tuple[Readable, Mapping[str, str]]:
        """An object as a stream, and its metadata. Raises `MissingError`.

        A connection that ends while it is read raises botocore's errors.
        """
        with _errors(f"read s3://{self.bucket}/{key}"):
            answer = self._s3.get_object(Bucket=self.bucket, Key=key)
        return answer["Body"], answer["Metadata"]

    def list(self, prefix: str) -> Iterator[Object]:
        """The objects whose keys begin so, in order."""
        for page in self._pages(Prefix=prefix):
            for found in page.get("Contents", []):
                yield Object(found["Key"], found["Size"])

    def folders(self, prefix: str) -> Iterator[str]:
        """The names below a prefix (which ends with a slash, or is empty), in order."""
        for page in self._pages(Prefix=prefix, Delimiter="/"):
            for found in page.get("CommonPrefixes", []):
                yield str(found["Prefix"]).removeprefix(prefix).rstrip("/")

    def _pages(self, **request: str) -> Iterator[dict[str, Any]]:
        with _errors(f"list s3://{self.bucket}/{request['Prefix']}"):
            yield from self._s3.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, **request
            )


class _errors:  # noqa: N801 a context manager
    """Errors of the API as one sentence."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _where: object) -> None:
        if isinstance(error, ClientError):
            code = error.response.get("Error", {}).get("Code", "")
            kind = MissingError if code in ("NoSuchKey", "404") else StoreError
            raise kind(f"could not {self._what}: {error}") from error
        # boto3's own wrapper of failed uploads is no BotoCoreError.
        if isinstance(error, BotoCoreError) or type(error).__module__.startswith("boto3."):
            raise StoreError(f"could not {self._what}: {error}") from error
