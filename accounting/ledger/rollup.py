"""The roll-ups, kept in step with the postings in force, in the same transaction.

A window's changes go upwards: the days of the attempts and meters whose postings changed, then the payers' days that
hold them. What the roll-ups say stands in `accounting.ledger.sums`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import Connection, text

from accounting.ledger.bulk import id_lists
from accounting.ledger.sums import (
    IDLE_DAYS,
    OF_CLUSTER,
    PAYER_DAYS,
    PAYER_JOBS,
    PAYER_MONTHS,
    USAGE_DAYS,
    Derived,
)

#: All runs of the jobs that some attempts are runs of.
_OF_JOBS = (
    "attempt_id IN (SELECT e.attempt_id FROM attempts b JOIN attempts e "
    "ON e.job_id = b.job_id AND e.cluster = b.cluster WHERE b.attempt_id IN ({ids}))"
)


class RollUp:
    """Brings the roll-ups of one cluster up to its postings."""

    def __init__(
        self,
        connection: Connection,
        cluster: str,
        days: Sequence[tuple[str, int, int]],
        closed: Collection[str] = (),
    ) -> None:
        """`days`: the calendar days whose postings changed, with their starts and ends (UTC epoch s).

        `closed` are the months whose figures stay as they are; none of `days` lies in one of them.
        """
        self._connection = connection
        self._cluster = cluster
        self._days = days
        self._closed = closed

    def usage(self, attempt_ids: Collection[int], *, first: bool) -> None:
        """Sum the days anew for the attempts whose postings changed; `first`: the cluster had none on these days."""
        for day, start_s, end_s in self._days:
            slots = {"day": day, "month": day[:7], "start_s": start_s, "end_s": end_s, "cluster": self._cluster}
            if first:
                self._run(USAGE_DAYS.insert.format(of=""), **slots)
                continue
            for ids in id_lists(attempt_ids):
                self._run(f"DELETE FROM usage_days WHERE day = :day AND attempt_id IN ({ids})", day=day)
                self._run(USAGE_DAYS.insert.format(of=f" AND attempt_id IN ({ids})"), **slots)

    def restated(self, meter_ids: Collection[int]) -> None:
        """Sum the days anew where figures changed, and neither who used what, nor for how long, nor whose it was."""
        for day, _, _ in self._days:
            self._run(f"DELETE FROM usage_days WHERE day = :day AND {OF_CLUSTER}", day=day, cluster=self._cluster)
        self.usage((), first=True)
        self.idle(meter_ids)
        self._payer_sums({day for day, _, _ in self._days})

    def idle(self, meter_ids: Collection[int]) -> None:
        """Sum the days anew for the meters whose balances changed."""
        for day, start_s, end_s in self._days:
            for ids in id_lists(meter_ids):
                self._run(f"DELETE FROM idle_days WHERE day = :day AND meter_id IN ({ids})", day=day)
                self._run(IDLE_DAYS.insert.format(of=f"meter_id IN ({ids})"), day=day, start_s=start_s, end_s=end_s)

    def payers(self, attempt_ids: Collection[int], moved_ids: Collection[int]) -> None:
        """Sum the payers' days anew: those of changed attempts, and every day of attempts that moved to another payer.

        A job that appears on a day, or is gone from it, is counted otherwise on its next day, too, also where that is
        of another run of it.
        """
        days = {day for day, _, _ in self._days} if attempt_ids else set()
        others = self._following(attempt_ids)
        for ids in id_lists(moved_ids):
            days |= self._move(ids)
            others |= self._days_of_jobs(ids)
        self._payer_sums(days)
        for day in sorted(days | {day for day in others if day[:7] not in self._closed}):
            self._again(f"payer_jobs WHERE day = :day AND month = :month AND {OF_CLUSTER}", PAYER_JOBS, day)

    def _payer_sums(self, days: Collection[str]) -> None:
        for day in sorted(days):
            self._again(f"payer_days WHERE day = :day AND month = :month AND {OF_CLUSTER}", PAYER_DAYS, day)
        for month in sorted({day[:7] for day in days}):
            self._again(f"payer_months WHERE month = :month AND {OF_CLUSTER}", PAYER_MONTHS, month)

    def _again(self, rows: str, sums: Derived, period: str) -> None:
        values = {"month": period[:7], "day": period, "cluster": self._cluster}
        self._run(f"DELETE FROM {rows}", **values)
        self._run(sums.insert, **values)

    def _move(self, ids: str) -> set[str]:
        """Book the days of these attempts to whom they now belong, those of closed months left out; which days."""
        months = ", ".join(f"'{month}'" for month in sorted(self._closed)) or "''"
        where = f"attempt_id IN ({ids}) AND SUBSTR(day, 1, 7) NOT IN ({months})"
        now = "SELECT a.payer_id FROM attempts a WHERE a.attempt_id = usage_days.attempt_id"
        self._run(f"UPDATE usage_days SET payer_id = ({now}) WHERE {where}")
        return set(self._connection.execute(text(f"SELECT DISTINCT day FROM usage_days WHERE {where}")).scalars())

    def _following(self, attempt_ids: Collection[int]) -> set[str]:
        """The next day of each attempt after the changed ones. Mostly the books end here, and there is none."""
        if not attempt_ids:
            return set()
        last = max(day for day, _, _ in self._days)
        latest = "SELECT MAX(day) FROM payer_days WHERE month = (SELECT MAX(month) FROM payer_days)"
        if (self._connection.execute(text(latest)).scalar() or "") <= last:
            return set()
        days: set[str] = set()
        for ids in id_lists(attempt_ids):
            chosen = (
                f"SELECT MIN(day) FROM usage_days WHERE {_OF_JOBS.format(ids=ids)} AND day > :last GROUP BY attempt_id"
            )
            days |= set(self._connection.execute(text(chosen), {"last": last}).scalars())
        return days

    def _days_of_jobs(self, ids: str) -> set[str]:
        """Every day of the jobs that these attempts are runs of."""
        chosen = f"SELECT DISTINCT day FROM usage_days WHERE {_OF_JOBS.format(ids=ids)}"
        return set(self._connection.execute(text(chosen)).scalars())

    def _run(self, sql: str, **values: object) -> None:
        self._connection.execute(text(sql), values)
