"""The plugin's functions: looking up what the program does not make."""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast

from lab.engine.aws.cloud import Cloud, items, tag_map
from lab.engine.plugin import PluginError
from lab.engine.values import Props

Lookup = Callable[[Cloud, Props], Props]


def _filters(arguments: Props) -> dict[str, Any]:
    filters = [
        {"Name": item["name"], "Values": item["values"]} for item in items(arguments.get("filters"))
    ]
    return {"Filters": filters} if filters else {}


def _known(function: str, arguments: Props, names: tuple[str, ...]) -> None:
    for name in arguments:
        if name not in names:
            message = (
                f"the lab's aws plugin does not know argument {name} of {function}; "
                f"known are {', '.join(names)}"
            )
            raise PluginError(message)


def get_ami(cloud: Cloud, arguments: Props) -> Props:
    """aws.ec2.get_ami: exactly one image, or the newest of them with mostRecent."""
    _known("getAmi", arguments, ("filters", "mostRecent", "nameRegex", "owners"))
    owners = {"Owners": arguments["owners"]} if arguments.get("owners") else {}
    images = cloud.ec2.describe_images(**owners, **_filters(arguments))["Images"]
    if pattern := arguments.get("nameRegex"):
        images = [image for image in images if re.search(pattern, image["Name"])]
    asked = f"owners {arguments.get('owners', [])}, filters {arguments.get('filters', [])}"
    if not images:
        message = f"no machine image matches {asked}: change the filters or register an image"
        raise PluginError(message)
    if len(images) > 1 and not arguments.get("mostRecent"):
        message = f"{len(images)} machine images match {asked}: narrow them or set mostRecent"
        raise PluginError(message)
    image = max(images, key=lambda item: str(item.get("CreationDate", "")))
    names = {
        "architecture": "Architecture",
        "creationDate": "CreationDate",
        "description": "Description",
        "hypervisor": "Hypervisor",
        "imageLocation": "ImageLocation",
        "imageType": "ImageType",
        "name": "Name",
        "ownerId": "OwnerId",
        "platform": "Platform",
        "rootDeviceName": "RootDeviceName",
        "rootDeviceType": "RootDeviceType",
        "state": "State",
        "virtualizationType": "VirtualizationType",
    }
    found = {name: image[key] for name, key in names.items() if image.get(key) is not None}
    return {
        **arguments,
        **found,
        "id": image["ImageId"],
        "imageId": image["ImageId"],
        "arn": f"arn:aws:ec2:{cloud.region}::image/{image['ImageId']}",
        "public": bool(image.get("Public")),
        "region": cloud.region,
        "tags": tag_map(image.get("Tags")),
        "blockDeviceMappings": [],
        "productCodes": [],
    }


def get_managed_prefix_list(cloud: Cloud, arguments: Props) -> Props:
    """aws.ec2.get_managed_prefix_list, by name, id or filters."""
    _known("getManagedPrefixList", arguments, ("filters", "id", "name"))
    name, wanted = arguments.get("name"), arguments.get("id")
    found = cloud.ec2.describe_managed_prefix_lists(**_filters(arguments))["PrefixLists"]
    found = [
        item
        for item in found
        if name in (None, item["PrefixListName"]) and wanted in (None, item["PrefixListId"])
    ]
    item = _single(found, "managed prefix list", name or wanted)
    return {
        "id": item["PrefixListId"],
        "name": item["PrefixListName"],
        "addressFamily": item.get("AddressFamily", "IPv4"),
        "arn": item.get("PrefixListArn", ""),
        "ownerId": item.get("OwnerId", ""),
        "maxEntries": item.get("MaxEntries") or 0,
        "version": item.get("Version") or 0,
        "entries": _entries(cloud, item),
        "region": cloud.region,
        "tags": tag_map(item.get("Tags")),
    }


def _entries(cloud: Cloud, item: dict[str, Any]) -> list[dict[str, str]]:
    identifier = item["PrefixListId"]
    found = cloud.ec2.get_managed_prefix_list_entries(PrefixListId=identifier)["Entries"]
    return [
        {"cidr": entry["Cidr"], "description": entry.get("Description") or ""} for entry in found
    ]


def get_prefix_list(cloud: Cloud, arguments: Props) -> Props:
    """aws.ec2.get_prefix_list, by name, id or filters."""
    _known("getPrefixList", arguments, ("filters", "name", "prefixListId"))
    name, wanted = arguments.get("name"), arguments.get("prefixListId")
    found = cloud.ec2.describe_prefix_lists(**_filters(arguments))["PrefixLists"]
    found = [
        item
        for item in found
        if name in (None, item["PrefixListName"]) and wanted in (None, item["PrefixListId"])
    ]
    item = _single(found, "prefix list", name or wanted)
    return {
        **arguments,
        "id": item["PrefixListId"],
        "prefixListId": item["PrefixListId"],
        "name": item["PrefixListName"],
        "cidrBlocks": item.get("Cidrs") or [],
        "region": cloud.region,
    }


def _single(found: list[Any], what: str, name: str | None) -> dict[str, Any]:
    if len(found) != 1:
        message = f"{len(found)} of {what} match {name or 'the filters'}; there must be one"
        raise PluginError(message)
    return cast("dict[str, Any]", found[0])


def get_availability_zones(cloud: Cloud, arguments: Props) -> Props:
    """aws.get_availability_zones."""
    _known(
        "getAvailabilityZones",
        arguments,
        ("allAvailabilityZones", "excludeNames", "excludeZoneIds", "filters", "state"),
    )
    excluded = {*arguments.get("excludeNames", []), *arguments.get("excludeZoneIds", [])}
    response = cloud.ec2.describe_availability_zones(**_filters(arguments))
    zones = [
        zone
        for zone in response["AvailabilityZones"]
        if not {zone["ZoneName"], zone.get("ZoneId", "")} & excluded
        and arguments.get("state") in (None, zone["State"])
    ]
    zones.sort(key=lambda zone: str(zone["ZoneName"]))
    return {
        **arguments,
        "id": cloud.region,
        "names": [zone["ZoneName"] for zone in zones],
        "zoneIds": [zone.get("ZoneId", "") for zone in zones],
        "groupNames": sorted({zone.get("GroupName") or cloud.region for zone in zones}),
        "region": cloud.region,
    }


def get_zone(cloud: Cloud, arguments: Props) -> Props:
    """aws.route53.get_zone: the one zone of that name, public unless a private one is asked for."""
    _known("getZone", arguments, ("name", "privateZone"))
    name, private = str(arguments["name"]).rstrip("."), bool(arguments.get("privateZone"))
    zones = cloud.client("route53").list_hosted_zones()["HostedZones"]
    found = [
        zone
        for zone in zones
        if zone["Name"] == f"{name}." and zone["Config"].get("PrivateZone", False) == private
    ]
    zone = _single(found, "hosted zone", name)
    zone_id = str(zone["Id"]).rpartition("/")[2]
    return {
        **arguments,
        "id": zone_id,
        "zoneId": zone_id,
        "name": name,
        "privateZone": private,
        "arn": f"arn:aws:route53:::hostedzone/{zone_id}",
        "callerReference": zone.get("CallerReference", ""),
        "comment": zone["Config"].get("Comment", ""),
        "resourceRecordSetCount": zone.get("ResourceRecordSetCount", 0),
        "nameServers": [],
        "tags": {},
    }


def get_region(cloud: Cloud, arguments: Props) -> Props:
    """aws.get_region: the stack's own region."""
    _known("getRegion", arguments, ())
    name = cloud.region
    return {
        "id": name,
        "name": name,
        "region": name,
        "description": name,
        "endpoint": f"ec2.{name}.amazonaws.com",
    }


def get_caller_identity(cloud: Cloud, arguments: Props) -> Props:
    """aws.get_caller_identity."""
    _known("getCallerIdentity", arguments, ())
    found = cloud.client("sts").get_caller_identity()
    return {
        "id": found["Account"],
        "accountId": found["Account"],
        "arn": found["Arn"],
        "userId": found["UserId"],
    }


def get_partition(cloud: Cloud, arguments: Props) -> Props:
    """aws.get_partition: the lab is in the ordinary one."""
    _known("getPartition", arguments, ())
    return {
        "id": "aws",
        "partition": "aws",
        "dnsSuffix": "amazonaws.com",
        "reverseDnsPrefix": "com.amazonaws",
        "region": cloud.region,
    }


LOOKUPS: Mapping[str, Lookup] = {
    "aws:ec2/getAmi:getAmi": get_ami,
    "aws:ec2/getManagedPrefixList:getManagedPrefixList": get_managed_prefix_list,
    "aws:ec2/getPrefixList:getPrefixList": get_prefix_list,
    "aws:route53/getZone:getZone": get_zone,
    "aws:index/getAvailabilityZones:getAvailabilityZones": get_availability_zones,
    "aws:index/getRegion:getRegion": get_region,
    "aws:index/getCallerIdentity:getCallerIdentity": get_caller_identity,
    "aws:index/getPartition:getPartition": get_partition,
}


def lookups(cloud: Cloud) -> dict[str, Callable[[Props], Props]]:
    """The functions by their tokens, bound to the cloud."""
    return {token: partial(lookup, cloud) for token, lookup in LOOKUPS.items()}
