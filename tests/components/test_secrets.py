"""Secrets: how they are made, that they stay, and where they are."""

import datetime
import os
import subprocess
import sys

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from components import new_secret, secrets
from components.site import this_site
from tests.components.recorder import PROJECT, Recording, record


@pytest.fixture(scope="module")
def site() -> Recording:
    """The database's secrets alone."""

    def program() -> None:
        secrets.DatabaseSecrets("secrets", site=this_site(deletion_protection=True))

    return record(program)


def test_a_password_is_random_and_fits_any_file_or_url() -> None:
    made = {new_secret.password() for _ in range(100)}
    assert len(made) == 100
    assert all(len(password) == 32 for password in made)
    assert all(c.isalnum() or c in "-_" for password in made for c in password)


def test_the_authority_signs_certificates_that_are_good_with_its_own() -> None:
    made = new_secret.certificate_authority().encode()
    key = serialization.load_pem_private_key(made, password=None)
    authority = x509.load_pem_x509_certificate(secrets.certificate_of(made.decode()).encode())
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.public_key() == authority.public_key()
    authority.verify_directly_issued_by(authority)
    constraints = authority.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (constraints.ca, constraints.path_length) == (True, 0)
    years = (authority.not_valid_after_utc - datetime.datetime.now(datetime.UTC)).days / 365
    assert 9.9 < years < 10.1
    _assert_it_signs(key, authority)


def _assert_it_signs(key: ec.EllipticCurvePrivateKey, authority: x509.Certificate) -> None:
    now = datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "database-1")])
    leaf = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(authority.subject)
        .public_key(ec.generate_private_key(ec.SECP256R1()).public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    leaf.verify_directly_issued_by(authority)


def test_the_command_prints_the_secret_and_nothing_else() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "components.new_secret", "password"],
        capture_output=True,
        text=True,
        check=True,
        cwd=PROJECT,
    )
    assert len(run.stdout) == 32
    assert run.stderr == ""


def test_an_unknown_kind_of_secret_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"usage: .*password\|certificate-authority"):
        new_secret.main(["pin"])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("text", ["", "-----BEGIN CERTIFICATE-----\n", "nonsense"])
def test_what_is_no_authority_has_no_certificate(text: str) -> None:
    with pytest.raises(ValueError, match="a private key and its certificate were expected"):
        secrets.certificate_of(text)


def test_the_certificate_alone_is_public_and_of_the_stored_authority(site: Recording) -> None:
    authority = site.one("Parameter", secrets.AUTHORITY).inputs
    certificate = site.one("Parameter", secrets.CERTIFICATE).inputs
    assert (authority["type"], certificate["type"]) == ("SecureString", "String")
    assert authority["value"].endswith(certificate["value"])
    assert "PRIVATE" not in certificate["value"]


def test_while_an_authority_changes_both_are_trusted_and_the_first_signs() -> None:
    def program() -> None:
        site = this_site(deletion_protection=False)
        secrets.DatabaseSecrets("secrets", site=site, authorities=[2, 1])

    site = record(program)
    made = {c.name for c in site.every("Command") if "authority" in c.name}
    assert made == {"certificate-authority", "certificate-authority-2"}
    signing = site.one("Parameter", secrets.AUTHORITY).inputs["value"]
    second = site.one("Command", "certificate-authority-2").outputs["stdout"]
    assert signing == second
    trusted = site.one("Parameter", secrets.CERTIFICATE).inputs["value"]
    assert trusted.count("BEGIN CERTIFICATE") == 2
    assert "PRIVATE" not in trusted


def test_a_secret_can_be_exchanged_where_deletion_is_protected_against(site: Recording) -> None:
    assert {command.options.protect for command in site.every("Command")} == {False}


def test_secrets_are_secret_in_the_state(site: Recording) -> None:
    for command in site.every("Command"):
        assert list(command.options.additionalSecretOutputs) == ["stdout"]
        assert command.inputs["logging"] == "none", "or the CLI shows it"
    for parameter in site.every("Parameter"):
        assert "value" in parameter.secret


def test_a_change_of_the_command_keeps_the_secret(site: Recording) -> None:
    for command in site.every("Command"):
        run = subprocess.run(
            ["/bin/sh", "-c", command.inputs["update"]],
            env=os.environ | {"PULUMI_COMMAND_STDOUT": "as it was\n"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert run.stdout == "as it was\n"
        without = subprocess.run(
            ["/bin/sh", "-c", command.inputs["update"]],
            env={"PATH": os.defpath},
            capture_output=True,
            check=False,
        )
        assert without.returncode != 0, "rather no update than an empty secret"


def test_rotation_is_a_replacement_so_nothing_holds_on_to_the_old_value(site: Recording) -> None:
    for resource in [*site.every("Command"), *site.every("Parameter")]:
        assert list(resource.options.ignoreChanges) == []
