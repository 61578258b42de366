"""Connections to the three databases, by their own drivers: what reading and writing have in common.

The drivers are imported only when a ledger of their kind is opened: `scarbon jobs` is typed all day.
"""

from __future__ import annotations

import math
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from accounting.ledger.address import Address
from accounting.ledger.errors import LedgerError

if TYPE_CHECKING:
    import psycopg
    import pymysql

#: What a MariaDB ledger's URL may say behind `?`.
MARIADB_OPTIONS = ("unix_socket", "ssl_ca", "ssl_cert", "ssl_key")

WAIT_S = 10  # for a server to answer


def connect_sqlite(path: str) -> sqlite3.Connection:
    """The file, for reading and writing; transactions are begun by who uses it, not guessed by the driver."""
    connection = sqlite3.connect(path, timeout=30, isolation_level=None)
    connection.create_function("SQRT", 1, _root, deterministic=True)  # not every SQLite is built with it
    return connection


def _root(value: float | None) -> float | None:
    return None if value is None else math.sqrt(value)


def connect_sqlite_reading(path: str) -> sqlite3.Connection:
    """The file, read-only."""
    uri = f"file:{quote(path)}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, timeout=30, isolation_level=None)
    try:
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        connection.close()
        # A reader that may not write beside a ledger in WAL mode cannot open its shared memory. When
        # nobody writes, there is no log beside the file, and the file alone is the whole of the books.
        if Path(f"{path}-wal").exists():
            raise
        connection = sqlite3.connect(f"{uri}&immutable=1", uri=True, isolation_level=None)
    return connection


def connect_postgresql(address: Address) -> psycopg.Connection[Any]:
    """A session of the server. LedgerError where there is no driver, no server or no entry."""
    try:
        import psycopg
    except ImportError as error:
        raise _no_driver("PostgreSQL", "psycopg", "postgres", error) from None
    wanted: dict[str, Any] = {
        "host": address.host, "port": address.port, "user": address.user, "password": address.password,
        "dbname": address.database, "connect_timeout": WAIT_S, "application_name": "scarbon",
    }  # fmt: skip
    try:
        return psycopg.connect(**{**wanted, **address.options})
    except psycopg.Error as error:
        raise _unreachable(address, str(error)) from None


def connect_mariadb(address: Address) -> pymysql.Connection[Any]:
    """A session of the server. LedgerError where there is no driver, no server or no entry."""
    try:
        import pymysql
    except ImportError as error:
        raise _no_driver("MariaDB", "pymysql", "mysql", error) from None
    for option in address.options:
        if option not in MARIADB_OPTIONS:
            raise LedgerError(
                f"the ledger's URL has ?{option}=, which is no option of MariaDB here",
                f"it may have {', '.join(MARIADB_OPTIONS)}",
            )
    wanted: dict[str, Any] = {
        "host": address.host or "localhost", "port": address.port or 3306, "user": address.user,
        "password": address.password or "", "database": address.database, "connect_timeout": WAIT_S,
        "charset": "utf8mb4", "sql_mode": "STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION",  # nothing is cut in silence
    }  # fmt: skip
    try:
        return pymysql.Connection(**{**wanted, **address.options})
    except pymysql.Error as error:
        raise _unreachable(address, str(error.args[-1])) from None


def _no_driver(server: str, module: str, extra: str, error: ImportError) -> LedgerError:
    return LedgerError(
        f"the ledger is kept in {server}, and its driver cannot be imported: {error}",
        f"pip install 'scarbon[{extra}]' (or {module})",
    )


def _unreachable(address: Address, why: str) -> LedgerError:
    return LedgerError(
        f"the ledger {address.shown} cannot be opened: {' '.join(why.split())}",
        "check that the server runs, and user, password and database in `ledger:`",
    )
