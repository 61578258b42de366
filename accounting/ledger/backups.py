"""Copies of the books: made while a collector works, put back, and moved from one database to another.

A backup is always one SQLite file, whatever database the books are in: SQLite copies its own (VACUUM INTO), a server's
books are read within one transaction and written to the file. So it can be looked at, checked and put back anywhere,
and needs neither the server's programs nor their versions.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import NullPool, Table, create_engine
from sqlalchemy.exc import DBAPIError

from accounting.ledger.address import Address, parse_address
from accounting.ledger.copying import Change, clear, copy_rows, is_empty
from accounting.ledger.drivers import connect_sqlite, connect_sqlite_reading
from accounting.ledger.errors import LedgerError, NoLedgerError, NotALedgerError, wrong_zone
from accounting.ledger.locks import file_lock
from accounting.ledger.opening import make_tables, open_engine
from accounting.ledger.reading import Books
from accounting.ledger.store import Ledger


def backup(url: str, password: str | None, path: Path, *, force: bool = False) -> None:
    """Copy the books at `url`, as they stand at one moment, into the file `path`; it is there when it is whole.

    LedgerError where there are no books, the file is there already and `force` is not given, or it cannot be written.
    """
    with Books(url, password) as books, new_file(path, books.address, force=force) as partial:
        if books.address.kind == "sqlite":
            with closing(connect_sqlite_reading(books.address.path)) as source:
                source.execute("VACUUM INTO ?", (str(partial),))
        else:
            write_file(books, partial)


@contextmanager
def new_file(path: Path, source: Address, *, force: bool) -> Iterator[Path]:
    """Where to write a copy that is to be at `path`: it is checked and put there once it is whole, or not at all."""
    if path.is_dir():
        raise LedgerError(f"{path} is a folder", "name a file in it")
    if source.kind == "sqlite" and path.exists() and path.samefile(source.path):
        raise LedgerError(f"{path} is the ledger itself", "name another file")
    if path.exists() and not force:
        raise LedgerError(f"{path} is there already", "name another file, or replace it with --force")
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        check(partial)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
        _sync_folder(path)
    except (sqlite3.Error, DBAPIError) as error:
        why = str(getattr(error, "orig", error)).splitlines()[0]
        raise LedgerError(f"{path} cannot be written: {why}", "nothing was left behind") from error
    finally:
        for leftover in (partial, partial.with_name(f"{partial.name}-journal")):
            leftover.unlink(missing_ok=True)


def _sync_folder(path: Path) -> None:
    """The name of the file is on the disk, too."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_file(
    books: Books, path: Path, changes: Mapping[str, Change] | None = None, tables: Iterable[Table] | None = None
) -> dict[str, int]:
    """Write books, or some of their `tables`, with `changes` to their rows, into a new SQLite file; rows by table."""
    engine = create_engine("sqlite://", creator=lambda: connect_sqlite(str(path)), poolclass=NullPool)
    with engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        # Nobody else knows of the file yet, and one that is not finished is thrown away.
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "foreign_keys = ON"):
            driver.execute(f"PRAGMA {pragma}")
        driver.execute("BEGIN")
        make_tables(connection, books.zone)
        counts = copy_rows(books, connection, changes, tables)
        driver.execute("COMMIT")
    engine.dispose()
    return counts


def check(path: Path) -> None:
    """LedgerError where a file is no sound ledger of this version."""
    if not path.is_file():
        raise LedgerError(f"there is no file {path}", "name one that scarbon ledger backup made")
    try:
        with Books(f"sqlite:///{path.absolute()}") as books:
            faults = [row[0] for row in books.stream("PRAGMA integrity_check")]
            lost = [row[0] for row in books.stream("PRAGMA foreign_key_check")]
    except (NoLedgerError, NotALedgerError):
        raise LedgerError(f"{path} is not a ledger of scarbon", "name a file that scarbon ledger backup made") from None
    if faults != ["ok"] or lost:
        why = faults[0] if faults != ["ok"] else f"rows of {lost[0]} refer to nothing"
        raise LedgerError(f"the file {path} is damaged: {why}", "take another copy")


def restore(path: Path, url: str, zone: str, password: str | None, *, force: bool = False) -> None:
    """Put a backup in the place of the books at `url`, all of it or nothing; readers see the old books until then.

    LedgerError where the file is no sound ledger of this version and time zone, somebody writes, or the books hold
    something and `force` is not given.
    """
    check(path)
    with Books(f"sqlite:///{path.absolute()}") as source:
        if source.zone != zone:
            raise wrong_zone(str(path), source.zone, zone)
        address = parse_address(url, password)
        if address.kind != "sqlite":
            _copy(source, url, zone, password, force=force)
            return
    if Path(address.path).exists() and path.samefile(address.path):
        raise LedgerError(f"{path} is the ledger itself", "name a file that scarbon ledger backup made")
    open_engine(address).dispose()  # whether a ledger may be there at all
    with file_lock(address):
        if (held := _holds(address)) and not force:
            raise LedgerError(f"the ledger {address.shown} holds {held}", "replace them with --force")
        _copy_pages(path, address)


def import_books(source: Books, url: str, zone: str, password: str | None) -> dict[str, int]:
    """Copy the books of `source` into the ledger at `url`, which has to be empty; the rows of each table.

    LedgerError where it is not, is kept by another calendar, or somebody writes to it.
    """
    if source.zone != zone:
        raise wrong_zone(source.address.shown, source.zone, zone)
    return _copy(source, url, zone, password, force=False)


def _copy(source: Books, url: str, zone: str, password: str | None, *, force: bool) -> dict[str, int]:
    ledger = Ledger(url, zone, password)
    try:
        with ledger.lock(), ledger.transaction("the books are as they were; mend it and run again") as connection:
            if not is_empty(connection):
                if not force:
                    raise LedgerError(
                        f"the ledger {ledger.address.shown} is not empty",
                        "name an empty one in `ledger:`; a backup replaces it with scarbon ledger restore --force",
                    )
                clear(connection)
            return copy_rows(source, connection)
    finally:
        ledger.close()


def _holds(address: Address) -> str:
    """What is in the ledger's file, in words; "" where it is empty or there is none."""
    try:
        with Books(f"sqlite:///{address.path}") as books:
            runs = books.rows("SELECT COUNT(*) AS runs FROM runs")[0]["runs"]
            return f"the books of {runs} runs" if runs else ""
    except NoLedgerError:
        return ""
    except NotALedgerError as error:
        raise NotALedgerError(error.what, "move it away, and restore again") from None
    except LedgerError as error:  # of another version
        return f"books that this version does not read ({error.what})"


def _copy_pages(path: Path, address: Address) -> None:
    """Write every page of the file over the ledger's, in one transaction of SQLite's (its backup interface)."""
    try:
        with closing(connect_sqlite_reading(str(path))) as source, closing(connect_sqlite(address.path)) as target:
            source.backup(target)
            target.execute("PRAGMA journal_mode = WAL")
    except sqlite3.Error as error:
        raise LedgerError(
            f"the ledger {address.shown} cannot be written: {error}",
            "the books are as they were; mend it, or move it away",
        ) from error
