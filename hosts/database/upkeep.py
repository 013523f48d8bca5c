"""What changes seldom: settings, passwords, certificates, the size of the volume.

Looked at every few seconds.
"""

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from hosts.base.certificate import CertificateError
from hosts.base.parameters import ParameterError
from hosts.base.services import ServiceError
from hosts.database import exporter, tunables, volume
from hosts.database.knowledge import Knowledge
from hosts.database.mysql import MySQLError, local
from hosts.database.rotation import Rotation
from hosts.database.volume import VolumeError

if TYPE_CHECKING:
    from types_boto3_ssm import SSMClient

log = logging.getLogger("database")

FAILURES = (MySQLError, OSError, ServiceError, VolumeError, CertificateError, ParameterError)


class Upkeep:
    """One machine's. A failure is said once, and the same is tried again at the next look."""

    def __init__(
        self,
        known: Knowledge,
        ssm: "SSMClient",
        parameter: str,
        device: str,
        rotation: Rotation,
    ) -> None:
        """`parameter` is the name of the settings', `device` the volume's disk."""
        self._known = known
        self._ssm = ssm
        self._parameter = parameter
        self._device = device
        self._rotation = rotation
        self._tuner = tunables.Tuner()
        self._said: dict[str, str] = {}

    def run(self) -> None:
        """Does not return."""
        pause = threading.Event()
        while True:
            self._try("settings", self._tune)
            self._try("volume", self._grow)
            self._try("passwords", self._rotation.turn_passwords)
            self._try("certificate", self._rotation.turn_certificate)
            self._try("exporter", self._export)
            pause.wait(tunables.EVERY)

    @property
    def trouble(self) -> str:
        """What could not be done at the last look, a line for each."""
        return "\n".join(f"{what}: {said}" for what, said in dict(self._said).items())

    def _tune(self) -> None:
        known = self._known
        known.tunables = tunables.fetch(self._ssm, self._parameter, known.tunables)
        with local(10) as session:
            self._tuner.apply(session, known.tunables)

    def _grow(self) -> None:
        if done := volume.grow(self._device):
            log.info("%s", done)

    def _export(self) -> None:
        exporter.keep(self._rotation.passwords)

    def _try(self, what: str, step: Callable[[], None]) -> None:
        try:
            step()
            self._said.pop(what, None)
        except FAILURES as error:
            if self._said.get(what) != str(error):
                self._said[what] = str(error)
                log.warning("%s: %s", what, error)
