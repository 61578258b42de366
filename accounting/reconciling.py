"""The books against the meter of the whole site: what it says more, or less, and its share of the site's energy.

The books have what was metered or modelled of machines, times PUE; the site's meter has all of them, the network and
the storage, the office lights. A difference is no error of the books: it says what they do not see, or that PUE is off.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np

from accounting.clock import day_of, month_bounds, months_on, slot_edges
from accounting.ledger.reading import Books
from accounting.model import SiteReading
from accounting.sources import SiteMeterSource

Stretch = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """Both figures, over the time that both have. `month` None: all of it."""

    month: str | None
    compared_s: float  # of the period, the time that the books of every cluster and the meter cover
    metered_j: float
    facility_j: float  # by the books: energy × PUE, of jobs and of what nobody held
    without_pue_j: float  # by the books: energy of which no facility energy is known, in no sum

    @property
    def difference_j(self) -> float:
        """What the site's meter has more than the books."""
        return self.metered_j - self.facility_j

    @property
    def share(self) -> float | None:
        """The difference's share of what the site's meter has."""
        return self.difference_j / self.metered_j if self.metered_j else None


def reconcile(
    books: Books, source: SiteMeterSource, start_s: float | None, end_s: float | None
) -> Sequence[Reconciliation]:
    """The whole of [start_s, end_s), or of the books, and then its months where there are several.

    SourceError where the meter cannot be read. Energy is taken to be even within what the books hold of an
    hour, and within a stretch of the meter, where one begins inside the other.
    """
    zone = ZoneInfo(books.zone)
    purged_s = books.purged_before_s
    booked = [(-1e18 if purged_s is None else purged_s, 1e18)]
    for cluster in books.clusters():
        booked = list(_both(booked, books.booked(cluster)))
    covered = list(_both(booked, [(-1e18 if start_s is None else start_s, 1e18 if end_s is None else end_s)]))
    if not covered or not books.clusters():
        return [Reconciliation(None, 0.0, 0.0, 0.0, 0.0)]
    period = covered[0][0], covered[-1][1]
    metered = list(source.stretches(*period))
    slots = _Slots(books, zone, booked)
    whole = _compare(None, metered, slots, covered)
    months = [_compare(name, metered, slots, list(_both(covered, [span]))) for name, span in _months(zone, *period)]
    return [whole, *(months if len(months) > 1 else ())]


class _Slots:
    """The facility's energy by the books, as a cumulative sum over the time that they hold."""

    def __init__(self, books: Books, zone: ZoneInfo, booked: Sequence[Stretch]) -> None:
        edges = slot_edges(zone, booked[0][0], booked[-1][1])
        rows = {row["slot_s"]: row for row in books.rows(_FACILITY, {"start_s": edges[0], "end_s": edges[-1]})}
        pieces = list(_both_with_place(list(pairwise(edges)), booked))
        held_s: dict[int, float] = defaultdict(float)  # of each slot, what the books hold
        for (start_s, end_s), place in pieces:
            held_s[place] += end_s - start_s
        self._time_s = [edges[0] - 1.0]
        self._facility_j, self._without_j = [0.0], [0.0]
        for (start_s, end_s), place in pieces:
            row, part = rows.get(edges[place]), (end_s - start_s) / held_s[place]
            self._time_s += [start_s, end_s]
            for sums, column in ((self._facility_j, "facility_j"), (self._without_j, "without_j")):
                used_j = (row[column] or 0.0) * part if row is not None else 0.0
                sums += [sums[-1], sums[-1] + used_j]

    def between(self, start_s: float, end_s: float) -> tuple[float, float]:
        """Facility energy, and energy without a PUE, in [start_s, end_s) (J)."""
        both_s = (start_s, end_s)
        facility_j, without_j = (np.interp(both_s, self._time_s, sums) for sums in (self._facility_j, self._without_j))
        return float(facility_j[1] - facility_j[0]), float(without_j[1] - without_j[0])


def _compare(
    month: str | None, metered: Sequence[SiteReading], slots: _Slots, covered: Sequence[Stretch]
) -> Reconciliation:
    compared_s = metered_j = facility_j = without_j = 0.0
    spans = [(one.start_s, one.end_s) for one in metered]
    for (start_s, end_s), place in _both_with_place(spans, covered):
        one = metered[place]
        compared_s += end_s - start_s
        metered_j += one.energy_j * (end_s - start_s) / (one.end_s - one.start_s)
        facility, without = slots.between(start_s, end_s)
        facility_j += facility
        without_j += without
    return Reconciliation(month, compared_s, metered_j, facility_j, without_j)


def _both(some: Sequence[Stretch], others: Sequence[Stretch]) -> Iterator[Stretch]:
    """The time that lies in stretches of both; both in order and apart."""
    return (stretch for stretch, _ in _both_with_place(some, others))


def _both_with_place(some: Sequence[Stretch], others: Sequence[Stretch]) -> Iterator[tuple[Stretch, int]]:
    """As `_both`, with the place in `some` of each."""
    i = j = 0
    while i < len(some) and j < len(others):
        start_s, end_s = max(some[i][0], others[j][0]), min(some[i][1], others[j][1])
        if start_s < end_s:
            yield (start_s, end_s), i
        if some[i][1] < others[j][1]:
            i += 1
        else:
            j += 1


def _months(zone: ZoneInfo, start_s: float, end_s: float) -> Iterator[tuple[str, Stretch]]:
    month = day_of(zone, start_s)
    while (bounds := month_bounds(zone, month.year, month.month))[0] < end_s:
        yield month.isoformat()[:7], bounds
        month = months_on(month, 1)


_FACILITY = """
SELECT slot_s, SUM(facility_j) AS facility_j, SUM(CASE WHEN facility_j IS NULL THEN energy_j END) AS without_j
FROM (
  SELECT slot_s, facility_j, energy_j FROM usage_slots
  WHERE superseded_by IS NULL AND slot_s >= :start_s AND slot_s < :end_s
  UNION ALL
  SELECT slot_s, idle_facility_j, idle_j FROM balance
  WHERE superseded_by IS NULL AND slot_s >= :start_s AND slot_s < :end_s
  UNION ALL
  SELECT slot_s, facility_j, energy_j FROM adjustments WHERE slot_s >= :start_s AND slot_s < :end_s
) AS used
GROUP BY slot_s
"""
