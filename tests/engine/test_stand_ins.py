"""The stand-in plugins by real Pulumi and tiny programs."""

import sys
import time
from pathlib import Path

import pytest

from tests.engine.conftest import Cloud
from tests.engine.harness import Workspace


def test_preview_makes_nothing_and_up_makes_it_once(workspace: Workspace, cloud: Cloud) -> None:
    workspace.program('aws.ec2.Vpc("net", cidr_block="10.7.0.0/16")\n')
    preview = workspace.must(workspace.preview())
    assert preview.changes == {"Vpc net": "create"}
    assert cidrs(cloud) == set()
    workspace.must(workspace.up())
    assert cidrs(cloud) == {"10.7.0.0/16"}
    assert workspace.must(workspace.up()).changes == {}
    assert workspace.must(workspace.destroy()).changes == {"Vpc net": "delete"}
    assert cidrs(cloud) == set()


def cidrs(cloud: Cloud) -> set[str]:
    vpcs = cloud.client("ec2").describe_vpcs()["Vpcs"]
    return {vpc["CidrBlock"] for vpc in vpcs if not vpc["IsDefault"]}


@pytest.mark.parametrize(
    ("program", "sentence"),
    [
        (
            'aws.sqs.Queue("jobs")',
            "does not know resource type aws:sqs/queue:Queue; known are",
        ),
        (
            'aws.ec2.Vpc("net", cidr_block="10.7.0.0/16", ipv4_netmask_length=16)',
            "does not know property ipv4NetmaskLength of aws:ec2/vpc:Vpc; known are cidrBlock,",
        ),
    ],
    ids=["type", "property"],
)
def test_what_is_not_known_is_refused_in_one_sentence(
    workspace: Workspace, program: str, sentence: str
) -> None:
    workspace.program(program)
    failed = workspace.preview()
    assert failed.exit_code != 0
    assert sentence in failed.errors
    assert "Traceback" not in failed.output
    assert "defect" not in failed.output


def test_an_unknown_function_is_one_clear_error(workspace: Workspace) -> None:
    workspace.program("aws.ec2.get_vpc(default=True)\n")
    failed = workspace.preview()
    assert failed.exit_code != 0
    assert "does not know function aws:ec2/getVpc:getVpc; known are" in failed.output


def test_an_unknown_provider_setting_is_refused(workspace: Workspace) -> None:
    workspace.set("aws:accessKey", "AKIA")
    workspace.program('aws.ec2.Vpc("net", cidr_block="10.7.0.0/16")\n')
    failed = workspace.preview()
    assert failed.exit_code != 0
    assert "does not know the setting aws:accessKey" in failed.output


def test_an_error_of_the_api_is_shown_as_the_api_says_it(workspace: Workspace) -> None:
    workspace.program('aws.ec2.Vpc("net", cidr_block="10.0.0.0/8")\n')
    failed = workspace.up()
    assert failed.exit_code != 0
    assert "CreateVpc: InvalidVpc.Range:" in failed.errors
    assert "Traceback" not in failed.output


def test_a_users_error_has_no_traceback_and_a_defect_has_the_programs_own_lines(
    workspace: Workspace,
) -> None:
    workspace.program('raise pulumi.RunError("zones is 9; allowed are 2 to 6")\n')
    failed = workspace.preview()
    assert failed.exit_code != 0
    assert "error: zones is 9; allowed are 2 to 6" in failed.errors
    assert "Traceback" not in failed.output
    workspace.program("def deep():\n    return 1 / 0\ndeep()\n")
    failed = workspace.preview()
    assert "ZeroDivisionError: division by zero" in failed.errors
    assert "in deep" in failed.errors
    assert "language_exec" not in failed.errors


def test_the_program_runs_in_the_virtualenv_that_the_project_names(workspace: Workspace) -> None:
    workspace.program("import sys\npulumi.export('prefix', sys.prefix)\n")
    workspace.must(workspace.up())
    assert workspace.outputs()["prefix"] == sys.prefix
    settings = workspace.folder / "Pulumi.yaml"
    settings.write_text(settings.read_text().replace(sys.prefix, "no-such-venv"))
    failed = workspace.preview()
    assert failed.exit_code != 0
    assert "virtualenv names no-such-venv, but there is no" in failed.output
    assert "Traceback" not in failed.output


def test_a_resource_deleted_behind_pulumis_back_is_found_and_repaired(
    workspace: Workspace, cloud: Cloud
) -> None:
    workspace.program(
        'aws.ssm.Parameter("word", name="/w", type="String", value="x")\n'
        'aws.ssm.Parameter("other", name="/o", type="String", value="x")\n'
    )
    workspace.must(workspace.up())
    cloud.client("ssm").delete_parameter(Name="/w")
    assert workspace.must(workspace.refresh()).changes == {"Parameter word": "delete"}
    assert workspace.must(workspace.up()).changes == {"Parameter word": "create"}
    assert workspace.must(workspace.refresh()).changes == {}


def test_a_resource_changed_behind_pulumis_back_is_found_and_repaired(
    workspace: Workspace, cloud: Cloud
) -> None:
    workspace.program('aws.ssm.Parameter("word", name="/w", type="String", value="ours")\n')
    workspace.must(workspace.up())
    ssm = cloud.client("ssm")
    ssm.put_parameter(Name="/w", Value="theirs", Type="String", Overwrite=True)
    assert workspace.must(workspace.refresh()).changes == {"Parameter word": "update"}
    assert workspace.must(workspace.up()).changes == {"Parameter word": "update"}
    assert ssm.get_parameter(Name="/w")["Parameter"]["Value"] == "ours"


def test_deleting_what_is_already_gone_is_no_error(workspace: Workspace, cloud: Cloud) -> None:
    workspace.program('aws.ssm.Parameter("word", name="/w", type="String", value="x")\n')
    workspace.must(workspace.up())
    cloud.client("ssm").delete_parameter(Name="/w")
    assert workspace.must(workspace.destroy()).changes == {"Parameter word": "delete"}


def test_secrets_are_in_no_file_that_pulumi_keeps(workspace: Workspace) -> None:
    workspace.program(
        'word = aws.ssm.Parameter("word", name="/w", type="SecureString", value="correct-horse")\n'
        'made = local.Command("made", create="cat word",'
        " logging=local.Logging.NONE,"
        ' opts=pulumi.ResourceOptions(additional_secret_outputs=["stdout"]))\n'
        'aws.ssm.Parameter("copy", name="/c", type="SecureString", value=made.stdout)\n'
        'pulumi.export("word", word.value)\n'
    )
    workspace.write("word", "battery-staple")
    up = workspace.must(workspace.up())
    workspace.must(workspace.refresh())
    kept = [(path.name, path.read_text()) for path in workspace.state_files()]
    assert len(kept) > 2
    for secret in ("correct-horse", "battery-staple"):
        assert secret not in up.output
        assert [name for name, text in kept if secret in text] == []
    assert workspace.outputs()["word"] == "correct-horse"


def test_default_tags_are_under_the_resources_own(workspace: Workspace, cloud: Cloud) -> None:
    workspace.set("aws:defaultTags", {"tags": {"Owner": "ops", "Stage": "default"}})
    workspace.program(
        'net = aws.ec2.Vpc("net", cidr_block="10.7.0.0/16", tags={"Stage": "own"})\n'
        'pulumi.export("all", net.tags_all)\n'
    )
    workspace.must(workspace.up())
    assert workspace.outputs()["all"] == {"Owner": "ops", "Stage": "own"}
    found = [vpc for vpc in cloud.client("ec2").describe_vpcs()["Vpcs"] if not vpc["IsDefault"]]
    assert {tag["Key"]: tag["Value"] for tag in found[0]["Tags"]} == {
        "Owner": "ops",
        "Stage": "own",
    }
    assert workspace.must(workspace.refresh()).changes == {}
    assert workspace.must(workspace.up()).changes == {}


def test_names_are_made_once_and_kept(workspace: Workspace) -> None:
    workspace.program('bucket = aws.s3.Bucket("Programs")\npulumi.export("name", bucket.bucket)\n')
    workspace.must(workspace.up())
    name = workspace.outputs()["name"]
    assert name.startswith("programs-")
    assert len(name) == len("programs-") + 7
    assert workspace.must(workspace.up()).changes == {}
    assert workspace.outputs()["name"] == name


def test_a_replaced_resource_with_a_fixed_name_is_deleted_first(workspace: Workspace) -> None:
    group = (
        'vpc = aws.ec2.Vpc("net", cidr_block="10.7.0.0/16")\n'
        'aws.ec2.SecurityGroup("web", vpc_id=vpc.id, {})\n'
    )
    workspace.program(group.format('name="web", description="one"'))
    workspace.must(workspace.up())
    workspace.program(group.format('name="web", description="two"'))
    assert workspace.must(workspace.up()).changes == {"SecurityGroup web": "replace"}


def test_an_up_whose_engine_was_killed_is_recovered_by_the_next(
    workspace: Workspace, cloud: Cloud
) -> None:
    workspace.program(
        'net = aws.ec2.Vpc("net", cidr_block="10.7.0.0/16")\n'
        'slow = local.Command("slow", create="touch started; sleep 60", triggers=[net.id])\n'
        'aws.ec2.Subnet("a", vpc_id=net.id, cidr_block="10.7.1.0/24",'
        " opts=pulumi.ResourceOptions(depends_on=[slow]))\n"
    )
    engine = workspace.start("up", "--yes", "--skip-preview")
    started = workspace.folder / "started"
    deadline = time.monotonic() + 30
    while not started.exists():
        assert time.monotonic() < deadline, "the command never started"
        time.sleep(0.05)
    engine.kill()
    engine.wait()
    workspace.program(
        'net = aws.ec2.Vpc("net", cidr_block="10.7.0.0/16")\n'
        'slow = local.Command("slow", create="true", triggers=[net.id])\n'
        'aws.ec2.Subnet("a", vpc_id=net.id, cidr_block="10.7.1.0/24",'
        " opts=pulumi.ResourceOptions(depends_on=[slow]))\n"
    )
    workspace.unlock()
    recovered = workspace.must(workspace.up())
    assert recovered.changes == {"Command slow": "create", "Subnet a": "create"}
    assert cidrs(cloud) == {"10.7.0.0/16"}
    assert workspace.must(workspace.up()).changes == {}


def test_what_the_engine_started_ends_when_it_is_killed(workspace: Workspace) -> None:
    workspace.program('local.Command("slow", create="touch started; exec sleep 300")\n')
    engine = workspace.start("up", "--yes", "--skip-preview")
    deadline = time.monotonic() + 30
    while not (workspace.folder / "started").exists():
        assert time.monotonic() < deadline, "the command never started"
        time.sleep(0.05)
    running = processes_of(workspace)
    for part in ("pulumi", "language_host", "language_exec", "lab.engine.command", "sleep"):
        assert any(part in line for line in running.values()), part
    engine.kill()
    engine.wait()
    while left := processes_of(workspace):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def processes_of(workspace: Workspace) -> dict[str, str]:
    """Command lines of the processes with the workspace's own environment, by their ids."""
    mark = f"PULUMI_BACKEND_URL={workspace.environment['PULUMI_BACKEND_URL']}".encode()
    found: dict[str, str] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue  # it has just ended
        if mark in environment and line:
            found[folder.name] = line
    return found


@pytest.mark.parametrize("how", ["import", "get"])
def test_what_is_already_there_can_be_taken_over(
    workspace: Workspace, cloud: Cloud, how: str
) -> None:
    vpc = cloud.client("ec2").create_vpc(CidrBlock="10.8.0.0/16")["Vpc"]["VpcId"]
    if how == "import":
        options = f'opts=pulumi.ResourceOptions(import_="{vpc}")'
        workspace.program(
            f'net = aws.ec2.Vpc("net", cidr_block="10.8.0.0/16", {options})\n'
            'pulumi.export("cidr", net.cidr_block)\n'
        )
    else:
        workspace.program(
            f'net = aws.ec2.Vpc.get("net", "{vpc}")\npulumi.export("cidr", net.cidr_block)\n'
        )
    workspace.must(workspace.up())
    assert workspace.outputs()["cidr"] == "10.8.0.0/16"
    assert cidrs(cloud) == {"10.8.0.0/16"}
