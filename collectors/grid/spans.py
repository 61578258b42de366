"""Stretches of time and the slots that fill them: what several sources, and what is kept of them, are put together by.

Slots are in order and do not overlap after `apart`; holes are stretches in order of which nothing is known.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from accounting.model import FactorSlot

#: Holes nearer to each other than this are asked for together: one request more costs more than a day of data.
_JOIN_S = 86_400.0

Span = tuple[float, float]


def joined(holes: Sequence[Span]) -> Iterator[Span]:
    """Yield the stretches to ask a source for, so that the holes are filled."""
    if not holes:
        return
    start_s, end_s = holes[0]
    for next_start_s, next_end_s in holes[1:]:
        if next_start_s - end_s > _JOIN_S:
            yield start_s, end_s
            start_s = next_start_s
        end_s = next_end_s
    yield start_s, end_s


def apart(slots: Iterable[FactorSlot]) -> list[FactorSlot]:
    """Put slots in order, and clip what overlaps an earlier one: nothing is counted twice."""
    found: list[FactorSlot] = []
    until_s = -math.inf
    for slot in sorted(slots, key=lambda slot: slot.start_s):
        if slot.end_s > until_s:
            found.append(replace(slot, start_s=max(slot.start_s, until_s)))
            until_s = slot.end_s
    return found


def take(slots: Sequence[FactorSlot], holes: Sequence[Span]) -> tuple[list[FactorSlot], list[Span]]:
    """Cut from `slots` (in order, apart) what lies in the holes, and say what is left of the holes."""
    taken: list[FactorSlot] = []
    left: list[Span] = []
    position = 0
    for hole_start_s, hole_end_s in holes:
        at_s = hole_start_s
        while position < len(slots) and slots[position].end_s <= at_s:
            position += 1
        ahead = position
        while ahead < len(slots) and slots[ahead].start_s < hole_end_s:
            slot = slots[ahead]
            start_s, end_s = max(slot.start_s, at_s), min(slot.end_s, hole_end_s)
            if start_s < end_s:
                if at_s < start_s:
                    left.append((at_s, start_s))
                taken.append(replace(slot, start_s=start_s, end_s=end_s))
                at_s = end_s
            ahead += 1
        if at_s < hole_end_s:
            left.append((at_s, hole_end_s))
        position = max(position, ahead - 1)  # the last one may reach into the next hole
    return taken, left
