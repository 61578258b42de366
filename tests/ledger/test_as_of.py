"""The books as they stood: after whatever was posted, restated and closed, what was printed then is printed again."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import astuple
from itertools import pairwise
from typing import Any

import pytest

from accounting.jobs import JobFilter, list_jobs
from accounting.ledger.as_of import days_as_of, days_between, jobs_as_of
from accounting.ledger.closing import By, close_month, reopen_month
from accounting.ledger.errors import LedgerError
from accounting.ledger.reading import Books
from accounting.ledger.store import Ledger
from accounting.periods import adjustments_in, adjustments_to, months
from accounting.report import make_report
from tests.ledger.restating import Clock, flat, restate
from tests.ledger.servers import Place
from tests.ledger.windows import DAY_S, FIRST_DAY, HOUR_S, RUN, START_S, day_of, history, job, usage, window

PERIODS = [("2026-10-01", "2026-10-31"), ("2026-11-01", "2026-11-30"), ("2026-10-30", "2026-11-01")]
GROUPINGS = ("account", "gpu-model")
#: Of the clock in these tests; what is posted about closed months is posted there.
POSTED = ("2026-12-01", "2027-12-31")
BY = By("ada", "login1", "why not")
PROGRAM = {"version": "0", "config_digest": "0"}

DAYS = [*days_between(FIRST_DAY, FIRST_DAY.replace(month=11, day=5))]


def printed(books: Books) -> dict[Any, Any]:
    """All that reports say, figure by figure."""
    said: dict[Any, Any] = {"booked": books.booked("alpha"), "months": months(books)}
    for period in PERIODS:
        for by in GROUPINGS:
            made = make_report(books, *period, by)
            assert made.idle is not None
            said[period, by] = {
                **{("group", group.key): astuple(group) for group in made.groups},
                "idle": astuple(made.idle),
                "total": astuple(made.total),
            }
    said["in"] = [astuple(one) for one in adjustments_in(books, *POSTED)]
    said["to"] = [astuple(one) for one in adjustments_to(books, *PERIODS[0])]
    return said


def assert_same(one: Any, other: Any, where: tuple[Any, ...] = ()) -> None:
    """Equal, figures to a billionth."""
    if isinstance(one, float) and isinstance(other, float):
        assert math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-6), (where, one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_same(one[key], other[key], (*where, key))
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for place, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same(a, b, (*where, place))
    else:
        assert one == other, where


def random_life(place: Place, seed: int, clock: Clock) -> list[tuple[float, dict[Any, Any], bool]]:
    """Accountings, restatements, closings; after each the time, what was printed, and whether October is closed.

    Some jobs move to other accounts meanwhile.
    """
    chance = random.Random(seed)
    ledger = Ledger(place.url, "UTC", place.password)
    closed = False
    seen = []
    for one in history(seed, days=4, jobs=6):
        acts: list[Callable[[], object]] = [lambda one=one: ledger.post(one, RUN)]
        for _ in range(chance.choice([0, 0, 1, 2])):
            kind = chance.random()
            if kind < 0.5:
                first = chance.randrange(0, int(one.end_s - START_S) // HOUR_S)
                values = chance.choice([1.0, 1.3]), chance.choice([None, 50.0, 80.0]), chance.choice([None, 10.0])
                acts.append(lambda first=first, values=values: restate(ledger, flat(*values), first, first + 30))
            elif closed:
                acts.append(lambda: reopen_month(ledger, "2026-10", BY, PROGRAM))
                closed = False
            else:
                acts.append(lambda: close_month(ledger, "2026-10", BY))
                closed = True
        for act in acts:
            act()
            with Books(place.url, place.password) as books:
                said = printed(books)
            seen.append((clock(), said, said["months"][0].closed))
    ledger.close()
    return seen


@pytest.mark.parametrize("seed", [4, 8])
def test_the_past_can_be_printed_again_and_a_closed_month_never_moves(place: Place, seed: int) -> None:
    with Clock().running() as clock:
        seen = random_life(place, seed, clock)
    # Each takes a while on a server, and the queries are the same.
    for time_s, said, _ in seen if place.kind == "sqlite" else seen[2::7]:
        with Books(place.url, place.password) as books:
            days_as_of(books, time_s, DAYS)
            assert_same(printed(books), said)
    stays = 0
    for (_, before, closed), (_, after, still) in pairwise(seen):
        if closed and still:
            stays += 1
            for by in GROUPINGS:
                assert after[PERIODS[0], by] == before[PERIODS[0], by]
    assert stays, "a life in which nothing stayed closed shows nothing"
    assert any(said["to"] for _, said, _ in seen), "nor one in which nothing was adjusted"


def test_jobs_as_they_stood(place: Place) -> None:
    """3,600 J, by a later run 7,200 J; by an earlier one nothing was known of the second hour."""
    one = job(1)
    with Clock().running() as clock:
        ledger = Ledger(place.url, "UTC", place.password)
        ledger.post(window(0, 1, [one], [usage(one, 0)]), RUN)
        first_s = clock()
        ledger.post(window(0, 24, [one], [usage(one, 0), usage(one, 1)]), RUN)
        second_s = clock()
        ledger.post(window(0, 24, [one], [usage(one, 0, 3000.0), usage(one, 1)]), RUN)
        last_s = clock()
        ledger.close()
    for time_s, energy_j in ((first_s, 3600.0), (second_s, 7200.0), (last_s, 6600.0)):
        with Books(place.url, place.password) as books:
            jobs_as_of(books, time_s, [1])
            (found,) = list_jobs(books, JobFilter())
            assert found.gpu_energy_j == energy_j


def test_a_time_before_the_books_is_told(place: Place) -> None:
    one = job(1)
    with Clock().running():
        ledger = Ledger(place.url, "UTC", place.password)
        ledger.post(window(0, 1, [one], [usage(one, 0)]), RUN)
        ledger.close()
    with Books(place.url, place.password) as books, pytest.raises(LedgerError, match="no books at 2026"):
        days_as_of(books, START_S, DAYS)


def test_days_whose_hours_were_purged_are_told(place: Place) -> None:
    from sqlalchemy import text

    one = job(1)
    with Clock().running() as clock:
        ledger = Ledger(place.url, "UTC", place.password)
        ledger.post(window(0, 24, [one], [usage(one, 0)]), RUN)
        time_s = clock()
        with ledger.transaction() as connection:
            value = str(START_S + DAY_S)
            connection.execute(text(f"INSERT INTO meta (name, value) VALUES ('purged_before_s', '{value}')"))
        ledger.close()
    for ask in (
        lambda books: days_as_of(books, time_s, [day_of(START_S)]),
        lambda books: jobs_as_of(books, time_s, [1]),
    ):
        with Books(place.url, place.password) as books, pytest.raises(LedgerError, match="purged"):
            ask(books)
    with Books(place.url, place.password) as books:
        days_as_of(books, time_s, [day_of(START_S + DAY_S + HOUR_S)])
