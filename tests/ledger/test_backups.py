"""Copies of the books: made, put back and moved, on every database; and nothing is half when one is interrupted."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from accounting.ledger import backups, copying, schema
from accounting.ledger.backups import backup, import_books, restore
from accounting.ledger.errors import LedgerError
from accounting.ledger.reading import Books
from accounting.ledger.store import Ledger
from tests.ledger.servers import Place
from tests.ledger.windows import RUN, START_S, history, job, usage, window
from tests.site import CHECKOUT, change

Tables = dict[str, list[tuple[Any, ...]]]


@pytest.fixture
def kept(place: Place) -> Place:
    """Books with the beginning of a random history, twice; some names are awkward."""
    ledger = Ledger(place.url, "UTC", place.password)
    (first,) = islice(history(1, days=1), 1)
    (other,) = islice(history(2, days=1), 1)
    for one in (first, replace(other, slots_s=first.slots_s, end_s=first.end_s)):
        ledger.post(one, RUN)
    odd = job(99, user="Ädä\t", account="a|b'\"\\", name="\N{SNOWMAN}\U0001f600\\N\n%s", comment="")
    ledger.post(window(0, 1, [odd], [usage(odd, 0, 0.1 + 0.2)], cluster="beta"), RUN)
    ledger.close()
    return place


def file(path: Path) -> Place:
    return Place("sqlite", f"sqlite:///{path}")


def tables(place: Place) -> Tables:
    """Every row of every table, in no order."""
    with Books(place.url, place.password) as books:
        return {
            table.name: sorted((_plain(row) for row in books.stream(_all(table.name))), key=repr)
            for table in schema.metadata.sorted_tables
        }


def _all(table: str) -> str:
    columns = ", ".join(column.name for column in schema.metadata.tables[table].columns)
    return f"SELECT {columns} FROM {table}" + (" WHERE name <> 'writer'" if table == "meta" else "")


def _plain(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(int(value) if isinstance(value, bool) else value for value in row)


def nothing_beside(folder: Path, *names: str) -> None:
    """No partial file is left."""
    assert {path.name for path in folder.iterdir()} <= {
        *names,
        "ledger.db",
        "ledger.db-wal",
        "ledger.db-shm",
        "ledger.db.lock",
    }


# --- backup


def test_a_backup_has_every_row_and_is_a_sound_ledger(kept: Place, tmp_path: Path) -> None:
    before = tables(kept)
    assert all(before[table] for table in ("attempts", "usage_slots", "balance", "factors", "payer_jobs"))
    backup(kept.url, kept.password, tmp_path / "copy.db")
    assert tables(file(tmp_path / "copy.db")) == before == tables(kept)
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        assert copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert copy.execute("PRAGMA foreign_key_check").fetchall() == []
    nothing_beside(tmp_path, "copy.db")


def test_a_backup_is_of_one_moment_while_somebody_writes(
    kept: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made in the middle of a window, it has the books before it; made afterwards, the whole window."""
    from accounting.ledger import store

    before = tables(kept)
    set_booked = store._set_booked

    def meanwhile(*arguments: Any) -> None:
        set_booked(*arguments)
        backup(kept.url, kept.password, tmp_path / "within.db")

    ledger = Ledger(kept.url, "UTC", kept.password)
    monkeypatch.setattr(store, "_set_booked", meanwhile)
    with ledger.lock():
        one = job(1, cluster="beta")
        ledger.post(window(24, 48, [one], [usage(one, 25)], cluster="beta"), RUN)
    ledger.close()
    assert tables(file(tmp_path / "within.db")) == before
    backup(kept.url, kept.password, tmp_path / "after.db")
    assert tables(file(tmp_path / "after.db")) == tables(kept) != before


@pytest.fixture
def books(tmp_path: Path) -> Place:
    """A few books in a file."""
    place = file(tmp_path / "ledger.db")
    ledger = Ledger(place.url, "UTC")
    one = job(1)
    ledger.post(window(0, 24, [one], [usage(one, 1)]), RUN)
    ledger.close()
    return place


def test_a_file_is_replaced_only_by_force(books: Place, tmp_path: Path) -> None:
    path = tmp_path / "copy.db"
    path.write_text("mine")
    with pytest.raises(LedgerError, match=r"copy\.db is there already"):
        backup(books.url, None, path)
    assert path.read_text() == "mine"
    backup(books.url, None, path, force=True)
    assert tables(file(path)) == tables(books)


def test_where_no_backup_can_be(books: Place, tmp_path: Path) -> None:
    for path, says in (
        (tmp_path, "is a folder"),
        (tmp_path / "ledger.db", "is the ledger itself"),
        (tmp_path / "none" / "copy.db", "cannot be written: unable to open database"),
    ):
        with pytest.raises(LedgerError, match=says):
            backup(books.url, None, path, force=True)
    with pytest.raises(LedgerError, match="there is no ledger"):
        backup(f"sqlite:///{tmp_path}/other.db", None, tmp_path / "copy.db")
    nothing_beside(tmp_path)


def test_a_full_disk_leaves_no_backup(books: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_path: str) -> sqlite3.Connection:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(backups, "connect_sqlite_reading", full)
    with pytest.raises(LedgerError, match=r"copy\.db cannot be written: database or disk is full"):
        backup(books.url, None, tmp_path / "copy.db")
    nothing_beside(tmp_path)


# --- restore


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A backup of other books."""
    ledger = Ledger(f"sqlite:///{tmp_path / 'old.db'}", "UTC")
    for one in history(2, days=2, jobs=6):
        ledger.post(one, RUN)
    ledger.close()
    backup(f"sqlite:///{tmp_path / 'old.db'}", None, tmp_path / "copy.db")
    return tmp_path / "copy.db"


def test_a_backup_is_put_back_where_nothing_is(place: Place, copy: Path) -> None:
    restore(copy, place.url, "UTC", place.password)
    assert tables(place) == tables(file(copy))
    goes_on(place)


def goes_on(place: Place) -> None:
    """The ledger takes the next window, and the same again is no change."""
    ledger = Ledger(place.url, "UTC", place.password)
    one = job(1000, submit_s=START_S)
    with ledger.lock():
        assert ledger.post(window(72, 73, [one], [usage(one, 72)]), RUN).posted > 0
        assert ledger.post(window(72, 73, [one], [usage(one, 72)]), RUN).posted == 0
    ledger.close()


def test_books_that_are_there_are_replaced_only_by_force(kept: Place, copy: Path) -> None:
    before = tables(kept)
    with pytest.raises(LedgerError) as caught:
        restore(copy, kept.url, "UTC", kept.password)
    assert "holds the books of" in caught.value.what or "is not empty" in caught.value.what
    assert "--force" in caught.value.advice
    assert tables(kept) == before
    restore(copy, kept.url, "UTC", kept.password, force=True)
    assert tables(kept) == tables(file(copy)) != before
    goes_on(kept)


def test_readers_see_the_old_books_until_the_new_ones_are_whole(kept: Place, copy: Path) -> None:
    with Books(kept.url, kept.password) as reader:
        before = reader.rows("SELECT COUNT(*) AS n FROM usage_slots")[0]["n"]
        restore(copy, kept.url, "UTC", kept.password, force=True)
        assert reader.rows("SELECT COUNT(*) AS n FROM usage_slots")[0]["n"] == before
    with Books(kept.url, kept.password) as reader:
        assert reader.rows("SELECT COUNT(*) AS n FROM usage_slots")[0]["n"] != before


def test_nothing_is_put_back_while_somebody_writes(kept: Place, copy: Path) -> None:
    before = tables(kept)
    ledger = Ledger(kept.url, "UTC", kept.password)
    with ledger.lock(), pytest.raises(LedgerError, match="another run is writing"):
        restore(copy, kept.url, "UTC", kept.password, force=True)
    ledger.close()
    assert tables(kept) == before


def test_a_file_that_is_no_sound_backup_changes_nothing(books: Place, copy: Path, tmp_path: Path) -> None:
    before = tables(books)
    damaged = tmp_path / "damaged.db"
    content = bytearray(copy.read_bytes())
    content[20 * 4096 : 24 * 4096] = os.urandom(4 * 4096)
    damaged.write_bytes(content)
    (tmp_path / "text.db").write_text("Not a database, and longer than the header of one.\n" * 10)
    (tmp_path / "empty.db").write_bytes(b"")
    other = tmp_path / "other.db"
    other.write_bytes(copy.read_bytes())
    change(other, "UPDATE alembic_version SET version_num = '9999'")
    loose = tmp_path / "loose.db"
    loose.write_bytes(copy.read_bytes())
    change(loose, "UPDATE usage_slots SET meter_id = 77")
    for path, says in (
        (damaged, "damaged"),
        (tmp_path / "text.db", "is not a ledger of scarbon"),
        (tmp_path / "empty.db", "is not a ledger of scarbon"),
        (tmp_path / "none.db", "there is no file"),
        (other, "has schema 9999, which this version does not know"),
        (loose, "is damaged: rows of usage_slots refer to nothing"),
        (tmp_path / "ledger.db", "is the ledger itself"),
    ):
        with pytest.raises(LedgerError, match=says):
            restore(path, books.url, "UTC", None, force=True)
    with pytest.raises(LedgerError, match=r"copy\.db is kept by the calendar of UTC, the configuration says"):
        restore(copy, books.url, "Europe/Paris", None, force=True)
    assert tables(books) == before


def test_what_is_no_ledger_is_not_overwritten(place: Place, copy: Path) -> None:
    from accounting.ledger.address import parse_address
    from accounting.ledger.opening import open_engine

    address = parse_address(place.url, place.password)
    with open_engine(address).connect() as connection, connection.begin():
        connection.exec_driver_sql("CREATE TABLE orders (number INTEGER)")
    with pytest.raises(LedgerError, match="is not a ledger of scarbon: it is a database with other tables"):
        restore(copy, place.url, "UTC", place.password, force=True)
    with open_engine(address).connect() as connection, connection.begin():
        assert connection.exec_driver_sql("SELECT COUNT(*) FROM orders").scalar() == 0


KILLED = """
import os, signal, sqlite3, sys
from pathlib import Path
from accounting.ledger import backups, copying

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

class Dies(sqlite3.Connection):
    def backup(self, target):
        pages = iter(range(20))
        super().backup(target, pages=1, progress=lambda *_: next(pages, None) is None and die())

def connect(path):
    return sqlite3.connect(path, factory=Dies)

inserted = iter(range(6))
insert_rows = copying.insert_rows

def insert(*words):
    insert_rows(*words)
    next(inserted, None) is None and die()

backups.connect_sqlite_reading = connect
copying.insert_rows = insert
backups.restore(Path(sys.argv[1]), sys.argv[2], "UTC", sys.argv[3] or None, force=True)
"""


def test_killed_in_the_middle_the_books_are_as_they_were(kept: Place, copy: Path) -> None:
    before = tables(kept)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), copy, kept.url, kept.password or ""], cwd=CHECKOUT, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert tables(kept) == before
    restore(copy, kept.url, "UTC", kept.password, force=True)
    assert tables(kept) == tables(file(copy))


# --- import


def test_from_a_file_to_every_database_and_back(place: Place, copy: Path, tmp_path: Path) -> None:
    with Books(f"sqlite:///{copy}") as source:
        counts = import_books(source, place.url, "UTC", place.password)
    expected = tables(file(copy))
    assert counts == {name: len(rows) for name, rows in expected.items()}
    assert tables(place) == expected
    with Books(place.url, place.password) as source:
        import_books(source, f"sqlite:///{tmp_path / 'back.db'}", "UTC", None)
    assert tables(file(tmp_path / "back.db")) == expected
    goes_on(place)


@pytest.fixture(params=[("postgresql", "mariadb"), ("mariadb", "postgresql")], ids="-".join)
def pair(request: pytest.FixtureRequest, servers: Any) -> Iterator[tuple[Place, Place]]:
    """An empty database on each server."""
    places = [servers[kind].database() for kind in request.param]
    yield places[0], places[1]
    for place in places:
        servers[place.kind].drop(place)


def test_from_server_to_server(pair: tuple[Place, Place], copy: Path) -> None:
    source, target = pair
    restore(copy, source.url, "UTC", source.password)
    for says in ("", "is not empty"):
        with Books(source.url, source.password) as books:
            if says:
                with pytest.raises(LedgerError, match=says):
                    import_books(books, target.url, "UTC", target.password)
            else:
                import_books(books, target.url, "UTC", target.password)
    assert tables(target) == tables(file(copy))


def test_what_does_not_arrive_as_it_was_sent_is_not_kept(
    place: Place, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver that rounds, in one row of thousands."""
    insert_rows = copying.insert_rows

    def rounds(connection: Any, table: Any, columns: Any, rows: Any) -> None:
        if table.name == "usage_slots":
            rows = [*rows[:-1], tuple(round(value, 9) if isinstance(value, float) else value for value in rows[-1])]
        insert_rows(connection, table, columns, rows)

    monkeypatch.setattr(copying, "insert_rows", rounds)
    with Books(f"sqlite:///{copy}") as source, pytest.raises(LedgerError, match="table usage_slots did not arrive"):
        import_books(source, place.url, "UTC", place.password)
    assert sum(map(len, tables(place).values())) == 1  # the zone


def test_parts_are_small(place: Place, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more rows are held than a part has, and all arrive."""
    sizes: list[int] = []
    insert_rows = copying.insert_rows

    def measured(connection: Any, table: Any, columns: Any, rows: Any) -> None:
        sizes.append(len(rows))
        insert_rows(connection, table, columns, rows)

    monkeypatch.setattr(copying, "insert_rows", measured)
    monkeypatch.setattr(copying, "_PART", 7)
    with Books(f"sqlite:///{copy}") as source:
        import_books(source, place.url, "UTC", place.password)
    assert max(sizes) == 7
    assert tables(place) == tables(file(copy))


def test_another_calendar_is_not_imported(books: Place, copy: Path, tmp_path: Path) -> None:
    with Books(f"sqlite:///{copy}") as source, pytest.raises(LedgerError, match="kept by the calendar of UTC"):
        import_books(source, f"sqlite:///{tmp_path / 'new.db'}", "Europe/Paris", None)
    assert not (tmp_path / "new.db").exists()
