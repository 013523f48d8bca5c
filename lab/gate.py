"""Whether a machine may make a call: by the way it came, by its credentials, by its role.

What a call is about is told as IAM would see it, for the calls that the site's machines
make. A call that is not told apart here is about `*`: a policy must allow it on `*`.
"""

import json
import re
from collections.abc import Callable
from functools import cache
from typing import Any, cast
from urllib.parse import parse_qs, unquote

from lab import account, identities, network
from lab.api import Api, Call, Door
from lab.facts import Facts, Instance, leaves
from lab.imds import access_key
from lab.permissions import Request, Resource, Statement, refused

_CREDENTIAL = re.compile(r"Credential=([^/]+)/\d{8}/([^/]+)/")
_ENDPOINTS = {"cloudwatch": "monitoring"}
"""Services whose endpoints have another name."""
_FREE = "sts:GetCallerIdentity"
"""Needs no permission on AWS either."""


class Gate:
    """Decides about the calls of machines."""

    def __init__(self, api: Api, facts: Callable[[], Facts]) -> None:
        self._api = api
        self._facts = facts

    def __call__(self, call: Call) -> str | None:
        """Why the call is refused, if it is."""
        instance = self._facts().at(call.caller)
        if instance is None:
            return f"{call.caller} is no machine of this account."
        if why := self._wrong_way(call, instance):
            return why
        found = _CREDENTIAL.search(call.environ.get("HTTP_AUTHORIZATION", ""))
        if found is None or found[1] != access_key(instance.id):
            return "The request is not signed with this machine's own credentials."
        return self._wrong_role(call, instance, region=found[2])

    def _wrong_way(self, call: Call, instance: Instance) -> str | None:
        facts = self._facts()
        only = {Door.S3: "s3", Door.DYNAMODB: "dynamodb"}.get(call.door, call.service)
        if call.service != only:
            return f"{call.door.value} answers for {only} alone."
        private = next(p for p in instance.addresses if p.address == call.caller)
        if call.door is Door.AWS and not leaves(facts, instance, private, network.AWS):
            # It came through an interface endpoint, which is one service's.
            services = {
                endpoint.service
                for endpoint in facts.endpoints.values()
                if endpoint.vpc == instance.vpc and not endpoint.gateway
            }
            if _ENDPOINTS.get(call.service, call.service) not in services:
                return f"The VPC has no endpoint for {call.service}, nor this machine a way out."
        return None

    def _wrong_role(self, call: Call, instance: Instance, region: str) -> str | None:
        with self._api.exclusive("ec2", "iam"):
            found = account.instance(instance.id)
            profile = identities.profile(found) if found else None
            if profile is None:
                return "The machine has no instance profile."
            role = profile[2]
            statements = _statements(role)
            request = _request(call, instance, region)
        if request.action == _FREE:
            return None
        why = refused(statements, request)
        who = f"arn:aws:sts::{account.DEFAULT_ACCOUNT_ID}:assumed-role/{role}/{instance.id}"
        return f"User: {who} is not authorized to perform: {why}" if why else None


@cache
def _parsed(document: str) -> tuple[Statement, ...]:
    listed: Any = json.loads(document)["Statement"]
    return tuple(cast("list[Statement]", listed if isinstance(listed, list) else [listed]))


def _statements(role_name: str) -> list[Statement]:
    role = next(role for role in account.iam().roles.values() if role.name == role_name)
    documents = [unquote(document) for document in role.policies.values()]
    documents += [policy.document for policy in role.managed_policies.values()]
    return [statement for document in documents for statement in _parsed(document)]


def _request(call: Call, instance: Instance, region: str) -> Request:
    prefix = f"arn:aws:ec2:{instance.region}:{account.DEFAULT_ACCOUNT_ID}"
    context = {
        "aws:requestedregion": (region,),
        "aws:resourceaccount": (account.DEFAULT_ACCOUNT_ID,),
        # The lab's HTTP stands for AWS's HTTPS.
        "aws:securetransport": ("true",),
        "aws:sourcevpc": (instance.vpc,),
        "aws:sourceip": (call.caller,),
        "ec2:sourceinstancearn": (f"{prefix}:instance/{instance.id}",),
    }
    match call.service:
        case "s3":
            return _s3(call, context)
        case "dynamodb":
            return _dynamodb(call, context, region)
        case "ssm":
            return _ssm(call, context, region)
        case "ec2":
            return _ec2(call, context, prefix)
        case "logs" | "sns" | "cloudwatch":
            return _watching(call, context, region)
        case _:
            return Request(f"{call.service}:{call.action}", context=context)


def _json(call: Call) -> dict[str, Any]:
    try:
        content = json.loads(call.body or b"{}")
    except ValueError:
        return {}
    return cast("dict[str, Any]", content) if isinstance(content, dict) else {}


_OBJECT_ACTIONS = {"GET": "Get", "HEAD": "Get", "PUT": "Put", "POST": "Put", "DELETE": "Delete"}


def _s3(call: Call, context: dict[str, tuple[str, ...]]) -> Request:
    bucket, _, key = call.environ.get("PATH_INFO", "/").lstrip("/").partition("/")
    method = call.environ["REQUEST_METHOD"]
    query = parse_qs(call.environ.get("QUERY_STRING", ""), keep_blank_values=True)
    if not bucket:
        return Request("s3:ListAllMyBuckets", context=context)
    arn = f"arn:aws:s3:::{bucket}"
    if key:
        special = next((name for name in ("tagging", "acl", "retention") if name in query), "")
        versioned = "Version" if "versionId" in query else ""
        action = f"s3:{_OBJECT_ACTIONS.get(method, method)}Object{versioned}{special.title()}"
        if method == "DELETE" and "uploadId" in query:
            action = "s3:AbortMultipartUpload"
        return Request(action, (Resource(f"{arn}/{key}"),), context)
    if "location" in query:
        return Request("s3:GetBucketLocation", (Resource(arn),), context)
    if method in ("GET", "HEAD"):
        listed = {"s3:prefix": tuple(query.get("prefix", [""]))}
        return Request("s3:ListBucket", (Resource(arn, listed),), context)
    if method == "POST" and "delete" in query:
        return Request("s3:DeleteObject", (Resource(f"{arn}/*"),), context)
    return Request("s3:DeleteBucket" if method == "DELETE" else "s3:PutBucket",
                   (Resource(arn),), context)  # fmt: skip


def _dynamodb(call: Call, context: dict[str, tuple[str, ...]], region: str) -> Request:
    asked = _json(call)
    tables = [asked["TableName"]] if "TableName" in asked else list(asked.get("RequestItems", {}))
    keys = _leading_keys(call.action, asked)
    if keys:
        context = {**context, "dynamodb:leadingkeys": keys}
    here = f"arn:aws:dynamodb:{region}:{account.DEFAULT_ACCOUNT_ID}:table"
    index = f"/index/{asked['IndexName']}" if "IndexName" in asked else ""
    resources = tuple(Resource(f"{here}/{table}{index}") for table in tables) or (Resource(),)
    return Request(f"dynamodb:{call.action}", resources, context)


def _leading_keys(action: str, asked: dict[str, Any]) -> tuple[str, ...]:
    """The hash keys that the call names: `id`, as in the site's table."""
    batches: dict[str, Any] = asked.get("RequestItems", {})
    named: list[Any] = [asked.get("Key"), asked.get("Item")]
    if action == "BatchGetItem":
        named = [key for batch in batches.values() for key in batch["Keys"]]
    elif action == "BatchWriteItem":
        parts = [part for batch in batches.values() for one in batch for part in one.values()]
        named = [part.get("Item") or part.get("Key") for part in parts]
    elif action == "Query":
        return ("in an expression that the lab does not read",)
    return tuple(str(next(iter(item["id"].values()))) for item in named if item and "id" in item)


def _ssm(call: Call, context: dict[str, tuple[str, ...]], region: str) -> Request:
    asked = _json(call)
    here = f"arn:aws:ssm:{region}:{account.DEFAULT_ACCOUNT_ID}:parameter"
    names: list[str] = asked.get("Names") or [asked.get("Name") or asked.get("Path") or ""]
    resources = tuple(
        Resource(f"{here}/{name.partition(':')[0].lstrip('/')}") for name in names if name
    )
    return Request(f"ssm:{call.action}", resources or (Resource(),), context)


def _watching(call: Call, context: dict[str, tuple[str, ...]], region: str) -> Request:
    """Logs, alerts and metrics: a stream, a topic, a name space."""
    action = f"{call.service}:{call.action}"
    if call.service == "sns":
        topic = parse_qs(call.body.decode()).get("TopicArn", ["*"])[0]
        return Request(action, (Resource(topic),), context)
    if call.service == "cloudwatch":
        return Request(action, context={**context, "cloudwatch:namespace": (_namespace(call),)})
    asked = _json(call)
    group, stream = asked.get("logGroupName", ""), asked.get("logStreamName", "")
    arn = f"arn:aws:logs:{region}:{account.DEFAULT_ACCOUNT_ID}:log-group:{group}"
    return Request(action, (Resource(f"{arn}:log-stream:{stream}" if group else "*"),), context)


def _namespace(call: Call) -> str:
    """Of metrics that are written: in JSON, or in a form, as SDKs differ."""
    form = parse_qs(call.body.decode("utf-8", "replace")).get("Namespace", [""])[0]
    return str(_json(call).get("Namespace", form))


def _ec2(call: Call, context: dict[str, tuple[str, ...]], prefix: str) -> Request:
    match call.action:
        case "AssociateAddress":
            return _associate_address(call, context, prefix)
        case "AssignPrivateIpAddresses":
            named = parse_qs(call.body.decode()).get("NetworkInterfaceId", [""])[0]
            resources = _interfaces(named, prefix)
            return Request("ec2:AssignPrivateIpAddresses", resources or (Resource(),), context)
        case action:
            return Request(f"ec2:{action}", context=context)


def _associate_address(call: Call, context: dict[str, tuple[str, ...]], prefix: str) -> Request:
    """About three things: the address, the interface, and the instance if that is named."""
    asked = {key: values[0] for key, values in parse_qs(call.body.decode()).items()}
    backends = account.backends().values()
    addresses = [
        Resource(f"{prefix}:elastic-ip/{eip.id}", _tags(eip))
        for backend in backends
        for eip in backend.addresses
        if asked.get("AllocationId") == eip.id or asked.get("PublicIp") == eip.public_ip
    ]
    instance = account.instance(asked.get("InstanceId", ""))
    instances = [Resource(f"{prefix}:instance/{instance.id}", _tags(instance))] if instance else []
    wanted = instance.nics[0].id if instance else asked.get("NetworkInterfaceId", "")
    resources = (*addresses, *instances, *_interfaces(wanted, prefix))
    return Request("ec2:AssociateAddress", resources or (Resource(),), context)


def _interfaces(wanted: str, prefix: str) -> tuple[Resource, ...]:
    return tuple(
        Resource(f"{prefix}:network-interface/{eni.id}", {
            **_tags(eni), "ec2:subnet": (f"{prefix}:subnet/{eni.subnet.id}",)})
        for backend in account.backends().values()
        for eni in backend.enis.values()
        if eni.id == wanted
    )  # fmt: skip


def _tags(resource: Any) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for tag in resource.get_tags():
        for key in ("aws", "ec2"):
            found[f"{key}:resourcetag/{tag['key']}".lower()] = (tag["value"],)
    return found
