"""Route 53 zones and records."""

# ruff: noqa: ARG002  the interface gives every type more than it needs

import uuid
from typing import Any, ClassVar

from lab.engine.aws.base import TAGS, AwsResource, added_and_removed
from lab.engine.aws.cloud import Client, given, items, mapping, tag_list, tag_map
from lab.engine.plugin import Call, Gone, PluginError
from lab.engine.schema import Failure, Properties, Property
from lab.engine.values import Props


def _bare(name: str) -> str:
    return name.removesuffix(".").lower()


def _same_name(old: str, new: str) -> bool:
    return _bare(old) == _bare(new)


class _Route53(AwsResource):
    @property
    def route53(self) -> Client:
        return self.cloud.client("route53")

    def _tag(self, kind: str, resource_id: str, state: Props, inputs: Props) -> None:
        added, removed = added_and_removed(state, inputs)
        if added or removed:
            self.route53.change_tags_for_resource(
                ResourceType=kind,
                ResourceId=resource_id,
                **({"AddTags": tag_list(added)} if added else {}),
                **({"RemoveTagKeys": removed} if removed else {}),
            )


class Zone(_Route53):
    """aws_route53_zone, public or private to VPCs."""

    token = "aws:route53/zone:Zone"  # noqa: S105  a type's token
    taggable = True
    properties: ClassVar[Properties] = {
        "name": Property(required=True, replaces=True, same=_same_name),
        "comment": Property(default="Managed by Pulumi"),
        "forceDestroy": Property(default=False),
        "vpcs": Property(
            unordered=True,
            fields={"vpcId": Property(required=True), "vpcRegion": Property(computed=True)},
        ),
        **TAGS,
    }
    outputs = ("arn", "nameServers", "primaryNameServer", "zoneId")

    def _vpc(self, vpc: Props) -> dict[str, str]:
        return {"VPCId": vpc["vpcId"], "VPCRegion": vpc.get("vpcRegion") or self.cloud.region}

    def create(self, inputs: Props, call: Call) -> str:
        vpcs = items(inputs.get("vpcs"))
        place: dict[str, Any] = {"VPC": self._vpc(vpcs[0])} if vpcs else {}
        response = self.route53.create_hosted_zone(
            Name=inputs["name"],
            CallerReference=uuid.uuid4().hex,
            HostedZoneConfig={"Comment": inputs["comment"], "PrivateZone": bool(vpcs)},
            **place,
        )
        return str(response["HostedZone"]["Id"]).removeprefix("/hostedzone/")

    def settle(self, resource_id: str, inputs: Props, call: Call) -> None:
        for vpc in items(inputs.get("vpcs"))[1:]:
            self.route53.associate_vpc_with_hosted_zone(
                HostedZoneId=resource_id, VPC=self._vpc(vpc)
            )
        self._tag("hostedzone", resource_id, {}, inputs)

    def read(self, resource_id: str, state: Props) -> Props:
        response = self.route53.get_hosted_zone(Id=resource_id)
        zone = response["HostedZone"]
        tags = self.route53.list_tags_for_resource(
            ResourceType="hostedzone", ResourceId=resource_id
        )
        asked = {vpc["vpcId"]: vpc for vpc in items(state.get("vpcs"))}
        vpcs = [
            {
                "vpcId": vpc["VPCId"],
                # A region is only shown where it was given or is another than the stack's.
                **(
                    {"vpcRegion": vpc["VPCRegion"]}
                    if "vpcRegion" in asked.get(vpc["VPCId"], {})
                    or vpc["VPCRegion"] != self.cloud.region
                    else {}
                ),
            }
            for vpc in items(response.get("VPCs"))
        ]
        servers = sorted(items(mapping(response.get("DelegationSet")).get("NameServers")))
        return {
            "name": _bare(zone["Name"]),
            "comment": mapping(zone.get("Config")).get("Comment", ""),
            "vpcs": vpcs or None,
            "arn": f"arn:aws:route53:::hostedzone/{resource_id}",
            "nameServers": servers,
            "primaryNameServer": servers[0] if servers else "",
            "zoneId": resource_id,
            **self.tags_found(tag_map(tags["ResourceTagSet"]["Tags"]), state),
        }

    def update(
        self,
        resource_id: str,
        state: Props,
        inputs: Props,
        changed: set[str],
        call: Call,
    ) -> None:
        if "comment" in changed:
            self.route53.update_hosted_zone_comment(Id=resource_id, Comment=inputs["comment"])
        if "vpcs" in changed:
            old = {vpc["vpcId"]: vpc for vpc in items(state.get("vpcs"))}
            new = {vpc["vpcId"]: vpc for vpc in items(inputs.get("vpcs"))}
            for name in sorted(set(new) - set(old)):
                self.route53.associate_vpc_with_hosted_zone(
                    HostedZoneId=resource_id, VPC=self._vpc(new[name])
                )
            for name in sorted(set(old) - set(new)):
                self.route53.disassociate_vpc_from_hosted_zone(
                    HostedZoneId=resource_id, VPC=self._vpc(old[name])
                )
        if "tagsAll" in changed:
            self._tag("hostedzone", resource_id, state, inputs)

    def delete(self, resource_id: str, state: Props, call: Call) -> None:
        sets = self.route53.list_resource_record_sets(HostedZoneId=resource_id)[
            "ResourceRecordSets"
        ]
        apex = _bare(state["name"])
        own = {("NS", apex), ("SOA", apex)}
        others = [item for item in sets if (item["Type"], _bare(item["Name"])) not in own]
        if others and not state.get("forceDestroy"):
            message = (
                f"zone {state['name']} still holds {others[0]['Name']} {others[0]['Type']}, which "
                "the stack does not manage: delete that record, or set forceDestroy"
            )
            raise PluginError(message)
        for item in others:
            change = {"Action": "DELETE", "ResourceRecordSet": item}
            self.route53.change_resource_record_sets(
                HostedZoneId=resource_id, ChangeBatch={"Changes": [change]}
            )
        self.route53.delete_hosted_zone(Id=resource_id)


class HealthCheck(_Route53):
    """aws_route53_health_check of one address. Nobody in the lab makes these checks."""

    token = "aws:route53/healthCheck:HealthCheck"  # noqa: S105
    taggable = True
    properties: ClassVar[Properties] = {
        "type": Property(required=True, replaces=True, choices=("HTTP", "HTTPS", "TCP")),
        "ipAddress": Property(),
        "port": Property(),
        "fqdn": Property(),
        "resourcePath": Property(),
        "requestInterval": Property(replaces=True),
        "failureThreshold": Property(),
        "enableSni": Property(computed=True),
        **TAGS,
    }
    outputs = ("arn",)
    _NAMES: ClassVar[dict[str, str]] = {
        "ipAddress": "IPAddress",
        "port": "Port",
        "fqdn": "FullyQualifiedDomainName",
        "resourcePath": "ResourcePath",
        "failureThreshold": "FailureThreshold",
        "enableSni": "EnableSNI",
    }

    def create(self, inputs: Props, call: Call) -> str:
        made = self.route53.create_health_check(
            CallerReference=uuid.uuid4().hex,
            HealthCheckConfig={
                "Type": inputs["type"],
                **given(inputs, {**self._NAMES, "requestInterval": "RequestInterval"}),
            },
        )
        return str(made["HealthCheck"]["Id"])

    def settle(self, resource_id: str, inputs: Props, call: Call) -> None:
        self._tag("healthcheck", resource_id, {}, inputs)

    def read(self, resource_id: str, state: Props) -> Props:
        config = self.route53.get_health_check(HealthCheckId=resource_id)["HealthCheck"][
            "HealthCheckConfig"
        ]
        tags = self.route53.list_tags_for_resource(
            ResourceType="healthcheck", ResourceId=resource_id
        )
        names = {**self._NAMES, "requestInterval": "RequestInterval", "type": "Type"}
        return {
            **{name: config[key] for name, key in names.items() if key in config},
            "arn": f"arn:aws:route53:::healthcheck/{resource_id}",
            **self.tags_found(tag_map(tags["ResourceTagSet"]["Tags"]), state),
        }

    def update(
        self,
        resource_id: str,
        state: Props,
        inputs: Props,
        changed: set[str],
        call: Call,
    ) -> None:
        if different := {
            name: inputs[name] for name in self._NAMES if name in changed & set(inputs)
        }:
            self.route53.update_health_check(
                HealthCheckId=resource_id, **given(different, self._NAMES)
            )
        if "tagsAll" in changed:
            self._tag("healthcheck", resource_id, state, inputs)

    def delete(self, resource_id: str, state: Props, call: Call) -> None:
        self.route53.delete_health_check(HealthCheckId=resource_id)


class Record(_Route53):
    """aws_route53_record, of simple routing or one of several values that are answered together."""

    token = "aws:route53/record:Record"  # noqa: S105
    properties: ClassVar[Properties] = {
        "zoneId": Property(required=True, replaces=True),
        "name": Property(required=True, replaces=True, same=_same_name),
        "type": Property(
            required=True, choices=("A", "AAAA", "CAA", "CNAME", "MX", "NS", "SRV", "TXT")
        ),
        "ttl": Property(required=True),
        "records": Property(required=True, unordered=True),
        "allowOverwrite": Property(computed=True),
        "setIdentifier": Property(replaces=True),
        "multivalueAnswerRoutingPolicy": Property(replaces=True),
        "healthCheckId": Property(),
    }
    outputs = ("fqdn",)

    def validate(self, inputs: Props) -> list[Failure]:
        if inputs["records"] == []:
            return [Failure("records", f"record {inputs['name']} has no values")]
        return []

    def _fqdn(self, zone: str, name: str) -> str:
        apex = _bare(self.route53.get_hosted_zone(Id=zone)["HostedZone"]["Name"])
        bare = _bare(name)
        return bare if bare == apex or bare.endswith(f".{apex}") else f"{bare}.{apex}"

    def _change(self, action: str, props: Props) -> None:
        record = {
            "Name": self._fqdn(props["zoneId"], props["name"]),
            "Type": props["type"],
            "TTL": props["ttl"],
            "ResourceRecords": [{"Value": self._value(props, text)} for text in props["records"]],
            **given(
                props,
                {
                    "setIdentifier": "SetIdentifier",
                    "multivalueAnswerRoutingPolicy": "MultiValueAnswer",
                    "healthCheckId": "HealthCheckId",
                },
            ),
        }
        self.route53.change_resource_record_sets(
            HostedZoneId=props["zoneId"],
            ChangeBatch={"Changes": [{"Action": action, "ResourceRecordSet": record}]},
        )

    @staticmethod
    def _value(props: Props, text: str) -> str:
        quoted = props["type"] == "TXT" and not text.startswith('"')
        return f'"{text}"' if quoted else text

    def create(self, inputs: Props, call: Call) -> str:
        self._change("UPSERT" if inputs.get("allowOverwrite") else "CREATE", inputs)
        parts = [inputs["zoneId"], _bare(inputs["name"]), inputs["type"]]
        return "_".join([*parts, *([inputs["setIdentifier"]] if "setIdentifier" in inputs else [])])

    def read(self, resource_id: str, state: Props) -> Props:
        fqdn = self._fqdn(state["zoneId"], state["name"])
        response = self.route53.list_resource_record_sets(
            HostedZoneId=state["zoneId"], StartRecordName=fqdn, StartRecordType=state["type"]
        )
        for item in response["ResourceRecordSets"]:
            same = _bare(item["Name"]) == fqdn and item["Type"] == state["type"]
            if same and item.get("SetIdentifier") == state.get("setIdentifier"):
                values = [value["Value"] for value in item.get("ResourceRecords", [])]
                if state["type"] == "TXT":
                    values = [value.strip('"') for value in values]
                found = {"ttl": item.get("TTL"), "records": values, "fqdn": fqdn}
                if "HealthCheckId" in item:
                    found["healthCheckId"] = item["HealthCheckId"]
                return found
        raise Gone(resource_id)

    def update(
        self,
        resource_id: str,
        state: Props,
        inputs: Props,
        changed: set[str],
        call: Call,
    ) -> None:
        if "type" in changed:
            self._change("DELETE", state)
        self._change("UPSERT", inputs)

    def delete(self, resource_id: str, state: Props, call: Call) -> None:
        self._change("DELETE", {**state, **self.read(resource_id, state)})


TYPES = (Zone, HealthCheck, Record)
