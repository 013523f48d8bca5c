"""A program with every type of the table, for test_types.py: `variant` chooses what is changed."""

import json
from typing import Any, TypeVar

import pulumi
import pulumi_aws as aws
from pulumi_command import local

update = pulumi.Config().get("variant") == "update"
replace = pulumi.Config().get("variant") == "replace"


T = TypeVar("T")


def either(first: T, second: T) -> T:
    """What an update changes."""
    return second if update else first


def other(first: T, second: T) -> T:
    """What a replacement changes."""
    return second if replace else first


def statement(**parts: object) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **parts}]})


zones = aws.get_availability_zones(state="available").names
image = aws.ec2.get_ami(owners=["self"], most_recent=True, name_regex=other("lab", "other"))
tags = either({"a": "b", "c": "d"}, {"a": "e"})
trust = statement(Principal={"Service": "ec2.amazonaws.com"}, Action="sts:AssumeRole")

vpc = aws.ec2.Vpc("net", cidr_block="10.0.0.0/16", enable_dns_hostnames=either(True, False))
subnet = aws.ec2.Subnet(
    "near",
    vpc_id=vpc.id,
    cidr_block="10.0.0.0/24",
    availability_zone=zones[0],
    map_public_ip_on_launch=either(False, True),
)
far = aws.ec2.Subnet(
    "far", vpc_id=vpc.id, cidr_block=other("10.0.1.0/24", "10.0.2.0/24"), availability_zone=zones[1]
)
internet = aws.ec2.InternetGateway("internet", vpc_id=vpc.id, tags=tags)
table = aws.ec2.RouteTable("table", vpc_id=vpc.id)
spare = aws.ec2.RouteTable("spare", vpc_id=vpc.id)
address = aws.ec2.Eip("nat", domain="vpc")
nat = aws.ec2.NatGateway("nat", subnet_id=subnet.id, allocation_id=address.allocation_id)
aws.ec2.Route(
    "out",
    route_table_id=table.id,
    destination_cidr_block=other("0.0.0.0/0", "1.0.0.0/8"),
    gateway_id=None if update else internet.id,
    nat_gateway_id=nat.id if update else None,
)
aws.ec2.RouteTableAssociation(
    "near", subnet_id=subnet.id, route_table_id=spare.id if update else table.id
)


def guests(number: int, action: str, network: str = "0.0.0.0/0", ports: int = 0) -> Any:
    protocol = "6" if ports else "-1"
    return {
        "rule_no": number,
        "action": action,
        "protocol": protocol,
        "cidr_block": network,
        "from_port": 0,
        "to_port": ports,
    }


aws.ec2.NetworkAcl(
    "guests",
    vpc_id=vpc.id,
    subnet_ids=[far.id] if update else [subnet.id],
    ingress=[
        guests(100, "deny", "203.0.113.0/24"),
        *([guests(101, "deny", ports=9)] if update else []),
        guests(1000, "allow"),
    ],
    egress=[guests(1000, "allow")],
)
aws.ec2.VpcEndpoint(
    "s3",
    vpc_id=vpc.id,
    service_name="com.amazonaws.eu-central-1.s3",
    route_table_ids=either([table.id], [table.id, spare.id]),
)
aws.ec2.DefaultSecurityGroup("default", vpc_id=vpc.id, ingress=[], egress=[])
group = aws.ec2.SecurityGroup("web", vpc_id=vpc.id, tags=tags)
second = aws.ec2.SecurityGroup("second", vpc_id=vpc.id, description=other("one", "two"))
aws.ec2.VpcEndpoint(
    "ssm",
    vpc_id=vpc.id,
    service_name=other("com.amazonaws.eu-central-1.ssm", "com.amazonaws.eu-central-1.sqs"),
    vpc_endpoint_type="Interface",
    subnet_ids=[subnet.id],
    security_group_ids=[group.id],
    private_dns_enabled=True,
)
aws.vpc.SecurityGroupIngressRule(
    "in",
    security_group_id=group.id,
    ip_protocol="tcp",
    from_port=80,
    to_port=either(80, 81),
    cidr_ipv4=other("0.0.0.0/0", None),
    referenced_security_group_id=other(None, group.id),
)
aws.vpc.SecurityGroupEgressRule(
    "out", security_group_id=group.id, ip_protocol="-1", cidr_ipv4=either("10.0.0.0/8", "0.0.0.0/0")
)
role = aws.iam.Role(
    "role", assume_role_policy=trust, max_session_duration=either(3600, 7200), tags=tags
)
other_role = aws.iam.Role("other", assume_role_policy=trust, path=other("/", "/x/"))
aws.iam.RolePolicy(
    "may", role=role.name, policy=statement(Action=either("s3:Get*", "s3:*"), Resource="*")
)
aws.iam.RolePolicyAttachment(
    "session",
    role=role.name,
    policy_arn=other(
        "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore",
        "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess",
    ),
)
profile = aws.iam.InstanceProfile(
    "profile", role=other_role.name if update else role.name, tags=tags
)
machine = aws.ec2.Instance(
    "machine",
    ami=image.id,
    instance_type=either("t3.micro", "t3.small"),
    subnet_id=subnet.id,
    vpc_security_group_ids=[group.id, second.id] if update else [group.id],
    iam_instance_profile=profile.name,
    associate_public_ip_address=True,
    disable_api_termination=either(False, True),
    force_destroy=True,
    metadata_options={"http_tokens": "required", "http_put_response_hop_limit": either(1, 2)},
    root_block_device={
        "encrypted": True,
        "volume_type": "gp3",
        "volume_size": either(8, 9),
        "tags": {"a": either("b", "c")},
    },
    user_data=other("one", "two"),
    user_data_replace_on_change=True,
)
interface = aws.ec2.NetworkInterface(
    "standing",
    subnet_id=subnet.id,
    security_groups=[group.id, second.id] if update else [group.id],
    description=either("first", "other"),
)
standing = aws.ec2.Instance(
    "standing",
    ami=image.id,
    instance_type="t3.micro",
    primary_network_interface={"network_interface_id": interface.id},
    user_data=other("one", "two"),
    user_data_replace_on_change=True,
    opts=pulumi.ResourceOptions(delete_before_replace=True),
)
volume = aws.ebs.Volume(
    "data", availability_zone=zones[0], size=either(8, 9), type="gp3", encrypted=other(True, False)
)
aws.ec2.VolumeAttachment(
    "data",
    device_name="/dev/sdf",
    instance_id=machine.id,
    volume_id=volume.id,
    opts=pulumi.ResourceOptions(delete_before_replace=True),
)
bucket = aws.s3.Bucket("bucket", force_destroy=True, tags=tags)
aws.s3.BucketPublicAccessBlock(
    "bucket", bucket=bucket.bucket, block_public_acls=either(True, False)
)
aws.s3.BucketServerSideEncryptionConfiguration(
    "bucket",
    bucket=bucket.bucket,
    rules=[
        {"apply_server_side_encryption_by_default": {"sse_algorithm": either("AES256", "aws:kms")}}
    ],
)
aws.s3.BucketVersioning(
    "bucket",
    bucket=bucket.bucket,
    versioning_configuration={"status": either("Enabled", "Suspended")},
)
aws.s3.BucketLifecycleConfiguration(
    "bucket",
    bucket=bucket.bucket,
    rules=[
        {
            "id": "age",
            "status": "Enabled",
            "filter": {"prefix": ""},
            "expiration": {"days": either(3, 4)},
            "noncurrent_version_expiration": {"noncurrent_days": 2},
            "abort_incomplete_multipart_upload": {"days_after_initiation": 1},
        }
    ],
)
aws.s3.BucketOwnershipControls(
    "bucket",
    bucket=bucket.bucket,
    rule={"object_ownership": either("BucketOwnerEnforced", "BucketOwnerPreferred")},
)
aws.s3.BucketPolicy(
    "bucket",
    bucket=bucket.bucket,
    policy=bucket.arn.apply(
        lambda arn: statement(
            Principal="*", Action=either("s3:GetObject", "s3:*"), Resource=[f"{arn}/*"]
        )
    ),
)
aws.s3.BucketObjectv2(
    "file", bucket=bucket.bucket, key=other("a", "b"), source=pulumi.FileAsset("file.txt")
)
aws.s3.BucketObjectv2(
    "archive",
    bucket=bucket.bucket,
    key="a.tar.gz",
    source=pulumi.AssetArchive({"x": pulumi.StringAsset(str(either("one", "two")))}),
)
aws.ssm.Parameter(
    "word",
    name=other("/a", "/b"),
    type="SecureString",
    value=either("one", "two"),
    description="a word",
    tags=tags,
)
aws.dynamodb.Table(
    "table",
    billing_mode="PAY_PER_REQUEST",
    hash_key=other("id", "key"),
    attributes=[{"name": other("id", "key"), "type": "S"}],
    point_in_time_recovery={"enabled": either(True, False)},
    server_side_encryption={"enabled": True},
    ttl={"attribute_name": "gone", "enabled": True},
    deletion_protection_enabled=False,
    tags=tags,
)
zone = aws.route53.Zone(
    "zone", name="a.internal", comment=either("x", "y"), vpcs=[{"vpc_id": vpc.id}], tags=tags
)
aws.route53.Record(
    "name",
    zone_id=zone.zone_id,
    name=other("a", "b"),
    type="A",
    ttl=either(1, 2),
    records=["10.0.0.9", "10.0.0.8"],
)
public = aws.route53.Zone("public", name="a.example", force_destroy=True)
check = aws.route53.HealthCheck(
    "check",
    type=other("HTTP", "TCP"),
    ip_address="203.0.113.9",
    port=80,
    fqdn="a.example",
    failure_threshold=either(3, 4),
    request_interval=30,
    tags=tags,
)
for number in ("1", "2"):
    aws.route53.Record(
        f"public-{number}",
        zone_id=public.zone_id,
        name="a.example",
        type="A",
        ttl=60,
        records=[either(f"203.0.113.{number}", f"203.0.114.{number}")],
        set_identifier=number,
        multivalue_answer_routing_policy=True,
        health_check_id=check.id,
    )
command = local.Command(
    "command",
    create='echo "made $WHAT"; cat',
    update='echo "updated $WHAT after $PULUMI_COMMAND_STDOUT"',
    delete='echo "$PULUMI_COMMAND_STDOUT" >> deleted',
    stdin="given",
    environment={"WHAT": either("one", "two")},
    triggers=[other(1, 2)],
)
vault = aws.backup.Vault("vault", force_destroy=True, tags=tags)
plan = aws.backup.Plan(
    "plan",
    name=other("one", "two"),
    rules=[
        {
            "rule_name": "daily",
            "target_vault_name": vault.name,
            "schedule": "cron(0 3 * * ? *)",
            "lifecycle": {"delete_after": either(3, 4)},
        }
    ],
)
aws.backup.Selection(
    "selection",
    plan_id=plan.id,
    iam_role_arn=role.arn,
    selection_tags=[{"type": "STRINGEQUALS", "key": "a", "value": "b"}],
)
aws.cloudwatch.LogGroup(
    "logs", name=other("/one", "/two"), retention_in_days=either(3, 7), tags=tags
)
topic = aws.sns.Topic(
    "topic", display_name=either("one", "two"), name=other("one", "two"), tags=tags
)
aws.sns.TopicSubscription(
    "people",
    topic=topic.arn,
    protocol="email",
    endpoint=other("a@b.example", "c@b.example"),
    raw_message_delivery=either(False, True),
)
aws.cloudwatch.MetricAlarm(
    "alarm",
    name=other("one", "two"),
    namespace="AWS/EC2",
    metric_name="StatusCheckFailed",
    dimensions={"InstanceId": machine.id},
    statistic="Maximum",
    period=60,
    evaluation_periods=either(2, 3),
    threshold=0,
    comparison_operator="GreaterThanThreshold",
    alarm_actions=[topic.arn],
    ok_actions=[topic.arn],
    tags=tags,
)
aws.cloudwatch.Dashboard(
    "board",
    dashboard_name=other("one", "two"),
    dashboard_body=json.dumps({"widgets": either([], [{"type": "text"}])}),
)
pulumi.export("said", command.stdout)
pulumi.export("bucket", bucket.bucket)
pulumi.export("address", standing.private_ip)
