"""Closed months: their figures stay, and what is found out later is an adjustment; on every database."""

from __future__ import annotations

from dataclasses import astuple, replace

import pytest

from accounting.jobs import JobFilter, list_jobs
from accounting.ledger.closing import By, close_month, reopen_month
from accounting.ledger.errors import LedgerError
from accounting.ledger.reading import Books
from accounting.ledger.store import Ledger
from accounting.periods import adjustments_in, adjustments_to, months
from accounting.report import make_report
from tests.ledger.servers import Place
from tests.ledger.windows import RUN, balance, job, usage, window

BY = By("ada", "login1", "audited")
PROGRAM: dict[str, object] = {"version": "0", "config_digest": "0"}
#: The histories' books begin on 30 October 2026; adjustments are posted on the day of the test.
OCTOBER = ("2026-10-01", "2026-10-31")
EVER = ("2026-01-01", "2999-12-31")


def report(place: Place, by: str = "account") -> object:
    with Books(place.url, place.password) as books:
        made = make_report(books, *OCTOBER, by)
    return [astuple(one) for one in (*made.groups, made.idle, made.total)]


def open_ledger(place: Place) -> Ledger:
    return Ledger(place.url, "UTC", place.password)


def test_a_closed_month_stays_and_the_difference_is_an_adjustment(place: Place) -> None:
    """3,600 J become 4,800 J, of which 900 J were idle before: by hand, with a PUE of 1.2 and 100 g/kWh."""
    one = job(1)
    ledger = open_ledger(place)
    ledger.post(window(0, 24, [one], [usage(one, 1)], [balance(1, 4500.0, 900.0)]), RUN)
    close_month(ledger, "2026-10", BY)
    before = report(place)
    again = window(0, 24, [one], [usage(one, 1, 4800.0)], [balance(1, 4500.0, 0.0)])
    for posted in (2, 0):  # the second time nothing is new
        assert ledger.post(again, RUN).posted == posted
        assert report(place) == before
    with Books(place.url, place.password) as books:
        (listed,) = list_jobs(books, JobFilter())
        assert listed.gpu_energy_j == pytest.approx(4800.0), "a job is whole: its figures have what was adjusted"
        assert listed.co2e_location_g == pytest.approx(4800.0 * 1.2 / 3.6e6 * 100.0)
        (to,) = adjustments_to(books, *OCTOBER)
        assert adjustments_in(books, *EVER) == [to]
        (month,) = months(books)
    assert (to.month, to.reason) == ("2026-10", None)
    assert [group.key for group in to.groups] == ["phys"]
    assert to.groups[0].gpu_energy_j == pytest.approx(1200.0)
    assert to.groups[0].co2e_location_g == pytest.approx(1200.0 * 1.2 / 3.6e6 * 100.0)
    assert to.idle is not None
    assert to.idle.gpu_energy_j == pytest.approx(-900.0)
    assert to.total.facility_energy_j == pytest.approx(300.0 * 1.2)
    assert to.total.gpu_seconds == 0.0
    assert month.closed
    assert (month.events[0].who, month.events[0].why) == ("ada", "audited")
    ledger.close()


def test_what_is_new_or_gone_in_a_closed_month_is_adjusted_whole(place: Place) -> None:
    one, other = job(1), job(2, user="bob", account="chem")
    ledger = open_ledger(place)
    ledger.post(window(0, 24, [one], [usage(one, 1)]), RUN)
    close_month(ledger, "2026-10", BY)
    before = report(place)
    ledger.post(window(0, 24, [other], [usage(other, 2, 7200.0)]), RUN)
    ledger.close()
    assert report(place) == before
    with Books(place.url, place.password) as books:
        (to,) = adjustments_to(books, *OCTOBER)
    assert {group.key: group.gpu_energy_j for group in to.groups} == {"phys": -3600.0, "chem": 7200.0}
    assert {group.key: group.gpu_seconds for group in to.groups} == {"phys": -3600.0, "chem": 3600.0}


def test_a_job_that_moves_to_another_account_takes_its_closed_days_along_as_an_adjustment(place: Place) -> None:
    """Also what was adjusted before; by now it belongs to chem, and by the closed report to phys."""
    one = job(1, end_s=None)
    ledger = open_ledger(place)
    ledger.post(window(0, 24, [one], [usage(one, 1)]), RUN)
    close_month(ledger, "2026-10", BY)
    ledger.post(window(0, 24, [one], [usage(one, 1, 3000.0)]), RUN)
    before = report(place), report(place, "user")
    moved = replace(one, account="chem")
    ledger.post(window(48, 72, [moved], [usage(moved, 50, 500.0)]), RUN)
    assert (report(place), report(place, "user")) == before
    with Books(place.url, place.password) as books:
        found = adjustments_to(books, *OCTOBER)
        adjusted = {group.key: group.gpu_energy_j for entry in found for group in entry.groups}
        assert adjusted == {"phys": pytest.approx(-3600.0), "chem": pytest.approx(3000.0)}
        november = make_report(books, "2026-11-01", "2026-11-30", "account")
        assert [(group.key, group.gpu_energy_j) for group in november.groups] == [("chem", 500.0)]
    reopen_month(ledger, "2026-10", BY, PROGRAM)
    with Books(place.url, place.password) as books:
        october = make_report(books, *OCTOBER, "account")
        assert [(group.key, group.gpu_energy_j) for group in october.groups] == [("chem", 3600.0)]
        adjusted = {
            group.key: group.gpu_energy_j for entry in adjustments_to(books, *OCTOBER) for group in entry.groups
        }
        assert adjusted == {"phys": pytest.approx(0.0), "chem": pytest.approx(-600.0)}
    ledger.close()


def test_a_month_that_is_opened_again_takes_its_adjustments_home(place: Place) -> None:
    one = job(1)
    ledger = open_ledger(place)
    ledger.post(window(0, 24, [one], [usage(one, 1)], [balance(1, 4500.0, 900.0)]), RUN)
    close_month(ledger, "2026-10", BY)
    again = window(0, 24, [one], [usage(one, 1, 4800.0)], [balance(1, 4500.0, 0.0)])
    ledger.post(again, RUN)
    reopen_month(ledger, "2026-10", By("bob", "login1", "the audit was too early"), PROGRAM)
    ledger.post(again, RUN)
    with Books(place.url, place.password) as books:
        assert make_report(books, *OCTOBER, "account").groups[0].gpu_energy_j == 4800.0
        for entry in adjustments_to(books, *OCTOBER):
            assert entry.total.gpu_energy_j == pytest.approx(0.0)
            assert entry.total.co2e_location_g == pytest.approx(0.0)
        (month,) = months(books)
        assert [event.closed for event in month.events] == [True, False]
        assert not month.closed
    assert ledger.post(again, RUN).posted == 0
    ledger.close()


def test_a_month_is_closed_once_and_opened_once(place: Place) -> None:
    ledger = open_ledger(place)
    with pytest.raises(LedgerError, match="2026-10 is not closed"):
        reopen_month(ledger, "2026-10", BY, PROGRAM)
    close_month(ledger, "2026-10", BY)
    with pytest.raises(LedgerError, match="2026-10 is closed already"):
        close_month(ledger, "2026-10", BY)
    ledger.close()


def test_other_clusters_and_other_months_are_posted_as_ever(place: Place) -> None:
    one, other = job(1), job(1, cluster="beta")
    ledger = open_ledger(place)
    ledger.post(window(0, 24, [one], [usage(one, 1)]), RUN)
    ledger.post(window(0, 24, [other], [usage(other, 1)], cluster="beta"), RUN)
    close_month(ledger, "2026-10", BY)
    late = job(3, submit_s=one.submit_s + 50 * 3600, start_s=one.submit_s + 50 * 3600, end_s=None)
    ledger.post(window(48, 72, [late], [usage(late, 50)]), RUN)
    ledger.post(window(0, 24, [other], [usage(other, 1, 7200.0)], cluster="beta"), RUN)
    ledger.close()
    with Books(place.url, place.password) as books:
        assert make_report(books, "2026-11-01", "2026-11-30", "account").total.gpu_energy_j == 3600.0
        (to,) = adjustments_to(books, *OCTOBER, "cluster")
        assert {group.key: group.gpu_energy_j for group in to.groups} == {"beta": 3600.0}
