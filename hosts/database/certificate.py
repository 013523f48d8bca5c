"""mysqld's certificate: signed on the machine by the stack's own authority."""

import shutil
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
    authority: str, names: Sequence[str], addresses: Sequence[str], folder: Path = FOLDER
) -> None:
    """Makes key and certificate, unless there are good ones of this authority.

    `authority` is the PEM text of its key and certificate. Its key is only ever in memory
    (/run) and only while it signs.
    """
    folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    certificate, key, ca = folder / "server.pem", folder / "server.key", folder / "ca.pem"
    public = authority[authority.index("-----BEGIN CERTIFICATE-----") :]
    public = public[: public.index("-----END CERTIFICATE-----")] + "-----END CERTIFICATE-----\n"
    if ca.exists() and ca.read_text() == public and _good(certificate, ca):
        return
    ca.write_text(public)
    subject = [f"DNS:{name}" for name in names] + [f"IP:{address}" for address in addresses]
    signing = parameters.FOLDER / "certificate-authority.pem"
    extensions = parameters.FOLDER / "certificate-extensions"
    request = parameters.FOLDER / "certificate-request"
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
        parameters.write(_openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout"), key)
        _openssl("req", "-new", "-key", key, "-subj", f"/CN={names[0]}", "-out", request)
        # fmt: off
        _openssl(
            "x509", "-req", "-in", request, "-CA", signing, "-CAkey", signing,
            "-days", DAYS, "-sha256", "-extfile", extensions, "-out", certificate,
        )
        # fmt: on
    finally:
        for path in (signing, extensions, request):
            path.unlink(missing_ok=True)
    key.chmod(0o440)
    for path in (folder, certificate, key, ca):
        shutil.chown(path, "root", "mysql")


def _good(certificate: Path, ca: Path) -> bool:
    if not certificate.exists():
        return False
    fresh = services.run("openssl", "x509", "-in", str(certificate), "-checkend", str(RENEW))
    trusted = services.run("openssl", "verify", "-CAfile", str(ca), str(certificate))
    return fresh.returncode == 0 and trusted.returncode == 0


def _openssl(*arguments: str | Path | int) -> str:
    command = ("openssl", *(str(argument) for argument in arguments))
    done = services.run(*command)
    if done.returncode:
        message = f"`{' '.join(command)}` failed: {done.stderr.strip()}"
        raise CertificateError(message)
    return done.stdout
