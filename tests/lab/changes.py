"""Changes of a running site by plain `pulumi up`, none of which may cost a request."""

import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab import traffic
from tests.lab.site import PROJECT, Site, eventually
from tests.lab.test_failures import assert_no_page_lost_and_no_entry_twice, mixed

CLIENTS = 16
NEW_WORDS = "Guest book, second edition"


@dataclass(frozen=True)
class Change:
    """Settings that differ from the lab's, once they were made where files are needed for them."""

    what: str
    settings: Callable[[Path], dict[str, Any]]
    replaced: str
    """Whose machines are made anew, or are more or fewer: `app-server` or `load-balancer`."""
    seen: Callable[[Site], bool] = lambda site: bool(site.in_turn())
    """Whether clients meet the change."""


def new_release(scratch: Path) -> dict[str, Any]:
    """The guest book with another title."""
    folder = scratch / "release"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(PROJECT / "app", folder, ignore=shutil.ignore_patterns("__pycache__"))
    page = folder / "guestbook/templates/page.html"
    text = page.read_text()
    assert text.count("<h1>Guest book</h1>") == 1
    page.write_text(text.replace("<h1>Guest book</h1>", f"<h1>{NEW_WORDS}</h1>"))
    return {"appServers.folder": str(folder)}


def shows_new_release(site: Site) -> bool:
    """Not one of several answers is the old one's."""
    pages = [traffic.send(site.url).body.decode() for _ in range(8)]
    return all(NEW_WORDS in page for page in pages)


CHANGES = {
    "release": Change("a new application release", new_release, "app-server", shows_new_release),
    "configuration": Change(
        "a new application configuration",
        lambda _: {"appServers.environment": {"EDITION": "second"}},
        "app-server",
    ),
    "type": Change(
        "a new instance type for application servers",
        lambda _: {"appServers.instanceType": "t3.medium"},
        "app-server",
    ),
    "out": Change(
        "one application server more",
        lambda _: {"appServers.count": 3},
        "app-server",
        lambda site: len(site.in_turn()) == 3,
    ),
    "balancer-configuration": Change(
        "a new load balancer configuration",
        lambda _: {"loadBalancers.queueTimeout": 4},
        "load-balancer",
    ),
    "balancer-type": Change(
        "load balancers of another instance type",
        lambda _: {"loadBalancers.instanceType": "t3.medium"},
        "load-balancer",
    ),
}


@contextmanager
def under_load(site: Site) -> Generator[traffic.Load]:
    """Many clients, kept-alive and not, that read and write."""
    with traffic.load(site.url, mixed, clients=CLIENTS, pause=0.05) as load:
        eventually("a first round of answers", lambda: len(load.answers) > 10 * CLIENTS, 30)
        yield load
        before = len(load.answers)
        eventually("answers afterwards", lambda: len(load.answers) > before + 10 * CLIENTS, 30)


def make(site: Site, change: Change, scratch: Path) -> traffic.Load:
    """What clients met while the change was made."""
    with under_load(site) as load:
        outcome = site.up(change.settings(scratch))
        assert outcome.status == 0, outcome.text
        eventually(f"clients meet {change.what}", lambda: change.seen(site), 30)
        others = {
            name
            for name in outcome.changes
            if name.startswith(("database", "load-balancer", "app-server"))
            and not name.startswith(change.replaced)
        }
        assert not others, others
    return load


def undo(site: Site) -> traffic.Load:
    """What clients met while the lab's own settings came back."""
    with under_load(site) as load:
        outcome = site.up()
        assert outcome.status == 0, outcome.text
        eventually("both answer in turn", lambda: len(site.in_turn()) == 2, 30)
    return load


def assert_nothing_lost(site: Site, load: traffic.Load) -> None:
    assert not load.failed(), load.report()
    assert_no_page_lost_and_no_entry_twice(site, load)
