"""What a load balancer does about an address: every situation it may find itself in, by name."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosts.load_balancer.decide import (
    GIVEN,
    RECOVERED,
    RESERVED,
    STEADY,
    UNUSED,
    Action,
    Situation,
    decide,
)

HOLDS = Situation(holder="us", held=True, belongs="here", here=True)
KEEPS = replace(HOLDS, belongs="elsewhere")
"""Holds what is another machine's own."""
STANDS_BY = Situation(holder="another", belongs="here", asking=False)
VACANT = replace(STANDS_BY, vacant=True, unchanged=2.6)
RELEASED = replace(STANDS_BY, holder="released", vacant=True, unchanged=0.1)
UNHEARD_OF = replace(STANDS_BY, holder="nobody", vacant=True, unchanged=0.1)

HOLDING = {
    "all is well": (HOLDS, Action.NOTHING, ""),
    "it is time to look": (replace(HOLDS, look=True), Action.SEE, ""),
    "it was just taken": (replace(HOLDS, here=False, look=True), Action.SEE, ""),
    "its lease has run out and nobody took it": (
        replace(HOLDS, held=False, look=True),
        Action.NOTHING,
        "",
    ),
    "the table is away": (replace(HOLDS, held=False, reachable=False), Action.NOTHING, ""),
    "HAProxy is gone": (replace(HOLDS, well=False), Action.RELEASE, "HAProxy"),
    "HAProxy is gone and the lease has run out": (
        replace(HOLDS, well=False, held=False),
        Action.RELEASE,
        "HAProxy",
    ),
    "HAProxy is gone while it lets connections end": (
        replace(HOLDS, well=False, leaving="emptying", draining=True),
        Action.RELEASE,
        "HAProxy",
    ),
    "EC2 does not give it": (
        replace(HOLDS, here=False, hopeless=True, look=True),
        Action.RELEASE,
        "EC2",
    ),
    "EC2 does not answer and the address is here": (
        replace(HOLDS, hopeless=True),
        Action.NOTHING,
        "",
    ),
    "it is to go": (replace(HOLDS, draining=True), Action.EMPTY, "to go"),
    "it is to go and the table is away": (
        replace(HOLDS, draining=True, reachable=False),
        Action.NOTHING,
        "",
    ),
    "it is to go and connections end": (
        replace(HOLDS, draining=True, leaving="emptying"),
        Action.NOTHING,
        "",
    ),
    "it is to go, connections end and the table is away": (
        replace(HOLDS, draining=True, leaving="emptying", reachable=False),
        Action.REOPEN,
        "stays",
    ),
    "it is to go and connections have ended": (
        replace(HOLDS, draining=True, leaving="empty"),
        Action.GIVE,
        "to go",
    ),
    "it is to go and the address never came": (
        replace(HOLDS, draining=True, here=False),
        Action.GIVE,
        "to go",
    ),
    "its own is asked for by its replacement": (
        replace(HOLDS, asked=STEADY + 1),
        Action.NOTHING,
        "",
    ),
    "what is anybody's is asked for": (
        replace(HOLDS, belongs="anywhere", asked=STEADY + 1),
        Action.NOTHING,
        "",
    ),
    "its machine came back a moment ago": (
        replace(KEEPS, asked=STEADY - 1),
        Action.NOTHING,
        "",
    ),
    "its machine has been well for long": (replace(KEEPS, asked=STEADY), Action.EMPTY, "well"),
    "its machine does not ask": (KEEPS, Action.NOTHING, ""),
    "its machine has been well for long, and our lease has run out": (
        replace(KEEPS, asked=STEADY, held=False),
        Action.NOTHING,
        "",
    ),
    "its machine has been well for long, and it is not here yet": (
        replace(KEEPS, asked=STEADY, here=False, look=True),
        Action.SEE,
        "",
    ),
    "given back, connections have ended": (
        replace(KEEPS, asked=STEADY, leaving="empty"),
        Action.GIVE,
        "well",
    ),
    "given back, and its machine asks no more": (
        replace(KEEPS, leaving="emptying"),
        Action.REOPEN,
        "stays",
    ),
    "given back, connections have ended, and its machine asks no more": (
        replace(KEEPS, leaving="empty"),
        Action.REOPEN,
        "stays",
    ),
}
CONTENDING = {
    "the holder stands": (STANDS_BY, Action.NOTHING, ""),
    "the holder stands and it is time to ask": (
        replace(STANDS_BY, asking=True),
        Action.ASK,
        "",
    ),
    "the holder stands and may keep it": (
        replace(STANDS_BY, belongs="anywhere", asking=True),
        Action.NOTHING,
        "",
    ),
    "the holder stands and HAProxy has just come back": (
        replace(STANDS_BY, asking=True, recovered=True, well_for=RECOVERED / 2),
        Action.NOTHING,
        "",
    ),
    "nothing was read yet": (Situation(), Action.NOTHING, ""),
    "the holder is silent": (VACANT, Action.TAKE, "silent for 2.6 s"),
    "the holder of another's own is silent": (
        replace(VACANT, belongs="elsewhere"),
        Action.TAKE,
        "silent",
    ),
    "the holder is silent and HAProxy is gone": (
        replace(VACANT, well=False),
        Action.NOTHING,
        "",
    ),
    "the holder is silent and HAProxy has just come back": (
        replace(VACANT, recovered=True, well_for=RECOVERED / 2),
        Action.NOTHING,
        "",
    ),
    "the holder is silent and HAProxy has been back for a while": (
        replace(VACANT, recovered=True, well_for=RECOVERED),
        Action.TAKE,
        "silent",
    ),
    "the holder is silent and this machine is to go": (
        replace(VACANT, draining=True),
        Action.NOTHING,
        "",
    ),
    "it was released": (RELEASED, Action.TAKE, "released"),
    "it was released for another machine": (
        replace(RELEASED, reserved=True),
        Action.NOTHING,
        "",
    ),
    "it was released for another machine that does not take it": (
        replace(RELEASED, reserved=True, unchanged=RESERVED),
        Action.TAKE,
        "released",
    ),
    "it was released by this machine, which EC2 does not give it": (
        replace(RELEASED, yielding=True),
        Action.NOTHING,
        "",
    ),
    "nobody ever had it": (UNHEARD_OF, Action.TAKE, "nobody"),
    "nobody ever had what is anybody's": (
        replace(UNHEARD_OF, belongs="anywhere"),
        Action.TAKE,
        "nobody",
    ),
    "nobody ever had what is another machine's own": (
        replace(UNHEARD_OF, belongs="elsewhere"),
        Action.NOTHING,
        "",
    ),
    "nobody ever had it, and its own machine does not come": (
        replace(UNHEARD_OF, belongs="elsewhere", unchanged=UNUSED),
        Action.TAKE,
        "nobody",
    ),
    "given away a moment ago": (
        replace(RELEASED, leaving="given", draining=True, left=0.5),
        Action.NOTHING,
        "",
    ),
    "given away a while ago": (
        replace(STANDS_BY, leaving="given", left=GIVEN),
        Action.REOPEN,
        "",
    ),
    "given back to a machine that does not take it": (
        replace(RELEASED, leaving="given", left=RESERVED, reserved=True, unchanged=RESERVED),
        Action.TAKE,
        "released",
    ),
    "the lease was lost while connections ended": (
        replace(STANDS_BY, leaving="emptying"),
        Action.REOPEN,
        "",
    ),
}


@pytest.mark.parametrize("case", HOLDING)
def test_a_holder_when(case: str) -> None:
    situation, action, why = HOLDING[case]
    assert decide(situation).action is action
    assert why in decide(situation).why


@pytest.mark.parametrize("case", CONTENDING)
def test_a_contender_when(case: str) -> None:
    situation, action, why = CONTENDING[case]
    assert decide(situation).action is action
    assert why in decide(situation).why


seconds = st.sampled_from([0.0, 0.5, RECOVERED, RESERVED + 0.1, GIVEN, STEADY, UNUSED])
anything = st.builds(
    Situation,
    holder=st.sampled_from(["unknown", "nobody", "released", "us", "another"]),
    reachable=st.booleans(),
    held=st.booleans(),
    vacant=st.booleans(),
    unchanged=seconds,
    reserved=st.booleans(),
    belongs=st.sampled_from(["here", "elsewhere", "anywhere"]),
    well=st.booleans(),
    well_for=seconds,
    recovered=st.booleans(),
    draining=st.booleans(),
    asked=st.none() | seconds,
    asking=st.booleans(),
    here=st.booleans(),
    hopeless=st.booleans(),
    yielding=st.booleans(),
    look=st.booleans(),
    leaving=st.sampled_from(["", "emptying", "empty", "given"]),
    left=seconds,
)


@given(now=anything)
def test_in_every_situation(now: Situation) -> None:
    action = decide(now).action
    if action is Action.SEE:
        assert now.held, "nobody moves an address without a lease"
        assert now.holder == "us"
    if action is Action.TAKE:
        assert now.vacant
        assert now.well
        assert not now.draining
    if action is Action.GIVE:
        assert now.draining or now.asked is not None
    if action is Action.RELEASE:
        assert not now.well or not now.here
    if not now.well:
        assert action in (Action.RELEASE, Action.REOPEN, Action.NOTHING)
    if now.holder == "us" and not now.well:
        assert action is Action.RELEASE
