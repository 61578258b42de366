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

from accounting.arrays import Flags, Floats, Indices, distinct, last_before

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
    held: Flags
    begins: Flags


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of the divided windows as tables: g windows side by side, the parts of each from top to bottom.

    The tables have r rows, as many as the window with most parts needs. Shorter columns are filled up with parts of no
    length, which are in the same stretch as the last one and so change nothing.
    """

    window: Indices  # g: the index of each divided window
    bounds_s: Floats  # (r + 1) × g: where the parts meet, from the window's first sample to its last
    stretch: Indices  # r × g: which stretch a part lies in
    at_end: Flags  # r × g: whether a part is the last of its window, or fills up
    cut: tuple[Indices, Indices, Indices]  # the edges that divide a window, and where each stands in the bounds

    @property
    def length_s(self) -> Floats:
        """How long each part is."""
        return np.diff(self.bounds_s, axis=0)


def windows_of(time_s: Floats, edges_s: Floats) -> Indices:
    """The window between the samples `time_s` in which each edge lies; an edge on a sample is in the one after it."""
    return last_before(time_s, edges_s)


def parts_of(time_s: Floats, edges_s: Floats, window_of_edge: Indices) -> Parts:
    """Cut the windows between the samples `time_s` at the edges inside them.

    The edges lie between the first and the last sample; one on a sample divides nothing.
    """
    edge = np.flatnonzero(time_s[window_of_edge] < edges_s)
    window, column = distinct(window_of_edge[edge])
    cuts = np.bincount(column)
    first_edge = edge[np.cumsum(cuts) - cuts]
    # The edges inside a window follow one another, and so do the stretches of its parts: edge k ends stretch k.
    row = 1 + edge - first_edge[column]
    rows = np.arange(cuts.max(initial=1) + 1)[:, None]
    bounds_s = np.repeat(time_s[window + 1][None, :], rows.size + 1, axis=0)
    bounds_s[0] = time_s[window]
    bounds_s[row, column] = edges_s[edge]
    return Parts(window, bounds_s, first_edge + np.minimum(rows, cuts), rows >= cuts, (edge, row, column))


@dataclass(frozen=True, slots=True)
class Levels:
    """Mean power (W) of each stretch near its start and near its end, NaN where it has no full window there."""

    at_start_w: Floats
    at_end_w: Floats
    first_full_s: Floats  # where its first full window begins
    last_full_s: Floats  # where its last full window ends
    held: Flags

    def idle_near(self, first: Indices, last: Indices, start_s: Floats, end_s: Floats) -> Floats:
        """The idle level (W) nearest to each window: before it, else after it, NaN where none is within reach.

        The window over [start_s, end_s] begins in the stretch `first` and ends in the stretch `last`.
        """
        place = np.arange(self.held.size)
        idle_end = np.where(self.held | np.isnan(self.at_end_w), -1, place)
        previous = np.maximum.accumulate(idle_end)[first]
        near = (previous >= 0) & (self.last_full_s[previous] >= start_s - REACH_S)
        level_w: Floats = np.where(near, self.at_end_w[previous], np.nan)
        window = np.flatnonzero(~near)
        idle_start = np.where(self.held | np.isnan(self.at_start_w), place.size, place)
        following = np.minimum.accumulate(idle_start[::-1])[::-1][last[window]]
        there = following < place.size
        window, following = window[there], following[there]
        near = self.first_full_s[following] <= end_s[window] + REACH_S
        level_w[window[near]] = self.at_start_w[following[near]]
        return level_w


def levels_of(time_s: Floats, energy_j: Floats, stretches: Stretches, window_of_edge: Indices) -> Levels:
    """The levels of stretches, from the samples `time_s` and the cumulative energy at them.

    All edges lie between the first and the last sample.
    """
    sample_s = time_s[window_of_edge]
    first = np.append(0, window_of_edge + (sample_s < stretches.edges_s))
    last = np.append(window_of_edge, time_s.size - 1)
    first_s, last_s = time_s[first], np.append(sample_s, time_s[-1])
    reach_s = np.where(stretches.held, REACH_S, IDLE_REACH_S)
    near_start, near_end = windows_of(time_s, np.array((first_s + reach_s, last_s - reach_s)))
    near_end += time_s[near_end] < last_s - reach_s
    # At least one window, where there is one.
    near_start = np.minimum(last, np.maximum(near_start, first + 1))
    near_end = np.maximum(first, np.minimum(near_end, last - 1))

    def mean_w(from_s: Floats, to_s: Floats, from_j: Floats, to_j: Floats) -> Floats:
        length_s = to_s - from_s
        sound = (length_s > 0) & (length_s <= REACH_S)
        return (to_j - from_j) / np.where(sound, length_s, np.nan)

    at_start_w = mean_w(first_s, time_s[near_start], energy_j[first], energy_j[near_start])
    at_end_w = mean_w(time_s[near_end], last_s, energy_j[near_end], energy_j[last])
    return Levels(at_start_w, at_end_w, first_s, last_s, stretches.held)


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

    level_w: Floats  # r × g, NaN where none is known
    idle_w: Floats  # g: the idle level of the window, NaN where none is known
    doubt: Floats  # r × g: of what the level says, as a standard deviation relative to it


def part_levels(
    parts: Parts, time_s: Floats, levels: Levels, stretches: Stretches, gauge: Gauge, assumed_idle_w: float | None
) -> PartLevels:
    """The level of each part."""
    first, last = parts.stretch[0], parts.stretch[-1]
    start_s, end_s = time_s[parts.window], time_s[parts.window + 1]
    start_w, end_w = levels.at_end_w[first], levels.at_start_w[last]
    if gauge.time_s.size:
        settled_s = np.append(-np.inf, stretches.edges_s) + START_UP_S
        start_w = np.where(np.isnan(start_w) & (settled_s[first] <= start_s), gauge.at(start_s), start_w)
        end_w = np.where(np.isnan(end_w) & (settled_s[last] <= end_s), gauge.at(end_s), end_w)
    level_w = np.where(parts.at_end, end_w, np.nan)
    level_w[0] = start_w

    idle_w = levels.idle_near(first, last, start_s, end_s)
    held = stretches.held[parts.stretch]
    idle_unknown = ~held & np.isnan(level_w)
    doubt = np.where(held, LEVEL_DOUBT, np.where(idle_unknown & np.isnan(idle_w), ASSUMED_DOUBT, IDLE_DOUBT))
    if assumed_idle_w is not None:
        idle_w = np.where(np.isnan(idle_w), assumed_idle_w, idle_w)
    return PartLevels(np.where(idle_unknown, idle_w, level_w), idle_w, doubt)


def share_out(parts: Parts, stretches: Stretches, known: PartLevels, used_j: Floats) -> tuple[Floats, Floats]:
    """The energy (J) of each part, so that the parts of a window add up to what it used (by window): rules 3 and 4.

    Beside it the variance (J²) of each part's energy. The sum being known, what one part has too much the others have
    too little: of a standard deviation u on its own, a part keeps the variance u² (1 − u² / Σ u²).
    """
    length_s = parts.length_s
    held = stretches.held[parts.stretch]
    begins = np.append(False, stretches.begins)[parts.stretch]
    begins[0] = False  # it began before the window

    def over(part: Floats, whole: Floats) -> Floats:
        return part / np.where(whole > 0, whole, np.inf)

    level_j = known.level_w * length_s
    unknown = held & np.isnan(level_j)
    held_s, unknown_s = held * length_s, unknown * length_s
    all_unknown_s = unknown_s.sum(axis=0)
    rest_j = used_j - np.where(held, 0.0, level_j).sum(axis=0)
    expected_j = np.where(unknown, over(rest_j, held_s.sum(axis=0)) * length_s, level_j)

    yielding = held & (begins | unknown)
    soft_j = np.where(yielding, expected_j, 0.0).sum(axis=0)
    firm_j = np.where(held & ~yielding, expected_j, 0.0).sum(axis=0)
    # A held device draws its idle level, too.
    least_j = held_s * np.where(np.isnan(known.idle_w), 0.0, known.idle_w)
    to_soft_j = np.where(soft_j > 0, np.maximum(rest_j - firm_j, (yielding * least_j).sum(axis=0)), 0.0)
    # More than expected: the surplus is of those of whom nothing is known, else of all.
    surplus_j = np.maximum(to_soft_j - soft_j, 0.0)
    of_all = (surplus_j > 0) & (all_unknown_s == 0)
    to_soft_j = np.where(of_all, rest_j * over(soft_j, firm_j + soft_j), to_soft_j - surplus_j)
    to_unknown_j = np.where(all_unknown_s > 0, surplus_j, 0.0)

    of_expected = np.where(yielding, over(to_soft_j, soft_j), over(rest_j - to_soft_j - to_unknown_j, firm_j))
    share_j = np.where(held, of_expected * expected_j, level_j) + over(to_unknown_j, all_unknown_s) * unknown_s
    # A sum that is off (NaN included) means that the levels cannot be brought together with what was measured.
    adds_up = np.abs(share_j.sum(axis=0) - used_j) <= 1e-9 * np.maximum(used_j, 1.0)
    sound = adds_up & (rest_j >= least_j.sum(axis=0))
    part_j = np.where(sound, share_j, length_s * over(used_j, length_s.sum(axis=0)))
    guessed = yielding | ~sound
    own_j2 = np.where(guessed, UNKNOWN_DOUBT * np.fmax(part_j, expected_j), known.doubt * part_j) ** 2
    return part_j, own_j2 * (1.0 - over(own_j2, own_j2.sum(axis=0)))


def clock_variance(parts: Parts, part_j: Floats, blur_s: Floats | float) -> Floats:
    """What the parts' energies (J) owe to the doubt about when their edges were, as variances (J²).

    An edge that lies elsewhere moves the difference of the powers on its sides. `blur_s` (by window): by how much the
    samples' own times may be off, as a standard deviation.
    """
    length_s = parts.length_s
    power_w = np.divide(part_j, length_s, out=np.zeros_like(part_j), where=length_s > 0)
    step_w = np.where(parts.at_end[:-1], 0.0, np.diff(power_w, axis=0))  # at the edge below each part but the last
    edge_j2 = step_w**2 * (CLOCK_S**2 + blur_s**2)
    variance_j2 = np.zeros_like(part_j)
    variance_j2[:-1] += edge_j2
    variance_j2[1:] += edge_j2
    return variance_j2
