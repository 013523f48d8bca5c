"""Makes a secret of the site and prints it: `python -m components.new_secret KIND`.

The program runs this once for each secret; nothing is kept here.
"""

import datetime
import secrets
import sys
from collections.abc import Callable

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

AUTHORITY_LIFE = datetime.timedelta(days=3650)
_CLOCKS_DIFFER = datetime.timedelta(hours=1)


def password() -> str:
    """192 random bits, of letters, digits, - and _ only: safe in any file or URL."""
    return secrets.token_urlsafe(24)


def certificate_authority() -> str:
    """A private key and its self-signed certificate that may sign those of machines, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "site database authority")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCKS_DIFFER)
        .not_valid_after(now + AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_signs_only(), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return (pem + certificate.public_bytes(serialization.Encoding.PEM)).decode()


def _signs_only() -> x509.KeyUsage:
    return x509.KeyUsage(
        key_cert_sign=True,
        crl_sign=True,
        digital_signature=False,
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
}


def main(arguments: list[str]) -> None:
    """Print one secret of the kind named."""
    if len(arguments) != 1 or arguments[0] not in KINDS:
        sys.exit(f"usage: python -m components.new_secret {'|'.join(KINDS)}")
    sys.stdout.write(KINDS[arguments[0]]())


if __name__ == "__main__":
    main(sys.argv[1:])
