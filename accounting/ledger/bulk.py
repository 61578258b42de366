"""Many rows into a table at once, by each database's own way.

SQLAlchemy's own bulk insert makes a dictionary of each row; these take tuples as they are, inside the transaction
that SQLAlchemy has begun on the same connection.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, Table

Rows = Iterable[Sequence[Any]]


def insert_rows(connection: Connection, table: Table, columns: Sequence[str], rows: Rows) -> None:
    """Insert `rows`, tuples in the order of `columns`. The driver's own errors are raised."""
    _WAYS[connection.dialect.name](connection.connection.driver_connection, table.name, columns, rows)


def _sqlite(driver: Any, table: str, columns: Sequence[str], rows: Rows) -> None:
    marks = ", ".join("?" * len(columns))
    driver.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows)


def _postgresql(driver: Any, table: str, columns: Sequence[str], rows: Rows) -> None:
    with driver.cursor() as cursor, cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)


def _mariadb(driver: Any, table: str, columns: Sequence[str], rows: Rows) -> None:
    marks = ", ".join(["%s"] * len(columns))
    with driver.cursor() as cursor:
        # The driver makes statements of many rows of it, as long as a server takes by default.
        cursor.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows)


_WAYS = {"sqlite": _sqlite, "postgresql": _postgresql, "mysql": _mariadb}


def id_lists(ids: Iterable[int], size: int = 1000) -> Iterator[str]:
    """The ids as SQL lists of at most `size` (they are integers of our own, so they need no binding)."""
    ordered = sorted(ids)
    for start in range(0, len(ordered), size):
        yield ",".join(str(int(one)) for one in ordered[start : start + size])
