"""The machine image: what user data finds on it. Needs the image, not the site."""

from pathlib import Path

import pytest

from lab import image, recipe

pytestmark = pytest.mark.timeout(120)

INSTALL = """
cloud-init init --local >/log 2>&1 && cloud-init init >>/log 2>&1 || { cat /log; exit 9; }
cloud-init single --file /user-data --name package_update_upgrade_install --frequency always
"""


def packages(names: str, tmp_path: Path) -> tuple[int, str]:
    """What cloud-init makes of user data's `packages:`, with the status of its module."""
    user_data = tmp_path / "user-data"
    user_data.write_text(f"#cloud-config\npackages: [{names}]\n")
    no_source = tmp_path / "no-source.cfg"
    no_source.write_text("datasource_list: [None]\n")
    binds = {user_data: "/user-data", no_source: "/etc/cloud/cloud.cfg.d/zz-test.cfg"}
    run = image.run(["sh", "-c", INSTALL], binds)
    return run.returncode, run.stdout + run.stderr


def test_user_data_gets_its_packages_without_a_network(tmp_path: Path) -> None:
    status, said = packages("haproxy, mysql-server, gunicorn, python3-boto3", tmp_path)
    assert status == 0, said
    assert "0 newly installed" in said


def test_a_package_that_is_not_in_the_image_fails_by_name(tmp_path: Path) -> None:
    status, said = packages("haproxy, nginx", tmp_path)
    assert status == 1
    assert "Failure when attempting to install packages: ['haproxy', 'nginx']" in said


@pytest.mark.parametrize("unit", recipe.DISABLED)
def test_no_service_of_a_role_starts_by_itself(unit: str) -> None:
    assert image.run(["systemctl", "is-enabled", unit]).stdout.strip() == "disabled"


@pytest.mark.parametrize("unit", recipe.MASKED)
def test_what_is_masked_is_a_unit_that_there_is(unit: str) -> None:
    assert image.run(["systemctl", "is-enabled", unit]).stdout.strip() == "masked"
    package = image.run(["sh", "-c", f"ls /usr/lib/systemd/system/{unit}"])
    assert package.returncode == 0, f"{unit} is not of any package: it needs no mask"


def test_a_machine_gets_an_identity_of_its_own() -> None:
    gone = [path for path in recipe.REMOVED if not path.endswith("sources.list.d")]
    found = image.run(
        ["sh", "-c", 'for path; do [ ! -e "$path" ] || echo "$path"; done', "-", *gone]
    )
    assert (found.returncode, found.stdout) == (0, "")


def test_what_runs_in_the_image_leaves_it_as_it_was(tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.write_text("ours")
    run = image.run(["sh", "-c", "echo changed > /etc/hostname; cat /given; echo > /given"],
                    {given: "/given"})  # fmt: skip
    assert run.stdout == "ours"
    assert "Read-only" in run.stderr
    assert image.run(["cat", "/etc/hostname"]).stdout == "localhost\n"
    assert given.read_text() == "ours"


def test_what_runs_in_the_image_has_no_network() -> None:
    run = image.run(["ip", "-oneline", "link"])
    assert [line.split()[1] for line in run.stdout.splitlines()] == ["lo:"]
