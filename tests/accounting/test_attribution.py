"""Who pays for what, each rule of sharing by hand.

A GPU draws a constant power, sampled every 30 s, over one or more hours of the UTC calendar; PUE is 1.5 and the grid
has 100 g/kWh, so that a kilowatt-hour of IT energy is 150 g.
"""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from accounting.arrays import Floats
from accounting.attribution import Balance, Holds, Usage, attribute, spread
from accounting.clock import slot_edges
from accounting.energy import EnergyCurve, curve_from_samples
from accounting.model import FactorSlot, HostReadings
from accounting.sharing import Activity, IdleLevels, activity_of, idle_levels
from accounting.timeline import Timeline, build_timeline

HOUR_S = 3600
START_S = 1_790_000_000 // HOUR_S * HOUR_S
J_PER_KWH = 3.6e6


def hours(count: int, start_s: int = START_S) -> Timeline:
    edges = [start_s + HOUR_S * hour for hour in range(count + 1)]
    return build_timeline(edges, [(edges[0], edges[-1])], factor(1.5), factor(100.0), factor(100.0))


def factor(value: float) -> list[FactorSlot]:
    return [FactorSlot(0.0, 1e12, value, "by hand")]


def constant(power_w: float, seconds: float = HOUR_S, since_s: float = START_S) -> EnergyCurve:
    """A curve from samples that begin 30 s before and end 30 s after."""
    time_s = np.arange(since_s - 30, since_s + seconds + 31, 30.0)
    return curve_from_samples(HostReadings(time_s, 5e6 + power_w * (time_s - time_s[0]), np.zeros(0), np.zeros(0)), 600)


def holds(*rows: tuple[int, float, float, float], activity: Activity | None = None) -> Holds:
    """From (attempt, start and end in s after the hour, capacity)."""
    table = np.array(rows, dtype=float).reshape(-1, 4)
    return Holds(table[:, 0].astype(np.intp), START_S + table[:, 1], START_S + table[:, 2], table[:, 3], None, activity)


def by_attempt(usage: Usage, name: str = "energy_j") -> dict[int, float]:
    return {
        int(one): float(getattr(usage, name)[usage.attempt == one].sum()) for one in np.unique(usage.attempt).tolist()
    }


def idle_j(balance: Balance) -> float:
    return float(balance.idle_j.sum())


def test_a_whole_gpu_is_its_only_holders_used_or_not() -> None:
    """60 W all the time: half an hour of it is the job's, though it may have done nothing; the rest is the site's."""
    usage, balance = attribute(constant(60), holds((7, 0, 1800, 1.0)), hours(1), None)
    assert by_attempt(usage) == {7: pytest.approx(60 * 1800)}
    assert by_attempt(usage, "held_s") == by_attempt(usage, "measured_s") == {7: pytest.approx(1800)}
    assert idle_j(balance) == pytest.approx(60 * 1800) and balance.idle_s.tolist() == [1800]
    assert balance.metered_j.tolist() == pytest.approx([60 * 3600])
    # 0.03 kWh × 1.5 × 100 g.
    assert by_attempt(usage, "location_g") == {7: pytest.approx(0.03 * 150)}
    assert balance.idle_location_g.tolist() == pytest.approx([0.03 * 150])


def test_a_gpu_that_nobody_held() -> None:
    usage, balance = attribute(constant(60), holds(), hours(1), None)
    assert not usage.attempt.size
    assert idle_j(balance) == pytest.approx(216000) and balance.idle_s.tolist() == [3600]


#: The worked example of docs/attribution.md: two 3g.20gb instances of a GPU that idles at 70 W.
EXAMPLE_IDLE_W = 70.0
PART = 3 / 7


def test_two_instances_one_held() -> None:
    """150 W. The holder owes 3/7 of the 70 W and all of the 80 W above; 4/7 of the 70 W are the site's."""
    usage, balance = attribute(constant(150), holds((1, 0, 3600, PART)), hours(1), EXAMPLE_IDLE_W)
    assert by_attempt(usage) == {1: pytest.approx((30 + 80) * 3600)}
    assert idle_j(balance) == pytest.approx(40 * 3600)
    assert balance.idle_s.tolist() == pytest.approx([4 / 7 * 3600])


def test_two_instances_both_held_and_not_profiled() -> None:
    """250 W. Each owes 30 W of the idle level and, by capacity, half of the 180 W above; 1/7 of 70 W is the site's."""
    usage, balance = attribute(constant(250), holds((1, 0, 3600, PART), (2, 0, 3600, PART)), hours(1), EXAMPLE_IDLE_W)
    assert by_attempt(usage) == {1: pytest.approx(120 * 3600), 2: pytest.approx(120 * 3600)}
    assert idle_j(balance) == pytest.approx(10 * 3600)


def test_two_instances_both_held_and_profiled() -> None:
    """250 W, engines active for 75 % and 25 % of the time: 135 W and 45 W of the 180 W above the idle level."""
    curve = constant(250)
    shown = (curve.time_s, np.full(curve.time_s.size, 0.75)), (curve.time_s, np.full(curve.time_s.size, 0.25))
    both = holds((1, 0, 3600, PART), (2, 0, 3600, PART))
    activity = activity_of(curve, list(shown), np.array([PART, PART]), np.array([0, 1]), (both.start_s, both.end_s))
    held = holds((1, 0, 3600, PART), (2, 0, 3600, PART), activity=activity)
    usage, balance = attribute(curve, held, hours(1), EXAMPLE_IDLE_W)
    assert by_attempt(usage) == {1: pytest.approx(165 * 3600), 2: pytest.approx(75 * 3600)}
    assert idle_j(balance) == pytest.approx(10 * 3600)


def test_two_instances_none_held() -> None:
    usage, balance = attribute(constant(70), holds(), hours(1), EXAMPLE_IDLE_W)
    assert not usage.attempt.size and idle_j(balance) == pytest.approx(70 * 3600)


def test_the_worked_example_is_the_one_in_the_docs() -> None:
    """The rows of docs/attribution.md say what the tests above say."""
    page = (Path(__file__).parents[2] / "docs" / "attribution.md").read_text(encoding="utf-8")
    lines = [line.strip("|") for line in page.splitlines() if re.match(r"\| \d+ W", line)]
    rows = [line.split("|") for line in lines]
    shown = [[re.findall(r"([\d.]+) W", cell)[-1:] for cell in (row[0], *row[2:])] for row in rows]
    assert shown == [
        [["150"], ["110"], [], ["40"]],
        [["250"], ["120"], ["120"], ["10"]],
        [["250"], ["165"], ["75"], ["10"]],
        [["70"], [], [], ["70"]],
    ]


def profiled(curve: EnergyCurve, *rows: tuple[int, float, float, float, int], values: list[Floats]) -> Holds:
    """Holds with the number of their instance, whose activity at the curve's samples is `values`."""
    held = holds(*(row[:4] for row in rows))
    part = np.array([row[4] for row in rows], dtype=np.intp)
    series = [(curve.time_s, value) for value in values]
    slices = np.array([3 / 7, 1 / 7, 1 / 7][: len(values)])
    return holds(
        *(row[:4] for row in rows), activity=activity_of(curve, series, slices, part, (held.start_s, held.end_s))
    )


def test_activity_counts_by_slices() -> None:
    """Both engines were always active: 3 slices to 1 of the 200 W above the idle level of 70 W."""
    curve = constant(270)
    ones = np.ones(curve.time_s.size)
    held = profiled(curve, (1, 0, 3600, 3 / 7, 0), (2, 0, 3600, 1 / 7, 1), values=[ones, ones])
    usage, _ = attribute(curve, held, hours(1), EXAMPLE_IDLE_W)
    assert by_attempt(usage) == {1: pytest.approx((30 + 150) * 3600), 2: pytest.approx((10 + 50) * 3600)}


def test_without_one_holders_activity_capacity_counts() -> None:
    """For half an hour the second instance has no sample: 3 to 1 by capacity; then 50 % of 3/7 to 100 % of 1/7."""
    curve = constant(270)
    half = np.full(curve.time_s.size, 0.5)
    late = np.where(curve.time_s <= START_S + 1800, np.nan, 1.0)
    held = profiled(curve, (1, 0, 3600, 3 / 7, 0), (2, 0, 3600, 1 / 7, 1), values=[half, late])
    usage, _ = attribute(curve, held, hours(1), EXAMPLE_IDLE_W)
    above = 200 * (1800 * 3 / 4 + 1800 * 1.5 / 2.5)
    assert by_attempt(usage)[1] == pytest.approx(30 * 3600 + above)


def test_nobody_active_is_by_capacity() -> None:
    curve = constant(80)
    zeros = np.zeros(curve.time_s.size)
    held = profiled(curve, (1, 0, 3600, 3 / 7, 0), (2, 0, 3600, 1 / 7, 1), values=[zeros, zeros])
    usage, _ = attribute(curve, held, hours(1), EXAMPLE_IDLE_W)
    assert by_attempt(usage) == {1: pytest.approx((30 + 7.5) * 3600), 2: pytest.approx((10 + 2.5) * 3600)}


def test_what_an_instance_did_is_of_the_time_that_it_was_held() -> None:
    """In the window [0, 30] the second instance was active for 20 % and held for its last 10 s: 60 % of that time.

    The device drew 70 W idle, 142 W with the first alone (slices 3/7 at 100 %), and 160 W with both from 20 s on.
    """
    time_s = np.arange(START_S - 330, START_S + 361, 30.0)
    energy_j = 142.0 * (time_s - time_s[0]) + np.clip(time_s - (START_S + 20), 0, None) * 14.4
    curve = curve_from_samples(HostReadings(time_s, energy_j, np.zeros(0), np.zeros(0)), 600)
    first = np.ones(time_s.size)
    second = np.where(time_s <= START_S, 0.0, np.where(time_s == START_S + 30, 0.2, 0.6))
    held = profiled(curve, (1, -330, 360, 3 / 7, 0), (2, 20, 360, 1 / 7, 1), values=[first, second])
    edges = [START_S, START_S + 30]
    minute = build_timeline(edges, [(edges[0], edges[1])], factor(1.5), factor(100.0), factor(100.0))
    usage, _ = attribute(curve, held, minute, EXAMPLE_IDLE_W)
    # The second drew 14.4 W above the idle level over 10 s, and owes 1/7 of it.
    assert by_attempt(usage)[2] == pytest.approx((14.4 + 10) * 10)


def test_three_thirds_leave_nothing_to_the_idle_line() -> None:
    usage, balance = attribute(constant(90), holds(*((n, 0, 3600, 1 / 3) for n in range(3))), hours(1), 60.0)
    assert by_attempt(usage) == {n: pytest.approx(30 * 3600) for n in range(3)}
    assert idle_j(balance) == pytest.approx(0, abs=1e-9) and balance.overheld_s.tolist() == [0]


def test_several_holders_of_a_whole_gpu_share_alike_and_are_counted() -> None:
    """300 W, of which 60 W idle, over 20 min together, and 40 min of one of them alone."""
    usage, balance = attribute(constant(300), holds((1, 0, 3600, 1.0), (2, 0, 1200, 1.0)), hours(1), 60.0)
    assert by_attempt(usage) == {1: pytest.approx(300 * (600 + 2400)), 2: pytest.approx(300 * 600)}
    assert by_attempt(usage, "held_s") == {1: pytest.approx(3000), 2: pytest.approx(600)}
    assert balance.overheld_s.tolist() == [1200] and idle_j(balance) == 0


def test_less_than_the_idle_level_is_all_idle_level() -> None:
    """50 W on a device that idles at 70 W: by capacity, and never less than nothing for anybody."""
    usage, balance = attribute(constant(50), holds((1, 0, 3600, PART)), hours(1), EXAMPLE_IDLE_W)
    assert by_attempt(usage) == {1: pytest.approx(50 * PART * 3600)}
    assert idle_j(balance) == pytest.approx(50 * 4 / 7 * 3600)


def test_without_an_idle_level_the_holder_pays() -> None:
    usage, balance = attribute(constant(150), holds((1, 0, 3600, PART)), hours(1), None)
    assert by_attempt(usage) == {1: pytest.approx(150 * 3600)}
    assert idle_j(balance) == 0 and balance.assumed_s.tolist() == [3600]


def test_the_idle_level_is_the_one_that_was_measured_last() -> None:
    """Free at 60 W for 10 min, shared at 150 W, free at 80 W for 10 min, shared at 150 W again."""
    time_s = np.arange(START_S - 600, START_S + 3601, 30.0)
    power_w = np.where(time_s < START_S, 60.0, 150.0)
    power_w[(time_s >= START_S + 1200) & (time_s < START_S + 1800)] = 80.0
    energy_j = np.append(0.0, np.cumsum(power_w[:-1] * 30))
    curve = curve_from_samples(HostReadings(time_s, energy_j, np.zeros(0), np.zeros(0)), 600)
    held = holds((1, 0, 1200, 0.5), (2, 1800, 3600, 0.5))
    levels = idle_levels(curve, held.stretches, START_S - 600, None)
    assert levels.since_s.tolist() == [START_S, START_S + 1800] and levels.level_w.tolist() == pytest.approx([60, 80])
    usage, balance = attribute(curve, held, hours(1), levels)
    assert by_attempt(usage) == {
        1: pytest.approx((30 + 90) * 1200),
        2: pytest.approx((40 + 70) * 1800),
    }
    assert balance.assumed_s.tolist() == [0]


def test_an_assumed_idle_level_is_counted() -> None:
    nothing = np.zeros(0)
    usage, balance = attribute(constant(150), holds((1, 0, 1800, 0.5)), hours(1), IdleLevels(nothing, nothing, 60.0))
    assert by_attempt(usage) == {1: pytest.approx((30 + 90) * 1800)}
    # The other half hour nobody held it, and there is nothing to assume.
    assert balance.assumed_s.tolist() == [1800]


def test_an_hour_is_divided_at_its_end() -> None:
    """A job over [0:50, 1:20] at 120 W: ten minutes in the first hour, twenty in the second."""
    usage, _ = attribute(constant(120, 7200), holds((1, 3000, 4800, 1.0)), hours(2), None)
    assert usage.slot.tolist() == [0, 1]
    assert usage.energy_j.tolist() == pytest.approx([120 * 600, 120 * 1200])


def test_a_day_of_25_hours() -> None:
    """Paris, 25 October 2026: two hours are called 02:00. A job all day long at 100 W uses 2.5 kWh in 25 slots."""
    paris = ZoneInfo("Europe/Paris")
    start_s = datetime(2026, 10, 25, tzinfo=paris).timestamp()
    end_s = datetime(2026, 10, 26, tzinfo=paris).timestamp()
    edges = slot_edges(paris, start_s, end_s)
    timeline = build_timeline(edges, [(start_s, end_s)], factor(1.0), factor(100.0), factor(100.0))
    held = Holds(np.array([0]), np.array([start_s]), np.array([end_s]), np.ones(1))
    usage, balance = attribute(constant(100, end_s - start_s, start_s), held, timeline, None)
    assert usage.slot.tolist() == list(range(25)) and balance.metered_j.tolist() == pytest.approx([360_000.0] * 25)
    assert usage.energy_j.sum() / J_PER_KWH == pytest.approx(2.5)
    assert usage.location_g.sum() == pytest.approx(250)


def test_time_without_samples_is_held_and_not_known() -> None:
    """The samples end after half an hour."""
    usage, balance = attribute(constant(100, 1770), holds((1, 0, 3600, 1.0)), hours(1), None)
    assert by_attempt(usage, "held_s") == {1: 3600} and by_attempt(usage, "known_s") == {1: 1800}
    assert by_attempt(usage) == {1: pytest.approx(180_000)} and balance.known_s.tolist() == [1800]


def test_nothing_known_is_unknown_and_not_nothing() -> None:
    usage, balance = attribute(EnergyCurve.unknown(), holds((1, 0, 3600, 1.0)), hours(1), None)
    assert np.isnan(usage.energy_j).all() and np.isnan(usage.location_g).all()
    assert usage.held_s.tolist() == [3600] and balance.known_s.tolist() == [0]


def test_an_unknown_factor_leaves_emissions_unknown_and_energy_known() -> None:
    edges = [START_S, START_S + HOUR_S]
    timeline = build_timeline(edges, [(edges[0], edges[1])], factor(1.5), [], factor(100.0))
    usage, balance = attribute(constant(100), holds((1, 0, 3600, 1.0)), timeline, None)
    assert usage.energy_j.tolist() == pytest.approx([360_000]) and np.isnan(usage.location_g).all()
    assert usage.market_g.tolist() == pytest.approx([15.0])
    # The idle line has no energy, and so no emissions, whatever the factor is.
    assert balance.idle_location_g.tolist() == [0]


def test_restarts_and_lower_bounds_are_counted_by_slot() -> None:
    time_s = np.arange(START_S - 30, START_S + 7231, 30.0)
    energy_j = 1e6 + 100 * (time_s - time_s[0])
    after = time_s > START_S + 4000  # loaded again at 1:06:40
    energy_j[after] = 100 * (time_s[after] - START_S - 4000)
    curve = curve_from_samples(HostReadings(time_s, energy_j, np.zeros(0), np.zeros(0)), 600)
    _, balance = attribute(curve, holds(), hours(2), None)
    assert balance.restarts.tolist() == [0, 1] and balance.lower_bound_s.tolist() == [0, 30]


def test_the_gauge_is_kept_beside_the_counter() -> None:
    """The gauge says 110 W where the counter says 100 W; in the second hour it is silent for ten minutes."""
    time_s = np.arange(START_S - 30, START_S + 7231, 30.0)
    shown = (time_s < START_S + 5000) | (time_s > START_S + 5600)
    readings = HostReadings(time_s, 100 * time_s, time_s[shown], np.full(int(shown.sum()), 110.0))
    _, balance = attribute(curve_from_samples(readings, 600), holds(), hours(2), None)
    assert balance.gauge_j[0] == pytest.approx(110 * 3600) and np.isnan(balance.gauge_j[1])


def test_the_doubt_about_sharing() -> None:
    """By capacity, of the 180 W above the idle level each half may be all of the other's: 1.0 × ½ × ½ of it."""
    usage, _ = attribute(constant(250), holds((1, 0, 3600, PART), (2, 0, 3600, PART)), hours(1), EXAMPLE_IDLE_W)
    above_j, base_j = 180 * 3600, 70 * 3600
    expected = np.hypot(0.25 * above_j, (PART - 0.5) * 0.05 * base_j)
    assert usage.sharing_j.tolist() == pytest.approx([expected, expected])
    alone, _ = attribute(constant(250), holds((1, 0, 3600, 1.0)), hours(1), None)
    assert alone.sharing_j.tolist() == [0]


def test_spread_is_constant_power_by_slot() -> None:
    """200 W over [0:30, 1:15], and a job of unknown power over the first ten minutes."""
    usage = spread(
        np.array([1, 2]), np.array([START_S + 1800.0, START_S]), np.array([START_S + 4500.0, START_S + 600]),
        np.array([200.0, np.nan]), hours(2),
    )  # fmt: skip
    assert usage.attempt.tolist() == [1, 1, 2] and usage.slot.tolist() == [0, 1, 0]
    assert usage.energy_j[:2].tolist() == pytest.approx([200 * 1800, 200 * 900]) and np.isnan(usage.energy_j[2])
    assert usage.held_s.tolist() == [1800, 900, 600] and usage.known_s.tolist() == [1800, 900, 0]
