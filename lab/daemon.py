"""What the lab's daemon runs. Imported once moto's settings are in the environment."""

import socket
from collections.abc import Iterable
from pathlib import Path
from wsgiref.types import StartResponse, WSGIEnvironment

from lab import (
    command_model,
    ec2_model,
    identities,
    machines,
    namespaces,
    network,
    s3_model,
    volumes,
)
from lab.api import Api, Door
from lab.control import PREFIX, Control
from lab.gate import Gate
from lab.imds import Service
from lab.metadata import Identity
from lab.reconcile import Reconciler
from lab.servers import serve


class Daemon:
    """Everything that runs, and its end."""

    def __init__(self, state: Path, root: Path) -> None:
        command_model.install()
        ec2_model.install()
        s3_model.install()
        self._api = Api()
        self._reconciler = Reconciler(self._api, root, state)
        self._control = Control(self._reconciler)
        self._api.changed = self._reconciler.wake
        self._api.permit = Gate(self._api, lambda: self._reconciler.facts)

    def start(self, home: socket.socket) -> None:
        """Make the network and serve; the user's machine asks at `home`."""
        network.create()
        self._api.prepare()
        self._reconciler.start()
        doors = ((network.AWS, Door.AWS), (network.S3, Door.S3), (network.DYNAMODB, Door.DYNAMODB))
        for address, door in doors:
            serve(namespaces.listen_in(namespaces.ROUTER, address, 443), self._api.at(door))
        metadata = namespaces.listen_in(namespaces.ROUTER, network.METADATA, 80)
        serve(metadata, Service(self._identify))
        serve(home, self._front)

    def _identify(self, address: str) -> Identity | None:
        with self._api.exclusive("ec2"):
            instance = self._reconciler.facts.at(address)
            return identities.identity(instance) if instance else None

    def _front(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        own = environ.get("PATH_INFO", "").startswith(PREFIX)
        application = self._control if own else self._api.at(Door.OPERATOR)
        return application(environ, start_response)

    def stop(self) -> None:
        """Remove everything, without ceremony."""
        self._reconciler.close()
        # What waits for a machine need not wait any longer ...
        machines.clear()
        self._reconciler.finish()
        # ... and what was just being started is there now.
        clear()


def clear() -> None:
    """Remove what any lab left behind."""
    machines.clear()
    volumes.clear()
    network.clear()
