"""The energy of a device as a cumulative curve E(t), from the raw samples of its counter and its power.

First step of the arithmetic: samples in, a curve out; `attribution` then asks the curve for E(b) − E(a).

Between two samples (a *window*) the counter says how much energy was used but not when. Where nothing begins or
ends inside the window, linear interpolation is all that can be said. Where a hold begins or ends inside it, more is
known: what the device draws while idle, and what the job drew in its own full windows. `EnergyCurve.refine` divides
such a window by that knowledge (`edges`), which is what makes short jobs right.

**Independence of chunks.** A caller that reads samples and holds `MARGIN_S` beyond each end of its period, and
2 × `REACH_S` beyond a longer window that lies across an end, gets the same curve over the period, whatever the
period is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from accounting.arrays import Floats, Indices
from accounting.edges import (
    REACH_S,
    UNKNOWN_DOUBT,
    Gauge,
    Levels,
    Parts,
    Stretches,
    clock_variance,
    levels_of,
    part_levels,
    parts_of,
    share_out,
    windows_of,
)
from accounting.model import Method, Readings

#: How much more than its period a caller reads on each side: a window that lies across its end, and what it is divided
#: by.
MARGIN_S = 2 * REACH_S + 120.0

#: No GPU of the hardware table draws more than 1,200 W: a counter that moves faster than this is not believed.
MAX_GPU_POWER_W = 3_000.0

#: DCGM marks a value that it does not have with numbers from 2^47 (fp64) or 2^63 − 16 (int64) upwards. A counter
#: would get to 2^47 mJ after four years at 1 kW without a driver reload.
BLANK_J = 2.0**47 / 1000.0
BLANK_W = 2.0**20

#: Scrapes further apart say nothing of when, between them, a new value was collected.
LONGEST_SCRAPE_S = 120.0


@dataclass(frozen=True, slots=True)
class Spans:
    """Times that do not overlap, in order, as knots: start, end, start, end, …"""

    knot_s: Floats
    covered_s: Floats  # seconds up to each knot

    @classmethod
    def of_windows(cls, time_s: Floats, windows: Indices) -> Spans:
        """The given windows between the samples `time_s`."""
        start_s, end_s = time_s[windows], time_s[windows + 1]
        total_s = np.cumsum(end_s - start_s)
        return cls(
            np.stack((start_s, end_s), axis=1).ravel(), np.stack((total_s - (end_s - start_s), total_s), axis=1).ravel()
        )

    def up_to(self, time_s: Floats) -> Floats:
        """How many seconds of them lie before each instant."""
        return np.interp(time_s, self.knot_s, self.covered_s) if self.knot_s.size else np.zeros_like(time_s)


@dataclass(frozen=True, slots=True)
class Doubts:
    """Where the curve is uncertain: amounts of energy around instants, with a variance (J²) each."""

    time_s: Floats
    variance_j2: Floats


@dataclass(frozen=True, slots=True)
class Division:
    """What became of the edges at which a curve was divided: m of them, in order."""

    edge_j: Floats  # m: the energy used up to each
    before_j2: Floats  # m: how uncertain (J², a variance) the part of its window that ends there is, if it is the first
    after_j2: Floats  # m: the same of the part that begins there
    windows: Indices  # the windows that are divided, increasing
    knot_s: Floats  # where their parts meet
    knot_j: Floats  # the energy used up to there


@dataclass(frozen=True, slots=True)
class EnergyCurve:
    """Cumulative energy of one device over its sample windows.

    `time_s` (n+1) are the windows' edges, strictly increasing; `energy_j` (n+1) the energy used up to them, since a
    beginning that means nothing. Before the first and after the last sample nothing is known.
    """

    time_s: Floats
    energy_j: Floats
    gaps: Spans  # the windows longer than the site's limit
    lower_bound: Spans  # windows whose energy is only a lower bound: a restart without power samples
    restart_s: Floats  # when the counter was first read after it began anew
    gauge: Gauge
    method: Method
    scrape_s: Floats  # when each sample was scraped, as other series of the device have it
    blur_s: Floats  # by how much its time may be off, as a standard deviation; empty where it is not
    doubts: Doubts
    division: Division | None  # inside the windows that `refine` has divided there is no straight line

    @classmethod
    def unknown(cls) -> EnergyCurve:
        """The curve of a device of which nothing is known."""
        return _curve(_NOTHING, _NOTHING, Gauge(_NOTHING, _NOTHING), 0.0, "none")

    @property
    def empty(self) -> bool:
        """Whether nothing at all is known of the device."""
        return self.time_s.size < 2

    def _within(self, time_s: Floats) -> Floats:
        """Each instant, or the first or the last sample where it lies before or after them."""
        return np.clip(time_s, self.time_s[0], self.time_s[-1])

    def energy_at(self, time_s: Floats) -> Floats:
        """E(t) in J; outside the samples the curve is flat (nothing is known there)."""
        if self.empty:
            return np.zeros_like(time_s)
        time_s = self._within(time_s)
        window = np.minimum(windows_of(self.time_s, time_s), self.time_s.size - 2)
        start_s, start_j = self.time_s[window], self.energy_j[window]
        power_w = (self.energy_j[window + 1] - start_j) / (self.time_s[window + 1] - start_s)
        values: Floats = start_j + power_w * (time_s - start_s)
        if self.division is not None and self.division.windows.size:
            is_divided = np.zeros(self.time_s.size, dtype=bool)
            is_divided[self.division.windows] = True
            inside = is_divided[window]
            values[inside] = np.interp(time_s[inside], self.division.knot_s, self.division.knot_j)
        return values

    def known_at(self, time_s: Floats) -> Floats:
        """Seconds up to t for which the energy is known in some way: t clipped to the samples."""
        if self.empty:
            return np.zeros_like(time_s)
        known_s: Floats = self._within(time_s) - self.time_s[0]
        return known_s

    def measured_at(self, time_s: Floats) -> Floats:
        """Seconds up to t in windows no longer than the site's limit: what counts as measured."""
        return self.known_at(time_s) - self.gaps.up_to(time_s)

    def refine(self, stretches: Stretches, assumed_idle_w: float | None = None) -> EnergyCurve:
        """Divide each window in which a hold begins or ends by what is known on both sides: the rule of `edges`.

        `assumed_idle_w` stands in for an idle level where none was measured nearby. The total of a window of
        the counter never changes. A gauge has no totals: there, each side draws what the gauge showed on it.
        """
        if self.empty:
            return self
        edges_s = self._within(stretches.edges_s)
        stretches = replace(stretches, edges_s=edges_s)
        window_of_edge = windows_of(self.time_s, edges_s)
        parts = parts_of(self.time_s, edges_s, window_of_edge)
        levels = levels_of(self.time_s, self.energy_j, stretches, window_of_edge)
        curve = self
        if self.method == "power" and self.gauge.time_s.size:  # without a gauge, the windows are all that is known
            part_j, variance_j2 = self._by_gauge(parts, levels, stretches, assumed_idle_w)
            curve = self._with_totals(parts, part_j.sum(axis=0))
        else:
            known = part_levels(parts, self.scrape_s, levels, stretches, self.gauge, assumed_idle_w)
            used_j = self.energy_j[parts.window + 1] - self.energy_j[parts.window]
            part_j, variance_j2 = share_out(parts, stretches, known, used_j)
        blur_s = self.blur_s[parts.window] if self.blur_s.size else 0.0
        variance_j2 = variance_j2 + clock_variance(parts, part_j, blur_s)
        return replace(curve, division=curve._divided(parts, part_j, variance_j2, window_of_edge))

    def _divided(self, parts: Parts, part_j: Floats, variance_j2: Floats, window_of_edge: Indices) -> Division:
        """The division by which the parts use `part_j`."""
        bounds_j = np.empty_like(parts.bounds_s)
        bounds_j[0] = self.energy_j[parts.window]
        for below, used_j in enumerate(part_j, start=1):
            bounds_j[below] = bounds_j[below - 1] + used_j
        bounds_j[1:] = np.where(parts.at_end, self.energy_j[parts.window + 1], bounds_j[1:])
        edge, row, column = parts.cut
        edge_j = self.energy_j[window_of_edge]  # an edge that divides nothing is on a sample
        edge_j[edge] = bounds_j[row, column]
        before_j2, after_j2 = np.zeros(edge_j.size), np.zeros(edge_j.size)
        before_j2[edge] = np.where(row == 1, variance_j2[0, column], 0.0)
        after_j2[edge] = variance_j2[row, column]
        return Division(edge_j, before_j2, after_j2, parts.window, parts.bounds_s.T.ravel(), bounds_j.T.ravel())

    def _by_gauge(
        self, parts: Parts, levels: Levels, stretches: Stretches, assumed_idle_w: float | None
    ) -> tuple[Floats, Floats]:
        """The energy (J) of the parts of a gauge's windows: constant power on both sides, the idle level or the mean
        between them; and its variance (J²).
        """
        nothing = Gauge(_NOTHING, _NOTHING)
        level_w = part_levels(parts, self.time_s, levels, stretches, nothing, assumed_idle_w).level_w
        mean_w = (self.energy_j[parts.window + 1] - self.energy_j[parts.window]) / parts.length_s.sum(axis=0)
        level_w = np.where(np.isnan(level_w), mean_w, level_w)
        level_w[0] = self.gauge.at(self.time_s[parts.window])
        level_w = np.where(parts.at_end, self.gauge.at(self.time_s[parts.window + 1]), level_w)
        part_j = level_w * parts.length_s
        return part_j, (UNKNOWN_DOUBT * part_j) ** 2

    def _with_totals(self, parts: Parts, used_j: Floats) -> EnergyCurve:
        """The curve whose divided windows used `used_j`."""
        change_j = np.zeros(self.time_s.size)
        change_j[parts.window + 1] = used_j - (self.energy_j[parts.window + 1] - self.energy_j[parts.window])
        return replace(self, energy_j=self.energy_j + np.cumsum(change_j))


_NOTHING: Floats = np.zeros(0)


def curve_from_samples(samples: Readings, max_gap_s: float, most_w: float = MAX_GPU_POWER_W) -> EnergyCurve:
    """The curve of a device from its counter, or from its power where there is no counter.

    Samples may be out of order or doubled; blanks, NaN and a counter faster than `most_w` are left out, and so are
    samples that show an old value once more. A fall of the counter is a restart of the driver: what lies across it
    comes from the power samples, and without them from the new counter's value, which is a lower bound and
    counted as such.
    """
    gauge = Gauge(*_clean(samples.power_time_s, samples.power_w, BLANK_W))
    time_s, counter_j = samples.energy_time_s, samples.energy_j
    longest_s = _longest_if_sound(time_s, counter_j, most_w)
    if longest_s is not None:
        return _curve(time_s, counter_j, gauge, max_gap_s, "counter", longest_s)
    time_s, counter_j = _drop_glitches(*_clean(time_s, counter_j, BLANK_J), most_w)
    time_s, counter_j, scrape_s, blur_s = _drop_repeats(time_s, counter_j)
    if counter_j.size < 2:
        return _curve_from_power(gauge, max_gap_s)
    return replace(_across_restarts(time_s, counter_j, gauge, max_gap_s), scrape_s=scrape_s, blur_s=blur_s)


def _longest_if_sound(time_s: Floats, counter_j: Floats, most_w: float) -> float | None:
    """The longest window (s) of a counter of which nothing is to be left out or mended, None of any other.

    Most are sound, and it takes one look at the samples to see that.
    """
    if counter_j.size < 2 or not (counter_j[0] >= 0 and counter_j[-1] < BLANK_J):
        return None
    step = np.diff(time_s)
    shortest_s, longest_s = float(step.min()), float(step.max())
    np.subtract(counter_j[1:], counter_j[:-1], out=step)
    sound = shortest_s > 0 and step.min() > 0 and step.max() <= most_w * shortest_s  # NaN fails them
    return longest_s if sound else None


def counter_over_gauge(samples: Readings) -> float | None:
    """The energy by the counter over that by the gauge, where both are known for at least five minutes."""
    curve = curve_from_samples(samples, np.inf)
    if curve.method != "counter" or curve.gauge.time_s.size < 2:
        return None
    span_s = np.array(
        [max(curve.time_s[0], curve.gauge.time_s[0]), min(curve.time_s[-1], curve.gauge.time_s[-1])], dtype=float
    )
    by_gauge_j = float(np.diff(curve.gauge.energy_at(span_s))[0])
    if span_s[1] - span_s[0] < 300.0 or not by_gauge_j > 0:
        return None
    return float(np.diff(curve.energy_at(span_s))[0]) / by_gauge_j


def curve_from_windows(
    time_s: Floats, used_j: Floats, lower_bound: NDArray[np.bool_], max_gap_s: float, method: Method
) -> EnergyCurve:
    """The curve that used `used_j` (n, J) in the windows between `time_s` (n+1); `lower_bound` (n): or more."""
    curve = _curve(time_s, _running_sum(used_j), Gauge(_NOTHING, _NOTHING), max_gap_s, method)
    return replace(curve, lower_bound=Spans.of_windows(time_s, np.flatnonzero(lower_bound)))


def _clean(time_s: Floats, value: Floats, blank: float) -> tuple[Floats, Floats]:
    """In order of time, one sample an instant, without NaN, negatives and DCGM's blanks."""
    if not value.size:
        return time_s, value
    if not (value.min() >= 0 and value.max() < blank):  # NaN fails both
        good = np.isfinite(value) & (value >= 0) & (value < blank)
        time_s, value = time_s[good], value[good]
    if time_s.size > 1 and np.diff(time_s).min() <= 0:
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


def _drop_repeats(time_s: Floats, counter_j: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Leave out samples that show an old value once more, and date those that follow them.

    Every GPU draws power, so a counter that stands still was not read anew: the exporter collects less often than it is
    scraped. A new value after an old one was collected at some time between the two scrapes, on average half way.
    Of a run of equal values at the very beginning not even the first is known to be fresh.

    Returns when the values were collected, the values, when they were scraped, and by how much the first may be off.
    """
    again = np.append(False, np.diff(counter_j) == 0)
    if not again.any():
        return time_s, counter_j, time_s, _NOTHING
    after = np.append(False, again[:-1]) & ~again
    since_s = np.append(0.0, np.diff(time_s))
    half_s = np.where(after & (since_s <= LONGEST_SCRAPE_S), since_s / 2, 0.0)
    again[0] = again[1]
    kept = ~again
    return (time_s - half_s)[kept], counter_j[kept], time_s[kept], half_s[kept] / np.sqrt(3.0)


def _across_restarts(time_s: Floats, counter_j: Floats, gauge: Gauge, max_gap_s: float) -> EnergyCurve:
    """The curve of a counter that may have begun anew: where it fell, the rest is put on top of what was before."""
    falls = np.flatnonzero(np.diff(counter_j) < 0)
    curve = _curve(time_s, counter_j, gauge, max_gap_s, "counter")
    if not falls.size:
        return curve
    energy_j = counter_j.copy()
    used_j = np.zeros(falls.size)
    bounded = np.zeros(falls.size, dtype=bool)
    for place, window in enumerate(falls):
        by_power_j = _power_integral(gauge, time_s[window], time_s[window + 1])
        bounded[place] = by_power_j is None
        used_j[place] = max(by_power_j or 0.0, counter_j[window + 1])
        energy_j[window + 1 :] += energy_j[window] + used_j[place] - energy_j[window + 1]
    # What is lost of a window is at most what the device draws in it, by what it drew before.
    before = np.maximum(falls - 1, 0)
    usual_w = np.maximum(energy_j[before + 1] - energy_j[before], 0.0) / (time_s[before + 1] - time_s[before])
    usual_j = usual_w * (time_s[falls + 1] - time_s[falls])
    off_j = np.where(bounded, np.maximum(usual_j, used_j), UNKNOWN_DOUBT * used_j)
    return replace(
        curve,
        energy_j=energy_j,
        restart_s=time_s[falls + 1],
        lower_bound=Spans.of_windows(time_s, falls[bounded]),
        doubts=Doubts((time_s[falls] + time_s[falls + 1]) / 2, off_j**2),
    )


def _power_integral(gauge: Gauge, start_s: float, end_s: float) -> float | None:
    """Trapezoids over [start_s, end_s], or None where the gauge does not reach over it."""
    if gauge.time_s.size < 2 or gauge.time_s[0] > start_s or gauge.time_s[-1] < end_s:
        return None
    inside = (gauge.time_s > start_s) & (gauge.time_s < end_s)
    time_s = np.concatenate(([start_s], gauge.time_s[inside], [end_s]))
    return float(np.trapezoid(np.interp(time_s, gauge.time_s, gauge.power_w), time_s))


def _curve_from_power(gauge: Gauge, max_gap_s: float) -> EnergyCurve:
    if gauge.time_s.size < 2:
        return EnergyCurve.unknown()
    used_j = np.diff(gauge.time_s) * (gauge.power_w[1:] + gauge.power_w[:-1]) / 2
    return _curve(gauge.time_s, _running_sum(used_j), gauge, max_gap_s, "power")


def _curve(
    time_s: Floats, energy_j: Floats, gauge: Gauge, max_gap_s: float, method: Method, longest_s: float = np.inf
) -> EnergyCurve:
    """A curve without restarts; `longest_s` is its longest window, where that is known already."""
    none = np.zeros(0, dtype=np.intp)
    long = np.flatnonzero(np.diff(time_s) > max_gap_s) if longest_s > max_gap_s else none
    return EnergyCurve(
        time_s=time_s,
        energy_j=energy_j,
        gaps=Spans.of_windows(time_s, long),
        lower_bound=Spans(_NOTHING, _NOTHING),
        restart_s=_NOTHING,
        gauge=gauge,
        method=method,
        scrape_s=time_s,
        blur_s=_NOTHING,
        doubts=Doubts(_NOTHING, _NOTHING),
        division=None,
    )


def _running_sum(values: Floats) -> Floats:
    total = np.empty(values.size + 1)
    total[0] = 0.0
    np.cumsum(values, out=total[1:])
    return total
