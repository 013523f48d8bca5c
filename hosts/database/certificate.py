"""mysqld's certificate: signed on the machine by the stack's own authority."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from hosts.base import parameters
from hosts.base.certificate import CertificateError, certificates, good, signed

FOLDER = Path("/etc/mysql/tls")
AUTHORITY = FOLDER / "ca.pem"
SERVER = FOLDER / "server.pem"
DAYS = 730
RENEW = 90 * 24 * 3600
"""Seconds before its end at which a start makes a new one."""


def make(
    authority: str,
    names: Sequence[str],
    addresses: Sequence[str],
    folder: Path = FOLDER,
    *,
    trusted: str = "",
) -> bool:
    """Makes key and certificate, unless there are good ones of this authority; whether it did.

    `authority` is the PEM text of its key and certificate. `trusted` are the certificates of all
    authorities that this machine is to trust, in PEM; without it, the signing one's alone.

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
    private, public = signed(authority, names, addresses, DAYS)
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


def _good(server: Path, authority: str) -> bool:
    return server.exists() and good(server.read_text(), authority, RENEW)
