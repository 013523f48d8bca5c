"""`site:loadBalancers.tls`: the certificate that clients see."""

import datetime
import re
from itertools import pairwise
from typing import Annotated, Self, cast

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pydantic import AfterValidator, Field, SecretStr, model_validator
from pydantic_core import PydanticCustomError

from components.settings.model import WORDED, Model, matching

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
MOST = 8192
"""Bytes that a parameter in SSM can hold."""
RSA = 2048
"""Bits: HAProxy takes no shorter key."""
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
DOMAIN = rf"(?=.{{4,253}}$)({_LABEL}\.)+(?!\d+$){_LABEL}"
_COMMAND = "`pulumi config set --path --secret site:loadBalancers.tls.{} < {}.pem`"


def _certificates(value: str) -> str:
    _parsed(value, "certificates in PEM")
    return value


def _parsed(pem: str, allowed: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem.encode())
    except ValueError:
        raise ValueError(allowed) from None


class Acme(Model):
    """`site:loadBalancers.tls.acme`"""

    directory: Annotated[
        str, matching(r"https://[^\s/:]+(:\d{1,5})?/\S*", "the URL of an ACME directory, https://…")
    ] = LETS_ENCRYPT
    contact: Annotated[str, matching(r"[^@\s,]+@[^@\s,]+", "a mail address")] | None = None
    authority: Annotated[str, AfterValidator(_certificates)] | None = None
    """Whose certificate the directory's server has, if it is not one that everybody trusts."""

    @property
    def port(self) -> int:
        """Where the directory's server listens."""
        found = re.match(r"https://[^/:]+:(\d+)/", self.directory)
        return int(found[1]) if found else 443


class Tls(Model):
    """`site:loadBalancers.tls`"""

    certificate: str | None = Field(default=None, repr=False)
    """In PEM, those that lead to its authority after it."""
    key: SecretStr | None = None
    acme: Acme = Field(default_factory=Acme)

    @model_validator(mode="after")
    def _pair(self) -> Self:
        given = {"certificate": self.certificate, "key": self.key}
        missing = [name for name, value in given.items() if value is None]
        if len(missing) == 1:
            (other,) = given.keys() - missing
            file = {"certificate": "fullchain", "key": "key"}[missing[0]]
            raise _refusal(
                f"{other} is set and {missing[0]} is not: set that with"
                f" {_COMMAND.format(missing[0], file)}, or remove the one with"
                f" `pulumi config rm --path site:loadBalancers.tls.{other}`."
            )
        if self.certificate is not None and self.key is not None:
            check(self.certificate, self.key.get_secret_value())
        return self

    @property
    def pem(self) -> str:
        """Key and certificates as one text, if they are set."""
        if self.certificate is None or self.key is None:
            return ""
        parts = (self.key.get_secret_value(), self.certificate)
        return "".join(f"{part.strip()}\n" for part in parts)


def check(certificate: str, key: str, now: datetime.datetime | None = None) -> None:
    """Refuses a certificate that could not serve.

    Raises:
        PydanticCustomError: the one thing that is wrong with it.
    """
    now = now or datetime.datetime.now(datetime.UTC)
    try:
        chain = _parsed(certificate, "")
    except ValueError:
        raise _unusable("certificate", "is not a certificate in PEM") from None
    first = chain[0]
    if _private(key).public_key() != first.public_key():
        raise _unusable("key", "is not the key of the certificate, the first if there are several")
    if first.not_valid_after_utc <= now:
        raise _unusable("certificate", f"ended on {first.not_valid_after_utc:%Y-%m-%d}")
    if first.not_valid_before_utc > now:
        raise _unusable("certificate", f"begins on {first.not_valid_before_utc:%Y-%m-%d}")
    for number, (one, signer) in enumerate(pairwise(chain), 1):
        try:
            one.verify_directly_issued_by(signer)
        except (ValueError, TypeError, InvalidSignature):
            raise _unusable(
                "certificate",
                f"has certificates in the wrong order: number {number + 1} did not sign"
                f" number {number}",
            ) from None
    if (length := len(certificate) + len(key) + 2) > MOST:
        raise _unusable(
            "certificate",
            f"and its key are {length} bytes together and SSM's Parameter Store takes {MOST}:"
            " leave out the root, or take a key of an elliptic curve",
        )


def _private(key: str) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey:
    try:
        private = load_pem_private_key(key.encode(), password=None)
    except TypeError:
        raise _unusable("key", "is encrypted and has to be in the clear: Pulumi keeps it") from None
    except (ValueError, UnsupportedAlgorithm):
        raise _unusable("key", "is not a private key in PEM") from None
    if isinstance(private, rsa.RSAPrivateKey) and private.key_size < RSA:
        raise _unusable("key", f"has {private.key_size} bits; RSA needs {RSA}")
    if not isinstance(private, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise _unusable("key", "is neither of an elliptic curve nor RSA")
    return private


def refuse_other_domain(certificate: str, domain: str) -> None:
    """Refuses a certificate that is not for this domain.

    Raises:
        PydanticCustomError: with the names that it is for.
    """
    names = names_of(x509.load_pem_x509_certificate(certificate.encode()))
    if not any(covers(name, domain) for name in names):
        raise _unusable("certificate", f"is for {', '.join(names) or 'no name'}, not for {domain}")


def names_of(certificate: x509.Certificate) -> list[str]:
    """The host names and addresses that a certificate is for."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [
        *found.get_values_for_type(x509.DNSName),
        *(str(address) for address in found.get_values_for_type(x509.IPAddress)),
    ]


def covers(name: str, domain: str) -> bool:
    """Whether a name of a certificate is for a domain; a `*` stands for one whole label."""
    name = name.lower()
    wild, dot, rest = name.partition(".")
    if wild == "*" and dot:
        return domain.partition(".")[2] == rest
    return name == domain


def _unusable(field: str, what: str) -> PydanticCustomError:
    file = {"certificate": "fullchain", "key": "key"}[field]
    return _refusal(f"{field} {what}. Set it with {_COMMAND.format(field, file)}.")


def _refusal(text: str) -> PydanticCustomError:
    return PydanticCustomError(WORDED, "site:loadBalancers.tls.{text}", {"text": text})


def has_key(given: object) -> bool:
    """Whether `site:loadBalancers`, as it was given, holds a private key."""
    tls = cast("dict[str, object]", given).get("tls") if isinstance(given, dict) else None
    return isinstance(tls, dict) and "key" in tls
