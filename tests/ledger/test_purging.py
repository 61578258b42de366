"""Hours of long ago deleted and their sums kept: nothing asked of that time says anything else, on any database."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from accounting.audit import audit
from accounting.jobs import JobFilter, list_jobs
from accounting.ledger import purging
from accounting.ledger.errors import LedgerError
from accounting.ledger.purging import plan_purge, purge
from accounting.ledger.reading import Books
from accounting.ledger.rebuilding import rebuild
from accounting.ledger.store import Ledger
from accounting.report import GROUPINGS, make_report
from tests.ledger.servers import Place
from tests.ledger.windows import HOUR_S, RUN, START_S, balance, history, job, usage, window

#: The history is of 30 October to 1 November; the books go on to 13 November.
BEFORE = date(2026, 11, 1)
BEFORE_S = START_S + 48 * HOUR_S
PERIODS = [
    ("2026-10-01", "2026-10-31"),
    ("2026-10-31", "2026-11-01"),
    ("2026-11-01", "2026-11-30"),
    ("2026-10-31",) * 2,
]


@pytest.fixture
def kept(place: Place) -> Place:
    return fill(place)


@pytest.fixture
def in_file(tmp_path: Path) -> Place:
    """Where the database makes no difference."""
    return fill(Place("sqlite", f"sqlite:///{tmp_path / 'books.db'}"))


def fill(place: Place) -> Place:
    ledger = Ledger(place.url, "UTC", place.password)
    for one in history(1, days=3, jobs=8):
        ledger.post(one, RUN)
    last = job(500, submit_s=START_S + 320 * HOUR_S, start_s=START_S + 320 * HOUR_S, end_s=None)
    ledger.post(
        window(13 * 24, 14 * 24, [last], [usage(last, 320)], [balance(320, 5000.0, 1400.0)], booked=(0, 14 * 24)), RUN
    )
    ledger.close()
    return place


def answers(place: Place) -> list[Any]:
    """Every report by every grouping, and all jobs."""
    with Books(place.url, place.password) as books:
        reports: list[Any] = [
            make_report(books, *period, grouping, None) for period in PERIODS for grouping in GROUPINGS
        ]
        return [*reports, list(list_jobs(books, JobFilter(duplicates=True)))]


def do(place: Place, before: date = BEFORE) -> purging.Purge:
    with Books(place.url, place.password) as books:
        plan = plan_purge(books, before)
    ledger = Ledger(place.url, "UTC", place.password)
    try:
        purge(ledger, plan)
    finally:
        ledger.close()
    return plan


def count(place: Place, sql: str) -> int:
    with Books(place.url, place.password) as books:
        return int(books.rows(f"SELECT COUNT(*) AS n FROM {sql}")[0]["n"])


def execute(place: Place, sql: str) -> int:
    ledger = Ledger(place.url, "UTC", place.password)
    with ledger.transaction() as connection:
        changed = connection.execute(text(sql)).rowcount
    ledger.close()
    return int(changed)


def test_reports_and_jobs_say_what_they_said(kept: Place) -> None:
    said = answers(kept)
    late = {
        table: count(kept, f"{table} WHERE slot_s >= {BEFORE_S}") for table in ("usage_slots", "balance", "factors")
    }
    in_force = count(kept, "factors WHERE superseded_by IS NULL")
    early = {table: count(kept, f"{table} WHERE slot_s < {BEFORE_S}") for table in ("usage_slots", "balance")}
    superseded = count(kept, f"factors WHERE superseded_by IS NOT NULL AND slot_s < {BEFORE_S}")
    plan = do(kept)
    assert (plan.postings, plan.balances, plan.factors) == (early["usage_slots"], early["balance"], superseded)
    assert plan.first == date(2026, 10, 30)
    assert min(early.values()) > 20
    assert answers(kept) == said
    for table, rows in late.items():
        assert count(kept, f"{table} WHERE slot_s >= {BEFORE_S}") == rows
    for table in ("usage_slots", "balance"):
        assert count(kept, f"{table} WHERE slot_s < {BEFORE_S}") == 0
    assert count(kept, "factors WHERE superseded_by IS NULL") == in_force


def test_an_audit_knows_what_was_purged(kept: Place) -> None:
    execute(kept, "DELETE FROM usage_slots")  # a random history does not balance
    execute(kept, "DELETE FROM balance")
    ledger = Ledger(kept.url, "UTC", kept.password)
    rebuild(ledger, ledger.zone, ["2026-10-30", "2026-10-31", "2026-11-01", "2026-11-02", "2026-11-12"], None)
    one = job(1)
    ledger.post(window(0, 24, [one], [usage(one, 1, 3600.0)], [balance(1, 3600.0, 0.0)], booked=(0, 14 * 24)), RUN)
    ledger.close()
    do(kept)
    with Books(kept.url, kept.password) as books:
        found = audit(books, None, None)
    assert (found.balanced, found.purged_before_s, found.clusters) == (True, BEFORE_S, [])
    execute(kept, "UPDATE payer_days SET energy_j = energy_j + 1 WHERE day = '2026-10-30'")
    with Books(kept.url, kept.password) as books:
        assert not audit(books, None, None).balanced, "days are still the sums of jobs"


def test_sums_of_purged_days_survive_a_rebuild(in_file: Place) -> None:
    said = answers(in_file)
    do(in_file)
    execute(in_file, "UPDATE payer_months SET energy_j = 0")
    ledger = Ledger(in_file.url, "UTC", in_file.password)
    rebuild(ledger, ledger.zone, ["2026-10-30", "2026-10-31", "2026-11-01", "2026-11-02", "2026-11-12"], BEFORE_S)
    ledger.close()
    same(answers(in_file), said)


def same(found: Any, expected: Any) -> None:
    from dataclasses import asdict, is_dataclass

    if is_dataclass(expected) and not isinstance(expected, type):
        same(asdict(found), asdict(expected))  # type: ignore[arg-type]
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            same(found[key], value)
    elif isinstance(expected, Sequence) and not isinstance(expected, str):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            same(one, other)
    else:
        assert found == (pytest.approx(expected, rel=1e-9) if isinstance(expected, float) else expected)


def test_what_was_purged_is_not_accounted_anew(kept: Place) -> None:
    do(kept)
    said = answers(kept)
    ledger = Ledger(kept.url, "UTC", kept.password)
    one = job(1)
    with pytest.raises(LedgerError, match=r"^the hours before 2026-11-01 were purged, and cannot be accounted"):
        ledger.post(window(30, 40, [one], [usage(one, 31)], booked=(0, 14 * 24)), RUN)
    ledger.post(window(48, 50, [one], [usage(one, 49)], booked=(0, 14 * 24)), RUN)
    ledger.close()
    assert answers(kept) != said


def test_again_changes_nothing_and_a_later_day_goes_on(in_file: Place) -> None:
    do(in_file)
    said = answers(in_file)
    assert do(in_file).rows == 0
    assert do(in_file, date(2026, 11, 3)).first == BEFORE
    assert answers(in_file) == said
    assert count(in_file, "usage_slots") == 1


def test_killed_in_the_middle_the_next_one_finishes(kept: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    said = answers(kept)
    goes = purging._goes
    days = iter(range(2 * 3 + 1))  # the first day, and some of the second

    def dies(*words: Any) -> Any:
        if next(days, None) is None:
            raise KeyboardInterrupt
        return goes(*words)

    with monkeypatch.context() as killed:
        killed.setattr(purging, "_goes", dies)
        with pytest.raises(KeyboardInterrupt):
            do(kept)
    assert count(kept, f"usage_slots WHERE slot_s < {BEFORE_S}") > 0
    with Books(kept.url, kept.password) as books:
        assert books.purged_before_s == BEFORE_S
        assert audit(books, None, None).roll_ups == []
    assert answers(kept) == said
    do(kept)
    assert count(kept, f"usage_slots WHERE slot_s < {BEFORE_S}") == 0
    assert answers(kept) == said


def test_a_restatement_of_purged_time_is_refused(in_file: Place) -> None:
    from accounting.restate import period_of

    do(in_file)
    ledger = Ledger(in_file.url, "UTC", in_file.password)
    with pytest.raises(LedgerError, match="purged"):
        period_of(ledger, "alpha", BEFORE_S - 3600, BEFORE_S + 3600)
    assert period_of(ledger, "alpha", BEFORE_S, BEFORE_S + 3600).slots_s == [BEFORE_S]
    ledger.close()


def test_what_cannot_be_purged(in_file: Place) -> None:
    def refused(before: date) -> str:
        with Books(in_file.url, in_file.password) as books, pytest.raises(LedgerError) as caught:
            plan_purge(books, before)
        return f"{caught.value.what}; {caught.value.advice}"

    assert refused(date(2026, 11, 7)) == (
        "the hours since 2026-11-06 may still be accounted anew, and cannot be purged; name a day up to 2026-11-06"
    )
    assert execute(in_file, "UPDATE usage_days SET held_s = held_s + 1 WHERE day = '2026-10-31'") > 0
    told = refused(BEFORE)
    assert told.startswith("the sums that would be left are not those of the hours: usage_days (")
    assert told.endswith("run scarbon ledger rebuild first")
    execute(in_file, "UPDATE usage_days SET held_s = held_s - 1 WHERE day = '2026-10-31'")
    do(in_file)
    assert refused(date(2026, 10, 31)) == "all before 2026-11-01 was purged already; name a later day"


def test_empty_books_have_nothing_to_purge(place: Place) -> None:
    Ledger(place.url, "UTC", place.password).close()
    with Books(place.url, place.password) as books, pytest.raises(LedgerError, match="the books are empty"):
        plan_purge(books, BEFORE)
