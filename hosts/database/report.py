"""What an agent says: to the guard, to the other agents, to people and to the log."""

from typing import Any

from hosts.database.decide import Action, Decision, Situation
from hosts.database.knowledge import Knowledge
from hosts.database.pair import Pair
from hosts.database.published import Published

STALE = 5.0
"""Seconds after which an observation says nothing any more."""


def to_guard(
    known: Knowledge,
    now: Situation,
    *,
    maybe_open: bool,
    copying: bool,
    door_closed: bool,
    opened_at: float,
    status: dict[str, Any],
) -> Published:
    """What the guard answers from.

    `maybe_open`: nobody has seen mysqld closed since it was opened, answering or not.
    `door_closed`: clients are to go elsewhere already.
    """
    mysqld = now.mysqld
    writable = bool(mysqld and mysqld.writable and not copying)
    readable = bool(mysqld and not mysqld.writable and not mysqld.empty and not mysqld.offline)
    readable = readable and not now.mine and not copying
    close = known.lag <= known.tunables.max_replica_lag
    return Published(
        role="primary" if now.mine else "replica" if readable else "none",
        open=(writable or maybe_open) and not copying,
        opened_at=opened_at,
        deadline=known.lease.deadline,
        serving=now.mine and writable and known.ready and not door_closed,
        readable=readable,
        replica=readable and close and bool(mysqld and mysqld.applying),
        valid_until=known.seen.at + STALE,
        status=status,
    )


def to_peers(known: Knowledge, now: Situation, *, copying: bool) -> dict[str, Any]:
    """What the other agents ask for: the fields of `peers.Peer`."""
    seen = known.seen
    mysqld = seen.mysqld
    return {
        "member": known.me,
        "executed": seen.executed,
        "received": seen.received,
        "source": mysqld.source if mysqld else "",
        "running": seen.follows and not copying,
        "acknowledging": bool(mysqld and mysqld.acknowledging),
        "full": now.full,
        "draining": now.draining,
        "lag": known.lag,
    }


def status(known: Knowledge, now: Situation, decision: Decision, trouble: str) -> dict[str, Any]:
    """For people and for monitoring."""
    record, lag = now.pair, known.lag
    return {
        "member": now.me,
        "holder": record.holder if record else None,
        "generation": record.generation if record else None,
        "in_sync": sorted(record.in_sync) if record else [],
        "mode": record.mode if record else None,
        "action": str(decision.action),
        "why": decision.why,
        "lag": 0.0 if now.mine else round(lag, 3) if lag < float("inf") else None,
        "executed": known.seen.executed,
        "waiting": now.mysqld.waiting if now.mysqld else None,
        "table": "reachable" if now.reachable else "unreachable",
        "trouble": trouble,
    }


def trouble(known: Knowledge, decision: Decision, failure: str) -> str:
    """What there is to say of what is not well."""
    seen = known.seen
    refused = decision.why if decision.action is Action.REFUSE else ""
    said = [refused, failure, seen.trouble, seen.receive_error, seen.apply_error]
    return "\n".join(dict.fromkeys(text for text in said if text))


def line(decision: Decision, record: Pair | None) -> str:
    """A decision in one line, with the record that it was made on."""
    what = " ".join(word for word in (str(decision.action), decision.member) if word)
    why = f": {decision.why}" if decision.why else ""
    if record is None:
        return f"{what}{why} [no record]"
    released = " (released)" if record.released else ""
    in_sync = ", ".join(sorted(record.in_sync))
    return (
        f"{what}{why} [generation {record.generation}: {record.holder}{released};"
        f" in sync: {in_sync}]"
    )
