"""Reading the books: plain SQL on the postings in force and their daily sums.

Queries go straight to sqlite3, not through SQLAlchemy: `scarbon jobs` is typed all day, and the driver starts in a
tenth of the time. The books are opened read-only; a reader waits for no writer.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from accounting.ledger.errors import SCHEMA_VERSION, LedgerError, ledger_path, not_a_ledger, wrong_version

Row = Mapping[str, Any]


class Books:
    """The ledger, opened for reading."""

    def __init__(self, url: str) -> None:
        """Open the ledger at `url`. LedgerError when there is none, or the file is something else."""
        self.path = ledger_path(url)
        if not Path(self.path).is_file():
            raise LedgerError(f"there is no ledger at {self.path} yet", "run scarbon collect first")
        try:
            self._connection = _connect(self.path)
            found = self._version()
        except sqlite3.DatabaseError as error:
            raise not_a_ledger(self.path, str(error)) from None
        if found != SCHEMA_VERSION:
            raise wrong_version(self.path, str(found), SCHEMA_VERSION)

    def rows(self, sql: str, values: Mapping[str, Any] | None = None) -> list[Row]:
        """The rows of a query; `values` are its named parameters."""
        return self._connection.execute(sql, values or {}).fetchall()

    def booked(self, cluster: str) -> list[tuple[float, float]]:
        """The stretches of the cluster's time that the books hold, in order."""
        chosen = "SELECT start_s, end_s FROM booked WHERE cluster = :cluster ORDER BY start_s"
        return [(row["start_s"], row["end_s"]) for row in self.rows(chosen, {"cluster": cluster})]

    def clusters(self) -> list[str]:
        """The clusters that the books know."""
        return [row["cluster"] for row in self.rows("SELECT DISTINCT cluster FROM booked ORDER BY cluster")]

    def _version(self) -> str | None:
        tables = {row["name"] for row in self.rows("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if "meta" not in tables or "usage" not in tables:
            raise not_a_ledger(self.path, "it is a database with other tables")
        version = self.rows("SELECT value FROM meta WHERE key = 'schema'")
        return version[0]["value"] if version else None


def one_of(column: str, values: Sequence[Any], into: dict[str, Any]) -> str:
    """`column IN (…)` for named parameters, which are put into `into`."""
    names = []
    for value in values:
        name = f"p{len(into)}"
        into[name] = value
        names.append(f":{name}")
    return f"{column} IN ({', '.join(names)})"


def _connect(path: str) -> sqlite3.Connection:
    uri = f"file:{quote(path)}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, timeout=30)
    connection.row_factory = sqlite3.Row
    try:
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        # A reader that may not write beside a ledger in WAL mode cannot open its shared memory. When
        # nobody writes, there is no log beside the file, and the file alone is the whole of the books.
        if Path(f"{path}-wal").exists():
            raise
        connection = sqlite3.connect(f"{uri}&immutable=1", uri=True)
        connection.row_factory = sqlite3.Row
    return connection
