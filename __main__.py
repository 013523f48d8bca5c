"""The site. docs/architecture.md says why each piece is there."""

import pulumi

from components import settings
from components.alarms import Alarms
from components.app_servers import AppServers
from components.backups import Backups
from components.connections import INTERNET
from components.database import AGENTS, MYSQL, Database
from components.foundation import Foundation
from components.load_balancers import LoadBalancers
from components.monitoring import Monitoring
from components.network import Network
from components.site import this_site

config = settings.read()
site = this_site(deletion_protection=config.deletion_protection)

network = Network("network", site=site, settings=config.network)
foundation = Foundation("foundation", site=site, settings=config.machines, logs=config.logs)

backups = Backups(site=site, settings=config.backups, restore=config.database.restore)

database = Database(
    site=site,
    network=network,
    foundation=foundation,
    backups=backups,
    settings=config.database,
)
app_servers = AppServers(
    site=site,
    network=network,
    foundation=foundation,
    database=database,
    settings=config.app_servers,
)
load_balancers = LoadBalancers(
    site=site,
    network=network,
    foundation=foundation,
    app_servers=app_servers,
    settings=config.load_balancers,
)

# Who may talk to whom: the arrows of the picture, and no others.
load_balancers.allow_from(INTERNET)
app_servers.allow_from(load_balancers)
database.allow_from(app_servers)
database.allow_from(database, MYSQL, AGENTS)

machines = [*load_balancers.machines, *app_servers.machines, *database.machines]

if config.monitoring.enabled:
    monitoring = Monitoring(
        site=site, network=network, foundation=foundation, settings=config.monitoring
    )
    for role in (load_balancers, app_servers, database):
        role.allow_from(monitoring, *role.exporters)
    machines += monitoring.machines
    Alarms("alarms", site=site, machines=machines, monitoring=monitoring)
    pulumi.export("monitoring", monitoring.forwarding)

pulumi.export("url", load_balancers.url)
pulumi.export("addresses", load_balancers.addresses)
if load_balancers.certificate.own:  # self-signed: nobody trusts it who was not told to
    pulumi.export("certificate", load_balancers.certificate.own)
pulumi.export("machines", {machine.name: machine.id for machine in machines})
pulumi.export("region", site.region)
pulumi.export("table", foundation.table)
pulumi.export("backups", {"bucket": backups.bucket, "line": backups.line})
pulumi.export(
    "sessions",
    {
        machine.name: pulumi.Output.format(
            "aws ssm start-session --region {} --target {}", site.region, machine.id
        )
        for machine in machines
    },
)
