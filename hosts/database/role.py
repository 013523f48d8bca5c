"""The role of a database machine: the volume, mysqld on it, and the agent that leads it."""

from hosts.base import aws, parameters, services
from hosts.base.agent import Context, Health, in_background
from hosts.database import certificate, tunables, volume
from hosts.database.agent import Agent
from hosts.database.http import serve
from hosts.database.observe import UNIT
from hosts.database.options import SETTINGS, Options
from hosts.database.render import device

ACCOUNTS = ("application", "replication", "monitor")


class Database:
    """See `hosts.base.agent.Role`."""

    def __init__(self, context: Context) -> None:
        """Nothing happens yet."""
        self._context = context
        self._options = Options(**context.options)
        self._agent: Agent | None = None

    def start(self) -> None:
        """Volume, empty database, certificate, mysqld; then the agent takes over."""
        facts, options = self._context.facts, self._options
        client = aws.ssm(facts.region)
        passwords = {
            account: parameters.value(client, facts.parameter(f"database/{account}-password"))
            for account in ACCOUNTS
        }
        authority = parameters.value(client, facts.parameter("database/certificate-authority"))
        settings = tunables.fetch(client, facts.parameter(SETTINGS))
        tunables.write(settings)
        if not volume.MOUNT.is_mount():
            # A package may have started it on the machine's own disk.
            services.run("systemctl", "disable", "--now", UNIT)
            volume.mount(device(options.volume))
        volume.initialise()
        names = (f"{facts.name}.{facts.zone}", f"database.{facts.zone}", "localhost")
        certificate.make(authority, names, (self._context.identity.address, "127.0.0.1"))
        services.systemctl("start", "--no-block", UNIT)
        if self._agent is None:
            self._agent = Agent(
                name=facts.name,
                ordinal=options.ordinal,
                schema=options.database,
                max_lag=settings.max_replica_lag,
                passwords=passwords,
                coordination=self._context.coordination,
            )
            self._run(self._agent)

    def health(self) -> Health:
        """Ready when other machines may use it in its role."""
        agent = self._agent
        if agent is None:
            return Health("booting")
        if agent.is_primary or agent.is_replica:
            return Health("ready", agent.duty)
        hopeless, said = agent.trouble()
        return Health("failed" if hopeless else "booting", f"{agent.duty}: {said}")

    def drain(self) -> None:
        """Stops mysqld cleanly and lets go of the volume."""
        if self._agent:
            self._agent.stop()
        services.systemctl("stop", UNIT)
        volume.unmount()

    def _run(self, agent: Agent) -> None:
        paths = {
            "/primary": lambda: agent.is_primary,
            "/replica": lambda: agent.is_replica,
            "/readable": lambda: agent.is_readable,
        }
        in_background("http", lambda: serve(paths, agent.status))
        in_background("duty", agent.run)


def create(context: Context) -> Database:
    """The role from its options."""
    return Database(context)
