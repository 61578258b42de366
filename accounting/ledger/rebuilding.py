"""Making the roll-ups anew from the postings in force, where an audit found that they do not agree with them.

All in one transaction: readers see the old ones until the new ones are whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, text

from accounting.clock import day_start
from accounting.ledger.store import Ledger
from accounting.ledger.sums import (
    IDLE_DAYS,
    METERS_OF_CLUSTER,
    PAYER_DAYS,
    PAYER_JOBS,
    PAYER_MONTHS,
    USAGE_DAYS,
    Derived,
)


def rebuild(ledger: Ledger, zone: ZoneInfo, days: Sequence[str], purged_before_s: float | None) -> None:
    """Make the roll-ups of `days` (ISO, in order) and of their months anew.

    Of days before `purged_before_s`, whose postings are gone, the sums of attempts and meters stay, and what is summed
    from those is made anew. LedgerError where somebody else writes, or the database cannot.
    """
    with ledger.lock(), ledger.transaction() as connection:
        found = connection.execute(text("SELECT cluster FROM meters UNION SELECT cluster FROM payers"))
        clusters = sorted(found.scalars())
        for day in days:
            at = date.fromisoformat(day)
            start_s, end_s = day_start(zone, at), day_start(zone, at + timedelta(days=1))
            if purged_before_s is None or start_s >= purged_before_s:
                period: dict[str, object] = {"day": day, "month": day[:7], "start_s": start_s, "end_s": end_s}
                _again(connection, USAGE_DAYS, "day = :day", clusters, period, of="")
                _again(connection, IDLE_DAYS, "day = :day", clusters, period, of=METERS_OF_CLUSTER)
        for day in days:
            period = {"day": day, "month": day[:7]}
            _again(connection, PAYER_DAYS, "month = :month AND day = :day", clusters, period)
            _again(connection, PAYER_JOBS, "month = :month AND day = :day", clusters, period)
        for month in dict.fromkeys(day[:7] for day in days):
            _again(connection, PAYER_MONTHS, "month = :month", clusters, {"month": month})


def _again(
    connection: Connection,
    sums: Derived,
    rows: str,
    clusters: Sequence[str],
    period: dict[str, object],
    **words: str,
) -> None:
    connection.execute(text(f"DELETE FROM {sums.table} WHERE {rows}"), period)
    for cluster in clusters:
        connection.execute(text(sums.insert.format(**words)), {**period, "cluster": cluster})
