"""The factors that the books were made with: by which source, on which basis, how much of it estimated.

Each posting of `factors` lies within one slot, so what a job used in a slot and what was applied to it meet there.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from zoneinfo import ZoneInfo

from accounting.clock import day_of, day_start
from accounting.jobs import JobUsage
from accounting.ledger.reading import Books, Row, one_of
from accounting.model import FactorSlot

_MOST = 500  # jobs asked for in one query
_LONGEST_SLOT_S = 7200  # an hour of the clock, and what a zone may set it back by


@dataclass(frozen=True, slots=True)
class SourceShare:
    """What a source gave of the factors of one kind. `share` and `estimated_share` are of what is known, 0 … 1."""

    kind: str  # pue | location | market
    source: str
    basis: str | None
    share: float
    estimated_share: float
    retrieved_s: float | None  # the last time that a service was asked


def shares_of_time(books: Books, start_s: float, end_s: float, clusters: Sequence[str] | None) -> list[SourceShare]:
    """The sources of what was applied in the slots that begin in [start_s, end_s), each by the time it holds for."""
    values: dict[str, object] = {"start_s": start_s, "end_s": end_s}
    chosen = "" if clusters is None else " AND " + one_of("cluster", clusters, values)
    return _shares(books.rows(_BY_TIME.format(chosen=chosen), values))


def shares_of_energy(books: Books, jobs: Iterable[JobUsage]) -> list[SourceShare]:
    """The sources of what was applied to some jobs, each by the energy that it was applied to."""
    wanted = {(job.cluster, job.job_id_raw, job.submit) for job in jobs}
    rows: list[Row] = []
    ids = sorted({job_id for _, job_id, _ in wanted})
    for first in range(0, len(ids), _MOST):
        values: dict[str, object] = {}
        chosen = one_of("a.job_id", ids[first : first + _MOST], values)
        found = books.rows(_BY_ENERGY.format(chosen=chosen), values)
        found += _of_purged_days(books, chosen, values)
        rows += [row for row in found if (row["cluster"], row["job_id"], row["submit_s"]) in wanted]
    return _shares(rows)


def _of_purged_days(books: Books, chosen: str, values: Mapping[str, object]) -> Iterator[Row]:
    """As `_BY_ENERGY`, for days whose hours were purged: a job's energy is taken to be even over the day."""
    purged_s = books.purged_before_s
    if purged_s is None:
        return
    zone = ZoneInfo(books.zone)
    before = day_of(zone, purged_s).isoformat()
    of_day: dict[tuple[str, str], list[Row]] = {}
    for used in books.rows(_DAYS.format(chosen=chosen), {**values, "before": before}):
        place = used["cluster"], used["day"]
        if place not in of_day:
            day = date.fromisoformat(used["day"])
            start_s, end_s = day_start(zone, day), day_start(zone, day + timedelta(days=1))
            period = {"start_s": start_s, "end_s": end_s, "cluster": used["cluster"], "hours": (end_s - start_s) / 3600}
            of_day[place] = books.rows(_EVEN.format(chosen=" AND f.cluster = :cluster"), period)
        for row in of_day[place]:
            yield {**dict(row), **dict(used), "weight": row["weight"] * used["energy_j"]}


def applied(books: Books, cluster: str, kind: str, start_s: float, end_s: float) -> list[FactorSlot]:
    """What was applied to a cluster in [start_s, end_s), in order; the outer ones reach beyond it as their slots do."""
    rows = books.rows(
        "SELECT start_s, end_s, value, source, estimated, basis, retrieved_s FROM factors WHERE superseded_by IS NULL "
        "AND cluster = :cluster AND kind = :kind AND slot_s > :from_s AND start_s < :end_s AND end_s > :start_s "
        "ORDER BY start_s",
        {
            "cluster": cluster,
            "kind": kind,
            "start_s": start_s,
            "end_s": end_s,
            "from_s": start_s - _LONGEST_SLOT_S,
        },
    )
    return [
        FactorSlot(
            row["start_s"], row["end_s"], row["value"], row["source"], bool(row["estimated"]), row["basis"],
            row["retrieved_s"],
        )
        for row in rows
    ]  # fmt: skip


def other_values(used: Sequence[FactorSlot], known: Sequence[FactorSlot]) -> Iterator[float]:
    """The instants from which on what was applied differs from what is known now; both in order and apart.

    What is not known now differs from nothing: a source that is silent today took nothing back.
    """
    starts = [slot.start_s for slot in known]
    for slot in used:
        for now in known[max(bisect_right(starts, slot.start_s) - 1, 0) :]:
            if now.start_s >= slot.end_s:
                break
            if now.end_s > slot.start_s and not math.isclose(now.value, slot.value, rel_tol=1e-9, abs_tol=1e-9):
                yield max(now.start_s, slot.start_s)


_COLUMNS = "f.kind, f.source, f.basis, f.estimated"

_BY_TIME = f"""
SELECT {_COLUMNS}, SUM(f.end_s - f.start_s) AS weight, MAX(f.retrieved_s) AS retrieved_s
FROM factors f
WHERE f.superseded_by IS NULL AND f.slot_s >= :start_s AND f.slot_s < :end_s{{chosen}}
GROUP BY {_COLUMNS}
"""

_EVEN = _BY_TIME.replace("SUM(f.end_s - f.start_s) AS weight", "SUM(f.end_s - f.start_s) / :hours AS weight")

_DAYS = """
SELECT a.cluster, a.job_id, a.submit_s, u.day, SUM(u.energy_j) AS energy_j
FROM attempts a JOIN usage_days u ON u.attempt_id = a.attempt_id
WHERE u.day < :before AND u.energy_j IS NOT NULL AND {chosen}
GROUP BY a.cluster, a.job_id, a.submit_s, u.day
"""

_BY_ENERGY = f"""
SELECT a.cluster, a.job_id, a.submit_s, {_COLUMNS}, SUM(u.energy_j * (f.end_s - f.start_s)) AS weight,
       MAX(f.retrieved_s) AS retrieved_s
FROM attempts a
JOIN usage_slots u ON u.attempt_id = a.attempt_id AND u.superseded_by IS NULL AND u.energy_j IS NOT NULL
JOIN factors f ON f.cluster = a.cluster AND f.slot_s = u.slot_s AND f.superseded_by IS NULL
WHERE {{chosen}}
GROUP BY a.cluster, a.job_id, a.submit_s, {_COLUMNS}
"""


def _shares(rows: Iterable[Row]) -> list[SourceShare]:
    """The largest share of each kind first."""
    weight: dict[tuple[str, str, str | None], float] = defaultdict(float)
    estimated: dict[tuple[str, str, str | None], float] = defaultdict(float)
    retrieved_s: dict[tuple[str, str, str | None], float | None] = {}
    total: dict[str, float] = defaultdict(float)
    for row in rows:
        key = (row["kind"], row["source"], row["basis"])
        weight[key] += row["weight"]
        total[row["kind"]] += row["weight"]
        if row["estimated"]:
            estimated[key] += row["weight"]
        retrieved_s[key] = max((retrieved_s.get(key), row["retrieved_s"]), key=lambda time_s: time_s or 0.0)
    found = [
        SourceShare(*key, part / total[key[0]], estimated[key] / part, retrieved_s[key])
        for key, part in weight.items()
        if part > 0
    ]
    return sorted(found, key=lambda one: (one.kind, -one.share, one.source))
