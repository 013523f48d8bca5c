"""gunicorn's certificate: signed on the machine by the application servers' own authority.

The load balancers trust that authority alone, and ask for the name of the role.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from hosts.app_server.gunicorn_conf import CERTIFICATE
from hosts.base import parameters
from hosts.base.certificate import CertificateError, certificates, good, signed
from hosts.base.facts import MachineFacts

if TYPE_CHECKING:
    from types_boto3_ssm import SSMClient

DAYS = 90
RENEW = 30 * 24 * 3600
"""Seconds before its end at which there is a new one."""
SERVER, AUTHORITIES = CERTIFICATE.name, "app-server-authorities.pem"
"""The files in /run/site: key and certificate; whom the load balancers trust."""
SIGNING = "app-server/certificate-authority"
TRUSTED = "app-server/certificate-authority-certificate"
"""The stack's parameters: key and certificate of the authority that signs; and the certificates
of all that are trusted, that one's first."""


def renew(
    client: "SSMClient", facts: MachineFacts, address: str, folder: Path = parameters.FOLDER
) -> bool:
    """Makes key and certificate unless there are good ones; whether it did.

    The authority's key is only asked for when there is something to sign. Raises
    `ParameterError`, `CertificateError` or `OSError`.
    """
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    trusted = certificates(parameters.value(client, facts.parameter(TRUSTED)))
    own = certificates(trusted, most=1)
    authorities, server = folder / AUTHORITIES, folder / SERVER
    if not authorities.exists() or authorities.read_text() != trusted:
        parameters.write(trusted, authorities, 0o444)
    if server.exists() and good(server.read_text(), own, RENEW):
        return False
    authority = parameters.value(client, facts.parameter(SIGNING))
    if certificates(authority) != own:
        message = "the authority that is to sign is not the one that is trusted first"
        raise CertificateError(message)
    names = [f"app-server.{facts.zone}", f"{facts.name}.{facts.zone}", "localhost"]
    private, public = signed(authority, names, [address, "127.0.0.1"], DAYS)
    parameters.write(private + public, server)
    return True
