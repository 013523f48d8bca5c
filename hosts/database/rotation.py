"""New passwords and certificates for old ones, while everybody goes on working.

A password is two for a while: the primary's mysqld takes the new one and keeps the old one, each
client changes over when the new one works for it, and then the old one is discarded. A
certificate is exchanged in the running mysqld. The parameters of the stack say what is wanted.
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hosts.base import parameters
from hosts.database import accounts, certificate
from hosts.database.certificate import AUTHORITY
from hosts.database.mysql import Account, MySQLError, Session, local, remote

if TYPE_CHECKING:
    from types_boto3_ssm import SSMClient

log = logging.getLogger("database")

Accepts = Callable[[Account], bool]

OVERLAP = 900.0
"""Seconds for which an old password stays valid beside the new one."""
SIGNING = "database/certificate-authority"
TRUSTED = "database/certificate-authority-certificate"
"""The stack's parameters: key and certificate of the authority that signs; and the certificates
of all that are to be trusted, that one's first."""
ACCESS_DENIED = 1045


def wanted_passwords(client: "SSMClient", names: Mapping[str, str]) -> dict[str, str]:
    """The passwords as the parameters have them: account → full parameter name.

    Raises `ParameterError` if one cannot be read.
    """
    return {user: parameters.value(client, name) for user, name in names.items()}


def change_passwords(
    session: Session, wanted: Mapping[str, str], accepts: Accepts | None = None
) -> list[str]:
    """On the primary: whose password is not as wanted gets it, and keeps the old one beside it.

    It is replicated. Whom it changed.
    """
    accepts = accepts or accepted_at("127.0.0.1")
    changed = [user for user in wanted if not accepts(Account(user, wanted[user]))]
    for user in changed:
        accounts.change_password(session, user, wanted[user])
        log.info("the account %s has a new password", user)
    return changed


def adopt(known: Mapping[str, str], wanted: Mapping[str, str], accepts: Accepts) -> dict[str, str]:
    """The passwords to use from now on: each new one only once the primary takes it.

    `accepts` asks the primary; whoever cannot reach it goes on with what is known.
    """
    adopted = dict(known)
    for user, password in wanted.items():
        if known.get(user) == password:
            continue
        try:
            if accepts(Account(user, password)):
                adopted[user] = password
        except (MySQLError, OSError) as error:
            log.info("whether %s has its new password is unknown: %s", user, error)
    return adopted


def accepted_at(address: str, authority: Path = AUTHORITY) -> Accepts:
    """Asks the mysqld at an address whether it takes a password, by logging in.

    What it gives raises `MySQLError` or `OSError` if that cannot be asked.
    """

    def accepts(account: Account) -> bool:
        try:
            remote(address, account, authority, 3).close()
        except MySQLError as error:
            if error.args and error.args[0] == ACCESS_DENIED:
                return False
            raise
        return True

    return accepts


def restart_receiving(session: Session, account: Account) -> None:
    """On a replica whose password has changed: connects to the primary with the new one.

    Without it the next connection, whenever that is, would be tried with the old one. Commits
    that wait for this replica wait for some milliseconds more. Not while it takes over.
    """
    rows = session.rows(
        "SELECT SERVICE_STATE FROM performance_schema.replication_connection_status"
        " WHERE CHANNEL_NAME = ''"
    )
    if rows and rows[0][0] != "OFF":
        session.run("STOP REPLICA IO_THREAD")
        session.run(
            "START REPLICA IO_THREAD USER = %s PASSWORD = %s", account.user, account.password
        )


def discard_old_passwords(session: Session, after: float = OVERLAP) -> list[str]:
    """On the primary: old passwords that were valid beside new ones for long enough are no more.

    Whose they were. It outlives the agent: mysqld itself knows when a password was changed.
    """
    rows = session.rows(
        "SELECT User, Host FROM mysql.user"
        " WHERE User_attributes->>'$.additional_password' IS NOT NULL"
        " AND password_last_changed <= NOW() - INTERVAL %s SECOND",
        round(after),
    )
    ours = {(purpose.user, purpose.host) for purpose in accounts.PURPOSES}
    old = [(user, host) for user, host in rows if (user, host) in ours]
    for user, host in old:
        session.run("ALTER USER %s@%s DISCARD OLD PASSWORD", user, host)
        log.info("the old password of %s is not valid any more", user)
    return [user for user, _ in old]


def renew_certificate(
    session: Session,
    trusted: str,
    authority: Callable[[], str],
    *,
    names: Sequence[str],
    addresses: Sequence[str],
    folder: Path = certificate.FOLDER,
) -> bool:
    """A new certificate for mysqld if its own ends soon or is of another authority; whether so.

    `trusted` are the certificates of all authorities, the one that signs first; `authority` gives
    the key of that one, and is called only if there is something to sign. The running mysqld takes
    the new certificate for new connections, and those that are open stay. If mysqld cannot use
    it, it keeps what it has, `MySQLError` is raised, and the next call tries again. Raises
    `CertificateError` if the key is of an authority that nobody trusts yet.
    """
    pending = folder / "to-be-loaded"
    due = certificate.is_due(trusted, folder)
    if due or certificate.trusts_others(trusted, folder):
        pending.touch()
        if due:
            certificate.make(authority(), names, addresses, folder, trusted=trusted)
        else:
            certificate.trust(trusted, folder)
    if not pending.exists():
        return False
    session.run("ALTER INSTANCE RELOAD TLS")
    pending.unlink()
    log.info("mysqld has %s", "a new certificate" if due else "other authorities to trust")
    return True


@dataclass
class Rotation:
    """One machine's part in it. Each turn does what there is to do, and raises if it could not."""

    client: "SSMClient"
    parameter: Callable[[str], str]
    """The full name of one of the stack's parameters."""
    passwords: dict[str, str]
    """Those in use, by account; changed in place."""
    file: Path
    """Where they are kept for an agent that starts anew."""
    between_turns: AbstractContextManager[object]
    """In it the agent takes no step: receiving must not start again in the middle of a take-over,
    or a former primary could have a write acknowledged that the new one has not."""
    leads: Callable[[], bool]
    """Whether this machine is the primary."""
    primary: Callable[[], str]
    """The primary's address, empty if none is known."""
    names: Sequence[str]
    """This machine's, for its certificate."""
    addresses: Sequence[str]
    _checked: bool = field(default=False, init=False)
    """Whether mysqld was asked, since this machine leads, if it takes these passwords."""

    def turn_passwords(self) -> None:
        """Raises `MySQLError` or `ParameterError`."""
        parameter = {user: self.parameter(f"database/{user}-password") for user in self.passwords}
        wanted = wanted_passwords(self.client, parameter)
        leads = self.leads()
        self._checked = self._checked and leads
        if leads:
            with local(30) as session:
                # Also when nothing is new here: a restore brings former passwords back, and a
                # failover of an asynchronous pair may lose a new one.
                if wanted != self.passwords or not self._checked:
                    change_passwords(session, wanted)
                    self._checked = True
                discard_old_passwords(session)
        if wanted == self.passwords:
            return
        address = "127.0.0.1" if leads else self.primary()
        if not address:
            return
        adopted = adopt(self.passwords, wanted, accepted_at(address))
        new = {user for user, password in adopted.items() if self.passwords[user] != password}
        self.passwords.update(adopted)
        parameters.write(json.dumps(self.passwords), self.file)
        if "replication" in new and not leads:
            with self.between_turns, local(3) as session:
                restart_receiving(session, Account("replication", adopted["replication"]))

    def turn_certificate(self) -> None:
        """Raises `MySQLError`, `ParameterError` or `CertificateError`."""
        trusted = parameters.value(self.client, self.parameter(TRUSTED))
        with local(10) as session:
            renew_certificate(
                session,
                trusted,
                lambda: parameters.value(self.client, self.parameter(SIGNING)),
                names=self.names,
                addresses=self.addresses,
            )
