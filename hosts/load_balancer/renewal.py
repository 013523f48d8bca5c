"""The certificate by ACME: ordered by one load balancer for all, in good time.

At two thirds of its lifetime, or when there is none yet that an authority gave for the domain.
Whoever holds the lease orders and writes the parameter that all follow; it serves whatever it has
meanwhile. After a failure all wait: how long, and why, is in the lease's record. What an authority
counts (Let's Encrypt: five failed orders of a name in an hour, five certificates for the same
names in a week) is not to be reached, so before an order this machine looks whether the authority
would find the site under its name at all.
"""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from hosts.base import certificate, parameters
from hosts.base.certificate import CertificateError
from hosts.base.lease import NOTHING, Lease, Record, Times, UnreachableError, boottime
from hosts.load_balancer.acme_order import Account, AcmeError, challenge_seen, obtain, thumbprint
from hosts.load_balancer.certificate import EDGE, EVERY
from hosts.load_balancer.files import CERTIFICATE, CHALLENGE_MAP, FOLDER
from hosts.load_balancer.options import Acme
from hosts.load_balancer.save_state import ask

if TYPE_CHECKING:
    from types_boto3_ssm import SSMClient

log = logging.getLogger("certificate")

ACCOUNT, AUTHORITY = "edge/acme-account", "edge/acme-authority"
"""The stack's parameters: the account's private key; whom the directory's server is known by."""
DIRECTORY = "Directory: "
"""What a certificate's text begins with, before the PEM: who gave it."""
SHARE = 2 / 3
"""Of its lifetime, after which there is to be a new one."""
TIMES = Times(lease=300.0, margin=60.0, gap=100.0)
ORDER = 200.0
"""Seconds for one order: less than the lease lasts, which is not renewed meanwhile."""
BACK_OFF = (60, 300, 900, 3600, 10_800, 21_600, 43_200)
"""Seconds after the first, second … failure in a row: at most four in an hour."""
LIMITED = 10_800
"""Seconds at least, if the authority says that there were too many orders."""
ANYWAY = 3600.0
"""Seconds after which there is an order even if the site does not see itself under its name: it
may be that only this machine does not."""


def due(pem: str, acme: Acme, now: float) -> str:
    """Why there is to be a new certificate, or empty if there is not."""
    found = certificate.look(pem)
    if found.self_signed:
        return "there is none by ACME yet"
    if not certificate.covers(pem, acme.domain):
        return f"it is not for {acme.domain}"
    given_by = _directory(pem)
    if given_by and given_by != acme.directory:
        return f"it is by {given_by}"
    if now >= found.begins + SHARE * (found.ends - found.begins):
        return f"{max(0, found.ends - now) / 86400:.0f} days of it are left"
    return ""


def _directory(pem: str) -> str:
    first = pem.partition("\n")[0]
    return first.removeprefix(DIRECTORY) if first.startswith(DIRECTORY) else ""


class Renewal:
    """One machine's part in it."""

    def __init__(
        self,
        acme: Acme,
        client: "SSMClient",
        parameter: Callable[[str], str],
        lease: Lease,
        *,
        folder: Path = FOLDER,
        admin: Callable[[str], str] = ask,
        epoch: Callable[[], float] = time.time,
        clock: Callable[[], float] = boottime,
        order: Callable[[Account, str, float], str] = obtain,
        unseen: Callable[[str, str], str] = challenge_seen,
    ) -> None:
        """`lease` is the certificate's; `parameter` gives the full name of one of the stack's."""
        self._acme = acme
        self._client = client
        self._parameter = parameter
        self._lease = lease
        self._folder = folder
        self._map = folder / CHALLENGE_MAP.name
        self._admin = admin
        self._epoch = epoch
        self._clock = clock
        self._order = order
        self._unseen = unseen
        self._waiting_since: float | None = None
        self.trouble = ""
        """Why there is no new certificate although there is to be one."""

    def prepare(self) -> None:
        """Before HAProxy starts. Raises `ParameterError`, `CertificateError` or `OSError`."""
        if not self._map.exists():
            self._map.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            parameters.write(_challenge_map(self._value(ACCOUNT)), self._map, 0o444)

    def run(self) -> None:
        """Does not return."""
        pause = threading.Event()
        while True:
            try:
                self.turn()
            except Exception as error:  # noqa: BLE001 whatever it is, the site goes on
                self._say(f"the certificate cannot be renewed: {type(error).__name__}: {error}")
            pause.wait(EVERY)

    def turn(self) -> None:
        """One look, and an order if it is time and this machine's turn.

        Raises `ParameterError`, `CertificateError`, `UnreachableError` or `OSError`.
        """
        record = self._lease.refresh()
        if self._lease.generation is not None:
            # From an order that ended without a word: with this program, or with the table away.
            self._lease.release()
        pem = self._value(EDGE)
        why = due(pem, self._acme, self._epoch())
        if not why:
            self._waiting_since = None
            self._say("")
            return
        if self._put_back():
            return
        failures, again, said = _history(record)
        # Not for ever: whoever wrote it may have had a wrong clock.
        if failures and self._epoch() < again < self._epoch() + 2 * BACK_OFF[-1]:
            self._failed(said, again)
            return
        key = self._value(ACCOUNT)
        self._answer(key)
        if not self._seen(key) or not self._lease.vacant:
            return
        after = BACK_OFF[min(failures, len(BACK_OFF) - 1)]
        # Counted as a failure until it is none: if this machine ends, the next one waits.
        begun = {
            "failures": failures + 1,
            "again": round(self._epoch()) + after,
            "said": "it ended",
        }
        if not self._lease.acquire(begun):
            return
        log.info("ordering a certificate for %s: %s", self._acme.domain, why)
        try:
            self._renew(key)
        except (AcmeError, CertificateError, parameters.ParameterError, OSError) as error:
            limited = isinstance(error, AcmeError) and error.limited
            after = max(after, LIMITED) if limited else after
            text = " ".join(str(error).split())
            again = round(self._epoch()) + after
            self._release({"again": again, "said": text[:1000]})
            self._failed(text, again)
        else:
            self._release({"failures": 0, "again": 0, "said": "done"})
            self._say("")

    def _renew(self, key: str) -> None:
        authority = None
        if self._acme.authority:
            authority = self._folder / "acme-authority.pem"
            parameters.write(self._value(AUTHORITY), authority)
        account = Account(self._acme.directory, key, self._acme.contact, authority)
        made = self._order(account, self._acme.domain, ORDER)
        certificate.refuse_other_key(made)
        text = f"{DIRECTORY}{self._acme.directory}\n{made}"
        parameters.store(self._client, self._parameter(EDGE), text)
        log.info("there is a new certificate for %s", self._acme.domain)

    def _put_back(self) -> bool:
        """Writes what this machine serves, if that is good and what is stored is not; whether so.

        Somebody may have set the parameter back, and a certificate is not to be had every day.
        """
        try:
            served = (self._folder / CERTIFICATE.name).read_text()
            if not _directory(served) or due(served, self._acme, self._epoch()):
                return False
        except (CertificateError, OSError):
            return False
        parameters.store(self._client, self._parameter(EDGE), served)
        log.warning("the certificate's parameter had changed, and has it again")
        return True

    def _answer(self, key: str) -> None:
        """Lets HAProxy answer for this account, which may be another one than at its start."""
        wanted = _challenge_map(key)
        if self._map.exists() and self._map.read_text() == wanted:
            return
        self._admin(f"set map {self._map} {wanted.strip()}")
        parameters.write(wanted, self._map, 0o444)

    def _seen(self, key: str) -> bool:
        """Whether there may be an order: the authority would find the site, or one has waited."""
        reason = self._unseen(self._acme.domain, key)
        if not reason:
            self._waiting_since = None
            return True
        now = self._clock()
        if self._waiting_since is None:
            self._waiting_since = now
        if now - self._waiting_since >= ANYWAY:
            self._waiting_since = now
            return True
        self._say(f"no certificate is ordered yet: {reason}")
        return False

    def _release(self, changes: dict[str, int | str]) -> None:
        try:
            self._lease.release(changes)
        except UnreachableError as error:
            # It lapses; what it says stays as it was when the order began.
            log.warning("%s", error)

    def _value(self, name: str) -> str:
        return parameters.value(self._client, self._parameter(name))

    def _failed(self, why: str, again: float) -> None:
        at = time.strftime("%Y-%m-%d %H:%M", time.gmtime(again))
        self._say(f"no certificate by ACME; the next order is at {at} UTC. The last failed: {why}")

    def _say(self, trouble: str) -> None:
        if trouble and trouble != self.trouble:
            log.warning("%s", trouble)
        self.trouble = trouble


def _challenge_map(key: str) -> str:
    return f"thumbprint {thumbprint(key)}\n"


def _history(record: Record | None) -> tuple[int, float, str]:
    """Failures in a row, when the next order may be, and why the last one failed."""
    found = record.extra if record else NOTHING
    failures, again = found.get("failures", 0), found.get("again", 0)
    return int(str(failures)), float(str(again)), str(found.get("said", ""))
