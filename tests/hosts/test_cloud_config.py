"""User data is cloud-config that people can read."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from hosts import app_server, database, load_balancer
from hosts.base import facts as facts_module
from hosts.base.cloud_config import TooLongError
from tests.hosts import values

MACHINES = {
    "load-balancer": lambda: load_balancer.user_data(
        values.facts("load-balancer"), values.load_balancer_options()
    ),
    "app-server": lambda: app_server.user_data(
        values.facts("app-server"), values.app_server_options()
    ),
    "database": lambda: database.user_data(values.facts("database"), values.database_options()),
}


def files(text: str) -> dict[str, dict[str, Any]]:
    """What cloud-init would write, by path."""
    return {file["path"]: file for file in yaml.safe_load(text)["write_files"]}


@pytest.mark.parametrize("role", MACHINES)
def test_every_file_is_a_literal_block_so_that_a_diff_shows_the_line(role: str) -> None:
    text = MACHINES[role]()
    assert text.startswith("#cloud-config\n")
    written = files(text)
    assert text.count("    content: |\n") == len(written)
    for file in written.values():
        for line in file["content"].splitlines():
            assert line == "" or f"      {line}\n" in text


@pytest.mark.parametrize("role", MACHINES)
def test_a_setting_changes_only_its_own_lines(role: str) -> None:
    changed = {
        "load-balancer": lambda: load_balancer.user_data(
            values.facts("load-balancer"), values.load_balancer_options(queue_timeout=7.0)
        ),
        "app-server": lambda: app_server.user_data(
            values.facts("app-server"), values.app_server_options(memory_max="600M")
        ),
        "database": lambda: database.user_data(
            values.facts("database"), values.database_options(database="other")
        ),
    }
    before, after = MACHINES[role]().splitlines(), changed[role]().splitlines()
    assert len(before) == len(after)
    differing = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
    assert 1 <= len(differing) <= 3


@pytest.mark.parametrize("role", MACHINES)
def test_files_wait_for_the_packages_whose_files_they_replace(role: str) -> None:
    assert all(file["defer"] is True for file in files(MACHINES[role]()).values())


@pytest.mark.parametrize("role", MACHINES)
def test_a_machine_reads_back_the_facts_it_was_given(role: str, tmp_path: Any) -> None:
    machine = tmp_path / "machine.json"
    machine.write_text(files(MACHINES[role]())["/etc/site/machine.json"]["content"])
    read, options = facts_module.load(machine)
    assert read == values.facts(role)
    kinds: dict[str, tuple[Callable[[dict[str, Any]], object], object]] = {
        "load-balancer": (load_balancer.Options.read, values.load_balancer_options()),
        "app-server": (lambda known: app_server.Options(**known), values.app_server_options()),
        "database": (lambda known: database.Options(**known), values.database_options()),
    }
    read_back, given = kinds[role]
    assert read_back(options) == given


@pytest.mark.parametrize("role", MACHINES)
def test_rendering_is_deterministic(role: str) -> None:
    assert MACHINES[role]() == MACHINES[role]()


def test_too_much_user_data_is_refused_with_its_size() -> None:
    options = values.app_server_options(environment={"LONG": "x" * 16000})
    with pytest.raises(TooLongError, match=r"app-server-1 is \d+ bytes long and EC2 takes 16384"):
        app_server.user_data(values.facts("app-server"), options)


@pytest.mark.parametrize("name", ["", "1A", "A-B", "A B", "Ä"])
def test_a_name_that_no_environment_can_have_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="environment variable"):
        app_server.user_data(
            values.facts("app-server"), values.app_server_options(environment={name: "x"})
        )


@pytest.mark.parametrize("value", ["two\nlines", "bell\a", "nul\0"])
def test_a_value_with_control_characters_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="control character"):
        app_server.user_data(
            values.facts("app-server"), values.app_server_options(environment={"A": value})
        )


def test_machine_json_holds_the_bundles_with_their_digests() -> None:
    content = json.loads(files(MACHINES["app-server"]())["/etc/site/machine.json"]["content"])
    assert [bundle["path"] for bundle in content["bundles"]] == ["/opt/site/hosts", "/opt/site/app"]
    assert all(len(bundle["sha256"]) == 64 for bundle in content["bundles"])


@pytest.mark.parametrize("role", MACHINES)
def test_nobody_can_log_in_and_every_machine_has_what_protects_it(role: str) -> None:
    config = yaml.safe_load(MACHINES[role]())
    assert config["users"] == []
    assert {"chrony", "nftables", "unattended-upgrades"} <= set(config["packages"])
    assert len(config["packages"]) == len(set(config["packages"]))
