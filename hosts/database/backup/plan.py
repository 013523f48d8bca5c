"""What it takes to get back to a point: a full backup, and which binary logs after it.

A failover that lost what had been shipped already forks a line: up to it the lost transactions are
part of the history, as they were acknowledged then; for a point after it they never were.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from hosts.database.backup.catalog import Fork, Full, Log, PlanError, moment, pieces, seconds
from hosts.database.backup.gtids import Gtids, union
from hosts.database.backup.store import Store


def chain(start: Gtids, known: Iterable[Log]) -> tuple[Gtids, list[Log]]:
    """How far logs lead on from a set of transactions, and which of them, in their order.

    A log leads on only if all that its server had executed before it is there already: else
    transactions would be missing in the middle.
    """
    covered, used = start, list[Log]()
    left = list(known)
    while following := [log for log in left if log.previous <= covered]:
        for log in following:
            left.remove(log)
            if not log.executed <= covered:
                used.append(log)
                covered = covered + log.executed
    return covered, used


@dataclass(frozen=True)
class Target:
    """A point to get back to: just before a time, or just after a set of transactions."""

    time: float | None = None
    """Seconds since the epoch. What was committed before is there, what was later is not."""
    gtids: Gtids | None = None

    def __str__(self) -> str:
        """For people."""
        return moment(self.time) if self.time is not None else str(self.gtids)


def target(text: str) -> Target:
    """Of what an operator gives: a time in ISO 8601, or transactions. Raises `ValueError`."""
    try:
        return Target(time=seconds(text))
    except ValueError:
        pass
    try:
        gtids = Gtids.parse(text)
    except ValueError:
        gtids = Gtids()
    if not gtids:
        raise ValueError(
            f"{text!r} is neither a time such as 2026-11-22T21:30:00Z nor a set of transactions"
            " such as 3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5"
        )
    return Target(gtids=gtids)


@dataclass(frozen=True)
class Plan:
    """The way to a point: a full backup, then logs in their order."""

    target: Target
    full: Full
    logs: tuple[Log, ...]
    """Their transactions are without the lost ones."""
    lost: Gtids = field(default_factory=Gtids)
    """Transactions that are in those logs, and were no part of the history at the point."""
    until: float = math.inf
    """Seconds since the epoch: what was committed later is another history's."""


def plan(
    target: Target,
    fulls: Sequence[Full],
    known: Sequence[Log],
    named: str = "",
    forks: Sequence[Fork] = (),
) -> Plan:
    """The way to a point of one line. Raises `PlanError` with why there is none.

    It begins with the newest verified backup, or with the one that is named, which need not have
    been verified.
    """
    passed, ahead = _passed(target, forks)
    lost = union(fork.lost for fork in passed)
    known = without(lost, known)
    until = ahead[0].time if ahead else math.inf
    before = [full for full in fulls if _is_before(full, target) and full.time <= until]
    if not before:
        oldest = f"the oldest is of {moment(fulls[0].time)}" if fulls else "there is none at all"
        raise PlanError(f"there is no full backup before {target}: {oldest}")
    before = _without_lost(before, lost, passed, target)
    chosen = _named(named, before, target) if named else _verified(before, target)
    covered, used = chain(chosen.gtids, known)
    if target.gtids is not None:
        _check_transactions(target.gtids, chosen, covered, known)
        needed = _until(target.gtids, chosen, used)
        return Plan(target, chosen, tuple(needed), lost, until)
    assert target.time is not None  # noqa: S101 one of the two is
    _check_time(target.time, chosen, covered, known)
    needed = [log for log in used if log.first is None or log.first < target.time]
    return Plan(target, chosen, tuple(needed), lost)


def check(store: Store, plan: Plan) -> None:
    """Whether all that a plan needs is in the bucket. Raises `PlanError` with what is not."""
    there = {found.key for found in store.list(f"{plan.full.folder}/")}
    for name in ("data.sql.gz", "accounts.sql.gz"):
        if f"{plan.full.folder}/{name}" not in there:
            raise PlanError(f"s3://{store.bucket}/{plan.full.folder}/{name} is not there any more")
    for log in plan.logs:
        pieces(store, log)


def without(lost: Gtids, known: Iterable[Log]) -> list[Log]:
    """The logs, as if these transactions had never been in them."""
    return [
        replace(log, previous=log.previous - lost, executed=log.executed - lost) for log in known
    ]


def _passed(target: Target, forks: Sequence[Fork]) -> tuple[Sequence[Fork], Sequence[Fork]]:
    """The forks before a point, and those after it; both in their order."""
    wanted = target.gtids or Gtids()
    for number, fork in enumerate(forks):
        if fork.lost & wanted or (target.time is not None and target.time <= fork.time):
            return forks[:number], forks[number:]
    return forks, ()


def _without_lost(
    before: Sequence[Full], lost: Gtids, passed: Sequence[Fork], target: Target
) -> Sequence[Full]:
    if good := [full for full in before if not full.gtids & lost]:
        return good
    fork = next(fork for fork in reversed(passed) if fork.lost & before[-1].gtids)
    raise PlanError(
        f"each full backup before {target} holds transactions that the failover of"
        f" {moment(fork.time)} lost ({fork.lost}). One can get to that time, and to any from the"
        " next full backup on"
    )


def _verified(before: Sequence[Full], target: Target) -> Full:
    good = [full for full in before if full.verified and full.verified.good]
    if good:
        return good[-1]
    newest = before[-1]
    said = newest.verified.detail if newest.verified else "it was not verified; --full names it"
    raise PlanError(
        f"none of the {len(before)} full backups before {target} is verified; the newest is"
        f" {newest.id}: {said}"
    )


def _named(named: str, before: Sequence[Full], target: Target) -> Full:
    by_id = {full.id: full for full in before}
    if named not in by_id:
        raise PlanError(f"{named!r} is no full backup before {target}; there is {', '.join(by_id)}")
    found = by_id[named]
    if found.verified and not found.verified.good:
        raise PlanError(f"{named} cannot be restored: {found.verified.detail}")
    return found


def _is_before(full: Full, target: Target) -> bool:
    if target.time is not None:
        return full.time <= target.time
    assert target.gtids is not None  # noqa: S101 one of the two is
    return full.gtids <= target.gtids or not target.gtids <= full.gtids


def _until(wanted: Gtids, full: Full, used: Iterable[Log]) -> Iterable[Log]:
    covered = full.gtids
    for log in used:
        if wanted <= covered:
            return
        covered = covered + log.executed
        yield log


def _check_transactions(wanted: Gtids, full: Full, covered: Gtids, known: Iterable[Log]) -> None:
    missing = wanted - covered
    if missing:
        if wanted <= union(log.executed for log in known) + full.gtids:
            raise PlanError(_gap(full, covered, known))
        raise PlanError(f"the transactions {missing} are in no backup and in no binary log")


def _check_time(time: float, full: Full, covered: Gtids, known: Sequence[Log]) -> None:
    left = [log for log in known if not log.executed <= covered]
    if any(log.first is None or log.first < time for log in left):
        raise PlanError(_gap(full, covered, known))
    reached = max((full.time, *(log.as_of for log in known if log.executed <= covered)))
    if reached < time:
        raise PlanError(
            f"the binary logs that were shipped reach to {moment(reached)}, which is before"
            f" {moment(time)}"
        )


def _gap(full: Full, covered: Gtids, known: Iterable[Log]) -> str:
    _, used = chain(full.gtids, known)
    reached = max((log.last for log in used if log.last), default=full.time)
    lost = Gtids()
    for log in known:
        if not log.executed <= covered:
            lost = lost + (log.previous - covered)
    return (
        f"the binary logs after the backup {full.id} have a gap: the transactions {lost} are in"
        f" none of them; from that backup on one can get to {moment(reached)} at most"
    )


def reach(first: Full, known: Sequence[Log], forks: Sequence[Fork] = ()) -> tuple[float, str]:
    """Up to when every second since a backup can be had again, and why not later if it cannot."""
    known = without(union(fork.lost for fork in forks), known)
    covered, used = chain(first.gtids, known)
    if all(log.executed <= covered for log in known):
        return max((first.time, *(log.as_of for log in known))), ""
    last = max((first.time, *(log.last for log in used if log.last)))
    return last, _gap(first, covered, known)
