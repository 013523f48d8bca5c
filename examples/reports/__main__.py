"""A database with two replicas, and no web site: for programs of this account that make reports."""

import pulumi

from components import settings
from components.backups import Backups
from components.connections import SecurityGroup
from components.database import AGENTS, GUARD, MYSQL, Database
from components.foundation import Foundation
from components.network import Network
from components.site import this_site

site = this_site(deletion_protection=False)
network = Network("network", site=site, settings=settings.Network(cidr="10.9.0.0/16", zones=3))
foundation = Foundation("foundation", site=site, settings=settings.Machines(), logs=settings.Logs())
database = Database(
    site=site,
    network=network,
    foundation=foundation,
    backups=Backups(site=site, settings=settings.Backups(every=6), restore=None),
    settings=settings.Database(replicas=2, replication="asynchronous"),
)
reports = SecurityGroup("reports", site=site, vpc_id=network.vpc_id, network=network.cidr)

database.allow_from(database, MYSQL, AGENTS)
database.allow_from(reports, MYSQL, GUARD)

pulumi.export("subnets", [subnet.id for subnet in network.private])
pulumi.export("securityGroup", reports.id)  # for the machines that make the reports
