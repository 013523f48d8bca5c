"""What is wrong with a site, in words, and what to do about it: a pure function of the facts."""

from collections.abc import Iterator
from dataclasses import dataclass

from hosts.database.backup import schedule
from scripts.facts import GONE, HEARD, Facts, Seen, trouble

YOUNG = 300.0
"""Seconds within which a machine that was just made need not have said anything yet."""
NEWLY = 120.0
"""Seconds after which every load balancer has found a new application server."""
CERTIFICATE = 14.0
"""Days that the site's certificate should last for at least: a new one is due long before."""
LATE = 2 * 3600.0
"""Seconds that a full backup and its verification may take."""
UNSHIPPED = 300.0
"""Seconds of writes that may be in no bucket yet."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong."""

    what: str
    todo: str


def findings(facts: Facts) -> list[Finding]:
    """Everything that is wrong; empty if all is well. What hurts clients first comes first."""
    return [
        *_addresses(facts),
        *_primary(facts),
        *_machines(facts),
        *_replicas(facts),
        *_traffic(facts),
        *_releases(facts),
        *_certificates(facts),
        *_backups(facts),
        *_alerts(facts),
    ]


def _addresses(facts: Facts) -> Iterator[Finding]:
    logs = (
        "a load balancer takes it within seconds; if not: `python -m scripts.logs load-balancer-1`"
    )
    for one in facts.addresses:
        to, holder = facts.name(one.instance), facts.name(one.holder)
        if not one.instance:
            yield Finding(f"nobody has {one.public}: clients there get no answer", logs)
        elif not one.holder:
            yield Finding(f"nobody holds the lease of {one.public}, which leads to {to}", logs)
        elif not one.renewed:
            yield Finding(f"{holder} holds {one.public} and does not renew its lease", logs)
        elif one.instance != one.holder:
            yield Finding(
                f"{one.public} leads to {to}, and {holder} holds its lease",
                f"{holder} moves it within seconds; if not: `python -m scripts.logs {holder}`",
            )


def _primary(facts: Facts) -> Iterator[Finding]:
    databases = list(facts.of("database"))
    again = (
        "a replica in sync takes over within seconds: look again; if it stays so, docs/database.md"
        " says what is left (Both machines lost)"
    )
    pair = facts.pair
    if pair is None:
        if databases:
            yield Finding(
                "the databases have no primary yet",
                "their first start takes a minute; then: `python -m scripts.logs database-1`",
            )
    elif pair.released:
        yield Finding("nobody leads the databases: writes fail", again)
    elif not facts.renewed:
        yield Finding(
            f"{facts.primary} led the databases and does not renew its lease: writes fail", again
        )
    if pair and (to := pair.switchover_to or pair.force):
        yield Finding(
            f"a change of primary to {to} is under way", "it ends within half a minute: look again"
        )


def _machines(facts: Facts) -> Iterator[Finding]:
    machines = facts.machines
    if not machines and not facts.expected:
        yield Finding(f"{facts.site} has no machines", "`pulumi up` makes them")
    there = {one.name for one in machines if one.instance and one.instance.state not in GONE}
    for name in sorted({*facts.expected} - {one.name for one in machines}):
        yield Finding(
            f"{name} is missing: EC2 has no such machine", "`pulumi up --refresh` makes another"
        )
    for one in machines:
        yield from _machine(facts, one, replaced=one.name in there)
        for said in one.instance.troubles if one.instance else ():
            yield Finding(
                f"EC2 says of {one.name}: {said}",
                "stopped and started it gets another host:"
                f" {_ec2(facts, 'stop', one)}, then {_ec2(facts, 'start', one)}",
            )


def _machine(facts: Facts, one: Seen, *, replaced: bool) -> Iterator[Finding]:
    logs = f"`python -m scripts.logs {one.name}`"
    instance, report = one.instance, one.report
    if instance is None or instance.state in GONE:
        if not replaced:
            yield Finding(
                f"{one.name} ({one.id}) is gone, and was never drained",
                f"`pulumi up --refresh` makes another; its last words: {logs}",
            )
    elif instance.state != "running":
        yield Finding(
            f"{one.name} is {instance.state}",
            _ec2(facts, "start", one) if instance.state == "stopped" else "look again",
        )
    elif report is None:
        if facts.now - instance.launched > YOUNG:
            console = f"aws ec2 get-console-output --latest --region {facts.region}"
            yield Finding(
                f"{one.name} runs and never reported",
                f"its console says why: `{console} --instance-id {one.id}`",
            )
        else:
            yield Finding(f"{one.name} has not reported yet", "it boots: look again")
    elif facts.ago(report) >= HEARD:
        yield Finding(
            f"{one.name} has not been heard of for {span(facts.ago(report))}",
            f"{logs}; if it hangs: {_ec2(facts, 'reboot', one)}",
        )
    elif report.state in ("draining", "drained"):
        yield Finding(
            f"{one.name} is {report.state}: it is on its way out",
            "if no `pulumi up` is under way that replaces it, run it again",
        )
    elif report.state != "ready":
        why = report.detail.partition("\n")[0]
        yield Finding(f"{one.name} is {report.state}{': ' if why else ''}{why}", logs)
    elif said := trouble(report):
        yield Finding(f"{one.name}: {said}", logs)


def _ec2(facts: Facts, what: str, one: Seen) -> str:
    return f"`aws ec2 {what}-instances --region {facts.region} --instance-ids {one.id}`"


def _replicas(facts: Facts) -> Iterator[Finding]:
    if facts.pair is None:
        return
    in_sync = facts.in_sync
    for one in facts.of("database"):
        if one.name == facts.primary or not one.ready or one.report is None:
            continue
        logs = f"`python -m scripts.logs {one.name}`"
        if facts.pair.mode == "semi-synchronous" and one.name not in in_sync:
            yield Finding(
                f"{one.name} is not in sync: it may not take over",
                f"it joins by itself once it has what the primary has; if it does not: {logs}",
            )
        lag = one.report.figures.get("lag")
        most = facts.max_replica_lag
        if lag is not None and most is not None and lag > most:
            yield Finding(
                f"{one.name} is {span(lag)} behind: it takes no reads ({most:g} s are allowed)",
                f"it catches up by itself; if it falls behind for good: {logs}, and a larger"
                " machine (database.instanceType)",
            )


def _traffic(facts: Facts) -> Iterator[Finding]:
    servers = {
        one.report.address: one for one in facts.of("app-server") if one.ready and one.report
    }
    for balancer in facts.of("load-balancer"):
        if not balancer.ready or balancer.report is None:
            continue
        known = balancer.report.figures.get("servers")
        if known is None:
            continue
        for address, server in sorted(servers.items(), key=lambda pair: pair[1].name):
            young = server.instance and facts.now - server.instance.launched < NEWLY
            if address not in known and not young:
                yield Finding(
                    f"{balancer.name} does not know of {server.name}",
                    "its name app-server in the private zone should lead there:"
                    " `pulumi up --refresh` corrects it",
                )
            elif address in known and not known[address]["up"]:
                yield Finding(
                    f"{balancer.name} sends nothing to {server.name}: the health check fails from"
                    " there",
                    f"`python -m scripts.logs {server.name}`; it is ready by its own account, so"
                    " look at the way between them as well",
                )


def _releases(facts: Facts) -> Iterator[Finding]:
    releases: dict[str, list[str]] = {}
    for one in facts.of("app-server"):
        if one.ready and one.report and (release := one.report.figures.get("release")):
            releases.setdefault(release, []).append(one.name)
    if len(releases) > 1:
        said = "; ".join(
            f"{release} on {', '.join(on)}" for release, on in sorted(releases.items())
        )
        yield Finding(
            f"application servers run different releases: {said}",
            "`pulumi up` is under way, or was cut short: then run it again",
        )


def _certificates(facts: Facts) -> Iterator[Finding]:
    for one in facts.of("load-balancer"):
        days = one.report.figures.get("certificate_days") if one.ready and one.report else None
        if days is None or days >= CERTIFICATE:
            continue
        lasts = f"ends in {days:.0f} days" if days > 0 else "has ended: clients refuse it"
        yield Finding(
            f"the site's certificate on {one.name} {lasts}",
            "docs/certificates.md says how it is renewed, by who gave it",
        )


def _backups(facts: Facts) -> Iterator[Finding]:
    found = facts.backups
    if found is None:
        return
    now = "`python -m scripts.backup now` takes one, and shows what is wrong"
    newest, good, settings = found.newest, found.good, found.settings
    if newest is None:
        yield Finding("there is no backup", now)
        return
    verdict = newest.verified
    if verdict and not verdict.good:
        yield Finding(f"the newest backup cannot be restored: {verdict.detail}", now)
    elif settings and schedule.due(newest.time, settings, facts.now - LATE):
        yield Finding(f"the newest backup is {span(facts.now - newest.time)} old", now)
    elif settings and settings.verify and not verdict and facts.now - newest.finished > LATE:
        yield Finding(
            f"the newest backup ({newest.id}) was not verified"
            + (f"; one of {span(facts.now - good.time)} ago was" if good else ", and no other was"),
            "`python -m scripts.backup verify`",
        )
    if found.last.outcome == "failed" and newest.finished < found.last.updated:
        yield Finding(
            f"the backup that was ordered last ({found.last.what}) failed: {found.last.result}", now
        )
    every = settings.ship_every if settings else 0.0
    unshipped = facts.now - max(found.shipped or 0.0, newest.time)
    if unshipped > UNSHIPPED + 3 * every:
        yield Finding(
            f"writes of the last {span(unshipped)} are in no backup: the binary log is not shipped",
            "on the machine that backs up: `journalctl -u site-backup`",
        )


def _alerts(facts: Facts) -> Iterator[Finding]:
    for alert in facts.alerts:
        yield Finding(
            f"alert {alert.name}: {alert.text}", "docs/operations.md has a section for it"
        )


def span(seconds: float) -> str:
    """A time for people: 12 s, 5 min, 3 h, 2 days."""
    for unit, length, until in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172_800)):
        if seconds < until:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds / 86400:.0f} days"
