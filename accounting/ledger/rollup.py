"""The roll-ups, kept in step with the postings in force, in the same transaction.

A window's changes go upwards: the days of the attempts and meters whose postings changed, then the payers' days that
hold them. What these SQL statements say is the same in SQLite, PostgreSQL and MariaDB.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import Connection, text

from accounting.ledger.bulk import id_lists
from accounting.ledger.methods import METHODS

_RANK = "CASE method " + " ".join(f"WHEN '{method}' THEN {rank}" for rank, method in enumerate(METHODS)) + " END"
#: The least exact method of several, as its rank and from ranks its name.
_RANKED = f"MAX(CASE WHEN energy_j IS NOT NULL THEN {_RANK} END) AS method_rank"
_NAME = "CASE MAX(method_rank) {names} ELSE 'none' END".format(
    names=" ".join(f"WHEN {rank} THEN '{method}'" for rank, method in enumerate(METHODS))
)
#: Every method, so that the index of `usage_days` by method and day finds a day.
_OF_DAY = f"u.method IN ({', '.join(repr(method) for method in (*METHODS, 'none'))}) AND u.day"


def _whole(column: str, base: str) -> str:
    """A sum that is unknown as soon as one of its parts is, where there is energy at all."""
    return (
        f"CASE WHEN COUNT(CASE WHEN {base} <> 0 AND {column} IS NULL THEN 1 END) > 0 THEN NULL ELSE SUM({column}) END"
    )


# Summed by meter first, because the error of a sensor is the same in all of its slots.
_USAGE_DAYS = f"""
INSERT INTO usage_days (attempt_id, day, kind, model, method, held_s, known_s, measured_s, energy_j,
                        facility_j, location_g, market_g, embodied_g, modelled_j, sensor_j, edges_j2, sharing_j)
SELECT attempt_id, CAST(:day AS CHAR(10)), kind, model, {_NAME},
       SUM(held_s), SUM(known_s), SUM(measured_s), SUM(energy_j),
       {_whole("facility_j", "energy_j")}, {_whole("location_g", "energy_j")}, {_whole("market_g", "energy_j")},
       SUM(embodied_g), SUM(modelled_j), SQRT(SUM(sensed_j * sensed_j)), SUM(edges_j2), SUM(sharing_j)
FROM (
  SELECT attempt_id, kind, model, {_RANKED}, SUM(held_s) AS held_s, SUM(known_s) AS known_s,
         SUM(measured_s) AS measured_s, SUM(energy_j) AS energy_j,
         {_whole("facility_j", "energy_j")} AS facility_j, {_whole("location_g", "energy_j")} AS location_g,
         {_whole("market_g", "energy_j")} AS market_g, SUM(embodied_g) AS embodied_g, 
         SUM(CASE WHEN method = 'model' THEN energy_j END) AS modelled_j,
         SUM(CASE WHEN method <> 'model' THEN energy_j END) AS sensed_j,
         SUM(edges_j2) AS edges_j2, SUM(sharing_j) AS sharing_j
  FROM usage_slots JOIN meters ON meters.meter_id = usage_slots.meter_id
  WHERE slot_s >= :start_s AND slot_s < :end_s AND superseded_by IS NULL AND cluster = :cluster{{of}}
  GROUP BY attempt_id, meters.meter_id, kind, model
) AS of_meter
GROUP BY attempt_id, kind, model
"""

_IDLE_DAYS = f"""
INSERT INTO idle_days (meter_id, day, metered_j, known_s, measured_s, idle_s, idle_measured_s, idle_j,
                       idle_facility_j, idle_location_g, idle_market_g, idle_embodied_g)
SELECT meter_id, CAST(:day AS CHAR(10)), SUM(metered_j), SUM(known_s), SUM(measured_s), SUM(idle_s),
       SUM(CASE WHEN measured_s < idle_s THEN measured_s ELSE idle_s END), SUM(idle_j),
       {_whole("idle_facility_j", "idle_j")}, {_whole("idle_location_g", "idle_j")},
       {_whole("idle_market_g", "idle_j")}, SUM(idle_embodied_g)
FROM balance
WHERE meter_id IN ({{ids}}) AND slot_s >= :start_s AND slot_s < :end_s AND superseded_by IS NULL
GROUP BY meter_id
"""

_OF_CLUSTER = "payer_id IN (SELECT payer_id FROM payers WHERE cluster = :cluster)"

_PAYER_SUMS = {
    column: _whole(column, "energy_j") if column in ("facility_j", "location_g", "market_g") else f"SUM({column})"
    for column in (
        "held_s", "measured_s", "energy_j", "facility_j", "location_g", "market_g", "embodied_g", "modelled_j",
        "sensor_j", "edges_j2", "sharing_j",
    )
}  # fmt: skip

_PAYER_DAYS = f"""
INSERT INTO payer_days (month, payer_id, kind, model, day, {", ".join(_PAYER_SUMS)})
SELECT CAST(:month AS CHAR(7)), payer_id, kind, model, day, {", ".join(_PAYER_SUMS.values())}
FROM usage_days u JOIN attempts a ON a.attempt_id = u.attempt_id
WHERE {_OF_DAY} = :day AND a.cluster = :cluster
GROUP BY day, payer_id, kind, model
"""

_PAYER_MONTHS = f"""
INSERT INTO payer_months (month, payer_id, kind, model, {", ".join(_PAYER_SUMS)})
SELECT month, payer_id, kind, model, {", ".join(_PAYER_SUMS.values())}
FROM payer_days WHERE month = :month AND {_OF_CLUSTER}
GROUP BY month, payer_id, kind, model
"""

_BEFORE = "COALESCE((SELECT MAX(p.day) FROM usage_days p WHERE p.attempt_id = {attempt} AND p.day < :day{same}), '')"

_PAYER_JOBS = f"""
INSERT INTO payer_jobs (month, day, payer_id, kind, model, previous_day, jobs)
SELECT CAST(:month AS CHAR(7)), day, payer_id, kind, model, previous_day, COUNT(*)
FROM (
  SELECT there.day, a.payer_id, '' AS kind, '' AS model,
         {_BEFORE.format(attempt="a.attempt_id", same="")} AS previous_day
  FROM (SELECT DISTINCT u.day, u.attempt_id FROM usage_days u WHERE {_OF_DAY} = :day) AS there
  JOIN attempts a ON a.attempt_id = there.attempt_id
  WHERE a.cluster = :cluster
  UNION ALL
  SELECT u.day, a.payer_id, u.kind, u.model,
         {_BEFORE.format(attempt="a.attempt_id", same=" AND p.kind = u.kind AND p.model = u.model")} AS previous_day
  FROM usage_days u JOIN attempts a ON a.attempt_id = u.attempt_id
  WHERE {_OF_DAY} = :day AND a.cluster = :cluster
) AS job
GROUP BY day, payer_id, kind, model, previous_day
"""


class RollUp:
    """Brings the roll-ups of one cluster up to its postings."""

    def __init__(self, connection: Connection, cluster: str, days: Sequence[tuple[str, int, int]]) -> None:
        """`days`: the calendar days whose postings changed, with their starts and ends (UTC epoch s)."""
        self._connection = connection
        self._cluster = cluster
        self._days = days

    def usage(self, attempt_ids: Collection[int], *, first: bool) -> None:
        """Sum the days anew for the attempts whose postings changed; `first`: the cluster had none on these days."""
        for day, start_s, end_s in self._days:
            slots = {"day": day, "start_s": start_s, "end_s": end_s, "cluster": self._cluster}
            if first:
                self._run(_USAGE_DAYS.format(of=""), **slots)
                continue
            for ids in id_lists(attempt_ids):
                self._run(f"DELETE FROM usage_days WHERE day = :day AND attempt_id IN ({ids})", day=day)
                self._run(_USAGE_DAYS.format(of=f" AND attempt_id IN ({ids})"), **slots)

    def idle(self, meter_ids: Collection[int]) -> None:
        """Sum the days anew for the meters whose balances changed."""
        for day, start_s, end_s in self._days:
            for ids in id_lists(meter_ids):
                self._run(f"DELETE FROM idle_days WHERE day = :day AND meter_id IN ({ids})", day=day)
                self._run(_IDLE_DAYS.format(ids=ids), day=day, start_s=start_s, end_s=end_s)

    def payers(self, attempt_ids: Collection[int], moved_ids: Collection[int]) -> None:
        """Sum the payers' days anew: those of changed attempts, and every day of attempts that moved to another payer.

        A job that appears on a day, or is gone from it, is counted otherwise on its next day, too.
        """
        days = {day for day, _, _ in self._days} if attempt_ids else set()
        days |= self._days_of(moved_ids)
        for day in sorted(days):
            self._again(f"payer_days WHERE day = :day AND month = :month AND {_OF_CLUSTER}", _PAYER_DAYS, day)
        for month in sorted({day[:7] for day in days}):
            self._again(f"payer_months WHERE month = :month AND {_OF_CLUSTER}", _PAYER_MONTHS, month)
        for day in sorted(days | self._following(attempt_ids)):
            self._again(f"payer_jobs WHERE day = :day AND month = :month AND {_OF_CLUSTER}", _PAYER_JOBS, day)

    def _again(self, rows: str, insert: str, period: str) -> None:
        values = {"month": period[:7], "day": period, "cluster": self._cluster}
        self._run(f"DELETE FROM {rows}", **values)
        self._run(insert, **values)

    def _days_of(self, attempt_ids: Collection[int]) -> set[str]:
        days: set[str] = set()
        for ids in id_lists(attempt_ids):
            chosen = text(f"SELECT DISTINCT day FROM usage_days WHERE attempt_id IN ({ids})")
            days |= set(self._connection.execute(chosen).scalars())
        return days

    def _following(self, attempt_ids: Collection[int]) -> set[str]:
        """The next day of each attempt after the changed ones. Mostly the books end here, and there is none."""
        last = max(day for day, _, _ in self._days)
        latest = "SELECT MAX(day) FROM payer_days WHERE month = (SELECT MAX(month) FROM payer_days)"
        if (self._connection.execute(text(latest)).scalar() or "") <= last:
            return set()
        days: set[str] = set()
        for ids in id_lists(attempt_ids):
            chosen = f"SELECT MIN(day) FROM usage_days WHERE attempt_id IN ({ids}) AND day > :last GROUP BY attempt_id"
            days |= set(self._connection.execute(text(chosen), {"last": last}).scalars())
        return days

    def _run(self, sql: str, **values: object) -> None:
        self._connection.execute(text(sql), values)
