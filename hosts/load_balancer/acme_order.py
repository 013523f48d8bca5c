"""One exchange with an ACME authority (RFC 8555), by certbot's library.

The authority asks for http://DOMAIN/.well-known/acme-challenge/TOKEN and wants the token and the
thumbprint of the account's key (HTTP-01). That is the same for every token, so HAProxy answers it
on every load balancer, whichever of them ordered: see challenge.cfg.j2.
"""

import base64
import datetime
import hashlib
import json
import secrets
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hosts.base.certificate import openssl

# The library and what it brings are loaded when there is something to order: not on every start.
if TYPE_CHECKING:
    from acme import client, messages
    from josepy.jwk import JWKEC

PATH = "/.well-known/acme-challenge/"
AGENT = "site-load-balancer"
ANSWER = 30
"""Seconds for one answer of the authority's."""
NONCES = 5
"""Times that a request is made whose nonce the authority refuses."""
ASIDE = 3.0
"""Seconds for the answer of one's own site."""


@dataclass(frozen=True)
class Account:
    """Who orders, and where."""

    directory: str
    """The URL of the authority's."""
    key: str
    """The account's private key, of an elliptic curve (P-256), in PEM."""
    contact: str = ""
    """A mail address, or empty."""
    authority: Path | None = None
    """Whose certificates the directory's server may have; without it, those of the system."""


class AcmeError(Exception):
    """The authority did not give a certificate; the message says why.

    `limited`: because there were too many orders.
    """

    def __init__(self, message: str, *, limited: bool = False) -> None:
        super().__init__(message)
        self.limited = limited


def thumbprint(key: str) -> str:
    """What an authority expects after each of its tokens, by the account's private key.

    Raises `CertificateError`.
    """
    public = "".join(openssl("pkey", "-pubout", stdin=key).splitlines()[1:-1])
    point = base64.b64decode(public)[-64:]
    x, y = _base64url(point[:32]), _base64url(point[32:])
    # RFC 7638: these members of the public key, in this order and without spaces.
    text = json.dumps({"crv": "P-256", "kty": "EC", "x": x, "y": y}, separators=(",", ":"))
    return _base64url(hashlib.sha256(text.encode()).digest())


def challenge_seen(domain: str, key: str) -> str:
    """Why the authority would not find the answer under this name, or empty if it would.

    Asked as the authority asks: a failed order counts against the account, this does not.
    """
    token = secrets.token_urlsafe(24)
    request = urllib.request.Request(f"http://{domain}{PATH}{token}", headers={"User-Agent": AGENT})
    try:
        with urllib.request.urlopen(request, timeout=ASIDE) as answer:  # noqa: S310 likewise
            said = answer.read(200).decode(errors="replace").strip()
    except (OSError, ValueError) as error:
        return f"http://{domain}{PATH} cannot be reached: {error}"
    if said != f"{token}.{thumbprint(key)}":
        return f"http://{domain}{PATH} is not answered by this site: does its DNS lead here?"
    return ""


def obtain(account: Account, domain: str, seconds: float) -> str:
    """A new private key and the certificates for it, in PEM. Takes some seconds at least.

    Raises `AcmeError`, also when it takes longer than `seconds`.
    """
    from acme import errors, messages  # noqa: PLC0415
    from josepy.errors import Error as JoseError  # noqa: PLC0415

    deadline = datetime.datetime.now() + datetime.timedelta(seconds=seconds)
    try:
        return _order(_registered(account), account, domain, deadline)
    except messages.Error as error:
        raise AcmeError(str(error), limited=error.code == "rateLimited") from error
    except errors.TimeoutError as error:
        message = f"{account.directory} gave no certificate within {seconds:.0f} s"
        raise AcmeError(message) from error
    # What requests raises is an OSError.
    except (errors.Error, JoseError, OSError, ValueError) as error:
        raise AcmeError(str(error) or type(error).__name__) from error


def _registered(account: Account) -> "client.ClientV2":
    """The client of an account, which is made unless the authority knows its key."""
    from acme import client, errors, messages  # noqa: PLC0415
    from josepy.jwa import ES256  # noqa: PLC0415

    network = client.ClientNetwork(
        _jwk(account.key),
        alg=ES256,
        user_agent=AGENT,
        timeout=ANSWER,
        # A file of authorities is as good to requests, to which this is handed.
        verify_ssl=cast(Any, str(account.authority) if account.authority else True),
    )
    once = network.post

    def post(*given: Any, **named: Any) -> Any:
        """The library tries a second time; an authority may well refuse a nonce once more."""
        for _ in range(NONCES - 1):
            try:
                return once(*given, **named)
            except messages.Error as error:
                if error.code != "badNonce":
                    raise
        return once(*given, **named)

    network.post = post
    directory = client.ClientV2.get_directory(account.directory, network)
    known = client.ClientV2(directory, network)
    wanted = messages.NewRegistration.from_data(
        email=account.contact or None, terms_of_service_agreed=True
    )
    try:
        known.new_account(wanted)
    except errors.ConflictError as there:
        network.account = messages.RegistrationResource(
            uri=there.location, body=messages.Registration()
        )
    return known


def _order(
    known: "client.ClientV2", account: Account, domain: str, deadline: datetime.datetime
) -> str:
    from acme import crypto_util  # noqa: PLC0415
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    private = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    order = known.new_order(crypto_util.make_csr(private, domains=[domain]))
    key = _jwk(account.key)
    # The library's own types of these two lists are those of their decoders.
    for authorization in cast("Iterable[messages.AuthorizationResource]", order.authorizations):
        if challenge := _http(authorization):
            known.answer_challenge(challenge, challenge.chall.response(key))
    return private.decode() + known.poll_and_finalize(order, deadline).fullchain_pem


def _http(authorization: "messages.AuthorizationResource") -> "messages.ChallengeBody | None":
    """The challenge to answer; none if the authority knows the answer from before."""
    from acme import messages  # noqa: PLC0415

    if authorization.body.status == messages.STATUS_VALID:
        return None
    for offered in cast("Iterable[messages.ChallengeBody]", authorization.body.challenges):
        if offered.chall.typ == "http-01":
            return offered
    message = "the authority offers no HTTP-01 challenge"
    raise AcmeError(message)


def _jwk(key: str) -> "JWKEC":
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415
    from josepy.jwk import JWKEC  # noqa: PLC0415

    return JWKEC(key=cast(Any, load_pem_private_key(key.encode(), password=None)))


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
