"""The soak repeats its sequence for the same seed."""

from tests.lab.soak.__main__ import plan


def test_the_same_seed_gives_the_same_faults_in_the_same_order() -> None:
    assert plan(7, 30) == plan(7, 30)
    assert plan(7, 30)[:10] == plan(7, 10)
    assert plan(7, 30) != plan(8, 30)
