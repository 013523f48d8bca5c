"""Brings the lab to what its AWS account says. Woken by calls of the API; it does not poll.

What is quick (firewall, names, forwards) is done in order on one thread; machines are
started and stopped on others, one thing at a time for each.
"""

import logging
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from moto.ec2.models.instances import StateReason

from lab import account, addresses, dns, ec2_model, firewall, machines, namespaces, network
from lab import partitions as cuts
from lab.addresses import Forwarding
from lab.api import Api
from lab.disks import Disks
from lab.dns import Resolver
from lab.facts import Facts, Instance
from lab.network import Cable
from lab.partitions import Cut
from lab.volumes import VolumeError

log = logging.getLogger(__name__)

SHUTDOWN_TIMEOUT = 30.0
_RETRY = 0.5


class Reconciler:
    """The lab's machines and network, following the account."""

    def __init__(self, api: Api, image: Path, state: Path) -> None:
        self._api = api
        self._image = image
        self._resolver = Resolver(state, self.wake)
        self._forwarding = Forwarding(self.wake)
        self._disks = Disks()
        self._pool = ThreadPoolExecutor(max_workers=16, thread_name_prefix="machine")
        self._wake = threading.Event()
        self._retry = False
        self._stopping = False
        self._guard = threading.Lock()
        self._busy: set[str] = set()
        self._cables: dict[str, Cable] = {}
        self._reboots: dict[str, int] = {}
        self._loaded: dict[str, str] = {}
        self._cuts: frozenset[Cut] = frozenset()
        self._ignored: tuple[str, ...] = ()
        self._asked_at: list[str] = []
        self._unfiltered = ""
        self.facts = Facts()
        """The account as it was last read."""
        self._thread = threading.Thread(target=self._run, name="reconciler", daemon=True)

    def start(self) -> None:
        """Begin to follow the account."""
        self._follow()
        self._thread.start()

    def wake(self) -> None:
        """Something may have changed."""
        self._wake.set()

    def close(self) -> None:
        """Follow no more; the machines and the network are still there."""
        self._stopping = True
        self.wake()
        if self._thread.is_alive():
            self._thread.join()
        self._forwarding.stop()
        self._resolver.stop()

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait(_RETRY if self._retry else None)
            self._wake.clear()
            self._retry = False
            if self._stopping:
                return
            try:
                self._follow()
            except Exception:
                # Whatever it is, the lab's other parts go on, and the next round may do it.
                log.exception("The lab could not follow its account; it tries again.")
                self._retry = True

    def read(self) -> Facts:
        """The account as it is now."""
        with self._api.exclusive("ec2", "route53"):
            return account.read()

    def _follow(self) -> None:
        facts = self.facts = self.read()
        self._filter(facts)
        self._load(cuts.TABLE, cuts.render(facts, self._cuts))
        names = dns.render(facts)
        if names.ignored != self._ignored:
            self._ignored = names.ignored
            log.warning("Records that the lab does not serve: %s", ", ".join(names.ignored))
        if (asked := dns.resolvers(facts)) != self._asked_at:
            network.answer_at(asked)
            self._asked_at = asked
        self._resolver.serve(names)
        self._forwarding.want(addresses.forwards(facts))
        for instance in facts.instances.values():
            self._drive(facts, instance)
        self._disks.prune(facts)

    def _filter(self, facts: Facts) -> None:
        try:
            self._load(firewall.TABLE, firewall.render(facts))
        except network.NetworkError as error:
            # The rules of before stay, and know no machine that is new.
            if str(error) != self._unfiltered:
                log.error("%s", error)
            self._unfiltered = str(error)
        else:
            self._unfiltered = ""

    def _load(self, table: str, ruleset: str) -> None:
        with self._guard:
            if self._loaded.get(table) != ruleset:
                done = subprocess.run(
                    namespaces.inside(namespaces.ROUTER, ["nft", "-f", "-"]),
                    input=ruleset, capture_output=True, text=True, check=False,
                )  # fmt: skip
                if done.returncode:
                    msg = f"nft refused the lab's rules: {done.stderr.strip()}"
                    raise network.NetworkError(msg)
                self._loaded[table] = ruleset

    def _drive(self, facts: Facts, instance: Instance) -> None:
        """Set the next thing going that the instance needs, unless something is."""
        with self._guard:
            if instance.id in self._busy:
                return
            job = self._next(facts, instance)
            if job is None:
                return
            self._busy.add(instance.id)
        self._pool.submit(self._do, instance, job)

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

    def _do(self, instance: Instance, job: Callable[[], None]) -> None:
        try:
            job()
        except VolumeError as error:
            log.info("%s: %s", instance.name, error)
            self._retry = True
        except Exception:
            log.exception("%s (%s) could not be brought to what it should be.",
                          instance.id, instance.name)  # fmt: skip
            self._retry = True
        finally:
            with self._guard:
                self._busy.discard(instance.id)
            self.wake()

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
        self.wake()

    def _halt(self, instance: Instance) -> None:
        machines.stop(instance.id, SHUTDOWN_TIMEOUT, keep=True)
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

    def cut(self, change: Callable[[frozenset[Cut]], frozenset[Cut]]) -> frozenset[Cut]:
        """Change what is cut; in effect on return."""
        self._cuts = change(self._cuts)
        self._load(cuts.TABLE, cuts.render(self.read(), self._cuts))
        return self._cuts

    def trouble(self) -> dict[str, object]:
        """What does not work, for the status."""
        return {
            "not listening": self._forwarding.failed,
            "not served": list(self._ignored),
            "firewall": self._unfiltered or None,
        }


def _cable(facts: Facts, instance: Instance) -> Cable:
    subnet = facts.subnets[instance.subnet]
    secondary = tuple(private.address for private in instance.addresses[1:])
    return Cable(
        instance.id, instance.mac, instance.address, secondary, subnet.cidr,
        facts.vpcs[instance.vpc],
    )  # fmt: skip
