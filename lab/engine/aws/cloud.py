"""The AWS API as the resource types see it: clients made on demand, tags, waiting, errors."""

import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast

from lab.engine.plugin import Gone, PluginError
from lab.engine.values import Props

POLL = 0.25  # seconds between two looks at something that changes by itself

_GONE = {
    "404",
    "NoSuchBucket",
    "NoSuchBucketPolicy",
    "NoSuchEntity",
    "NoSuchHostedZone",
    "NoSuchKey",
    "NoSuchLifecycleConfiguration",
    "NoSuchPublicAccessBlockConfiguration",
    "OwnershipControlsNotFoundError",
    "ParameterNotFound",
    "ResourceNotFoundException",
    "ServerSideEncryptionConfigurationNotFoundError",
}


class Client(Protocol):
    """A boto3 client: its methods take keywords and give a response."""

    def __getattr__(self, name: str) -> Callable[..., Any]: ...


class Cloud:
    """One account and region, as the provider's configuration and the environment name them."""

    def __init__(self) -> None:
        self.region = ""
        self.default_tags: dict[str, str] = {}
        self._clients: dict[str, Client] = {}
        self._lock = threading.RLock()
        self._account = ""

    def configure(self, region: str, default_tags: Mapping[str, str]) -> None:
        """Set what `aws:region` and `aws:defaultTags` say. Raises PluginError without a region."""
        environment = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        self.region = region or environment or ""
        if not self.region:
            message = "aws:region is not set: run `pulumi config set aws:region REGION`"
            raise PluginError(message)
        self.default_tags = dict(default_tags)

    def client(self, service: str) -> Client:
        """The client of one service."""
        with self._lock:
            if service not in self._clients:
                import boto3  # noqa: PLC0415  a fifth of a second that most previews do not need
                from botocore.config import Config  # noqa: PLC0415

                config = Config(
                    retries={"mode": "standard", "max_attempts": 5},
                    max_pool_connections=64,
                    s3={"addressing_style": "path"},
                )
                self._clients[service] = cast("Any", boto3).client(
                    service, region_name=self.region, config=config
                )
            return self._clients[service]

    @property
    def ec2(self) -> Client:
        return self.client("ec2")

    @property
    def account(self) -> str:
        """The account's number."""
        with self._lock:
            if not self._account:
                self._account = self.client("sts").get_caller_identity()["Account"]
            return self._account

    def arn(self, service: str, resource: str) -> str:
        """The ARN of a regional resource of this account."""
        return f"arn:aws:{service}:{self.region}:{self.account}:{resource}"


def wait_until(what: str, timeout: float, condition: Callable[[], bool]) -> None:
    """Look until it holds. Raises PluginError with `what` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            message = f"waited {timeout:.0f} s for {what}"
            raise PluginError(message)
        time.sleep(POLL)


def explain(error: Exception) -> Exception:
    """An error of the AWS API as one sentence, or as Gone."""
    from botocore import exceptions  # noqa: PLC0415

    if isinstance(error, exceptions.ClientError):
        response = cast("dict[str, Any]", error.response)
        code = str(response.get("Error", {}).get("Code", ""))
        text = str(response.get("Error", {}).get("Message", "")).strip()
        if code in _GONE or code.endswith((".NotFound", "NotFound")):
            return Gone(f"{code}: {text}")
        return PluginError(f"{error.operation_name}: {code}: {text}")
    if isinstance(error, exceptions.EndpointConnectionError):
        endpoint = os.environ.get("AWS_ENDPOINT_URL", "AWS")
        return PluginError(f"no answer from {endpoint}: {error}")
    if isinstance(error, exceptions.BotoCoreError):
        return PluginError(" ".join(str(error).split()))
    return error


def tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Tags in the form of most AWS APIs."""
    return [{"Key": key, "Value": value} for key, value in sorted(tags.items())]


def tag_map(tags: list[dict[str, str]] | None) -> dict[str, str]:
    """The tags a user set, of AWS's list."""
    return {tag["Key"]: tag["Value"] for tag in tags or [] if not tag["Key"].startswith("aws:")}


def only(items: list[Any], what: str) -> Any:
    """The one item of a describe call. Raises Gone for none."""
    if not items:
        raise Gone(what)
    return items[0]


def mapping(value: Any) -> dict[str, Any]:
    """An object that may be missing."""
    return cast("dict[str, Any]", value or {})


def items(value: Any) -> list[Any]:
    """A list that may be missing."""
    return cast("list[Any]", value or [])


def first(value: Any, condition: Callable[[Any], bool] = bool) -> dict[str, Any]:
    """The first object of a list that may be missing, or an empty one."""
    return mapping(next((item for item in items(value) if condition(item)), None))


def given(inputs: Props, names: Mapping[str, str]) -> dict[str, Any]:
    """API parameters for those inputs that are set: input name to parameter name."""
    return {
        parameter: inputs[name]
        for name, parameter in names.items()
        if inputs.get(name) not in (None, "")
    }
