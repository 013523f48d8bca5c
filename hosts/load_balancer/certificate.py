"""The certificates that HAProxy uses: as the stack's parameters have them, while it runs.

The one that clients see, and those of the authorities that sign the application servers'. They are
files in memory, with which HAProxy starts, and are looked at again every half minute. A new
certificate is given to the running HAProxy by its admin socket: new connections get it, those that
are open stay. It cannot be told of new authorities in that way, so for these it is reloaded. What
HAProxy does not take is not written: it can always start.
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from hosts.base import certificate, parameters, services
from hosts.base.certificate import Certificate, CertificateError
from hosts.load_balancer.files import APP_SERVERS, CERTIFICATE, FOLDER
from hosts.load_balancer.save_state import ask

if TYPE_CHECKING:
    from types_boto3_ssm import SSMClient

log = logging.getLogger("certificate")

EDGE = "edge/certificate"
TRUSTED = "app-server/certificate-authority-certificate"
"""The stack's parameters."""
EVERY = 30.0
"""Seconds between two looks."""
DAY = 24 * 3600.0


class HAProxyError(Exception):
    """HAProxy did not take what it was given."""


FAILURES = (
    parameters.ParameterError,
    CertificateError,
    HAProxyError,
    services.ServiceError,
    OSError,
)


def reload_haproxy() -> None:
    """Raises `ServiceError`."""
    services.systemctl("reload", "haproxy.service")


class Keeper:
    """Keeps both files, and the running HAProxy, as the parameters are."""

    def __init__(
        self,
        client: "SSMClient",
        parameter: Callable[[str], str],
        *,
        folder: Path = FOLDER,
        admin: Callable[[str], str] = ask,
        reload: Callable[[], None] = reload_haproxy,
    ) -> None:
        """`parameter` gives the full name of one of the stack's."""
        self._client = client
        self._parameter = parameter
        self._certificate = folder / CERTIFICATE.name
        self._authorities = folder / APP_SERVERS.name
        self._admin = admin
        self._reload = reload
        self._served: Certificate | None = None
        self._trouble: dict[str, str] = {}

    def fetch(self) -> None:
        """Before HAProxy starts: what is not there yet.

        An agent that starts anew asks nobody. Raises `ParameterError`, `CertificateError` or
        `OSError`.
        """
        self._certificate.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        if not self._certificate.exists():
            parameters.write(self._wanted_certificate(), self._certificate)
        if not self._authorities.exists():
            parameters.write(self._wanted_authorities(), self._authorities)
        self._served = certificate.look(self._certificate.read_text())

    def turn(self) -> None:
        """One look at both. What could not be done is said, and tried again the next time."""
        self._try("the certificate", self._follow_certificate)
        self._try("whom application servers are known by", self._follow_authorities)

    @property
    def served(self) -> certificate.Certificate | None:
        """What clients see, once there is one."""
        return self._served

    def detail(self, now: float | None = None) -> str:
        """How long clients see the certificate for; then what is wrong, if any is.

        `now` is in seconds since the epoch.
        """
        found = self._served
        if found is None:
            return ""
        left = self.days(now) or 0
        kind = "self-signed certificate" if found.self_signed else "certificate"
        said = f"{kind}: {int(left)} days left" if left > 0 else f"{kind}: it has ended"
        return "\n".join([said, *dict(self._trouble).values()])

    def days(self, now: float | None = None) -> float | None:
        """How many days the certificate that clients see lasts; below 0 if it has ended.

        `now` is in seconds since the epoch.
        """
        if self._served is None:
            return None
        return round((self._served.ends - (time.time() if now is None else now)) / DAY, 2)

    def _wanted_certificate(self) -> str:
        pem = parameters.value(self._client, self._parameter(EDGE))
        # An empty line would end what is given to the admin socket.
        text = "".join(f"{line}\n" for line in pem.splitlines() if line.strip())
        certificate.refuse_other_key(text)
        return text

    def _wanted_authorities(self) -> str:
        return certificate.certificates(parameters.value(self._client, self._parameter(TRUSTED)))

    def _follow_certificate(self) -> None:
        wanted, file = self._wanted_certificate(), self._certificate
        same = file.exists() and file.read_text() == wanted
        # A reload may have read the file just before it changed: HAProxy itself is asked.
        if same and self._has("ssl cert", file) == certificate.fingerprints(wanted)[:1]:
            return
        said = self._ask(f"set ssl cert {file} <<\n{wanted}")
        if "ransaction created" not in said and "ransaction updated" not in said:
            raise HAProxyError(said)
        said = self._ask(f"commit ssl cert {file}")
        if "Success" not in said:
            self._ask(f"abort ssl cert {file}")
            raise HAProxyError(said)
        parameters.write(wanted, file)
        self._served = certificate.look(wanted)
        log.info("HAProxy has a new certificate")

    def _follow_authorities(self) -> None:
        wanted, file = self._wanted_authorities(), self._authorities
        same = file.exists() and file.read_text() == wanted
        if same and {*self._has("ssl ca-file", file)} == {*certificate.fingerprints(wanted)}:
            return
        certificate.fingerprints(wanted)
        parameters.write(wanted, file)
        self._reload()
        log.info("HAProxy knows application servers by other authorities")

    def _has(self, what: str, file: Path) -> list[str]:
        """The fingerprints of what the running HAProxy has of a file."""
        said = self._ask(f"show {what} {file}")
        return [line.split()[-1] for line in said.splitlines() if "SHA1 FingerPrint:" in line]

    def _ask(self, command: str) -> str:
        try:
            return self._admin(command)
        except OSError as error:
            message = f"HAProxy cannot be asked: {error}"
            raise HAProxyError(message) from error

    def _try(self, what: str, step: Callable[[], None]) -> None:
        try:
            step()
            self._trouble.pop(what, None)
        except FAILURES as error:
            said = f"{what} stays: {' '.join(str(error).split())}"
            if self._trouble.get(what) != said:
                self._trouble[what] = said
                log.warning("%s", said)
