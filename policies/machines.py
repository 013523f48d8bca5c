"""Machines: what they give away, and who gets in."""

from policies.rule import LOAD_BALANCER, Found, Resource, rule

INSTANCE = "aws:ec2/instance:Instance"
VOLUME = "aws:ebs/volume:Volume"
RDS = frozenset({"aws:rds/instance:Instance", "aws:rds/clusterInstance:ClusterInstance"})
RDS_STORAGE = ("aws:rds/instance:Instance", "aws:rds/cluster:Cluster")
PARAMETER = "aws:ssm/parameter:Parameter"
_KEY = "PRIVATE KEY-----"


@rule(INSTANCE)
def machines_require_imdsv2_one_hop_away(machine: Resource) -> Found:
    """A machine's credentials are given by IMDSv2 alone, and to nobody more than one hop away."""
    options = "metadataOptions"
    if (tokens := machine.get(f"{options}.httpTokens", "optional")) != "required":
        yield f"{options}.httpTokens is {tokens}; it has to be required"
    if (hops := machine.get(f"{options}.httpPutResponseHopLimit", "not set")) != 1:
        yield f"{options}.httpPutResponseHopLimit is {hops}; it has to be 1"


@rule(INSTANCE, VOLUME, *RDS_STORAGE)
def disks_are_encrypted(resource: Resource) -> Found:
    """Whatever is written to a disk is encrypted."""
    if resource.type == INSTANCE:
        if resource.get("rootBlockDevice.encrypted") is not True:
            yield "rootBlockDevice.encrypted has to be true"
        for number, device in enumerate(resource.get("ebsBlockDevices", ())):
            if device.get("encrypted") is not True:
                yield f"ebsBlockDevices[{number}].encrypted has to be true"
        return
    name = "encrypted" if resource.type == VOLUME else "storageEncrypted"
    if resource.get(name) is not True:
        yield f"{name} has to be true"


@rule(INSTANCE, *sorted(RDS))
def only_load_balancers_have_public_addresses(resource: Resource) -> Found:
    """No database, and no machine but a load balancer, has a public address."""
    if resource.type in RDS:
        if resource.get("publiclyAccessible"):
            yield "publiclyAccessible is true; a database is reached from within the network only"
    elif resource.get("associatePublicIpAddress") and resource.role != LOAD_BALANCER:
        yield (
            f"associatePublicIpAddress is true, and the role is {resource.role or 'not tagged'};"
            f" only machines with the tag Role {LOAD_BALANCER} may have one"
        )


@rule(INSTANCE)
def nobody_logs_in_by_ssh(machine: Resource) -> Found:
    """Operators come by Session Manager: no machine has an SSH key."""
    if key := machine.get("keyName"):
        yield f"keyName is {key}; leave it out, and use `make shell`"


@rule(INSTANCE, PARAMETER)
def private_keys_are_secure_strings(resource: Resource) -> Found:
    """Private keys are SecureStrings in Parameter Store, and nowhere else."""
    if resource.type == INSTANCE:
        if _KEY in resource.get("userData", ""):
            yield "userData holds a private key, which whoever may describe the machine can read"
    elif resource.get("type") != "SecureString" and _KEY in resource.get("value", ""):
        yield f"type is {resource.get('type')} and value a private key; type has to be SecureString"
