"""Which months are closed, whether one may be, and what was adjusted since: read from the books.

A closed month changes only by adjustments that are posted in an open one (`accounting.ledger.adjusting`). Both months'
reports say so: `adjustments_in` gives those that were posted in a period and enter its total, `adjustments_to` those
that are about days of a period, wherever they were posted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from accounting.clock import day_of, gaps, month_bounds, months_between
from accounting.ledger.reading import Books, Row
from accounting.report import Chosen, Sums, grouping_of


@dataclass(frozen=True, slots=True)
class Event:
    """A month was closed, or opened again: when (UTC epoch s), by whom, where, and why."""

    closed: bool
    at_s: float
    who: str
    host: str
    why: str | None


@dataclass(frozen=True, slots=True)
class Month:
    """A month of the books, and all that was done to it."""

    month: str  # 2026-10
    events: Sequence[Event]

    @property
    def closed(self) -> bool:
        """Whether it is closed now."""
        return bool(self.events) and self.events[-1].closed


@dataclass(frozen=True, slots=True)
class Adjusted:
    """Adjustments to one closed month that were posted in one month for one reason.

    The figures are differences, and may be negative; `jobs` and `coverage` say nothing.
    """

    month: str  # the closed one
    posted_month: str
    posted_s: float  # the last of them
    restatement_id: int | None
    reason: str | None  # as the author of the restatement wrote it; None: it was accounted again
    groups: Sequence[Sums]
    idle: Sums | None  # None where only some payers are asked for
    total: Sums


def months(books: Books) -> list[Month]:
    """The months that the books hold time of, or that were closed, in order."""
    events: dict[str, list[Event]] = defaultdict(list)
    for row in books.rows("SELECT * FROM periods ORDER BY period_id"):
        events[row["month"]].append(Event(bool(row["closed"]), row["at_s"], row["who"], row["host"], row["why"]))
    zone = ZoneInfo(books.zone)
    names = set(events)
    for cluster in books.clusters():
        for start_s, end_s in books.booked(cluster):
            days = day_of(zone, start_s), day_of(zone, end_s - 1e-3)
            names |= {month.isoformat()[:7] for month in months_between(*days)}
    return [Month(name, tuple(events[name])) for name in sorted(names)]


def hindrances(books: Books, month: str, clusters: Sequence[str], now_s: float) -> tuple[list[str], list[str]]:
    """Why a month may not be closed: what forbids it, and what of `clusters` it lacks, in words."""
    from accounting.audit import audit

    zone = ZoneInfo(books.zone)
    start_s, end_s = month_bounds(zone, *map(int, month.split("-")))
    if end_s > now_s:
        return [f"{month} is not over yet"], []
    lacking = [
        f"{cluster} is not accounted from {_shown(zone, a)} to {_shown(zone, b)}"
        for cluster in clusters
        for a, b in gaps(books.booked(cluster), start_s, end_s)
    ]
    forbidding = []
    if not any(a < end_s and b > start_s for cluster in clusters for a, b in books.booked(cluster)):
        forbidding.append(f"the books hold nothing of {month}")
    elif not audit(books, start_s, end_s).balanced:
        forbidding.append(f"the books of {month} do not balance")
    return forbidding, lacking


def adjustments_in(
    books: Books, first_day: str, last_day: str, by: str = "account", chosen: Chosen | None = None
) -> list[Adjusted]:
    """What was posted on the days `first_day` to `last_day` (ISO, both included) about closed months."""
    return _adjusted(books, "posted_day", first_day, last_day, by, chosen or Chosen())


def adjustments_to(
    books: Books, first_day: str, last_day: str, by: str = "account", chosen: Chosen | None = None
) -> list[Adjusted]:
    """What was posted, whenever, about the days `first_day` to `last_day`: it is in no figure of these days."""
    return _adjusted(books, "for_day", first_day, last_day, by, chosen or Chosen())


def _adjusted(books: Books, day: str, first_day: str, last_day: str, by: str, chosen: Chosen) -> list[Adjusted]:
    values: dict[str, Any] = {"first": first_day, "last": last_day}
    grouping = grouping_of(by)
    sql = _SUMS.format(
        name=grouping.name,
        day=day,
        clusters=Chosen(chosen.clusters).where("m", values),
        payers=Chosen(None, chosen.accounts, chosen.users).where("p", values),
    )
    together: dict[tuple[str, str, int | None], list[Row]] = defaultdict(list)
    for row in books.rows(sql, values):
        together[row["month"], row["posted_month"], row["restatement_id"]].append(row)
    why = {row["restatement_id"]: row["why"] for row in books.rows("SELECT restatement_id, why FROM restatements")}
    return [
        Adjusted(
            month=month,
            posted_month=posted_month,
            posted_s=max(row["posted_s"] for row in rows),
            restatement_id=restatement_id,
            reason=None if restatement_id is None else why.get(restatement_id),  # a copy for publication has none
            groups=[_sums(key, of) for key, of in sorted(_by_key(rows, grouping.key).items(), key=_name)],
            idle=None if chosen.narrowed else _sums(None, [row for row in rows if row["idle"]]),
            total=_sums(None, rows),
        )
        for (month, posted_month, restatement_id), rows in sorted(
            together.items(), key=lambda one: (one[0][:2], one[0][2] or 0)
        )
    ]


def _name(group: tuple[str | None, list[Row]]) -> str:
    return group[0] or ""


def _by_key(rows: Sequence[Row], key: Any) -> dict[str | None, list[Row]]:
    found: dict[str | None, list[Row]] = defaultdict(list)
    for row in rows:
        if not row["idle"]:
            found[row["group_name"] if key is None else key(row["group_name"])].append(row)
    return found


_SUMS = """
SELECT {name} AS group_name, SUBSTR(j.for_day, 1, 7) AS month, SUBSTR(j.posted_day, 1, 7) AS posted_month,
       j.restatement_id, CASE WHEN j.attempt_id IS NULL THEN 1 ELSE 0 END AS idle, MAX(j.finished_s) AS posted_s,
       SUM(CASE WHEN j.kind = 'gpu' THEN j.held_s ELSE 0 END) AS held_s,
       SUM(CASE WHEN j.kind = 'gpu' THEN j.energy_j ELSE 0 END) AS gpu_energy_j,
       SUM(CASE WHEN j.kind = 'host' THEN j.energy_j ELSE 0 END) AS host_energy_j, SUM(j.facility_j) AS facility_j,
       SUM(j.location_g) AS location_g, SUM(j.market_g) AS market_g, SUM(j.embodied_g) AS embodied_g
FROM (
  SELECT d.*, m.kind, m.model, r.restatement_id, r.finished_s
  FROM adjustments d JOIN meters m ON m.meter_id = d.meter_id JOIN runs r ON r.run_id = d.run_id
  WHERE d.{day} >= :first AND d.{day} <= :last{clusters}
) AS j LEFT JOIN payers p ON p.payer_id = j.payer_id
WHERE 1 = 1{payers}
GROUP BY {name}, SUBSTR(j.for_day, 1, 7), SUBSTR(j.posted_day, 1, 7), j.restatement_id,
         CASE WHEN j.attempt_id IS NULL THEN 1 ELSE 0 END
"""


def _sums(key: str | None, rows: Sequence[Row]) -> Sums:
    def total(column: str) -> float:
        return float(sum(row[column] for row in rows))

    return Sums(
        key=key,
        jobs=0,
        jobs_unknown=0,
        gpu_seconds=total("held_s"),
        gpu_energy_j=total("gpu_energy_j"),
        host_energy_j=total("host_energy_j"),
        it_energy_j=total("gpu_energy_j") + total("host_energy_j"),
        facility_energy_j=total("facility_j"),
        co2e_location_g=total("location_g"),
        co2e_market_g=total("market_g"),
        co2e_embodied_g=total("embodied_g"),
        coverage=None,
    )


def _shown(zone: ZoneInfo, time_s: float) -> str:
    return datetime.fromtimestamp(time_s, zone).strftime("%Y-%m-%d %H:%M")
