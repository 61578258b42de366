"""The first schema.

A new ledger is made whole by `accounting.ledger.schema`; this is where those of the first release begin.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from accounting.ledger.types import MARIADB, Big, LongText, Name

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make every table."""
    op.create_table(
        "booked",
        sa.Column("cluster", Name(64), nullable=False),
        sa.Column("start_s", sa.Double(), nullable=False),
        sa.Column("end_s", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("cluster", "start_s", name="booked_pkey"),
        **MARIADB,
    )
    op.create_table(
        "meta",
        sa.Column("name", Name(64), nullable=False),
        sa.Column("value", LongText, nullable=False),
        sa.PrimaryKeyConstraint("name", name="meta_pkey"),
        **MARIADB,
    )
    op.create_table(
        "meters",
        sa.Column("meter_id", Big, autoincrement=False, nullable=False),
        sa.Column("cluster", Name(64), nullable=False),
        sa.Column("kind", Name(8), nullable=False),
        sa.Column("uuid", Name(255), nullable=False),
        sa.Column("node", Name(255), nullable=False),
        sa.Column("model", Name(255), nullable=False),
        sa.Column("silent_since_s", sa.Double()),
        sa.PrimaryKeyConstraint("meter_id", name="meters_pkey"),
        sa.UniqueConstraint("cluster", "kind", "uuid", name="meters_by_uuid"),
        **MARIADB,
    )
    op.create_table(
        "payers",
        sa.Column("payer_id", Big, autoincrement=False, nullable=False),
        sa.Column("cluster", Name(64), nullable=False),
        sa.Column("user_name", Name(255)),
        sa.Column("account", Name(255)),
        sa.Column("partition_name", Name(255)),
        sa.Column("qos", Name(255)),
        sa.Column("wckey", Name(255)),
        sa.PrimaryKeyConstraint("payer_id", name="payers_pkey"),
        **MARIADB,
    )
    op.create_table(
        "runs",
        sa.Column("run_id", Big, autoincrement=False, nullable=False),
        sa.Column("cluster", Name(64), nullable=False),
        sa.Column("start_s", sa.Double(), nullable=False),
        sa.Column("end_s", sa.Double(), nullable=False),
        sa.Column("started_s", sa.Double(), nullable=False),
        sa.Column("finished_s", sa.Double(), nullable=False),
        sa.Column("version", Name(32), nullable=False),
        sa.Column("config_digest", Name(64), nullable=False),
        sa.Column("summary", LongText, nullable=False),
        sa.PrimaryKeyConstraint("run_id", name="runs_pkey"),
        **MARIADB,
    )
    op.create_table(
        "attempts",
        sa.Column("attempt_id", Big, autoincrement=False, nullable=False),
        sa.Column("cluster", Name(64), nullable=False),
        sa.Column("job_id", Big, nullable=False),
        sa.Column("submit_s", Big, nullable=False),
        sa.Column("label", Name(64), nullable=False),
        sa.Column("state", Name(32), nullable=False),
        sa.Column("start_s", Big),
        sa.Column("end_s", Big),
        sa.Column("user_name", Name(255)),
        sa.Column("uid", Big),
        sa.Column("account", Name(255)),
        sa.Column("partition_name", Name(255)),
        sa.Column("qos", Name(255)),
        sa.Column("wckey", Name(255)),
        sa.Column("name", LongText),
        sa.Column("nodes", LongText, nullable=False),
        sa.Column("cpus", sa.Integer(), nullable=False),
        sa.Column("memory_mb", sa.Double()),
        sa.Column("gpus", sa.Integer(), nullable=False),
        sa.Column("shards", sa.Integer(), nullable=False),
        sa.Column("exit_code", Name(16)),
        sa.Column("suspended_s", Big, nullable=False),
        sa.Column("restarts", sa.Integer()),
        sa.Column("sluid", Name(32)),
        sa.Column("comment", LongText),
        sa.Column("payer_id", Big, nullable=False),
        sa.Column("span", sa.SmallInteger(), nullable=False),
        sa.ForeignKeyConstraint(["payer_id"], ["payers.payer_id"], name="attempts_payer_id_fkey"),
        sa.PrimaryKeyConstraint("attempt_id", name="attempts_pkey"),
        sa.UniqueConstraint("job_id", "cluster", "submit_s", name="attempts_by_job"),
        **MARIADB,
    )
    op.create_index("attempts_by_account", "attempts", ["account", "span", "submit_s"])
    op.create_index("attempts_by_label", "attempts", ["label"])
    op.create_index("attempts_by_span", "attempts", ["span", "submit_s"])
    op.create_index("attempts_by_user", "attempts", ["user_name", "span", "submit_s"])
    op.create_table(
        "balance",
        sa.Column("balance_id", Big, autoincrement=False, nullable=False),
        sa.Column("meter_id", Big, nullable=False),
        sa.Column("slot_s", Big, nullable=False),
        sa.Column("method", Name(8), nullable=False),
        sa.Column("known_s", sa.Double(), nullable=False),
        sa.Column("measured_s", sa.Double(), nullable=False),
        sa.Column("metered_j", sa.Double()),
        sa.Column("idle_s", sa.Double(), nullable=False),
        sa.Column("idle_j", sa.Double()),
        sa.Column("idle_facility_j", sa.Double()),
        sa.Column("idle_location_g", sa.Double()),
        sa.Column("idle_market_g", sa.Double()),
        sa.Column("idle_embodied_g", sa.Double()),
        sa.Column("overheld_s", sa.Double(), nullable=False),
        sa.Column("assumed_s", sa.Double(), nullable=False),
        sa.Column("lower_bound_s", sa.Double(), nullable=False),
        sa.Column("restarts", sa.Integer(), nullable=False),
        sa.Column("gauge_j", sa.Double()),
        sa.Column("run_id", Big, nullable=False),
        sa.Column("superseded_by", Big),
        sa.ForeignKeyConstraint(["meter_id"], ["meters.meter_id"], name="balance_meter_id_fkey"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name="balance_run_id_fkey"),
        sa.ForeignKeyConstraint(["superseded_by"], ["runs.run_id"], name="balance_superseded_by_fkey"),
        sa.PrimaryKeyConstraint("balance_id", name="balance_pkey"),
        **MARIADB,
    )
    op.create_index("balance_by_slot", "balance", ["slot_s", "superseded_by"])
    op.create_table(
        "factors",
        sa.Column("factor_id", Big, autoincrement=False, nullable=False),
        sa.Column("cluster", Name(64), nullable=False),
        sa.Column("kind", Name(16), nullable=False),
        sa.Column("slot_s", Big, nullable=False),
        sa.Column("start_s", sa.Double(), nullable=False),
        sa.Column("end_s", sa.Double(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("source", LongText, nullable=False),
        sa.Column("estimated", sa.Boolean(), nullable=False),
        sa.Column("basis", Name(32)),
        sa.Column("retrieved_s", sa.Double()),
        sa.Column("run_id", Big, nullable=False),
        sa.Column("superseded_by", Big),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name="factors_run_id_fkey"),
        sa.ForeignKeyConstraint(["superseded_by"], ["runs.run_id"], name="factors_superseded_by_fkey"),
        sa.PrimaryKeyConstraint("factor_id", name="factors_pkey"),
        **MARIADB,
    )
    op.create_index("factors_by_slot", "factors", ["cluster", "slot_s"])
    op.create_table(
        "idle_days",
        sa.Column("meter_id", Big, nullable=False),
        sa.Column("day", Name(10), nullable=False),
        sa.Column("metered_j", sa.Double()),
        sa.Column("known_s", sa.Double(), nullable=False),
        sa.Column("measured_s", sa.Double(), nullable=False),
        sa.Column("idle_s", sa.Double(), nullable=False),
        sa.Column("idle_measured_s", sa.Double(), nullable=False),
        sa.Column("idle_j", sa.Double()),
        sa.Column("idle_facility_j", sa.Double()),
        sa.Column("idle_location_g", sa.Double()),
        sa.Column("idle_market_g", sa.Double()),
        sa.Column("idle_embodied_g", sa.Double()),
        sa.ForeignKeyConstraint(["meter_id"], ["meters.meter_id"], name="idle_days_meter_id_fkey"),
        sa.PrimaryKeyConstraint("meter_id", "day", name="idle_days_pkey"),
        **MARIADB,
        sqlite_with_rowid=False,
    )
    op.create_index("idle_days_by_day", "idle_days", ["day"])
    op.create_table(
        "payer_days",
        sa.Column("month", Name(7), nullable=False),
        sa.Column("payer_id", Big, nullable=False),
        sa.Column("kind", Name(8), nullable=False),
        sa.Column("model", Name(255), nullable=False),
        sa.Column("day", Name(10), nullable=False),
        sa.Column("held_s", sa.Double(), nullable=False),
        sa.Column("measured_s", sa.Double(), nullable=False),
        sa.Column("energy_j", sa.Double()),
        sa.Column("facility_j", sa.Double()),
        sa.Column("location_g", sa.Double()),
        sa.Column("market_g", sa.Double()),
        sa.Column("embodied_g", sa.Double()),
        sa.Column("modelled_j", sa.Double()),
        sa.Column("sensor_j", sa.Double()),
        sa.Column("edges_j2", sa.Double(), nullable=False),
        sa.Column("sharing_j", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["payer_id"], ["payers.payer_id"], name="payer_days_payer_id_fkey"),
        sa.PrimaryKeyConstraint("month", "payer_id", "kind", "model", "day", name="payer_days_pkey"),
        **MARIADB,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "payer_jobs",
        sa.Column("month", Name(7), nullable=False),
        sa.Column("payer_id", Big, nullable=False),
        sa.Column("kind", Name(8), nullable=False),
        sa.Column("model", Name(255), nullable=False),
        sa.Column("day", Name(10), nullable=False),
        sa.Column("previous_day", Name(10), nullable=False),
        sa.Column("jobs", Big, nullable=False),
        sa.ForeignKeyConstraint(["payer_id"], ["payers.payer_id"], name="payer_jobs_payer_id_fkey"),
        sa.PrimaryKeyConstraint("month", "payer_id", "kind", "model", "day", "previous_day", name="payer_jobs_pkey"),
        **MARIADB,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "quarantine",
        sa.Column("digest", Name(64), nullable=False),
        sa.Column("cluster", Name(64), nullable=False),
        sa.Column("source", Name(32), nullable=False),
        sa.Column("location", LongText, nullable=False),
        sa.Column("raw", LongText, nullable=False),
        sa.Column("reason", LongText, nullable=False),
        sa.Column("run_id", Big, nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name="quarantine_run_id_fkey"),
        sa.PrimaryKeyConstraint("digest", name="quarantine_pkey"),
        **MARIADB,
    )
    op.create_table(
        "usage_days",
        sa.Column("attempt_id", Big, nullable=False),
        sa.Column("day", Name(10), nullable=False),
        sa.Column("kind", Name(8), nullable=False),
        sa.Column("model", Name(255), nullable=False),
        sa.Column("method", Name(8), nullable=False),
        sa.Column("held_s", sa.Double(), nullable=False),
        sa.Column("known_s", sa.Double(), nullable=False),
        sa.Column("measured_s", sa.Double(), nullable=False),
        sa.Column("energy_j", sa.Double()),
        sa.Column("facility_j", sa.Double()),
        sa.Column("location_g", sa.Double()),
        sa.Column("market_g", sa.Double()),
        sa.Column("embodied_g", sa.Double()),
        sa.Column("modelled_j", sa.Double()),
        sa.Column("sensor_j", sa.Double()),
        sa.Column("edges_j2", sa.Double(), nullable=False),
        sa.Column("sharing_j", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempts.attempt_id"], name="usage_days_attempt_id_fkey"),
        sa.PrimaryKeyConstraint("attempt_id", "day", "kind", "model", name="usage_days_pkey"),
        **MARIADB,
        sqlite_with_rowid=False,
    )
    op.create_index("usage_days_by_day", "usage_days", ["method", "day"])
    op.create_table(
        "usage_slots",
        sa.Column("usage_id", Big, autoincrement=False, nullable=False),
        sa.Column("attempt_id", Big, nullable=False),
        sa.Column("meter_id", Big, nullable=False),
        sa.Column("slot_s", Big, nullable=False),
        sa.Column("method", Name(8), nullable=False),
        sa.Column("holder", Name(16), nullable=False),
        sa.Column("held_s", sa.Double(), nullable=False),
        sa.Column("known_s", sa.Double(), nullable=False),
        sa.Column("measured_s", sa.Double(), nullable=False),
        sa.Column("energy_j", sa.Double()),
        sa.Column("facility_j", sa.Double()),
        sa.Column("location_g", sa.Double()),
        sa.Column("market_g", sa.Double()),
        sa.Column("embodied_g", sa.Double()),
        sa.Column("edges_j2", sa.Double(), nullable=False),
        sa.Column("sharing_j", sa.Double(), nullable=False),
        sa.Column("run_id", Big, nullable=False),
        sa.Column("superseded_by", Big),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempts.attempt_id"], name="usage_slots_attempt_id_fkey"),
        sa.ForeignKeyConstraint(["meter_id"], ["meters.meter_id"], name="usage_slots_meter_id_fkey"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name="usage_slots_run_id_fkey"),
        sa.ForeignKeyConstraint(["superseded_by"], ["runs.run_id"], name="usage_slots_superseded_by_fkey"),
        sa.PrimaryKeyConstraint("usage_id", name="usage_slots_pkey"),
        **MARIADB,
    )
    op.create_index("usage_slots_by_attempt", "usage_slots", ["attempt_id", "slot_s"])
    op.create_index("usage_slots_by_slot", "usage_slots", ["slot_s", "superseded_by"])
