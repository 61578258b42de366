"""Restating: what is known now of factors, applied to the energy that the books hold.

The samples have long left Prometheus, and the energy in the books stays as it is; what it emitted is worked out anew,
slot by slot (`accounting.reapply`), with the intensity, the PUE, the contracts and the embodied figures of now.
Postings are superseded in open months; in closed ones the difference is an adjustment (`accounting.ledger.adjusting`).
A restatement of a cluster is one transaction and one row in `restatements`; where nothing differs, nothing is written.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
from sqlalchemy import Connection, func, select, text

from accounting.applied import KINDS, ByKind, Slot, slot_of
from accounting.arrays import Floats, Indices
from accounting.booking import Rules
from accounting.clock import day_of, day_start, slot_edges
from accounting.embodied import Embodied
from accounting.ledger import schema
from accounting.ledger.adjusting import Adjustments, Figures, Key, added, reopened_months
from accounting.ledger.bulk import id_lists, insert_rows
from accounting.ledger.closing import By
from accounting.ledger.differ import Differ, same_values
from accounting.ledger.errors import LedgerError
from accounting.ledger.recording import Program, Record
from accounting.ledger.rollup import RollUp
from accounting.ledger.store import Ledger
from accounting.model import FactorSlot
from accounting.reapply import SlotPostings, reapplied
from accounting.restated import FactorUse, Restated, side
from accounting.sources import FactorSource, NodeSource
from accounting.standing import BALANCE, USAGE, Postings, Tally

_FACTOR = ("start_s", "end_s", "value", "source", "estimated", "basis", "retrieved_s")
_FACTORS = ("cluster", "kind", "slot_s", *_FACTOR)
_LONGEST_SLOT_S = 7200  # an hour of the clock, and what a zone may set it back by


@dataclass(frozen=True, slots=True)
class Period:
    """What of a cluster's time is to be restated: its slots, each with what of it the books hold."""

    cluster: str
    start_s: float
    end_s: float
    spans: Mapping[int, tuple[float, float]]  # in order

    @property
    def slots_s(self) -> list[int]:
        """Where its slots begin."""
        return list(self.spans)


class NothingBookedError(LedgerError):
    """The books hold nothing of a cluster in the period."""


def period_of(ledger: Ledger, cluster: str, start_s: float, end_s: float) -> Period:
    """The slots that [start_s, end_s) touches and of which the books hold something.

    NothingBookedError where there are none, another LedgerError where only sums are left of them.
    """
    spans: dict[int, tuple[float, float]] = {}
    for a, b in ledger.booked(cluster):
        if b <= start_s or a >= end_s:
            continue
        edges = slot_edges(ledger.zone, max(a, start_s - _LONGEST_SLOT_S), min(b, end_s))
        for slot_s, next_s in pairwise(edges):
            if slot_s < end_s and next_s > start_s and a < next_s and b > slot_s:
                first_s, last_s = spans.get(slot_s, (a, b))
                spans[slot_s] = (max(min(first_s, a), slot_s), min(max(last_s, b), next_s))
    if not spans:
        raise NothingBookedError(
            f"{cluster}: the books hold nothing of that period", "scarbon period list shows what they hold"
        )
    with ledger.transaction() as connection:
        kept = select(schema.meta.c.value).where(schema.meta.c.name == "purged_before_s")
        purged = connection.execute(kept).scalar()
    if purged is not None and min(spans) < float(purged):
        raise LedgerError(
            f"{cluster}: of a part of that period only sums are left, its hours were purged",
            "restate a later period, or restore a copy from before the purge",
        )
    return Period(cluster, start_s, end_s, dict(sorted(spans.items())))


def restate_factors(
    ledger: Ledger,
    period: Period,
    rules: Rules,
    factors: FactorSource,
    nodes: NodeSource,
    by: By,
    program: Program,
    *,
    dry_run: bool,
) -> Restated:
    """Apply the factors and embodied figures of now to the period; `dry_run`: only say what would change.

    LedgerError where the books cannot be written: then they are as they were.
    """
    cluster, slots_s = period.cluster, period.slots_s
    now = factors(slots_s[0], slots_s[-1] + _LONGEST_SLOT_S)
    with ledger.transaction() as connection:
        old = factors_in_force(connection, period)
        slots = [slot_of(slot_s, span, old[slot_s], now) for slot_s, span in period.spans.items()]
        span = period.start_s, period.end_s
        record = None if dry_run else Record(connection, cluster, "factors", span, by, program)
        embodied = Embodied(connection, cluster, rules, nodes)
        work = _Work(connection, ledger, cluster, embodied, None if record is None else record.run())
        days: dict[str, list[Slot]] = defaultdict(list)
        for slot in slots:
            days[day_of(ledger.zone, slot.slot_s).isoformat()].append(slot)
        for day, of_day in days.items():
            work.restate(day, of_day)
        lines, total = work.tally.lines(connection)
        restated = Restated(
            cluster=cluster,
            start_s=period.start_s,
            end_s=period.end_s,
            rule="factors",
            lines=lines,
            total=total,
            posted=work.posted,
            adjusted=work.adjusted,
            closed=sorted({day[:7] for day in days} & work.adjustments.closed),
            old_factors=factor_uses(slot.old for slot in slots),
            new_factors=factor_uses(slot.new for slot in slots),
            warnings=[*now.warnings, *embodied.warnings, *_kept(slots)],
            reopened=sorted({day[:7] for day in days} & reopened_months(connection)),
        )
        if record is None:
            return restated
        if not restated.changes:
            record.forget()
            return restated
        work.roll_up()
        old_side = side(lines, total, restated.old_factors, "old")
        new_side = side(lines, total, restated.new_factors, "new")
        record.finish(old_side, new_side, json.dumps({"posted": work.posted, "adjusted": work.adjusted}))
        return replace(restated, restatement_id=record.restatement_id)


def factor_uses(slots: Iterable[ByKind]) -> list[FactorUse]:
    """The sources of factors, by kind, each with the mean of its values over time."""
    seconds: dict[tuple[str, str], float] = defaultdict(float)
    weighted: dict[tuple[str, str], float] = defaultdict(float)
    for by_kind in slots:
        for kind in KINDS:
            for one in by_kind[kind]:
                seconds[kind, one.source] += one.end_s - one.start_s
                weighted[kind, one.source] += (one.end_s - one.start_s) * one.value
    order = sorted(seconds, key=lambda key: (KINDS.index(key[0]), -seconds[key], key[1]))
    return [FactorUse(*key, weighted[key] / seconds[key], seconds[key]) for key in order if seconds[key] > 0]


def _kept(slots: Sequence[Slot]) -> Iterator[str]:
    names = {"pue": "the PUE", "location": "the grid's intensity", "market": "the contracts"}
    for kind, name in names.items():
        count = sum(kind in slot.kept for slot in slots)
        if count:
            yield f"nothing is known now of {name} in {count} of {len(slots)} hours: there it stays as it was applied"


def factors_in_force(connection: Connection, period: Period) -> dict[int, dict[str, list[FactorSlot]]]:
    """What the books applied to the period, by slot and kind."""
    table, slots_s = schema.factors, period.slots_s
    chosen = (
        select(table)
        .where(table.c.cluster == period.cluster, table.c.superseded_by.is_(None))
        .where(table.c.slot_s >= slots_s[0], table.c.slot_s <= slots_s[-1])
        .order_by(table.c.start_s)
    )
    found: dict[int, dict[str, list[FactorSlot]]] = defaultdict(lambda: {kind: [] for kind in KINDS})
    for row in connection.execute(chosen).mappings():
        slot = FactorSlot(
            **{name: row[name] for name in _FACTOR if name != "estimated"}, estimated=bool(row["estimated"])
        )
        found[row["slot_s"]][row["kind"]].append(slot)
    return found


class _Work:
    """One restatement by factors, day by day. Without a run nothing is written."""

    def __init__(
        self, connection: Connection, ledger: Ledger, cluster: str, embodied: Embodied, run_id: int | None
    ) -> None:
        self._connection = connection
        self._zone = ledger.zone
        self._cluster = cluster
        self._run_id = run_id
        self._days: list[tuple[str, int, int]] = []
        self._meters: set[int] = set()
        self.embodied = embodied
        self.adjustments = Adjustments(connection, run_id or 0, ledger.zone, time.time())
        self.tally = Tally()
        self.posted = 0
        self.adjusted = 0

    def restate(self, day: str, slots: Sequence[Slot]) -> None:
        """Find what differs in a day's slots, and write it."""
        first_s, last_s = slots[0].slot_s, slots[-1].slot_s
        values = {"first_s": first_s, "last_s": last_s, "cluster": self._cluster, "month": day[:7]}
        found = [Postings(self._connection, kind, values) for kind in (USAGE, BALANCE)]
        new = [self._new(postings, slots) for postings in found]
        earlier = self.adjustments.earlier(self._cluster, first_s, last_s + 1)
        again = self._adjusted_now(earlier, slots)
        for postings, figures in zip(found, new, strict=True):
            self.tally.postings(postings, figures)
        self.tally.adjustments(earlier, 0)
        self.tally.adjustments(again, 1)
        changed = [postings.changed(figures) for postings, figures in zip(found, new, strict=True)]
        closed = day[:7] in self.adjustments.closed
        if closed:
            for postings, figures, rows in zip(found, new, changed, strict=True):
                earlier = added(earlier, postings.figures(postings.old, rows))
                again = added(again, postings.figures(figures, rows))
        post = self.adjustments.count if self._run_id is None else self.adjustments.post
        self.adjusted += post(earlier, again)
        if not closed:
            self.posted += sum(rows.size for rows in changed) + self._factors(slots)
            if self._run_id is not None and any(rows.size for rows in changed):
                for postings, figures, rows in zip(found, new, changed, strict=True):
                    self._supersede(postings, figures, rows)
                start = date.fromisoformat(day)
                bounds = day_start(self._zone, start), day_start(self._zone, start + timedelta(days=1))
                self._days.append((day, *bounds))

    def roll_up(self) -> None:
        """Bring the roll-ups of the changed days up to the postings."""
        RollUp(self._connection, self._cluster, self._days, self.adjustments.closed).restated(self._meters)

    def _new(self, postings: Postings, slots: Sequence[Slot]) -> list[Floats]:
        """The four figures by what is known now; where that is nothing, as they are."""
        new = [np.full(postings.energy_j.size, np.nan) for _ in range(3)]
        for slot in slots:
            rows = postings.in_slot(slot.slot_s)
            if rows.size:
                rates = reapplied(postings.of(rows), slot.stretches)
                for place, rate in enumerate((rates.pue, rates.location, rates.market)):
                    energy_j = postings.energy_j[rows]
                    new[place][rows] = np.where(energy_j == 0, 0.0, energy_j * rate)
        rate_g = self.embodied.per_s(postings.meter, postings.attempt)
        new.append(postings.held_s * rate_g)
        return [
            np.where(np.isnan(now) & ~np.isnan(before), before, now)
            for now, before in zip(new, postings.old, strict=True)
        ]

    def _adjusted_now(self, earlier: Mapping[Key, Figures], slots: Sequence[Slot]) -> dict[Key, Figures]:
        """Earlier adjustments of energy and of time, with the figures of now; those of figures alone are made anew."""
        if not earlier:
            return {}
        by_slot = {slot.slot_s: (_mean_rates(slot), [kind in slot.kept for kind in KINDS]) for slot in slots}
        attempts = np.array([np.nan if key[1] is None else key[1] for key in earlier], dtype=float)
        meters = np.array([key[2] for key in earlier], dtype=np.int64)
        held = np.isnan(attempts)
        per_s = self.embodied.per_s(meters, None)
        per_s[~held] = self.embodied.per_s(meters[~held], attempts[~held])
        said: dict[Key, Figures] = {}
        for (key, values), rate_g in zip(earlier.items(), per_s.tolist(), strict=True):
            held_s, energy_j = values[:2]
            rates, kept = by_slot[key[3]]
            now = [
                before if keeps or (energy_j and rate != rate) else energy_j and energy_j * rate
                for before, rate, keeps in zip(values[2:5], rates, kept, strict=True)
            ]
            said[key] = (held_s, energy_j, *now, values[5] if rate_g != rate_g else held_s * rate_g)
        return said

    def _supersede(self, postings: Postings, new: Sequence[Floats], rows: Indices) -> None:
        """Post the changed rows with their new figures, and mark those whose place they take."""
        if not rows.size:
            return
        table, columns = postings.kind.table, postings.kind.columns
        identity = columns[0]
        for ids in id_lists(postings.rows[row][0] for row in rows.tolist()):
            change = text(f"UPDATE {table.name} SET superseded_by = :run_id WHERE {identity} IN ({ids})")
            self._connection.execute(change, {"run_id": self._run_id})
        if postings.kind is BALANCE:
            self._meters |= set(np.unique(postings.meter[rows]).tolist())
        following = (self._connection.execute(select(func.max(table.c[identity]))).scalar() or 0) + 1
        after, run_at = postings.kind.energy_at + 1, columns.index("run_id")
        figures = zip(*([None if v != v else v for v in one[rows].tolist()] for one in new), strict=True)
        insert_rows(
            self._connection,
            table,
            columns[: run_at + 1],
            (
                (number, *(old := postings.rows[row])[1:after], *said, *old[after + 4 : run_at], self._run_id)
                for number, (row, said) in enumerate(zip(rows.tolist(), figures, strict=True), following)
            ),
        )

    def _factors(self, slots: Sequence[Slot]) -> int:
        """Bring the factors in force to those that are applied now; how many differ."""
        old = [row for slot in slots for row in self._factor_rows(slot.slot_s, slot.old)]
        new = [row for slot in slots for row in self._factor_rows(slot.slot_s, slot.new)]
        keyed = {row[:4]: row for row in old}
        differ = sum(not (row[:4] in keyed and same_values(keyed[row[:4]][:-1], row[:-1])) for row in new)
        if differ and self._run_id is not None:
            slots_s = [slot.slot_s for slot in slots]
            Differ(self._connection, self._run_id, self._cluster, slots_s).post(
                schema.factors, _FACTORS, 4, new, notes=1
            )
        return differ

    def _factor_rows(self, slot_s: int, by_kind: ByKind) -> list[tuple[Any, ...]]:
        return [
            (self._cluster, kind, slot_s, *(getattr(one, name) for name in _FACTOR))
            for kind in KINDS
            for one in by_kind[kind]
        ]


def _mean_rates(slot: Slot) -> tuple[float, float, float]:
    """The factors of now on energy that is spread evenly over the slot."""
    factors = slot.stretches
    nothing = np.full(1, np.nan)
    rates = reapplied(
        SlotPostings(np.ones(1), nothing, nothing, nothing, factors.start_s[:1], factors.end_s[-1:]), factors
    )
    return float(rates.pue[0]), float(rates.location[0]), float(rates.market[0])
