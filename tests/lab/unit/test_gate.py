"""A machine's calls by real boto3: the way they came, whose credentials, what the role may do."""

import dataclasses
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any, cast

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from moto.moto_api._internal.models import moto_api_backend

from lab import account, namespaces
from lab.api import Api, Door
from lab.facts import Endpoint, Facts, Private
from lab.gate import Gate
from lab.imds import access_key
from lab.servers import serve
from tests.lab.unit.aws import ACCOUNT, EDGE
from tests.lab.unit.aws import account as account_of

pytestmark = pytest.mark.usefixtures("corrected")

REGION = "eu-west-1"


def stop(server: Any) -> None:
    """Ends the server's thread, and only then closes its socket.

    A thread that polled a closed descriptor would keep whatever gets its number next from ever
    coming to its end: the pipe of some other test's child, for an hour.
    """
    ending = threading.Thread(target=server.shutdown)
    ending.start()
    server.socket.shutdown(socket.SHUT_RDWR)  # which wakes it
    ending.join()
    server.server_close()


class Lab:
    """The API at its doors, all on this machine's loopback: the source address is 127.0.0.1."""

    def __init__(self) -> None:
        self.api = Api()
        self.facts = Facts()
        self.api.permit = Gate(self.api, lambda: self.facts)
        self._servers: list[Any] = []
        self.urls = {door: self._open(door) for door in Door}
        self.instance = ""

    def _open(self, door: Door) -> str:
        listener = namespaces.listen("127.0.0.1", 0)
        port = listener.getsockname()[1]
        self._servers.append(serve(listener, self.api.at(door)))
        return f"http://127.0.0.1:{port}"

    def close(self) -> None:
        for server in self._servers:
            stop(server)

    def client(self, service: str, door: Door = Door.OPERATOR, key: str | None = None) -> Any:
        """As the machine has it; at the operator's door as the operator has it."""
        return cast("Any", boto3).client(
            service,
            endpoint_url=self.urls[door],
            region_name=REGION,
            aws_access_key_id=key or access_key(self.instance),
            aws_secret_access_key="any",
            config=Config(retries={"total_max_attempts": 1}),
        )

    def allow(self, *statements: dict[str, Any]) -> None:
        document = {"Version": "2012-10-17", "Statement": list(statements)}
        self.client("iam").put_role_policy(
            RoleName="edge", PolicyName="p", PolicyDocument=json.dumps(document)
        )

    def place(self, facts: Facts) -> None:
        """Let the machine of these facts be the one that calls."""
        (edge,) = (found for found in facts.instances.values() if found.role == EDGE.role)
        private = dataclasses.replace(edge.addresses[0], address="127.0.0.1")
        me = dataclasses.replace(edge, id=self.instance, addresses=(private,))
        self.facts = dataclasses.replace(facts, instances={me.id: me})


@pytest.fixture(scope="module")
def opened() -> Iterator[Lab]:
    lab = Lab()
    yield lab
    lab.close()


@pytest.fixture
def lab(opened: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
    cast("Any", moto_api_backend).reset()
    iam, ec2 = opened.client("iam"), opened.client("ec2")
    iam.create_role(RoleName="edge", AssumeRolePolicyDocument="{}")
    iam.create_instance_profile(InstanceProfileName="edge")
    iam.add_role_to_instance_profile(InstanceProfileName="edge", RoleName="edge")
    subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    tags = [{"Key": "Role", "Value": "load-balancer"}]
    opened.instance = ec2.run_instances(
        ImageId="ami-1", MinCount=1, MaxCount=1, SubnetId=subnet,
        IamInstanceProfile={"Name": "edge"},
        TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
    )["Instances"][0]["InstanceId"]  # fmt: skip
    opened.place(ACCOUNT)
    yield opened
    cast("Any", moto_api_backend).reset()


def refusal(call: Any, **arguments: Any) -> str:
    """The error code of a call that must fail."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return str(caught.value.response.get("Error", {}).get("Code"))


EVERYTHING = {"Effect": "Allow", "Action": "*", "Resource": "*"}


def test_a_stranger_is_refused_in_each_service_s_own_words(lab: Lab) -> None:
    lab.facts = Facts()
    assert refusal(lab.client("ec2", Door.AWS).describe_addresses) == "UnauthorizedOperation"
    assert refusal(lab.client("s3", Door.S3).list_buckets) == "AccessDenied"
    dynamodb = lab.client("dynamodb", Door.DYNAMODB)
    assert refusal(dynamodb.list_tables) == "AccessDeniedException"
    assert refusal(lab.client("ssm", Door.AWS).get_parameter, Name="/x") == "AccessDeniedException"
    assert refusal(lab.client("iam", Door.AWS).list_roles) == "AccessDenied"


def test_another_machine_s_credentials_are_refused(lab: Lab) -> None:
    lab.allow(EVERYTHING)
    stolen = lab.client("sts", Door.AWS, access_key("i-other"))
    assert refusal(stolen.get_caller_identity) == "AccessDenied"
    assert lab.client("sts", Door.AWS).get_caller_identity()["Account"] == "123456789012"


def test_a_role_without_policies_may_nothing_but_ask_who_it_is(lab: Lab) -> None:
    assert lab.client("sts", Door.AWS).get_caller_identity()
    assert refusal(lab.client("ec2", Door.AWS).describe_addresses) == "UnauthorizedOperation"


def test_a_gateway_s_address_answers_for_its_service_alone(lab: Lab) -> None:
    lab.allow(EVERYTHING)
    assert lab.client("s3", Door.S3).list_buckets()["Buckets"] == []
    assert refusal(lab.client("ssm", Door.S3).get_parameter, Name="/x") == "AccessDeniedException"
    assert refusal(lab.client("s3", Door.DYNAMODB).list_buckets) == "AccessDenied"


def test_an_interface_endpoint_is_one_service_s(lab: Lab) -> None:
    lab.allow(EVERYTHING)
    endpoint = {"vpce-ssm": Endpoint("vpce-ssm", "vpc-1", "ssm", gateway=False)}
    me = dataclasses.replace(EDGE, addresses=(Private("127.0.0.1"),))
    lab.place(account_of(endpoints=endpoint, instances={me.id: me}))
    ssm = lab.client("ssm", Door.AWS)
    assert refusal(ssm.get_parameter, Name="/x") == "ParameterNotFound"
    assert refusal(lab.client("ec2", Door.AWS).describe_addresses) == "UnauthorizedOperation"


def test_objects_are_told_apart(lab: Lab) -> None:
    operator = lab.client("s3")
    operator.create_bucket(
        Bucket="programs", CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    for key in ("mine", "other"):
        operator.put_object(Bucket="programs", Key=key, Body=b"x")
    lab.allow(
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::programs/mine"}
    )
    machine = lab.client("s3", Door.S3)
    assert machine.get_object(Bucket="programs", Key="mine")["Body"].read() == b"x"
    assert refusal(machine.get_object, Bucket="programs", Key="other") == "AccessDenied"
    assert refusal(machine.put_object, Bucket="programs", Key="mine", Body=b"") == "AccessDenied"
    assert refusal(machine.list_objects_v2, Bucket="programs") == "AccessDenied"


def test_items_are_told_apart_by_their_key(lab: Lab) -> None:
    lab.client("dynamodb").create_table(
        TableName="coordination",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    lab.allow(
        {
            "Effect": "Allow",
            "Action": ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:BatchGetItem"],
            "Resource": f"arn:aws:dynamodb:{REGION}:123456789012:table/coordination",
            "Condition": {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["machine/*"]}},
        }
    )
    machine = lab.client("dynamodb", Door.DYNAMODB)
    mine, other = {"id": {"S": "machine/i-1"}}, {"id": {"S": "lease/primary"}}
    table = "coordination"
    machine.put_item(TableName=table, Item=mine)
    assert machine.get_item(TableName=table, Key=mine)["Item"] == mine
    denied = "AccessDeniedException"
    assert refusal(machine.put_item, TableName=table, Item=other) == denied
    assert refusal(machine.get_item, TableName=table, Key=other) == denied
    both = {table: {"Keys": [mine, other]}}
    assert refusal(machine.batch_get_item, RequestItems=both) == denied
    assert machine.batch_get_item(RequestItems={table: {"Keys": [mine]}})["Responses"]
    assert refusal(machine.scan, TableName=table) == denied
    assert refusal(machine.get_item, TableName="elsewhere", Key=mine) == denied


def test_parameters_are_told_apart(lab: Lab) -> None:
    for name in ("/site/lab/a", "/site/lab/b"):
        lab.client("ssm").put_parameter(Name=name, Value="v", Type="SecureString")
    lab.allow(
        {
            "Effect": "Allow",
            "Action": ["ssm:GetParameter", "ssm:GetParameters"],
            "Resource": f"arn:aws:ssm:{REGION}:123456789012:parameter/site/lab/a",
        }
    )
    machine = lab.client("ssm", Door.AWS)
    assert machine.get_parameter(Name="/site/lab/a", WithDecryption=True)["Parameter"]
    assert refusal(machine.get_parameter, Name="/site/lab/b") == "AccessDeniedException"
    names = ["/site/lab/a", "/site/lab/b"]
    assert refusal(machine.get_parameters, Names=names) == "AccessDeniedException"


def test_parameters_below_a_path_are_about_the_path(lab: Lab) -> None:
    lab.allow(
        {
            "Effect": "Allow",
            "Action": "ssm:GetParametersByPath",
            "Resource": f"arn:aws:ssm:{REGION}:123456789012:parameter/site/lab/machines/edge",
        }
    )
    machine = lab.client("ssm", Door.AWS)
    assert machine.get_parameters_by_path(Path="/site/lab/machines/edge")["Parameters"] == []
    for other in ("/site/lab/machines/database", "/site/lab/machines", "/"):
        assert refusal(machine.get_parameters_by_path, Path=other) == "AccessDeniedException"


def test_an_address_is_claimed_only_as_the_role_may(lab: Lab) -> None:
    ec2 = lab.client("ec2")
    mine, other = (ec2.allocate_address(Domain="vpc")["AllocationId"] for _ in range(2))
    here = f"arn:aws:ec2:{REGION}:123456789012"
    subnet = account.instance(lab.instance)
    assert subnet

    def may_claim(role: str) -> None:
        tagged = {"StringEquals": {"aws:ResourceTag/Role": role}}
        placed = {"ArnEquals": {"ec2:Subnet": f"{here}:subnet/{subnet.subnet_id}"}}
        claim: dict[str, Any] = {"Effect": "Allow", "Action": "ec2:AssociateAddress"}
        lab.allow(
            {**claim, "Resource": f"{here}:elastic-ip/{mine}"},
            {**claim, "Resource": f"{here}:instance/*", "Condition": tagged},
            {**claim, "Resource": f"{here}:network-interface/*", "Condition": placed},
        )

    machine = lab.client("ec2", Door.AWS)
    may_claim("database")
    claim = {"AllocationId": mine, "InstanceId": lab.instance}
    assert refusal(machine.associate_address, **claim) == "UnauthorizedOperation"
    may_claim("load-balancer")
    stolen = {**claim, "AllocationId": other}
    assert refusal(machine.associate_address, **stolen) == "UnauthorizedOperation"
    assert machine.associate_address(**claim)["AssociationId"]
    assert refusal(machine.disassociate_address, PublicIp="x") == "UnauthorizedOperation"


def test_private_addresses_are_assigned_only_where_the_role_may(lab: Lab) -> None:
    ec2 = lab.client("ec2")
    found = account.instance(lab.instance)
    assert found
    here = f"arn:aws:ec2:{REGION}:123456789012"
    asked = {"NetworkInterfaceId": found.nics[0].id, "SecondaryPrivateIpAddressCount": 1}
    machine = lab.client("ec2", Door.AWS)

    def may_assign(subnet: str) -> None:
        lab.allow({
            "Effect": "Allow", "Action": "ec2:AssignPrivateIpAddresses",
            "Resource": f"{here}:network-interface/*",
            "Condition": {"ArnEquals": {"ec2:Subnet": f"{here}:subnet/{subnet}"}},
        })  # fmt: skip

    others = {subnet["SubnetId"] for subnet in ec2.describe_subnets()["Subnets"]}
    may_assign(min(others - {found.subnet_id}))
    assert refusal(machine.assign_private_ip_addresses, **asked) == "UnauthorizedOperation"
    may_assign(str(found.subnet_id))
    assert len(machine.assign_private_ip_addresses(**asked)["AssignedPrivateIpAddresses"]) == 1


def test_log_streams_are_told_apart_by_their_group(lab: Lab) -> None:
    operator = lab.client("logs")
    for group in ("/site/lab", "/site/other"):
        operator.create_log_group(logGroupName=group)
    actions = ["logs:CreateLogStream", "logs:PutLogEvents"]
    mine = f"arn:aws:logs:{REGION}:123456789012:log-group:/site/lab:log-stream:*"
    lab.allow({"Effect": "Allow", "Action": actions, "Resource": mine})
    logs = lab.client("logs", Door.AWS)
    stream = {"logStreamName": "a/i-1"}
    event = {"timestamp": int(time.time() * 1000), "message": "last words"}
    logs.create_log_stream(logGroupName="/site/lab", **stream)
    logs.put_log_events(logGroupName="/site/lab", logEvents=[event], **stream)
    found = operator.get_log_events(logGroupName="/site/lab", **stream)["events"]
    assert [one["message"] for one in found] == ["last words"]
    other = {"logGroupName": "/site/other", **stream}
    assert refusal(logs.create_log_stream, **other) == "AccessDeniedException"
    assert refusal(logs.delete_log_group, logGroupName="/site/lab") == "AccessDeniedException"


def test_a_topic_is_published_to_only_as_the_role_may(lab: Lab) -> None:
    operator = lab.client("sns")
    mine, other = (operator.create_topic(Name=name)["TopicArn"] for name in ("a", "b"))
    lab.allow({"Effect": "Allow", "Action": "sns:Publish", "Resource": mine})
    sns = lab.client("sns", Door.AWS)
    assert sns.publish(TopicArn=mine, Message="m")["MessageId"]
    assert refusal(sns.publish, TopicArn=other, Message="m") == "AccessDenied"


def test_metrics_are_written_to_the_roles_own_name_space_only(lab: Lab) -> None:
    condition = {"StringEquals": {"cloudwatch:namespace": "mine"}}
    lab.allow(
        {
            "Effect": "Allow",
            "Action": "cloudwatch:PutMetricData",
            "Resource": "*",
            "Condition": condition,
        }
    )
    cloudwatch = lab.client("cloudwatch", Door.AWS)
    data = [{"MetricName": "SignOfLife", "Value": 1.0}]
    cloudwatch.put_metric_data(Namespace="mine", MetricData=data)
    wrong = {"Namespace": "other", "MetricData": data}
    assert refusal(cloudwatch.put_metric_data, **wrong) == "AccessDenied"
    found = lab.client("cloudwatch").list_metrics()["Metrics"]
    assert [one["Namespace"] for one in found] == ["mine"]


def test_the_operator_may_everything(lab: Lab) -> None:
    assert lab.client("ec2", Door.OPERATOR, "anything").describe_instances()["Reservations"]
    assert lab.client("iam", Door.OPERATOR, "anything").list_roles()["Roles"]
