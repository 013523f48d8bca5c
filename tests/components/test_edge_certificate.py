"""The certificate that clients see: from the settings, by ACME, or self-signed."""

import json
from pathlib import Path
from typing import Any

import pulumi
import pytest

from components import settings
from components.edge_certificate import EdgeCertificate
from components.site import this_site
from hosts.load_balancer import Acme
from tests.certificates import authority, pem, server
from tests.components import recorder
from tests.components.recorder import Recording, record

DOMAIN = "www.example.org"
ADDRESSES = ("203.0.113.1", "203.0.113.2")


def certificate(**given: Any) -> tuple[Recording, EdgeCertificate]:
    """The component alone, with settings of the load balancers."""
    made: list[EdgeCertificate] = []

    def program() -> None:
        made.append(
            EdgeCertificate(
                "edge-certificate",
                site=this_site(deletion_protection=True),
                settings=settings.LoadBalancers.model_validate(given),
                addresses=[pulumi.Output.from_input(address) for address in ADDRESSES],
            )
        )

    return record(program), made[0]


def parameters(site: Recording) -> dict[str, dict[str, Any]]:
    return {parameter.inputs["name"]: parameter.inputs for parameter in site.every("Parameter")}


def test_without_a_domain_it_is_self_signed_for_the_addresses_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    site, made = certificate()
    (command,) = site.every("Command")
    assert command.inputs["create"].endswith("new_secret self-signed 203.0.113.1 203.0.113.2")
    assert command.inputs["triggers"] == ["203.0.113.1 203.0.113.2"], "other addresses, another one"
    assert [*parameters(site)] == ["/site/test/edge/certificate"]
    assert made.follows.acme is None
    assert list(made.follows.may) == []
    (said,) = [r.message for r in caplog.records if "self-signed" in r.message]
    assert "site:loadBalancers.domain" in said
    assert "site:loadBalancers.tls.certificate" in said


def test_one_that_is_self_signed_is_told_to_clients_without_its_key(lab: Recording) -> None:
    told = lab.exports["certificate"]
    assert told.startswith(recorder.CERTIFICATE)
    assert lab.one("Parameter", "edge-certificate").inputs["value"].endswith(told)
    assert recorder.SECRET not in told


def test_a_domain_gets_one_by_acme_which_the_machines_write() -> None:
    site, made = certificate(domain=DOMAIN)
    assert made.follows.acme == Acme(
        domain=DOMAIN,
        directory="https://acme-v02.api.letsencrypt.org/directory",
        contact="",
        authority=False,
    )
    assert list(made.follows.reads) == [
        "/site/test/edge/certificate",
        "/site/test/edge/acme-account",
    ]
    (statement,) = made.follows.may
    assert statement["Action"] == "ssm:PutParameter"
    assert str(statement["Resource"]).endswith(":parameter/site/test/edge/certificate")
    assert list(made.follows.items) == ["lease/certificate"]
    ignored = {p.name: list(p.options.ignoreChanges) for p in site.every("Parameter")}
    assert ignored == {"edge-certificate": ["value"], "edge-acme-account": []}
    assert {p["type"] for p in parameters(site).values()} == {"SecureString"}
    first = site.one("Command", "edge-self-signed-certificate").inputs["create"]
    assert first.endswith(f"self-signed {DOMAIN} 203.0.113.1 203.0.113.2"), "until there is one"


def test_the_certificate_and_its_key_may_be_larger_than_a_standard_parameter() -> None:
    site, _ = certificate(domain=DOMAIN)
    tiers = {name: p.get("tier") for name, p in parameters(site).items()}
    assert tiers == {
        "/site/test/edge/certificate": "Intelligent-Tiering",
        "/site/test/edge/acme-account": None,
    }


def test_a_directory_that_not_everybody_trusts_has_its_authority_in_a_parameter() -> None:
    signer = pem(authority()[1])
    site, made = certificate(domain=DOMAIN, tls={"acme": {"authority": signer}})
    assert parameters(site)["/site/test/edge/acme-authority"]["value"] == signer
    assert "/site/test/edge/acme-authority" in made.follows.reads
    assert made.follows.acme
    assert made.follows.acme.authority


def test_one_of_the_settings_is_secret_in_the_state_and_what_the_stack_has() -> None:
    key, own = server(DOMAIN)
    site, made = certificate(domain=DOMAIN, tls={"certificate": pem(own), "key": key})
    (parameter,) = site.every("Parameter")
    assert parameter.inputs["value"] == key.strip() + "\n" + pem(own)
    assert "value" in parameter.secret
    assert list(parameter.options.ignoreChanges) == [], "another setting is another certificate"
    assert site.of("Command") == []
    assert made.follows.acme is None


def test_one_that_ends_soon_and_that_nobody_renews_is_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    key, own = server(DOMAIN, days=9.5)
    certificate(tls={"certificate": pem(own), "key": key})
    assert "the load balancers' certificate ends in 9 days" in caplog.text


def test_a_directory_at_another_port_is_reached_by_the_load_balancers_alone(an_app: Path) -> None:
    given = {
        "loadBalancers": {
            "domain": DOMAIN,
            "tls": {"acme": {"directory": "https://acme.example:14000/dir"}},
        }
    }
    site = recorder.site(recorder.with_app(given, an_app))
    rules = [r for r in site.every("SecurityGroupEgressRule") if r.inputs["fromPort"] == 14000]
    assert [rule.name for rule in rules] == ["load-balancer-to-acme-14000"]
    policy = json.loads(site.one("RolePolicy", "load-balancer").inputs["policy"])
    keys = [s["Condition"] for s in policy["Statement"] if s["Sid"] == "Coordination"]
    assert "lease/certificate" in json.dumps(keys)


def test_a_key_in_the_stacks_settings_is_nowhere_in_the_clear(an_app: Path) -> None:
    key, own = server(DOMAIN)
    given = {"loadBalancers": {"tls": {"certificate": pem(own), "key": key}}}
    site = recorder.site(recorder.with_app(given, an_app), secret=["site:loadBalancers"])
    line = key.splitlines()[1]
    held = [r.name for r in site.registered if line in json.dumps(r.inputs, default=str)]
    assert held == ["edge-certificate"]
    for resource in site.registered:
        clear = {k: v for k, v in resource.inputs.items() if k not in resource.secret}
        assert line not in json.dumps(clear, default=str), resource.urn
