"""What a hold's edge divides: the energy of the sample window in which a hold begins or ends.

Between `energy` (curves from samples) and `attribution` (whose energy it was). A window's total is measured; how it
falls to the two sides of an edge inside it is worked out from what is known on both sides.

**The rule.** A divided window has *parts*, between its samples and the edges inside it.

1. A part in which nobody holds the device draws the idle level: that of its own idle stretch beside the window, else
   of the nearest idle stretch within `REACH_S`, else the level that the caller assumes.
2. A held part has a level where its holders had the device to themselves beside the window: the mean power of their
   full windows within `REACH_S`, else the power gauge at the window's sample that lies in their time, once they have
   had `START_UP_S` to get going.
3. The idle parts' energy is taken off first. What is left belongs to the held parts. Those that went on from before
   the window are believed to have drawn their level to the end. A holder that begins does not: a program starts, loads
   its data and only then keeps the device busy. So where the levels add up to more than is left, the parts
   that begin in the window, and those of which nothing is known, get what the others leave, but not less than the idle
   level. Where they add up to less, the surplus goes to the parts of which nothing is known, else to all alike.
4. Where no level is known, or what is left for the held parts is less than the idle level, the window is divided by
   time.

**Independence of chunks.** A window's division is read off samples and holds no further from it than 2 × `REACH_S`.
A caller that has these for every window of its period divides each window in the same way, whatever the period is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from accounting.arrays import Floats, Indices, sum_by

#: How far from a divided window a holder's level is read: ten samples at DCGM's default of 30 s. Long enough to average
#: bursts, short enough to follow a job's phases.
REACH_S = 300.0

#: How far an idle level is read within its stretch: a GPU is warm after a job and draws more for a minute or two, so
#: that what lies nearest counts.
IDLE_REACH_S = 60.0

#: How far the parts of a divided window may be off before their sum is known, as a standard deviation, of the energy
#: that is expected of them: an idle level that was measured nearby (it drifts, and a GPU is warm for a while after a
#: job), one that is assumed; a holder's own level (jobs have phases and bursts); a holder of whom none is known,
#: or who begins.
IDLE_DOUBT = 0.05
ASSUMED_DOUBT = 0.25
LEVEL_DOUBT = 0.10
UNKNOWN_DOUBT = 0.50

#: By how much the time of an edge itself may be off, as a standard deviation: a hook is a moment late, Slurm's own
#: times are whole seconds.
CLOCK_S = 0.2

#: How long holders must have been there for the gauge to show their level: a program starts and loads its data first.
#: (The gauge itself is a mean over a second or less on most boards.)
START_UP_S = 10.0


@dataclass(frozen=True, slots=True)
class Stretches:
    """The times between changes of a device's holders.

    `edges_s` (m, increasing) are the changes; `held` (m+1) says whether somebody holds the device before the first
    edge, between them, and after the last one; `begins` (m) whether a hold begins at the edge.
    """

    edges_s: Floats
    held: NDArray[np.bool_]
    begins: NDArray[np.bool_]

    def between(self, start_s: float, end_s: float) -> Stretches:
        """Those that touch (start_s, end_s), with the edges inside it."""
        first = int(np.searchsorted(self.edges_s, start_s, side="right"))
        last = int(np.searchsorted(self.edges_s, end_s, side="left"))
        return Stretches(self.edges_s[first:last], self.held[first : last + 1], self.begins[first:last])


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of the divided windows, in order: g windows, p parts."""

    window: Indices  # g: the index of each divided window
    group: Indices  # p: which of the g windows a part belongs to
    stretch: Indices  # p: which stretch
    start_s: Floats  # p
    end_s: Floats  # p
    first: Indices  # g: the part that begins with the window's first sample
    last: Indices  # g: the part that ends with the window's last sample

    @property
    def length_s(self) -> Floats:
        """How long each part is."""
        return self.end_s - self.start_s


def windows_of(time_s: Floats, edges_s: Floats) -> Indices:
    """The window between the samples `time_s` in which each edge lies; an edge on a sample is in the one after it."""
    return np.searchsorted(time_s, edges_s, side="right") - 1


def parts_of(time_s: Floats, edges_s: Floats, window_of_edge: Indices) -> Parts | None:
    """Cut the windows between the samples `time_s` at the edges inside them; None where there is none.

    The edges lie between the first and the last sample; one on a sample divides nothing.
    """
    cut = np.flatnonzero(time_s[window_of_edge] < edges_s)  # edge k ends stretch k
    if not cut.size:
        return None
    window_of_cut = window_of_edge[cut]
    first_cut = np.append(0, np.flatnonzero(np.diff(window_of_cut)) + 1)
    cuts = np.diff(np.append(first_cut, cut.size))
    windows = np.arange(first_cut.size)
    window = window_of_cut[first_cut]
    first = first_cut + windows  # a window has one part more than cuts
    last = first + cuts
    group = np.repeat(windows, cuts + 1)
    # The cuts of a window follow one another, and so do the stretches of its parts.
    stretch = np.arange(group.size) + np.repeat(cut[first_cut] - first, cuts + 1)
    ends_at_cut = np.arange(cut.size) + np.repeat(windows, cuts)
    start_s, end_s = np.empty(group.size), np.empty(group.size)
    end_s[ends_at_cut] = start_s[ends_at_cut + 1] = edges_s[cut]
    start_s[first], end_s[last] = time_s[window], time_s[window + 1]
    return Parts(window, group, stretch, start_s, end_s, first, last)


@dataclass(frozen=True, slots=True)
class Levels:
    """Mean power (W) of each stretch near its start and near its end, NaN where it has no full window there."""

    at_start_w: Floats
    at_end_w: Floats
    first_full_s: Floats  # where its first full window begins
    last_full_s: Floats  # where its last full window ends
    held: NDArray[np.bool_]

    def idle_near(self, first: Indices, last: Indices, start_s: Floats, end_s: Floats) -> Floats:
        """The idle level (W) nearest to each window: before it, else after it, NaN where none is within reach.

        The window over [start_s, end_s] begins in the stretch `first` and ends in the stretch `last`.
        """
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


def levels_of(time_s: Floats, energy_j: Floats, stretches: Stretches, window_of_edge: Indices) -> Levels:
    """The levels of stretches, from the samples `time_s` and the cumulative energy at them."""
    first = np.append(0, window_of_edge + (time_s[window_of_edge] < stretches.edges_s))
    last = np.append(window_of_edge, time_s.size - 1)
    first_s, last_s = time_s[first], time_s[last]
    reach_s = np.where(stretches.held, REACH_S, IDLE_REACH_S)

    def mean_w(a: Indices, b: Indices) -> Floats:
        length_s = time_s[b] - time_s[a]
        level: Floats = np.full(a.size, np.nan)
        return np.divide(energy_j[b] - energy_j[a], length_s, out=level, where=(length_s > 0) & (length_s <= REACH_S))

    # At least one window, where there is one.
    near_start = np.searchsorted(time_s, first_s + reach_s, side="right") - 1
    near_start = np.minimum(last, np.maximum(near_start, first + 1))
    near_end = np.searchsorted(time_s, last_s - reach_s, side="left")
    near_end = np.maximum(first, np.minimum(near_end, last - 1))
    return Levels(mean_w(first, near_start), mean_w(near_end, last), first_s, last_s, stretches.held)


@dataclass(frozen=True, slots=True)
class Gauge:
    """Samples of power, at the same instants as those of the energy."""

    time_s: Floats
    power_w: Floats

    def at(self, time_s: Floats) -> Floats:
        """The sample taken at each instant; NaN where there is none."""
        if not self.time_s.size:
            return np.full(time_s.size, np.nan)
        place = np.minimum(np.searchsorted(self.time_s, time_s), self.time_s.size - 1)
        return np.where(self.time_s[place] == time_s, self.power_w[place], np.nan)

    def energy_at(self, time_s: Floats) -> Floats:
        """The energy (J) up to each instant by trapezoids; NaN outside of the samples."""
        if self.time_s.size < 2:
            return np.full(time_s.size, np.nan)
        length_s = np.diff(self.time_s)
        total_j = np.append(0.0, np.cumsum(length_s * (self.power_w[1:] + self.power_w[:-1]) / 2))
        energy_j: Floats = np.interp(time_s, self.time_s, total_j, left=np.nan, right=np.nan)
        return energy_j


@dataclass(frozen=True, slots=True)
class PartLevels:
    """What is known of each part, by the rules 1 and 2."""

    level_w: Floats  # NaN where none is known
    idle_w: Floats  # the idle level of its window, NaN where none is known
    doubt: Floats  # of what the level says, as a standard deviation relative to it


def part_levels(
    parts: Parts, time_s: Floats, levels: Levels, stretches: Stretches, gauge: Gauge, assumed_idle_w: float | None
) -> PartLevels:
    """The level of each part."""
    first, last, stretch = parts.first, parts.last, parts.stretch
    window_start_s, window_end_s = time_s[parts.window], time_s[parts.window + 1]
    level_w = np.full(parts.group.size, np.nan)
    level_w[first] = levels.at_end_w[stretch[first]]
    level_w[last] = levels.at_start_w[stretch[last]]
    if gauge.time_s.size:
        settled_s = np.append(-np.inf, stretches.edges_s)[stretch] + START_UP_S
        shown_w = np.full(parts.group.size, np.nan)
        shown_w[first] = np.where(settled_s[first] <= window_start_s, gauge.at(window_start_s), np.nan)
        shown_w[last] = np.where(settled_s[last] <= window_end_s, gauge.at(window_end_s), np.nan)
        level_w = np.where(np.isnan(level_w), shown_w, level_w)

    idle_w = levels.idle_near(stretch[first], stretch[last], window_start_s, window_end_s)[parts.group]
    held = stretches.held[stretch]
    assumed = ~held & np.isnan(level_w) & np.isnan(idle_w)
    if assumed_idle_w is not None:
        idle_w = np.where(np.isnan(idle_w), assumed_idle_w, idle_w)
    level_w = np.where(~held & np.isnan(level_w), idle_w, level_w)
    doubt = np.where(held, LEVEL_DOUBT, np.where(assumed, ASSUMED_DOUBT, IDLE_DOUBT))
    return PartLevels(level_w, idle_w, doubt)


def share_out(parts: Parts, stretches: Stretches, known: PartLevels, used_j: Floats) -> tuple[Floats, Floats]:
    """The energy (J) of each part, so that the parts of a window add up to what it used (by window): rules 3 and 4.

    Beside it the variance (J²) of each part's energy. The sum being known, what one part has too much the others have
    too little: of a standard deviation u on its own, a part keeps the variance u² (1 − u² / Σ u²).
    """
    group, groups, length_s = parts.group, parts.window.size, parts.length_s
    level_w = known.level_w
    held = stretches.held[parts.stretch]
    begins = np.append(False, stretches.begins)[parts.stretch]
    begins[parts.first] = False  # it began before the window

    def total(values: Floats) -> Floats:
        return sum_by(group, values, groups)

    def over(part: Floats, whole: Floats) -> Floats:
        return np.divide(part, whole, out=np.zeros(whole.size), where=whole > 0)

    idle_j = total(np.where(held, 0.0, level_w * length_s))
    rest_j = used_j - idle_j
    unknown = held & np.isnan(level_w)
    held_s = total(np.where(held, length_s, 0.0))
    mean_w = over(rest_j, held_s)
    expected_j = np.where(unknown, mean_w[group], level_w) * length_s

    yielding = held & (begins | unknown)
    firm_j = total(np.where(held & ~yielding, expected_j, 0.0))
    soft_j = total(np.where(yielding, expected_j, 0.0))
    # A held device draws its idle level, too.
    least_j = np.where(held & ~np.isnan(known.idle_w), known.idle_w * length_s, 0.0)
    to_soft_j = np.where(soft_j > 0, np.maximum(rest_j - firm_j, total(np.where(yielding, least_j, 0.0))), 0.0)
    # More than expected: the surplus is of those of whom nothing is known, else of all.
    surplus_j = np.maximum(to_soft_j - soft_j, 0.0)
    unknown_s = total(np.where(unknown, length_s, 0.0))
    of_all = (surplus_j > 0) & (unknown_s == 0)
    to_soft_j = np.where(of_all, rest_j * over(soft_j, firm_j + soft_j), to_soft_j - surplus_j)
    to_unknown_w = over(np.where(of_all, 0.0, surplus_j), unknown_s)

    soft_part_j = over(to_soft_j, soft_j)[group] * expected_j + np.where(unknown, to_unknown_w[group] * length_s, 0.0)
    firm_part_j = over(rest_j - to_soft_j - to_unknown_w * unknown_s, firm_j)[group] * expected_j
    share_j = np.where(held, np.where(yielding, soft_part_j, firm_part_j), level_w * length_s)
    by_time_j = length_s * over(used_j, total(length_s))[group]
    # A sum that is off (NaN included) means that the levels cannot be brought together with what was measured.
    adds_up = np.abs(total(share_j) - used_j) <= 1e-9 * np.maximum(used_j, 1.0)
    sound = (adds_up & (rest_j >= total(least_j)))[group]
    part_j = np.where(sound, share_j, by_time_j)
    guessed = yielding | ~sound
    own_j2 = np.where(guessed, UNKNOWN_DOUBT * np.fmax(part_j, expected_j), known.doubt * part_j) ** 2
    return part_j, own_j2 * (1.0 - over(own_j2, total(own_j2)[group]))


def clock_variance(parts: Parts, part_j: Floats, blur_s: Floats) -> Floats:
    """What the parts' energies (J) owe to the doubt about when their edges were, as variances (J²).

    An edge that lies elsewhere moves the difference of the powers on its sides. `blur_s` (by window): by how much the
    samples' own times may be off, as a standard deviation.
    """
    power_w = part_j / parts.length_s
    step_w = np.diff(power_w)  # at the edge behind each part but the last of all
    step_w[parts.last[:-1]] = 0.0  # there is a sample and no edge
    edge_j2 = step_w**2 * (CLOCK_S**2 + blur_s[parts.group][:-1] ** 2)
    variance_j2: Floats = np.append(edge_j2, 0.0) + np.append(0.0, edge_j2)
    return variance_j2
