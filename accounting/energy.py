"""The energy of a device as a cumulative curve E(t), from the raw samples of its counter and its power.

First step of the arithmetic: samples in, a curve out; `attribution` then asks the curve for E(b) − E(a).

Between two samples (a *window*) the counter says how much energy was used but not when. Where nothing begins or
ends inside the window, linear interpolation is all that can be said. Where a hold begins or ends inside it, more is
known: what the device draws while idle, and what the job drew in its own full windows. `EnergyCurve.refine` divides
such a window by that knowledge, which is what makes short jobs right.

**Independence of chunks.** Levels are read only from full windows that lie within `REACH_S` of the divided window.
A caller that reads samples and holds `MARGIN_S` beyond each end of its period gets, for every instant of the period,
the same curve whatever the period is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from accounting.arrays import Floats, Indices, sum_by
from accounting.model import Method, Readings

#: How far from a divided window the levels on its two sides are read. Short enough to follow a job's phases and a GPU
#: that cools down after a job, long enough to average bursts: ten samples at DCGM's default of 30 s.
REACH_S = 300.0

#: How much more than its period a caller reads on each side: the divided window itself, the levels of its parts
#: (`REACH_S`), and once more where such a level comes from the nearest idle stretch, which has a reach of its own.
MARGIN_S = 2 * REACH_S + 120.0

#: No GPU of the hardware table draws more than 1,200 W: a counter that moves faster than this is not believed.
MAX_GPU_POWER_W = 3_000.0

#: DCGM marks a value that it does not have with numbers from 2^47 (fp64) or 2^63 − 16 (int64) upwards. A counter
#: would get to 2^47 mJ after four years at 1 kW without a driver reload.
BLANK_J = 2.0**47 / 1000.0
BLANK_W = 2.0**20


@dataclass(frozen=True, slots=True)
class EnergyCurve:
    """Cumulative energy of one device over its sample windows.

    `time_s` (n+1) are the windows' edges, strictly increasing; `energy_j` (n+1) the energy used since `time_s[0]`;
    `measured_s` (n+1) the seconds since `time_s[0]` that lie in windows no longer than the site's limit;
    `knot_time_s`, `knot_energy_j` replace the straight line inside the windows that `refine` has divided.
    Before the first and after the last sample nothing is known.
    """

    time_s: Floats
    energy_j: Floats
    measured_s: Floats
    lower_bound_s: Floats  # cumulative seconds whose energy is only a lower bound (a restart without power samples)
    knot_time_s: Floats
    knot_energy_j: Floats
    divided: Indices  # the indices of the divided windows, increasing
    method: Method

    @classmethod
    def unknown(cls) -> EnergyCurve:
        """The curve of a device of which nothing is known."""
        nothing = np.zeros(0)
        return cls(nothing, nothing, nothing, nothing, nothing, nothing, np.zeros(0, dtype=np.intp), "none")

    @property
    def empty(self) -> bool:
        """Whether nothing at all is known of the device."""
        return self.time_s.size < 2

    def energy_at(self, time_s: Floats) -> Floats:
        """E(t) in J since the first sample; outside the samples the curve is flat (nothing is known there)."""
        if self.empty:
            return np.zeros_like(time_s)
        values = np.interp(time_s, self.time_s, self.energy_j)
        if self.divided.size:
            window = np.searchsorted(self.time_s, time_s, side="right") - 1
            at = np.searchsorted(self.divided, window)
            inside = (at < self.divided.size) & (self.divided[np.minimum(at, self.divided.size - 1)] == window)
            values[inside] = np.interp(time_s[inside], self.knot_time_s, self.knot_energy_j)
        return values

    def known_at(self, time_s: Floats) -> Floats:
        """Seconds up to t for which the energy is known in some way: t clipped to the samples."""
        if self.empty:
            return np.zeros_like(time_s)
        clipped: Floats = np.clip(time_s, self.time_s[0], self.time_s[-1])
        known_s: Floats = clipped - self.time_s[0]
        return known_s

    def measured_at(self, time_s: Floats) -> Floats:
        """Seconds up to t in windows no longer than the site's limit: what counts as measured."""
        if self.empty:
            return np.zeros_like(time_s)
        return np.interp(time_s, self.time_s, self.measured_s)

    def refine(self, edges_s: Floats, held: NDArray[np.bool_]) -> EnergyCurve:
        """Divide each window in which a hold begins or ends by what is known on both sides.

        `edges_s` (m, increasing) are the instants at which the device's holders change; `held` (m+1) says whether
        somebody holds the device before the first edge, between them, and after the last one.

        Inside a window, an idle part gets the idle level of its own idle stretch (else of the nearest one within
        `REACH_S`), a held part whose stretch has full windows nearby its level there, and what is left goes to the
        parts of which nothing else is known (by time). Where every part has a level, idle parts get theirs and
        the held ones share the rest in proportion to what their levels say. The window's own total never changes.
        """
        if self.empty or not edges_s.size:
            return self
        return _divide_windows(self, edges_s, held)


def curve_from_samples(samples: Readings, max_gap_s: float, most_w: float = MAX_GPU_POWER_W) -> EnergyCurve:
    """The curve of a device from its counter, or from its power where there is no counter.

    Samples may be out of order or doubled; blanks, NaN and a counter faster than `most_w` are left out. A fall of the
    counter is a restart of the driver: what lies across it comes from the power samples, and without them
    from the new counter's value, which is a lower bound and counted as such.
    """
    counter_s, counter_j = _clean(samples.energy_time_s, samples.energy_j, BLANK_J)
    power_s, power_w = _clean(samples.power_time_s, samples.power_w, BLANK_W)
    if counter_s.size >= 2:
        counter_s, counter_j = _drop_glitches(counter_s, counter_j, most_w)
    if counter_s.size < 2:
        return _curve_from_power(power_s, power_w, max_gap_s)
    used_j = np.diff(counter_j)
    lower_bound = np.zeros(used_j.size, dtype=bool)
    for window in np.flatnonzero(used_j < 0):
        start_s, end_s = counter_s[window], counter_s[window + 1]
        by_power = _power_integral(power_s, power_w, start_s, end_s)
        lower_bound[window] = by_power is None
        used_j[window] = counter_j[window + 1] if by_power is None else max(by_power, counter_j[window + 1])
    return curve_from_windows(counter_s, used_j, lower_bound, max_gap_s, "counter")


def _clean(time_s: Floats, value: Floats, blank: float) -> tuple[Floats, Floats]:
    """In order of time, one sample an instant, without NaN, negatives and DCGM's blanks."""
    good = np.isfinite(value) & (value >= 0) & (value < blank)
    if not good.all():
        time_s, value = time_s[good], value[good]
    steps = np.diff(time_s)
    if not (steps > 0).all():
        time_s, first = np.unique(time_s, return_index=True)
        value = value[first]
    return time_s, value


def _drop_glitches(time_s: Floats, counter_j: Floats, most_w: float) -> tuple[Floats, Floats]:
    """Leave out samples that neither a running counter nor a restart explains.

    A counter that rises by more than `most_w` allows, or that falls to more than it could have counted since,
    is wrong at one of the two samples: at the later one if leaving it out mends the curve, else at the earlier one.
    """
    for _ in range(counter_j.size):
        step_j, step_s = np.diff(counter_j), np.diff(time_s)
        most_j = step_s * most_w
        bad = np.flatnonzero((step_j > most_j) | ((step_j < 0) & (counter_j[1:] > most_j)))
        if not bad.size:
            break
        window = int(bad[0])
        mended = window + 2 < counter_j.size and _believable(
            counter_j[window], counter_j[window + 2], float(time_s[window + 2] - time_s[window]) * most_w
        )
        wrong = window + 1 if mended or window + 2 >= counter_j.size else window
        time_s, counter_j = np.delete(time_s, wrong), np.delete(counter_j, wrong)
    return time_s, counter_j


def _believable(before_j: float, after_j: float, most_j: float) -> bool:
    return bool(0 <= after_j - before_j <= most_j or (after_j < before_j and after_j <= most_j))


def _power_integral(power_s: Floats, power_w: Floats, start_s: float, end_s: float) -> float | None:
    """Trapezoids over [start_s, end_s], or None where fewer than two samples lie in it or beside it."""
    if power_s.size < 2 or power_s[0] > start_s or power_s[-1] < end_s:
        return None
    inside = (power_s > start_s) & (power_s < end_s)
    time_s = np.concatenate(([start_s], power_s[inside], [end_s]))
    return float(np.trapezoid(np.interp(time_s, power_s, power_w), time_s))


def _curve_from_power(power_s: Floats, power_w: Floats, max_gap_s: float) -> EnergyCurve:
    if power_s.size < 2:
        return EnergyCurve.unknown()
    used_j = np.diff(power_s) * (power_w[1:] + power_w[:-1]) / 2
    return curve_from_windows(power_s, used_j, np.zeros(used_j.size, dtype=bool), max_gap_s, "power")


def curve_from_windows(
    time_s: Floats, used_j: Floats, lower_bound: NDArray[np.bool_], max_gap_s: float, method: Method
) -> EnergyCurve:
    """The curve that used `used_j` (n, J) in the windows between `time_s` (n+1)."""
    length_s = np.diff(time_s)
    nothing = np.zeros(0)
    return EnergyCurve(
        time_s=time_s,
        energy_j=_running_sum(used_j),
        measured_s=_running_sum(np.where(length_s <= max_gap_s, length_s, 0.0)),
        lower_bound_s=_running_sum(np.where(lower_bound, length_s, 0.0)),
        knot_time_s=nothing,
        knot_energy_j=nothing,
        divided=np.zeros(0, dtype=np.intp),
        method=method,
    )


def _running_sum(values: Floats) -> Floats:
    total = np.empty(values.size + 1)
    total[0] = 0.0
    np.cumsum(values, out=total[1:])
    return total


def _divide_windows(curve: EnergyCurve, edges_s: Floats, held: NDArray[np.bool_]) -> EnergyCurve:
    time_s, energy_j = curve.time_s, curve.energy_j
    known = (edges_s > time_s[0]) & (edges_s < time_s[-1])
    before = int(np.searchsorted(edges_s, time_s[0], side="right"))
    edges_s = edges_s[known]
    held = held[before : before + edges_s.size + 1]
    window_of_edge = np.searchsorted(time_s, edges_s, side="right") - 1
    inside = time_s[window_of_edge] < edges_s  # an edge on a sample divides nothing
    if not inside.any():
        return curve

    levels = _stretch_levels(time_s, energy_j, edges_s, held)
    cut = np.flatnonzero(inside)  # the edges that lie inside a window; edge k ends stretch k
    windows, first_cut = np.unique(window_of_edge[cut], return_index=True)
    cuts_in_window = np.diff(np.append(first_cut, cut.size))

    # The parts of each divided window, in order: one that ends at each cut, and one after the last cut.
    group = np.repeat(np.arange(windows.size), cuts_in_window + 1)
    is_last = np.append(np.diff(group) > 0, True)
    is_first = np.append(True, np.diff(group) > 0)
    stretch = np.empty(group.size, dtype=np.intp)
    stretch[~is_last] = cut
    stretch[is_last] = cut[first_cut + cuts_in_window - 1] + 1
    end_s = np.empty(group.size)
    end_s[~is_last] = edges_s[cut]
    end_s[is_last] = time_s[windows + 1]
    start_s = np.empty(group.size)
    start_s[1:] = end_s[:-1]
    start_s[is_first] = time_s[windows]
    length_s = end_s - start_s

    part_held = held[stretch]
    level_w = np.full(group.size, np.nan)
    level_w[is_first] = levels.at_end_w[stretch[is_first]]
    level_w[is_last] = levels.at_start_w[stretch[is_last]]
    idle_w = levels.idle_near(stretch[is_first], stretch[is_last], time_s[windows], time_s[windows + 1])
    level_w = np.where(~part_held & np.isnan(level_w), idle_w[group], level_w)

    used_j = energy_j[windows + 1] - energy_j[windows]
    part_j = _share_out(group, windows.size, length_s, part_held, level_w, idle_w, used_j)

    # The knots of a window: its first sample, its cuts, its last sample.
    rise_j = np.cumsum(part_j)
    rise_before_j = (rise_j - part_j)[is_first]
    end_j = energy_j[windows][group] + (rise_j - rise_before_j[group])
    end_j[is_last] = energy_j[windows + 1]
    place = np.arange(group.size) + group + 1  # leaves room for the first sample of each window
    knot_time_s, knot_energy_j = np.empty(group.size + windows.size), np.empty(group.size + windows.size)
    knot_time_s[place], knot_energy_j[place] = end_s, end_j
    place_first = place[is_first] - 1
    knot_time_s[place_first], knot_energy_j[place_first] = time_s[windows], energy_j[windows]
    return replace(curve, knot_time_s=knot_time_s, knot_energy_j=knot_energy_j, divided=windows.astype(np.intp))


@dataclass(frozen=True, slots=True)
class _StretchLevels:
    """Mean power (W) of each stretch near its start and near its end, NaN where it has no full window there."""

    at_start_w: Floats
    at_end_w: Floats
    first_full_s: Floats  # where its first full window begins
    last_full_s: Floats  # where its last full window ends
    held: NDArray[np.bool_]

    def idle_near(self, first: Indices, last: Indices, start_s: Floats, end_s: Floats) -> Floats:
        """The idle level (W) nearest to each divided window: before it, else after it, NaN where there is none."""
        count = self.held.size
        idle_end = np.where(~self.held & ~np.isnan(self.at_end_w), np.arange(count), -1)
        previous = np.maximum.accumulate(idle_end)[first]
        good = (previous >= 0) & (self.last_full_s[previous] >= start_s - REACH_S)
        before_w = np.where(good, self.at_end_w[previous], np.nan)
        idle_start = np.where(~self.held & ~np.isnan(self.at_start_w), np.arange(count), count)
        following = np.minimum.accumulate(idle_start[::-1])[::-1][last]
        good = following < count
        following = np.minimum(following, count - 1)
        good &= self.first_full_s[following] <= end_s + REACH_S
        after_w = np.where(good, self.at_start_w[following], np.nan)
        return np.where(np.isnan(before_w), after_w, before_w)


def _stretch_levels(time_s: Floats, energy_j: Floats, edges_s: Floats, held: NDArray[np.bool_]) -> _StretchLevels:
    first = np.append(0, np.searchsorted(time_s, edges_s, side="left"))
    last = np.append(np.searchsorted(time_s, edges_s, side="right") - 1, time_s.size - 1)
    near_start = np.minimum(last, np.searchsorted(time_s, time_s[first] + REACH_S, side="right") - 1)
    near_end = np.maximum(first, np.searchsorted(time_s, time_s[last] - REACH_S, side="left"))

    def mean_w(a: Indices, b: Indices) -> Floats:
        level: Floats = np.full(a.size, np.nan)
        some = b > a
        level[some] = (energy_j[b[some]] - energy_j[a[some]]) / (time_s[b[some]] - time_s[a[some]])
        return level

    return _StretchLevels(mean_w(first, near_start), mean_w(near_end, last), time_s[first], time_s[last], held)


def _share_out(
    group: Indices,
    groups: int,
    length_s: Floats,
    held: NDArray[np.bool_],
    level_w: Floats,
    idle_w: Floats,
    used_j: Floats,
) -> Floats:
    """The energy (J) of each part, so that the parts of a window add up to what it used.

    By the rule of `EnergyCurve.refine`. Where the levels contradict the window's total (they come from
    other windows, and jobs burst), the parts of unknown level still get the idle level, the held ones
    share what is left, and where even that cannot be, the window is divided by time.
    """

    def total(values: Floats) -> Floats:
        return sum_by(group, values, groups)

    unknown = np.isnan(level_w)
    expected_j = np.where(unknown, 0.0, level_w * length_s)
    idle_j = total(np.where(held, 0.0, expected_j))
    held_j = total(np.where(held, expected_j, 0.0))
    unknown_s = total(np.where(unknown, length_s, 0.0))
    floor_j = np.nan_to_num(idle_w) * unknown_s

    rest_j = used_j - idle_j - held_j
    to_unknown_j = np.where(unknown_s > 0, np.maximum(rest_j, floor_j), 0.0)
    to_held_j = used_j - idle_j - to_unknown_j
    # Known held parts keep what is expected of them while an unknown part takes the rest.
    scale = np.divide(to_held_j, held_j, out=np.zeros(groups), where=held_j > 0)
    possible = np.where(held_j > 0, to_held_j >= 0, np.abs(to_held_j) <= 1e-9 * np.maximum(used_j, 1.0))
    possible &= (unknown_s == 0) | (to_unknown_j > 0)

    unknown_w = np.divide(to_unknown_j, unknown_s, out=np.zeros(groups), where=unknown_s > 0)
    share_j = np.where(unknown, unknown_w[group] * length_s, np.where(held, expected_j * scale[group], expected_j))
    by_time_j = length_s * (used_j / total(length_s))[group]
    return np.where(possible[group], share_j, by_time_j)
