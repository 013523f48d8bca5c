"""The role of a database machine: the volume, mysqld on it, and the agent that leads it."""

import contextlib
import json
from collections.abc import Iterable

from hosts.base import aws, parameters, services
from hosts.base.agent import Context, Health, at_length, in_background
from hosts.base.coordination import UnreachableError
from hosts.base.lease import Lease
from hosts.base.lease_table import DynamoTable
from hosts.base.metrics import Metric
from hosts.base.notify import tell_systemd
from hosts.database import backup, certificate, fence, measured, peers, rotation, tunables, volume
from hosts.database.agent import Agent, times
from hosts.database.backup.restore import bootstrap, restored
from hosts.database.decide import DOES_NOT_START
from hosts.database.knowledge import Knowledge
from hosts.database.mysql import Account
from hosts.database.observe import UNIT
from hosts.database.options import SETTINGS, Options
from hosts.database.pair import member
from hosts.database.peers import Peers
from hosts.database.render import GUARD, device
from hosts.database.rotation import Rotation
from hosts.database.tunables import Tunables
from hosts.database.upkeep import Upkeep

ACCOUNTS = ("application", "replication", "monitor")
PASSWORDS = parameters.FOLDER / "database-passwords.json"
"""In memory: an agent that starts anew asks nobody before it renews its lease."""
LEAVING = 30.0
"""Seconds that a machine that is to go waits for another one to lead, or not to wait for it: one
that was replaced just now may still have to apply what it missed."""


class Database:
    """See `hosts.base.agent.Role`."""

    def __init__(self, context: Context) -> None:
        """Nothing happens yet."""
        self._context = context
        self._options = Options(**context.options)
        self._agent: Agent | None = None
        self._upkeep: Upkeep | None = None
        self._was_of_use = False
        self._certificate = measured.Certificate(certificate.SERVER)

    def start(self) -> None:
        """Volume, empty database, certificate, mysqld; then the agent takes over."""
        known = tunables.last()
        if self._agent is None and known and PASSWORDS.exists() and volume.MOUNT.is_mount():
            self._run(known, json.loads(PASSWORDS.read_text()))
            return
        facts, options = self._context.facts, self._options
        client = aws.ssm(facts.region)
        passwords = {
            account: parameters.value(client, facts.parameter(f"database/{account}-password"))
            for account in ACCOUNTS
        }
        authority, trusted = (
            parameters.value(client, facts.parameter(name))
            for name in (rotation.SIGNING, rotation.TRUSTED)
        )
        settings = tunables.fetch(client, facts.parameter(SETTINGS))
        tunables.write(settings)
        if not volume.MOUNT.is_mount():
            # A package may have started it on the machine's own disk.
            services.run("systemctl", "disable", "--now", UNIT)
            volume.mount(device(options.volume))
        volume.initialise()
        certificate.make(authority, self._names, self._addresses, trusted=trusted)
        services.systemctl("start", "--no-block", UNIT)
        services.systemctl("start", *GUARD)
        if options.ordinal == 1 and options.restore and not self._began():
            with at_length():
                bootstrap(facts.region, options.restore, self._report)
        backup.install()
        parameters.write(json.dumps(passwords), PASSWORDS)
        if self._agent is None:
            self._run(settings, passwords)

    def health(self) -> Health:
        """Ready when other machines may use it in its role."""
        agent = self._agent
        if agent is None:
            return Health("booting")
        if agent.is_primary or agent.is_replica:
            self._was_of_use = True
            trouble = self._upkeep.trouble if self._upkeep else ""
            return self._ready("primary" if agent.is_primary else "replica", trouble)
        if self._was_of_use and agent.follows:
            return self._ready("replica", "takes no reads until it has caught up with the primary")
        unit = services.show(UNIT)
        if unit.active == "failed":
            return Health("failed", f"{DOES_NOT_START}\n{services.journal(UNIT, 30)}")
        return Health("booting", agent.trouble() or agent.status()["action"])

    def _ready(self, as_what: str, trouble: str) -> Health:
        lag = self._agent.status()["lag"] if self._agent else None
        return Health("ready", "\n".join(filter(None, (as_what, trouble))), {"lag": lag})

    def drain(self) -> None:
        """Another machine leads first; then mysqld stops cleanly and lets go of the volume."""
        if self._agent:
            self._agent.draining = True
            self._agent.wake()
            services.wait_until(lambda: self._agent is None or self._agent.may_go, LEAVING)
            self._agent.stop()
            # The guard goes as well: nobody may write while mysqld takes its time to stop.
            fence.fence("the machine is to go")
            self._agent.resign()
        services.systemctl("stop", *GUARD, UNIT)
        volume.unmount()

    def metrics(self) -> Iterable[Metric]:
        """Who leads, who follows and how closely."""
        if agent := self._agent:
            yield from measured.member(
                agent.status(),
                agent.known.tunables,
                primary=agent.is_primary,
                follows=agent.follows,
            )
        yield from self._certificate.metrics()

    @property
    def _names(self) -> tuple[str, ...]:
        facts = self._context.facts
        return f"{facts.name}.{facts.zone}", f"database.{facts.zone}", "localhost"

    @property
    def _addresses(self) -> tuple[str, ...]:
        return self._context.identity.address, "127.0.0.1"

    def _began(self) -> bool:
        """Whether there has been a primary of this pair."""
        facts = self._context.facts
        table = DynamoTable(aws.dynamodb(facts.region), facts.table)
        return table.read(self._options.line) is not None

    def _report(self, detail: str) -> None:
        """How a restore goes, which may take hours."""
        tell_systemd("WATCHDOG=1")
        with contextlib.suppress(UnreachableError):
            instance = self._context.identity.instance
            self._context.coordination.report(instance, "booting", detail)

    def _run(self, settings: Tunables, passwords: dict[str, str]) -> None:
        context, options = self._context, self._options
        facts = context.facts
        me = member(facts.name, options.volume)
        table = DynamoTable(aws.dynamodb(facts.region), facts.table)
        known = Knowledge(
            me=me,
            first=options.ordinal == 1,
            address=context.identity.address,
            lease=Lease(table, options.line, me, times(settings.lease)),
            peers=Peers(context.coordination, facts.name),
            tunables=settings,
            restored=restored(options.restore),
            replication=lambda: Account("replication", agent.passwords["replication"]),
        )
        self._agent = agent = Agent(known, options.database, passwords)
        in_background("agent", agent.run)
        in_background("a loop that is stuck", agent.watch)
        for name, watch in known.watches().items():
            in_background(name, watch)
        in_background(
            "peers' server",
            lambda: peers.serve(agent.for_peers, agent.wake, known.failsafe.promise),
        )
        client = aws.ssm(facts.region)
        passwords_and_certificate = Rotation(
            client=client,
            parameter=facts.parameter,
            passwords=agent.passwords,
            file=PASSWORDS,
            between_turns=agent.between_turns,
            leads=lambda: agent.is_primary,
            primary=lambda: known.pair.address if known.pair else "",
            names=self._names,
            addresses=self._addresses,
        )
        self._upkeep = Upkeep(
            known,
            client,
            facts.parameter(SETTINGS),
            device(options.volume),
            passwords_and_certificate,
        )
        in_background("upkeep", self._upkeep.run)


def create(context: Context) -> Database:
    """The role from its options."""
    return Database(context)
