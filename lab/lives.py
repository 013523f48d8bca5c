"""The life of each machine: booted, stopped, rebooted, ended, given its volumes and addresses.

One thing at a time for each machine, each on a thread of its own: none waits for another's boot.
"""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from moto.ec2.models.instances import StateReason

from lab import account, dns, ec2_model, machines, network
from lab.api import Api
from lab.disks import Disks
from lab.facts import Facts, Instance
from lab.network import Cable
from lab.volumes import VolumeError

log = logging.getLogger(__name__)

SHUTDOWN_TIMEOUT = 30.0
"""Seconds that a machine has to shut down before it is ended."""
_RETRY = 0.5


class Lives:
    """The machines, brought to what the account says of their instances."""

    def __init__(
        self,
        api: Api,
        image: Path,
        read: Callable[[], Facts],
        again: Callable[[float], None],
    ) -> None:
        """`again` is called when something may be left to do, with the seconds to wait first."""
        self._api = api
        self._image = image
        self._read = read
        self._again = again
        self._disks = Disks()
        self._pool = ThreadPoolExecutor(max_workers=16, thread_name_prefix="machine")
        self._guard = threading.Lock()
        self._busy: set[str] = set()
        self._cables: dict[str, Cable] = {}
        self._reboots: dict[str, int] = {}

    def follow(self, facts: Facts) -> None:
        """Set the next thing going for every machine that needs one, unless something is."""
        for instance in facts.instances.values():
            with self._guard:
                if instance.id in self._busy or self._next(facts, instance) is None:
                    continue
                self._busy.add(instance.id)
            self._pool.submit(self._do, instance.id)
        self._disks.prune(facts)

    def finish(self) -> None:
        """Begin nothing more, and wait for what is under way."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _do(self, instance_id: str) -> None:
        delay = 0.0
        try:
            # Read again, now that nothing else happens to this machine: what the caller had
            # read may be from before the last thing that did.
            facts = self._read()
            instance = facts.instances.get(instance_id)
            job = self._next(facts, instance) if instance else None
            if job:
                job()
        except VolumeError as error:
            log.info("%s", error)
            delay = _RETRY
        except Exception:
            log.exception("%s could not be brought to what it should be.", instance_id)
            delay = _RETRY
        finally:
            with self._guard:
                self._busy.discard(instance_id)
            self._again(delay)

    def _next(self, facts: Facts, instance: Instance) -> Callable[[], None] | None:
        job: Callable[[], None] | None = None
        match instance.state:
            case "pending":
                job = partial(self._boot, facts, instance)
            case "stopping":
                job = partial(self._halt, instance)
            case "shutting-down":
                job = partial(self._end, instance)
            case "running" if self._reboots.get(instance.id) != instance.reboots:
                job = partial(self._reboot, facts, instance)
            case "running" if not self._disks.settled(facts, instance):
                job = partial(self._disks.settle, facts, instance)
            case "running" if self._cables.get(instance.id) != _cable(facts, instance):
                job = partial(self._recable, _cable(facts, instance))
            case _:
                pass
        return job

    def _boot(self, facts: Facts, instance: Instance) -> None:
        try:
            self._disks.before_start(instance)
            netns = self._plug(facts, instance)
            self._reboots[instance.id] = instance.reboots
            self._power_on(instance, netns)
        except VolumeError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the instance did not start
            self._give_up(instance, error)
            return
        try:
            self._disks.settle(facts, instance)
        finally:
            self._say(instance.id, ("pending",), lambda it: it.became(ec2_model.RUNNING))

    def _plug(self, facts: Facts, instance: Instance) -> str:
        taken = [
            other.id
            for other in facts.instances.values()
            if other.id != instance.id and other.address == instance.address
        ]
        if taken:
            msg = (
                f"{instance.address} is {taken[0]}'s already: the lab has one network, "
                "so its VPCs must not overlap."
            )
            raise network.NetworkError(msg)
        self._cables[instance.id] = cable = _cable(facts, instance)
        return network.plug(cable)

    def _give_up(self, instance: Instance, error: Exception) -> None:
        log.error("%s (%s) does not start: %s", instance.id, instance.name, error)
        machines.stop(instance.id, 0)
        self._disks.release(instance.id)
        if self._cables.pop(instance.id, None):
            network.unplug(instance.id)
        reason = StateReason(f"Server.InternalError: {error}", "Server.InternalError")
        self._say(instance.id, ("pending",), lambda it: it.ended(reason))

    def _power_on(self, instance: Instance, netns: str) -> None:
        machines.on_exit(instance.id, self._powered_off)
        host = dns.host_name(instance.address, instance.region).partition(".")[0]
        machines.start(machines.Machine(instance.id, host, netns, self._image))

    def _powered_off(self, instance_id: str) -> None:
        """The machine ended by itself."""
        log.info("%s powered itself off.", instance_id)
        said = "Client.InstanceInitiatedShutdown"
        reason = StateReason(f"{said}: Instance initiated shutdown", said)

        def stop(found: ec2_model.LabInstance) -> None:
            if found.instance_initiated_shutdown_behavior == "terminate":
                found.became(ec2_model.SHUTTING_DOWN, reason)
            else:
                found.stop()
                found.became(ec2_model.STOPPING, reason)

        self._say(instance_id, ("pending", "running"), stop)
        self._again(0)

    def _halt(self, instance: Instance) -> None:
        machines.stop(instance.id, SHUTDOWN_TIMEOUT, keep=True)
        # What is sent to it vanishes: an empty name space would answer "refused".
        network.unplug(instance.id)
        self._cables.pop(instance.id, None)
        self._say(instance.id, ("stopping",), lambda it: it.became(ec2_model.STOPPED))

    def _reboot(self, facts: Facts, instance: Instance) -> None:
        self._reboots[instance.id] = instance.reboots
        machines.stop(instance.id, SHUTDOWN_TIMEOUT, keep=True)
        self._power_on(instance, network.name_space(instance.id))
        self._disks.settle(facts, instance)

    def _end(self, instance: Instance) -> None:
        machines.stop(instance.id, SHUTDOWN_TIMEOUT)
        self._disks.release(instance.id)
        network.unplug(instance.id)
        self._cables.pop(instance.id, None)
        self._reboots.pop(instance.id, None)
        self._say(instance.id, ("shutting-down",), lambda it: it.ended())

    def _recable(self, cable: Cable) -> None:
        old = self._cables[cable.instance]
        network.reroute(cable, set(old.secondary) - set(cable.secondary))
        self._cables[cable.instance] = cable

    def _say(
        self,
        instance_id: str,
        while_in: tuple[str, ...],
        tell: Callable[[ec2_model.LabInstance], None],
    ) -> None:
        """Tell the account what became of a machine, unless something else is wanted by now."""
        with self._api.exclusive("ec2"):
            found = account.instance(instance_id)
            if found and found.state in while_in:
                tell(found)


def _cable(facts: Facts, instance: Instance) -> Cable:
    subnet = facts.subnets[instance.subnet]
    secondary = tuple(private.address for private in instance.addresses[1:])
    return Cable(
        instance.id, instance.mac, instance.address, secondary, subnet.cidr,
        facts.vpcs[instance.vpc],
    )  # fmt: skip
