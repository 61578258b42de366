"""What services answered, kept in a small SQLite file beside the ledger, so that nobody is asked twice.

It is no part of the books: they keep what was applied, with its source. Without this file the services are asked again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from accounting.model import FactorSlot
from accounting.sources import SourceError

_TABLE = """
CREATE TABLE IF NOT EXISTS slots (
  asked TEXT NOT NULL, start_s REAL NOT NULL, end_s REAL NOT NULL, value REAL NOT NULL, source TEXT NOT NULL,
  estimated INTEGER NOT NULL, basis TEXT, retrieved_s REAL NOT NULL, PRIMARY KEY (asked, start_s)
) WITHOUT ROWID
"""
_COLUMNS = "start_s, end_s, value, source, estimated, basis, retrieved_s"
#: A slot may begin before the window; none is longer than a quarter of a year.
_LONGEST_S = 92 * 86_400.0


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of one source: how many slots, from when to when, and how many of them may still change."""

    slots: int
    estimated: int
    start_s: float
    end_s: float
    retrieved_s: float  # the last time


def is_final(slot: FactorSlot) -> bool:
    """Whether a value will not change: no estimate, and retrieved when its time was over."""
    return not slot.estimated and slot.retrieved_s is not None and slot.end_s <= slot.retrieved_s


class SlotStore:
    """The file. It is made when the first answer is kept. `asked` tells what was asked of whom."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def known(self, asked: str, start_s: float, end_s: float) -> list[FactorSlot]:
        """The slots kept that overlap [start_s, end_s), in order and apart. `SourceError` where the file is bad."""
        if not self.path.exists():
            return []
        with self._open() as connection:
            return _overlapping(connection, asked, start_s, end_s)

    def keep(self, asked: str, slots: Iterable[FactorSlot]) -> None:
        """Keep answers in the place of those that they overlap; a final one gives way to a final one only.

        An answer that says nothing new is not kept again: the time of its first retrieval stays.
        """
        with self._open() as connection, connection:
            connection.execute(_TABLE)
            for slot in slots:
                _keep(connection, asked, slot)

    def summary(self, asked: str) -> Kept | None:
        """What is kept of one source, None where nothing is."""
        if not self.path.exists():
            return None
        with self._open() as connection:
            row = connection.execute(
                "SELECT COUNT(*), SUM(estimated), MIN(start_s), MAX(end_s), MAX(retrieved_s) "
                "FROM slots WHERE asked = ?",
                (asked,),
            ).fetchone()
        return Kept(*row) if row[0] else None

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self.path, timeout=30)) as connection:
                yield connection
        except sqlite3.Error as error:
            raise SourceError(
                f"what was retrieved cannot be kept in {self.path}: {error}", "see grid.cache in the configuration"
            ) from None


def _overlapping(connection: sqlite3.Connection, asked: str, start_s: float, end_s: float) -> list[FactorSlot]:
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM slots WHERE asked = ? AND start_s >= ? AND start_s < ? AND end_s > ? ORDER BY start_s",
        (asked, start_s - _LONGEST_S, end_s, start_s),
    )
    return [
        FactorSlot(start, end, value, source, bool(estimated), basis, retrieved_s)
        for start, end, value, source, estimated, basis, retrieved_s in rows
    ]


def _keep(connection: sqlite3.Connection, asked: str, slot: FactorSlot) -> None:
    older = _overlapping(connection, asked, slot.start_s, slot.end_s)
    if not is_final(slot) and any(map(is_final, older)):
        return
    if len(older) == 1 and _said(older[0]) == _said(slot):
        return
    connection.executemany("DELETE FROM slots WHERE asked = ? AND start_s = ?", [(asked, one.start_s) for one in older])
    connection.execute(
        f"INSERT INTO slots (asked, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (asked, slot.start_s, slot.end_s, slot.value, slot.source, slot.estimated, slot.basis, slot.retrieved_s),
    )


def _said(slot: FactorSlot) -> tuple[object, ...]:
    """All of a slot but when it was retrieved."""
    return slot.start_s, slot.end_s, slot.value, slot.source, is_final(slot), slot.basis
