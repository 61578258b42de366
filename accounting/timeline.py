"""The time axis of one accounting run: slots, and the factors that hold over each stretch of them.

Built once a run and shared by every device and job. Its *intervals* are cut at slots' edges and wherever a factor
changes, so that inside an interval PUE and intensity are constants and the integral E × PUE × intensity is a plain sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from accounting.arrays import Floats, Indices
from accounting.model import FactorSlot

J_PER_KWH = 3.6e6


@dataclass(frozen=True, slots=True)
class Timeline:
    """The intervals of a run: k of them between k+1 edges, in s slots.

    A factor that is unknown over an interval is NaN there, and so is all that is computed with it.
    """

    edges_s: Floats  # k+1, increasing
    slot: Indices  # k: which slot an interval belongs to
    booked: NDArray[np.bool_]  # k: whether the books are to hold this interval
    slot_start_s: Indices  # s
    pue: Floats  # k
    location_g_per_j: Floats  # k: gCO2e per joule of facility energy
    market_g_per_j: Floats  # k

    @property
    def start_s(self) -> float:
        """Where the run's period begins."""
        return float(self.edges_s[0])

    @property
    def end_s(self) -> float:
        """Where the run's period ends."""
        return float(self.edges_s[-1])

    @property
    def slots(self) -> int:
        """How many slots the run touches."""
        return int(self.slot_start_s.size)

    def interval_of(self, time_s: Floats) -> Indices:
        """The interval that holds each instant (the one that begins there, at an edge)."""
        return np.clip(np.searchsorted(self.edges_s, time_s, side="right") - 1, 0, self.slot.size - 1)


def build_timeline(
    slot_edges_s: Sequence[float],
    booked_s: Sequence[tuple[float, float]],
    pue: Sequence[FactorSlot],
    location: Sequence[FactorSlot],
    market: Sequence[FactorSlot],
) -> Timeline:
    """Cut the slots at every change of a factor, and where the books begin and end.

    `booked_s` are the stretches that the books are to hold, in order; what lies between them, in the first or last
    slot of a run, is left out. Factor slots are in order and do not overlap; where none holds, the factor is NaN.
    Intensities come in gCO2e/kWh.
    """
    changes = [edge for slots in (pue, location, market) for slot in slots for edge in (slot.start_s, slot.end_s)]
    start_s, end_s = booked_s[0][0], booked_s[-1][1]
    bounds = [bound for stretch in booked_s for bound in stretch]
    edges = np.unique(np.asarray([*slot_edges_s, *changes, *bounds], dtype=float))
    edges = edges[(edges >= start_s) & (edges <= end_s)]
    starts = edges[:-1]
    booked = np.zeros(starts.size, dtype=bool)
    for stretch_start_s, stretch_end_s in booked_s:
        booked |= (starts >= stretch_start_s) & (starts < stretch_end_s)
    slot_starts = np.asarray(slot_edges_s[:-1], dtype=np.intp)
    slot = np.searchsorted(slot_starts, starts, side="right") - 1
    return Timeline(
        edges_s=edges,
        slot=slot,
        booked=booked,
        slot_start_s=slot_starts,
        pue=_values(pue, starts),
        location_g_per_j=_values(location, starts) / J_PER_KWH,
        market_g_per_j=_values(market, starts) / J_PER_KWH,
    )


def _values(slots: Sequence[FactorSlot], at_s: Floats) -> Floats:
    if not slots:
        return np.full(at_s.size, np.nan)
    starts = np.asarray([slot.start_s for slot in slots])
    ends = np.asarray([slot.end_s for slot in slots])
    values = np.asarray([slot.value for slot in slots])
    place = np.searchsorted(starts, at_s, side="right") - 1
    known = (place >= 0) & (at_s < ends[place])
    return np.where(known, values[place], np.nan)
