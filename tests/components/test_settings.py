"""What can be set, and what an operator is told who sets it wrongly."""

import json
from typing import Any

import pulumi
import pytest
import yaml
from pydantic.alias_generators import to_camel

from components import settings
from components.settings.models import Settings
from tests.components import recorder


def parse(**given: Any) -> settings.Settings:
    texts = {"deletionProtection": "false"} | {k: json.dumps(v) for k, v in given.items()}
    return settings.parse(texts)


def refusal(**given: Any) -> list[str]:
    """The lines of the error, without the first that introduces them."""
    with pytest.raises(pulumi.RunError) as refused:
        parse(**given)
    return str(refused.value).splitlines()[1:]


def test_everything_but_deletion_protection_may_be_left_out() -> None:
    assert parse().app_servers.count == 2
    with pytest.raises(pulumi.RunError, match=r"site:deletionProtection is not set\. Set it with"):
        settings.parse({})


def test_the_defaults_of_the_project_file_are_enough() -> None:
    given = {k.removeprefix("site:"): v for k, v in recorder.defaults().items()}
    assert settings.parse(given) == parse()


@pytest.mark.parametrize("stack", ["dev", "prod", "lab"])
def test_the_settings_of_every_stack_are_accepted(stack: str) -> None:
    given = recorder.stack_settings(stack)
    protected = {"deletionProtection": False} | given
    assert parse(**protected).deletion_protection is (stack == "prod")


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (
            {"loadBalancers": {"mode": "many"}},
            """site:loadBalancers.mode is "many"; allowed is 'single', 'active-passive' or\
 'active-active'. Set it with `pulumi config set --path site:loadBalancers.mode single`.""",
        ),
        (
            {"loadBalancers": {"mode": "active-active", "instanceType": "t3.micro"}},
            "site:loadBalancers.instanceType is t3.micro, which has room for two private addresses;"
            " mode active-active needs three. Choose a larger one with"
            " `pulumi config set --path site:loadBalancers.instanceType t3.small`.",
        ),
        (
            {"loadBalancers": {"mode": "active-active"}, "appServers": {"threads": 2}},
            "site:appServers.threads is 2; mode active-active of site:loadBalancers needs three:"
            " one for requests of each load balancer, one for health checks. Set it with"
            " `pulumi config set --path site:appServers.threads 16`.",
        ),
        (
            {"loadBalancers": {"domain": "Example"}},
            'site:loadBalancers.domain is "Example"; allowed is a host name in small letters'
            " such as www.example.org. Set it with"
            " `pulumi config set --path site:loadBalancers.domain …`.",
        ),
        (
            {"loadBalancers": {"hostedZone": "example.org"}},
            "site:loadBalancers.hostedZone is example.org, and no domain is set that would be in"
            " it. Set one with"
            " `pulumi config set --path site:loadBalancers.domain www.example.org`.",
        ),
        (
            {"loadBalancers": {"domain": "www.example.com", "hostedZone": "example.org"}},
            "site:loadBalancers.domain is www.example.com, which is not in hostedZone example.org."
            " Set the zone that it is in with"
            " `pulumi config set --path site:loadBalancers.hostedZone example.com`.",
        ),
        (
            {"loadBalancers": {"distribution": "random"}},
            """site:loadBalancers.distribution is "random"; allowed is 'round-robin',\
 'least-connections' or 'active-passive'. Set it with\
 `pulumi config set --path site:loadBalancers.distribution round-robin`.""",
        ),
        (
            {"network": {"zones": 1}},
            "site:network.zones is 1; allowed is 2 to 6. Set it with"
            " `pulumi config set --path site:network.zones 2`.",
        ),
        (
            {"network": {"cidr": "8.8.0.0/16"}},
            'site:network.cidr is "8.8.0.0/16"; allowed is a private IPv4 network of /16 to /24'
            " such as 10.0.0.0/16. Set it with"
            " `pulumi config set --path site:network.cidr 10.0.0.0/16`.",
        ),
        (
            {"appServers": {"count": "two"}},
            'site:appServers.count is "two"; allowed is a whole number. Set it with'
            " `pulumi config set --path site:appServers.count 2`.",
        ),
        (
            {"appServers": {"counts": 2}},
            "site:appServers.counts is no setting; did you mean count? Remove it with"
            " `pulumi config rm --path site:appServers.counts`.",
        ),
        (
            {"loadBalancer": {}},
            "site:loadBalancer is no setting; did you mean loadBalancers? Remove it with"
            " `pulumi config rm site:loadBalancer`.",
        ),
        (
            {"network": {"xyz": 1}},
            "site:network.xyz is no setting; known are cidr, zones, nat, blockedNetworks. Remove it"
            " with `pulumi config rm --path site:network.xyz`.",
        ),
        (
            {"appServers": {"module": "wsgi"}},
            'site:appServers.module is "wsgi"; allowed is module:name of a WSGI application such as'
            " wsgi:application. Set it with"
            " `pulumi config set --path site:appServers.module wsgi:application`.",
        ),
        (
            {"machines": {"python": 3.1}},
            'site:machines.python is 3.1; allowed is a version such as "3.14", in quotes. Set it'
            " with `pulumi config set --path site:machines.python 3.14`.",
        ),
        (
            {"machines": {"architecture": "arm64"}},
            "site:loadBalancers.instanceType t3.small, site:appServers.instanceType t3.small,"
            " site:database.instanceType t3.medium, site:monitoring.instanceType t3.small: not of"
            " the architecture of site:machines.architecture, arm64; choose types of it"
            " (t4g.small), or set the architecture.",
        ),
        (
            {"database": {"replication": "group"}},
            """site:database.replication is "group"; allowed is 'semi-synchronous' or\
 'asynchronous'. Set it with `pulumi config set --path site:database.replication\
 semi-synchronous`.""",
        ),
        (
            {"database": {"lease": 1}},
            "site:database.lease is 1; allowed is 2 to 60. Set it with"
            " `pulumi config set --path site:database.lease 2.5`.",
        ),
        (
            {"database": {"maxFailoverLag": 0}},
            "site:database.maxFailoverLag is 0; allowed is 0.5 to 3600. Set it with"
            " `pulumi config set --path site:database.maxFailoverLag 5`.",
        ),
        (
            {"database": {"authorities": [1, 1]}},
            "site:database.authorities is [1, 1]; allowed is one number, or two different ones"
            " while the authority changes. Set it with"
            " `pulumi config set --path site:database.authorities '[1]'`.",
        ),
        (
            {"network": {"blockedNetworks": ["198.51.100.0/24", "203.0.113.5/24"]}},
            'site:network.blockedNetworks is ["198.51.100.0/24", "203.0.113.5/24"]; allowed is'
            " IPv4 networks such as 203.0.113.0/24, and single addresses (203.0.113.5/24 would be"
            " 203.0.113.0/24). Set it with `pulumi config set --path site:network.blockedNetworks"
            """ '["203.0.113.0/24"]'`.""",
        ),
        (
            {"network": {"blockedNetworks": ["10.0.0.0/8", "203.0.113.0/24"]}},
            "site:network.blockedNetworks has 10.0.0.0/8, where the site's own machines are"
            " (site:network.cidr 10.0.0.0/16): the load balancers would reach nothing. Block"
            " networks that clients are in.",
        ),
        (
            {"network": {"blockedNetworks": [{"cidr": "x"}]}},
            'site:network.blockedNetworks[0] is {"cidr": "x"}; allowed is text. Set it'
            " with `pulumi config set --path 'site:network.blockedNetworks[0]'"
            """ '["203.0.113.0/24"]'`.""",
        ),
        (
            {"machines": {"maintenanceWindow": "Sunday 3-5"}},
            'site:machines.maintenanceWindow is "Sunday 3-5"; allowed is a window of an hour or'
            ' more, in UTC and in quotes: "03:00-05:00" for each day, or "Sun 03:00-05:00",'
            ' "Sat,Sun 23:00-02:00". Set it with'
            " `pulumi config set --path site:machines.maintenanceWindow 'Sun 03:00-05:00'`.",
        ),
        (
            {"database": 3},
            "site:database is 3; allowed is an object, whose fields are set one by one. Set it with"
            " `pulumi config set site:database …`.",
        ),
        (
            {"deletionProtection": "maybe"},
            'site:deletionProtection is "maybe"; allowed is true or false. Set it with'
            " `pulumi config set site:deletionProtection true`.",
        ),
        (
            {"appServers": {"environment": {"A": [1]}}},
            "site:appServers.environment.A is [1]; allowed is text. Set it with"
            " `pulumi config set --path site:appServers.environment.A …`.",
        ),
    ],
)
def test_an_error_names_key_value_what_is_allowed_and_the_command(
    given: dict[str, Any], line: str
) -> None:
    assert refusal(**given) == [line]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cidr", "10.0.0.1/16"),
        ("cidr", "10.0.0.0/15"),
        ("cidr", "10.0.0.0/25"),
        ("cidr", "fd00::/16"),
        ("nat", "two"),
        ("zones", 7),
    ],
)
def test_networks_that_could_not_be_made_are_refused(field: str, value: object) -> None:
    assert refusal(network={field: value})[0].startswith(f"site:network.{field} is ")


@pytest.mark.parametrize(
    "environment", [{"A B": "x"}, {"A": "x\ny"}, {"": "x"}, {"1A": "x"}, {"A": "\0"}]
)
def test_environments_that_a_unit_file_could_not_hold_are_refused(
    environment: dict[str, str],
) -> None:
    assert "site:appServers.environment" in refusal(appServers={"environment": environment})[0]


@pytest.mark.parametrize("network", ["fd00::/8", "example.org", "203.0.113.0/33", ""])
def test_what_is_no_ipv4_network_is_not_blocked(network: str) -> None:
    assert f"({network} is none)" in refusal(network={"blockedNetworks": [network]})[0]


def test_networks_within_others_take_no_room() -> None:
    given = ["198.51.100.7", "203.0.113.0/24", "203.0.113.128/25", "198.51.100.7/32"]
    assert parse(network={"blockedNetworks": given}).network.blocked_networks == [
        "198.51.100.7/32",
        "203.0.113.0/24",
    ]
    assert parse(network={"blockedNetworks": json.dumps(given)}).network.blocked_networks


def test_more_networks_than_an_acl_has_room_for_are_refused() -> None:
    many = [f"198.51.100.{2 * n}" for n in range(19)]
    assert parse(network={"blockedNetworks": many[:18]})
    assert "18 networks at most" in refusal(network={"blockedNetworks": many})[0]


@pytest.mark.parametrize("window", ["03:00-05:00", "Sun 03:00-04:00", "Sat,Sun 23:00-01:00"])
def test_a_window_may_be_of_each_day_or_of_some_and_go_past_midnight(window: str) -> None:
    assert parse(machines={"maintenanceWindow": window}).machines.maintenance_window == window


@pytest.mark.parametrize(
    "window", ["03:00-03:59", "3:00-5:00", "So 03:00-05:00", "24:00-02:00", ""]
)
def test_a_window_that_is_too_short_or_none_is_refused(window: str) -> None:
    assert "a window of an hour or more" in refusal(machines={"maintenanceWindow": window})[0]


@pytest.mark.parametrize(
    ("mode", "instance_type"),
    [("active-passive", "t3.micro"), ("single", "t3.nano"), ("active-active", "t3.small")],
)
def test_one_private_address_more_than_public_ones_is_enough(mode: str, instance_type: str) -> None:
    assert parse(loadBalancers={"mode": mode, "instanceType": instance_type})


def test_a_domain_may_be_its_zone_or_be_kept_elsewhere() -> None:
    for given in (
        {"domain": "example.org", "hostedZone": "example.org"},
        {"domain": "example.org"},
    ):
        assert parse(loadBalancers=given).load_balancers.domain == "example.org"


def test_all_that_is_wrong_is_said_at_once() -> None:
    lines = refusal(network={"zones": 9, "nat": "two"}, appServers={"count": 0}, nothing=1)
    assert [line.split(" is ")[0] for line in lines] == [
        "site:network.zones",
        "site:network.nat",
        "site:appServers.count",
        "site:nothing",
    ]


def test_a_secret_setting_is_refused_for_it_would_be_in_user_data() -> None:
    with pytest.raises(pulumi.RunError, match="site:appServers holds a secret"):
        settings.parse({"deletionProtection": "false", "appServers": "{}"}, secret=["appServers"])


@pytest.mark.parametrize(
    ("instance_type", "architecture"),
    [
        ("t4g.micro", "arm64"),
        ("m7gd.large", "arm64"),
        ("x2gd.medium", "arm64"),
        ("im4gn.large", "arm64"),
        ("a1.large", "arm64"),
        ("t3.small", "x86_64"),
        ("g5.xlarge", "x86_64"),
        ("g4dn.xlarge", "x86_64"),
        ("c7i-flex.large", "x86_64"),
        ("m7a.large", "x86_64"),
    ],
)
def test_instance_types_are_told_apart_by_architecture(
    instance_type: str, architecture: str
) -> None:
    types = {"instanceType": instance_type}
    other = {"arm64": "x86_64", "x86_64": "arm64"}[architecture]
    roles = ("loadBalancers", "appServers", "database", "monitoring")
    machines = dict.fromkeys(roles, types)
    assert parse(machines={"architecture": architecture}, **machines)
    assert instance_type in refusal(machines={"architecture": other}, **machines)[0]


def test_a_list_may_be_set_in_one_word() -> None:
    assert parse(database={"authorities": "[2, 1]"}).database.authorities == [2, 1]
    assert "allowed is a list such as [1]" in refusal(database={"authorities": "two"})[0]


def test_the_default_image_is_of_the_architecture() -> None:
    assert settings.Machines().image_name.endswith("26.04-amd64-server-*")
    assert settings.Machines(architecture="arm64").image_name.endswith("26.04-arm64-server-*")
    assert settings.Machines(image="my-*", image_owner="self").image_name == "my-*"


def test_numbers_are_taken_for_text_where_the_cli_stores_them_so() -> None:
    machines = parse(machines={"imageOwner": 123456789012, "python": 3.14}).machines
    assert (machines.image_owner, machines.python) == ("123456789012", "3.14")


def test_the_cli_shows_a_description_of_every_field_and_its_default() -> None:
    described: dict[str, Any] = yaml.safe_load((recorder.PROJECT / "Pulumi.yaml").read_text())
    for name, component in Settings.model_fields.items():
        text = described["config"][to_camel(name)]["description"]
        model = component.annotation
        for field, declared in getattr(model, "model_fields", {}).items():
            (line,) = [ln for ln in text.splitlines() if ln.startswith(f"{to_camel(field)}: ")]
            default = declared.get_default(call_default_factory=True)
            if isinstance(default, str | int | float) and field not in ("image_owner", "python"):
                shown = text[text.index(line) :]
                said = str(default).lower() if isinstance(default, bool) else default
                assert f"({said})" in shown, (name, field, default)
    assert set(described["config"]) == {to_camel(name) for name in Settings.model_fields}


def test_the_cli_shows_a_description_of_every_limit_and_its_default() -> None:
    described: dict[str, Any] = yaml.safe_load((recorder.PROJECT / "Pulumi.yaml").read_text())
    text = described["config"]["loadBalancers"]["description"]
    for field, declared in settings.Limits.model_fields.items():
        (line,) = [ln for ln in text.splitlines() if ln.startswith(f"  {to_camel(field)}: ")]
        default = "ten seconds' worth" if declared.default is None else declared.default
        assert f"({default})" in line


@pytest.mark.parametrize(
    ("rate", "burst", "allowed"),
    [(100, 99, "100 to 360000"), (1, 3601, "1 to 3600"), (0.1, 361, "1 to 360")],
)
def test_a_burst_is_of_a_second_to_an_hour(rate: float, burst: int, allowed: str) -> None:
    (line,) = refusal(loadBalancers={"limits": {"requestsPerSecond": rate, "burst": burst}})
    assert line.startswith(f"site:loadBalancers.limits.burst is {burst}; allowed is {allowed},")


def test_the_bounds_of_what_may_be_left_out_are_said_too() -> None:
    (line,) = refusal(loadBalancers={"limits": {"burst": 0}})
    assert line.startswith("site:loadBalancers.limits.burst is 0; allowed is 1 to 1000000.")


def test_a_burst_follows_the_rate_unless_it_is_set() -> None:
    assert parse(loadBalancers={"limits": {"requestsPerSecond": 5000}})


def test_without_a_limit_of_requests_any_burst_will_do() -> None:
    given = {"requestsPerSecond": 0, "burst": 1}
    assert parse(loadBalancers={"limits": given}).load_balancers.limits.burst == 1


def test_wrong_settings_end_the_program_before_it_makes_anything() -> None:
    recording = recorder.Recording()
    with pytest.raises(pulumi.RunError, match=r"site:network\.zones is 9"):
        recorder.site({"network": {"zones": 9}}, recording=recording)
    assert list(recording.aws()) == []


def test_a_secret_in_the_configuration_ends_the_program() -> None:
    with pytest.raises(pulumi.RunError, match="site:appServers holds a secret"):
        recorder.site({"appServers": {}}, secret=["site:appServers"])
