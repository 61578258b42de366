"""Reading the books: plain SQL on the postings in force and their roll-ups.

Queries go straight to the database's driver, not through SQLAlchemy: `scarbon jobs` is typed all day, and sqlite3
starts in a tenth of the time. The books are opened read-only, and all that is read from one `Books` is of one moment,
whatever is written meanwhile; a reader waits for no writer.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from accounting.ledger.address import Address, parse_address
from accounting.ledger.drivers import connect_mariadb, connect_postgresql, connect_sqlite_reading
from accounting.ledger.errors import REVISION, LedgerError, NoLedgerError, not_a_ledger, wrong_revision

Row = Mapping[str, Any]

#: A named parameter in our SQL.
_PARAMETER = re.compile(r":(\w+)")


class Books:
    """The ledger, opened for reading."""

    def __init__(self, url: str, password: str | None = None) -> None:
        """Open the ledger at `url`. LedgerError when there is none, or what is there is something else."""
        self.address = parse_address(url, password)
        self._closed = False
        self._connection, self._error = _OPEN[self.address.kind](self.address)
        try:
            found = self._revision()
        except LedgerError:
            self.close()
            raise
        if found != REVISION:
            self.close()
            raise wrong_revision(self.address.shown, found)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the database; once more is no mistake."""
        if not self._closed:
            self._closed = True
            self._connection.close()

    def rows(self, sql: str, values: Mapping[str, Any] | None = None) -> list[Row]:
        """The rows of a query; `values` are its named parameters (`:name`)."""
        if self.address.kind != "sqlite":
            sql = _for_server(sql)
        try:
            cursor = self._connection.cursor()
            cursor.execute(sql, values or {})
            rows: list[Row] = cursor.fetchall()
        except self._error as error:
            raise self._unreadable(error) from error
        return rows

    def stream(self, sql: str, values: Mapping[str, Any] | None = None) -> Iterator[tuple[Any, ...]]:
        """As `rows`, but one at a time, as plain tuples and in little memory. To be read to its end."""
        if self.address.kind != "sqlite":
            sql = _for_server(sql)
        try:
            with closing(_STREAMS[self.address.kind](self._connection)) as cursor:
                cursor.execute(sql, values or {})
                for row in cursor:
                    yield tuple(row)
        except self._error as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> LedgerError:
        return LedgerError(
            f"the ledger {self.address.shown} cannot be read: {error}", "try again; if it stays so, restore a copy"
        )

    def execute(self, sql: str, values: Mapping[str, Any] | None = None) -> None:
        """Run a statement on temporary tables; `values` as in `rows`."""
        if self.address.kind != "sqlite":
            sql = _for_server(sql)
        try:
            self._connection.cursor().execute(sql, values or {})
        except self._error as error:
            raise LedgerError(
                f"the ledger {self.address.shown} refuses a temporary table: {error}",
                "give its reader the right to make some (docs/restatement.md)",
            ) from error

    def allow_temporary(self) -> None:
        """Begin the moment that all queries are of once more, one in which temporary tables can be made."""
        if self.address.kind == "postgresql":
            self._connection.rollback()
            self._connection.read_only = False
        elif self.address.kind == "mariadb":
            self._connection.rollback()
            self._connection.query("START TRANSACTION WITH CONSISTENT SNAPSHOT")

    def make_temporary(self, name: str, fill: Callable[[str], None]) -> None:
        """A table of this connection with the columns of `name`, filled by `fill` under another name; then it goes
        before the one that it is named after.
        """
        made = f"made_{name}"
        self.execute(_TEMPORARY[self.address.kind].format(name=name, made=made))
        for columns in _INDEXES.get(name, ()) if self.address.kind == "sqlite" else ():
            self.execute(f"CREATE INDEX temp.{made}_{columns[0]} ON {made} ({', '.join(columns)})")
        fill(made)
        schema = "temp." if self.address.kind == "sqlite" else ""
        self.execute(f"ALTER TABLE {schema}{made} RENAME TO {name}")

    def booked(self, cluster: str) -> list[tuple[float, float]]:
        """The stretches of the cluster's time that the books hold, in order."""
        chosen = "SELECT start_s, end_s FROM booked WHERE cluster = :cluster ORDER BY start_s"
        return [(row["start_s"], row["end_s"]) for row in self.rows(chosen, {"cluster": cluster})]

    @property
    def zone(self) -> str:
        """The time zone whose days and months the books have."""
        return str(self.rows("SELECT value FROM meta WHERE name = 'zone'")[0]["value"])

    @property
    def purged_before_s(self) -> float | None:
        """Before when the postings were purged and only roll-ups are left (UTC epoch s); None: nothing was."""
        found = self.rows("SELECT value FROM meta WHERE name = 'purged_before_s'")
        return float(found[0]["value"]) if found else None

    def clusters(self) -> list[str]:
        """The clusters that the books know."""
        return [row["cluster"] for row in self.rows("SELECT DISTINCT cluster FROM booked ORDER BY cluster")]

    def _revision(self) -> str:
        """The schema's revision; LedgerError where no ledger has been made, or not to its end."""
        tables = {row["name"] for row in self.rows(_TABLES[self.address.kind])}
        if "alembic_version" in tables and "meta" in tables:
            found = self.rows("SELECT version_num FROM alembic_version")
            if found:
                return str(found[0]["version_num"])
        if not tables or "meta" in tables:
            raise NoLedgerError(self.address)
        raise not_a_ledger(self.address.shown, "it is a database with other tables")


def one_of(column: str, values: Sequence[Any], into: dict[str, Any]) -> str:
    """`column IN (…)` for named parameters, which are put into `into`."""
    names = []
    for value in values:
        name = f"p{len(into)}"
        into[name] = value
        names.append(f":{name}")
    return f"{column} IN ({', '.join(names)})"


#: A temporary table with the columns of another.
_TEMPORARY = {
    "sqlite": "CREATE TEMP TABLE {made} AS SELECT * FROM {name} WHERE 0",
    "postgresql": "CREATE TEMP TABLE {made} (LIKE {name} INCLUDING INDEXES)",
    "mariadb": "CREATE TEMPORARY TABLE {made} LIKE {name}",
}
#: What SQLite does not copy with the columns.
_INDEXES = {"usage_days": [("attempt_id", "day"), ("method", "day")]}

_TABLES = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table'",
    "postgresql": "SELECT tablename AS name FROM pg_tables WHERE schemaname = current_schema()",
    "mariadb": "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = DATABASE()",
}


@lru_cache(maxsize=64)
def _for_server(sql: str) -> str:
    """Our named parameters as those of psycopg and pymysql."""
    return _PARAMETER.sub(r"%(\1)s", sql.replace("%", "%%"))


def _open_sqlite(address: Address) -> tuple[Any, type[Exception]]:
    if not Path(address.path).is_file():
        raise NoLedgerError(address)
    try:
        connection = connect_sqlite_reading(address.path)
        connection.row_factory = sqlite3.Row
        connection.execute("BEGIN")  # one moment for all queries
    except sqlite3.DatabaseError as error:
        raise not_a_ledger(address.shown, str(error)) from None
    return connection, sqlite3.DatabaseError


def _open_postgresql(address: Address) -> tuple[Any, type[Exception]]:
    connection = connect_postgresql(address)
    from psycopg import Error, IsolationLevel
    from psycopg.rows import dict_row
    from psycopg.types.numeric import NumericLoader

    class Number(NumericLoader):
        """Sums of whole numbers, which the server widens to numeric, as Python's."""

        def load(self, data: Any) -> Any:
            value = super().load(data)
            return int(value) if value == value.to_integral_value() else float(value)

    connection.adapters.register_loader("numeric", Number)
    connection.row_factory = dict_row
    connection.isolation_level = IsolationLevel.REPEATABLE_READ  # one moment for all queries
    connection.read_only = True
    return connection, Error


def _open_mariadb(address: Address) -> tuple[Any, type[Exception]]:
    connection = connect_mariadb(address)
    from pymysql import Error
    from pymysql.constants import FIELD_TYPE
    from pymysql.cursors import DictCursor

    connection.cursorclass = DictCursor
    for kind in (FIELD_TYPE.DECIMAL, FIELD_TYPE.NEWDECIMAL):  # what the server makes of sums of whole numbers
        connection.decoders[kind] = lambda text: float(text) if "." in text else int(text)
    connection.query("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")  # one moment for all queries
    return connection, Error


def _stream_postgresql(connection: Any) -> Any:
    from psycopg.rows import tuple_row

    cursor = connection.cursor(name="scarbon", row_factory=tuple_row)  # one that the server keeps
    cursor.itersize = 10_000
    return cursor


def _stream_mariadb(connection: Any) -> Any:
    from pymysql.cursors import SSCursor

    return connection.cursor(SSCursor)


_STREAMS = {
    "sqlite": lambda connection: connection.cursor(),
    "postgresql": _stream_postgresql,
    "mariadb": _stream_mariadb,
}

_OPEN = {"sqlite": _open_sqlite, "postgresql": _open_postgresql, "mariadb": _open_mariadb}
