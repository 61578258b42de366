"""Several sources of grid intensity as one: the first that has a slot gives it, and the next fills its holes.

A source that fails, or gives a value that cannot be, costs its slots and not the run; the report says so.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from accounting.model import FactorSlot
from accounting.sources import IntensitySource, SourceError

#: No grid emits more for a kilowatt-hour; the dirtiest single plants reach about 1,500 g.
MAX_G_PER_KWH = 5000.0

#: Holes nearer to each other than this are asked for together: one request more costs more than a day of data.
_JOIN_S = 86_400.0

Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class FillReport:
    """Where the slots came from, what went wrong, and what is still unknown."""

    seconds_by_source: Mapping[str, float]  # by the source's name
    holes: tuple[Span, ...]  # no source has these
    problems: tuple[str, ...]  # a line each, for a person


def fill(sources: Iterable[IntensitySource], start_s: float, end_s: float) -> tuple[tuple[FactorSlot, ...], FillReport]:
    """Ask the sources in turn for [start_s, end_s) until nothing is missing.

    The slots come back in order, without overlap and clipped to the window.
    """
    slots: list[FactorSlot] = []
    holes: list[Span] = [(start_s, end_s)] if end_s > start_s else []
    seconds: dict[str, float] = defaultdict(float)
    problems: list[str] = []
    for source in sources:
        if not holes:
            break
        found: list[FactorSlot] = []
        for span in _joined(holes):
            try:
                answer = source.slots(*span)
            except SourceError as error:
                advice = f" ({error.advice})" if error.advice else ""
                problems.append(f"{source.name}: {error.what}{advice}")
                break
            found += _sound(source.name, answer, problems)
        taken, holes = _take(_apart(found), holes)
        slots += taken
        if taken:
            seconds[source.name] += sum(slot.end_s - slot.start_s for slot in taken)
    slots.sort(key=lambda slot: slot.start_s)
    return tuple(slots), FillReport(dict(seconds), tuple(holes), tuple(problems))


def _joined(holes: Sequence[Span]) -> Iterator[Span]:
    start_s, end_s = holes[0]
    for next_start_s, next_end_s in holes[1:]:
        if next_start_s - end_s > _JOIN_S:
            yield start_s, end_s
            start_s = next_start_s
        end_s = next_end_s
    yield start_s, end_s


def _sound(name: str, slots: Iterable[FactorSlot], problems: list[str]) -> list[FactorSlot]:
    """Leave out the slots whose value cannot be, and say so in one line."""
    good: list[FactorSlot] = []
    bad: list[FactorSlot] = []
    for slot in slots:
        (good if 0 <= slot.value <= MAX_G_PER_KWH and slot.start_s < slot.end_s else bad).append(slot)
    if bad:
        problems.append(f"{name}: left out {len(bad)} slots with values that cannot be, such as {bad[0].value:g} g/kWh")
    return good


def _apart(slots: Iterable[FactorSlot]) -> list[FactorSlot]:
    """Put slots in order, and clip what overlaps an earlier one: nothing is counted twice."""
    apart: list[FactorSlot] = []
    until_s = -math.inf
    for slot in sorted(slots, key=lambda slot: slot.start_s):
        if slot.end_s > until_s:
            apart.append(replace(slot, start_s=max(slot.start_s, until_s)))
            until_s = slot.end_s
    return apart


def _take(slots: Sequence[FactorSlot], holes: Sequence[Span]) -> tuple[list[FactorSlot], list[Span]]:
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
