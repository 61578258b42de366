"""What stands in for numpy's own, and is faster for what the arithmetic has, says the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounting.arrays import distinct, last_before

seconds = st.integers(-(10**7), 10**7).map(lambda ms: ms / 1000)


@given(st.lists(seconds | st.integers(-5, 5).map(float), max_size=30))
def test_distinct_is_numpys_unique(values: list[float]) -> None:
    found, place = distinct(np.array(values, dtype=float))
    expected, inverse = np.unique(np.array(values, dtype=float), return_inverse=True)
    assert found.tolist() == expected.tolist() and place.tolist() == inverse.tolist()


@given(st.lists(seconds, min_size=2, max_size=30, unique=True), st.lists(seconds, max_size=30))
def test_the_last_before_is_the_one_that_a_search_finds(ordered: list[float], values: list[float]) -> None:
    among = np.array(sorted(ordered))
    asked = np.array(values + ordered)
    assert last_before(among, asked).tolist() == (np.searchsorted(among, asked, side="right") - 1).tolist()


@pytest.mark.parametrize(
    ("value", "place"), [(-1.0, -1), (0.0, 0), (29.9, 0), (30.0, 1), (30.02, 1), (59.9, 1), (900, 2)]
)
def test_the_last_before_by_hand(value: float, place: int) -> None:
    """Samples at 0, 30 and 60 s, the second of them a moment late or not."""
    assert last_before(np.array([0.0, 30.0, 60.0]), np.array([value])).tolist() == [place]
    assert last_before(np.array([0.0, 30.01, 60.0]), np.array([30.0])).tolist() == [0]
