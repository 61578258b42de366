"""The time axis of a run, checked by hand on a few hours."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest

from accounting.model import FactorSlot
from accounting.timeline import build_timeline

HOUR = 3600
EVER = [FactorSlot(-inf, inf, 1.2, "site")]


def slot(start_h: float, end_h: float, value: float) -> FactorSlot:
    return FactorSlot(start_h * HOUR, end_h * HOUR, value, "test")


def test_intervals_are_cut_where_a_slot_begins_and_where_a_factor_changes() -> None:
    pue = [slot(0, 1.5, 1.2), slot(1.5, 9, 1.3)]
    grid = [slot(0, 0.25, 36.0), slot(0.25, 3, 72.0)]
    timeline = build_timeline([0, HOUR, 2 * HOUR], [(0, 2 * HOUR)], pue, grid, [])
    assert timeline.edges_s.tolist() == [0, 900, 3600, 5400, 7200]
    assert timeline.slot.tolist() == [0, 0, 1, 1]
    assert timeline.pue.tolist() == [1.2, 1.2, 1.2, 1.3]
    # 36 g/kWh over 3.6e6 J/kWh is 1e-5 g/J.
    assert timeline.location_g_per_j == pytest.approx([1e-5, 2e-5, 2e-5, 2e-5], rel=1e-12)
    assert np.isnan(timeline.market_g_per_j).all()
    assert timeline.booked.all()
    assert timeline.slots == 2


def test_where_no_factor_holds_it_is_unknown_and_not_zero() -> None:
    timeline = build_timeline([0, HOUR], [(0, HOUR)], EVER, [slot(0, 0.5, 50.0)], [slot(0.5, 1, 10.0)])
    assert np.isnan(timeline.location_g_per_j).tolist() == [False, True]
    assert np.isnan(timeline.market_g_per_j).tolist() == [True, False]
    assert timeline.pue.tolist() == [1.2, 1.2]


def test_a_hole_between_two_factors_is_unknown() -> None:
    grid = [slot(0, 0.25, 50.0), slot(0.75, 1, 60.0)]
    timeline = build_timeline([0, HOUR], [(0, HOUR)], EVER, grid, [])
    assert timeline.edges_s.tolist() == [0, 900, 2700, 3600]
    assert np.isnan(timeline.location_g_per_j).tolist() == [False, True, False]


def test_the_run_covers_what_the_books_are_to_hold_and_no_more() -> None:
    timeline = build_timeline([0, HOUR, 2 * HOUR], [(600, 1800), (3000, 5000)], EVER, [], [])
    assert (timeline.start_s, timeline.end_s) == (600, 5000)
    assert timeline.edges_s.tolist() == [600, 1800, 3000, 3600, 5000]
    assert timeline.booked.tolist() == [True, False, True, True]
    assert timeline.slot.tolist() == [0, 0, 0, 1]


def test_an_edge_belongs_to_what_begins_there() -> None:
    timeline = build_timeline([0, HOUR, 2 * HOUR], [(0, 2 * HOUR)], EVER, [], [])
    assert timeline.interval_of(np.array([0.0, 3599.9, 3600.0, 7200.0])).tolist() == [0, 0, 1, 1]
