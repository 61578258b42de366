"""What a window changes in the postings: what it says again stays, what it says differently supersedes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, func, select, text

from accounting.ledger import schema
from accounting.ledger.bulk import id_lists, insert_rows

#: Two figures that differ by less are the same figure: sums taken in another order differ in their last digits.
SAME_RELATIVE = 1e-9

Values = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """What changed in one table. `touched` are the first key column's values of what changed."""

    posted: int
    superseded: int
    unchanged: int
    touched: set[Any] = field(default_factory=set)

    @property
    def first(self) -> bool:
        """Whether nothing of the window was in force before."""
        return not self.superseded and not self.unchanged


class Differ:
    """Posts what differs from the postings in force, table by table."""

    def __init__(self, connection: Connection, run_id: int, cluster: str, slots_s: Sequence[int]) -> None:
        """`slots_s` are the starts of the slots, in order, of which the run says everything."""
        self._connection = connection
        self._run_id = run_id
        self._cluster = cluster
        self._slots_s = slots_s

    def post(self, table: Table, columns: Sequence[str], keys: int, rows: Sequence[Values], notes: int = 0) -> Change:
        """Bring `table` to say `rows` of the window: tuples in the order of `columns`, a key of `keys` values first.

        The last `notes` values are kept beside a row and are no part of what it says.
        """
        identity = next(iter(table.primary_key.columns))
        in_force = self._in_force(table, identity, columns, keys)
        fresh: Sequence[Values] = rows
        gone: list[int] = []
        unchanged = 0
        if in_force:
            changed = []
            for row in rows:
                old = in_force.pop(row[:keys], None)
                if old is not None and same_values(old[1 : len(row) + 1 - notes], row[: len(row) - notes]):
                    unchanged += 1
                    continue
                if old is not None:
                    gone.append(old[0])
                changed.append(row)
            fresh = changed
        touched = {row[0] for row in fresh} | {old[1] for old in in_force.values()}
        gone += [old[0] for old in in_force.values()]
        for ids in id_lists(gone):
            change = text(f"UPDATE {table.name} SET superseded_by = :run_id WHERE {identity.name} IN ({ids})")
            self._connection.execute(change, {"run_id": self._run_id})
        if fresh:
            first = (self._connection.execute(select(func.max(identity))).scalar() or 0) + 1
            insert_rows(self._connection, table, [identity.name, *columns, "run_id"], self._numbered(first, fresh))
        return Change(len(fresh), len(gone), unchanged, touched)

    def _numbered(self, first: int, rows: Sequence[Values]) -> Iterator[Values]:
        run = (self._run_id,)
        for number, row in enumerate(rows, first):
            yield (number, *row, *run)

    def _in_force(
        self, table: Table, identity: ColumnElement[int], columns: Sequence[str], keys: int
    ) -> dict[Values, Values]:
        """The postings in force of the window's slots, by key: their numbers, and their values behind."""
        chosen = select(identity, *(table.c[name] for name in columns))
        start_s, end_s = self._slots_s[0], self._slots_s[-1]
        if table is schema.factors:
            chosen = chosen.where(table.c.cluster == self._cluster)
        else:
            chosen = chosen.join_from(table, schema.meters).where(schema.meters.c.cluster == self._cluster)
        chosen = chosen.where(table.c.slot_s >= start_s, table.c.slot_s <= end_s, table.c.superseded_by.is_(None))
        return {row[1 : keys + 1]: row for row in map(tuple, self._connection.execute(chosen))}


def same_values(old: Values, new: Values) -> bool:
    """Whether two rows say the same, figures to a billionth."""
    return old == new or all(map(_same_value, old, new))


def _same_value(old: Any, new: Any) -> bool:
    if isinstance(old, float) and isinstance(new, float):
        return math.isclose(old, new, rel_tol=SAME_RELATIVE, abs_tol=1e-9)
    return bool(old == new)
