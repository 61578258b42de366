"""How the sample window at an edge is divided, each rule by hand.

The device is sampled every 30 s and idles at 60 W. The window in question is [300, 330] unless it says otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import sqrt

import numpy as np
import pytest

from accounting.edges import ASSUMED_DOUBT, CLOCK_S, IDLE_DOUBT, LEVEL_DOUBT, REACH_S, Stretches
from accounting.energy import EnergyCurve, curve_from_samples
from accounting.model import HostReadings

STEP_S = 30.0


def stretches(*holds: tuple[float, float]) -> Stretches:
    """Of holds that do not overlap."""
    edges = sorted({edge for hold in holds for edge in hold})
    middles = [edges[0] - 1, *((a + b) / 2 for a, b in pairwise(edges)), edges[-1] + 1]
    held = [any(start < middle < end for start, end in holds) for middle in middles]
    begins = [any(start == edge for start, _ in holds) for edge in edges]
    return Stretches(np.array(edges), np.array(held), np.array(begins))


def curve(
    windows_w: dict[float, float], end_s: float = 900.0, gauge: Sequence[tuple[float, float]] = ()
) -> EnergyCurve:
    """Samples each 30 s from 0 on; the mean power (W) of a window by the latest of `windows_w` that has begun."""
    time_s = np.arange(0.0, end_s + 1, STEP_S)
    power_w = [windows_w[max(start for start in windows_w if start <= at)] for at in time_s[:-1]]
    energy_j = 1000.0 + np.append(0.0, np.cumsum(np.array(power_w) * STEP_S))
    shown = np.array(gauge or np.zeros((0, 2)))
    return curve_from_samples(HostReadings(time_s, energy_j, shown[:, 0], shown[:, 1]), 600.0)


def used(of: EnergyCurve, *edges_s: float) -> list[float]:
    """The energy between instants."""
    return np.diff(of.energy_at(np.array(edges_s))).tolist()


def test_idle_to_job() -> None:
    """10 s idle at 60 W; the job gets the rest of the window's 6600 J."""
    found = curve({0: 60, 300: 220, 330: 300}).refine(stretches((310, 2000)))
    assert used(found, 300, 310, 330) == pytest.approx([600, 6000])


def test_job_to_idle() -> None:
    found = curve({0: 300, 300: 220, 330: 60}).refine(stretches((-500, 320)))
    assert used(found, 300, 320, 330) == pytest.approx([6000, 600])


def test_a_short_job_inside_one_window() -> None:
    """8 s of it are the job's: 4000 J less 22 s at 60 W."""
    found = curve({0: 60, 300: 4000 / 30, 330: 60}).refine(stretches((310, 318)))
    assert used(found, 300, 310, 318, 330) == pytest.approx([600, 4000 - 22 * 60, 720])


def test_what_is_missing_is_missing_where_a_job_begins() -> None:
    """Job to job at 315 s, at 400 W and 200 W: 9000 J would be expected, 7000 J are there. The second starts up."""
    found = curve({0: 400, 300: 7000 / 30, 330: 200}).refine(stretches((-500, 315), (315, 2000)))
    assert used(found, 300, 315, 330) == pytest.approx([6000, 1000])


def test_a_job_that_begins_draws_no_less_than_the_idle_level() -> None:
    """5400 J are not enough for the first one's 6000 J: the second gets 15 s at the idle level, which is assumed."""
    found = curve({0: 400, 300: 180, 330: 200}).refine(stretches((-500, 315), (315, 2000)), 60.0)
    assert used(found, 300, 315, 330) == pytest.approx([5400 - 900, 900])


def test_what_is_too_much_is_everybodys() -> None:
    """Job to job at 315 s: 9000 J are expected, 12000 J are there; a burst may have been on either side."""
    found = curve({0: 400, 300: 400, 330: 200}).refine(stretches((-500, 315), (315, 2000)))
    assert used(found, 300, 315, 330) == pytest.approx([8000, 4000])


def test_idle_between_two_jobs_in_one_window() -> None:
    """10 s at 400 W, 10 s idle as long before, and the rest to the job that begins."""
    power_w = {0: 60, 60: 400, 300: 220, 330: 200}
    found = curve(power_w).refine(stretches((60, 310), (320, 2000)))
    assert used(found, 300, 310, 320, 330) == pytest.approx([4000, 600, 2000])


def test_an_idle_level_too_far_away_is_not_used() -> None:
    """The device was last idle at 60 s, more than the reach before [420, 450]; a level of 80 W is assumed instead."""
    found = curve({0: 60, 60: 400, 420: 220, 450: 200}).refine(stretches((60, 430), (440, 2000)), 80.0)
    assert REACH_S < 420 - 60
    assert used(found, 420, 430, 440, 450) == pytest.approx([4000, 800, 1800])


def test_a_warm_gpu_idles_as_it_does_right_after_the_job() -> None:
    """90 W in the first minute after the job, 60 W later: the 10 s in the window are at 90 W."""
    found = curve({0: 300, 300: 230, 330: 90, 390: 60}).refine(stretches((-500, 320)))
    assert used(found, 300, 320, 330) == pytest.approx([6900 - 900, 900])


def test_the_gauge_knows_a_job_that_has_no_window_of_its_own() -> None:
    """A job over [285, 310] and one from 310 s on at 200 W. The gauge at 300 s tells what the first drew to its end."""
    power_w = {0: 60, 270: 200, 300: 5500 / 30, 330: 200}
    holds = stretches((285, 310), (310, 2000))
    shown = [(270.0, 60.0), (300.0, 350.0), (330.0, 200.0)]
    assert used(curve(power_w, gauge=shown).refine(holds), 300, 310, 330) == pytest.approx([3500, 2000])
    # Five seconds after it began the gauge would show how it starts up: then both get the window's mean power.
    begun = stretches((295, 310), (310, 2000))
    mean_w = 5500 / 30
    expected = [mean_w * 10, 200 * 20.0]
    shares = [5500 * part / sum(expected) for part in expected]
    assert used(curve(power_w, gauge=shown).refine(begun), 300, 310, 330) == pytest.approx(shares)


def test_with_no_level_at_all_time_divides() -> None:
    """Three samples, an edge in each window: nothing is known on any side."""
    found = curve({0: 100, 30: 200}, end_s=60).refine(stretches((15, 45)))
    assert used(found, 0, 15, 30, 45, 60) == pytest.approx([1500, 1500, 3000, 3000])


def test_levels_that_contradict_the_meter_give_way() -> None:
    """An idle level of 60 W, and a window that has 30 W: it is divided by time."""
    found = curve({0: 60, 300: 30, 330: 300}).refine(stretches((310, 2000)))
    assert used(found, 300, 310, 330) == pytest.approx([300, 600])


def test_several_windows_each_by_its_own() -> None:
    found = curve({0: 60, 120: 140, 150: 300, 450: 180, 480: 60}).refine(stretches((140, 465)))
    assert used(found, 120, 140, 150, 450, 465, 480) == pytest.approx([1200, 3000, 90000, 4500, 900])


def test_an_edge_on_a_sample_divides_nothing() -> None:
    undivided = curve({0: 60, 300: 300})
    found = undivided.refine(stretches((300, 600)))
    assert not found.division.windows.size and used(found, 270, 300, 330) == used(undivided, 270, 300, 330) == [
        1800,
        9000,
    ]


@pytest.mark.parametrize("edge_s", [301.0, 312.5, 329.9])
def test_the_total_of_a_window_never_changes(edge_s: float) -> None:
    undivided = curve({0: 60, 300: 220, 330: 300})
    for holds in (stretches((edge_s, 2000)), stretches((-500, edge_s)), stretches((-500, edge_s), (edge_s, 2000))):
        found = undivided.refine(holds)
        assert sum(used(found, 300, edge_s, 330)) == pytest.approx(6600)
        assert min(used(found, 300, edge_s, 330)) >= 0
        assert used(found.refine(holds), 300, edge_s, 330) == used(found, 300, edge_s, 330)


def test_a_gauge_has_no_totals() -> None:
    """A gauge alone: 60 W at 300 s and 300 W at 330 s. The job began at 310 s: 10 s of the one, 20 s of the other."""
    time_s = np.arange(0.0, 601, 30)
    shown = np.where(time_s <= 300, 60.0, 300.0)
    gauge = curve_from_samples(HostReadings(np.zeros(0), np.zeros(0), time_s, shown), 600.0)
    found = gauge.refine(stretches((310, 2000)))
    assert used(found, 300, 310, 330) == pytest.approx([600, 6000])
    assert used(found, 330, 360) == pytest.approx([9000])
    assert used(gauge, 300, 330) == pytest.approx([(60 + 300) / 2 * 30])


def doubts(of: EnergyCurve) -> list[float]:
    """The standard deviations of the parts of one window: before its first edge, and after each."""
    assert of.division is not None
    return [sqrt(found) for found in (*of.division.before_j2, *of.division.after_j2) if found]


def test_two_parts_are_as_doubtful_as_the_surer_one() -> None:
    """Idle to job: 600 J idle, ±5 %, of which the job's 6000 J are the complement. And the clock: 240 W × 0.2 s."""
    found = curve({0: 60, 300: 220, 330: 300}).refine(stretches((310, 2000)))
    idle_j, job_j = IDLE_DOUBT * 600, 0.5 * 6000
    together = idle_j * job_j / np.hypot(idle_j, job_j)
    assert doubts(found) == pytest.approx([np.hypot(together, 240 * CLOCK_S)] * 2)


def test_an_assumed_idle_level_is_more_doubtful_than_a_measured_one() -> None:
    """10 s idle between two jobs, at an assumed 60 W; the first job's 4000 J ±10 %, the second gets the rest."""
    found = curve({0: 400, 300: 220, 330: 200}).refine(stretches((-500, 310), (320, 2000)), 60.0)
    own = np.array([LEVEL_DOUBT * 4000, ASSUMED_DOUBT * 600, 0.5 * 2000]) ** 2
    kept = own * (1 - own / own.sum())
    clock = np.array([(400 - 60) ** 2, (400 - 60) ** 2 + (200 - 60) ** 2, (200 - 60) ** 2]) * CLOCK_S**2
    assert doubts(found) == pytest.approx(np.sqrt(kept + clock).tolist())
