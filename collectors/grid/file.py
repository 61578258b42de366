"""Grid intensity from a CSV file: `start,end,gco2e_per_kwh[,estimated]`.

Times are ISO 8601 with a zone; slots may have any length, stand in any order, and must not overlap. A file with one
bad line is refused as a whole: it was written by hand or by a script, and can be mended.
"""

from __future__ import annotations

import csv
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cached_property
from itertools import pairwise
from pathlib import Path

from accounting.model import FactorSlot
from accounting.sources import SourceError
from collectors.grid.chain import MAX_G_PER_KWH

_HEADER = ["start", "end", "gco2e_per_kwh"]
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
        try:
            with self.path.open(encoding="utf-8-sig", newline="") as lines:
                return self._parse(lines)
        except OSError as error:
            reason = error.strerror or str(error)
            raise SourceError(f"{self.path}: {reason.lower()}", "check `path` under grid.location") from None
        except UnicodeDecodeError:
            raise SourceError(f"{self.path}: is not UTF-8 text", "save it as UTF-8") from None

    def _parse(self, lines: Iterable[str]) -> list[FactorSlot]:
        rows = csv.reader(lines)
        header = [name.strip() for name in next(rows, [])]
        if header not in (_HEADER, [*_HEADER, "estimated"]):
            raise self._error(1, f"the header must be {','.join(_HEADER)}[,estimated], not {','.join(header)!r}")
        numbered = [(self._slot(row, len(header), rows.line_num), rows.line_num) for row in rows if row]
        numbered.sort(key=lambda pair: pair[0].start_s)
        for (slot, line), (after, after_line) in pairwise(numbered):
            if after.start_s < slot.end_s:
                raise self._error(max(line, after_line), f"overlaps the slot on line {min(line, after_line)}")
        return [slot for slot, _ in numbered]

    def _slot(self, row: list[str], columns: int, line: int) -> FactorSlot:
        if len(row) != columns:
            raise self._error(line, f"has {len(row)} columns, not {columns}")
        start_s, end_s = self._time(row[0], line), self._time(row[1], line)
        if end_s <= start_s:
            raise self._error(line, f"ends at {row[1]}, not after its start {row[0]}")
        try:
            value = float(row[2])
        except ValueError:
            raise self._error(line, f"{row[2]!r} is not a number") from None
        if not 0 <= value <= MAX_G_PER_KWH:
            raise self._error(line, f"{row[2]} gCO2e/kWh is not between 0 and {MAX_G_PER_KWH:g}")
        estimated = _ESTIMATED.get(row[3].strip().lower()) if columns > len(_HEADER) else False
        if estimated is None:
            raise self._error(line, f"estimated must be true or false, not {row[3]!r}")
        return FactorSlot(start_s, end_s, value, f"file {self.path.name}", estimated)

    def _time(self, text: str, line: int) -> float:
        try:
            when = datetime.fromisoformat(text.strip())
        except ValueError:
            raise self._error(line, f"{text!r} is not a time such as 2026-10-01T00:00:00Z") from None
        if when.tzinfo is None:
            raise self._error(line, f"{text!r} has no time zone; write {text.strip()}Z for UTC")
        return when.timestamp()

    def _error(self, line: int, what: str) -> SourceError:
        return SourceError(f"{self.path}:{line}: {what}", "mend the line; nothing was taken from this file")
