"""What the roll-ups say, as SQL: each is a query on what lies below it, the postings in force at the bottom.

The ledger writes what these queries give (`accounting.ledger.rollup`), and an audit asks them again and compares
(`accounting.agreement`). They say the same in SQLite, PostgreSQL and MariaDB.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from accounting.ledger.methods import METHODS

_RANK = "CASE method " + " ".join(f"WHEN '{method}' THEN {rank}" for rank, method in enumerate(METHODS)) + " END"
#: The least exact method of several, as its rank and from ranks its name.
_RANKED = f"MAX(CASE WHEN energy_j IS NOT NULL THEN {_RANK} END) AS method_rank"
_NAME = "CASE MAX(method_rank) {names} ELSE 'none' END".format(
    names=" ".join(f"WHEN {rank} THEN '{method}'" for rank, method in enumerate(METHODS))
)
#: Every method, so that the index of `usage_days` by method and day finds a day.
OF_DAY = f"u.method IN ({', '.join(repr(method) for method in (*METHODS, 'none'))}) AND u.day"

#: The payers of one cluster.
OF_CLUSTER = "payer_id IN (SELECT payer_id FROM payers WHERE cluster = :cluster)"


def _whole(column: str, base: str) -> str:
    """A sum that is unknown as soon as one of its parts is, where there is energy at all."""
    return (
        f"CASE WHEN COUNT(CASE WHEN {base} <> 0 AND {column} IS NULL THEN 1 END) > 0 THEN NULL ELSE SUM({column}) END"
    )


#: In the queries: the postings that count, and the last run that says whom a day of `:month` is booked to.
IN_FORCE = "superseded_by IS NULL"
NEVER = 2**53
LAST_RUN = f"""(
  SELECT CASE WHEN MAX(CASE WHEN p.closed THEN 1 ELSE 0 END) = 1 THEN MAX(p.run_id) ELSE {NEVER} END
  FROM periods p
  WHERE p.month = :month AND p.period_id = (SELECT MAX(q.period_id) FROM periods q WHERE q.month = :month)
)"""


def payer_at(run: str) -> str:
    """Whom attempt `a` was booked to after a run: what the first move after it says of before, else what is so now."""
    before = "SELECT v.payer_id FROM moves v WHERE v.attempt_id = a.attempt_id AND v.run_id > {run} ORDER BY v.run_id"
    return f"COALESCE(({before.format(run=run)} LIMIT 1), a.payer_id)"


@dataclass(frozen=True, slots=True)
class Derived:
    """A roll-up: its table, its key, its other columns, and the query that gives them in this order.

    `{of}` in the query is for a further condition; `:day`, `:month`, `:cluster`, `:start_s` and `:end_s` are the
    period and whose it is.
    """

    table: str
    keys: Sequence[str]
    columns: Sequence[str]
    query: str

    @property
    def insert(self) -> str:
        """The statement that writes it."""
        return f"INSERT INTO {self.table} ({', '.join((*self.keys, *self.columns))}) {self.query}"


# Summed by meter first, because the error of a sensor is the same in all of its slots.
USAGE_DAYS = Derived(
    "usage_days",
    ("attempt_id", "day", "kind", "model"),
    (
        "payer_id", "method", "held_s", "known_s", "measured_s", "energy_j", "facility_j", "location_g", "market_g",
        "embodied_g", "modelled_j", "sensor_j", "edges_j2", "sharing_j",
    ),
    f"""
SELECT a.attempt_id, CAST(:day AS CHAR(10)) AS day, kind, model, {payer_at(LAST_RUN)} AS payer_id, {_NAME} AS method,
       SUM(held_s) AS held_s, SUM(known_s) AS known_s, SUM(measured_s) AS measured_s, SUM(energy_j) AS energy_j,
       {_whole("facility_j", "energy_j")} AS facility_j, {_whole("location_g", "energy_j")} AS location_g,
       {_whole("market_g", "energy_j")} AS market_g, SUM(embodied_g) AS embodied_g, SUM(modelled_j) AS modelled_j,
       SQRT(SUM(sensed_j * sensed_j)) AS sensor_j, SUM(edges_j2) AS edges_j2, SUM(sharing_j) AS sharing_j
FROM (
  SELECT attempt_id, kind, model, {_RANKED}, SUM(held_s) AS held_s, SUM(known_s) AS known_s,
         SUM(measured_s) AS measured_s, SUM(energy_j) AS energy_j,
         {_whole("facility_j", "energy_j")} AS facility_j, {_whole("location_g", "energy_j")} AS location_g,
         {_whole("market_g", "energy_j")} AS market_g, SUM(embodied_g) AS embodied_g,
         SUM(CASE WHEN method = 'model' THEN energy_j END) AS modelled_j,
         SUM(CASE WHEN method <> 'model' THEN energy_j END) AS sensed_j,
         SUM(edges_j2) AS edges_j2, SUM(sharing_j) AS sharing_j
  FROM usage_slots JOIN meters ON meters.meter_id = usage_slots.meter_id
  WHERE slot_s >= :start_s AND slot_s < :end_s AND {IN_FORCE} AND cluster = :cluster{{of}}
  GROUP BY attempt_id, meters.meter_id, kind, model
) AS of_meter JOIN attempts a ON a.attempt_id = of_meter.attempt_id
GROUP BY a.attempt_id, a.payer_id, kind, model
""",
)  # fmt: skip

IDLE_DAYS = Derived(
    "idle_days",
    ("day", "meter_id"),
    (
        "metered_j", "known_s", "measured_s", "idle_s", "idle_measured_s", "idle_j", "idle_facility_j",
        "idle_location_g", "idle_market_g", "idle_embodied_g",
    ),
    f"""
SELECT CAST(:day AS CHAR(10)) AS day, meter_id, SUM(metered_j) AS metered_j, SUM(known_s) AS known_s,
       SUM(measured_s) AS measured_s, SUM(idle_s) AS idle_s,
       SUM(CASE WHEN measured_s < idle_s THEN measured_s ELSE idle_s END) AS idle_measured_s, SUM(idle_j) AS idle_j,
       {_whole("idle_facility_j", "idle_j")} AS idle_facility_j,
       {_whole("idle_location_g", "idle_j")} AS idle_location_g,
       {_whole("idle_market_g", "idle_j")} AS idle_market_g, SUM(idle_embodied_g) AS idle_embodied_g
FROM balance
WHERE {{of}} AND slot_s >= :start_s AND slot_s < :end_s AND {IN_FORCE}
GROUP BY meter_id
""",
)  # fmt: skip

#: The meters of one cluster.
METERS_OF_CLUSTER = "meter_id IN (SELECT meter_id FROM meters WHERE cluster = :cluster)"

_PAYER_SUMS = {
    column: _whole(column, "energy_j") if column in ("facility_j", "location_g", "market_g") else f"SUM({column})"
    for column in (
        "held_s", "measured_s", "energy_j", "facility_j", "location_g", "market_g", "embodied_g", "modelled_j",
        "sensor_j", "edges_j2", "sharing_j",
    )
}  # fmt: skip
_SUMMED = ", ".join(f"{sum_} AS {column}" for column, sum_ in _PAYER_SUMS.items())

PAYER_DAYS = Derived(
    "payer_days",
    ("month", "payer_id", "kind", "model", "day"),
    tuple(_PAYER_SUMS),
    f"""
SELECT CAST(:month AS CHAR(7)) AS month, u.payer_id, kind, model, day, {_SUMMED}
FROM usage_days u JOIN attempts a ON a.attempt_id = u.attempt_id
WHERE {OF_DAY} = :day AND a.cluster = :cluster
GROUP BY day, u.payer_id, kind, model
""",
)

PAYER_MONTHS = Derived(
    "payer_months",
    ("month", "payer_id", "kind", "model"),
    tuple(_PAYER_SUMS),
    f"""
SELECT month, payer_id, kind, model, {_SUMMED}
FROM payer_days WHERE month = :month AND {OF_CLUSTER}
GROUP BY month, payer_id, kind, model
""",
)

# Of the same job: a requeued one has several attempts, and is one job of its payer.
_BEFORE = """COALESCE((
           SELECT MAX(p.day) FROM attempts e JOIN usage_days p ON p.attempt_id = e.attempt_id
           WHERE e.job_id = a.job_id AND e.cluster = a.cluster AND p.payer_id = {used}.payer_id AND p.day < :day{same}
         ), '')"""

PAYER_JOBS = Derived(
    "payer_jobs",
    ("month", "day", "payer_id", "kind", "model", "previous_day"),
    ("jobs",),
    f"""
SELECT CAST(:month AS CHAR(7)) AS month, day, payer_id, kind, model, previous_day, COUNT(DISTINCT job_id) AS jobs
FROM (
  SELECT there.day, there.payer_id, '' AS kind, '' AS model, a.job_id,
         {_BEFORE.format(used="there", same="")} AS previous_day
  FROM (SELECT DISTINCT u.day, u.attempt_id, u.payer_id FROM usage_days u WHERE {OF_DAY} = :day) AS there
  JOIN attempts a ON a.attempt_id = there.attempt_id
  WHERE a.cluster = :cluster
  UNION ALL
  SELECT u.day, u.payer_id, u.kind, u.model, a.job_id,
         {_BEFORE.format(used="u", same=" AND p.kind = u.kind AND p.model = u.model")} AS previous_day
  FROM usage_days u JOIN attempts a ON a.attempt_id = u.attempt_id
  WHERE {OF_DAY} = :day AND a.cluster = :cluster
) AS job
GROUP BY day, payer_id, kind, model, previous_day
""",
)
