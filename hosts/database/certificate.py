"""mysqld's certificate: signed on the machine by the stack's own authority."""

import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hosts.base import parameters, services

FOLDER = Path("/etc/mysql/tls")
AUTHORITY = FOLDER / "ca.pem"
DAYS = 730
RENEW = 90 * 24 * 3600
"""Seconds before its end at which a start makes a new one."""


class CertificateError(Exception):
    """openssl did not do what it was asked."""


def make(
    authority: str,
    names: Sequence[str],
    addresses: Sequence[str],
    folder: Path = FOLDER,
    *,
    trusted: str = "",
) -> bool:
    """Makes key and certificate, unless there are good ones of this authority; whether it did.

    `authority` is the PEM text of its key and certificate. Its key is only ever in memory
    (/run) and only while it signs. `trusted` are the certificates of all authorities that this
    machine is to trust, in PEM; without it, the signing one's alone.

    Key and certificate are one file: whoever reads it at any time reads a pair.
    """
    folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    server, ca = folder / "server.pem", folder / "ca.pem"
    own = certificates(authority)
    if trusted and own not in certificates(trusted):
        message = "the authority that is to sign is not among those that are trusted"
        raise CertificateError(message)
    trust(trusted or own, folder)
    for path in (folder, ca):
        shutil.chown(path, "root", "mysql")
    if _good(server, own):
        return False
    subject = [f"DNS:{name}" for name in names] + [f"IP:{address}" for address in addresses]
    made = [
        parameters.FOLDER / f"certificate-{what}"
        for what in ("authority.pem", "extensions", "request", "key")
    ]
    signing, extensions, request, key = made
    parameters.FOLDER.mkdir(mode=0o755, parents=True, exist_ok=True)
    try:
        parameters.write(authority, signing)
        extensions.write_text(
            f"subjectAltName={','.join(subject)}\n"
            "basicConstraints=CA:FALSE\n"
            "keyUsage=digitalSignature\n"
            "extendedKeyUsage=serverAuth\n"
            "subjectKeyIdentifier=hash\n"
            "authorityKeyIdentifier=keyid\n"
        )
        private = _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout")
        parameters.write(private, key)
        _openssl("req", "-new", "-key", key, "-subj", f"/CN={names[0]}", "-out", request)
        # fmt: off
        public = _openssl(
            "x509", "-req", "-in", request, "-CA", signing, "-CAkey", signing,
            "-days", DAYS, "-sha256", "-extfile", extensions,
        )
        # fmt: on
    finally:
        for path in made:
            path.unlink(missing_ok=True)
    new = folder / ".server.pem.new"
    parameters.write(private + public, new, 0o440)
    shutil.chown(new, "root", "mysql")
    new.replace(server)
    return True


def is_due(trusted: str, folder: Path = FOLDER) -> bool:
    """Whether `make` would make another one, with the first of these authorities to sign it."""
    return not _good(folder / "server.pem", certificates(trusted, most=1))


def trust(trusted: str, folder: Path = FOLDER) -> bool:
    """Trusts these authorities and no others, for every connection from now on; if it is new."""
    if not trusts_others(trusted, folder):
        return False
    new = folder / ".ca.pem.new"
    new.write_text(certificates(trusted))
    new.chmod(0o644)
    new.replace(folder / "ca.pem")
    return True


def trusts_others(trusted: str, folder: Path = FOLDER) -> bool:
    """Whether this machine trusts others than these."""
    ca = folder / "ca.pem"
    return not ca.exists() or ca.read_text() != certificates(trusted)


def certificates(pem: str, most: int | None = None) -> str:
    """The certificates alone, of a text that may hold keys as well. Raises `CertificateError`."""
    found = re.findall(
        r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", pem, flags=re.DOTALL
    )
    if not found:
        message = "a certificate in PEM was expected"
        raise CertificateError(message)
    return "\n".join(found[:most]) + "\n"


def _good(server: Path, authority: str) -> bool:
    """Whether it is of this authority, and for a while yet."""
    if not server.exists():
        return False
    fresh = services.run("openssl", "x509", "-in", str(server), "-checkend", str(RENEW))
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(authority)
        file.flush()
        trusted = services.run("openssl", "verify", "-CAfile", file.name, str(server))
    return fresh.returncode == 0 and trusted.returncode == 0


def _openssl(*arguments: str | Path | int) -> str:
    command = ("openssl", *(str(argument) for argument in arguments))
    done = services.run(*command)
    if done.returncode:
        message = f"`{' '.join(command)}` failed: {done.stderr.strip()}"
        raise CertificateError(message)
    return done.stdout
