"""What running machines follow: arrows and the maintenance window, as the parameters have them."""

from typing import Any, cast

import pytest
from botocore.exceptions import ClientError

from hosts.base import parameters
from hosts.base.firewall import Arrow, FirewallError
from hosts.base.followed import EVERY, SOON, YOUNG, Followed, path
from hosts.base.maintenance import NONE
from hosts.base.parameters import ParameterError
from tests.hosts.fakes import Clock

PATH = "/site/lab/machines/app-server"
APP = Arrow("in", 8443, "10.0.128.0/17", "gunicorn from load-balancer")
OUT = Arrow("out", 3306, "10.0.0.0/17", "mysql to database")


class Ssm:
    """Parameters, two to a page."""

    def __init__(self, **values: str) -> None:
        self.values = values
        self.away = False
        self.asked: list[dict[str, Any]] = []

    def get_paginator(self, operation: str) -> "Ssm":
        assert operation == "get_parameters_by_path"
        return self

    def paginate(self, **asked: Any) -> list[dict[str, Any]]:
        if self.away:
            raise ClientError({"Error": {"Code": "ThrottlingException"}}, "GetParametersByPath")
        self.asked.append(asked)
        found = [{"Name": f"{PATH}/{name}", "Value": text} for name, text in self.values.items()]
        return [{"Parameters": found[start : start + 2]} for start in range(0, len(found), 2)]


class Wall:
    """The firewall."""

    def __init__(self, *, known: bool = False) -> None:
        self.known = known
        self.arrows: list[Arrow] | None = None
        self.refuses = False

    def follow(self, arrows: list[Arrow]) -> bool:
        if self.refuses:
            raise FirewallError("nft does not take it")
        changed, self.arrows = arrows != self.arrows, arrows
        return changed


class Window:
    """The maintenance."""

    def __init__(self) -> None:
        self.text = ""

    def follow(self, text: str) -> bool:
        if text == "wrong":
            raise ValueError("a window of an hour or more")
        changed, self.text = text != self.text, text
        return changed


def arrows(*listed: Arrow) -> dict[str, str]:
    return {f"arrows/{number}": arrow.to_json() for number, arrow in enumerate(listed)}


@pytest.fixture
def ssm() -> Any:
    return Ssm(**arrows(APP, OUT), maintenance="Sun 03:00-05:00")


def following(ssm: Any, wall: Wall | None = None, window: Window | None = None) -> Followed:
    firewall: Any = wall or Wall()
    maintenance: Any = window or Window()
    return Followed(lambda: ssm, PATH, firewall, maintenance, Clock())


def test_parameters_below_a_path_are_known_by_the_rest_of_their_names(ssm: Any) -> None:
    assert parameters.below(ssm, PATH).keys() == {"arrows/0", "arrows/1", "maintenance"}
    assert ssm.asked == [{"Path": PATH, "Recursive": True}]
    ssm.away = True
    with pytest.raises(ParameterError, match=PATH):
        parameters.below(ssm, PATH)


def test_every_role_has_a_path_of_its_own() -> None:
    assert f"/site/lab/{path('app-server')}" == PATH


def test_a_look_brings_the_firewall_and_the_window_up_to_date(ssm: Any) -> None:
    wall, window = Wall(), Window()
    followed = following(ssm, wall, window)
    followed.step()
    assert (wall.arrows, window.text) == ([APP, OUT], "Sun 03:00-05:00")
    del ssm.values["arrows/1"]
    del ssm.values["maintenance"]
    followed.step()
    assert (wall.arrows, window.text) == ([APP], NONE)
    assert followed.trouble == ""


def test_what_cannot_be_read_leaves_all_as_it_is_and_is_said(ssm: Any) -> None:
    wall = Wall()
    followed = following(ssm, wall)
    followed.step()
    ssm.away = True
    followed.step()
    assert wall.arrows == [APP, OUT]
    assert "the firewall stays as it is" in followed.trouble
    ssm.away = False
    followed.step()
    assert followed.trouble == ""


def test_no_parameters_at_all_close_nothing(ssm: Any) -> None:
    wall = Wall()
    followed = following(ssm, wall)
    followed.step()
    ssm.values = {}
    followed.step()
    assert wall.arrows == [APP, OUT]
    assert "no parameter below" in followed.trouble


def test_an_arrow_that_is_none_stays_closed_and_the_others_open(ssm: Any) -> None:
    wall = Wall()
    ssm.values["arrows/0"] = "everyone, please"
    followed = following(ssm, wall)
    followed.step()
    assert wall.arrows == [OUT]
    assert "arrows/0" in followed.trouble


def test_a_window_that_is_none_leaves_the_firewall_alone(ssm: Any) -> None:
    wall = Wall()
    ssm.values["maintenance"] = "wrong"
    followed = following(ssm, wall)
    followed.step()
    assert wall.arrows == [APP, OUT]
    assert "updates: a window" in followed.trouble


def test_a_firewall_that_refuses_is_said(ssm: Any) -> None:
    wall = Wall()
    wall.refuses = True
    followed = following(ssm, wall)
    followed.step()
    assert followed.trouble == "nft does not take it"


def test_a_new_machine_does_not_serve_before_it_knows_whom(ssm: Any) -> None:
    wall = Wall()
    followed = following(ssm, wall)
    ssm.away = True
    with pytest.raises(FirewallError, match="cannot be read"):
        followed.first()
    ssm.away = False
    followed.first()
    assert wall.arrows == [APP, OUT]
    asked = len(ssm.asked)
    followed.first()
    assert len(ssm.asked) == asked


def test_a_machine_that_knows_whom_serves_while_aws_is_away(ssm: Any) -> None:
    ssm.away = True
    following(ssm, Wall(known=True)).first()


def test_a_new_machine_whose_firewall_refuses_does_not_serve(ssm: Any) -> None:
    wall = Wall()
    wall.refuses = True
    with pytest.raises(FirewallError, match="nft does not take it"):
        following(ssm, wall).first()


def test_a_window_that_is_none_keeps_no_machine_from_serving(ssm: Any) -> None:
    ssm.values["maintenance"] = "wrong"
    following(ssm).first()


class EnoughError(Exception):
    """The test has seen enough."""


def pauses(ssm: Any, wall: Wall, seconds: float, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits of the loop, for so long."""
    clock, waited = Clock(), list[float]()

    class Event:
        def wait(self, seconds_: float) -> None:
            waited.append(seconds_)
            clock.advance(seconds_)
            if clock() > 1000 + seconds:
                raise EnoughError

    monkeypatch.setattr("hosts.base.followed.threading.Event", Event)
    firewall, window = cast(Any, wall), cast(Any, Window())
    followed = Followed(lambda: ssm, PATH, firewall, window, clock)
    with pytest.raises(EnoughError):
        followed.run()
    return waited


def test_a_new_machine_looks_often_and_at_once(ssm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    waited = pauses(ssm, Wall(), 60, monkeypatch)
    assert waited[: int(YOUNG / SOON)] == [SOON] * int(YOUNG / SOON)
    assert waited[-1] == EVERY
    assert len(ssm.asked) == len(waited), "it looks before it waits"


def test_an_agent_that_starts_anew_has_other_things_to_do_first(
    ssm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pauses(ssm, Wall(known=True), 10, monkeypatch) == [EVERY]
    assert ssm.asked == []
