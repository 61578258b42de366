"""The factors that the books applied and those that are known now, side by side, slot by slot.

Between the `factors` of the ledger and a site's sources on one side, and `accounting.reapply` on the other. What is not
known now takes nothing back: where a source is silent today, what was applied stays.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from accounting.arrays import Floats
from accounting.model import FactorSlot
from accounting.reapply import Rates, SlotFactors
from accounting.sources import Factors
from accounting.timeline import J_PER_KWH

KINDS = ("pue", "location", "market")

#: Factors of one slot by kind, each in order and without overlap.
ByKind = Mapping[str, Sequence[FactorSlot]]


@dataclass(frozen=True, slots=True)
class Slot:
    """One slot of the books: what was applied, and what is to be. `kept`: the kinds of which nothing is known now."""

    slot_s: int
    old: ByKind
    new: ByKind
    kept: tuple[str, ...]

    @property
    def stretches(self) -> SlotFactors:
        """The slot, cut wherever a factor changes or changed."""
        slots = [slot for by_kind in (self.old, self.new) for kind in KINDS for slot in by_kind[kind]]
        cuts = np.unique(np.array([edge for slot in slots for edge in (slot.start_s, slot.end_s)], dtype=float))
        if cuts.size < 2:
            cuts = np.array([self.slot_s, self.slot_s + 1.0])
        start_s, end_s = cuts[:-1], cuts[1:]
        return SlotFactors(start_s, end_s, _rates(self.old, start_s), _rates(self.new, start_s))


def slot_of(slot_s: int, span: tuple[float, float], old: ByKind, now: Factors) -> Slot:
    """The slot that begins at `slot_s`, of which the books hold `span`."""
    new: dict[str, list[FactorSlot]] = {}
    kept = []
    old = {kind: _clipped(old[kind], span) for kind in KINDS}
    for kind in KINDS:
        known = _clipped(getattr(now, kind), span)
        new[kind] = _with_holes_filled(known, old[kind], span)
        if not known and old[kind]:
            kept.append(kind)
    return Slot(slot_s, old, new, tuple(kept))


def _clipped(slots: Sequence[FactorSlot], span: tuple[float, float]) -> list[FactorSlot]:
    first = max(bisect_right(slots, span[0], key=lambda slot: slot.start_s) - 1, 0)
    found = []
    for slot in slots[first:]:
        if slot.start_s >= span[1]:
            break
        if slot.end_s > span[0]:
            found.append(replace(slot, start_s=max(slot.start_s, span[0]), end_s=min(slot.end_s, span[1])))
    return found


def _with_holes_filled(
    known: Sequence[FactorSlot], before: Sequence[FactorSlot], span: tuple[float, float]
) -> list[FactorSlot]:
    filled: list[FactorSlot] = []
    at_s = span[0]
    for start_s, slots in [*((slot.start_s, [slot]) for slot in known), (span[1], [])]:
        if start_s > at_s:
            filled += _clipped(before, (at_s, start_s))
        filled += slots
        at_s = max(at_s, slots[-1].end_s if slots else start_s)
    return filled


def _rates(by_kind: ByKind, at_s: Floats) -> Rates:
    pue, location, market = (_values(by_kind[kind], at_s) for kind in KINDS)
    return Rates(pue, location / J_PER_KWH, market / J_PER_KWH)


def _values(slots: Sequence[FactorSlot], at_s: Floats) -> Floats:
    found = np.full(at_s.size, np.nan)
    for slot in slots:
        found[(at_s >= slot.start_s) & (at_s < slot.end_s)] = slot.value
    return found
