"""Where moto's EC2 says what is not so, it is put right here.

moto models calls, not machines: an instance is "running" the moment it is asked for,
a terminated one still holds its addresses, an Elastic IP that moved is still shown at
its old place. The lab has machines, so its API tells the truth about them.

`install` must be called before the first request.
"""

import copy
import functools
from typing import Any

from moto.ec2.exceptions import InvalidParameterValueError
from moto.ec2.models import instances as instances_module
from moto.ec2.models.elastic_ip_addresses import ElasticAddress, ElasticAddressBackend
from moto.ec2.models.elastic_network_interfaces import NetworkInterface, NetworkInterfaceBackend
from moto.ec2.models.instances import Instance, InstanceBackend, InstanceState, StateReason
from moto.ec2.models.vpcs import VPCBackend
from moto.ec2.responses.elastic_ip_addresses import ElasticIPAddresses

from lab import interface_model

PENDING = ("pending", 0)
RUNNING = ("running", 16)
SHUTTING_DOWN = ("shutting-down", 32)
TERMINATED = ("terminated", 48)
STOPPING = ("stopping", 64)
STOPPED = ("stopped", 80)


class LabInstance(Instance):
    """An instance whose state is its machine's.

    Calls only say what is wanted: `pending`, `stopping` and `shutting-down`. What has
    come of it is said by whoever drives the machine, with `became` and `ended`.
    """

    given_interfaces: list[Any]
    """Those that it does not end with: see `lab.interface_model`."""
    reboots = 0
    """How often a reboot has been asked for."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.became(PENDING)

    @property
    def instance_id(self) -> str:
        """moto takes `id` for EC2's `InstanceId` where a class is called `Instance`, only there."""
        return self.id

    def became(self, state: tuple[str, int], reason: StateReason | None = None) -> None:
        """Say what state the machine is in, and why if that is not for having been asked."""
        self._state = InstanceState(*state)
        if reason:
            self.state_reason = reason
            self._reason = reason.message

    def start(self) -> InstanceState:
        """Wanted: running."""
        if self.state in ("running", "pending"):
            return copy.copy(self._state)
        before = super().start()
        self.became(PENDING)
        return before

    def stop(self) -> InstanceState:
        """Wanted: stopped."""
        if self.state in ("stopped", "stopping"):
            return copy.copy(self._state)
        before = super().stop()
        self.became(STOPPING)
        return before

    def terminate(self) -> InstanceState:
        """Wanted: gone. It keeps its volumes and addresses until it is."""
        before = copy.copy(self._state)
        if self.state != "terminated":
            self.became(SHUTTING_DOWN)
        return before

    def reboot(self) -> None:
        """Wanted: started anew."""
        self.reboots += 1

    def ended(self, reason: StateReason | None = None) -> None:
        """The machine is gone: so are its addresses, its own interface and its root volume."""
        backend: Any = self.ec2_backend
        for eip in list(backend.addresses):
            if eip.eni is not None and eip.eni.instance is self:
                backend.disassociate_address(address=eip.public_ip)
        super().terminate()
        for nic in self.nics.values():
            if nic in self.given_interfaces:
                continue
            backend.enis.pop(nic.id, None)
            for held in nic.private_ip_addresses:
                nic.subnet.del_subnet_ip(held["PrivateIpAddress"])
        self._private_ips.clear()
        self.became(TERMINATED, reason)


class _PrivateAddress:
    """An Elastic IP's private address: the one asked for, else its interface's first."""

    def __get__(self, eip: Any, owner: type | None = None) -> str | None:
        if eip.eni is None:
            return None
        return getattr(eip, "wanted_private", None) or eip.eni.private_ip_address


def _release_interface(eni: Any) -> None:
    """An interface that lost its Elastic IP gets an automatic address if its subnet gives one."""
    eni.public_ip = None
    if eni.instance is not None and eni.instance.state in ("running", "pending"):
        eni.check_auto_public_ip()


def _associating(original: Any) -> Any:
    @functools.wraps(original)
    def associate_address(self: Any, *arguments: Any, **keywords: Any) -> Any:
        wanted = self.__dict__.pop("wanted_private", None)
        before = {eip.id: (eip.eni, _apart(eip)) for eip in self.addresses}
        public = {eni.id: eni.public_ip for eni in self.enis.values()}
        eip = original(self, *arguments, **keywords)
        left, was_apart = before.get(eip.id, (None, False))
        eip.wanted_private = wanted
        eip.instance = eip.eni.instance
        if _apart(eip):
            eip.eni.public_ip = public[eip.eni.id]
        if left is not None and not was_apart and (left is not eip.eni or _apart(eip)):
            _release_interface(left)
        for other in self.addresses:
            same = other.eni is eip.eni and other.private_ip_address == eip.private_ip_address
            if other is not eip and same:
                other.eni = other.instance = other.association_id = other.wanted_private = None
        return eip

    return associate_address


def _apart(eip: Any) -> bool:
    """Whether it stands for a secondary private address."""
    wanted = getattr(eip, "wanted_private", None)
    return eip.eni is not None and wanted not in (None, eip.eni.private_ip_address)


def _disassociating(original: Any) -> Any:
    @functools.wraps(original)
    def disassociate_address(self: Any, *arguments: Any, **keywords: Any) -> None:
        kept = {eip.id: (eip.eni, eip.eni.public_ip) for eip in self.addresses if _apart(eip)}
        original(self, *arguments, **keywords)
        for eip in self.addresses:
            if eip.eni is None:
                eip.wanted_private = None
                if eip.id in kept:
                    eni, public = kept[eip.id]
                    eni.public_ip = public

    return disassociate_address


def _asked_to_associate(original: Any) -> Any:
    """Hands on for which private address an Elastic IP is to stand."""

    @functools.wraps(original)
    def associate_address(self: Any) -> Any:
        private, backend = self._get_param("PrivateIpAddress"), self.ec2_backend
        if private:
            if instance := self._get_param("InstanceId"):
                eni = backend.get_instance(instance).nics[0]
            else:
                eni = backend.get_network_interface(self._get_param("NetworkInterfaceId"))
            if private not in [address["PrivateIpAddress"] for address in eni.private_ip_addresses]:
                raise InvalidParameterValueError(private)
        backend.wanted_private = private
        return original(self)

    return associate_address


def _modifying_instance(original: Any) -> Any:
    @functools.wraps(original)
    def modify_instance_security_groups(self: Any, instance_id: str, groups: list[str]) -> Any:
        instance = original(self, instance_id, groups)
        instance.nics[0]._group_set = list(instance.security_groups)
        return instance

    return modify_instance_security_groups


def _modifying_interface(original: Any) -> Any:
    @functools.wraps(original)
    def modify_network_interface_attribute(self: Any, eni_id: str, *rest: Any, **named: Any) -> Any:
        original(self, eni_id, *rest, **named)
        eni = self.get_network_interface(eni_id)
        if eni.instance is not None and eni.device_index == 0:
            eni.instance.security_groups = list(eni._group_set)

    return modify_network_interface_attribute


def _modifying_endpoint(original: Any) -> Any:
    """A gateway endpoint is a route in each of its tables, in those that come later too."""

    @functools.wraps(original)
    def modify_vpc_endpoint(self: Any, **named: Any) -> None:
        endpoint = self.get_vpc_end_point(named["vpc_id"])
        before = list(endpoint.route_table_ids or [])
        original(self, **named)
        prefixes = endpoint.destination_prefix_list_id
        if prefixes:
            for table in set(endpoint.route_table_ids).difference(before):
                self.create_route(
                    table, None, gateway_id=endpoint.id, destination_prefix_list_id=prefixes
                )
            for table in set(before).difference(endpoint.route_table_ids):
                self.delete_route(table, prefixes)

    return modify_vpc_endpoint


def _described_addresses(original: property) -> property:
    """Each private address with its own public one; the automatic one is Amazon's."""

    def listed(self: Any) -> list[dict[str, Any]]:
        own = {e.private_ip_address: e for e in self.ec2_backend.addresses if e.eni is self}
        found: list[dict[str, Any]] = original.__get__(self)
        for item in found:
            if eip := own.get(item["PrivateIpAddress"]):
                owner = self.ec2_backend.account_id
                item["Association"] = {"publicIp": eip.public_ip, "ipOwnerId": owner}
            elif "Association" in item:
                item["Association"] = {**item["Association"], "ipOwnerId": "amazon"}
        return found

    return property(listed)


def _group_set(self: Any) -> Any:
    """What an interface's groups are: its own, not the union with the ones it started with."""
    return self._group_set


def install() -> None:
    """Put the truth in moto's place, once."""
    if instances_module.Instance is LabInstance:
        return
    interface_model.install()
    for owner, name, replacement in (
        (instances_module, "Instance", LabInstance),
        (ElasticAddress, "private_ip_address", _PrivateAddress()),
        (ElasticAddressBackend, "associate_address",
         _associating(ElasticAddressBackend.associate_address)),
        (ElasticAddressBackend, "disassociate_address",
         _disassociating(ElasticAddressBackend.disassociate_address)),
        (ElasticIPAddresses, "associate_address",
         _asked_to_associate(ElasticIPAddresses.associate_address)),
        (InstanceBackend, "modify_instance_security_groups",
         _modifying_instance(InstanceBackend.modify_instance_security_groups)),
        (NetworkInterfaceBackend, "modify_network_interface_attribute",
         _modifying_interface(NetworkInterfaceBackend.modify_network_interface_attribute)),
        (VPCBackend, "modify_vpc_endpoint", _modifying_endpoint(VPCBackend.modify_vpc_endpoint)),
        (NetworkInterface, "group_set", property(_group_set)),
        (NetworkInterface, "instance_private_ip_address_list",
         _described_addresses(NetworkInterface.instance_private_ip_address_list)),
    ):  # fmt: skip
        setattr(owner, name, replacement)
