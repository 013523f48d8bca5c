"""The pair of databases, in sync at the beginning of each test."""

from collections.abc import Iterator

import pytest

from tests.lab.database.pair import Pair
from tests.lab.site import Site


@pytest.fixture(scope="session")
def known_pair(running_site: Site) -> Pair:
    return Pair(running_site)


@pytest.fixture
def pair(known_pair: Pair, site: Site) -> Iterator[Pair]:
    """Both machines in sync, with whatever an earlier test left undone taken back."""
    _ = site  # keeps the journals if the test fails
    known_pair.recover()
    try:
        yield known_pair
    finally:
        known_pair.undo()
