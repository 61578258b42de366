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

    def and_of(self, time_s: Floats, variance_j2: Floats) -> Doubts:
        """These and some more."""
        return Doubts(np.append(self.time_s, time_s), np.append(self.variance_j2, variance_j2))


@dataclass(frozen=True, slots=True)
class EnergyCurve:
    """Cumulative energy of one device over its sample windows.

    `time_s` (n+1) are the windows' edges, strictly increasing; `energy_j` (n+1) the energy used up to them, since a
    beginning that means nothing. `knot_time_s`, `knot_energy_j` replace the straight line inside the windows that
    `refine` has divided. Before the first and after the last sample nothing is known.
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
    divided: Indices  # the indices of the divided windows, increasing
    knot_time_s: Floats
    knot_energy_j: Floats

    @classmethod
    def unknown(cls) -> EnergyCurve:
        """The curve of a device of which nothing is known."""
        return _curve(_NOTHING, _NOTHING, Gauge(_NOTHING, _NOTHING), 0.0, "none")

    @property
    def empty(self) -> bool:
        """Whether nothing at all is known of the device."""
        return self.time_s.size < 2

    def energy_at(self, time_s: Floats) -> Floats:
        """E(t) in J; outside the samples the curve is flat (nothing is known there)."""
        if self.empty:
            return np.zeros_like(time_s)
        window = np.clip(windows_of(self.time_s, time_s), 0, self.time_s.size - 2)
        start_s, start_j = self.time_s[window], self.energy_j[window]
        power_w = (self.energy_j[window + 1] - start_j) / (self.time_s[window + 1] - start_s)
        values = start_j + power_w * (np.clip(time_s, self.time_s[0], self.time_s[-1]) - start_s)
        if self.divided.size:
            is_divided = np.zeros(self.time_s.size, dtype=bool)
            is_divided[self.divided] = True
            inside = is_divided[window]
            values[inside] = np.interp(time_s[inside], self.knot_time_s, self.knot_energy_j)
        return values

    def known_at(self, time_s: Floats) -> Floats:
        """Seconds up to t for which the energy is known in some way: t clipped to the samples."""
        if self.empty:
            return np.zeros_like(time_s)
        known_s: Floats = np.clip(time_s, self.time_s[0], self.time_s[-1]) - self.time_s[0]
        return known_s

    def measured_at(self, time_s: Floats) -> Floats:
        """Seconds up to t in windows no longer than the site's limit: what counts as measured."""
        return self.known_at(time_s) - self.gaps.up_to(time_s)

    def refine(self, stretches: Stretches, assumed_idle_w: float | None = None) -> EnergyCurve:
        """Divide each window in which a hold begins or ends by what is known on both sides: the rule of `edges`.

        `assumed_idle_w` stands in for an idle level where none was measured nearby. The total of a window of the
        counter never changes. A gauge has no totals: there, each side draws what the gauge showed on it. A curve that
        has been divided stays as it is.
        """
        if self.empty or self.divided.size:
            return self
        stretches = stretches.between(float(self.time_s[0]), float(self.time_s[-1]))
        window_of_edge = windows_of(self.time_s, stretches.edges_s)
        parts = parts_of(self.time_s, stretches.edges_s, window_of_edge)
        if parts is None:
            return self
        levels = levels_of(self.time_s, self.energy_j, stretches, window_of_edge)
        if self.method == "power" and self.gauge.time_s.size:  # without a gauge, the windows are all that is known
            return self._with_gauge(parts, levels, stretches, assumed_idle_w)
        known = part_levels(parts, self.scrape_s, levels, stretches, self.gauge, assumed_idle_w)
        used_j = self.energy_j[parts.window + 1] - self.energy_j[parts.window]
        part_j, variance_j2 = share_out(parts, stretches, known, used_j)
        return self._with_parts(parts, part_j, variance_j2)

    def _with_parts(self, parts: Parts, part_j: Floats, variance_j2: Floats) -> EnergyCurve:
        """The knots of the divided windows: each one's first sample, its edges, its last sample."""
        blur_s = self.blur_s[parts.window] if self.blur_s.size else np.zeros(parts.window.size)
        variance_j2 = variance_j2 + clock_variance(parts, part_j, blur_s)
        doubts = self.doubts.and_of((parts.start_s + parts.end_s) / 2, variance_j2)
        rise_j = np.cumsum(part_j)
        before_j = (rise_j - part_j)[parts.first]
        end_j = self.energy_j[parts.window][parts.group] + (rise_j - before_j[parts.group])
        end_j[parts.last] = self.energy_j[parts.window + 1]
        place = np.arange(parts.group.size) + parts.group + 1  # leaves room for the first sample of each window
        first = place[parts.first] - 1
        knot_time_s, knot_energy_j = np.empty(place.size + first.size), np.empty(place.size + first.size)
        knot_time_s[place], knot_energy_j[place] = parts.end_s, end_j
        knot_time_s[first], knot_energy_j[first] = self.time_s[parts.window], self.energy_j[parts.window]
        return replace(self, doubts=doubts, knot_time_s=knot_time_s, knot_energy_j=knot_energy_j, divided=parts.window)

    def _with_gauge(
        self, parts: Parts, levels: Levels, stretches: Stretches, assumed_idle_w: float | None
    ) -> EnergyCurve:
        """Divide the windows of a gauge: constant power on both sides, the idle level or the mean between."""
        nothing = Gauge(_NOTHING, _NOTHING)
        level_w = part_levels(parts, self.time_s, levels, stretches, nothing, assumed_idle_w).level_w
        mean_w = np.diff(self.energy_j)[parts.window] / np.diff(self.time_s)[parts.window]
        level_w = np.where(np.isnan(level_w), mean_w[parts.group], level_w)
        level_w[parts.first] = self.gauge.at(self.time_s[parts.window])
        level_w[parts.last] = self.gauge.at(self.time_s[parts.window + 1])
        part_j = level_w * parts.length_s
        change_j = np.zeros(self.time_s.size)
        used_j = np.diff(self.energy_j)[parts.window]
        change_j[parts.window + 1] = np.bincount(parts.group, part_j) - used_j
        variance_j2 = (UNKNOWN_DOUBT * part_j) ** 2
        return replace(self, energy_j=self.energy_j + np.cumsum(change_j))._with_parts(parts, part_j, variance_j2)


_NOTHING: Floats = np.zeros(0)


def curve_from_samples(samples: Readings, max_gap_s: float, most_w: float = MAX_GPU_POWER_W) -> EnergyCurve:
    """The curve of a device from its counter, or from its power where there is no counter.

    Samples may be out of order or doubled; blanks, NaN and a counter faster than `most_w` are left out, and so are
    samples that show an old value once more. A fall of the counter is a restart of the driver: what lies across it
    comes from the power samples, and without them from the new counter's value, which is a lower bound and
    counted as such.
    """
    gauge = Gauge(*_clean(samples.power_time_s, samples.power_w, BLANK_W))
    time_s, counter_j = _clean(samples.energy_time_s, samples.energy_j, BLANK_J)
    if counter_j.size >= 2:
        used_j, length_s = np.diff(counter_j), np.diff(time_s)
        if used_j.min() > 0 and used_j.max() <= most_w * length_s.min():
            return _curve(time_s, counter_j, gauge, max_gap_s, "counter", longest_s=float(length_s.max()))
        time_s, counter_j = _drop_glitches(time_s, counter_j, most_w)
        time_s, counter_j, scrape_s, blur_s = _drop_repeats(time_s, counter_j)
        if counter_j.size >= 2:
            curve = _across_restarts(time_s, counter_j, gauge, max_gap_s)
            return replace(curve, scrape_s=scrape_s, blur_s=blur_s)
    return _curve_from_power(gauge, max_gap_s)


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
        divided=none,
        knot_time_s=_NOTHING,
        knot_energy_j=_NOTHING,
    )


def _running_sum(values: Floats) -> Floats:
    total = np.empty(values.size + 1)
    total[0] = 0.0
    np.cumsum(values, out=total[1:])
    return total
