"""The books as they stood at an earlier time, for every query that there is.

A posting was in force then if its run had ended and that of the one which took its place had not. From those postings
the roll-ups of the asked days, or of the asked jobs, are made again, as temporary tables of this connection that go
before the tables of the same name (on all three databases): so every query works unchanged. Temporary tables are the
connection's own; the books are not written to.

What is known of jobs beside their figures (names, states, ends) is as it is now, except for whom they were booked to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from accounting.clock import day_of, day_start, union
from accounting.ledger.errors import LedgerError
from accounting.ledger.reading import Books
from accounting.ledger.sums import (
    IDLE_DAYS,
    IN_FORCE,
    LAST_RUN,
    METERS_OF_CLUSTER,
    NEVER,
    PAYER_DAYS,
    PAYER_JOBS,
    PAYER_MONTHS,
    USAGE_DAYS,
    Derived,
)

_MOST = 1000  # jobs in one condition


def days_as_of(books: Books, time_s: float, days: Iterable[str]) -> None:
    """Let `books` stand as at `time_s`, for all that is asked of the calendar days `days` (ISO).

    Months are summed from those of their days that are among them. LedgerError where the books did not exist yet, or
    postings of these days were purged.
    """
    past = _Past(books, time_s)
    wanted = sorted(set(days))
    past.check_kept(wanted)
    past.shadow_small(wanted)
    past.derive(USAGE_DAYS, [(day, {"of": ""}) for day in wanted])
    past.derive(IDLE_DAYS, [(day, {"of": METERS_OF_CLUSTER}) for day in wanted])
    past.derive(PAYER_DAYS, [(day, {}) for day in wanted])
    past.derive(PAYER_JOBS, [(day, {}) for day in wanted])
    past.derive(PAYER_MONTHS, [(f"{month}-01", {}) for month in dict.fromkeys(day[:7] for day in wanted)])


def jobs_as_of(books: Books, time_s: float, attempt_ids: Sequence[int]) -> None:
    """Let `books` stand as at `time_s`, for what is asked of the figures of these attempts; LedgerError as above."""
    past = _Past(books, time_s)
    wanted: list[tuple[str, dict[str, str]]] = []
    for first in range(0, len(attempt_ids), _MOST):
        ids = ", ".join(str(int(one)) for one in attempt_ids[first : first + _MOST])
        found = books.rows(
            "SELECT MIN(slot_s) AS first_s, MAX(slot_s) AS last_s, COUNT(*) AS slots FROM usage_slots "
            f"WHERE attempt_id IN ({ids})"
        )[0]
        oldest = books.rows(f"SELECT MIN(day) AS day FROM usage_days WHERE attempt_id IN ({ids})")[0]["day"]
        past.check_kept([] if oldest is None else [oldest])
        if found["slots"]:
            last = day_of(past.zone, found["last_s"])
            wanted += [
                (day, {"of": f" AND attempt_id IN ({ids})"})
                for day in days_between(day_of(past.zone, found["first_s"]), last)
            ]
    past.shadow_small(sorted({day for day, _ in wanted}))
    past.derive(USAGE_DAYS, wanted)


def days_between(first: date, last: date) -> list[str]:
    """The days from the first to the last (ISO)."""
    return [(first + timedelta(days=number)).isoformat() for number in range((last - first).days + 1)]


class _Past:
    """The last run that had ended by a time, and the temporary tables of what stood then."""

    def __init__(self, books: Books, time_s: float) -> None:
        self.zone = ZoneInfo(books.zone)
        self._books = books
        self._time_s = time_s
        found = books.rows("SELECT MAX(run_id) AS run FROM runs WHERE finished_s <= :time_s", {"time_s": time_s})
        if found[0]["run"] is None:
            first_s = books.rows("SELECT MIN(finished_s) AS first_s FROM runs")[0]["first_s"]
            begun = "nothing was ever accounted" if first_s is None else f"the books begin at {self._shown(first_s)}"
            raise LedgerError(f"there were no books at {self._shown(time_s)}: {begun}", "name a later time")
        self._run_id = int(found[0]["run"])
        rows = books.rows("SELECT DISTINCT cluster FROM meters UNION SELECT DISTINCT cluster FROM payers")
        self._clusters = sorted(row["cluster"] for row in rows)
        books.allow_temporary()

    def check_kept(self, days: Sequence[str]) -> None:
        """LedgerError where postings of these days were purged: only the last sums of them are left."""
        purged_s = self._books.purged_before_s
        if purged_s is not None and days and self._start(days[0]) < purged_s:
            raise LedgerError(
                f"the hours of {days[0]} were purged, those before {self._shown(purged_s)}: how they stood earlier is "
                "not known any more",
                "ask without --as-of, or restore a copy from before the purge",
            )

    def shadow_small(self, days: Sequence[str]) -> None:
        """What is not summed: closed months, adjustments, the factors of the days, and what was booked."""
        until = {"run_id": self._run_id, "time_s": self._time_s}
        self._copy("periods", "SELECT * FROM periods WHERE at_s <= :time_s", until)
        self._copy("adjustments", "SELECT * FROM adjustments WHERE run_id <= :run_id", until)
        booked = [(cluster, *stretch) for cluster in self._clusters for stretch in self._booked(cluster)]
        self._replace("booked", lambda table: self._put(table, ("cluster", "start_s", "end_s"), booked))
        columns = (
            "factor_id, cluster, kind, slot_s, start_s, end_s, value, source, estimated, basis, retrieved_s, run_id"
        )
        bounds = {"start_s": 0, "end_s": 0}
        if days:
            bounds = {"start_s": self._start(days[0]), "end_s": self._start(days[-1], 1)}
        select = (
            f"SELECT {columns} FROM factors WHERE slot_s >= :start_s AND slot_s < :end_s AND {self._then(IN_FORCE)}"
        )
        self._replace("factors", lambda table: self._books.execute(f"INSERT INTO {table} ({columns}) {select}", bounds))

    def derive(self, sums: Derived, wanted: Sequence[tuple[str, dict[str, str]]]) -> None:
        """A roll-up, of days and with the words of its query."""

        def fill(table: str) -> None:
            columns = ", ".join((*sums.keys, *sums.columns))
            for day, words in wanted:
                sql = f"INSERT INTO {table} ({columns}) {self._then(sums.query.format(**words))}"
                values = {"day": day, "month": day[:7], "start_s": self._start(day), "end_s": self._start(day, 1)}
                for cluster in self._clusters:
                    self._books.execute(sql, {**values, "cluster": cluster})

        self._replace(sums.table, fill)

    def _then(self, sql: str) -> str:
        """A query on the postings in force, as of then."""
        run = self._run_id
        in_force = f"(run_id <= {run} AND (superseded_by IS NULL OR superseded_by > {run}))"
        return sql.replace(IN_FORCE, in_force).replace(LAST_RUN, LAST_RUN.replace(str(NEVER), str(run)))

    def _booked(self, cluster: str) -> list[tuple[float, float]]:
        """What the runs had accounted by then, as far as the books hold it."""
        rows = self._books.rows(
            "SELECT start_s, end_s FROM runs WHERE cluster = :cluster AND run_id <= :run_id AND end_s > start_s "
            "AND restatement_id IS NULL",  # one restates what is booked already
            {"cluster": cluster, "run_id": self._run_id},
        )
        accounted = union((row["start_s"], row["end_s"]) for row in rows)
        now = self._books.booked(cluster)
        both = [(max(a, c), min(b, d)) for a, b in accounted for c, d in now]
        return [(start_s, end_s) for start_s, end_s in both if end_s > start_s]

    def _copy(self, name: str, select: str, values: dict[str, Any]) -> None:
        self._replace(name, lambda table: self._books.execute(f"INSERT INTO {table} {select}", values))

    def _put(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        marks = ", ".join(f":{column}" for column in columns)
        for row in rows:
            values = dict(zip(columns, row, strict=True))
            self._books.execute(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", values)

    def _replace(self, name: str, fill: Callable[[str], None]) -> None:
        """Make a temporary table, and let it go before the one of that name."""
        self._books.make_temporary(name, fill)

    def _start(self, day: str, later: int = 0) -> int:
        return day_start(self.zone, date.fromisoformat(day) + timedelta(days=later))

    def _shown(self, time_s: float) -> str:
        return datetime.fromtimestamp(time_s, self.zone).strftime("%Y-%m-%d %H:%M")
