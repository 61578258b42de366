"""The books against the meter of the whole site, by hand, on every database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from accounting.ledger.postings import UsageRow
from accounting.ledger.store import Ledger
from accounting.model import SiteReading
from accounting.reconciling import Reconciliation, reconcile
from tests.ledger.servers import Place, books_of
from tests.ledger.windows import HOUR_S, RUN, START_S, balance, job, usage, window


@dataclass(frozen=True)
class Meter:
    """Readings by hours since the first midnight: first, beyond, J."""

    readings: Sequence[tuple[float, float, float]]

    def stretches(self, start_s: float, end_s: float) -> list[SiteReading]:
        found = [SiteReading(START_S + a * HOUR_S, START_S + b * HOUR_S, energy_j) for a, b, energy_j in self.readings]
        return [one for one in found if one.start_s < end_s and one.end_s > start_s]


def compared(
    place: Place, rows: Sequence[UsageRow], *readings: tuple[float, float, float], hours: int = 4, **window_: float
) -> Sequence[Reconciliation]:
    """Books of the first `hours` hours, against readings."""
    ledger = Ledger(place.url, "UTC", place.password)
    balances = [balance(0, 1000.0 + sum(row.energy_j or 0.0 for row in rows if row.slot_s == START_S), 1000.0)]
    for first in range(0, hours, 24):
        beyond = min(first + 24, hours)
        inside = [row for row in rows if first <= (row.slot_s - START_S) // HOUR_S < beyond]
        ledger.post(window(first, beyond, [job(1)], inside, balances if first == 0 else [], booked=(0, beyond)), RUN)
    bounds = {"start_s": None, "end_s": None, **{name: START_S + hour * HOUR_S for name, hour in window_.items()}}
    with books_of(ledger) as books:
        found = reconcile(books, Meter(readings), bounds["start_s"], bounds["end_s"])
    ledger.close()
    return found


ONE = job(1)


def test_by_hand(place: Place) -> None:
    """The job's 3 kJ and 2 kJ and 1 kJ that nobody held, × 1.2: 7.2 kJ of the meter's 9 kJ."""
    rows = [usage(ONE, 0, 3000.0), usage(ONE, 2, 2000.0)]
    (whole,) = compared(place, rows, (0, 2, 5000.0), (2, 4, 4000.0))
    assert (whole.month, whole.compared_s, whole.metered_j) == (None, 4 * HOUR_S, 9000.0)
    assert whole.facility_j == pytest.approx(7200.0, rel=1e-12)
    assert whole.difference_j == pytest.approx(1800.0, rel=1e-9)
    assert whole.share == pytest.approx(0.2, rel=1e-9)
    assert whole.without_pue_j == 0


@pytest.fixture
def file(tmp_path: object) -> Place:
    return Place("sqlite", f"sqlite:///{tmp_path}/ledger.db")


def test_only_the_time_that_both_have_is_compared(file: Place) -> None:
    """The meter knows from 01:30 to 03:00 and from 03:30 on, the books end at 04:00: two hours, and halves of two."""
    rows = [usage(ONE, hour, 1000.0 * (hour + 1)) for hour in range(4)]
    (whole,) = compared(file, rows, (1.5, 3, 3000.0), (3.5, 5.5, 8000.0))
    assert whole.compared_s == 2 * HOUR_S
    assert whole.metered_j == pytest.approx(3000.0 + 8000.0 / 4, rel=1e-12)
    assert whole.facility_j == pytest.approx(1.2 * (2000.0 / 2 + 3000.0 + 4000.0 / 2), rel=1e-12)


def test_a_window(file: Place) -> None:
    rows = [usage(ONE, hour, 1000.0 * (hour + 1)) for hour in range(4)]
    (whole,) = compared(file, rows, (0, 4, 40_000.0), start_s=1, end_s=3)
    assert (whole.compared_s, whole.metered_j) == (2 * HOUR_S, pytest.approx(20_000.0, rel=1e-12))
    assert whole.facility_j == pytest.approx(1.2 * 5000.0, rel=1e-12)


def test_energy_without_a_pue_is_in_no_sum(file: Place) -> None:
    rows = [usage(ONE, 1, 3000.0, facility_j=None), usage(ONE, 2, 2000.0)]
    (whole,) = compared(file, rows, (1, 4, 9000.0))
    assert whole.facility_j == pytest.approx(2400.0, rel=1e-12)
    assert whole.without_pue_j == pytest.approx(3000.0, rel=1e-12)


def test_months_are_told_apart(file: Place) -> None:
    """The books begin on 30 October: 48 hours of October, 24 of November."""
    rows = [usage(ONE, hour, 1000.0) for hour in (10, 30, 50)]
    whole, october, november = compared(file, rows, (0, 72, 7200.0), hours=72)
    assert [one.month for one in (whole, october, november)] == [None, "2026-10", "2026-11"]
    assert [one.compared_s / HOUR_S for one in (whole, october, november)] == [72, 48, 24]
    assert [one.metered_j for one in (october, november)] == [pytest.approx(4800.0), pytest.approx(2400.0)]
    assert whole.facility_j == pytest.approx(october.facility_j + november.facility_j, rel=1e-12)
    assert november.facility_j == pytest.approx(1200.0, rel=1e-12)


def test_a_meter_that_says_nothing(file: Place) -> None:
    (whole,) = compared(file, [usage(ONE, 0)], (100, 200, 5.0))
    assert (whole.compared_s, whole.metered_j, whole.facility_j, whole.share) == (0, 0, 0, None)


def test_empty_books(file: Place) -> None:
    ledger = Ledger(file.url, "UTC")
    with books_of(ledger) as books:
        (whole,) = reconcile(books, Meter([(0, 1, 1.0)]), None, None)
    ledger.close()
    assert whole.compared_s == 0
