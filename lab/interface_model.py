"""Where moto's network interfaces are not EC2's, it is put right here.

One that is given to an instance gives it its subnet and its address, and outlives it; its address
is nobody else's meanwhile, nor are those that it gets beside it. `install` must be called before
the first request, and once.
"""

import functools
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.exceptions import (
    EC2ClientError,
    InvalidParameterCombination,
    InvalidParameterValueError,
)
from moto.ec2.models.elastic_network_interfaces import NetworkInterfaceBackend
from moto.ec2.models.instance_types import INSTANCE_TYPES
from moto.ec2.models.instances import Instance
from moto.ec2.responses.elastic_network_interfaces import ElasticNetworkInterfaces


class _TooManyError(EC2ClientError):
    code = "PrivateIpAddressLimitExceeded"


def _running(original: Any) -> Any:
    @functools.wraps(original)
    def run(self: Any, ec2_backend: Any, *arguments: Any, **keywords: Any) -> None:
        wanted = [nic.get("NetworkInterfaceId") for nic in keywords.get("nics") or ()]
        self.given_interfaces = [ec2_backend.get_network_interface(name) for name in wanted if name]
        for nic in self.given_interfaces:
            if nic.instance is not None:
                raise InvalidParameterCombination(f"{nic.id} is in use by {nic.instance.id}")
            keywords["subnet_id"], keywords["private_ip"] = nic.subnet.id, nic.private_ip_address
            # For the instance to take.
            nic.subnet.del_subnet_ip(nic.private_ip_address)
        original(self, ec2_backend, *arguments, **keywords)

    return run


def _terminating(original: Any) -> Any:
    @functools.wraps(original)
    def terminate(self: Any) -> Any:
        before = original(self)
        for nic in self.given_interfaces:
            if nic.instance is not self:
                continue
            # Not `detach_eni`: moto goes on asking a terminated instance for its first interface.
            nic.instance = nic.attachment_id = nic.attach_time = nic.device_index = None
            nic.status = "available"
            self._private_ips.discard(nic.private_ip_address)
        return before

    return terminate


def _creating(original: Any) -> Any:
    """moto makes an address up, which may be an instance's; a subnet knows which are free."""

    @functools.wraps(original)
    def create_network_interface(
        self: Any, subnet: Any, private_ip_address: Any, *rest: Any, **named: Any
    ) -> Any:
        several = rest and rest[0]
        address = private_ip_address
        if not address and not several:
            address = subnet.get_available_subnet_ip(None)
        return original(self, subnet, address, *rest, **named)

    return create_network_interface


def _assigning(original: Any) -> Any:
    """moto makes addresses up, and as many as one likes."""

    @functools.wraps(original)
    def assign_private_ip_addresses(
        self: Any, eni_id: str, asked: list[str] | None = None, count: int | None = None
    ) -> Any:
        nic = self.get_network_interface(eni_id)
        held = [address["PrivateIpAddress"] for address in nic.private_ip_addresses]
        new = [address for address in asked or () if address not in held]
        most = _room(nic)
        if len(held) + (len(new) or count or 0) > most:
            raise _TooManyError(f"{eni_id} can have {most} private addresses.")
        for address in new:
            if address in nic.subnet._subnet_ips:
                raise InvalidParameterValueError(address)
            nic.subnet.request_ip(address, nic.instance)
        if not asked:
            new = [nic.subnet.get_available_subnet_ip(nic.instance) for _ in range(count or 0)]
        return original(self, eni_id, new)

    return assign_private_ip_addresses


def _room(nic: Any) -> int:
    """How many private addresses an interface can have, on its instance's type."""
    kind: Any = INSTANCE_TYPES.get(nic.instance.instance_type, {}) if nic.instance else {}
    return int(kind.get("NetworkInfo", {}).get("Ipv4AddressesPerInterface", 50))


def _asked_to_assign(original: Any) -> Any:
    """EC2 tells which ones are new."""

    @functools.wraps(original)
    def assign_private_ip_addresses(self: Any) -> Any:
        eni_id = self._get_param("NetworkInterfaceId")
        nic = self.ec2_backend.get_network_interface(eni_id)
        before = list(nic.private_ip_addresses)
        original(self)
        new = [address for address in nic.private_ip_addresses if address not in before]
        return ActionResult({"NetworkInterfaceId": eni_id, "AssignedPrivateIpAddresses": new})

    return assign_private_ip_addresses


def _deleting(original: Any) -> Any:
    @functools.wraps(original)
    def delete_network_interface(self: Any, eni_id: str) -> None:
        nic = self.get_network_interface(eni_id)
        original(self, eni_id)
        for held in nic.private_ip_addresses:
            nic.subnet.del_subnet_ip(held["PrivateIpAddress"])

    return delete_network_interface


def _asked_to_delete(original: Any) -> Any:
    @functools.wraps(original)
    def delete_network_interface(self: Any) -> Any:
        nic = self.ec2_backend.get_network_interface(self._get_param("NetworkInterfaceId"))
        if nic.instance is not None:
            raise InvalidParameterValueError(f"{nic.id} is in use by {nic.instance.id}")
        return original(self)

    return delete_network_interface


def install() -> None:
    """Put the truth in moto's place."""
    for owner, name, changed in (
        (Instance, "__init__", _running),
        (Instance, "terminate", _terminating),
        (NetworkInterfaceBackend, "create_network_interface", _creating),
        (NetworkInterfaceBackend, "assign_private_ip_addresses", _assigning),
        (ElasticNetworkInterfaces, "assign_private_ip_addresses", _asked_to_assign),
        (NetworkInterfaceBackend, "delete_network_interface", _deleting),
        (ElasticNetworkInterfaces, "delete_network_interface", _asked_to_delete),
    ):
        setattr(owner, name, changed(getattr(owner, name)))
