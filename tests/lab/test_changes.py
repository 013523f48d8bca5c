"""Every change through plain `pulumi up` costs no request, and no entry is written twice.

What becomes of the load balancers' own addresses is in test_load_balancer_faults.
"""

from pathlib import Path

import pytest

from tests.lab import changes
from tests.lab.site import Site


@pytest.mark.thorough
@pytest.mark.parametrize("name", changes.CHANGES)
def test_a_change_and_its_undoing_lose_no_request(
    as_before: Site, tmp_path: Path, name: str
) -> None:
    site = as_before
    for load in (changes.make(site, changes.CHANGES[name], tmp_path), changes.undo(site)):
        changes.assert_nothing_lost(site, load)
