"""What must hold whatever the settings: every stack file's, and some that nobody thought of."""

import ast
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from policies.rule import AnyRule
from policies.rules import RULES
from tests.components import recorder
from tests.components.invariants import ALL, Invariant
from tests.components.recorder import Recording

STACKS = sorted(p.name.split(".")[1] for p in recorder.PROJECT.glob("Pulumi.*.yaml"))
CORNERS: dict[str, dict[str, Any]] = {
    "nothing set": {},
    "as little as can be": {
        "network": {"nat": "none"},
        "monitoring": {"enabled": False},
        "appServers": {"count": 1},
        "database": {"replicas": 0},
    },
    "a certificate by ACME": {
        "loadBalancers": {
            "domain": "www.example.org",
            "tls": {"acme": {"directory": "https://acme.example:14000/dir"}},
        }
    },
    "alerts to people": {
        "network": {"nat": "none"},
        "monitoring": {
            "email": "a@b.example",
            "webhook": f"https://hooks.example/{recorder.SECRET}",
        },
    },
    "a stand-by": {"loadBalancers": {"mode": "active-passive"}},
    "a domain": {
        "loadBalancers": {
            "mode": "active-active",
            "domain": "www.example.org",
            "hostedZone": "example.org",
        }
    },
}

Record = Callable[[str], Recording]


@pytest.fixture(scope="module")
def record(an_app: Path) -> Record:
    """The recording of a stack file or a corner, made once."""

    @functools.cache
    def made(name: str) -> Recording:
        given = CORNERS[name] if name in CORNERS else recorder.stack_settings(name)
        stack = name if name in STACKS else "test"
        return recorder.site(recorder.with_app(given, an_app), stack=stack)

    return made


@pytest.mark.parametrize("folder", ["components", "hosts"])
def test_the_program_knows_neither_the_lab_nor_the_tests_nor_the_scripts(folder: str) -> None:
    sources = sorted((recorder.PROJECT / folder).rglob("*.py"))
    assert len(sources) > 10
    for source in sources:
        for node in ast.walk(ast.parse(source.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.partition(".")[0] for name in names} & {"lab", "tests", "scripts"}


def test_the_stack_files_are_those_that_the_readme_names() -> None:
    assert STACKS == ["dev", "lab", "prod"]


@pytest.mark.parametrize("name", [*STACKS, *CORNERS])
@pytest.mark.parametrize("invariant", ALL, ids=lambda i: i.__name__)
def test_of_every_stack(record: Record, name: str, invariant: Invariant) -> None:
    invariant(record(name))


@pytest.mark.parametrize("name", [*STACKS, *CORNERS])
@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.name)
def test_every_stack_keeps_the_rules(record: Record, name: str, rule: AnyRule) -> None:
    assert broken(record(name), rule) == []


def test_every_rule_has_something_to_say_of_production(record: Record) -> None:
    judged = record("prod").judged()
    assert [r.name for r in RULES if not any(map(r.applies, judged))] == []


def broken(site: Recording, rule: AnyRule) -> list[str]:
    """What a rule finds, by resource."""
    return [f"{resource.urn}: {found}" for resource, found in rule.breaches(site.judged())]


SETTINGS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "deletionProtection": st.booleans(),
        "network": st.fixed_dictionaries(
            {
                "cidr": st.sampled_from(["10.0.0.0/16", "172.16.32.0/20", "192.168.4.0/24"]),
                "zones": st.integers(2, 3),
                "nat": st.sampled_from(["none", "one", "one-per-zone"]),
                "blockedNetworks": st.sampled_from([[], ["203.0.113.0/24", "198.51.100.7"]]),
            }
        ),
        "loadBalancers": st.fixed_dictionaries(
            {
                "distribution": st.sampled_from(
                    ["round-robin", "least-connections", "active-passive"]
                ),
                "queueTimeout": st.floats(0.1, 60),
                "domain": st.sampled_from([None, "www.example.org"]),
                "mode": st.sampled_from(["single", "active-passive", "active-active"]),
            }
        ),
        "appServers": st.fixed_dictionaries(
            {
                "count": st.integers(1, 4),
                "threads": st.integers(3, 64),
                "healthPath": st.sampled_from(["/healthz", "/", "/a/b.c~d"]),
                "environment": st.dictionaries(
                    st.from_regex(r"[A-Z][A-Z0-9_]{0,9}", fullmatch=True),
                    st.text(
                        st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=20
                    ),
                    max_size=3,
                ),
            }
        ),
        "monitoring": st.fixed_dictionaries(
            {"enabled": st.booleans(), "retentionDays": st.integers(1, 3650)}
        ),
        "database": st.fixed_dictionaries(
            {"replicas": st.integers(0, 3), "volumeSize": st.integers(1, 16384)}
        ),
    }
)


@hypothesis_settings(
    max_examples=3,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(given=SETTINGS)
def test_of_settings_nobody_thought_of(an_app: Path, given: dict[str, object]) -> None:
    site = recorder.site(recorder.with_app(given, an_app))
    assert len(site.every("Instance")) > 0
    for invariant in ALL:
        invariant(site)
    assert [found for rule in RULES for found in broken(site, rule)] == []
