"""Letting go of the hours of long ago: postings are deleted, and what they sum up to stays.

From then on that time has its roll-ups only. Reports and jobs say what they said; what needs hours (a restatement, the
books as they stood at an earlier time, a recomputation) is refused. `meta` says until when, before anything is deleted:
a purge that was killed is finished by the next one, and nobody takes half of the hours for all.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Connection, Table, delete, func, insert, select

from accounting.agreement import disagreements
from accounting.clock import day_of, day_start
from accounting.ledger import schema
from accounting.ledger.errors import LedgerError
from accounting.ledger.reading import Books
from accounting.ledger.store import Ledger
from accounting.reading import LOOK_OUT_S

#: What silent meters turn out to have used is accounted anew as far back as samples are looked for.
KEPT_S = LOOK_OUT_S[-1]

_TABLES = (schema.usage_slots, schema.balance, schema.factors)
_MARK = schema.meta.c.name == "purged_before_s"
_UNTOUCHED = "what was not deleted yet is left to the next purge; mend it and run again"


@dataclass(frozen=True, slots=True)
class Purge:
    """What a purge would delete: postings of slots that begin before `before_s`."""

    before: date
    before_s: int
    first: date | None  # the first day that has postings; None: there are none
    postings: int  # of jobs, those superseded included
    superseded: int  # … of these
    balances: int  # of meters
    factors: int  # superseded ones; those in force stay, to tell where figures come from

    @property
    def rows(self) -> int:
        """All of it."""
        return self.postings + self.balances + self.factors


def plan_purge(books: Books, before: date) -> Purge:
    """What purging all before a day of the site's calendar would delete.

    LedgerError where the day is too late, or the roll-ups that would be left are not the sums of their postings.
    """
    zone = ZoneInfo(books.zone)
    before_s = day_start(zone, before)
    ends = [books.booked(cluster)[-1][1] for cluster in books.clusters()]
    if not ends:
        raise LedgerError("the books are empty", "there is nothing to purge")
    latest_s = min(ends) - KEPT_S
    if before_s > latest_s:
        raise LedgerError(
            f"the hours since {day_of(zone, latest_s)} may still be accounted anew, and cannot be purged",
            f"name a day up to {day_of(zone, latest_s)}",
        )
    purged_s = books.purged_before_s
    if purged_s is not None and before_s < purged_s:
        raise LedgerError(f"all before {day_of(zone, purged_s)} was purged already", "name a later day")
    for wrong in disagreements(books, purged_s, before_s):
        raise LedgerError(
            f"the sums that would be left are not those of the hours: {wrong}", "run scarbon ledger rebuild first"
        )
    values = {"before_s": before_s}
    count = (
        "SELECT COUNT(*) AS n, MIN(slot_s) AS first_s, COUNT(superseded_by) AS gone FROM {} WHERE slot_s < :before_s"
    )
    usage, balance, factors = (
        books.rows(count.format(table), values)[0] for table in ("usage_slots", "balance", "factors")
    )
    firsts = [row["first_s"] for row in (usage, balance) if row["first_s"] is not None]
    first = day_of(zone, min(firsts)) if firsts else None
    return Purge(before, before_s, first, usage["n"], usage["gone"], balance["n"], factors["gone"])


def purge(ledger: Ledger, plan: Purge) -> None:
    """Delete what `plan` names, a day in a transaction. LedgerError where somebody writes, or the database cannot."""
    with ledger.lock():
        with ledger.transaction("nothing was deleted; mend it and run again") as connection:
            connection.execute(delete(schema.meta).where(_MARK))
            connection.execute(insert(schema.meta).values(name="purged_before_s", value=str(plan.before_s)))
        with ledger.transaction() as connection:
            first_s = _first(connection, plan.before_s)
        day = plan.before if first_s is None else day_of(ledger.zone, first_s)
        while day < plan.before:
            day += timedelta(days=1)
            with ledger.transaction(_UNTOUCHED) as connection:
                for table in _TABLES:
                    connection.execute(delete(table).where(_goes(table, day_start(ledger.zone, day))))


def _goes(table: Table, before_s: int) -> ColumnElement[bool]:
    """Of factors only what was superseded goes: those in force are few, and reports say where they come from."""
    early = table.c.slot_s < before_s
    return early & table.c.superseded_by.is_not(None) if table is schema.factors else early


def _first(connection: Connection, before_s: int) -> int | None:
    """The first slot that has something to be deleted."""
    found = [
        connection.execute(select(func.min(table.c.slot_s)).where(_goes(table, before_s))).scalar() for table in _TABLES
    ]
    return min((slot_s for slot_s in found if slot_s is not None), default=None)
