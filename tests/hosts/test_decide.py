"""What a database machine does next: every situation that it may find itself in, by name."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hosts.database.decide import Action, Decision, Mysqld, Primary, Situation, decide
from hosts.database.pair import Pair, machine_of

A, B, C = "database-1/vol-a", "database-2/vol-b", "database-3/vol-c"
HERE, THERE = "10.0.1.5", "10.0.2.5"

PAIR = Pair(A, 7, released=False, in_sync=frozenset({A, B}), address=HERE)
OPEN = Mysqld(writable=True, empty=False, waits_for=1)
REPLICA = Mysqld(empty=False, source=HERE, receiving="ON", applying=True, acknowledging=True)
STOPPED = replace(REPLICA, receiving="OFF", applying=False, acknowledging=False)
PRIMARY = Primary(HERE, open=True, contains_ours=True, has_what_we_lack=True)

LEADS = Situation(A, pair=PAIR, held=True, mysqld=OPEN, running=True, successor=B)
FOLLOWS = Situation(B, pair=PAIR, mysqld=REPLICA, running=True, primary=PRIMARY, lag=0.1)
CONTENDS = replace(FOLLOWS, vacant=True, primary=None, mysqld=replace(REPLICA, receiving="OFF"))


def to(situation: Situation, **changes: Any) -> Situation:
    """The situation with changes: of itself, of its record (`pair_…`) or mysqld (`mysqld_…`)."""
    parts: dict[str, dict[str, Any]] = {"pair": {}, "mysqld": {}}
    own: dict[str, Any] = {}
    for key, value in changes.items():
        part, _, name = key.partition("__")
        (parts[part] if name else own)[name or key] = value
    for part, changed in parts.items():
        if changed:
            own[part] = replace(getattr(situation, part), **changed)
    return replace(situation, **own)


def alone(situation: Situation, **changes: Any) -> Situation:
    """The holder is the only one in sync."""
    who = situation.pair.holder if situation.pair else A
    return to(situation, pair__in_sync=frozenset({who}), **changes)


ASYNCHRONOUS: dict[str, Any] = {
    "pair__mode": "asynchronous",
    "mode": "asynchronous",
    "successor": B,
}
LEADING = {
    "all is well": (LEADS, Action.NOTHING, ""),
    "it just took the lease": (to(LEADS, mysqld__writable=False), Action.OPEN, "generation 7"),
    "it was started anew": (
        to(LEADS, mysqld=Mysqld(empty=False)),
        Action.OPEN,
        "is held",
    ),
    "a fence closed it and the lease is back": (
        to(LEADS, mysqld__writable=False, mysqld__waits_for=0),
        Action.OPEN,
        "is held",
    ),
    "a fence did not come to its end": (to(LEADS, mysqld__offline=True), Action.OPEN, "is held"),
    "it waits for fewer than are in sync": (
        to(LEADS, mysqld__waits_for=0),
        Action.OPEN,
        "is held",
    ),
    "it was fenced while another one joins": (
        to(LEADS, pair__joining=C, mysqld__waits_for=1),
        Action.OPEN,
        "is held",
    ),
    "it is closed and the table does not answer": (
        to(LEADS, mysqld__writable=False, reachable=False),
        Action.NOTHING,
        "may have changed",
    ),
    "it waits for fewer than are in sync and the table does not answer": (
        to(LEADS, mysqld__waits_for=0, reachable=False),
        Action.OPEN,
        "is held",
    ),
    "the lease could not be renewed in time": (
        to(LEADS, held=False),
        Action.CLOSE,
        "could not be renewed",
    ),
    "it is closed and the lease is not renewed": (
        to(LEADS, held=False, mysqld__writable=False),
        Action.NOTHING,
        "has to be renewed",
    ),
    "its accounts were not seen to": (to(LEADS, mysqld__prepared=False), Action.PREPARE, ""),
    "the table is away and all who could lead promised": (
        to(LEADS, reachable=False, lost=frozenset({B})),
        Action.NOTHING,
        "does not answer",
    ),
    "mysqld was killed": (
        to(LEADS, mysqld=None, exited=True),
        Action.RELEASE,
        "ended",
    ),
    "mysqld is not there": (to(LEADS, mysqld=None, running=False), Action.RELEASE, "ended"),
    "mysqld hangs": (to(LEADS, mysqld=None, silent=3.5), Action.RELEASE, "3.5 s"),
    "asynchronous: mysqld was killed": (
        alone(LEADS, **ASYNCHRONOUS, mysqld=None, running=False, exited=True),
        Action.START,
        "",
    ),
    "asynchronous: mysqld hangs": (
        alone(LEADS, **ASYNCHRONOUS, mysqld=None, silent=3.5),
        Action.KILL,
        "4 s",
    ),
    "asynchronous: mysqld recovers": (
        alone(LEADS, **ASYNCHRONOUS, mysqld=None, silent=3.5, starting=True),
        Action.NOTHING,
        "starting",
    ),
    "asynchronous: mysqld does not start": (
        alone(LEADS, **ASYNCHRONOUS, mysqld=None, running=False, broken=True),
        Action.RELEASE,
        "does not start",
    ),
    "mysqld has just not answered": (
        to(LEADS, mysqld=None, silent=0.5),
        Action.NOTHING,
        "does not answer",
    ),
    "mysqld is gone and nobody else is in sync": (
        alone(LEADS, mysqld=None, running=False, exited=True),
        Action.START,
        "",
    ),
    "mysqld starts and nobody else is in sync": (
        alone(LEADS, mysqld=None, exited=True, silent=2.0),
        Action.NOTHING,
        "starting",
    ),
    "mysqld hangs for long and nobody else is in sync": (
        alone(LEADS, mysqld=None, silent=31.0),
        Action.KILL,
        "31 s",
    ),
    "mysqld recovers from a crash and nobody else is in sync": (
        alone(LEADS, mysqld=None, silent=31.0, starting=True),
        Action.NOTHING,
        "starting",
    ),
    "the one that joins acknowledges and yet cannot be admitted for long": (
        alone(LEADS, pair__joining=B, mysqld__waits_for=0, arrived=True, overdue=True),
        Action.UNINVITE,
        "",
    ),
    "the lease is gone and mysqld is, too": (
        to(LEADS, mysqld=None, running=False, held=False),
        Action.RELEASE,
        "ended",
    ),
    "a replica is lost": (to(LEADS, lost=frozenset({B})), Action.DROP, "does not acknowledge"),
    "a replica is to go": (to(LEADS, pair__leaving=frozenset({B})), Action.DROP, "leaving"),
    "one that is to go is not in sync": (
        alone(LEADS, pair__leaving=frozenset({B}), mysqld__waits_for=0),
        Action.NOTHING,
        "",
    ),
    "a replica is lost that is not in sync": (
        alone(LEADS, lost=frozenset({B}), mysqld__waits_for=0),
        Action.NOTHING,
        "",
    ),
    "the volume is full": (to(LEADS, full=True), Action.RELEASE, "full"),
    "the volume is full and nobody else can lead": (
        alone(LEADS, full=True, successor="", mysqld__waits_for=0),
        Action.NOTHING,
        "",
    ),
    "the operator asks for another": (
        to(LEADS, pair__switchover_to="database-2"),
        Action.SWITCH_OVER,
        "asked for",
    ),
    "the operator asks for this one": (
        to(LEADS, pair__switchover_to="database-1"),
        Action.DECLINE,
        "already",
    ),
    "the operator asks for one that is not in sync": (
        to(LEADS, pair__switchover_to="database-3"),
        Action.DECLINE,
        "not in sync",
    ),
    "the operator asks for one that nobody knows": (
        to(LEADS, pair__switchover_to="nobody"),
        Action.DECLINE,
        "not in sync",
    ),
    "the operator asks in asynchronous mode": (
        alone(
            LEADS,
            pair__switchover_to="database-2",
            pair__mode="asynchronous",
            mode="asynchronous",
            mysqld__waits_for=0,
        ),
        Action.SWITCH_OVER,
        "asked for",
    ),
    "it is to go": (to(LEADS, draining=True), Action.SWITCH_OVER, "is to go"),
    "it is to go, and could not hand over a moment ago": (
        to(LEADS, draining=True, failed_to_hand_over=True),
        Action.NOTHING,
        "",
    ),
    "it is to go and nobody else can lead": (
        alone(LEADS, draining=True, successor="", mysqld__waits_for=0),
        Action.NOTHING,
        "",
    ),
    "it is to go and somebody has nearly caught up": (
        alone(LEADS, draining=True, successor="", mysqld__waits_for=0, candidate=B),
        Action.INVITE,
        "",
    ),
    "the settings want asynchronous replication": (
        to(LEADS, mode="asynchronous"),
        Action.SET_MODE,
        "asynchronous",
    ),
    "the settings want semi-synchronous replication": (
        alone(LEADS, pair__mode="asynchronous", mysqld__waits_for=0),
        Action.SET_MODE,
        "semi-synchronous",
    ),
    "asynchronous and still waiting": (
        alone(LEADS, pair__mode="asynchronous", mode="asynchronous"),
        Action.RELAX,
        "",
    ),
    "asynchronous with a replica": (
        alone(
            LEADS,
            pair__mode="asynchronous",
            mode="asynchronous",
            mysqld__waits_for=0,
            candidate=B,
        ),
        Action.NOTHING,
        "",
    ),
    "a replica has caught up": (
        alone(LEADS, candidate=B, mysqld__waits_for=0),
        Action.INVITE,
        "",
    ),
    "a replica has caught up while another one joins": (
        to(LEADS, candidate=C, pair__joining=C, mysqld__waits_for=2),
        Action.NOTHING,
        "",
    ),
    "the one that joins acknowledges": (
        alone(LEADS, pair__joining=B, mysqld__waits_for=0, arrived=True),
        Action.ADMIT,
        "",
    ),
    "the one that joins does not come": (
        alone(LEADS, pair__joining=B, mysqld__waits_for=0, overdue=True),
        Action.UNINVITE,
        "",
    ),
    "one that was shut out is quiet": (
        to(LEADS, quiet=C, candidate=B),
        Action.LET_IN,
        "",
    ),
    "it waits for one that did not come": (
        alone(LEADS, mysqld__waits_for=1),
        Action.RELAX,
        "",
    ),
}

CONTENDING = {
    "it is handed back the lease that it has just given up": (
        to(CONTENDS, yielding=True, pair__released=True, pair__handed_to=B),
        Action.TAKE_OVER,
        "handed over",
    ),
    "a copy was not finished, whatever the operator says": (
        to(CONTENDS, half_copied=True, pair__force="database-2"),
        Action.REFUSE,
        "not finished",
    ),
    "the holder is gone": (CONTENDS, Action.TAKE_OVER, "database-1 does not hold"),
    "the holder gave the lease up": (
        to(CONTENDS, pair__released=True),
        Action.TAKE_OVER,
        "does not hold",
    ),
    "the lease is held": (
        to(CONTENDS, vacant=False, mysqld=REPLICA),
        Action.NOTHING,
        "",
    ),
    "it is not in sync": (
        alone(CONTENDS),
        Action.REFUSE,
        "not in sync: only database-1",
    ),
    "the operator asked for it, which is not in sync, and the holder died": (
        alone(CONTENDS, pair__released=True, pair__switchover_to="database-2"),
        Action.REFUSE,
        "not in sync",
    ),
    "another one in sync has received more": (
        to(CONTENDS, pair__in_sync=frozenset({A, B, C}), behind=C),
        Action.NOTHING,
        "database-3 has received more",
    ),
    "the holder handed over to it": (
        to(CONTENDS, pair__released=True, pair__handed_to=B),
        Action.TAKE_OVER,
        "handed over",
    ),
    "it was handed over and taken by nobody, and the holder is another one by now": (
        alone(CONTENDS, pair__handed_to=B),
        Action.REFUSE,
        "not in sync",
    ),
    "it gave the lease up itself": (
        to(CONTENDS, me=A, pair__released=True, yielding=True),
        Action.NOTHING,
        "others come first",
    ),
    "it gave the lease up and nobody came": (
        to(CONTENDS, me=A, pair__released=True),
        Action.TAKE_OVER,
        "does not hold",
    ),
    "it has no data": (
        to(CONTENDS, mysqld=Mysqld()),
        Action.REFUSE,
        "no data",
    ),
    "its volume is full": (to(CONTENDS, full=True), Action.REFUSE, "full"),
    "it is to go": (to(CONTENDS, draining=True), Action.LEAVE, ""),
    "the operator forces it": (
        alone(CONTENDS, pair__force="database-2"),
        Action.TAKE_OVER,
        "forced",
    ),
    "the operator forces another": (
        alone(CONTENDS, pair__force="database-3"),
        Action.REFUSE,
        "not in sync",
    ),
    "the operator forces one without data": (
        alone(CONTENDS, pair__force="database-2", mysqld=Mysqld()),
        Action.REFUSE,
        "no data",
    ),
    "the operator forces it while the lease is held": (
        alone(FOLLOWS, pair__force="database-2", mysqld__acknowledging=False),
        Action.NOTHING,
        "",
    ),
    "asynchronous and close enough behind": (
        alone(CONTENDS, pair__mode="asynchronous", lag=0.4, max_failover_lag=5.0),
        Action.TAKE_OVER,
        "does not hold",
    ),
    "asynchronous and too far behind": (
        alone(CONTENDS, pair__mode="asynchronous", lag=7.5, max_failover_lag=5.0),
        Action.REFUSE,
        "7.5 s behind",
    ),
    "asynchronous and it never saw the primary": (
        alone(CONTENDS, pair__mode="asynchronous", lag=float("inf"), max_failover_lag=5.0),
        Action.REFUSE,
        "behind",
    ),
    "mysqld does not run": (to(CONTENDS, mysqld=None, running=False), Action.START, ""),
    "nobody ever led and it is the first": (
        Situation(A, first=True, vacant=True, mysqld=Mysqld(), running=True),
        Action.BEGIN,
        "",
    ),
    "nobody ever led and it is not the first": (
        Situation(B, vacant=True, mysqld=Mysqld(), running=True),
        Action.NOTHING,
        "has not begun",
    ),
    "there is data and no record": (
        Situation(A, first=True, vacant=True, mysqld=Mysqld(empty=False), running=True),
        Action.REFUSE,
        "only an operator",
    ),
    "there is what was restored and no record": (
        Situation(
            A, first=True, restored=True, vacant=True, mysqld=Mysqld(empty=False), running=True
        ),
        Action.BEGIN,
        "",
    ),
    "the table was not read yet": (
        Situation(A, first=True, mysqld=Mysqld(), running=True),
        Action.NOTHING,
        "",
    ),
}

FOLLOWING = {
    "all is well": (FOLLOWS, Action.NOTHING, ""),
    "it can be written to": (to(FOLLOWS, mysqld__writable=True), Action.CLOSE, "not hold"),
    "it still waits for replicas": (to(FOLLOWS, mysqld__waits_for=1), Action.CLOSE, "not hold"),
    "a fence did not come to its end": (to(FOLLOWS, mysqld__offline=True), Action.CLOSE, "hold"),
    "its lease was given up and it can be written to": (
        to(LEADS, held=False, pair__released=True),
        Action.CLOSE,
        "not hold",
    ),
    "another one took the lease and it can be written to": (
        to(LEADS, held=False, pair__holder=B),
        Action.CLOSE,
        "not hold",
    ),
    "no record was read and it can be written to": (
        Situation(A, mysqld=OPEN, running=True),
        Action.CLOSE,
        "not hold",
    ),
    "mysqld does not run": (to(FOLLOWS, mysqld=None, running=False), Action.START, ""),
    "mysqld starts": (to(FOLLOWS, mysqld=None, silent=2.0), Action.NOTHING, "does not answer"),
    "mysqld hangs": (to(FOLLOWS, mysqld=None, silent=31.0), Action.KILL, "31 s"),
    "mysqld does not start": (
        alone(FOLLOWS, mysqld=None, running=False, broken=True),
        Action.REBUILD,
        "does not start",
    ),
    "mysqld does not start, and the machine is in sync": (
        to(FOLLOWS, mysqld=None, running=False, broken=True),
        Action.START,
        "",
    ),
    "mysqld does not start, and the primary is not open": (
        alone(
            FOLLOWS,
            mysqld=None,
            running=False,
            broken=True,
            primary=replace(PRIMARY, open=False),
        ),
        Action.START,
        "",
    ),
    "mysqld does not start, and it was the last to lead": (
        alone(FOLLOWS, me=A, mysqld=None, running=False, broken=True, pair__released=True),
        Action.START,
        "",
    ),
    "it is new": (alone(FOLLOWS, mysqld=Mysqld()), Action.COPY, "too little"),
    "it is new and the primary is away": (
        alone(FOLLOWS, mysqld=Mysqld(), primary=None),
        Action.NOTHING,
        "",
    ),
    "it is new and the primary is not open": (
        alone(FOLLOWS, mysqld=Mysqld(), primary=replace(PRIMARY, open=False)),
        Action.NOTHING,
        "",
    ),
    "it was restarted": (to(FOLLOWS, mysqld=STOPPED), Action.RESUME, ""),
    "it was restarted and the primary is away": (
        to(FOLLOWS, mysqld=STOPPED, primary=None),
        Action.RESUME,
        "",
    ),
    "the connection is tried again": (
        to(FOLLOWS, mysqld__receiving="CONNECTING"),
        Action.NOTHING,
        "",
    ),
    "it stopped applying": (to(FOLLOWS, mysqld__applying=False), Action.RESUME, ""),
    "the primary is another one, and it acknowledges still": (
        alone(FOLLOWS, pair__holder=C, primary=replace(PRIMARY, address=THERE)),
        Action.KEEP_QUIET,
        "",
    ),
    "the primary is another one": (
        alone(
            FOLLOWS,
            pair__holder=C,
            primary=replace(PRIMARY, address=THERE),
            mysqld__acknowledging=False,
        ),
        Action.FOLLOW,
        "",
    ),
    "it is shut out and acknowledges still": (
        alone(FOLLOWS, primary=None, mysqld__receiving="CONNECTING"),
        Action.KEEP_QUIET,
        "",
    ),
    "it is to go and acknowledges still": (
        alone(FOLLOWS, draining=True),
        Action.KEEP_QUIET,
        "",
    ),
    "there is room on the volume again": (
        to(FOLLOWS, room_again=True),
        Action.KILL,
        "room again",
    ),
    "an old primary comes back with nothing of its own": (
        alone(FOLLOWS, mysqld=Mysqld(empty=False)),
        Action.FOLLOW,
        "",
    ),
    "an old primary comes back with something of its own, seen once": (
        alone(
            FOLLOWS,
            mysqld=Mysqld(empty=False),
            primary=replace(PRIMARY, contains_ours=False),
        ),
        Action.NOTHING,
        "not on the primary yet",
    ),
    "an old primary comes back with something of its own": (
        alone(
            FOLLOWS,
            mysqld=Mysqld(empty=False),
            primary=replace(PRIMARY, contains_ours=False),
            alone=True,
        ),
        Action.COPY,
        "never acknowledged",
    ),
    "it was away for so long that the primary's logs are gone": (
        alone(
            FOLLOWS,
            mysqld=STOPPED,
            primary=replace(PRIMARY, has_what_we_lack=False),
        ),
        Action.COPY,
        "too little",
    ),
    "it follows and has something of its own all the same": (
        alone(FOLLOWS, mysqld__acknowledging=False, alone=True),
        Action.COPY,
        "never acknowledged",
    ),
    "it joins, and the primary's commits wait for it": (
        alone(FOLLOWS, pair__joining=B, alone=True),
        Action.NOTHING,
        "",
    ),
    "it is in sync and yet has something of its own": (
        to(FOLLOWS, mysqld=STOPPED, primary=replace(PRIMARY, contains_ours=False), alone=True),
        Action.REFUSE,
        "of its own",
    ),
    "it is in sync and yet lacks what the primary's logs lack": (
        to(FOLLOWS, mysqld=STOPPED, primary=replace(PRIMARY, has_what_we_lack=False)),
        Action.REFUSE,
        "without the primary's data",
    ),
    "it is invited": (
        alone(FOLLOWS, pair__joining=B, mysqld__acknowledging=False),
        Action.ACKNOWLEDGE,
        "",
    ),
    "it is in sync and does not acknowledge": (
        to(FOLLOWS, mysqld__acknowledging=False),
        Action.ACKNOWLEDGE,
        "",
    ),
    "it is not in sync any more": (alone(FOLLOWS), Action.KEEP_QUIET, ""),
    "it cannot apply": (
        alone(FOLLOWS, cannot_apply=True, mysqld__acknowledging=False),
        Action.COPY,
        "cannot apply",
    ),
    "it cannot apply and is in sync": (to(FOLLOWS, cannot_apply=True), Action.LEAVE, ""),
    "it cannot apply and has said that it leaves": (
        to(FOLLOWS, cannot_apply=True, pair__leaving=frozenset({B})),
        Action.NOTHING,
        "",
    ),
    "a copy was not finished": (
        alone(FOLLOWS, half_copied=True, mysqld=replace(STOPPED, source="")),
        Action.COPY,
        "not finished",
    ),
    "it is to go": (to(FOLLOWS, draining=True), Action.LEAVE, ""),
    "it is to go and is not waited for": (
        alone(FOLLOWS, draining=True, mysqld__acknowledging=False),
        Action.NOTHING,
        "",
    ),
    "it is to go and has said so": (
        to(FOLLOWS, draining=True, pair__leaving=frozenset({B})),
        Action.NOTHING,
        "",
    ),
}

TABLE = {
    f"{part} when {name}": case
    for part, cases in (
        ("leading", LEADING),
        ("contending", CONTENDING),
        ("following", FOLLOWING),
    )
    for name, case in cases.items()
}


@pytest.mark.parametrize("case", TABLE)
def test_what_it_does(case: str) -> None:
    now, action, why = TABLE[case]
    decision = decide(now)
    assert decision.action is action, decision
    assert why in decision.why


WITH_WHOM = {Action.DROP: B, Action.SWITCH_OVER: B, Action.INVITE: B, Action.ADMIT: B}


@pytest.mark.parametrize("case", [name for name, case in TABLE.items() if case[1] in WITH_WHOM])
def test_it_does_so_with_the_right_one(case: str) -> None:
    now, action, _ = TABLE[case]
    assert decide(now).member == WITH_WHOM[action]


def test_every_step_is_in_the_table() -> None:
    assert {action for _, action, _ in TABLE.values()} == set(Action)


members = st.sampled_from([A, B, C])
sets = st.frozensets(members)
pairs = st.builds(
    Pair,
    holder=members,
    generation=st.integers(1, 3),
    released=st.booleans(),
    in_sync=sets,
    mode=st.sampled_from(["semi-synchronous", "asynchronous"]),
    address=st.just(HERE),
    joining=st.just("") | members,
    switchover_to=st.sampled_from(["", "database-1", "database-2"]),
    handed_to=st.just("") | members,
    leaving=sets,
    force=st.sampled_from(["", "", "database-1", "database-2"]),
).map(lambda made: replace(made, in_sync=made.in_sync | {made.holder}))
mysqlds = st.builds(
    Mysqld,
    writable=st.booleans(),
    empty=st.booleans(),
    prepared=st.booleans(),
    waits_for=st.integers(0, 2),
    waiting=st.integers(0, 1),
    acknowledging=st.booleans(),
    offline=st.booleans(),
    source=st.sampled_from(["", HERE, THERE]),
    receiving=st.sampled_from(["ON", "CONNECTING", "OFF"]),
    applying=st.booleans(),
)
situations = st.builds(
    Situation,
    me=members,
    first=st.booleans(),
    pair=st.none() | pairs,
    reachable=st.booleans(),
    held=st.booleans(),
    vacant=st.booleans(),
    yielding=st.booleans(),
    behind=st.just("") | members,
    mysqld=st.none() | mysqlds,
    running=st.booleans(),
    exited=st.booleans(),
    silent=st.sampled_from([0.0, 5.0, 50.0]),
    broken=st.booleans(),
    full=st.booleans(),
    lag=st.sampled_from([0.0, 4.0, 6.0, float("inf")]),
    max_failover_lag=st.just(5.0),
    mode=st.sampled_from(["semi-synchronous", "asynchronous"]),
    draining=st.booleans(),
    primary=st.none()
    | st.builds(
        Primary,
        address=st.sampled_from([HERE, THERE]),
        open=st.booleans(),
        contains_ours=st.booleans(),
        has_what_we_lack=st.booleans(),
    ),
    alone=st.booleans(),
    half_copied=st.booleans(),
    cannot_apply=st.booleans(),
    lost=sets,
    candidate=st.just("") | members,
    arrived=st.booleans(),
    overdue=st.booleans(),
    failed_to_hand_over=st.booleans(),
    successor=st.just("") | members,
    quiet=st.just("") | members,
    starting=st.booleans(),
    restored=st.booleans(),
    room_again=st.booleans(),
)
OF_THE_HOLDER = {
    Action.OPEN,
    Action.PREPARE,
    Action.SWITCH_OVER,
    Action.DECLINE,
    Action.DROP,
    Action.RELAX,
    Action.SET_MODE,
    Action.INVITE,
    Action.ADMIT,
    Action.UNINVITE,
    Action.LET_IN,
}


def only_a_holder_opens_and_decides_who_is_in_sync(now: Situation, decision: Decision) -> None:
    if decision.action in OF_THE_HOLDER:
        assert now.held
        assert now.mine
    if decision.action in OF_THE_HOLDER - {Action.OPEN, Action.PREPARE}:
        assert now.reachable, "what it decides has to be written"
    if decision.action is Action.RELEASE:
        assert now.mine


def nobody_takes_a_lease_that_is_not_vacant(now: Situation, decision: Decision) -> None:
    if decision.action in (Action.TAKE_OVER, Action.BEGIN):
        assert now.vacant
        assert not now.mine
    if decision.action is Action.BEGIN:
        assert now.first
        assert now.pair is None


def who_takes_over_has_every_acknowledged_write(now: Situation, decision: Decision) -> None:
    """Unless the operator forces it, or asynchronous replication was chosen."""
    if decision.action is not Action.TAKE_OVER:
        return
    assert now.mysqld is not None
    assert not now.mysqld.empty
    assert not now.half_copied
    assert now.pair is not None
    assert (
        now.me in now.pair.in_sync
        or now.pair.force == machine_of(now.me)
        or (now.pair.released and now.pair.handed_to == now.me)
        or (now.pair.mode == "asynchronous" and now.lag <= now.max_failover_lag)
    )


def data_goes_only_where_another_machine_leads_and_has_it(
    now: Situation, decision: Decision
) -> None:
    if decision.action not in (Action.COPY, Action.REBUILD):
        return
    assert now.pair is not None
    assert now.me not in now.pair.in_sync
    assert now.pair.holder != now.me
    assert now.primary is not None
    assert now.primary.open
    if now.mysqld is not None:
        assert not now.mysqld.writable
        assert not now.vacant


def who_does_not_hold_the_lease_is_closed_before_all_else(
    now: Situation, decision: Decision
) -> None:
    if now.mysqld is not None and now.mysqld.writable and not (now.mine and now.held):
        assert decision.action in (Action.CLOSE, Action.KILL)


def nobody_follows_while_commits_wait_here(now: Situation, decision: Decision) -> None:
    if decision.action in (Action.FOLLOW, Action.RESUME, Action.COPY):
        assert now.mysqld is not None
        assert not now.mysqld.waits_for
        assert not now.mysqld.offline
        assert not now.mine


def a_member_is_dropped_only_if_it_is_lost_or_leaves(now: Situation, decision: Decision) -> None:
    if decision.action is Action.DROP:
        assert now.pair is not None
        assert decision.member in now.pair.others(now.me)
        assert decision.member in now.lost | now.pair.leaving


def a_primary_waits_for_all_that_are_in_sync(now: Situation, decision: Decision) -> None:
    if now.mine and now.held and now.mysqld and now.mysqld.writable and now.pair:
        enough = now.mysqld.waits_for >= len(now.pair.others(now.me))
        shut_out = now.mysqld.offline and not now.reachable
        assert enough or shut_out or decision.action is Action.OPEN
    if decision.action is Action.RELAX and now.pair and now.mysqld:
        fewer = now.mysqld.waits_for > len(now.pair.others(now.me))
        assert fewer or now.mode == "asynchronous"


def only_acknowledgements_of_members_are_wanted(now: Situation, decision: Decision) -> None:
    if decision.action in (Action.ACKNOWLEDGE, Action.KEEP_QUIET):
        assert now.pair is not None
        member = now.me in now.pair.in_sync or now.me == now.pair.joining
        assert member == (decision.action is Action.ACKNOWLEDGE)


def a_refusal_says_why(now: Situation, decision: Decision) -> None:
    del now
    if decision.action in (Action.REFUSE, Action.DECLINE, Action.RELEASE, Action.CLOSE):
        assert decision.why


def a_switchover_goes_to_one_that_has_it_all(now: Situation, decision: Decision) -> None:
    if decision.action is Action.SWITCH_OVER:
        assert now.pair is not None
        assert decision.member in now.pair.in_sync | {now.successor}


ALWAYS: list[Callable[[Situation, Decision], None]] = [
    only_a_holder_opens_and_decides_who_is_in_sync,
    nobody_takes_a_lease_that_is_not_vacant,
    who_takes_over_has_every_acknowledged_write,
    data_goes_only_where_another_machine_leads_and_has_it,
    who_does_not_hold_the_lease_is_closed_before_all_else,
    nobody_follows_while_commits_wait_here,
    a_member_is_dropped_only_if_it_is_lost_or_leaves,
    a_primary_waits_for_all_that_are_in_sync,
    only_acknowledgements_of_members_are_wanted,
    a_refusal_says_why,
    a_switchover_goes_to_one_that_has_it_all,
]


@settings(max_examples=1000, deadline=None)
@given(situations)
def test_in_whatever_situation(now: Situation) -> None:
    decision = decide(now)
    for check in ALWAYS:
        check(now, decision)


@settings(max_examples=300, deadline=None)
@given(situations, pairs, mysqlds)
def test_in_whatever_situation_of_a_contender(now: Situation, record: Pair, seen: Mysqld) -> None:
    """Of those there are few among the arbitrary ones."""
    closed = replace(seen, writable=False, offline=False, waits_for=0)
    contends = replace(
        now, me=B, pair=replace(record, holder=A), mysqld=closed, vacant=True, draining=False
    )
    decision = decide(contends)
    for check in ALWAYS:
        check(contends, decision)
