"""The whole program is run once for each set of settings; tests look at what it registered."""

import gc
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

with warnings.catch_warnings():
    # The SDK warns of its own resources, of S3 above all, when its modules are first looked at.
    warnings.simplefilter("ignore")
    from components import app_release, app_servers, database, foundation, load_balancers

    USED = (app_servers, database, load_balancers)

from tests.components import recorder

# The SDK is a great many objects that never go; looking for garbage among them is a third of the
# time that a program takes.
gc.collect()
gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def built_files_go_elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Archives are built in a folder of the tests' own, not in the project's .build/."""
    scratch = tmp_path_factory.mktemp("build")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app_release, "BUILD", scratch)
        patch.setattr(foundation, "PROJECT", scratch)
        yield


@pytest.fixture(scope="session")
def an_app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An application without requirements, so that no test needs a package index."""
    folder = tmp_path_factory.mktemp("app")
    (folder / "wsgi.py").write_text("application = None\n")
    return folder


@pytest.fixture(scope="session")
def lab(an_app: Path) -> recorder.Recording:
    """The whole program with the settings of the lab's stack."""
    return recorder.site(recorder.with_app(recorder.stack_settings("lab"), an_app), stack="lab")
