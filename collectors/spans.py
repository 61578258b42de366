"""A CSV file of figures over stretches of time: `start,end,FIGURE` and perhaps one column more.

Times are ISO 8601 with a zone; stretches may have any length, stand in any order, and must not overlap. A file with one
bad line is refused as a whole: it was written by hand or by a script, and can be mended.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from accounting.sources import SourceError


@dataclass(frozen=True, slots=True)
class Span:
    """One line of the file."""

    start_s: float
    end_s: float
    value: float
    more: str  # what the last column says; "" where the file has none
    line: int


@dataclass(frozen=True, slots=True)
class SpansFile:
    """A file, and what is known of its figures."""

    path: Path
    column: str  # the name of the figures' column
    unit: str
    most: float  # a larger figure is a mistake
    setting: str  # where in the configuration the file is named
    optional: str | None = None  # the name of a column that may follow

    def read(self) -> list[Span]:
        """The file's stretches in the order of time. Raise `SourceError` on a bad file."""
        try:
            with self.path.open(encoding="utf-8-sig", newline="") as lines:
                return self._parse(lines)
        except OSError as error:
            reason = error.strerror or str(error)
            raise SourceError(f"{self.path}: {reason.lower()}", f"check {self.setting}") from None
        except UnicodeDecodeError:
            raise SourceError(f"{self.path}: is not UTF-8 text", "save it as UTF-8") from None

    def error(self, line: int, what: str) -> SourceError:
        """The error for a line of it."""
        return SourceError(f"{self.path}:{line}: {what}", "mend the line; nothing was taken from this file")

    def _parse(self, lines: Iterable[str]) -> list[Span]:
        rows = csv.reader(lines)
        header = [name.strip() for name in next(rows, [])]
        wanted = ["start", "end", self.column]
        more = [] if self.optional is None else [self.optional]
        if header not in (wanted, wanted + more):
            shown = ",".join(wanted) + "".join(f"[,{name}]" for name in more)
            raise self.error(1, f"the header must be {shown}, not {','.join(header)!r}")
        spans = sorted(
            (self._span(row, len(header), rows.line_num) for row in rows if row), key=lambda one: one.start_s
        )
        for one, after in pairwise(spans):
            if after.start_s < one.end_s:
                first, second = sorted((one.line, after.line))
                raise self.error(second, f"overlaps the slot on line {first}")
        return spans

    def _span(self, row: list[str], columns: int, line: int) -> Span:
        if len(row) != columns:
            raise self.error(line, f"has {len(row)} columns, not {columns}")
        start_s, end_s = self._time(row[0], line), self._time(row[1], line)
        if end_s <= start_s:
            raise self.error(line, f"ends at {row[1]}, not after its start {row[0]}")
        try:
            value = float(row[2])
        except ValueError:
            raise self.error(line, f"{row[2]!r} is not a number") from None
        if not 0 <= value <= self.most:
            raise self.error(line, f"{row[2]} {self.unit} is not between 0 and {self.most:g}")
        return Span(start_s, end_s, value, row[3].strip() if columns > 3 else "", line)

    def _time(self, text: str, line: int) -> float:
        try:
            when = datetime.fromisoformat(text.strip())
        except ValueError:
            raise self.error(line, f"{text!r} is not a time such as 2026-10-01T00:00:00Z") from None
        if when.tzinfo is None:
            raise self.error(line, f"{text!r} has no time zone; write {text.strip()}Z for UTC")
        return when.timestamp()
