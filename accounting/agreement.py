"""Whether the roll-ups agree with what they are sums of: each is worked out again from what lies below it.

Reports read roll-ups; the postings are what was booked. Where one was changed and not the other, by hand or by a fault
of ours, a report would say something that no posting says. `scarbon ledger rebuild` makes the roll-ups anew.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from accounting.clock import day_of, day_start
from accounting.ledger.reading import Books
from accounting.ledger.sums import (
    IDLE_DAYS,
    METERS_OF_CLUSTER,
    OF_DAY,
    PAYER_DAYS,
    PAYER_JOBS,
    PAYER_MONTHS,
    USAGE_DAYS,
    Derived,
)

#: Sums taken in another order differ in their last digits.
SAME_RELATIVE = 1e-9

_Rows = Mapping[tuple[Any, ...], tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A row of a roll-up that is not the sum of what lies below it. `column` None: the row is missing, or too many."""

    table: str
    key: Mapping[str, Any]
    column: str | None
    kept: Any  # what the roll-up says; None beside `column` None: it has no such row
    summed: Any  # what it should say

    def __str__(self) -> str:
        which = ", ".join(f"{name} {value}" for name, value in self.key.items() if value != "")
        if self.column is not None:
            return f"{self.table} ({which}): {self.column} is {self.kept}, the sum is {self.summed}"
        return f"{self.table} ({which}): " + ("is missing" if self.kept is None else "is the sum of nothing")


def disagreements(books: Books, start_s: float | None, end_s: float | None) -> Iterator[Disagreement]:
    """The rows of roll-ups that are wrong, on the days and in the months that [start_s, end_s) touches, or in all.

    Of days whose postings were purged, only what is summed from other roll-ups can be checked.
    """
    zone = ZoneInfo(books.zone)
    days = kept_days(books, zone, start_s, end_s)
    purged_s = books.purged_before_s
    for day in days:
        if purged_s is None or day_start(zone, date.fromisoformat(day)) >= purged_s:
            yield from _compare(books, USAGE_DAYS, f"usage_days u WHERE {OF_DAY} = :day", day, zone, of="")
            yield from _compare(books, IDLE_DAYS, "idle_days WHERE day = :day", day, zone, of=METERS_OF_CLUSTER)
        yield from _compare(books, PAYER_DAYS, "payer_days WHERE month = :month AND day = :day", day, zone)
        yield from _compare(books, PAYER_JOBS, "payer_jobs WHERE month = :month AND day = :day", day, zone)
    for month in dict.fromkeys(day[:7] for day in days):
        yield from _compare(books, PAYER_MONTHS, "payer_months WHERE month = :month", f"{month}-01", zone)


def kept_days(books: Books, zone: ZoneInfo, start_s: float | None, end_s: float | None) -> list[str]:
    """The days that [start_s, end_s) touches, or all, of which the books hold time, or any roll-up speaks."""
    days = {
        row["day"]
        for table in ("usage_days", "idle_days", "payer_days", "payer_jobs")
        for row in books.rows(f"SELECT DISTINCT day FROM {table}")
    }
    days |= {f"{row['month']}-01" for row in books.rows("SELECT DISTINCT month FROM payer_months")}
    for cluster in books.clusters():
        for a, b in books.booked(cluster):
            days |= set(_days_between(zone, a, b))
    first = "" if start_s is None else day_of(zone, start_s).isoformat()
    beyond = "9999" if end_s is None else day_of(zone, end_s - 1e-3).isoformat()
    return sorted(day for day in days if first <= day <= beyond)


def _days_between(zone: ZoneInfo, start_s: float, end_s: float) -> Iterator[str]:
    day = day_of(zone, start_s)
    while day_start(zone, day) < end_s:
        yield day.isoformat()
        day += timedelta(days=1)


def _compare(
    books: Books, sums: Derived, kept_in: str, day: str, zone: ZoneInfo, **words: str
) -> Iterator[Disagreement]:
    """A roll-up's rows of a day (or of its month), as they are and as they should be."""
    at = date.fromisoformat(day)
    period = {"start_s": day_start(zone, at), "end_s": day_start(zone, at + timedelta(days=1))}
    values: dict[str, Any] = {"day": day, "month": day[:7], **period}
    summed: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for row in books.rows("SELECT DISTINCT cluster FROM meters UNION SELECT DISTINCT cluster FROM payers"):
        summed |= _rows(books, sums, sums.query.format(**words), {**values, "cluster": row["cluster"]})
    kept = _rows(books, sums, f"SELECT {', '.join((*sums.keys, *sums.columns))} FROM {kept_in}", values)
    for key, should in summed.items():
        named = dict(zip(sums.keys, key, strict=True))
        found = kept.get(key)
        if found is None:
            yield Disagreement(sums.table, named, None, None, should)
            continue
        if found == should:
            continue
        for column, is_, sum_ in zip(sums.columns, found, should, strict=True):
            if not _same(is_, sum_):
                yield Disagreement(sums.table, named, column, is_, sum_)
    for key in kept.keys() - summed.keys():
        yield Disagreement(sums.table, dict(zip(sums.keys, key, strict=True)), None, kept[key], None)


def _rows(books: Books, sums: Derived, sql: str, values: Mapping[str, Any]) -> _Rows:
    keys = len(sums.keys)
    return {row[:keys]: row[keys:] for row in books.stream(sql, values)}


def _same(kept: Any, summed: Any) -> bool:
    if isinstance(kept, float) and isinstance(summed, float):
        return math.isclose(kept, summed, rel_tol=SAME_RELATIVE, abs_tol=1e-9)
    return bool(kept == summed)
