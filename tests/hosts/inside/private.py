"""A real network interface that is given private addresses. Prints what it had, as JSON."""

import json
import subprocess
import sys
from typing import Any

sys.path[:0] = ["/opt/site"]

from hosts.load_balancer import interface  # noqa: E402
from hosts.load_balancer.interface import Interface, is_local  # noqa: E402

MAC = "02:00:00:00:00:0e"
PATH = f"meta-data/network/interfaces/macs/{MAC}"
KNOWN = {
    "meta-data/mac": MAC,
    "meta-data/local-ipv4": "10.0.128.5",
    f"{PATH}/interface-id": "eni-1",
    f"{PATH}/subnet-ipv4-cidr-block": "10.0.128.0/20",
    f"{PATH}/local-ipv4s": "10.0.128.5",
}


class Ec2:
    """Gives the next addresses, and like EC2 says only which those are."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def assign_private_ip_addresses(self, **request: Any) -> dict[str, Any]:
        self.asked.append(request)
        given = ("10.0.128.100", "10.0.128.20")[: request["SecondaryPrivateIpAddressCount"]]
        return {"AssignedPrivateIpAddresses": [{"PrivateIpAddress": one} for one in given]}


def ip(*arguments: str) -> str:
    return subprocess.check_output(["ip", *arguments], text=True)


def main() -> None:
    ip("link", "add", "ens5", "address", MAC, "type", "veth", "peer", "name", "other")
    ip("address", "add", "10.0.128.5/20", "dev", "ens5")
    ip("address", "add", "172.17.0.1/16", "dev", "ens5")  # of something else on the machine
    ip("link", "set", "ens5", "up")
    ec2, known = Ec2(), dict(KNOWN)
    interface.metadata = lambda: known.__getitem__
    client: Any = lambda: ec2  # noqa: E731
    found: dict[str, Any] = {"first": Interface(client).secondary(2)}
    found["local"] = [is_local(one) for one in (*found["first"], "10.0.128.77")]
    found["started anew, before the metadata tell"] = Interface(client).secondary(2)
    known[f"{PATH}/local-ipv4s"] = "10.0.128.5\n10.0.128.100\n10.0.128.20"
    ip("address", "flush", "dev", "ens5", "to", "10.0.128.0/24")
    ip("address", "add", "10.0.128.5/20", "dev", "ens5")
    found["after a boot"] = Interface(client).secondary(2)
    found["local after a boot"] = [is_local(one) for one in found["first"]]
    found["asked"] = ec2.asked
    # As cloud-init does it, if it does.
    ip("address", "delete", "10.0.128.20/32", "dev", "ens5")
    ip("address", "add", "10.0.128.20/20", "dev", "ens5")
    Interface(client).secondary(2)
    found["shown"] = ip("-brief", "-4", "address", "show", "dev", "ens5").split()[2:]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
