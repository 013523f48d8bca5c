"""Makes a secret of the site and prints it: `python -m components.new_secret KIND`.

The program runs this once for each secret; nothing is kept here.
"""

import datetime
import ipaddress
import secrets
import sys
from collections.abc import Callable, Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_LIFE = datetime.timedelta(days=3650)
SELF_SIGNED_LIFE = datetime.timedelta(days=825)
"""The longest that every client takes which was told to trust it."""
_CLOCKS_DIFFER = datetime.timedelta(hours=1)


def password() -> str:
    """192 random bits, of letters, digits, - and _ only: safe in any file or URL."""
    return secrets.token_urlsafe(24)


def private_key() -> str:
    """An elliptic curve's (P-256), in PEM."""
    return _pem(ec.generate_private_key(ec.SECP256R1()))


def certificate_authority(name: str = "site database authority") -> str:
    """A private key and its self-signed certificate that may sign those of machines, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        _of_itself(key, name, AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return _pem(key) + certificate.public_bytes(serialization.Encoding.PEM).decode()


def self_signed(names: Sequence[str]) -> str:
    """A private key and a certificate for a web site that nobody vouches for, in PEM.

    `names` are host names and IP addresses.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        _of_itself(key, "site", SELF_SIGNED_LIFE)
        .add_extension(x509.SubjectAlternativeName([_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _pem(key) + certificate.public_bytes(serialization.Encoding.PEM).decode()


def _of_itself(
    key: ec.EllipticCurvePrivateKey, name: str, life: datetime.timedelta
) -> x509.CertificateBuilder:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCKS_DIFFER)
        .not_valid_after(now - _CLOCKS_DIFFER + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def _usage(*, signs: bool) -> x509.KeyUsage:
    """Of certificates, or of what it is told."""
    return x509.KeyUsage(
        key_cert_sign=signs,
        crl_sign=signs,
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


KINDS: dict[str, Callable[[], str]] = {
    "password": password,
    "certificate-authority": certificate_authority,
    "app-server-authority": lambda: certificate_authority("site application server authority"),
    "private-key": private_key,
}


def main(arguments: list[str]) -> None:
    """Print one secret of the kind named."""
    match arguments:
        case [kind] if kind in KINDS:
            sys.stdout.write(KINDS[kind]())
        case ["self-signed", *names] if names:
            sys.stdout.write(self_signed(names))
        case _:
            usage = "|".join([*KINDS, "self-signed NAME..."])
            sys.exit(f"usage: python -m components.new_secret {usage}")


if __name__ == "__main__":
    main(sys.argv[1:])
