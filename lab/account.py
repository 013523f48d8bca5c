"""The lab's AWS account: moto's backends, read into plain facts. The one edge to moto's models.

Whoever calls holds the locks of `lab.api`, so that no call is half done meanwhile.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any, cast

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.ec2.models import ec2_backends
from moto.iam.models import iam_backends
from moto.route53.models import route53_backends

from lab import network
from lab.ec2_model import LabInstance
from lab.facts import (
    AclEntry,
    Elastic,
    Endpoint,
    Facts,
    Group,
    Instance,
    Private,
    Record,
    Route,
    Rule,
    Subnet,
    Zone,
)

_ROOT_DEVICES = ("/dev/xvda", "/dev/sda1")


def backends() -> dict[str, Any]:
    """moto's EC2, by region, where anything has been asked of it."""
    return dict(cast("dict[str, Any]", ec2_backends[DEFAULT_ACCOUNT_ID]))


def iam() -> Any:
    """moto's IAM."""
    return cast("Any", iam_backends[DEFAULT_ACCOUNT_ID]["aws"])


def instances() -> Iterator[LabInstance]:
    """Every instance that moto knows, terminated ones too."""
    for backend in backends().values():
        for reservation in list(backend.reservations.values()):
            yield from reservation.instances


def instance(instance_id: str) -> LabInstance | None:
    """The instance with this id."""
    return next((found for found in instances() if found.id == instance_id), None)


def read() -> Facts:
    """Everything that the lab acts on."""
    facts = Facts(zones=tuple(_zones()))
    elastic: list[Elastic] = []
    for region, backend in backends().items():
        _serve_gateway_endpoints(region, backend)
        facts.vpcs.update({vpc.id: vpc.cidr_block for vpc in backend.vpcs.values()})
        facts.subnets.update(_subnets(backend))
        facts.groups.update(_groups(backend))
        facts.prefix_lists.update(_prefix_lists(backend))
        facts.tables.update(_tables(backend))
        facts.internet_gateways.update(
            {igw.id: igw.vpc.id for igw in backend.internet_gateways.values() if igw.vpc}
        )
        facts.nat_gateways.update(
            {
                nat.id: nat.subnet_id
                for nat in backend.nat_gateways.values()
                if nat.state == "available" and nat.connectivity_type == "public"
            }
        )
        facts.endpoints.update(_endpoints(backend))
        facts.instances.update(_instances(region, backend))
        elastic += _elastic(backend)
        facts.volumes.update(_volumes(backend))
    return dataclasses.replace(facts, elastic=tuple(elastic))


def _serve_gateway_endpoints(region: str, backend: Any) -> None:
    """AWS's own prefix lists name where these services are: in the lab, in its router."""
    wanted = {
        f"com.amazonaws.{region}.s3": network.S3,
        f"com.amazonaws.{region}.dynamodb": network.DYNAMODB,
    }
    for listed in backend.managed_prefix_lists.values():
        if listed.prefix_list_name in wanted and listed.owner_id == "AWS":
            cidr = f"{wanted[listed.prefix_list_name]}/32"
            listed.entries = {1: [{"Cidr": cidr, "Description": "the lab"}]}


def _prefix_lists(backend: Any) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for listed in backend.managed_prefix_lists.values():
        versions: dict[int, list[dict[str, str]]] = listed.entries
        latest = versions[max(versions)] if versions else []
        if listed.address_family == "IPv4":
            found[listed.id] = tuple(entry["Cidr"] for entry in latest)
    return found


def _subnets(backend: Any) -> Iterator[tuple[str, Subnet]]:
    main = {t.vpc_id: t.id for t in backend.route_tables.values() if t.main_association_id}
    explicit = {
        subnet: table.id
        for table in backend.route_tables.values()
        for subnet in table._associations.values()
    }
    acls = {
        association.subnet_id: acl
        for acl in backend.network_acls.values()
        for association in acl.associations
    }
    for zone in list(backend.subnets.values()):
        for subnet in list(zone.values()):
            table = explicit.get(subnet.id) or main.get(subnet.vpc_id, "")
            acl = tuple(_acl(acls[subnet.id])) if subnet.id in acls else ()
            yield subnet.id, Subnet(subnet.id, subnet.vpc_id, subnet.cidr_block, table, acl)


def _acl(acl: Any) -> list[AclEntry]:
    entries = [
        AclEntry(
            number=int(entry.rule_number),
            allow=entry.rule_action == "allow",
            egress=entry.egress in (True, "true"),
            protocol=str(entry.protocol),
            ports=_ports(entry.port_range_from, entry.port_range_to),
            cidr=entry.cidr_block,
        )
        for entry in acl.network_acl_entries
        if entry.cidr_block
    ]
    return sorted(entries, key=lambda entry: entry.number)


def _ports(first: int | str | None, last: int | str | None) -> tuple[int, int] | None:
    if first is None or first == "":
        return None
    return int(first), int(first if last in (None, "") else last)


def _groups(backend: Any) -> Iterator[tuple[str, Group]]:
    for of_vpc in list(backend.groups.values()):
        for group in list(of_vpc.values()):
            ingress, egress = _rules(group.ingress_rules), _rules(group.egress_rules)
            yield group.id, Group(group.id, ingress, egress)


def _rules(rules: list[Any]) -> tuple[Rule, ...]:
    return tuple(
        Rule(
            protocol=str(rule.ip_protocol),
            ports=_ports(rule.from_port, rule.to_port),
            cidr=rule.cidr_ipv4,
            group=rule.source_group.get("GroupId") if rule.source_group else None,
            prefix_list=rule.prefix_list_id,
        )
        for rule in rules
    )


def _tables(backend: Any) -> dict[str, tuple[Route, ...]]:
    return {
        table.id: tuple(
            Route(destination, hop)
            for route in table.routes
            if (destination := route.destination_cidr_block or route.destination_prefix_list_id)
            and (hop := route.gateway_id or route.nat_gateway_id)
        )
        for table in backend.route_tables.values()
    }


def _endpoints(backend: Any) -> Iterator[tuple[str, Endpoint]]:
    for endpoint in backend.vpc_end_points.values():
        if endpoint.state == "available":
            gateway = (endpoint.vpc_endpoint_type or "Gateway").lower() == "gateway"
            service = endpoint.service_name.rsplit(".", 1)[-1]
            groups = tuple(endpoint.security_group_ids)
            yield endpoint.id, Endpoint(endpoint.id, endpoint.vpc_id, service, gateway, groups)


def _elastic(backend: Any) -> list[Elastic]:
    return [
        Elastic(
            address=eip.public_ip,
            allocation=eip.allocation_id or "",
            instance=eip.eni.instance.id if eip.eni and eip.eni.instance else None,
            private=eip.private_ip_address,
        )
        for eip in list(backend.addresses)
    ]


def _instances(region: str, backend: Any) -> Iterator[tuple[str, Instance]]:
    standing = {eip.private: eip.address for eip in _elastic(backend)}
    for reservation in list(backend.reservations.values()):
        for found in reservation.instances:
            if found.state == "terminated" or not found.nics:
                continue
            nic = found.nics[0]
            tags = {tag["key"]: tag["value"] for tag in found.get_tags()}
            secondary = [held["PrivateIpAddress"] for held in nic.private_ip_addresses]
            privates = [nic.private_ip_address, *secondary]
            automatic = nic.public_ip if nic.public_ip_auto_assign else None
            yield (
                found.id,
                Instance(
                    id=found.id,
                    name=_name(tags) or found.id,
                    role=tags.get("Role", ""),
                    state=found.state,
                    region=region,
                    subnet=nic.subnet.id,
                    vpc=nic.subnet.vpc_id,
                    mac=nic.mac_address,
                    addresses=tuple(
                        Private(address, standing.get(address) or (None if number else automatic))
                        for number, address in enumerate(dict.fromkeys(privates))
                    ),
                    groups=tuple(sorted(group.id for group in nic.group_set)),
                    volumes=tuple(_attached(found)),
                    reboots=found.reboots,
                ),
            )


def _name(tags: dict[str, str]) -> str:
    """What the program calls it: its Name without the project and the stack."""
    return tags.get("Name", "").removeprefix(f"{tags.get('Project')}-{tags.get('Stack')}-")


def _is_root(found: Any, device: str) -> bool:
    return device in (found.root_device_name, *_ROOT_DEVICES)


def _attached(found: Any) -> list[str]:
    return [
        block.volume_id
        for device, block in found.get_block_device_mapping
        if not _is_root(found, device)
    ]


def _volumes(backend: Any) -> dict[str, int]:
    roots = {
        volume.id
        for volume in backend.volumes.values()
        if volume.attachment and _is_root(volume.attachment.instance, volume.attachment.device)
    }
    return {v.id: int(v.size) for v in list(backend.volumes.values()) if v.id not in roots}


def _zones() -> Iterator[Zone]:
    backend: Any = cast("Any", route53_backends[DEFAULT_ACCOUNT_ID]["aws"])
    for zone in list(backend.zones.values()):
        records = tuple(
            Record(record.name.rstrip("."), record.type, int(record.ttl or 0), values)
            for record in list(zone.rrsets)
            if (values := tuple(str(value) for value in record.records))
            and record.type not in ("NS", "SOA")
        )
        yield Zone(zone.name.rstrip("."), records, public=not zone.private_zone)
