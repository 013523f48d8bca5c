"""What a change of each setting does to a site that runs.

Told here, and held against what the engine does by tests/engine/test_setting_effects.py.
"""

from dataclasses import dataclass

BALANCERS = frozenset({"load-balancer"})
SERVERS = frozenset({"app-server"})
DATABASES = frozenset({"database"})
MONITORING = frozenset({"monitoring"})
ALL = BALANCERS | SERVERS | DATABASES | MONITORING
_PLURAL = {
    "load-balancer": "load balancers",
    "app-server": "application servers",
    "database": "databases",
    "monitoring": "monitoring machine",
}


@dataclass(frozen=True)
class Effect:
    """On machines, by role, and otherwise."""

    replaces: frozenset[str] = frozenset()
    """Roles whose machines are replaced: new ones first, databases one after the other."""
    resizes: frozenset[str] = frozenset()
    """Roles whose machines become more or fewer."""
    followed: bool = False
    """Whether machines that run take it up by themselves."""
    otherwise: str = ""
    """What else there is to say."""

    def __str__(self) -> str:
        parts = {
            f"adds or removes {_and(self.resizes)}": self.resizes,
            f"replaces the {_and(self.replaces)}": self.replaces,
            "running machines follow it": self.followed,
            self.otherwise: self.otherwise,
        }
        return "; ".join(words for words, so in parts.items() if so)


def _and(roles: frozenset[str]) -> str:
    words = [words for role, words in _PLURAL.items() if role in roles]
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


_FOLLOWED = Effect(followed=True)
_NEW_BALANCERS = Effect(BALANCERS)
_NEW_SERVERS = Effect(SERVERS)
_NEW_BOTH = Effect(BALANCERS | SERVERS)  # HAProxy has to know it as well
_LATER = Effect(otherwise="nothing now: it is for the next machine that starts or drains")
_OWN = Effect(BALANCERS, otherwise="but another one of your own is exchanged while HAProxy runs")

EFFECTS = {
    "deletionProtection": Effect(otherwise="in place"),
    "network.cidr": Effect(ALL, otherwise="with the network and all that is in it"),
    "network.zones": Effect(otherwise="adds or removes subnets, replaces machines that move"),
    "network.nat": Effect(otherwise="in place; no way out meanwhile"),
    "network.blockedNetworks": Effect(otherwise="in place, at once"),
    "machines.image": Effect(ALL),
    "machines.imageOwner": Effect(ALL),
    "machines.architecture": Effect(ALL),
    "machines.python": Effect(SERVERS, otherwise="if the application has requirements"),
    "machines.rootVolumeSize": Effect(MONITORING, otherwise="other machines' disks grow in place"),
    "machines.readyWithin": _LATER,
    "machines.drainWithin": _LATER,
    "machines.maintenanceWindow": _FOLLOWED,
    "loadBalancers.mode": Effect(BALANCERS, BALANCERS, otherwise="adds or gives up an address"),
    "loadBalancers.domain": _NEW_BALANCERS,
    "loadBalancers.hostedZone": Effect(otherwise="makes the domain's records and health checks"),
    "loadBalancers.tls.certificate": _OWN,
    "loadBalancers.tls.key": _OWN,
    "loadBalancers.tls.acme.directory": _NEW_BALANCERS,
    "loadBalancers.tls.acme.contact": _NEW_BALANCERS,
    "loadBalancers.tls.acme.authority": Effect(
        BALANCERS, otherwise="but running machines follow another one"
    ),
    "loadBalancers.instanceType": _NEW_BALANCERS,
    "loadBalancers.distribution": _NEW_BALANCERS,
    "loadBalancers.connections": _NEW_BALANCERS,
    "loadBalancers.connectTimeout": _NEW_BALANCERS,
    "loadBalancers.clientTimeout": _NEW_BALANCERS,
    "loadBalancers.keepAliveTimeout": _NEW_BALANCERS,
    "loadBalancers.queueTimeout": _NEW_BALANCERS,
    "loadBalancers.tunnelTimeout": _NEW_BALANCERS,
    "loadBalancers.hsts": _NEW_BALANCERS,
    "loadBalancers.limits.requestsPerSecond": _NEW_BALANCERS,
    "loadBalancers.limits.burst": _NEW_BALANCERS,
    "loadBalancers.limits.connections": _NEW_BALANCERS,
    "loadBalancers.limits.uploads": _NEW_BALANCERS,
    "loadBalancers.limits.body": _NEW_BALANCERS,
    "appServers.count": Effect(resizes=SERVERS),
    "appServers.instanceType": _NEW_SERVERS,
    "appServers.folder": _NEW_SERVERS,
    "appServers.module": _NEW_SERVERS,
    "appServers.healthPath": _NEW_BOTH,
    "appServers.requestTimeout": _NEW_BOTH,
    "appServers.workers": _NEW_SERVERS,
    "appServers.threads": _NEW_BOTH,
    "appServers.memoryMax": _NEW_SERVERS,
    "appServers.environment": _NEW_SERVERS,
    "appServers.authorities": Effect(followed=True),
    "database.replicas": Effect(resizes=DATABASES),
    "database.instanceType": Effect(DATABASES),
    "database.volumeSize": Effect(otherwise="volumes grow while they are used"),
    "database.replication": _FOLLOWED,
    "database.lease": _FOLLOWED,
    "database.maxReplicaLag": _FOLLOWED,
    "database.maxFailoverLag": _FOLLOWED,
    "database.bufferPool": _FOLLOWED,
    "database.maxConnections": _FOLLOWED,
    "database.authorities": Effect(followed=True),
    "database.restore": Effect(DATABASES, otherwise="with new volumes, from a backup"),
    "monitoring.enabled": Effect(resizes=MONITORING, otherwise="with all alarms"),
    "monitoring.instanceType": Effect(MONITORING),
    "monitoring.retentionDays": Effect(MONITORING),
    "monitoring.email": Effect(otherwise="in place; who is new has to confirm"),
    "monitoring.webhook": Effect(MONITORING, otherwise="but another URL is followed"),
    "logs.retentionDays": Effect(otherwise="in place"),
    "backups.at": Effect(followed=True, otherwise="the plan of the snapshots, too"),
    "backups.every": _FOLLOWED,
    "backups.retentionDays": Effect(otherwise="in place"),
    "backups.shipEvery": _FOLLOWED,
    "backups.verify": _FOLLOWED,
    "backups.finalBackup": Effect(otherwise="in place; it is for the next `pulumi destroy`"),
    "backups.snapshots": Effect(otherwise="makes or removes the vault, with the snapshots in it"),
}
