"""Elastic IPs, as a machine that claims them sees and moves them."""

import threading
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from types_boto3_ec2 import EC2Client


class AddressError(Exception):
    """EC2 refused or did not answer."""


class ElasticAddresses:
    """Each for a private address of its own of this instance."""

    def __init__(
        self, connect: "Callable[[], EC2Client]", instance: str, private: Mapping[str, str]
    ) -> None:
        """`instance` is this machine, `private` its private addresses by allocation id."""
        self._connect = connect
        self._instance = instance
        self._private = private
        self._guard = threading.Lock()

    def is_ours(self, allocation: str) -> bool:
        """Whether the address leads to this machine. Raises `AddressError`."""
        (found,) = self._call("describe_addresses", AllocationIds=[allocation])["Addresses"]
        place = found.get("InstanceId"), found.get("PrivateIpAddress")
        return place == (self._instance, self._private[allocation])

    def associate(self, allocation: str) -> None:
        """Makes it lead here, wherever it led before. Raises `AddressError`."""
        self._call(
            "associate_address",
            AllocationId=allocation,
            InstanceId=self._instance,
            PrivateIpAddress=self._private[allocation],
            AllowReassociation=True,
        )

    @cached_property
    def _client(self) -> Any:
        # Made when it is first used: renewing a lease waits for none of it.
        return self._connect()

    def _call(self, operation: str, **request: object) -> dict[str, Any]:
        with self._guard:
            client = self._client
        try:
            return getattr(client, operation)(**request)
        except (BotoCoreError, ClientError) as error:
            raise AddressError(str(error)) from error
