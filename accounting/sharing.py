"""What is known of a shared device: the level at which it idles, and how busy each of its parts was.

Between a device's curve and `attribution`, which divides what several holders use.

**The idle level** is measured while nobody holds the device: at an instant it is that of the last idle stretch before
it, no more than `IDLE_LOOK_BACK_S` ago. Where there is none, a level that the caller assumes. So it depends on the
instant alone and not on the period that is accounted, if the caller has the samples and the holds since then.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from accounting.arrays import Floats, Indices
from accounting.edges import REACH_S, Stretches, levels_of, windows_of
from accounting.energy import EnergyCurve

#: How long ago an idle level may have been measured. It drifts with the room's temperature, by a watt or two.
IDLE_LOOK_BACK_S = 86400.0


@dataclass(frozen=True, slots=True)
class IdleLevels:
    """The idle levels (W) of a device: one from each instant `since_s` on, and one that is assumed before any."""

    since_s: Floats
    level_w: Floats
    assumed_w: float | None

    def at(self, time_s: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """The level at each instant, 0 where none is known, and whether it was measured."""
        measured = np.zeros(time_s.size, dtype=bool)
        if not self.since_s.size:
            return np.full(time_s.size, self.assumed_w or 0.0), measured
        place = np.searchsorted(self.since_s, time_s, side="right") - 1
        since_s = np.where(place >= 0, self.since_s[place], -np.inf)
        measured = time_s - since_s <= IDLE_LOOK_BACK_S
        return np.where(measured, self.level_w[place], self.assumed_w or 0.0), measured


def idle_levels(curve: EnergyCurve, stretches: Stretches, since_s: float, assumed_w: float | None) -> IdleLevels:
    """The idle levels of a device that is held over `stretches`, which are known from `since_s` on.

    Those of idle stretches at the very beginning are left out: more samples and holds before them would change them.
    """
    if curve.empty:
        return IdleLevels(np.zeros(0), np.zeros(0), assumed_w)
    edges_s = np.clip(stretches.edges_s, curve.time_s[0], curve.time_s[-1])
    stretches = replace(stretches, edges_s=edges_s)
    found = levels_of(curve.time_s, curve.energy_j, stretches, windows_of(curve.time_s, edges_s))
    good = ~stretches.held & ~np.isnan(found.at_end_w) & (found.last_full_s >= max(since_s, curve.time_s[0]) + REACH_S)
    return IdleLevels(found.last_full_s[good], found.at_end_w[good], assumed_w)


@dataclass(frozen=True, slots=True)
class Activity:
    """How busy the parts of a device were in each sample window of its curve, and of which part each hold is.

    `busy` (parts × windows) is the mean engine activity (0 to 1) times the part's compute slices, NaN where it was not
    profiled; `of_hold` has -1 for a hold of no such part.
    """

    busy: Floats
    of_hold: Indices

    def in_window(self, hold: Indices, window: Indices) -> Floats:
        """What the holds' parts did in the windows, NaN where that is not known."""
        part = self.of_hold[hold]
        known = (part >= 0) & (window >= 0) & (window < self.busy.shape[1])
        values = np.full(hold.size, np.nan)
        values[known] = self.busy[part[known], window[known]]
        return values


def held_share(start_s: Floats, end_s: Floats, part: Indices, parts: int, time_s: Floats) -> Floats:
    """What share of each window between the samples `time_s` each of `parts` parts was held (parts × windows).

    Holds are given by their start, end and part. A window of a part that nobody held has a share of 0.
    """
    base_s = time_s[0]
    share = np.zeros((parts, time_s.size - 1))
    for one in range(parts):
        held_s = np.zeros(time_s.size)
        for edge_s, sign in ((start_s, 1.0), (end_s, -1.0)):
            # The sum of (t − edge) over all edges before t.
            edges = np.sort(edge_s[part == one]) - base_s
            count = np.searchsorted(edges, time_s - base_s)
            held_s += sign * (count * (time_s - base_s) - np.append(0.0, np.cumsum(edges))[count])
        share[one] = np.diff(held_s) / np.diff(time_s)
    return share


def activity_of(
    curve: EnergyCurve,
    series: list[tuple[Floats, Floats]],
    slices: Floats,
    of_hold: Indices,
    holds: tuple[Floats, Floats],
) -> Activity:
    """The activity of a device's parts by the windows of its curve.

    `series` has the times and values of each part's activity: a value is a mean over the window that ends with it.
    `slices` is each part's share of the device, `holds` the starts and ends of all holds. Where a part is held for
    only some of a window, all that it did is of that time.
    """
    windows = max(curve.time_s.size - 1, 0)
    busy = np.full((len(series), windows), np.nan)
    for row, (time_s, value) in enumerate(series):
        if windows and time_s.size:
            place = np.minimum(np.searchsorted(time_s, curve.scrape_s[1:]), time_s.size - 1)
            shown = time_s[place] == curve.scrape_s[1:]
            busy[row, shown] = np.clip(value[place[shown]], 0.0, 1.0) * slices[row]
    if windows:
        share = held_share(*holds, of_hold, len(series), curve.time_s)
        np.divide(busy, share, out=busy, where=share > 1e-9)
        np.minimum(busy, slices[:, None], out=busy)
    return Activity(busy, of_hold)
