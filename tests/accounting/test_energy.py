"""Curves from samples, each case small enough to be worked out by hand. A window is 30 s unless it says otherwise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from accounting.energy import BLANK_J, EnergyCurve, counter_over_gauge, curve_from_samples
from accounting.model import HostReadings

NAN = float("nan")
#: DCGM's blank, as a counter in J.
BLANK = 9223372036854775794 / 1000


def curve(
    energy: Sequence[tuple[float, float]] = (), power: Sequence[tuple[float, float]] = (), max_gap_s: float = 600.0
) -> EnergyCurve:
    """A curve from (time, J) and (time, W)."""
    counter, gauge = (np.array(rows, dtype=float).reshape(-1, 2) for rows in (energy, power))
    return curve_from_samples(HostReadings(counter[:, 0], counter[:, 1], gauge[:, 0], gauge[:, 1]), max_gap_s)


def used(of: EnergyCurve, start_s: float, end_s: float) -> float:
    before, after = of.energy_at(np.array([start_s, end_s]))
    return float(after - before)


def seconds(of: EnergyCurve, what: str, start_s: float, end_s: float) -> float:
    before, after = getattr(of, what)(np.array([start_s, end_s]))
    return float(after - before)


def test_between_samples_energy_is_linear() -> None:
    found = curve([(0, 1000), (30, 4000), (60, 4600)])
    assert (used(found, 0, 30), used(found, 30, 60)) == (3000, 600)
    # 100 W until 30 s, 20 W from then on: 10 s of each.
    assert used(found, 20, 40) == pytest.approx(1000 + 200)


def test_nothing_is_known_outside_of_the_samples() -> None:
    found = curve([(0, 0), (30, 3000)])
    assert used(found, -100, 0) == 0 and seconds(found, "known_at", -100, 0) == 0
    assert used(found, 30, 100) == 0 and seconds(found, "known_at", 0, 100) == 30


@pytest.mark.parametrize("energy", [[], [(0, 5)], [(0, NAN), (30, NAN)], [(0, BLANK), (30, BLANK), (60, 5)]])
def test_fewer_than_two_samples_are_no_curve(energy: list[tuple[float, float]]) -> None:
    found = curve(energy)
    assert found.empty and found.method == "none"
    assert used(found, 0, 100) == 0 and seconds(found, "measured_at", 0, 100) == 0


def test_blanks_nan_doubles_and_disorder_change_nothing() -> None:
    clean = curve([(0, 1000), (30, 4000), (60, 4600), (90, 9000)])
    dirty = curve(
        [(60, 4600), (0, 1000), (10, NAN), (30, 4000), (30, 4000), (45, BLANK), (50, -1), (90, 9000), (95, np.inf)]
    )
    assert dirty.method == "counter"
    at = np.linspace(0, 90, 19)
    assert dirty.energy_at(at) == pytest.approx(clean.energy_at(at))


def test_a_counter_in_range_is_not_taken_for_a_blank() -> None:
    assert used(curve([(0, BLANK_J - 3000), (30, BLANK_J - 1000)]), 0, 30) == pytest.approx(2000)


def test_a_wrong_sample_is_left_out() -> None:
    """A sample that says 1 MJ more for a moment: no GPU draws 33 kW, and it does not come back from there."""
    found = curve([(0, 1000), (30, 2000), (60, 1_000_000), (90, 4000), (120, 5000)])
    assert used(found, 0, 120) == 4000
    assert used(found, 30, 90) == pytest.approx(2000)


def test_a_restart_is_bridged_by_power() -> None:
    """The driver is loaded again at some time in [60, 90]. By the gauge, 100 W at 60 s and 40 W at 90 s: 2100 J."""
    found = curve(
        [(0, 9000), (30, 12000), (60, 15000), (90, 500), (120, 1700)],
        [(0, 100), (30, 100), (60, 100), (90, 40), (120, 40)],
    )
    assert used(found, 0, 60) == 6000
    assert used(found, 60, 90) == pytest.approx((100 + 40) / 2 * 30)
    assert used(found, 90, 120) == 1200
    assert found.restart_s.tolist() == [90] and seconds(found, "known_at", 0, 120) == 120
    assert found.lower_bound.up_to(np.array([120.0])) == [0]


def test_a_restart_without_power_is_a_lower_bound() -> None:
    """What the counter has since the driver was loaded, 500 J, is what is certain of [60, 90]."""
    found = curve([(0, 9000), (30, 12000), (60, 15000), (90, 500), (120, 1700)])
    assert used(found, 0, 120) == pytest.approx(6000 + 500 + 1200)
    assert found.lower_bound.up_to(np.array([60.0, 90.0, 120.0])).tolist() == [0, 30, 30]
    assert found.restart_s.tolist() == [90]
    # Up to 100 W × 30 s of it may be missing.
    assert found.doubts.variance_j2.tolist() == pytest.approx([3000.0**2])


def test_a_gauge_never_takes_from_what_the_new_counter_has() -> None:
    """The gauge saw 10 W at both samples, and the new counter has 900 J."""
    found = curve([(0, 9000), (30, 12000), (60, 900)], [(0, 10), (30, 10), (60, 10)])
    assert used(found, 30, 60) == 900


def test_two_restarts() -> None:
    found = curve([(0, 5000), (30, 8000), (60, 100), (90, 3100), (120, 40), (150, 3040)])
    assert used(found, 0, 150) == pytest.approx(3000 + 100 + 3000 + 40 + 3000)
    assert found.restart_s.tolist() == [60, 120]


def test_old_values_shown_again_are_no_samples() -> None:
    """Collected every 30 s, scraped every 15 s. A new value was collected between its scrape and the one before."""
    found = curve([(0, 1000), (15, 4000), (30, 4000), (45, 7000), (60, 7000), (75, 7300), (90, 7300)])
    assert found.time_s.tolist() == [0, 15, 37.5, 67.5]
    assert used(found, 37.5, 67.5) == pytest.approx(300)
    # Known from 0 on, and up to when the last fresh value was collected.
    assert seconds(found, "known_at", 0, 90) == 67.5
    # Anywhere in the 15 s between two scrapes: 15 / √12.
    assert found.blur_s[2:] == pytest.approx([15 / 12**0.5] * 2)


def test_a_counter_that_stands_still_from_the_beginning_may_be_old() -> None:
    found = curve([(0, 1000), (30, 1000), (60, 1000), (90, 4000), (120, 7000)])
    assert found.time_s.tolist() == [75, 120]


def test_counter_and_gauge_are_held_against_each_other() -> None:
    """100 W by the counter, 80 W by the gauge; over less than five minutes nothing is said."""
    times = np.arange(0.0, 601, 30)

    def readings(count: int) -> HostReadings:
        return HostReadings(times[:count], 100 * times[:count], times[:count], np.full(count, 80.0))

    assert counter_over_gauge(readings(21)) == pytest.approx(1.25)
    assert counter_over_gauge(readings(10)) is None
    assert counter_over_gauge(HostReadings(times, 100 * times, times[:0], times[:0])) is None


def test_power_alone_is_integrated() -> None:
    """Trapezoids: (100 + 200) / 2 × 30 J, then 200 × 30 J."""
    found = curve(power=[(0, 100), (30, 200), (60, 200)])
    assert found.method == "power"
    assert (used(found, 0, 30), used(found, 30, 60)) == (4500, 6000)


def test_blank_power_is_not_power() -> None:
    found = curve(power=[(0, 100), (30, 9.223372036854776e18), (60, 100)])
    assert used(found, 0, 60) == 6000


def test_a_gap_is_counted_and_marked() -> None:
    """900 s without a sample: its energy is known, and not measured by the site's limit of 600 s."""
    found = curve([(0, 0), (30, 3000), (930, 93000), (960, 96000)])
    assert used(found, 30, 930) == 90000
    assert seconds(found, "known_at", 0, 960) == 960
    assert seconds(found, "measured_at", 0, 960) == 60
    assert seconds(found, "measured_at", 100, 200) == 0
    assert seconds(curve([(0, 0), (30, 3000), (930, 93000)], max_gap_s=900), "measured_at", 0, 930) == 930
