"""Roll-ups held against their postings: sound books, every kind of tampering, and what makes them anew."""

from __future__ import annotations

from collections.abc import Callable
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text

from accounting.agreement import Disagreement, disagreements, kept_days
from accounting.audit import audit
from accounting.ledger.reading import Books
from accounting.ledger.rebuilding import rebuild
from accounting.ledger.store import Ledger
from tests.ledger.servers import Place
from tests.ledger.windows import HOUR_S, RUN, START_S, history

UTC = ZoneInfo("UTC")
ROLL_UPS = ("usage_days", "idle_days", "payer_days", "payer_months", "payer_jobs")


@pytest.fixture
def kept(place: Place) -> Place:
    """Books with a random history of four days, on both sides of a month's end."""
    ledger = Ledger(place.url, "UTC", place.password)
    for one in history(1):
        ledger.post(one, RUN)
    ledger.close()
    return place


def change(place: Place, sql: str) -> int:
    """Change the books, past the program."""
    ledger = Ledger(place.url, "UTC", place.password)
    with ledger.transaction() as connection:
        changed = connection.execute(text(sql)).rowcount
    ledger.close()
    return int(changed)


def wrong(place: Place, start_s: float | None = None, end_s: float | None = None) -> list[Disagreement]:
    with Books(place.url, place.password) as books:
        found = list(disagreements(books, start_s, end_s))
        assert audit(books, start_s, end_s).roll_ups == found[:20]
    return found


def roll_ups(place: Place) -> dict[str, list[tuple[object, ...]]]:
    with Books(place.url, place.password) as books:
        return {
            table: sorted((tuple(dict(row).values()) for row in books.rows(f"SELECT * FROM {table}")), key=str)
            for table in ROLL_UPS
        }


def test_a_random_history_agrees(kept: Place) -> None:
    assert wrong(kept) == []


#: What is changed, and the tables in which it must at least be seen.
TAMPERED = [
    ("UPDATE usage_days SET energy_j = energy_j * 1.00001 WHERE day = '2026-10-31'", {"usage_days", "payer_days"}),
    ("UPDATE usage_days SET method = 'counter' WHERE day = '2026-11-01' AND kind = 'host'", {"usage_days"}),
    ("DELETE FROM usage_days WHERE day = '2026-11-01' AND kind = 'host'", {"usage_days", "payer_days"}),
    ("UPDATE idle_days SET idle_j = 0 WHERE day = '2026-10-30'", {"idle_days"}),
    ("DELETE FROM idle_days", {"idle_days"}),
    ("UPDATE payer_days SET location_g = NULL WHERE day = '2026-10-31'", {"payer_days"}),
    ("UPDATE payer_days SET day = '2026-10-01' WHERE day = '2026-10-31'", {"payer_days"}),
    ("UPDATE payer_months SET energy_j = energy_j + 1 WHERE month = '2026-11'", {"payer_months"}),
    ("UPDATE payer_months SET month = '2031-01' WHERE month = '2026-11'", {"payer_months"}),
    ("UPDATE payer_jobs SET jobs = jobs + 1 WHERE day = '2026-11-02'", {"payer_jobs"}),
    ("UPDATE usage_slots SET energy_j = energy_j + 1 WHERE energy_j > 0", {"usage_days"}),
]


def test_tampering_is_seen_and_mended(kept: Place) -> None:
    before = roll_ups(kept)
    ledger = Ledger(kept.url, "UTC", kept.password)
    for sql, is_wrong in TAMPERED:
        assert change(kept, sql) > 0
        found = wrong(kept)
        assert {one.table for one in found} >= is_wrong, sql
        assert all(str(one).startswith(one.table) for one in found)
        with Books(kept.url, kept.password) as books:
            days = kept_days(books, UTC, None, None)
        rebuild(ledger, UTC, days, None)
        assert wrong(kept) == [], sql
        if "usage_slots" not in sql:
            same(roll_ups(kept), before)
    ledger.close()


def same(found: dict[str, list[tuple[object, ...]]], expected: dict[str, list[tuple[object, ...]]]) -> None:
    for table, rows in expected.items():
        assert len(found[table]) == len(rows), table
        for one, other in zip(found[table], rows, strict=True):
            assert list(one) == [
                pytest.approx(value, rel=1e-12) if isinstance(value, float) else value for value in other
            ]


def test_only_the_days_of_the_window_are_looked_at(kept: Place) -> None:
    change(kept, "UPDATE idle_days SET idle_j = 0 WHERE day = '2026-10-30'")
    midnight = START_S + 24 * HOUR_S
    assert wrong(kept, None, midnight) != []
    assert wrong(kept, midnight) == []


def test_what_is_told_of_a_row() -> None:
    key = {"month": "2026-10", "payer_id": 3, "kind": ""}
    told: Callable[..., str] = lambda *rest: str(Disagreement("payer_days", key, *rest))  # noqa: E731
    assert told("energy_j", 2.0, 3.0) == "payer_days (month 2026-10, payer_id 3): energy_j is 2.0, the sum is 3.0"
    assert told(None, None, (1.0,)) == "payer_days (month 2026-10, payer_id 3): is missing"
    assert told(None, (1.0,), None) == "payer_days (month 2026-10, payer_id 3): is the sum of nothing"
