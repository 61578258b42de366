"""Budgets on books small enough to be counted by hand: 1 kWh of a GPU is 1.2 kWh of the facility and 120 g."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from accounting.accounts import Account, AccountTree
from accounting.budgets import Standing, counts_to, known_accounts, period_of, standings
from accounting.ledger.postings import UsageRow
from accounting.ledger.reading import Books
from accounting.ledger.store import Ledger
from accounting.model import Job
from accounting.report import make_report
from site_config.kept import KnownBudget
from tests.ledger.servers import Place
from tests.ledger.windows import HOST, RUN, job, usage, window
from tests.site import change

KWH_J = 3.6e6
UTC = ZoneInfo("UTC")


def budget(account: str = "phys", **changes: Any) -> KnownBudget:
    plain: dict[str, Any] = {
        "account": account, "cluster": None, "period": "month", "measure": "co2e_location_g", "limit": 1000.0,
        "first_month": None, "end_month": None, "warn_at": 0.8,
    }  # fmt: skip
    return KnownBudget(**plain | changes)


PHYS = job(1)
BIO = job(2, account="bio", user="bob")


@pytest.fixture
def here(tmp_path: Path) -> Place:
    """A ledger in a file."""
    return Place("sqlite", f"sqlite:///{tmp_path / 'ledger.db'}")


@pytest.fixture
def ledger(here: Place) -> Iterator[Ledger]:
    with closing(Ledger(here.url, "UTC")) as ledger:
        yield ledger


def post(ledger: Ledger, first: int, beyond: int, *rows: tuple[Job, UsageRow], since: int = 0, **where: Any) -> None:
    """The hours [first, beyond) from 30 October on; the books begin with hour `since`."""
    jobs = list({one.key: one for one, _ in rows}.values())
    ledger.post(window(first, beyond, jobs, [row for _, row in rows], booked=(since, beyond), **where), RUN)


def used(of: Job, slot: int, kwh: float = 1.0, **changes: Any) -> tuple[Job, UsageRow]:
    return of, usage(of, slot, kwh * KWH_J, **changes)


def stands(
    place: Place, *budgets: KnownBudget, month: str = "2026-10", clusters: tuple[str, ...] = ("alpha",)
) -> list[Standing]:
    asked = [(one, period) for one in budgets if (period := period_of(one, month))]
    with Books(place.url, place.password) as books:
        return standings(books, asked, UTC, clusters)


def test_what_is_used_and_where_the_pace_leads(ledger: Ledger, here: Place) -> None:
    """12 hours of 30 October are booked, and 36 are left of the month: 1 kWh in 12 h leads to 1 + 36/12 = 4 kWh."""
    post(ledger, 0, 12, used(PHYS, 0), used(BIO, 1, 5.0))
    found, energy, it = stands(
        here,
        budget(limit=400.0),
        budget(measure="facility_energy_j", limit=9 * KWH_J),
        budget(measure="it_energy_j", limit=9 * KWH_J),
    )
    assert found.used == pytest.approx(120.0)
    assert found.share == pytest.approx(0.3)
    assert found.expected == pytest.approx(480.0)
    assert found.passed_on == date(2026, 10, 31)  # 280 g more at 10 g an hour: 28 h after noon of the 30th
    assert (found.status, found.will_pass) == ("within", True)
    assert (found.booked_s, found.period_s) == (12 * 3600.0, 31 * 86400)
    assert found.coverage == pytest.approx(3500 / 3600)
    assert (energy.used, energy.expected) == (pytest.approx(1.2 * KWH_J), pytest.approx(4.8 * KWH_J))
    assert (it.used, it.expected) == (pytest.approx(KWH_J), pytest.approx(4 * KWH_J))
    assert (energy.will_pass, energy.passed_on) == (False, None)


@pytest.mark.parametrize(
    ("limit", "status"), [(120.001, "near"), (119.999, "passed"), (150.0, "near"), (150.1, "within")]
)
def test_a_limit_is_passed_by_more_than_it(ledger: Ledger, here: Place, limit: float, status: str) -> None:
    """120 g are used; from 80 % on it is said, and that is 150 g."""
    post(ledger, 0, 24, used(PHYS, 0))
    found, all_of_it = stands(here, budget(limit=limit), budget(measure="it_energy_j", limit=KWH_J))
    assert found.status == status
    assert found.passed_on is None or found.status != "passed"
    assert (all_of_it.used, all_of_it.status) == (KWH_J, "near")


def test_the_accounts_below_count_and_no_other(ledger: Ledger, here: Place) -> None:
    team, other = job(3, account="team"), job(4, account="other")
    post(ledger, 0, 24, used(PHYS, 0), used(team, 1), used(BIO, 2), used(other, 3))
    tree = {"root": None, "phys": "root", "team": "phys", "bio": "root"}
    ledger.keep_accounts(AccountTree("alpha", {name: Account(name, parent) for name, parent in tree.items()}))
    phys, one_team, root = stands(here, budget(), budget("team"), budget("root"))
    assert phys.accounts == ("phys", "team")
    assert (phys.used, one_team.used) == (pytest.approx(240.0), pytest.approx(120.0))
    assert root.used == pytest.approx(360.0)  # the account that is in no tree belongs to nobody above it
    with Books(here.url) as books:
        assert known_accounts(books) == ["bio", "other", "phys", "root", "team"]
        (counted,) = counts_to(books, [budget()]).values()
        assert counted == {"phys", "team"}


def test_the_sums_are_those_of_the_report(ledger: Ledger, here: Place) -> None:
    post(ledger, 0, 24, used(PHYS, 0, 0.7), used(PHYS, 3, 0.4, meter=HOST), used(BIO, 2))
    post(ledger, 24, 48, used(PHYS, 30, 2.3))
    post(ledger, 48, 60, used(PHYS, 50, 9.0))  # November
    measures = ("co2e_location_g", "facility_energy_j", "it_energy_j")
    found = stands(here, *(budget(measure=one) for one in measures))
    with Books(here.url) as books:
        report = make_report(books, "2026-10-01", "2026-10-31", "account", None)
    (phys,) = (group for group in report.groups if group.key == "phys")
    for one, measure in zip(found, measures, strict=True):
        assert one.used == pytest.approx(getattr(phys, measure), rel=1e-9), measure
        assert one.expected == pytest.approx(one.used), "October is booked to its end"


def test_a_year_is_twelve_months_from_january_or_from_where_it_begins(ledger: Ledger, here: Place) -> None:
    post(ledger, 0, 24, used(PHYS, 0))
    post(ledger, 24, 48, used(PHYS, 24))
    post(ledger, 48, 72, used(PHYS, 48))
    calendar, from_november, over = (
        budget(period="year"),
        budget(period="year", first_month="2025-11"),
        budget(period="year", first_month="2025-11", end_month="2026-11"),
    )
    year, other = stands(here, calendar, from_november, over, month="2026-11")
    assert (year.period.name, other.period.name) == ("2026", "2026-11 to 2027-10")
    assert (year.period.first_day, year.period.last_day) == (date(2026, 1, 1), date(2026, 12, 31))
    assert other.period.last_day == date(2027, 10, 31)
    assert (year.used, other.used) == (pytest.approx(360.0), pytest.approx(120.0))
    assert year.expected == pytest.approx(360 + 120 * 60)  # 60 days are left behind 1 November
    (before,) = stands(here, over, month="2026-10")
    assert (before.period.name, before.used) == ("2025-11 to 2026-10", pytest.approx(240.0))


def test_a_budget_that_does_not_hold_has_no_period() -> None:
    dated = budget(first_month="2026-03", end_month="2026-05")
    assert [period_of(dated, month) is not None for month in ("2026-02", "2026-03", "2026-04", "2026-05")] == [
        False, True, True, False,
    ]  # fmt: skip


def test_each_cluster_goes_on_at_its_own_pace_and_one_that_is_gone_does_not(ledger: Ledger, here: Place) -> None:
    beta = job(5, cluster="beta")
    post(ledger, 0, 12, used(PHYS, 0))  # 10 g an hour, 36 hours are left
    post(ledger, 0, 24, used(beta, 0), cluster="beta")  # 5 g an hour, 24 hours are left
    both, alpha = stands(here, budget(), budget(cluster="alpha"), clusters=("alpha", "beta"))
    assert (both.used, both.expected) == (pytest.approx(240), pytest.approx(240 + 36 * 10 + 24 * 5))
    assert both.booked_s == 12 * 3600.0
    assert (alpha.used, alpha.expected) == (pytest.approx(120), pytest.approx(480))
    (without,) = stands(here, budget(limit=300.0), clusters=("beta",))
    assert without.expected == pytest.approx(240 + 24 * 5)
    assert without.booked_s == 24 * 3600.0


def test_nothing_booked_is_not_nothing_used(ledger: Ledger, here: Place) -> None:
    post(ledger, 0, 24, used(PHYS, 0))
    (found,) = stands(here, budget(), month="2026-11")
    assert (found.used, found.share, found.expected, found.status, found.will_pass) == (
        None,
        None,
        None,
        "empty",
        False,
    )
    (nobody,) = stands(here, budget("nobody"))
    assert (nobody.used, nobody.coverage, nobody.status) == (0.0, None, "within")


def test_a_missing_factor_makes_it_unknown_unless_what_is_known_is_too_much(ledger: Ledger, here: Place) -> None:
    post(ledger, 0, 24, used(PHYS, 0, meter=HOST), used(PHYS, 1, location_g=None))
    low, high, energy = stands(
        here, budget(), budget(limit=100.0), budget(measure="facility_energy_j", limit=9 * KWH_J)
    )
    assert (low.used, low.expected, low.status) == (None, None, "unknown")
    assert low.known == pytest.approx(120.0)  # the host part, whose factor is known
    assert (high.status, high.will_pass) == ("passed", True)
    assert energy.used == pytest.approx(2.4 * KWH_J)


def test_what_is_found_out_about_closed_months_counts_where_it_is_posted(
    ledger: Ledger, here: Place, tmp_path: Path
) -> None:
    """October used 120 g, and 30 g more of September were found out in it; in November 7 g. The pace is the jobs'."""
    post(ledger, 0, 12, used(PHYS, 0), used(BIO, 1))
    ids = "SELECT payer_id FROM payers WHERE account = ?"
    for day, account, grams in (("2026-10-30", "phys", 30), ("2026-11-01", "phys", 7), ("2026-10-30", "bio", 99)):
        change(
            tmp_path / "ledger.db",
            "INSERT INTO adjustments SELECT COALESCE(MAX(adjustment_id), 0) + 1, 1, ?, '2026-09-03', 0, 1, 1, "
            f"({ids}), 0, 3.6e6, 4.32e6, ?, 0, 0 FROM adjustments",
            day,
            account,
            grams,
        )
    grams, energy = stands(here, budget(), budget(measure="facility_energy_j", limit=9 * KWH_J))
    assert (grams.used, grams.known) == (pytest.approx(150.0), pytest.approx(150.0))
    assert grams.expected == pytest.approx(150 + 36 * 10)
    assert energy.used == pytest.approx(2.4 * KWH_J)
    (year,) = stands(here, budget(period="year"))
    assert year.used == pytest.approx(157.0)


def adjust(folder: Path, *differences: tuple[str, float]) -> None:
    """Post so many grams of closed months' to phys on these days; as many J at the facility, and none of IT energy."""
    for day, grams in differences:
        change(
            folder / "ledger.db",
            "INSERT INTO adjustments SELECT COALESCE(MAX(adjustment_id), 0) + 1, 1, ?, '2026-09-03', 0, 1, 1, "
            "(SELECT payer_id FROM payers WHERE account = 'phys'), 0, 0, ?, ?, 0, 0 FROM adjustments",
            day,
            grams,
            grams,
        )


def test_adjustments_alone_are_known(ledger: Ledger, here: Place, tmp_path: Path) -> None:
    """Of November nothing is booked, but 40 g less of September were found in it: -10 % of 400 g. There is no pace."""
    post(ledger, 0, 12, used(PHYS, 0))
    adjust(tmp_path, ("2026-11-02", -40.0))
    grams, energy = stands(here, budget(limit=400.0), budget(measure="it_energy_j", limit=KWH_J), month="2026-11")
    assert (grams.used, grams.share, grams.status) == (pytest.approx(-40.0), pytest.approx(-0.1), "within")
    assert (energy.used, energy.share) == (0.0, 0.0)
    assert (grams.expected, grams.passed_on, grams.will_pass, grams.booked_s) == (None, None, False, 0.0)


def test_differences_that_cancel_out_are_nothing(ledger: Ledger, here: Place, tmp_path: Path) -> None:
    """0.1 + 0.2 - 0.3 is 5.6e-17 in floating point, which is no use of a budget."""
    post(ledger, 0, 12, used(PHYS, 0))
    adjust(tmp_path, ("2026-11-02", 0.1), ("2026-11-03", 0.2), ("2026-11-04", -0.3))
    (found,) = stands(here, budget(limit=400.0), month="2026-11")
    assert (found.used, found.share) == (0.0, 0.0)


def test_many_accounts_are_asked_for_at_once(ledger: Ledger, here: Place) -> None:
    post(ledger, 0, 24, used(PHYS, 0))
    found = stands(here, *(budget(f"nobody-{number}") for number in range(600)), budget())
    assert [one.used for one in found[:600]] == [0.0] * 600
    assert found[600].used == pytest.approx(120.0)


def test_every_database_gives_the_same_answer(place: Place) -> None:
    with closing(Ledger(place.url, "UTC", place.password)) as ledger:
        post(ledger, 0, 12, used(PHYS, 0), used(BIO, 1, 5.0), used(PHYS, 2, location_g=None))
        ledger.keep_accounts(AccountTree("alpha", {"phys": Account("phys", None), "bio": Account("bio", "phys")}))
    energy, grams = stands(place, budget(measure="facility_energy_j", limit=9 * KWH_J), budget())
    assert (energy.used, energy.expected) == (pytest.approx(8.4 * KWH_J), pytest.approx(33.6 * KWH_J))
    assert energy.passed_on == date(2026, 10, 30)
    assert (grams.used, grams.status) == (None, "unknown")
