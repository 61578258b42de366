"""The ledger's tables.

The grain is the *slot*, an hour of the site's clock (`accounting.clock`): a posting of `usage` says what one attempt
used of one meter in one slot, a posting of `balance` what one meter metered in one slot and what of it nobody held.
Slots are kept, and not only days, so that a year later a corrected intensity can be applied hour by hour, when the
samples have long left Prometheus. `usage_days` and `idle_days` are roll-ups of the postings in force,
for queries and reports.

A posting is in force while `superseded_by` is null; otherwise it names the run whose posting took its place.
All quantities are in the base units of `accounting.model`; null is unknown.
"""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Double, ForeignKey, Index, Integer, MetaData, String, Table, Text
from sqlalchemy import UniqueConstraint as Unique

metadata = MetaData()

meta = Table(
    "meta",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)

#: One row for each window that was accounted: who asked what, with which version and configuration.
runs = Table(
    "runs",
    metadata,
    Column("run_id", Integer, primary_key=True),
    Column("cluster", String(64), nullable=False),
    Column("start_s", Double, nullable=False),
    Column("end_s", Double, nullable=False),
    Column("started_s", Double, nullable=False),
    Column("finished_s", Double, nullable=False),
    Column("version", String(32), nullable=False),
    Column("config_digest", String(64), nullable=False),
    Column("summary", Text, nullable=False),  # JSON: rows read, posted, superseded, rejected; warnings
)

#: What has been accounted, as stretches that neither overlap nor touch. The end of the last one is the cursor.
booked = Table(
    "booked",
    metadata,
    Column("cluster", String(64), primary_key=True),
    Column("start_s", Double, primary_key=True),
    Column("end_s", Double, nullable=False),
)

attempts = Table(
    "attempts",
    metadata,
    Column("attempt_id", Integer, primary_key=True),
    Column("cluster", String(64), nullable=False),
    Column("job_id", Integer, nullable=False),
    Column("submit_s", Integer, nullable=False),
    Column("label", String(64), nullable=False),
    Column("state", String(32), nullable=False),
    Column("start_s", Integer),
    Column("end_s", Integer),
    Column("user", String(255)),
    Column("uid", Integer),
    Column("account", String(255)),
    Column("partition", String(255)),
    Column("qos", String(255)),
    Column("wckey", String(255)),
    Column("name", Text),
    Column("nodes", Text, nullable=False),  # names with commas between them
    Column("cpus", Integer, nullable=False),
    Column("memory_mb", Double),
    Column("gpus", Integer, nullable=False),
    Column("shards", Integer, nullable=False),
    Column("exit_code", String(16)),
    Column("suspended_s", Integer, nullable=False),
    Column("restarts", Integer),
    Column("sluid", String(32)),
    Column("comment", Text),
    Unique("cluster", "job_id", "submit_s"),
    Index("attempts_by_user", "user", "end_s"),
    Index("attempts_by_account", "account", "end_s"),
    Index("attempts_by_end", "end_s"),
)

#: What energy is read from: a GPU (its UUID), or the host part of a cluster. `gpu` with an empty UUID stands for GPUs
#: that Slurm says a job held and no source can name.
meters = Table(
    "meters",
    metadata,
    Column("meter_id", Integer, primary_key=True),
    Column("cluster", String(64), nullable=False),
    Column("kind", String(8), nullable=False),  # gpu | host
    Column("uuid", String(64), nullable=False),
    Column("node", String(255), nullable=False),
    Column("model", String(255), nullable=False),  # "" where it is unknown
    # When it was last heard of, while it is silent at the end of the books: once it is heard again, the time
    # since then is accounted anew.
    Column("silent_since_s", Double),
    Unique("cluster", "kind", "uuid"),
)

usage = Table(
    "usage",
    metadata,
    Column("usage_id", Integer, primary_key=True),
    Column("attempt_id", ForeignKey("attempts.attempt_id"), nullable=False),
    Column("meter_id", ForeignKey("meters.meter_id"), nullable=False),
    Column("slot_s", Integer, nullable=False),
    Column("method", String(8), nullable=False),
    Column("holder", String(16), nullable=False),  # the source that named the holder
    Column("held_s", Double, nullable=False),
    Column("known_s", Double, nullable=False),
    Column("measured_s", Double, nullable=False),
    Column("energy_j", Double),
    Column("facility_j", Double),
    Column("location_g", Double),
    Column("market_g", Double),
    Column("embodied_g", Double),
    Column("run_id", ForeignKey("runs.run_id"), nullable=False),
    Column("superseded_by", ForeignKey("runs.run_id")),
    Index("usage_by_slot", "slot_s", "superseded_by"),
    Index("usage_by_attempt", "attempt_id", "slot_s"),
)

balance = Table(
    "balance",
    metadata,
    Column("balance_id", Integer, primary_key=True),
    Column("meter_id", ForeignKey("meters.meter_id"), nullable=False),
    Column("slot_s", Integer, nullable=False),
    Column("method", String(8), nullable=False),
    Column("known_s", Double, nullable=False),
    Column("measured_s", Double, nullable=False),
    Column("metered_j", Double, nullable=False),
    Column("idle_s", Double, nullable=False),
    Column("idle_j", Double, nullable=False),
    Column("idle_facility_j", Double),
    Column("idle_location_g", Double),
    Column("idle_market_g", Double),
    Column("idle_embodied_g", Double),
    Column("run_id", ForeignKey("runs.run_id"), nullable=False),
    Column("superseded_by", ForeignKey("runs.run_id")),
    Index("balance_by_slot", "slot_s", "superseded_by"),
)

#: The factors that were applied, as stretches: kind is pue (a ratio), location or market (gCO2e/kWh).
factors = Table(
    "factors",
    metadata,
    Column("factor_id", Integer, primary_key=True),
    Column("cluster", String(64), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("start_s", Double, nullable=False),
    Column("end_s", Double, nullable=False),
    Column("value", Double, nullable=False),
    Column("source", Text, nullable=False),
    Column("estimated", Boolean, nullable=False),
    Column("run_id", ForeignKey("runs.run_id"), nullable=False),
    Column("superseded_by", ForeignKey("runs.run_id")),
    Index("factors_by_start", "cluster", "start_s"),
)

usage_days = Table(
    "usage_days",
    metadata,
    Column("attempt_id", ForeignKey("attempts.attempt_id"), primary_key=True),
    Column("day", String(10), primary_key=True),  # of the site's calendar
    Column("kind", String(8), primary_key=True),
    Column("model", String(255), primary_key=True),
    Column("method", String(8), nullable=False),
    Column("held_s", Double, nullable=False),
    Column("known_s", Double, nullable=False),
    Column("measured_s", Double, nullable=False),
    Column("energy_j", Double),
    Column("facility_j", Double),
    Column("location_g", Double),
    Column("market_g", Double),
    Column("embodied_g", Double),
    Index("usage_days_by_day", "day"),
)

idle_days = Table(
    "idle_days",
    metadata,
    Column("meter_id", ForeignKey("meters.meter_id"), primary_key=True),
    Column("day", String(10), primary_key=True),
    Column("metered_j", Double, nullable=False),
    Column("known_s", Double, nullable=False),
    Column("measured_s", Double, nullable=False),
    Column("idle_s", Double, nullable=False),
    Column("idle_j", Double, nullable=False),
    Column("idle_facility_j", Double),
    Column("idle_location_g", Double),
    Column("idle_market_g", Double),
    Column("idle_embodied_g", Double),
    Index("idle_days_by_day", "day"),
)

#: Rows that could not be understood, as they came.
quarantine = Table(
    "quarantine",
    metadata,
    Column("digest", String(64), primary_key=True),  # of cluster, source and raw
    Column("cluster", String(64), nullable=False),
    Column("source", String(32), nullable=False),
    Column("location", Text, nullable=False),
    Column("raw", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("run_id", ForeignKey("runs.run_id"), nullable=False),
)
