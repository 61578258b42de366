"""What stands in the books of a day's slots, as arrays, and sums of it before and after: for `accounting.restate`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Connection, Table, select, text

from accounting.arrays import Floats, Indices
from accounting.ledger import schema
from accounting.ledger.adjusting import Figures, Key
from accounting.ledger.differ import SAME_RELATIVE
from accounting.ledger.sums import LAST_RUN, payer_at
from accounting.reapply import SlotPostings
from accounting.restated import Amounts, Line, lines_of


@dataclass(frozen=True, slots=True)
class Kind:
    """A table of postings: the columns of energy and time, and of the four figures behind the energy, in order."""

    table: Table
    held: str
    energy: str
    select: str

    @property
    def columns(self) -> list[str]:
        """All of the table's."""
        return [column.name for column in self.table.columns]

    @property
    def energy_at(self) -> int:
        """Which of them has the energy; the four figures stand behind it."""
        return self.columns.index(self.energy)


def _selected(table: Table, alias: str, more: str, joins: str) -> str:
    columns = ", ".join(f"{alias}.{column.name}" for column in table.columns)
    return f"""
        SELECT {columns}, {more} FROM {table.name} {alias} {joins} JOIN meters m ON m.meter_id = {alias}.meter_id
        WHERE {alias}.slot_s >= :first_s AND {alias}.slot_s <= :last_s AND {alias}.superseded_by IS NULL
          AND m.cluster = :cluster"""


USAGE = Kind(
    schema.usage_slots, "held_s", "energy_j",
    _selected(
        schema.usage_slots, "u", f"{payer_at(LAST_RUN)}, a.start_s, a.end_s",
        "JOIN attempts a ON a.attempt_id = u.attempt_id",
    ),
)  # fmt: skip
BALANCE = Kind(schema.balance, "idle_s", "idle_j", _selected(schema.balance, "b", "NULL, NULL, NULL", ""))


class Postings:
    """The postings in force of a day's slots, as arrays; NaN is unknown, or nobody's."""

    def __init__(self, connection: Connection, kind: Kind, values: Mapping[str, Any]) -> None:
        self.kind = kind
        self.rows = connection.execute(text(kind.select), values).all()
        self._columns = list(zip(*self.rows, strict=True))
        self.meter = self.array("meter_id").astype(np.int64)
        self.slot_s = self.array("slot_s").astype(np.int64)
        self.held_s = self.array(kind.held)
        self.energy_j = self.array(kind.energy)
        after = kind.energy_at + 1
        self.old = [self._array(place) for place in range(after, after + 4)]
        last = len(kind.columns)
        self.payer, self.start_s, self.end_s = (self._array(last + place) for place in range(3))

    def array(self, name: str) -> Floats:
        """A column of the table."""
        return self._array(self.kind.columns.index(name))

    def _array(self, place: int) -> Floats:
        return np.array(self._columns[place] if self.rows else (), dtype=float)

    @property
    def attempt(self) -> Floats | None:
        """Whose they are; None: nobody's."""
        return self.array("attempt_id") if self.kind is USAGE else None

    def of(self, rows: Indices) -> SlotPostings:
        """What some of them say; a job that still runs has no end, and what nobody held was there all the time."""
        start_s, end_s = np.nan_to_num(self.start_s[rows], nan=-np.inf), np.nan_to_num(self.end_s[rows], nan=np.inf)
        facility_j, location_g, market_g, _ = (column[rows] for column in self.old)
        return SlotPostings(self.energy_j[rows], facility_j, location_g, market_g, start_s, end_s)

    def changed(self, new: Sequence[Floats]) -> Indices:
        """The rows of which something else is said now."""
        same = [
            np.isclose(now, before, rtol=SAME_RELATIVE, atol=1e-9, equal_nan=True)
            for now, before in zip(new, self.old, strict=True)
        ]
        return np.flatnonzero(~np.logical_and.reduce(same))

    def figures(self, said: Sequence[Floats], rows: Indices) -> dict[Key, Figures]:
        """What is said in some rows, as adjustments have it."""
        held_j = (self.held_s, self.energy_j, *said)
        columns = [np.nan_to_num(values[rows]).tolist() for values in held_j]
        if self.attempt is None:
            keys: Iterable[Key] = ((None, None, meter, slot) for meter, slot in self._keys(rows))
        else:
            payers, attempts = (column[rows].astype(np.int64).tolist() for column in (self.payer, self.attempt))
            keys = ((*one, *key) for *one, key in zip(payers, attempts, self._keys(rows), strict=True))
        return dict(zip(keys, zip(*columns, strict=True), strict=True))

    def _keys(self, rows: Indices) -> list[tuple[int, int]]:
        return list(zip(self.meter[rows].tolist(), self.slot_s[rows].tolist(), strict=True))

    def in_slot(self, slot_s: int) -> Indices:
        """The rows of a slot."""
        return np.flatnonzero(self.slot_s == slot_s)


class Tally:
    """Old and new sums by payer, and of what nobody held (payer None)."""

    def __init__(self) -> None:
        self._sums: dict[tuple[int | None, bool], Floats] = defaultdict(lambda: np.zeros((2, 5)))
        self._total = np.zeros((2, 5))

    def postings(self, postings: Postings, new: Sequence[Floats]) -> None:
        """Add postings as they are, and with their new figures."""
        idle = postings.kind is BALANCE
        payers, place = np.unique(np.nan_to_num(postings.payer, nan=-1.0), return_inverse=True)
        for row, figures in enumerate((postings.old, new)):
            for column, values in enumerate((postings.energy_j, *figures)):
                known = np.nan_to_num(values)
                self._total[row, column] += known.sum()
                for payer, total in zip(payers, np.bincount(place, known, payers.size), strict=True):
                    self._sums[None if idle else int(payer), idle][row, column] += total

    def adjustments(self, figures: Mapping[Key, Figures], row: int) -> None:
        """Add adjustments to the old sums (row 0) or to the new ones (row 1)."""
        for (payer, attempt, _, _), values in figures.items():
            self._sums[payer, attempt is None][row] += values[1:]
            self._total[row] += values[1:]

    def lines(self, connection: Connection) -> tuple[list[Line], Line]:
        """The lines by account, and the total, which is summed by itself."""
        payers = schema.payers
        account = {row[0]: row[1] for row in connection.execute(select(payers.c.payer_id, payers.c.account))}
        found: dict[tuple[str | None, bool], Floats] = defaultdict(lambda: np.zeros((2, 5)))
        for (payer, idle), sums in self._sums.items():
            found[None if payer is None else account[payer], idle] += sums
        amounts = {key: (Amounts(*sums[0].tolist()), Amounts(*sums[1].tolist())) for key, sums in found.items()}
        return lines_of(amounts), Line(None, False, *(Amounts(*row.tolist()) for row in self._total))
