"""Closing a month of the books, and opening it again: who, when and why are kept.

The postings of a closed month stay as they are, and so does what reports say of it; `accounting.ledger.adjusting` posts
what is found out later. `accounting.periods` reads what is written here.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, func, insert, select, text, update

from accounting.ledger import schema
from accounting.ledger.adjusting import Adjustments, closed_months
from accounting.ledger.errors import LedgerError
from accounting.ledger.rollup import RollUp
from accounting.ledger.store import Ledger


@dataclass(frozen=True, slots=True)
class By:
    """Who does something to the books, where, and why."""

    who: str  # the user's name
    host: str
    why: str | None


def close_month(ledger: Ledger, month: str, by: By) -> None:
    """Close a month (`2026-10`). LedgerError where it is closed already.

    Whether it may be closed, `accounting.periods.hindrances` says.
    """
    with ledger.transaction() as connection:
        if month in closed_months(connection):
            raise LedgerError(f"{month} is closed already", "scarbon period list shows since when")
        _note(connection, month, by, closed=True)


def reopen_month(ledger: Ledger, month: str, by: By, run: Mapping[str, object]) -> None:
    """Open a closed month again; LedgerError where it is open.

    Its jobs are booked to whom they belong now. What was adjusted while it was closed stands until the month is
    accounted again: then it is taken back, for then the postings say it. `run` has the version and the
    configuration's digest of `schema.runs`.
    """
    with ledger.transaction() as connection:
        if month not in closed_months(connection):
            raise LedgerError(f"{month} is not closed", "there is nothing to open")
        _note(connection, month, by, closed=False)
        now_s = time.time()
        runs = schema.runs
        run_id = _last_run(connection) + 1
        adjustments = Adjustments(connection, run_id, ledger.zone, now_s)
        start_s, _ = adjustments.bounds(month)
        connection.execute(
            insert(runs).values(
                run_id=run_id, cluster="", start_s=start_s, end_s=start_s, started_s=now_s, finished_s=now_s,
                summary="{}", **run,
            )
        )  # fmt: skip
        adjusted = adjustments.reopen(month)
        connection.execute(update(runs).where(runs.c.run_id == run_id).values(summary=f'{{"posted": {adjusted}}}'))
        moved = text(
            "SELECT DISTINCT v.attempt_id FROM moves v JOIN usage_days u ON u.attempt_id = v.attempt_id "
            "WHERE u.day >= :first AND u.day < :beyond"
        )
        ids = set(connection.execute(moved, {"first": f"{month}-01", "beyond": f"{month}-99"}).scalars())
        for cluster in connection.execute(select(schema.payers.c.cluster).distinct()).scalars().all() if ids else ():
            RollUp(connection, cluster, [], adjustments.closed).payers((), ids)


def _note(connection: Connection, month: str, by: By, *, closed: bool) -> None:
    table = schema.periods
    following = (connection.execute(select(func.max(table.c.period_id))).scalar() or 0) + 1
    connection.execute(
        insert(table).values(
            period_id=following, month=month, closed=closed, run_id=_last_run(connection), at_s=time.time(),
            who=by.who, host=by.host, why=by.why,
        )
    )  # fmt: skip


def _last_run(connection: Connection) -> int:
    return int(connection.execute(select(func.max(schema.runs.c.run_id))).scalar() or 0)
