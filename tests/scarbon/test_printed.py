"""Figures under each other: the rows add up to the total exactly as they are printed, and none is off by a digit."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from math import fsum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scarbon.reports.printed import DIGITS, ENERGY_J, MASS_G, column, share_out

SIZES = dict(ENERGY_J)
FIGURES = st.one_of(st.none(), st.floats(0, 1e18), st.floats(0, 1.0), st.sampled_from([0.0, 1e-12, 3.6e6, 999_999.5]))
SIGNED = st.one_of(st.none(), st.floats(-1e12, 1e12))


def known(parts: list[float | None]) -> list[float]:
    return [part for part in parts if part is not None]


@given(st.lists(FIGURES, max_size=40))
def test_the_rows_are_the_total_as_printed(parts: list[float | None]) -> None:
    made = column(parts, fsum(known(parts)), ENERGY_J)
    assert sum(figure for figure in made.parts if figure is not None) == made.total
    assert [figure is None for figure in made.parts] == [part is None for part in parts]


@given(st.lists(SIGNED, min_size=1, max_size=40))
def test_also_where_an_adjustment_takes_something_away(parts: list[float | None]) -> None:
    made = column(parts, fsum(known(parts)), ENERGY_J)
    assert sum(figure for figure in made.parts if figure is not None) == made.total


@given(st.lists(FIGURES, max_size=40))
def test_no_row_is_off_by_a_last_digit_nor_the_total_by_half_of_one(parts: list[float | None]) -> None:
    made = column(parts, fsum(known(parts)), ENERGY_J)
    last = Fraction(1, 10**made.decimals)
    for part, figure in zip(parts, made.parts, strict=True):
        if part is not None and figure is not None:
            assert abs(Fraction(figure) - Fraction(part) / Fraction(SIZES[made.unit])) < last
    assert made.total is not None
    assert abs(Fraction(made.total) - Fraction(fsum(known(parts))) / Fraction(SIZES[made.unit])) <= last / 2


@given(st.lists(st.floats(1.0, 1e15), min_size=1, max_size=10))
def test_the_total_has_its_digits_in_a_unit_that_fits_it(parts: list[float]) -> None:
    total = column(parts, fsum(parts), ENERGY_J).total
    assert total is not None
    if fsum(parts) >= SIZES["mWh"]:
        assert len(str(total).replace(".", "").lstrip("0")) >= DIGITS
        assert 1 <= total < 1000 or fsum(parts) > 1e18


@pytest.mark.parametrize(
    ("parts", "total", "unit", "printed", "printed_total"),
    [
        # Thirds of a kilogram: 333.333 g each would make 999.9 g; the first gets the last digit.
        ([1000 / 3] * 3, 1000.0, "kg", ["0.334", "0.333", "0.333"], "1.000"),
        # 4.5555 and 5.5555 t: each alone rounds up, and makes 10.12; of equal remainders the first gets the digit.
        ([4.5555e6, 5.5555e6], 10.111e6, "t", ["4.56", "5.55"], "10.11"),
        ([1.0, None, 2.0], 3.0, "g", ["1.000", None, "2.000"], "3.000"),
        ([], 0.0, "mg", [], "0.000"),
        ([999.96], 999.96, "kg", ["1.000"], "1.000"),
        ([999.94], 999.94, "g", ["999.9"], "999.9"),
        ([5000.0, -1200.0], 3800.0, "kg", ["5.000", "-1.200"], "3.800"),
        # Rows that nearly cancel out keep their unit, which the total alone would not have.
        ([1.5e6, -1.4999e6], 100.0, "t", ["1.500", "-1.500"], "0.000"),
        ([2.5e6, -2.5e6], 0.0, "t", ["2.500", "-2.500"], "0.000"),
        # Where the total is unknown each row is rounded by itself, in the unit of the largest.
        ([1500.0, None, 0.5], None, "kg", ["1.500", None, "0.000"], None),
    ],
)
def test_by_hand(
    parts: list[float | None], total: float | None, unit: str, printed: list[str | None], printed_total: str | None
) -> None:
    made = column(parts, total, MASS_G)
    assert made.unit == unit
    assert list(made.parts) == [None if one is None else Decimal(one) for one in printed]
    assert [None if one is None else str(one) for one in made.parts] == printed
    assert (None if made.total is None else str(made.total)) == printed_total


def test_a_total_that_is_not_the_sum_is_a_fault_of_the_caller() -> None:
    with pytest.raises(ValueError, match="not the sum of its parts"):
        column([1000.0, 2000.0], 3500.0, MASS_G)
    with pytest.raises(ValueError, match="not the sum of its parts"):
        share_out([Fraction(1), Fraction(2)], 4)


def test_the_largest_remainders_get_the_last_digits() -> None:
    """Hamilton's method on 7 seats: quotas 1.2, 3.4 and 2.4 leave one seat, and 3.4 came before 2.4."""
    assert share_out([Fraction(12, 10), Fraction(34, 10), Fraction(24, 10)], 7) == [1, 4, 2]
