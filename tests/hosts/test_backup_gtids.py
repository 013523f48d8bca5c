"""Sets of transactions, against sets of Python's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosts.database.backup.gtids import Gtids

A, B = "3e11fa47-71ca-11e1-9e33-c80aa9429562", "4e11fa47-71ca-11e1-9e33-c80aa9429562"
plain = st.frozensets(
    st.tuples(st.sampled_from([A, B, f"{A}:tag"]), st.integers(min_value=1, max_value=30))
)


def of(members: frozenset[tuple[str, int]]) -> Gtids:
    """In MySQL's notation, one by one and in no order, and back."""
    return Gtids.parse(",".join(f"{source}:{number}" for source, number in members))


@given(plain, plain)
def test_they_are_sets(one: frozenset[tuple[str, int]], other: frozenset[tuple[str, int]]) -> None:
    first, second = of(one), of(other)
    assert first + second == of(one | other)
    assert first - second == of(one - other)
    assert (first <= second) == (one <= other)
    assert len(first) == len(one)
    assert bool(first) == bool(one)
    assert Gtids.parse(str(first)) == first


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        (f"{A}:1-5:7", f"{A}:1-5:7"),
        (f"{A}:7:1-5:6", f"{A}:1-7"),
        (f"{B}:1,\n{A.upper()}:2-2", f"{A}:2,{B}:1"),
        (f"{A}:1-3:tag:4-5", f"{A}:1-3,{A}:tag:4-5"),
    ],
)
def test_what_mysql_writes_is_read(text: str, shown: str) -> None:
    assert str(Gtids.parse(text)) == shown


@pytest.mark.parametrize("text", ["x", A, f"{A}:", f"{A}:0", f"{A}:5-4", f"{A}:1-x", "2026-11-22"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no "):
        Gtids.parse(text)
