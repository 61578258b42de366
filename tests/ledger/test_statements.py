"""What statements and advice ask the books, on every database."""

from __future__ import annotations

from dataclasses import replace

import pytest

from accounting.advice import idle_levels
from accounting.factors import SourceShare, applied, shares_of_energy, shares_of_time
from accounting.jobs import JobFilter, list_jobs
from accounting.ledger.reading import Books
from accounting.ledger.store import Ledger
from accounting.model import FactorSlot
from accounting.statement import Hardware, MethodShare, state_jobs
from tests.ledger.servers import Place
from tests.ledger.windows import GPU, HOUR_S, RUN, START_S, balance, job, usage, window

FIRST = FactorSlot(START_S, START_S + HOUR_S, 100.0, "measured", basis="direct", retrieved_s=1e9)
SECOND = FactorSlot(START_S + HOUR_S, START_S + 2 * HOUR_S, 200.0, "guessed", True, "life cycle")


@pytest.fixture
def kept(place: Place) -> Place:
    """One job of two hours: 3,600 J in the first, 10,800 J in the second; and two idle hours of its GPU at 60 W."""
    one = job(1)
    made = window(
        0,
        4,
        [one],
        [usage(one, 0), usage(one, 1, 10_800.0)],
        [
            balance(0, 3600.0, 0.0)._replace(idle_s=0.0),
            balance(1, 10_800.0, 0.0)._replace(idle_s=0.0),
            balance(2, 216_000.0, 216_000.0)._replace(idle_s=3600.0),
            balance(3, 216_000.0, 216_000.0)._replace(idle_s=3600.0),
        ],
    )
    ledger = Ledger(place.url, "UTC", place.password)
    ledger.post(replace(made, factors=[("location", FIRST), ("location", SECOND)]), RUN)
    ledger.close()
    return place


def test_what_is_asked_of_the_books(kept: Place) -> None:
    with Books(kept.url, kept.password) as books:
        jobs = list(list_jobs(books, JobFilter()))
        found = state_jobs(books, jobs)
        assert found.hardware == [Hardware(GPU.model, 1, 7200.0, 14_400.0)]
        assert found.methods == [MethodShare("gpu", "counter", 1.0)]
        assert found.it_energy_j == pytest.approx(14_400.0)
        assert found.co2e_low_g is not None
        assert (
            found.sources
            == shares_of_energy(books, jobs)
            == [
                SourceShare("location", "guessed", "life cycle", 0.75, 1.0, None),
                SourceShare("location", "measured", "direct", 0.25, 0.0, 1e9),
            ]
        )
        assert [one.share for one in shares_of_time(books, START_S, START_S + 4 * HOUR_S, ["alpha"])] == [0.5, 0.5]
        assert applied(books, "alpha", "location", START_S, START_S + 4 * HOUR_S) == [FIRST, SECOND]
        assert applied(books, "alpha", "location", START_S, START_S + HOUR_S) == [FIRST]
        assert idle_levels(books, START_S, START_S + 4 * HOUR_S) == {GPU.model: pytest.approx(60.0)}
