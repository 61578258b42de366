"""Power over time, by hand: a GPU that draws 100 W idle and 300 W while it is held, read every ten seconds."""

from __future__ import annotations

import numpy as np
import pytest

from accounting.course import power_course
from accounting.model import Device, GpuSamples

HELD = (1000.0, 1200.0)


def gpu(uuid: str, times: np.ndarray, held: tuple[float, float] = HELD) -> GpuSamples:
    """Its counter in J."""
    energy_j = 100.0 * times + 200.0 * np.clip(times - held[0], 0, held[1] - held[0])
    return GpuSamples(Device("alpha", uuid, "n1"), times, energy_j, np.zeros(0), np.zeros(0))


TIMES = np.arange(900.0, 1301.0, 10.0)


def test_it_is_the_power_while_it_was_held() -> None:
    course = power_course([gpu("GPU-1", TIMES)], {"GPU-1": [HELD]}, max_gap_s=60)
    assert course is not None
    assert (course.time_s[0], course.time_s[-1], course.power_w.size) == (1000, 1200, 20)
    assert course.power_w == pytest.approx(np.full(20, 300.0))
    assert course.energy_j == pytest.approx(60_000)


def test_several_gpus_are_drawn_together_while_each_was_held() -> None:
    spans = {"GPU-1": [HELD], "GPU-2": [(1100.0, 1200.0)]}
    samples = [gpu("GPU-1", TIMES), gpu("GPU-2", TIMES, (1100.0, 1200.0)), gpu("GPU-3", TIMES)]
    course = power_course(samples, spans, max_gap_s=60)
    assert course is not None
    assert course.power_w == pytest.approx([300.0] * 10 + [600.0] * 10)


def test_a_hold_that_begins_between_two_samples_is_divided_there() -> None:
    """Of the window from 990 to 1000 the last 5 s are the job's, at its own 300 W."""
    held = (995.0, 1200.0)
    course = power_course([gpu("GPU-1", TIMES, held)], {"GPU-1": [held]}, max_gap_s=60)
    assert course is not None
    assert course.power_w == pytest.approx(300.0, rel=1e-6)


def test_a_gap_is_a_hole() -> None:
    times = TIMES[(TIMES <= 1050) | (TIMES >= 1150)]
    course = power_course([gpu("GPU-1", times)], {"GPU-1": [HELD]}, max_gap_s=60)
    assert course is not None
    unknown = np.isnan(course.power_w)
    assert unknown.tolist() == [False] * 5 + [True] * 10 + [False] * 5


def test_no_more_points_than_asked_for() -> None:
    course = power_course([gpu("GPU-1", TIMES)], {"GPU-1": [HELD]}, max_gap_s=60, most_bins=4)
    assert course is not None and course.power_w == pytest.approx(np.full(4, 300.0))


def test_nothing_is_no_course() -> None:
    assert power_course([], {"GPU-1": [HELD]}, max_gap_s=60) is None
    late = np.arange(2000.0, 2100.0, 10.0)
    assert power_course([gpu("GPU-1", late)], {"GPU-1": [HELD]}, max_gap_s=60) is None
