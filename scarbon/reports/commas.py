"""A report's sums as CSV, in base units, for spreadsheets and programs: a row for each group, idle line and total."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import fields

from accounting.document import Document
from accounting.report import Sums
from scarbon.reports.plain import figures

#: Which row it is; then the group's name and its figures, as in JSON.
HEAD = ("first_day", "last_day", "by", "row")
FIGURES = (*(field.name for field in fields(Sums)), "water_l")


def render(document: Document, look: object = None) -> str:
    """The rows that make the total, and the total; a field that is empty is unknown."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*HEAD, *FIGURES))
    period = document.period
    for row, sums in _rows(document):
        found = figures(document, sums)
        writer.writerow((period.first_day, period.last_day, document.by, row, *(found[name] for name in FIGURES)))
    return text.getvalue()


def _rows(document: Document) -> Iterator[tuple[str, Sums]]:
    for group in document.groups:
        yield "group", group
    if document.idle is not None:
        yield "idle", document.idle
    for one in document.adjustments:
        yield "adjustment", one.sums
    yield "total", document.total
