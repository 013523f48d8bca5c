"""What tests of several files need."""

import os

import pytest

from lab import image


@pytest.fixture(scope="session")
def machine_image() -> None:
    """The image of today's recipe; about 95 s if it was not built before."""
    if os.geteuid() != 0:
        pytest.skip("entering the machine image takes root")
    image.build()
