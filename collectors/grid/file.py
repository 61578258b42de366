"""Grid intensity from a CSV file: `start,end,gco2e_per_kwh[,estimated]` (`collectors.spans` has its rules)."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from accounting.model import FactorSlot
from collectors.grid.chain import MAX_G_PER_KWH
from collectors.spans import SpansFile

_ESTIMATED = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False, "": False}


class FileIntensity:
    """The slots of one file, read when they are first asked for."""

    name = "file"

    def __init__(self, path: Path) -> None:
        self.path = path

    def slots(self, start_s: float, end_s: float) -> Sequence[FactorSlot]:
        """Return the file's slots that overlap [start_s, end_s), whole. Raise `SourceError` on a bad file."""
        ends, starts = ([slot.end_s for slot in self._all], [slot.start_s for slot in self._all])
        return self._all[bisect_right(ends, start_s) : bisect_left(starts, end_s)]

    @cached_property
    def _all(self) -> list[FactorSlot]:
        file = SpansFile(
            self.path, "gco2e_per_kwh", "gCO2e/kWh", MAX_G_PER_KWH, "`path` under grid.location", "estimated"
        )
        slots = []
        for span in file.read():
            estimated = _ESTIMATED.get(span.more.lower())
            if estimated is None:
                raise file.error(span.line, f"estimated must be true or false, not {span.more!r}")
            slots.append(FactorSlot(span.start_s, span.end_s, span.value, f"file {self.path.name}", estimated))
        return slots
