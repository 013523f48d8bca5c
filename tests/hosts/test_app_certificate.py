"""The certificate that an application server makes for itself."""

import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from components.new_secret import certificate_authority
from components.settings.tls import names_of
from hosts.app_server import certificate
from hosts.app_server.gunicorn_conf import Contexts
from hosts.base import parameters
from hosts.base.certificate import CertificateError, certificates, good, look
from tests.hosts import values

FACTS = values.facts("app-server", "app-server-3")
ONE, TWO = certificate_authority("one"), certificate_authority("two")


class Ssm:
    """The two parameters, and which were asked for."""

    def __init__(self, signing: str, *trusted: str) -> None:
        self.signing = signing
        self.trusted = trusted
        self.asked: list[str] = []

    def get_parameter(self, **asked: Any) -> dict[str, Any]:
        name = asked["Name"].removeprefix("/site/lab/")
        self.asked.append(name)
        given = {
            certificate.SIGNING: self.signing,
            certificate.TRUSTED: "\n".join(certificates(one) for one in self.trusted),
        }
        return {"Parameter": {"Value": given[name]}}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(parameters, "FOLDER", tmp_path)
    return tmp_path


def renew(ssm: Ssm, folder: Path) -> bool:
    client: Any = ssm
    return certificate.renew(client, FACTS, "10.0.1.5", folder)


def test_it_is_the_roles_and_the_machines_and_lasts(folder: Path) -> None:
    assert renew(Ssm(ONE, ONE), folder)
    server = folder / certificate.SERVER
    assert server.stat().st_mode & 0o777 == 0o400
    made = x509.load_pem_x509_certificate(certificates(server.read_text()).encode())
    assert set(names_of(made)) == {
        "app-server.lab.site.internal",
        "app-server-3.lab.site.internal",
        "localhost",
        "10.0.1.5",
        "127.0.0.1",
    }
    found = look(server.read_text())
    assert (found.ends - found.begins) / 86400 == pytest.approx(certificate.DAYS)
    assert certificates(server.read_text()).count("BEGIN") == 1
    assert {file.name for file in folder.iterdir()} >= {certificate.SERVER, certificate.AUTHORITIES}
    assert not list(folder.glob("certificate-*")), "the authority's key is not left"


def test_the_authoritys_key_is_asked_for_only_to_sign(folder: Path) -> None:
    ssm = Ssm(ONE, ONE)
    renew(ssm, folder)
    ssm.asked.clear()
    before = (folder / certificate.SERVER).read_text()
    assert not renew(ssm, folder)
    assert ssm.asked == [certificate.TRUSTED]
    assert (folder / certificate.SERVER).read_text() == before


def test_one_that_ends_soon_is_renewed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    renew(Ssm(ONE, ONE), folder)
    monkeypatch.setattr(certificate, "RENEW", (certificate.DAYS + 1) * 86400)
    assert renew(Ssm(ONE, ONE), folder)


def test_another_authority_signs_once_it_is_the_first(folder: Path) -> None:
    renew(Ssm(ONE, ONE), folder)
    assert not renew(Ssm(ONE, ONE, TWO), folder)
    trusted = (folder / certificate.AUTHORITIES).read_text()
    assert trusted.count("BEGIN") == 2
    assert renew(Ssm(TWO, TWO, ONE), folder)
    assert good((folder / certificate.SERVER).read_text(), certificates(TWO), 0)
    assert not good((folder / certificate.SERVER).read_text(), certificates(ONE), 0)


def test_an_authority_that_is_not_the_first_trusted_one_signs_nothing(folder: Path) -> None:
    with pytest.raises(CertificateError, match="is not the one that is trusted first"):
        renew(Ssm(TWO, ONE, TWO), folder)
    assert not (folder / certificate.SERVER).exists()


def test_gunicorn_has_one_context_until_the_file_changes(folder: Path) -> None:
    renew(Ssm(ONE, ONE), folder)
    contexts = Contexts(folder / certificate.SERVER)
    first = contexts.current()
    assert contexts.current() is first, "or no session could be resumed"
    assert first.minimum_version == ssl.TLSVersion.TLSv1_3
    renew(Ssm(TWO, TWO), folder)
    assert contexts.current() is not first
