"""The policy pack, run by the real engine: what breaks a rule is refused in the rule's words."""

from pathlib import Path

from policies import networks
from policies.rule import name_of
from policies.rules import RULES
from tests.engine.conftest import Cloud
from tests.engine.harness import POLICIES, Workspace

# The stand-ins make no group that breaks it.
NOT_HERE = {name_of(networks.security_groups_start_closed)}
# One program that breaks all the others.
PROGRAM = """
import json

def tags(name, role=""):
    return {"Project": "tiny", "Stack": "prod", "Name": name} | ({"Role": role} if role else {})

net = aws.ec2.Vpc("net", cidr_block="10.0.0.0/16", tags=tags("net"))
near = aws.ec2.Subnet("near", vpc_id=net.id, cidr_block="10.0.1.0/24", map_public_ip_on_launch=True,
    tags=tags("near"))
internet = aws.ec2.InternetGateway("internet", vpc_id=net.id, tags=tags("internet"))
table = aws.ec2.RouteTable("table", vpc_id=net.id, tags=tags("table"))
aws.ec2.Route("out", route_table_id=table.id, destination_cidr_block="0.0.0.0/0",
    gateway_id=internet.id)
aws.ec2.RouteTableAssociation("near", route_table_id=table.id, subnet_id=near.id)
data = aws.ec2.SecurityGroup("data", vpc_id=net.id, tags=tags("data", "database"))
aws.vpc.SecurityGroupIngressRule("in", security_group_id=data.id, cidr_ipv4="0.0.0.0/0",
    ip_protocol="tcp", from_port=3306, to_port=3307, tags=tags("in"))
aws.ec2.Instance("machine", ami="ami-1", instance_type="t3.small", subnet_id=near.id,
    associate_public_ip_address=True, key_name="mine",
    user_data="-----BEGIN PRIVATE KEY-----", tags=tags("machine", "database"))
aws.ebs.Volume("volume", availability_zone="eu-central-1a", size=1, tags=tags("volume"))
aws.ec2.Eip("address", instance="i-1", tags=tags("address"))
bucket = aws.s3.Bucket("bucket", tags=tags("bucket"))
aws.s3.BucketPublicAccessBlock("bucket", bucket=bucket.id, block_public_acls=True)
anyone = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": "*"}}
all_may = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
role = aws.iam.Role("role", assume_role_policy=json.dumps({"Statement": [anyone]}),
    tags=tags("role"))
aws.iam.RolePolicy("role", role=role.name, policy=json.dumps({"Statement": [all_may]}))
aws.iam.RolePolicyAttachment("role", role=role.name,
    policy_arn="arn:aws:iam::aws:policy/AdministratorAccess")
aws.dynamodb.Table("mine", hash_key="id", attributes=[{"name": "id", "type": "S"}],
    billing_mode="PAY_PER_REQUEST")
"""


def test_a_program_that_breaks_the_rules_is_refused_in_their_words(
    tmp_path: Path, pulumi_home: Path, cloud: Cloud
) -> None:
    workspace = Workspace(tmp_path / "project", pulumi_home, cloud.endpoint)
    workspace.init("prod")
    workspace.program(PROGRAM)
    outcome = workspace.preview("--policy-pack", str(POLICIES))
    assert outcome.exit_code != 0
    said = [line.strip() for line in outcome.output.splitlines()]
    broken = {line.split()[2] for line in said if line.startswith("- [mandatory]")}
    assert broken == {rule.name for rule in RULES} - NOT_HERE
    assert {rule.says for rule in RULES if rule.name in broken} <= set(said)
    assert "metadataOptions.httpTokens is optional; it has to be required" in said
    assert "it lets 0.0.0.0/0 reach ports 3306 to 3307; allowed are 80 and 443, a rule each" in said


def test_nothing_is_made_of_what_breaks_a_rule(workspace: Workspace) -> None:
    workspace.program("""
tags = {"Project": "tiny", "Stack": "test", "Name": "volume"}
aws.ebs.Volume("volume", availability_zone="eu-central-1a", size=1, tags=tags)
""")
    outcome = workspace.up("--policy-pack", str(POLICIES))
    assert outcome.exit_code != 0
    assert "encrypted has to be true" in outcome.output
    made = [resource["type"] for resource in workspace.checkpoint()["deployment"]["resources"]]
    assert "pulumi:pulumi:Stack" in made
    assert "aws:ebs/volume:Volume" not in made
