"""What is written is read, on every database: figures to the last bit, text to the last byte, and nothing by halves."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from accounting.ledger import store
from accounting.ledger.errors import LedgerError, NoLedgerError
from accounting.ledger.postings import MeterKey
from accounting.ledger.reading import Books
from accounting.ledger.store import Ledger
from accounting.model import Reject
from tests.ledger.servers import Place
from tests.ledger.windows import RUN, START_S, balance, job, usage, window


@pytest.fixture
def ledger(place: Place) -> Any:
    ledger = Ledger(place.url, "UTC", place.password)
    yield ledger
    ledger.close()


def rows(place: Place, sql: str) -> list[dict[str, Any]]:
    with Books(place.url, place.password) as books:
        return [dict(row) for row in books.rows(sql)]


def test_where_nothing_was_made_there_is_no_ledger(place: Place) -> None:
    with pytest.raises(NoLedgerError, match=r"there is no ledger at .* yet"):
        Books(place.url, place.password)


def test_the_same_window_again_changes_nothing(ledger: Ledger, place: Place) -> None:
    one = job(1)
    said = window(0, 24, [one], [usage(one, 1), usage(one, 2, None)], [balance(1, 4000.0, 400.0)])
    first = ledger.post(said, RUN)
    assert (first.posted, first.superseded, first.unchanged) == (4, 0, 0)  # with the factor
    tables = ("usage_slots", "balance", "factors", "usage_days", "idle_days", "payer_days", "payer_jobs", "attempts")
    before = {table: rows(place, f"SELECT * FROM {table}") for table in tables}
    again = ledger.post(said, RUN)
    assert (again.posted, again.superseded, again.unchanged) == (0, 0, 4)
    assert {table: rows(place, f"SELECT * FROM {table}") for table in tables} == before


def test_what_differs_supersedes_and_what_is_gone_is_superseded_by_nothing(ledger: Ledger, place: Place) -> None:
    one, other = job(1), job(2)
    ledger.post(window(0, 24, [one, other], [usage(one, 1), usage(other, 1)]), RUN)
    ledger.post(window(0, 24, [one, other], [usage(one, 1, 7200.0)]), RUN)
    found = rows(place, "SELECT attempt_id, energy_j, run_id, superseded_by FROM usage_slots ORDER BY usage_id")
    assert [tuple(row.values()) for row in found] == [(1, 3600.0, 1, 2), (2, 3600.0, 1, 2), (1, 7200.0, 2, None)]


def test_figures_that_differ_in_the_last_digits_are_the_same(ledger: Ledger) -> None:
    one = job(1)
    ledger.post(window(0, 24, [one], [usage(one, 1, 3600.0)]), RUN)
    assert ledger.post(window(0, 24, [one], [usage(one, 1, 3600.0 * (1 + 1e-12))]), RUN).posted == 0
    assert ledger.post(window(0, 24, [one], [usage(one, 1, 3600.0 * (1 + 1e-8))]), RUN).posted == 1


def test_figures_come_back_to_the_last_bit(ledger: Ledger, place: Place) -> None:
    figures = [0.1, 1 / 3, 1e-300, 1.2345678901234567e150, 123456789.123456789, 0.0, 5e-324]
    one = job(1)
    ledger.post(window(0, 24, [one], [usage(one, slot, energy_j) for slot, energy_j in enumerate(figures)]), RUN)
    found = [row["energy_j"] for row in rows(place, "SELECT energy_j FROM usage_slots ORDER BY slot_s")]
    assert found == figures
    assert {type(one) for one in found} == {float}


def test_numbers_beyond_32_bits_fit(ledger: Ledger, place: Place) -> None:
    """Users of a directory service have such numbers, and so have instants after 2038."""
    late = 4_102_444_800  # 2100-01-01
    one = job(2**31 + 7, uid=2**32 - 2, submit_s=late, end_s=late + 10, suspended_s=2**33)
    ledger.post(window(0, 24, [one], [usage(one, 1)]), RUN)
    (found,) = rows(place, "SELECT job_id, uid, submit_s, end_s, suspended_s FROM attempts")
    assert list(found.values()) == [2**31 + 7, 2**32 - 2, late, late + 10, 2**33]


def test_text_comes_back_to_the_last_byte(ledger: Ledger, place: Place) -> None:
    texts = {
        "naïve – 氷 – 🧊": "naïve – 氷 – 🧊",
        'it\'s "50%" \\ of :that': 'it\'s "50%" \\ of :that',
        "two\nlines\tand a tab": "two\nlines\tand a tab",
        "\\N": "\\N",  # what PostgreSQL's COPY takes for nothing, were it not written out
        "": "",
        None: None,
        "not UTF-8: \udcff": "not UTF-8: \\udcff",
        "nul: \0.": "nul: \\x00.",
    }
    jobs = [job(number, name=text, comment=text) for number, text in enumerate(texts)]
    rejects = [Reject("sacct", "line 3", text, "it is odd") for text in texts if text]
    said = window(0, 24, jobs, [usage(one, 1) for one in jobs], rejects=rejects)
    assert ledger.post(said, RUN).quarantined == 6
    found = rows(place, "SELECT name, comment FROM attempts ORDER BY job_id")
    assert [(row["name"], row["comment"]) for row in found] == [(kept, kept) for kept in texts.values()]
    assert {row["raw"] for row in rows(place, "SELECT raw FROM quarantine")} == {
        kept for kept in texts.values() if kept
    }
    assert ledger.post(said, RUN).unchanged == 9
    assert len(rows(place, "SELECT raw FROM quarantine")) == 6
    assert found == rows(place, "SELECT name, comment FROM attempts ORDER BY job_id")


def test_an_array_whose_waiting_tasks_are_many_fits(ledger: Ledger, place: Place) -> None:
    """As sacct shortens it, too: what is waiting uses nothing."""
    tasks = ",".join(map(str, range(1, 400, 2)))
    waiting = job(1, label=f"42_[{tasks}]", state="PENDING", start_s=None, end_s=None)
    for _ in range(2):
        ledger.post(window(0, 24, [waiting], []), RUN)
    (found,) = rows(place, "SELECT label FROM attempts")
    assert len(found["label"]) == 64
    assert found["label"].startswith("42_[1,3,5,7,9,11,") and found["label"].endswith("...]")


def test_a_job_of_ten_thousand_nodes_fits(ledger: Ledger, place: Place) -> None:
    nodes = tuple(f"node{number:05}.cluster" for number in range(10_000))
    one = job(1, nodes=nodes)
    ledger.post(window(0, 24, [one], [usage(one, 1)]), RUN)
    assert rows(place, "SELECT nodes FROM attempts") == [{"nodes": ",".join(nodes)}]


def test_what_slurm_says_later_of_a_job_takes_the_place_of_what_it_said(ledger: Ledger, place: Place) -> None:
    running = job(1, state="RUNNING", end_s=None)
    ledger.post(window(0, 1, [running], [usage(running, 0)]), RUN)
    ended = replace(running, state="TIMEOUT", end_s=START_S + 7200)
    ledger.post(window(1, 2, [ended], [usage(ended, 1)]), RUN)
    (found,) = rows(place, "SELECT attempt_id, state, end_s FROM attempts")
    assert list(found.values()) == [1, "TIMEOUT", START_S + 7200]


def test_silences_are_noted_until_they_are_over(ledger: Ledger) -> None:
    key = MeterKey("gpu", "GPU-1")
    said = replace(window(0, 24, [], [], [balance(1, 1.0, 1.0)]), silent_since_s={key: START_S + 100.0})
    ledger.post(said, RUN)
    assert ledger.silent_since("alpha") == {key: START_S + 100.0}
    ledger.heard_again("alpha", [key])
    assert ledger.silent_since("alpha") == {key: None}
    assert ledger.silent_since("beta") == {}


def test_a_window_that_fails_at_its_end_leaves_no_trace(
    ledger: Ledger, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = job(1)
    ledger.post(window(0, 24, [one], [usage(one, 1)]), RUN)
    tables = ("runs", "attempts", "usage_slots", "usage_days", "payer_days", "booked")
    before = {table: rows(place, f"SELECT * FROM {table}") for table in tables}

    def fails(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(store, "_set_booked", fails)
        other = job(2)
        with pytest.raises(KeyboardInterrupt):
            ledger.post(window(24, 48, [other], [usage(other, 25)]), RUN)
    assert {table: rows(place, f"SELECT * FROM {table}") for table in tables} == before
    ledger.post(window(24, 48, [other], [usage(other, 25)]), RUN)
    assert len(rows(place, "SELECT * FROM runs")) == 2


def test_a_reader_does_not_wait_and_sees_one_moment(
    ledger: Ledger, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opened before, within and after a window is written: it sees what stood when it first asked, whole."""
    one = job(1)
    ledger.post(window(0, 24, [one], [usage(one, 1)]), RUN)
    seen: list[int] = []

    def count(books: Books) -> int:
        return int(books.rows("SELECT COUNT(*) AS n FROM usage_slots")[0]["n"])

    before = Books(place.url, place.password)
    set_booked = store._set_booked

    def read_meanwhile(*arguments: Any) -> None:
        set_booked(*arguments)
        with Books(place.url, place.password) as within:
            seen.append(count(within))

    monkeypatch.setattr(store, "_set_booked", read_meanwhile)
    ledger.post(window(24, 48, [one], [usage(one, 25), usage(one, 26)]), RUN)
    assert seen == [1]
    assert count(before) == 1
    before.close()
    with Books(place.url, place.password) as after:
        assert count(after) == 3


def test_a_reader_cannot_write(ledger: Ledger, place: Place) -> None:
    with Books(place.url, place.password) as books, pytest.raises(LedgerError, match=r"(?i)read.?only"):
        books.rows("DELETE FROM runs")


def test_books_of_another_calendar_are_not_written_to(ledger: Ledger, place: Place) -> None:
    with pytest.raises(LedgerError, match="kept by the calendar of UTC, the configuration says Europe/Paris"):
        Ledger(place.url, "Europe/Paris", place.password)


def test_a_ledger_whose_making_was_interrupted_is_made_to_its_end(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MariaDB keeps the tables that were made: they are ours, and the rest is added."""
    from sqlalchemy import Connection

    from accounting.ledger import opening

    def dies(_connection: Connection, *_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(opening, "insert", dies)
        with pytest.raises(KeyboardInterrupt):
            Ledger(place.url, "UTC", place.password)
    with pytest.raises(NoLedgerError):
        Books(place.url, place.password)
    ledger = Ledger(place.url, "UTC", place.password)
    one = job(1)
    ledger.post(window(0, 24, [one], [usage(one, 1)]), RUN)
    ledger.close()


def test_somebody_elses_tables_are_left_alone(place: Place) -> None:
    from accounting.ledger.address import parse_address
    from accounting.ledger.opening import open_engine

    address = parse_address(place.url, place.password)
    with open_engine(address).connect() as connection, connection.begin():
        connection.exec_driver_sql("CREATE TABLE orders (number INTEGER)")
    for opened in (lambda: Books(place.url, place.password), lambda: Ledger(place.url, "UTC", place.password)):
        with pytest.raises(LedgerError, match="is not a ledger of scarbon: it is a database with other tables"):
            opened()
    with open_engine(address).connect() as connection, connection.begin():
        assert connection.exec_driver_sql("SELECT COUNT(*) FROM orders").scalar() == 0
        if place.kind == "sqlite":
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "delete", "as it was"


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("Not a database, and longer than the header of one.\n" * 10)
    for opened in (Books, lambda url: Ledger(url, "UTC")):
        with pytest.raises(LedgerError, match="is not a ledger of scarbon: file is not a database"):
            opened(f"sqlite:///{path}")
    assert path.read_text().startswith("Not a database")


def test_a_full_disk_is_told_in_a_line(tmp_path: Path) -> None:
    """SQLite's own limit stands for the disk's."""
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}", "UTC")
    ledger._connection.connection.driver_connection.execute("PRAGMA max_page_count = 60")  # type: ignore[union-attr]
    jobs = [job(number) for number in range(1, 5000)]
    with pytest.raises(LedgerError, match="cannot be written: database or disk is full") as caught:
        ledger.post(window(0, 24, jobs, [usage(one, 1) for one in jobs]), RUN)
    assert "this window was not booked" in caught.value.advice
    ledger.close()
    with sqlite3.connect(tmp_path / "ledger.db") as books:
        assert books.execute("SELECT COUNT(*) FROM runs").fetchone() == (0,)
    books.close()
