"""Other factors on energy in the books: by hand, and what must hold whatever the hour was like."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accounting.reapply import Rates, SlotFactors, SlotPostings, reapplied

NAN = float("nan")
HOUR_S = 3600.0


def factors(
    old: Sequence[tuple[float, float]], new: Sequence[tuple[float, float]], market: tuple[float, float] = (NAN, NAN)
) -> SlotFactors:
    """An hour in equal stretches: PUE and grams a joule, before and now; one contract before, and one now."""
    edges = np.linspace(0.0, HOUR_S, len(old) + 1)

    def rates(pairs: Sequence[tuple[float, float]], contract: float) -> Rates:
        pue, location = np.array(pairs, dtype=float).T
        return Rates(pue, location, np.full(len(pairs), contract))

    return SlotFactors(edges[:-1], edges[1:], rates(old, market[0]), rates(new, market[1]))


def posting(
    energy_j: Sequence[float], hour: SlotFactors, start_s: float = 0.0, end_s: float = HOUR_S, market: bool = False
) -> SlotPostings:
    """What the books say of energy that was used so much in each stretch."""
    used = np.array(energy_j, dtype=float)
    facility = used * hour.old.pue
    return SlotPostings(
        np.array([used.sum()]),
        np.array([facility.sum()]),
        np.array([(facility * hour.old.location).sum()]),
        np.array([(facility * hour.old.market).sum() if market else NAN]),
        np.array([start_s]),
        np.array([end_s]),
    )


def now(of: SlotPostings, hour: SlotFactors) -> tuple[float, float, float]:
    """Facility energy, and grams by the grid and by the contracts, by the new factors."""
    found = reapplied(of, hour)
    return tuple(float(of.energy_j[0] * rate[0]) for rate in (found.pue, found.location, found.market))  # type: ignore[return-value]


def test_an_hour_with_one_of_each_is_exact() -> None:
    """1000 J × 1.5 × 0.02 g/J; the contract says 0.01 g/J."""
    hour = factors([(1.2, 0.05)], [(1.5, 0.02)], (0.03, 0.01))
    assert now(posting([1000.0], hour, market=True), hour) == pytest.approx((1500.0, 30.0, 15.0))


def test_two_stretches_that_the_books_tell_apart_are_exact() -> None:
    """800 J at 0.1 and 200 J at 0.3 g/J were 140 g × 1.2; at 0.05 and 0.4 g/J they are 120 g × 1.2."""
    hour = factors([(1.2, 0.1), (1.2, 0.3)], [(1.2, 0.05), (1.2, 0.4)])
    facility_j, location_g, market_g = now(posting([800.0, 200.0], hour), hour)
    assert (facility_j, location_g) == pytest.approx((1200.0, 144.0), rel=1e-12)
    assert np.isnan(market_g)


def test_a_pue_that_changed_within_the_hour_tells_them_apart_too() -> None:
    """900 J × 1.1 + 100 J × 1.4; now at 0.1 and 0.2 g/J, of which the books knew but one value."""
    hour = factors([(1.1, 0.5), (1.4, 0.5)], [(1.1, 0.1), (1.4, 0.2)])
    assert now(posting([900.0, 100.0], hour), hour)[:2] == pytest.approx((1130.0, 99.0 + 28.0), rel=1e-12)


def test_where_the_books_cannot_tell_a_job_used_its_energy_while_it_ran() -> None:
    """From 13:30 to 13:45 only the third quarter's value counts; over all of the hour it is the mean, 0.25."""
    hour = factors([(1.0, 0.5)] * 4, [(1.0, value) for value in (0.1, 0.2, 0.3, 0.4)])
    quarter = posting([0.0, 0.0, 600.0, 0.0], hour, 1800.0, 2700.0)
    assert now(quarter, hour)[1] == pytest.approx(180.0)
    assert now(posting([600.0, 0.0, 0.0, 0.0], hour), hour)[1] == pytest.approx(150.0)
    elsewhere = posting([600.0, 0.0, 0.0, 0.0], hour, -100.0, -50.0)  # by Slurm's clock it was over before
    assert now(elsewhere, hour)[1] == pytest.approx(150.0)


def test_unknown_stays_unknown_and_nothing_stays_nothing() -> None:
    hour = factors([(1.2, 0.1)], [(1.2, NAN)])
    assert np.isnan(now(posting([10.0], hour), hour)[1])
    one = factors([(1.2, 0.1), (1.2, 0.2)], [(1.2, 0.2), (1.2, 0.1)])
    unknown = SlotPostings(*(np.array([value]) for value in (NAN, NAN, NAN, NAN, 0.0, HOUR_S)))
    assert np.isnan(now(unknown, one)[0])
    nothing = SlotPostings(*(np.array([value]) for value in (0.0, 0.0, 0.0, 0.0, 0.0, HOUR_S)))
    assert now(nothing, one)[:2] == (0.0, 0.0)


def test_a_stretch_without_a_factor_in_which_nothing_was_used_tells_where_it_was_used() -> None:
    """The books know the grams, and had no intensity for the second half: so all of it was used in the first."""
    hour = factors([(1.0, 0.1), (1.0, NAN)], [(1.0, 0.2), (1.0, 0.9)])
    known = posting([100.0, 0.0], factors([(1.0, 0.1), (1.0, 0.0)], [(1.0, 0.2)] * 2))
    assert now(known, hour)[1] == pytest.approx(20.0)


values = st.floats(min_value=0.001, max_value=1.0)
stretches = st.integers(min_value=1, max_value=6)


@given(data=st.data(), many=stretches, scale=st.floats(0.1, 3.0), shift=st.floats(0.0, 0.5))
@settings(max_examples=60, deadline=None)
def test_factors_that_differ_by_a_factor_and_an_amount_are_exact(
    data: st.DataObject, many: int, scale: float, shift: float
) -> None:
    """Whatever the job used in each stretch, of which the books keep the sums."""
    old = [(1.2, data.draw(values)) for _ in range(many)]
    new = [(1.5, value * scale + shift) for _, value in old]
    used = [data.draw(st.floats(min_value=0.0, max_value=1000.0)) for _ in range(many)]
    hour = factors(old, new)
    facility_j, location_g, _ = now(posting(used, hour), hour)
    exact_g = sum(energy_j * 1.5 * value for energy_j, (_, value) in zip(used, new, strict=True))
    assert facility_j == pytest.approx(sum(used) * 1.5, rel=1e-9)
    assert location_g == pytest.approx(exact_g, rel=1e-6, abs=1e-9)


@given(data=st.data(), many=stretches)
@settings(max_examples=60, deadline=None)
def test_the_same_factors_give_the_same_figures(data: st.DataObject, many: int) -> None:
    same = [(data.draw(st.floats(1.0, 2.0)), data.draw(values)) for _ in range(many)]
    used = [data.draw(st.floats(min_value=0.0, max_value=1000.0)) for _ in range(many)]
    hour = factors(same, same, (0.2, 0.2))
    of = posting(used, hour, market=True)
    said = float(of.facility_j[0]), float(of.location_g[0]), float(of.market_g[0])
    assert now(of, hour) == pytest.approx(said, rel=1e-12, abs=1e-12)


@given(data=st.data(), many=stretches)
@settings(max_examples=60, deadline=None)
def test_a_mean_factor_lies_among_those_that_it_is_the_mean_of(data: st.DataObject, many: int) -> None:
    old, new = ([(1.2, data.draw(values)) for _ in range(many)] for _ in range(2))
    used = [data.draw(st.floats(min_value=0.0, max_value=1000.0)) for _ in range(many)]
    hour = factors(old, new)
    facility_j, location_g, _ = now(posting(used, hour), hour)
    least, most = (pick(value for _, value in new) for pick in (min, max))
    assert least * facility_j - 1e-9 <= location_g <= most * facility_j + 1e-9
