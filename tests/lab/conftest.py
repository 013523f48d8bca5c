"""The lab tier: one site on real machines, up once for all tests of this folder."""

import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab import paths, service
from lab.stack import LAB, Stack
from tests.lab.site import PROJECT, Site, eventually

JOURNALS = paths.state() / "failures"


def lab(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lab", *arguments],
        cwd=PROJECT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@contextmanager
def site_up(settings: Path) -> Generator[Site]:
    """Up, and down again afterwards unless it was up before."""
    was_up = service.running() is not None
    try:
        up = lab("up")
        if up.returncode:
            msg = f"make up failed:\n{up.stdout}\n{up.stderr}"
            raise RuntimeError(msg)
        environment = Stack(LAB).environment()
        yield Site(environment, environment["AWS_ENDPOINT_URL"], settings)
    finally:
        if not was_up:
            lab("down")


@pytest.fixture(scope="session")
def running_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with ExitStack() as stack:
        try:
            site = stack.enter_context(site_up(tmp_path_factory.mktemp("settings")))
        except RuntimeError as failure:
            pytest.exit(str(failure), returncode=1)
        yield site


@pytest.fixture
def site(running_site: Site, request: pytest.FixtureRequest) -> Iterator[Site]:
    """The site as `make up` leaves it: a test that changed or broke something puts it back."""
    failed_before = request.session.testsfailed
    yield running_site
    if request.session.testsfailed > failed_before:
        keep_journals(running_site, JOURNALS / name_of(request))


def name_of(request: pytest.FixtureRequest) -> str:
    """The test's."""
    asked: Any = request  # whose `node` has no type
    return asked.node.name


def keep_journals(site: Site, folder: Path) -> None:
    """Of every machine that there was, by its name if it runs, and by its id."""
    folder.mkdir(parents=True, exist_ok=True)
    names = {machine.id: f"{machine.name}-{machine.id}" for machine in site.machines()}
    for journal in paths.logs().iterdir():
        name = names.get(journal.name, journal.name)
        (folder / f"{name}.log").write_text(lab("logs", journal.name).stdout)


@pytest.fixture
def as_before(site: Site) -> Iterator[Site]:
    """For tests that deploy other settings: the lab's own are deployed again afterwards."""
    yield site
    outcome = site.up()
    assert outcome.status == 0, outcome.text
    eventually("both application servers answer in turn", lambda: len(site.in_turn()) == 2, 30)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes the lab down comes last."""
    items.sort(key=lambda item: item.get_closest_marker("takes_the_lab_down") is not None)
