"""The machine's private addresses: one more for each Elastic IP that it may have.

An Elastic IP that stood for the primary one would take the place of the machine's automatic public
address, and be gone with it when another machine takes it: without any public address there is no
way to the EC2 API, to take it back. So each stands for a secondary address, and the automatic one
stays.

EC2 is asked for them here and not by the program: the program could only ask for certain addresses,
and the machine that replaces this one is made while this one still has its own.
"""

import ipaddress
import json
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import BotoCoreError, ClientError

from hosts.base import services
from hosts.base.identity import metadata
from hosts.load_balancer.elastic_addresses import AddressError

if TYPE_CHECKING:
    from types_boto3_ec2 import EC2Client


class Interface:
    """The machine's network interface."""

    def __init__(self, connect: "Callable[[], EC2Client]") -> None:
        """Asks the metadata service. Raises `OSError` if it does not answer."""
        self._connect = connect
        ask = metadata()
        self._mac = ask("meta-data/mac")
        path = f"meta-data/network/interfaces/macs/{self._mac}"
        self._id = ask(f"{path}/interface-id")
        self._primary = ask("meta-data/local-ipv4")
        self._subnet = ipaddress.IPv4Network(ask(f"{path}/subnet-ipv4-cidr-block"))
        self._known = ask(f"{path}/local-ipv4s").split()

    def secondary(self, count: int) -> list[str]:
        """So many private addresses beside the primary one, always the same in the same order.

        Asks EC2 for those that are missing. Raises `AddressError`.
        """
        # The metadata service knows of an address some time after EC2 gave it.
        found = {*self._known, *self._configured()} - {self._primary}
        if len(found) < count:
            found.update(self._assign(count - len(found)))
        addresses = sorted(found, key=ipaddress.IPv4Address)[:count]
        for address in addresses:
            self.have(address)
        return addresses

    def have(self, address: str) -> None:
        """Gives the interface the address, if it has not got it: the machine then answers there.

        Some images do that by themselves, at boot; and some take it away again when they
        configure the network anew.
        """
        if not is_local(address):
            services.run("ip", "address", "replace", f"{address}/32", "dev", self._link()["ifname"])

    def _assign(self, count: int) -> list[str]:
        client: Any = self._connect()
        try:
            answer = client.assign_private_ip_addresses(
                NetworkInterfaceId=self._id, SecondaryPrivateIpAddressCount=count
            )
        except (BotoCoreError, ClientError) as error:
            message = f"EC2 gives this machine no more private addresses: {error}"
            raise AddressError(message) from error
        given = [str(one["PrivateIpAddress"]) for one in answer["AssignedPrivateIpAddresses"]]
        return [address for address in given if address != self._primary]

    def _configured(self) -> list[str]:
        """The addresses of the subnet that the interface has."""
        found = [ipaddress.ip_address(one["local"]) for one in self._link().get("addr_info", ())]
        return [str(address) for address in found if address in self._subnet]

    def _link(self) -> dict[str, Any]:
        """What Linux says of the interface."""
        shown = json.loads(services.run("ip", "-json", "address", "show").stdout or "[]")
        for link in cast("list[dict[str, Any]]", shown):
            if link.get("address") == self._mac:
                return link
        message = f"this machine has no network interface {self._mac}"
        raise AddressError(message)


def is_local(address: str) -> bool:
    """Whether this machine has the address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True
