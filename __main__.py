"""The site. docs/architecture.md says why each piece is there."""

import pulumi

from components import settings
from components.app_servers import AppServers
from components.backups import Backups
from components.connections import INTERNET
from components.database import AGENTS, MYSQL, Database
from components.foundation import Foundation
from components.load_balancers import LoadBalancers
from components.network import Network
from components.site import this_site

config = settings.read()
site = this_site(deletion_protection=config.deletion_protection)

network = Network("network", site=site, settings=config.network)
foundation = Foundation("foundation", site=site, settings=config.machines)

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

pulumi.export("url", pulumi.Output.format("http://{}", load_balancers.addresses[0]))
pulumi.export("addresses", load_balancers.addresses)
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
