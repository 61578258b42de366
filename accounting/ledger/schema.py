"""The ledger's tables.

The grain is the *slot*, an hour of the site's clock (`accounting.clock`): a posting of `usage_slots` says what one
attempt used of one meter in one slot, a posting of `balance` what one meter metered in one slot and what of it nobody
held. Slots are kept, and not only days, so that a year later a corrected intensity can be applied hour by hour, when
the samples have long left Prometheus. `usage_days`, `idle_days`, `payer_days` and `payer_jobs` are roll-ups of
the postings in force, for queries and reports.

A posting is in force while `superseded_by` is null; otherwise it names the run whose posting took its place.
All quantities are in the base units of `accounting.model`; null is unknown.

The tables are the same on SQLite, PostgreSQL and MariaDB: no name is a reserved word of one of them, text compares by
its bytes, instants and counters have 64 bits. A change here needs a migration (`accounting/ledger/migrations`).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Boolean, Column, Double, ForeignKey, Index, Integer, MetaData, SmallInteger, Table
from sqlalchemy import UniqueConstraint as Unique
from sqlalchemy.schema import SchemaItem

from accounting.ledger.types import MARIADB, Big, LongText, Name

metadata = MetaData(naming_convention={"pk": "%(table_name)s_pkey", "fk": "%(table_name)s_%(column_0_name)s_fkey"})


def _table(name: str, *parts: SchemaItem, **options: Any) -> Table:
    return Table(name, metadata, *parts, **MARIADB, **options)


def _id(name: str) -> Column[int]:
    """A key that the writer numbers itself, so that a run repeated gives the same rows."""
    return Column(name, Big, primary_key=True, autoincrement=False)


#: What holds for the whole ledger: `zone`, the calendar it is kept by, and `writer`, who writes to it just now.
meta = _table(
    "meta",
    Column("name", Name(64), primary_key=True),
    Column("value", LongText, nullable=False),
)

#: Figures that were given anew on purpose, a row for each cluster: what was said before, what is said now, why and by
#: whom. `old` and `new` are JSON: the factors by source, and the sums by account; the postings say the rest.
restatements = _table(
    "restatements",
    _id("restatement_id"),
    Column("cluster", Name(64), nullable=False),
    Column("start_s", Double, nullable=False),  # the slots that [start_s, end_s) touches
    Column("end_s", Double, nullable=False),
    Column(
        "rule", Name(16), nullable=False
    ),  # factors: the energy stayed as it was; attribution: the sources were read
    Column("at_s", Double, nullable=False),
    Column("who", Name(255), nullable=False),
    Column("host", Name(255), nullable=False),
    Column("why", LongText, nullable=False),
    Column("old", LongText, nullable=False),
    Column("new", LongText, nullable=False),
)

#: One row for each window that was accounted: who asked what, with which version and configuration.
runs = _table(
    "runs",
    _id("run_id"),
    Column("cluster", Name(64), nullable=False),
    Column("start_s", Double, nullable=False),
    Column("end_s", Double, nullable=False),
    Column("started_s", Double, nullable=False),
    Column("finished_s", Double, nullable=False),
    Column("version", Name(32), nullable=False),
    Column("config_digest", Name(64), nullable=False),
    Column("summary", LongText, nullable=False),  # JSON: rows read, posted, superseded, rejected; warnings
    Column("restatement_id", ForeignKey("restatements.restatement_id")),  # null: the run accounted what was new
)

#: What has been accounted, as stretches that neither overlap nor touch. The end of the last one is the cursor.
booked = _table(
    "booked",
    Column("cluster", Name(64), primary_key=True),
    Column("start_s", Double, primary_key=True),
    Column("end_s", Double, nullable=False),
)

#: Whom jobs are booked to: every combination of these that a job had. Reports sum by payer, not by job.
payers = _table(
    "payers",
    _id("payer_id"),
    Column("cluster", Name(64), nullable=False),
    Column("user_name", Name(255)),
    Column("account", Name(255)),
    Column("partition_name", Name(255)),
    Column("qos", Name(255)),
    Column("wckey", Name(255)),
    Column("tags", LongText),  # of the job's comment, `phase=train project=x`; null: none
)

#: The tree of accounts as Slurm last said. What it no longer has stays, marked with since when.
accounts = _table(
    "accounts",
    Column("cluster", Name(64), primary_key=True),
    Column("account", Name(255), primary_key=True),
    Column("parent", Name(255)),  # null: the root
    Column("organization", LongText),
    Column("description", LongText),
    Column("gone_s", Double),
)


def _people_of_accounts(name: str) -> Table:
    return _table(
        name,
        Column("cluster", Name(64), primary_key=True),
        Column("account", Name(255), primary_key=True),
        Column("user_name", Name(255), primary_key=True),
        Column("gone_s", Double),
    )


#: Who may use an account, and who coordinates it (those of the accounts above it, too).
members = _people_of_accounts("members")
coordinators = _people_of_accounts("coordinators")

attempts = _table(
    "attempts",
    _id("attempt_id"),
    Column("cluster", Name(64), nullable=False),
    Column("job_id", Big, nullable=False),
    Column("submit_s", Big, nullable=False),
    Column("label", Name(64), nullable=False),
    Column("state", Name(32), nullable=False),
    Column("start_s", Big),
    Column("end_s", Big),
    Column("user_name", Name(255)),
    Column("uid", Big),
    Column("account", Name(255)),
    Column("partition_name", Name(255)),
    Column("qos", Name(255)),
    Column("wckey", Name(255)),
    Column("name", LongText),
    Column("nodes", LongText, nullable=False),  # names with commas between them
    Column("cpus", Integer, nullable=False),
    Column("memory_mb", Double),
    Column("gpus", Integer, nullable=False),
    Column("shards", Integer, nullable=False),
    Column("exit_code", Name(16)),
    Column("suspended_s", Big, nullable=False),
    Column("restarts", Integer),
    Column("sluid", Name(32)),
    Column("comment", LongText),
    Column("payer_id", ForeignKey("payers.payer_id"), nullable=False),
    Column("span", SmallInteger, nullable=False),  # `accounting.ledger.spans`: how long from submit to end
    Unique("job_id", "cluster", "submit_s", name="attempts_by_job"),
    Index("attempts_by_label", "label"),
    Index("attempts_by_user", "user_name", "span", "submit_s"),
    Index("attempts_by_account", "account", "span", "submit_s"),
    Index("attempts_by_span", "span", "submit_s"),
)

#: Attempts whose payer changed, and to whom they were booked before that run. Of a closed month the books keep to it.
moves = _table(
    "moves",
    Column("attempt_id", ForeignKey("attempts.attempt_id"), primary_key=True),
    Column("run_id", ForeignKey("runs.run_id"), primary_key=True),
    Column("payer_id", ForeignKey("payers.payer_id"), nullable=False),
)

#: What energy is read from: a GPU (its UUID), or the host part of a cluster. `gpu` with an empty UUID stands for GPUs
#: that Slurm says a job held and no source can name.
meters = _table(
    "meters",
    _id("meter_id"),
    Column("cluster", Name(64), nullable=False),
    Column("kind", Name(8), nullable=False),  # gpu | host
    Column("uuid", Name(255), nullable=False),  # of a node's host part, the node's name
    Column("node", Name(255), nullable=False),
    Column("model", Name(255), nullable=False),  # "" where it is unknown
    # When it was last heard of, while it is silent at the end of the books: once it is heard again, the time
    # since then is accounted anew.
    Column("silent_since_s", Double),
    Unique("cluster", "kind", "uuid", name="meters_by_uuid"),
)

usage_slots = _table(
    "usage_slots",
    _id("usage_id"),
    Column("attempt_id", ForeignKey("attempts.attempt_id"), nullable=False),
    Column("meter_id", ForeignKey("meters.meter_id"), nullable=False),
    Column("slot_s", Big, nullable=False),
    Column("method", Name(8), nullable=False),
    Column("holder", Name(16), nullable=False),  # the source that named the holder
    Column("held_s", Double, nullable=False),
    Column("known_s", Double, nullable=False),
    Column("measured_s", Double, nullable=False),
    Column("energy_j", Double),
    Column("facility_j", Double),
    Column("location_g", Double),
    Column("market_g", Double),
    Column("embodied_g", Double),
    # How uncertain the energy is (`accounting.uncertainty`), beside what the sensor's own error makes of it.
    Column("edges_j2", Double, nullable=False),
    Column("sharing_j", Double, nullable=False),
    Column("run_id", ForeignKey("runs.run_id"), nullable=False),
    Column("superseded_by", ForeignKey("runs.run_id")),
    Index("usage_slots_by_slot", "slot_s", "superseded_by"),
    Index("usage_slots_by_attempt", "attempt_id", "slot_s"),
)

balance = _table(
    "balance",
    _id("balance_id"),
    Column("meter_id", ForeignKey("meters.meter_id"), nullable=False),
    Column("slot_s", Big, nullable=False),
    Column("method", Name(8), nullable=False),
    Column("known_s", Double, nullable=False),
    Column("measured_s", Double, nullable=False),
    Column("metered_j", Double),  # null: the meter was silent
    Column("idle_s", Double, nullable=False),
    Column("idle_j", Double),
    Column("idle_facility_j", Double),
    Column("idle_location_g", Double),
    Column("idle_market_g", Double),
    Column("idle_embodied_g", Double),
    # What an audit shows: time held by several, shared on an assumed idle level, and known as a lower bound only;
    # restarts of the counter; the same energy by the power gauge, null where that has gaps.
    Column("overheld_s", Double, nullable=False),
    Column("assumed_s", Double, nullable=False),
    Column("lower_bound_s", Double, nullable=False),
    Column("restarts", Integer, nullable=False),
    Column("gauge_j", Double),
    Column("run_id", ForeignKey("runs.run_id"), nullable=False),
    Column("superseded_by", ForeignKey("runs.run_id")),
    Index("balance_by_slot", "slot_s", "superseded_by"),
)

#: The factors that were applied, as stretches within slots: kind is pue (a ratio), location or market (gCO2e/kWh).
factors = _table(
    "factors",
    _id("factor_id"),
    Column("cluster", Name(64), nullable=False),
    Column("kind", Name(16), nullable=False),
    Column("slot_s", Big, nullable=False),
    Column("start_s", Double, nullable=False),
    Column("end_s", Double, nullable=False),
    Column("value", Double, nullable=False),
    Column("source", LongText, nullable=False),
    Column("estimated", Boolean, nullable=False),
    Column("basis", Name(32)),  # of an intensity: life cycle or direct
    Column("retrieved_s", Double),  # when a service gave it
    Column("run_id", ForeignKey("runs.run_id"), nullable=False),
    Column("superseded_by", ForeignKey("runs.run_id")),
    Index("factors_by_slot", "cluster", "slot_s"),
)

#: When a month was closed, and when it was opened again: the last row of a month says what it is.
periods = _table(
    "periods",
    _id("period_id"),
    Column("month", Name(7), nullable=False),
    Column("closed", Boolean, nullable=False),
    Column("run_id", Big, nullable=False),  # the last run before it; 0 for none
    Column("at_s", Double, nullable=False),
    Column("who", Name(255), nullable=False),
    Column("host", Name(255), nullable=False),
    Column("why", LongText),
)

#: What was found out later about closed months: differences to what their postings and earlier adjustments say, posted
#: on a day of an open month. Where the postings are null, they are taken as nothing. No row is ever changed.
adjustments = _table(
    "adjustments",
    _id("adjustment_id"),
    Column("run_id", ForeignKey("runs.run_id"), nullable=False),
    Column("posted_day", Name(10), nullable=False),
    Column("for_day", Name(10), nullable=False),
    Column("slot_s", Big, nullable=False),
    Column("meter_id", ForeignKey("meters.meter_id"), nullable=False),
    Column("attempt_id", ForeignKey("attempts.attempt_id")),  # null: what nobody held
    Column("payer_id", ForeignKey("payers.payer_id")),
    Column("held_s", Double, nullable=False),
    Column("energy_j", Double, nullable=False),
    Column("facility_j", Double, nullable=False),
    Column("location_g", Double, nullable=False),
    Column("market_g", Double, nullable=False),
    Column("embodied_g", Double, nullable=False),
    Index("adjustments_by_day", "posted_day"),
    Index("adjustments_by_attempt", "attempt_id"),
    Index("adjustments_by_slot", "slot_s"),
)

#: Roll-up: an attempt's day, by what kind of meter and which model.
usage_days = _table(
    "usage_days",
    Column("attempt_id", ForeignKey("attempts.attempt_id"), primary_key=True),
    Column("day", Name(10), primary_key=True),  # of the site's calendar
    Column("kind", Name(8), primary_key=True),
    Column("model", Name(255), primary_key=True),
    Column("payer_id", ForeignKey("payers.payer_id"), nullable=False),  # as it was when the day's month was closed
    Column("method", Name(8), nullable=False),
    Column("held_s", Double, nullable=False),
    Column("known_s", Double, nullable=False),
    Column("measured_s", Double, nullable=False),
    Column("energy_j", Double),
    Column("facility_j", Double),
    Column("location_g", Double),
    Column("market_g", Double),
    Column("embodied_g", Double),
    Column("modelled_j", Double),  # of the energy; null where none is
    Column("sensor_j", Double),  # the root of the squares of each meter's energy, where it was measured
    Column("edges_j2", Double, nullable=False),
    Column("sharing_j", Double, nullable=False),
    Index("usage_days_by_day", "method", "day"),
    sqlite_with_rowid=False,
)

#: Roll-up: a meter's day.
idle_days = _table(
    "idle_days",
    Column("day", Name(10), primary_key=True),
    Column("meter_id", ForeignKey("meters.meter_id"), primary_key=True),
    Column("metered_j", Double),
    Column("known_s", Double, nullable=False),
    Column("measured_s", Double, nullable=False),
    Column("idle_s", Double, nullable=False),
    Column("idle_measured_s", Double, nullable=False),  # of the idle time, what was measured
    Column("idle_j", Double),
    Column("idle_facility_j", Double),
    Column("idle_location_g", Double),
    Column("idle_market_g", Double),
    Column("idle_embodied_g", Double),
    sqlite_with_rowid=False,
)


def _payer_sums() -> list[Column[Any]]:
    """What is summed by payer."""
    return [
        Column("held_s", Double, nullable=False),
        Column("measured_s", Double, nullable=False),
        Column("energy_j", Double),
        Column("facility_j", Double),
        Column("location_g", Double),
        Column("market_g", Double),
        Column("embodied_g", Double),
        Column("modelled_j", Double),
        Column("sensor_j", Double),
        Column("edges_j2", Double, nullable=False),
        Column("sharing_j", Double, nullable=False),
    ]


#: Roll-up: a payer's day, by what kind of meter and which model. Within a month they lie by payer, so that a month
#: is summed without being sorted.
payer_days = _table(
    "payer_days",
    Column("month", Name(7), primary_key=True),
    Column("payer_id", ForeignKey("payers.payer_id"), primary_key=True),
    Column("kind", Name(8), primary_key=True),
    Column("model", Name(255), primary_key=True),
    Column("day", Name(10), primary_key=True),
    *_payer_sums(),
    sqlite_with_rowid=False,
)

#: Roll-up: a payer's month, which is what is asked for most.
payer_months = _table(
    "payer_months",
    Column("month", Name(7), primary_key=True),
    Column("payer_id", ForeignKey("payers.payer_id"), primary_key=True),
    Column("kind", Name(8), primary_key=True),
    Column("model", Name(255), primary_key=True),
    *_payer_sums(),
    sqlite_with_rowid=False,
)

#: Roll-up: how many jobs a payer had on a day, by the last day before on which the same job was counted ('' for none).
#: So the jobs of any period are those rows of its days whose `previous_day` lies before it: each job once.
#: Rows with an empty `kind` count jobs whatever they used, the others those that used this kind and model.
payer_jobs = _table(
    "payer_jobs",
    Column("month", Name(7), primary_key=True),
    Column("kind", Name(8), primary_key=True),
    Column("model", Name(255), primary_key=True),
    Column("payer_id", ForeignKey("payers.payer_id"), primary_key=True),
    Column("day", Name(10), primary_key=True),
    Column("previous_day", Name(10), primary_key=True),
    Column("jobs", Big, nullable=False),
    sqlite_with_rowid=False,
)

#: Rows that could not be understood, as they came.
quarantine = _table(
    "quarantine",
    Column("digest", Name(64), primary_key=True),  # of cluster, source and raw
    Column("cluster", Name(64), nullable=False),
    Column("source", Name(32), nullable=False),
    Column("location", LongText, nullable=False),
    Column("raw", LongText, nullable=False),
    Column("reason", LongText, nullable=False),
    Column("run_id", ForeignKey("runs.run_id"), nullable=False),  # whose window met it first
    Column("version", Name(32), nullable=False),  # with which it was tried last
    Column("config_digest", Name(64), nullable=False),
)

#: Which page of a report was sent to whom: it is not sent again unless that is asked for.
mailings = _table(
    "mailings",
    Column("account", Name(255), primary_key=True),
    Column("period", Name(32), primary_key=True),  # 2026-10
    Column("recipient", Name(255), primary_key=True),
    Column("sent_s", Double, primary_key=True),
    Column("digest", Name(64), nullable=False),  # SHA-256 of the page, as HTML
)
