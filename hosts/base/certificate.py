"""Certificates of machines: made, and looked at, with openssl. Texts are PEM."""

import hashlib
import re
import ssl
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hosts.base import parameters, services


class CertificateError(Exception):
    """openssl did not do what it was asked, or what should be a certificate is none."""


@dataclass(frozen=True)
class Certificate:
    """What a certificate says of itself. Times are in seconds since the epoch."""

    begins: float
    ends: float
    self_signed: bool


def signed(
    authority: str, names: Sequence[str], addresses: Sequence[str], days: int
) -> tuple[str, str]:
    """A new private key and its certificate for a server of these names and addresses.

    `authority` is the text of the signing one's key and certificate. Its key is only ever in
    memory (/run) and only while it signs. Raises `CertificateError`.
    """
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
        private = openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout")
        parameters.write(private, key)
        openssl("req", "-new", "-key", key, "-subj", f"/CN={names[0]}", "-out", request)
        # fmt: off
        public = openssl(
            "x509", "-req", "-in", request, "-CA", signing, "-CAkey", signing,
            "-days", days, "-sha256", "-extfile", extensions,
        )
        # fmt: on
    finally:
        for path in made:
            path.unlink(missing_ok=True)
    return private, public


def good(pem: str, authority: str, seconds: float) -> bool:
    """Whether a certificate is of this authority, and for so many seconds yet."""
    try:
        own = certificates(pem, most=1)
    except CertificateError:
        return False
    fresh = services.run("openssl", "x509", "-noout", "-checkend", str(round(seconds)), stdin=own)
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(authority)
        file.flush()
        trusted = services.run("openssl", "verify", "-CAfile", file.name, stdin=own)
    return fresh.returncode == 0 and trusted.returncode == 0


def certificates(pem: str, most: int | None = None) -> str:
    """The certificates alone, of a text that may hold keys as well. Raises `CertificateError`."""
    found = re.findall(
        r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", pem, flags=re.DOTALL
    )
    if not found:
        message = "a certificate in PEM was expected"
        raise CertificateError(message)
    return "\n".join(found[:most]) + "\n"


def look(pem: str) -> Certificate:
    """What the first certificate of a text says. Raises `CertificateError`."""
    asked = ("-startdate", "-enddate", "-subject_hash", "-issuer_hash")
    first = certificates(pem, most=1)
    said = openssl("x509", "-noout", *asked, stdin=first).splitlines()
    values = dict(line.split("=", 1) for line in said if "=" in line)
    subject, issuer = (line for line in said if "=" not in line)
    return Certificate(
        begins=ssl.cert_time_to_seconds(values["notBefore"]),
        ends=ssl.cert_time_to_seconds(values["notAfter"]),
        self_signed=subject == issuer,
    )


def fingerprints(pem: str) -> list[str]:
    """The SHA-1 of each certificate of a text, as HAProxy writes it. Raises `CertificateError`."""
    ends = "-----END CERTIFICATE-----"
    blocks = [block + ends for block in certificates(pem).split(ends)[:-1]]
    try:
        ders = [ssl.PEM_cert_to_DER_cert(block.strip()) for block in blocks]
    except ValueError as error:
        message = f"a certificate in PEM was expected: {error}"
        raise CertificateError(message) from error
    return [hashlib.sha1(der, usedforsecurity=False).hexdigest().upper() for der in ders]


def covers(pem: str, name: str) -> bool:
    """Whether the first certificate of a text is for this name. Raises `CertificateError`."""
    first = certificates(pem, most=1)
    # Its exit status is another one in other versions.
    done = services.run("openssl", "x509", "-noout", "-checkhost", name, stdin=first)
    if name not in done.stdout:
        message = f"openssl cannot read the certificate: {done.stderr.strip()}"
        raise CertificateError(message)
    return "does match" in done.stdout


def refuse_other_key(pem: str) -> None:
    """Raises `CertificateError` unless a text has a key, and it is its first certificate's."""
    public = openssl("x509", "-noout", "-pubkey", stdin=certificates(pem, most=1))
    if openssl("pkey", "-pubout", stdin=pem) != public:
        message = "the key is not the certificate's"
        raise CertificateError(message)


def openssl(*arguments: str | Path | int, stdin: str | None = None) -> str:
    """What openssl answers. Raises `CertificateError`."""
    command = ("openssl", *(str(argument) for argument in arguments))
    done = services.run(*command, stdin=stdin)
    if done.returncode:
        message = f"`{' '.join(command)}` failed: {done.stderr.strip()}"
        raise CertificateError(message)
    return done.stdout
