"""What is found out later about a closed month: its postings stay, and the difference is posted today.

Beside `differ`, for the months that are closed. What the books say of an attempt, a meter and a slot is its posting
and all adjustments to it; where a run says otherwise, one more adjustment makes up for it. In sums an unknown figure is
nothing, so a figure that becomes known is an adjustment by all of it, and one that is taken back is its negative.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Table, func, select, text

from accounting.clock import day_of, month_bounds
from accounting.ledger import schema
from accounting.ledger.bulk import id_lists, insert_rows
from accounting.ledger.differ import SAME_RELATIVE
from accounting.ledger.errors import LedgerError
from accounting.ledger.sums import LAST_RUN, payer_at

#: What an adjustment adds to, in the order of `Figures`: columns of `usage_slots`; of `balance`, for what nobody held.
FIGURES = ("held_s", "energy_j", "facility_j", "location_g", "market_g", "embodied_g")
IDLE_FIGURES = ("idle_s", "idle_j", "idle_facility_j", "idle_location_g", "idle_market_g", "idle_embodied_g")

#: Payer, attempt (both None: what nobody held), meter, slot.
Key = tuple[int | None, int | None, int, int]
Figures = tuple[float, ...]

_COLUMNS = (
    "adjustment_id", "run_id", "posted_day", "for_day", "payer_id", "attempt_id", "meter_id", "slot_s", *FIGURES,
)  # fmt: skip


def figures(values: Iterable[float | None]) -> Figures:
    """Figures of a posting as an adjustment takes them: what is unknown adds nothing."""
    return tuple(value or 0.0 for value in values)


def closed_months(connection: Connection) -> set[str]:
    """The months that are closed now."""
    table = schema.periods
    last = select(func.max(table.c.period_id)).group_by(table.c.month)
    return set(connection.execute(select(table.c.month).where(table.c.closed, table.c.period_id.in_(last))).scalars())


def reopened_months(connection: Connection) -> set[str]:
    """The months that were closed once, and are open now."""
    return set(connection.execute(select(schema.periods.c.month)).scalars()) - closed_months(connection)


class Adjustments:
    """Posts what a run says otherwise than the books, on the day on which it does."""

    def __init__(self, connection: Connection, run_id: int, zone: ZoneInfo, now_s: float) -> None:
        """`now_s` (UTC epoch s) is when it is posted."""
        self._connection = connection
        self._run_id = run_id
        self._day = lru_cache(maxsize=None)(lambda slot_s: day_of(zone, slot_s).isoformat())
        self._zone = zone
        self._posted_day = day_of(zone, now_s).isoformat()
        self.closed = closed_months(connection)

    def correct(
        self,
        cluster: str,
        day: tuple[str, int, int],
        slots_s: Sequence[int],
        usage: Iterable[Sequence[Any]],
        balance: Iterable[Sequence[Any]],
    ) -> int:
        """Bring the books to what a run says of slots of a day in a closed month; how many rows were posted.

        `usage` and `balance` are rows as they are posted to open months, in the order of the tables' columns.
        """
        start_s, end_s = slots_s[0], slots_s[-1] + 1
        of_cluster = "u.meter_id IN (SELECT meter_id FROM meters WHERE cluster = :cluster)"
        booked = self.booked(of_cluster, day[0][:7], start_s, end_s, cluster) | self._idle(cluster, start_s, end_s)
        said: dict[Key, Figures] = {}
        for (attempt, meter, slot_s), values in _rows(usage, schema.usage_slots, FIGURES, 3):
            said[None, attempt, meter, slot_s] = values
        for (meter, slot_s), values in _rows(balance, schema.balance, IDLE_FIGURES, 2):
            said[None, None, meter, slot_s] = values
        return self.post(added(booked, self.earlier(cluster, start_s, end_s)), self._with_payers_of_now(said))

    def take_back(self, cluster: str, slots_s: Sequence[int]) -> int:
        """The month of these slots is open (again), and its postings say all: what was adjusted is taken back."""
        return self.post(self.earlier(cluster, slots_s[0], slots_s[-1] + 1), {})

    def earlier(self, cluster: str, start_s: float, end_s: float) -> dict[Key, Figures]:
        """What was adjusted before in the slots that begin in [start_s, end_s)."""
        return self._sums("meter_id IN (SELECT meter_id FROM meters WHERE cluster = :cluster)", start_s, end_s, cluster)

    def count(self, standing: Mapping[Key, Figures], said: Mapping[Key, Figures]) -> int:
        """How many rows `post` would post."""
        return sum(1 for _ in self._differences(standing, said))

    def post(self, standing: Mapping[Key, Figures], said: Mapping[Key, Figures]) -> int:
        """Post what makes up for the difference between what stands in the books and what is said; how many rows.

        LedgerError where there is something to post, and this month is closed itself.
        """
        rows = list(self._differences(standing, said))
        if rows and self._posted_day[:7] in self.closed:
            raise LedgerError(
                f"the month of today, {self._posted_day[:7]}, is closed, and there is no open one to post to",
                "is the clock right? else: scarbon period reopen",
            )
        table = schema.adjustments
        first = (self._connection.execute(select(func.max(table.c.adjustment_id))).scalar() or 0) + 1
        if rows:
            numbered = ((number, self._run_id, self._posted_day, *row) for number, row in enumerate(rows, first))
            insert_rows(self._connection, table, _COLUMNS, numbered)
        return len(rows)

    def move(self, attempt_ids: Collection[int]) -> int:
        """Book what attempts used in closed months to their payers of now: taken from one, given to the other."""
        standing: dict[Key, Figures] = {}
        for month in sorted(self.closed):
            start_s, end_s = self.bounds(month)
            for ids in id_lists(attempt_ids):
                booked = self.booked(f"u.attempt_id IN ({ids})", month, start_s, end_s)
                earlier = self._sums(f"attempt_id IN ({ids})", start_s, end_s)
                standing |= added(booked, earlier)
        return self.post(standing, self._with_payers_of_now(standing))

    def reopen(self, month: str) -> int:
        """The postings of a month go to the payers of now again; what was adjusted goes with them."""
        earlier = self._sums("attempt_id IS NOT NULL", *self.bounds(month))
        return self.post(earlier, self._with_payers_of_now(earlier))

    def bounds(self, month: str) -> tuple[int, int]:
        """When a month begins and ends (UTC epoch s)."""
        return month_bounds(self._zone, *map(int, month.split("-")))

    def booked(
        self, condition: str, month: str, start_s: float, end_s: float, cluster: str | None = None
    ) -> dict[Key, Figures]:
        """The postings in force of jobs in a closed month's slots, with whom they were booked to when it was closed."""
        sql = f"""
            SELECT {payer_at(LAST_RUN)}, u.attempt_id, u.meter_id, u.slot_s,
                   {", ".join(f"u.{name}" for name in FIGURES)}
            FROM usage_slots u JOIN attempts a ON a.attempt_id = u.attempt_id
            WHERE u.superseded_by IS NULL AND u.slot_s >= :start_s AND u.slot_s < :end_s AND {condition}"""
        return self._figures(sql, month=month, start_s=start_s, end_s=end_s, cluster=cluster)

    def _idle(self, cluster: str, start_s: float, end_s: float) -> dict[Key, Figures]:
        """The postings in force of what nobody held."""
        sql = f"""
            SELECT NULL, NULL, b.meter_id, b.slot_s, {", ".join(f"b.{name}" for name in IDLE_FIGURES)}
            FROM balance b JOIN meters m ON m.meter_id = b.meter_id
            WHERE b.superseded_by IS NULL AND b.slot_s >= :start_s AND b.slot_s < :end_s AND m.cluster = :cluster"""
        return self._figures(sql, start_s=start_s, end_s=end_s, cluster=cluster)

    def _sums(self, condition: str, start_s: float, end_s: float, cluster: str | None = None) -> dict[Key, Figures]:
        key = "payer_id, attempt_id, meter_id, slot_s"
        sql = f"""
            SELECT {key}, {", ".join(f"SUM({name})" for name in FIGURES)} FROM adjustments
            WHERE slot_s >= :start_s AND slot_s < :end_s AND {condition} GROUP BY {key}"""
        return self._figures(sql, start_s=start_s, end_s=end_s, cluster=cluster)

    def _figures(self, sql: str, **values: object) -> dict[Key, Figures]:
        given = {name: value for name, value in values.items() if value is not None}
        rows = self._connection.execute(text(sql), given)
        return {(row[0], row[1], row[2], row[3]): figures(row[4:]) for row in rows}

    def _with_payers_of_now(self, standing: Mapping[Key, Figures]) -> dict[Key, Figures]:
        """The same figures, each attempt's at the payer that it has now."""
        now: dict[int, int] = {}
        for ids in id_lists({attempt for _, attempt, _, _ in standing if attempt is not None}):
            sql = f"SELECT attempt_id, payer_id FROM attempts WHERE attempt_id IN ({ids})"
            now |= {row[0]: row[1] for row in self._connection.execute(text(sql))}
        said: dict[Key, Figures] = {}
        for (_, attempt, meter, slot_s), values in standing.items():
            key = (None if attempt is None else now[attempt], attempt, meter, slot_s)
            said[key] = _plus(said.get(key), values)
        return said

    def _differences(
        self, standing: Mapping[Key, Figures], said: Mapping[Key, Figures]
    ) -> Iterator[tuple[object, ...]]:
        nothing = (0.0,) * len(FIGURES)
        for key in (*standing, *(key for key in said if key not in standing)):
            before, now = standing.get(key, nothing), said.get(key, nothing)
            if not all(map(_same, before, now)):
                yield (self._day(key[3]), *key, *(b - a for a, b in zip(before, now, strict=True)))


def _rows(
    rows: Iterable[Sequence[Any]], table: Table, names: Sequence[str], keys: int
) -> Iterator[tuple[tuple[int, ...], Figures]]:
    """Each row's key, and what an adjustment adds to of the rest; a row begins behind the table's number."""
    columns = [column.name for column in table.columns][1:]
    places = [columns.index(name) for name in names]
    for row in rows:
        yield tuple(row[:keys]), figures(row[place] for place in places)


def added(one: Mapping[Key, Figures], other: Mapping[Key, Figures]) -> dict[Key, Figures]:
    """The sums by key."""
    return {**one, **{key: _plus(one.get(key), values) for key, values in other.items()}}


def _plus(one: Figures | None, other: Figures) -> Figures:
    return other if one is None else tuple(a + b for a, b in zip(one, other, strict=True))


def _same(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=SAME_RELATIVE, abs_tol=1e-9)
