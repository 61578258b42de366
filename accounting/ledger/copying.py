"""One ledger into another, table by table, whatever databases they are kept in.

All in one transaction of the target, and in little memory: rows go through in parts. Then every row is read back and
held against what was sent, so that neither a driver nor a character set has changed anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Table, delete, literal, select

from accounting.ledger import schema
from accounting.ledger.bulk import insert_rows
from accounting.ledger.errors import LedgerError
from accounting.ledger.reading import Books

Values = tuple[Any, ...]

#: What is changed in a row on its way: its columns by name, in and out; None leaves the row out.
Change = Callable[[dict[str, Any]], dict[str, Any] | None]

_PART = 10_000  # rows at once

#: Who writes just now is no part of the books, and stays with the database.
_WRITER = schema.meta.c.name == "writer"


@dataclass(slots=True)
class _Sum:
    """Rows, and a sum of their hashes, which does not depend on their order.

    Python's own hash is the same for what is equal: databases differ in what they give for true, and in zero's sign.
    """

    rows: int = 0
    hashes: int = 0

    def add(self, row: Values) -> None:
        self.rows += 1
        self.hashes += hash(row)


def is_empty(connection: Connection) -> bool:
    """Whether a ledger has tables only, and nothing in them."""
    return not any(
        connection.execute(select(literal(1)).select_from(table).limit(1)).first()
        for table in schema.metadata.sorted_tables
        if table is not schema.meta
    )


def clear(connection: Connection) -> None:
    """Take everything out of a ledger."""
    for table in reversed(schema.metadata.sorted_tables):
        rows = delete(table) if table is not schema.meta else delete(table).where(~_WRITER)
        connection.execute(rows)


def copy_rows(
    source: Books,
    connection: Connection,
    changes: Mapping[str, Change] | None = None,
    tables: Iterable[Table] | None = None,
) -> dict[str, int]:
    """Copy all rows of `source`, or of some `tables`, into the empty ledger of `connection`, in its transaction.

    `changes`: by table, what is changed on the way. Returns the rows of each table. LedgerError where what is read back
    is not what was sent.
    """
    connection.execute(delete(schema.meta).where(~_WRITER))
    counts: dict[str, int] = {}
    chosen = schema.metadata.sorted_tables if tables is None else list(tables)
    for table in chosen:
        columns = [column.name for column in table.columns]
        where = " WHERE name <> 'writer'" if table is schema.meta else ""
        rows = source.stream(f"SELECT {', '.join(columns)} FROM {table.name}{where}")
        if changes is not None and table.name in changes:
            rows = _changed(rows, columns, changes[table.name])
        sent = _Sum()
        while part := list(islice(rows, _PART)):
            for row in part:
                sent.add(row)
            insert_rows(connection, table, columns, part)
        found = _read_back(connection, table)
        if found != sent:
            raise LedgerError(
                f"the table {table.name} did not arrive as it was sent: {sent.rows} rows sent, {found.rows} read back",
                "nothing was changed; ask for help with this line",
            )
        counts[table.name] = sent.rows
    return counts


def _changed(rows: Iterable[Values], columns: Sequence[str], change: Change) -> Iterator[Values]:
    for row in rows:
        made = change(dict(zip(columns, row, strict=True)))
        if made is not None:
            yield tuple(made[column] for column in columns)


def _read_back(connection: Connection, table: Table) -> _Sum:
    found = _Sum()
    rows = select(table) if table is not schema.meta else select(table).where(~_WRITER)
    with connection.execute(rows, execution_options={"stream_results": True, "yield_per": _PART}) as result:
        for row in result:
            found.add(tuple(row))
    return found
