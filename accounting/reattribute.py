"""Restating the attribution: the sources are read again as `collect` does, by the rules of now, as one restatement.

For a period of which Prometheus still has the samples. Where they are gone, or Slurm has no longer the jobs, it is
refused: measured energy must not turn into silence, nor a job's into nobody's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from sqlalchemy import Connection, select, text

from accounting.booking import Rules, SamplesGoneError, Sources, account
from accounting.clock import day_of, split_by_day, union
from accounting.ledger import schema
from accounting.ledger.adjusting import closed_months, reopened_months
from accounting.ledger.closing import By
from accounting.ledger.errors import LedgerError
from accounting.ledger.recording import Program, Record
from accounting.ledger.store import Ledger
from accounting.restate import Period, factor_uses, factors_in_force
from accounting.restated import Amounts, Line, Restated, lines_of, side

_COLUMNS = ("energy_j", "facility_j", "location_g", "market_g", "embodied_g")


class _UndoneError(Exception):
    """Nothing is to be written after all."""


def restate_attribution(
    ledger: Ledger, period: Period, sources: Sources, rules: Rules, by: By, program: Program, *, dry_run: bool
) -> Restated:
    """Account the period's slots again; `dry_run`: take all of it back, and only say what would change.

    SourceError where a source cannot be read, LedgerError where the books cannot be written, or would lose something
    that was measured: then they are as they were.
    """
    restated: Restated | None = None
    try:
        with ledger.transaction() as connection:
            restated = _account_again(connection, ledger, period, sources, rules, by, program)
            if dry_run or not restated.changes:
                raise _UndoneError
    except _UndoneError:
        assert restated is not None
        return replace(restated, restatement_id=None)
    return restated


def _account_again(
    connection: Connection,
    ledger: Ledger,
    period: Period,
    sources: Sources,
    rules: Rules,
    by: By,
    program: Program,
) -> Restated:
    cluster, slots_s = period.cluster, period.slots_s
    slots = {"cluster": cluster, "first_s": slots_s[0], "last_s": slots_s[-1]}
    before, used_before = _sums(connection, slots), _used(connection, slots)
    old_factors = factor_uses(factors_in_force(connection, period).values())
    record = Record(connection, cluster, "attribution", (period.start_s, period.end_s), by, program)
    posted = 0
    warnings: dict[str, None] = {}
    for stretch in union(period.spans.values()):
        for day in split_by_day(ledger.zone, *stretch):
            try:
                result = account(
                    cluster, sources, rules, ledger, *day, measured_before=ledger.measured_s, **asdict(program)
                )
            except SamplesGoneError:
                raise LedgerError(
                    f"{cluster}: samples of {day_of(ledger.zone, day[0])} are gone from their source, and what was "
                    "measured then would be lost",
                    "leave --attribution out to restate by factors alone",
                ) from None
            posted += result.posted.posted + result.posted.superseded
            warnings |= dict.fromkeys(result.warnings)
    after, used_after = _sums(connection, slots), _used(connection, slots)
    if lost := used_before - used_after:
        raise LedgerError(
            f"{cluster}: the source of jobs has no longer {len(lost)} jobs that the books have in that period",
            "leave --attribution out to restate by factors alone",
        )
    nothing = Amounts()
    keys = before.keys() | after.keys()
    lines = lines_of({key: (before.get(key, nothing), after.get(key, nothing)) for key in keys})
    total = Line(None, False, _total(before), _total(after))
    new_factors = factor_uses(factors_in_force(connection, period).values())
    record.finish(side(lines, total, old_factors, "old"), side(lines, total, new_factors, "new"))
    adjusted = text("SELECT COUNT(*) FROM adjustments WHERE run_id >= :first_run")
    adjustments = int(connection.execute(adjusted, {"first_run": record.first_run}).scalar() or 0)
    months = {day_of(ledger.zone, slot_s).isoformat()[:7] for slot_s in slots_s}
    return Restated(
        cluster=cluster,
        start_s=period.start_s,
        end_s=period.end_s,
        rule="attribution",
        lines=lines,
        total=total,
        posted=posted - adjustments,
        adjusted=adjustments,
        closed=sorted(months & closed_months(connection)),
        old_factors=old_factors,
        new_factors=new_factors,
        warnings=list(warnings),
        restatement_id=record.restatement_id,
        reopened=sorted(months & reopened_months(connection)),
    )


_POSTED = f"""
  SELECT a.payer_id, u.attempt_id, u.held_s, {", ".join(f"u.{name}" for name in _COLUMNS)}
  FROM usage_slots u JOIN attempts a ON a.attempt_id = u.attempt_id
  WHERE u.superseded_by IS NULL AND u.slot_s >= :first_s AND u.slot_s <= :last_s AND a.cluster = :cluster
  UNION ALL
  SELECT d.payer_id, d.attempt_id, d.held_s, {", ".join(f"d.{name}" for name in _COLUMNS)}
  FROM adjustments d JOIN meters m ON m.meter_id = d.meter_id
  WHERE d.slot_s >= :first_s AND d.slot_s <= :last_s AND m.cluster = :cluster
"""

_IDLE = f"""
  UNION ALL
  SELECT NULL, NULL, b.idle_s, b.idle_j, {", ".join(f"b.idle_{name}" for name in _COLUMNS[1:])}
  FROM balance b JOIN meters m ON m.meter_id = b.meter_id
  WHERE b.superseded_by IS NULL AND b.slot_s >= :first_s AND b.slot_s <= :last_s AND m.cluster = :cluster
"""


def _sums(connection: Connection, slots: Mapping[str, Any]) -> dict[tuple[str | None, bool], Amounts]:
    """What the books say of the slots by account, and of what nobody held: postings and adjustments."""
    summed = ", ".join(f"SUM({name})" for name in _COLUMNS)
    sql = f"SELECT payer_id, {summed} FROM ({_POSTED}{_IDLE}) AS said GROUP BY payer_id"
    payers = schema.payers
    account = {row[0]: row[1] for row in connection.execute(select(payers.c.payer_id, payers.c.account))}
    found: dict[tuple[str | None, bool], list[float]] = defaultdict(lambda: [0.0] * len(_COLUMNS))
    for payer, *figures in connection.execute(text(sql), slots):
        sums = found[None if payer is None else account[payer], payer is None]
        for place, figure in enumerate(figures):
            sums[place] += figure or 0.0
    return {key: Amounts(*figures) for key, figures in found.items()}


def _used(connection: Connection, slots: Mapping[str, Any]) -> set[int]:
    """The attempts that used something in the slots."""
    sql = f"""
        SELECT attempt_id FROM ({_POSTED}) AS said WHERE attempt_id IS NOT NULL
        GROUP BY attempt_id HAVING SUM(held_s) > 0.001"""
    return set(connection.execute(text(sql), slots).scalars())


def _total(sums: Mapping[Any, Amounts]) -> Amounts:
    return Amounts(*(sum(column) for column in zip(*(one.values for one in sums.values()), strict=True)))
