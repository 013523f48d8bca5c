"""EBS volumes as the account says: made when first attached, in the machine that has them."""

import contextlib
import threading

from lab import paths, volumes
from lab.facts import Facts, Instance


class Disks:
    """Where every volume of the lab is."""

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}
        self._holders: dict[str, str] = {}
        self._guard = threading.RLock()

    def settled(self, facts: Facts, instance: Instance) -> bool:
        """Whether the machine has exactly the volumes that it should, and they their sizes."""
        with self._guard:
            held = {volume for volume, holder in self._holders.items() if holder == instance.id}
            return held == set(instance.volumes) and all(
                self._sizes.get(volume) == facts.volumes.get(volume) for volume in held
            )

    def settle(self, facts: Facts, instance: Instance) -> None:
        """Make it so, for a machine that runs. `VolumeError`: not yet, try again."""
        with self._guard:
            for volume, holder in list(self._holders.items()):
                if holder == instance.id and volume not in instance.volumes:
                    self._detach(volume)
            for volume in instance.volumes:
                self._create(volume, facts.volumes.get(volume, 1))
                holder = self._holders.get(volume)
                if holder is None:
                    volumes.attach(volume, instance.id)
                    self._holders[volume] = instance.id
                elif holder != instance.id:
                    msg = f"{volume} is still attached to {holder}."
                    raise volumes.VolumeError(msg)

    def _create(self, volume: str, gib: int) -> None:
        size = self._sizes.get(volume)
        if size is None:
            volumes.create(volume, gib)
        elif gib > size:
            volumes.grow(volume, gib)
        self._sizes[volume] = gib

    def _detach(self, volume: str) -> None:
        volumes.detach(volume)
        del self._holders[volume]

    def before_start(self, instance: Instance) -> None:
        """A machine that was stopped keeps its volumes, less those detached meanwhile."""
        with self._guard:
            for volume, holder in list(self._holders.items()):
                if holder == instance.id and volume not in instance.volumes:
                    self._detach(volume)
            rules = paths.machine(instance.id) / "upper/etc/tmpfiles.d"
            for rule in rules.glob("vol-*.conf"):
                if self._holders.get(rule.stem) != instance.id:
                    rule.unlink()

    def release(self, instance_id: str) -> None:
        """The machine is gone: nothing is attached to it any more."""
        with self._guard:
            for volume, holder in list(self._holders.items()):
                if holder == instance_id:
                    self._detach(volume)

    def prune(self, facts: Facts) -> None:
        """Remove the volumes that were deleted."""
        with self._guard:
            for volume in [v for v in self._sizes if v not in facts.volumes]:
                if volume not in self._holders:
                    with contextlib.suppress(FileNotFoundError):
                        volumes.delete(volume)
                    del self._sizes[volume]
