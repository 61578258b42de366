"""What the books say, as tables for other programs: jobs by day, the balance by day, adjustments to closed months.

The names and units of columns are promised: they stay, and new ones come at the end. Unknown is empty (CSV) or null
(Parquet). Rows are made a day at a time, so that years need no more memory than a day.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

from accounting.clock import day_start
from accounting.ledger.reading import Books, Row, one_of
from accounting.ledger.sums import OF_DAY
from accounting.pseudonyms import Pseudonyms

#: Columns whose names are words of SQL, and what they are called in our queries.
_IN_SQL = {
    "submit": "submit_s", "start": "start_s", "end": "end_s", "user": "user_name", "partition": "partition_name",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its name, what its values are, their unit ("" for none), and what they mean."""

    name: str
    kind: Literal["text", "integer", "number"]
    unit: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table: its name, its columns, and the query of one day's rows. `note` says what a row is."""

    name: str
    note: str
    columns: Sequence[Column]
    query: str
    of_cluster: str  # the column by which clusters are chosen

    @property
    def names(self) -> list[str]:
        """The columns' names."""
        return [column.name for column in self.columns]


def days_between(first: date, last: date) -> Iterator[date]:
    """The days from `first` to `last`, both included."""
    for number in range((last - first).days + 1):
        yield first + timedelta(days=number)


def rows_of(
    table: Table,
    books: Books,
    first: date,
    last: date,
    clusters: Sequence[str] | None = None,
    pseudonyms: Pseudonyms | None = None,
) -> Iterator[list[tuple[Any, ...]]]:
    """The rows of the calendar days `first` to `last` (both included), by day, in the order of the table's columns."""
    zone = ZoneInfo(books.zone)
    purged_s = books.purged_before_s
    values: dict[str, Any] = {}
    chosen = "" if clusters is None else f" AND {one_of(table.of_cluster, clusters, values)}"
    for day in days_between(first, last):
        start_s, end_s = day_start(zone, day), day_start(zone, day + timedelta(days=1))
        values |= {"day": day.isoformat(), "start_s": start_s, "end_s": end_s}
        purged = purged_s is not None and start_s < purged_s
        found = books.rows(table.query.format(chosen=chosen, of_day=OF_DAY), values)
        if found:
            yield [_row(table, row, pseudonyms, purged) for row in found]


def _row(table: Table, row: Row, pseudonyms: Pseudonyms | None, purged: bool) -> tuple[Any, ...]:
    values = {name: row[_IN_SQL.get(name, name)] for name in table.names}
    if purged and "attributed_j" in values:  # to whom each of the meter's hours went is gone
        values["attributed_j"] = None
    if pseudonyms is not None and "user" in values:
        values |= {
            "user": pseudonyms.user(values["user"]),
            "account": pseudonyms.account(values["account"]),
            "wckey": pseudonyms.wckey(values["wckey"]),
            "name": None,
        }
    return tuple(values.values())


_DAY = Column("day", "text", "", "Day of the site's calendar, YYYY-MM-DD")
_CLUSTER = Column("cluster", "text", "", "Slurm's ClusterName")
_JOB = (
    Column("job_id", "text", "", "The job as sacct shows it: 42, 42_3, 42+1"),
    Column("job_id_raw", "integer", "", "Slurm's JobIDRaw"),
    Column("submit", "integer", "s", "When this attempt of the job was submitted, UTC epoch"),
)
_PAYER = (
    Column("user", "text", "", "User, or a pseudonym"),
    Column("account", "text", "", "Account, or a pseudonym"),
    Column("partition", "text", "", "Partition"),
    Column("qos", "text", "", "QOS"),
    Column("wckey", "text", "", "WCKey, or a pseudonym"),
    Column("name", "text", "", "The job's name; empty in an anonymised export"),
)
_FIGURES = (
    Column("energy_j", "number", "J", "IT energy"),
    Column("facility_energy_j", "number", "J", "IT energy times PUE"),
    Column("co2e_location_g", "number", "gCO2e", "Operational emissions, location-based"),
    Column("co2e_market_g", "number", "gCO2e", "Operational emissions, market-based"),
    Column("co2e_embodied_g", "number", "gCO2e", "Share of the hardware's embodied emissions"),
)

JOBS = Table(
    "jobs",
    "An attempt of a job, a day, a kind of meter and a model",
    (
        _DAY,
        _CLUSTER,
        *_JOB,
        Column("start", "integer", "s", "When it began, UTC epoch; empty while it waits"),
        Column("end", "integer", "s", "When it ended, UTC epoch; empty while it runs"),
        Column("state", "text", "", "State, when it was last accounted"),
        *_PAYER,
        Column("cpus", "integer", "", "CPUs that were allocated"),
        Column("memory_mb", "number", "MiB", "Memory that was allocated"),
        Column("gpus", "integer", "", "GPUs that were allocated"),
        Column("kind", "text", "", "What the figures are of: gpu, or host (CPUs, memory and the rest of nodes)"),
        Column("model", "text", "", "Model of the GPUs; empty for host, and where it is unknown"),
        Column(
            "method", "text", "", "Least exact method that gave energy: counter, power, slurm, model; none: unknown"
        ),
        Column("held_s", "number", "s", "Device time that the job held: seconds times GPUs"),
        Column("known_s", "number", "s", "… of which the energy is known"),
        Column("measured_s", "number", "s", "… and was measured, without gaps"),
        *_FIGURES,
        Column("modelled_j", "number", "J", "Of the IT energy, what a model gave; empty for none"),
    ),
    """
SELECT u.day, a.cluster, a.label AS job_id, a.job_id AS job_id_raw, a.submit_s, a.start_s,
       a.end_s, a.state, p.user_name, p.account, p.partition_name, p.qos, p.wckey,
       a.name, a.cpus, a.memory_mb, a.gpus, u.kind, u.model, u.method, u.held_s, u.known_s, u.measured_s, u.energy_j,
       u.facility_j AS facility_energy_j, u.location_g AS co2e_location_g, u.market_g AS co2e_market_g,
       u.embodied_g AS co2e_embodied_g, u.modelled_j
FROM usage_days u
JOIN attempts a ON a.attempt_id = u.attempt_id
JOIN payers p ON p.payer_id = u.payer_id
WHERE {of_day} = :day{chosen}
ORDER BY a.cluster, a.job_id, a.submit_s, u.kind, u.model
""",
    "a.cluster",
)

BALANCE = Table(
    "balance",
    "A meter's day: metered = attributed + idle",
    (
        _DAY,
        _CLUSTER,
        Column("node", "text", "", "The node it is in"),
        Column("kind", "text", "", "gpu, or host"),
        Column("uuid", "text", "", "The GPU's UUID; the node's name for its host part"),
        Column("model", "text", "", "Model of the GPU"),
        Column("metered_j", "number", "J", "IT energy that was metered"),
        Column("attributed_j", "number", "J", "… of which jobs used; empty where hours were purged"),
        Column("idle_j", "number", "J", "… and nobody held"),
        Column("known_s", "number", "s", "Time of which its energy is known"),
        Column("measured_s", "number", "s", "… and was measured, without gaps"),
        Column("idle_s", "number", "s", "Time in which nobody held it"),
        Column("idle_facility_energy_j", "number", "J", "Idle energy times PUE"),
        Column("idle_co2e_location_g", "number", "gCO2e", "Emissions of the idle energy, location-based"),
        Column("idle_co2e_market_g", "number", "gCO2e", "Emissions of the idle energy, market-based"),
        Column("idle_co2e_embodied_g", "number", "gCO2e", "Embodied emissions of the idle time"),
    ),
    """
SELECT d.day, m.cluster, m.node, m.kind, m.uuid, m.model, d.metered_j, COALESCE(u.attributed_j, 0.0) AS attributed_j,
       d.idle_j, d.known_s, d.measured_s, d.idle_s, d.idle_facility_j AS idle_facility_energy_j,
       d.idle_location_g AS idle_co2e_location_g, d.idle_market_g AS idle_co2e_market_g,
       d.idle_embodied_g AS idle_co2e_embodied_g
FROM idle_days d
JOIN meters m ON m.meter_id = d.meter_id
LEFT JOIN (
  SELECT meter_id, SUM(energy_j) AS attributed_j FROM usage_slots
  WHERE superseded_by IS NULL AND slot_s >= :start_s AND slot_s < :end_s GROUP BY meter_id
) AS u ON u.meter_id = d.meter_id
WHERE d.day = :day{chosen}
ORDER BY m.cluster, m.node, m.kind, m.uuid
""",
    "m.cluster",
)

ADJUSTMENTS = Table(
    "adjustments",
    "What was found out later about a closed month, by the day on which it was posted: to be added to the other tables",
    (
        Column("day", "text", "", "Day of the site's calendar on which it was posted"),
        Column("for_day", "text", "", "Day that it is about, in a closed month"),
        _CLUSTER,
        *(Column(one.name, one.kind, one.unit, f"{one.meaning}; empty: what nobody held") for one in _JOB),
        *_PAYER,
        Column("kind", "text", "", "gpu, or host"),
        Column("uuid", "text", "", "The meter: the GPU's UUID, or the node's name"),
        Column("held_s", "number", "s", "Device time, more or less"),
        *_FIGURES,
    ),
    """
SELECT j.posted_day AS day, j.for_day, m.cluster, a.label AS job_id, a.job_id AS job_id_raw, a.submit_s,
       p.user_name, p.account, p.partition_name, p.qos, p.wckey, a.name, m.kind, m.uuid,
       SUM(j.held_s) AS held_s, SUM(j.energy_j) AS energy_j, SUM(j.facility_j) AS facility_energy_j,
       SUM(j.location_g) AS co2e_location_g, SUM(j.market_g) AS co2e_market_g, SUM(j.embodied_g) AS co2e_embodied_g
FROM adjustments j
JOIN meters m ON m.meter_id = j.meter_id
LEFT JOIN attempts a ON a.attempt_id = j.attempt_id
LEFT JOIN payers p ON p.payer_id = j.payer_id
WHERE j.posted_day = :day{chosen}
GROUP BY j.posted_day, j.for_day, m.cluster, a.label, a.job_id, a.submit_s, p.user_name, p.account, p.partition_name,
         p.qos, p.wckey, a.name, m.kind, m.uuid
ORDER BY m.cluster, a.job_id, a.submit_s, j.for_day, m.kind, m.uuid
""",
    "m.cluster",
)

TABLES = (JOBS, BALANCE, ADJUSTMENTS)
