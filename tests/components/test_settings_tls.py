"""The settings of the certificate that clients see, and what is said of a wrong one."""

import json
from typing import Any

import pulumi
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from components import settings
from components.settings.tls import covers
from tests.certificates import authority, elliptic, pem, server, text

DOMAIN = "www.example.org"


def parse(secret: bool = True, **load_balancers: Any) -> settings.Settings:
    texts = {"deletionProtection": "false", "loadBalancers": json.dumps(load_balancers)}
    return settings.parse(texts, secret=["loadBalancers"] if secret else [])


def refusal(secret: bool = True, **load_balancers: Any) -> str:
    """The error, without the line that introduces it: there is one only."""
    with pytest.raises(pulumi.RunError) as refused:
        parse(secret, **load_balancers)
    (line,) = str(refused.value).splitlines()[1:]
    return line


def test_a_certificate_of_ones_own_is_taken_with_what_leads_to_its_authority() -> None:
    root = authority("root")
    between = authority("between")  # signed by itself, but for its place that is no matter
    key, own = server(DOMAIN, signer=between)
    found = parse(domain=DOMAIN, tls={"certificate": pem(own, between[1]), "key": key})
    tls = found.load_balancers.tls
    assert tls.pem == key + pem(own, between[1])
    assert key.splitlines()[1] not in repr(found), "it is not shown by accident"
    assert "did not sign" in refusal(tls={"certificate": pem(own, root[1]), "key": key})


@pytest.mark.parametrize(
    "key", [rsa.generate_private_key(65537, 2048), elliptic()], ids=["rsa", "elliptic curve"]
)
def test_keys_of_both_kinds_are_taken(key: Any) -> None:
    made, own = server(DOMAIN, key=key)
    assert parse(tls={"certificate": pem(own), "key": made}).load_balancers.tls.pem


KEY, OWN = server(DOMAIN)
OTHER = text(elliptic())
SHORT = rsa.generate_private_key(65537, 1024)  # noqa: S505 it is to be refused


def of(**given: Any) -> tuple[str, str]:
    key, own = server(DOMAIN, **given)
    return pem(own), key


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        (("nonsense", KEY), "certificate is not a certificate in PEM."),
        ((pem(OWN), "nonsense"), "key is not a private key in PEM."),
        ((KEY, pem(OWN)), "certificate is not a certificate in PEM."),
        ((pem(OWN), OTHER), "key is not the key of the certificate"),
        ((pem(OWN), text(elliptic(), "word")), "key is encrypted and has to be in the clear"),
        (of(days=-0.5), "certificate ended on 20"),
        (of(begins=1), "certificate begins on 20"),
        (of(key=ed25519.Ed25519PrivateKey.generate()), "key is neither of an elliptic curve nor"),
        (of(key=SHORT), "key has 1024 bits; RSA needs 2048"),
    ],
)
def test_one_that_could_not_serve_is_refused_in_one_sentence(
    pair: tuple[str, str], said: str
) -> None:
    certificate, key = pair
    line = refusal(tls={"certificate": certificate, "key": key})
    assert line.startswith(f"site:loadBalancers.tls.{said}"), line
    field = said.split(maxsplit=1)[0]
    assert (
        f"Set it with `pulumi config set --path --secret site:loadBalancers.tls.{field} <" in line
    )
    assert "PRIVATE KEY" not in line


def test_one_that_no_parameter_holds_is_refused() -> None:
    signer = authority()
    key, own = server(*(f"{number}.example.org" for number in range(700)), signer=signer)
    line = refusal(tls={"certificate": pem(own, signer[1]), "key": key})
    assert "bytes together and SSM's Parameter Store takes 8192: leave out the root" in line


def test_one_for_another_name_is_refused_with_its_names() -> None:
    key, own = server("example.org", "*.example.net")
    line = refusal(domain=DOMAIN, tls={"certificate": pem(own), "key": key})
    assert line.startswith(
        "site:loadBalancers.tls.certificate is for example.org, *.example.net, not for"
        " www.example.org."
    )


@pytest.mark.parametrize(
    ("name", "domain", "is_for_it"),
    [
        ("www.example.org", "www.example.org", True),
        ("WWW.example.org", "www.example.org", True),
        ("*.example.org", "www.example.org", True),
        ("*.example.org", "example.org", False),
        ("*.example.org", "a.www.example.org", False),
        ("*", "org", False),
        ("example.org", "www.example.org", False),
        ("*.org", "example.org", True),
    ],
)
def test_a_star_stands_for_one_label(name: str, domain: str, is_for_it: bool) -> None:
    assert covers(name, domain) is is_for_it


@pytest.mark.parametrize("alone", ["certificate", "key"])
def test_a_certificate_without_its_key_is_refused(alone: str) -> None:
    given = {"certificate": pem(OWN), "key": KEY}
    (missing,) = given.keys() - {alone}
    line = refusal(secret=alone == "key", tls={alone: given[alone]})
    assert line.startswith(f"site:loadBalancers.tls.{alone} is set and {missing} is not")
    assert f"`pulumi config rm --path site:loadBalancers.tls.{alone}`" in line


def test_a_key_in_the_clear_is_refused() -> None:
    line = refusal(secret=False, tls={"certificate": pem(OWN), "key": KEY})
    assert line.startswith("site:loadBalancers.tls.key is in the stack's file in the clear.")


def test_what_else_is_wrong_beside_a_secret_does_not_show_it() -> None:
    line = refusal(connections=KEY, tls={"certificate": pem(OWN), "key": KEY})
    assert line.startswith("site:loadBalancers.connections is …; allowed is a whole number.")
    texts = {"deletionProtection": "false", "loadBalancers": KEY}
    with pytest.raises(pulumi.RunError) as refused:
        settings.parse(texts, secret=["loadBalancers"])
    assert KEY.splitlines()[1] not in str(refused.value)


def test_a_secret_that_is_no_key_is_refused_as_everywhere() -> None:
    assert refusal(connections=4000).startswith("site:loadBalancers holds a secret")


@pytest.mark.parametrize(
    "domain", ["WWW.example.org", "localhost", "10.0.0.1", "*.example.org", "a b.org", "-a.org", ""]
)
def test_what_no_certificate_can_be_had_for_is_no_domain(domain: str) -> None:
    line = refusal(secret=False, domain=domain)
    assert line.startswith(f"site:loadBalancers.domain is {json.dumps(domain)}; allowed is a host")


@pytest.mark.parametrize("domain", ["example.org", "a.b-c.d1.example", "xn--bcher-kva.example"])
def test_ordinary_names_are_domains(domain: str) -> None:
    assert parse(secret=False, domain=domain).load_balancers.domain == domain


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("directory", "http://acme.example/dir", "the URL of an ACME directory, https://…"),
        ("contact", "somebody", "a mail address"),
        ("authority", "nobody", "certificates in PEM"),
    ],
)
def test_what_acme_cannot_use_is_refused(field: str, value: str, allowed: str) -> None:
    line = refusal(secret=False, tls={"acme": {field: value}})
    start = f'site:loadBalancers.tls.acme.{field} is "{value}"; allowed is {allowed}. Set it with'
    assert line.startswith(start)


@pytest.mark.parametrize(
    ("directory", "port"),
    [("https://acme.example/dir", 443), ("https://acme.example:14000/d", 14000)],
)
def test_the_directorys_port_is_known(directory: str, port: int) -> None:
    found = parse(secret=False, tls={"acme": {"directory": directory}})
    assert found.load_balancers.tls.acme.port == port
