"""Curves: energy in closed form against hand calculation and against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.power import Curve, idle_curve, load_curve


def test_a_ramp_a_jump_and_a_level_by_hand() -> None:
    # 0→100 W over 10 s (500 J), a jump to 300 W for 5 s (1500 J), a jump to 50 W for 2 s (100 J).
    curve = Curve.from_knots([0, 10, 10, 15, 15, 17], [0, 100, 300, 300, 50, 50])
    assert curve.between(0, 10) == 500
    assert curve.between(5, 10) == 375  # 50→100 W over 5 s
    assert curve.between(10, 15) == 1500
    assert curve.between(12, 16) == 950  # 3 s of 300 W, 1 s of 50 W
    assert curve.between(0, 17) == 2100
    assert curve.power([5, 10, 14.9, 15, 16]).tolist() == [50, 300, 300, 50, 50]


def test_outside_of_its_knots_a_curve_draws_nothing() -> None:
    curve = Curve.from_knots([10, 20], [7, 7])
    assert curve.power([9.9, 20, 21]).tolist() == [0, 0, 0]
    assert curve.between(-100, 100) == 70
    assert curve.between(30, 20) == 0


def test_chained_curves_draw_nothing_between_them() -> None:
    chain = Curve.chain([Curve.from_knots([0, 10], [5, 5]), Curve.from_knots([20, 30], [8, 8])])
    assert chain.power([5, 10, 15, 20, 29]).tolist() == [5, 0, 0, 8, 8]
    assert chain.between(0, 30) == 130


@pytest.mark.parametrize("time", [[1.0], [2.0, 1.0]])
def test_knots_must_be_two_and_in_order(time: list[float]) -> None:
    with pytest.raises(ValueError, match="in order of time"):
        Curve.from_knots(time, [1.0] * len(time))


@given(
    st.lists(
        st.tuples(st.just(0.0) | st.floats(0.001, 50), st.floats(0, 500), st.floats(0, 500)), min_size=1, max_size=6
    ),  # length, first and last power of each piece
    st.floats(0, 300),
    st.floats(0, 300),
)
def test_energy_is_the_integral_of_the_power(pieces: list[tuple[float, float, float]], one: float, two: float) -> None:
    time, power, at = [], [], 0.0
    for length, first_w, last_w in pieces:
        time += [at, at + length]
        power += [first_w, last_w]
        at += length
    begin, end = min(one, two), max(one, two)
    steps = 20_000
    grid = begin + (np.arange(steps) + 0.5) * (end - begin) / steps
    curve = Curve.from_knots(time, power)
    brute_j = float(curve.power(grid).sum()) * (end - begin) / steps
    # A jump inside a step of the grid is misjudged by at most its height times the step.
    slack_j = 500.0 * (len(pieces) + 1) * (end - begin) / steps
    assert curve.between(begin, end) == pytest.approx(brute_j, abs=slack_j + 1e-6)


@pytest.mark.parametrize("length_s", [8, 47, 3600, 200_000])
def test_a_load_lasts_as_long_as_its_job_and_keeps_below_the_limit(length_s: int) -> None:
    start = 1_790_000_000
    curve = load_curve(np.random.default_rng(3), 200.0, start, start + length_s, limit_w=320.0)
    assert (curve.time_s[0], curve.time_s[-1]) == (start, start + length_s)
    assert curve.power_w.min() == 0
    assert 150 < curve.power_w.max() <= 320
    # It fills its job, but for the start and the end: at most a third of the shortest job.
    assert curve.between(start, start + length_s) > 0.6 * 200 * length_s


def test_an_idle_gpu_drifts_by_less_than_a_per_cent() -> None:
    start = 1_790_000_000
    curve = idle_curve(np.random.default_rng(3), 55.0, start, start + 30 * 86400)
    assert abs(curve.power_w / 55.0 - 1).max() < 0.01
    assert curve.power_w.std() > 0
