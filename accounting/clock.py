"""The calendar of the books: slots (the site's clock hours), days and months, in UTC epoch seconds.

The ledger's grain is the *slot*: one hour of the site's own clock. A slot never straddles a day or a month of the
site's time zone, also where the zone's offset is 5:30 or 5:45, so days and months are sums of slots, and
a day of 23 or 25 hours is simply a day with that many slots.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

#: Every offset in use since 1972 is a multiple of a quarter of an hour (IANA tz database).
QUARTER_S = 900


def slot_edges(zone: ZoneInfo, start_s: float, end_s: float) -> list[int]:
    """The edges of all slots that touch [start_s, end_s), the outer ones included; at least two of them."""
    edge = slot_floor(zone, start_s)
    edges = [edge]
    while edge < end_s or len(edges) < 2:
        edge = _next_edge(zone, edge)
        edges.append(edge)
    return edges


def slot_floor(zone: ZoneInfo, time_s: float) -> int:
    """The start of the slot that holds `time_s`."""
    quarter = int(time_s // QUARTER_S) * QUARTER_S
    while not _on_the_hour(zone, quarter):
        quarter -= QUARTER_S
    return quarter


def day_of(zone: ZoneInfo, time_s: float) -> date:
    """The calendar day of the site on which `time_s` falls."""
    return datetime.fromtimestamp(time_s, zone).date()


def day_start(zone: ZoneInfo, day: date) -> int:
    """When a calendar day begins: local midnight, or the first instant after it where midnight does not exist."""
    local_midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    return int(local_midnight.astimezone(UTC).timestamp())


def month_bounds(zone: ZoneInfo, year: int, month: int) -> tuple[int, int]:
    """[start, end) of a calendar month."""
    first = date(year, month, 1)
    return day_start(zone, first), day_start(zone, months_on(first, 1))


def months_on(day: date, months: int) -> date:
    """The first day of the month that comes so many months after that of `day`."""
    number = day.month - 1 + months
    return date(day.year + number // 12, number % 12 + 1, 1)


def months_between(first: date, last: date) -> Iterator[date]:
    """The first day of each month that has days of `first` to `last`, both included."""
    month = first.replace(day=1)
    while month <= last:
        yield month
        month = months_on(month, 1)


def split_by_day(zone: ZoneInfo, start_s: float, end_s: float) -> list[tuple[float, float]]:
    """[start_s, end_s) cut at the site's midnights."""
    cuts = [start_s]
    day = day_of(zone, start_s) + timedelta(days=1)
    while (midnight := day_start(zone, day)) < end_s:
        if midnight > cuts[-1]:  # a day that a zone left out (Samoa's 30 December 2011) has no time in it
            cuts.append(midnight)
        day += timedelta(days=1)
    cuts.append(end_s)
    return list(pairwise(cuts))


def union(stretches: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Stretches in order, those that overlap or touch joined."""
    joined: list[tuple[float, float]] = []
    for start_s, end_s in sorted(stretches):
        if joined and start_s <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end_s))
        else:
            joined.append((start_s, end_s))
    return joined


def gaps(stretches: Iterable[tuple[float, float]], start_s: float, end_s: float) -> Iterator[tuple[float, float]]:
    """What of [start_s, end_s) lies in none of the stretches, which come in order."""
    at_s = start_s
    for a, b in [*stretches, (end_s, end_s)]:
        if a > at_s and at_s < end_s:
            yield at_s, min(a, end_s)
        at_s = max(at_s, b)


def _next_edge(zone: ZoneInfo, edge: int) -> int:
    candidate = edge + QUARTER_S
    while not _on_the_hour(zone, candidate):
        candidate += QUARTER_S
    return candidate


def _on_the_hour(zone: ZoneInfo, time_s: int) -> bool:
    local = datetime.fromtimestamp(time_s, zone)
    return local.minute == 0 and local.second == 0
