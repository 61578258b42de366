"""Several sources of grid intensity as one: the first that has a slot gives it, and the next fills its holes.

A source that fails, or gives a value that cannot be, costs its slots and not the run; the report says so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from accounting.model import FactorSlot
from accounting.sources import IntensitySource, SourceError
from collectors.grid.spans import Span, apart, joined, take

#: No grid emits more for a kilowatt-hour; the dirtiest single plants reach about 1,500 g.
MAX_G_PER_KWH = 5000.0


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
        try:
            for span in joined(holes):
                found.extend(source.slots(*span))  # of a source that fails half way, what it gave before stays
        except SourceError as error:
            advice = f" ({error.advice})" if error.advice else ""
            problems.append(f"{source.name}: {error.what}{advice}")
        taken, holes = take(apart(_sound(source.name, found, problems)), holes)
        slots += taken
        if taken:
            seconds[source.name] += sum(slot.end_s - slot.start_s for slot in taken)
    slots.sort(key=lambda slot: slot.start_s)
    return tuple(slots), FillReport(dict(seconds), tuple(holes), tuple(problems))


def _sound(name: str, slots: Iterable[FactorSlot], problems: list[str]) -> list[FactorSlot]:
    """Leave out the slots whose value cannot be, and say so in one line."""
    good: list[FactorSlot] = []
    bad: list[FactorSlot] = []
    for slot in slots:
        (good if 0 <= slot.value <= MAX_G_PER_KWH and slot.start_s < slot.end_s else bad).append(slot)
    if bad:
        problems.append(f"{name}: left out {len(bad)} slots with values that cannot be, such as {bad[0].value:g} g/kWh")
    return good
