"""What a report says beside its sums: by hand on small books, and over random histories, on each database."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounting.document import Document, Period, make_document
from accounting.ledger.postings import BalanceRow
from accounting.ledger.reading import Books
from accounting.ledger.store import Ledger
from accounting.model import FactorSlot, Reject
from accounting.report import GROUPINGS, Chosen
from accounting.sections import Stretch, silent_gpus
from site_config.kept import KnownSite, load_kept
from tests.ledger.servers import Place
from tests.ledger.windows import GPU, HOST, OTHER, RUN, START_S, UNNAMED, balance, history, job, usage, window

KWH = 3.6e6
HOUR_S, DAY_S = 3600, 86_400
UTC_ZONE = ZoneInfo("UTC")
OCTOBER = Period.of("month", date(2026, 10, 1))
NOVEMBER = Period.of("month", date(2026, 11, 1))
#: 1 November, noon.
NOW_S = START_S + 2 * DAY_S + 12 * HOUR_S

SITE = """\
site: {name: Example HPC, timezone: UTC}
ledger: sqlite:///ledger.db
clusters: {alpha: {jobs: {source: sacct}, gpu: {prometheus: {url: "http://127.0.0.1:9"}}}}
pue: 1.2
grid: {zone: FRA}
budgets: [{account: phys, period: month, kwh: 10}]
"""

FIRST = job(1, state="NODE_FAIL")
AGAIN = replace(FIRST, submit_s=START_S + 20 * HOUR_S, end_s=START_S + 26 * HOUR_S, state="COMPLETED")
BOB = job(2, label="7_2", user="bob", account="chem", state="FAILED")
EVE = job(3, user="eve", gpus=0)


@pytest.fixture
def config(tmp_path: Path) -> KnownSite:
    path = tmp_path / "site.yaml"
    path.write_text(SITE)
    return load_kept(path)


@pytest.fixture
def here(tmp_path: Path) -> Place:
    """Where a ledger can be, for what does not differ between databases."""
    return Place("sqlite", f"sqlite:///{tmp_path / 'ledger.db'}")


@pytest.fixture
def books(here: Place) -> Iterator[Books]:
    yield from filled(here)


def filled(place: Place) -> Iterator[Books]:
    """Two days at the end of October: job 1 in two runs (1 and 2 kWh), bob's 2 kWh, eve's 0.5 kWh without GPUs."""
    ledger = Ledger(place.url, "UTC", place.password)
    rows = [
        usage(FIRST, 0, KWH), usage(BOB, 1, 2 * KWH, OTHER, method="power"),
        usage(EVE, 1, 0.5 * KWH, HOST, method="model"),
    ]  # fmt: skip
    first = window(
        0, 24, [FIRST, BOB, EVE], rows,
        [balance(0, 1.25 * KWH, 0.25 * KWH), balance(1, 2 * KWH, 0.0, OTHER)],
        [Reject("sacct", "line 7", "x|y", "too few fields")],
    )  # fmt: skip
    slots = [
        FactorSlot(START_S, START_S + 18 * HOUR_S, 90.0, "a service", False, "direct", 5.0),
        FactorSlot(START_S + 18 * HOUR_S, START_S + 24 * HOUR_S, 130.0, "the table of 2025", True),
    ]
    ledger.post(replace(first, factors=[("location", slot) for slot in slots]), RUN)
    ledger.post(
        window(24, 48, [AGAIN], [usage(AGAIN, 24, 2 * KWH)], [balance(24, 2.5 * KWH, 0.5 * KWH)], booked=(0, 48)), RUN
    )
    ledger.close()
    with Books(place.url, place.password) as opened:
        yield opened


def document(
    books: Books, config: KnownSite, period: Period = OCTOBER, by: str = "account", chosen: Chosen | None = None
) -> Document:
    return make_document(books, config, period, by, chosen, now_s=NOW_S, top=10)


def kwh(energy_j: float | None) -> float | None:
    return None if energy_j is None else pytest.approx(energy_j / KWH, rel=1e-12)


def test_all_that_it_says_by_hand(place: Place, config: KnownSite) -> None:
    for books in filled(place):
        _all_that_it_says(books, config)
        _of_chosen_accounts_or_users_alone(books, config)


def _all_that_it_says(books: Books, config: KnownSite) -> None:
    made = document(books, config)
    assert [(group.key, group.jobs, kwh(group.it_energy_j)) for group in made.groups] == [
        ("phys", 2, 3.5),
        ("chem", 1, 2.0),
    ]
    assert made.idle is not None
    assert (kwh(made.idle.it_energy_j), kwh(made.total.it_energy_j)) == (0.75, 6.25)
    assert made.total.co2e_location_g == pytest.approx(6.25 * 120)

    days = [(point.first_day.day, kwh(point.jobs_energy_j), kwh(point.idle_energy_j)) for point in made.points or ()]
    assert days == [(30, 3.5, 0.25), (31, 2.0, 0.5)]
    assert [point.jobs_co2e_g for point in made.points or ()] == [pytest.approx(420), pytest.approx(240)]

    top = [(one.job_id, one.user, one.state, kwh(one.it_energy_j), one.gpu_seconds) for one in made.top_jobs or ()]
    assert top == [
        ("1", "ada", "COMPLETED", 3.0, 7200.0), ("7_2", "bob", "FAILED", 2.0, 3600.0),
        ("3", "eve", "COMPLETED", 0.5, 0.0),
    ]  # fmt: skip

    assert made.waste is not None
    lost = [(one.state, one.runs, kwh(one.it_energy_j), one.co2e_location_g) for one in made.waste.lost]
    assert lost == [("FAILED", 1, 2.0, pytest.approx(240)), ("NODE_FAIL", 1, 1.0, pytest.approx(120))]

    methods = {(one.kind, one.method): one.share for one in made.methods or ()}
    assert methods == {
        ("gpu", "counter"): pytest.approx(0.6),
        ("gpu", "power"): pytest.approx(0.4),
        ("host", "model"): 1.0,
    }
    assert made.modelled_share == pytest.approx(0.5 / 5.5)

    (gpus,) = made.reconciliation
    assert (gpus.kind, kwh(gpus.metered_j), kwh(gpus.attributed_j), kwh(gpus.idle_j)) == ("gpu", 5.75, 5.0, 0.75)
    assert gpus.unmetered_j == pytest.approx(0.0, abs=1e-3)

    shares = {
        (one.source, one.basis): (one.share, one.estimated_share) for one in made.factors if one.kind == "location"
    }
    assert shares == {("a service", "direct"): (0.75, 0.0), ("the table of 2025", None): (0.25, 1.0)}

    assert made.not_accounted == (Stretch("alpha", START_S - 29 * DAY_S, START_S),)
    assert made.quarantined == 1
    assert (made.before, made.year_before) == (None, None)
    (budget,) = made.budgets
    assert (budget.budget.account, kwh(budget.used)) == ("phys", pytest.approx(3.5 * 1.2))


def _of_chosen_accounts_or_users_alone(books: Books, config: KnownSite) -> None:
    made = document(books, config, chosen=Chosen(accounts=["phys"]), by="user")
    assert [(group.key, kwh(group.it_energy_j)) for group in made.groups] == [("ada", 3.0), ("eve", 0.5)]
    assert made.idle is None
    assert kwh(made.total.it_energy_j) == 3.5
    assert made.total.jobs == 2
    assert [(one.first_day.day, kwh(one.jobs_energy_j), one.idle_energy_j) for one in made.points or ()] == [
        (30, 1.5, None), (31, 2.0, None),
    ]  # fmt: skip
    assert [one.job_id for one in made.top_jobs or ()] == ["1", "3"]
    assert made.waste is not None
    assert [one.state for one in made.waste.lost] == ["NODE_FAIL"]
    assert {(one.kind, one.method) for one in made.methods or ()} == {("gpu", "counter"), ("host", "model")}
    assert made.reconciliation == ()
    assert [one.budget.account for one in made.budgets] == ["phys"]

    nobody = document(books, config, chosen=Chosen(accounts=["phys"], users=["bob"]))
    assert (nobody.groups, nobody.total.it_energy_j, nobody.top_jobs, nobody.budgets) == ((), None, (), ())


def test_what_was_not_asked_for_is_not_looked_for(books: Books, config: KnownSite) -> None:
    made = make_document(books, config, OCTOBER, now_s=NOW_S)
    assert (made.points, made.top_jobs, made.waste, made.methods) == (None, None, None, None)
    assert make_document(books, config, OCTOBER, now_s=NOW_S, top=1).top_jobs == document(books, config).top_jobs[:1]  # type: ignore[index]


def test_compared_with_the_period_before(books: Books, config: KnownSite) -> None:
    """Of October the books have 2 of 31 days; of a pair of days all."""
    november = document(books, config, NOVEMBER)
    assert november.before is not None
    assert november.before.period == OCTOBER
    assert kwh(november.before.total.it_energy_j) == 6.25
    assert november.before.accounted == pytest.approx(2 / 31)
    assert not november.comparable(november.before)
    assert november.accounted == pytest.approx(0.0)
    day = Period("days", date(2026, 10, 31), date(2026, 10, 31))
    last = document(books, config, day)
    assert last.before is not None
    assert (kwh(last.before.total.it_energy_j), last.before.accounted) == (3.75, 1.0)
    assert last.comparable(last.before)
    assert last.accounted == 1.0
    narrowed = document(books, config, day, chosen=Chosen(accounts=["chem"])).before
    assert narrowed is not None
    assert kwh(narrowed.total.it_energy_j) == 2.0


def test_the_time_to_come_is_not_missing(books: Books, config: KnownSite) -> None:
    """It is noon of 1 November, and the books end with October."""
    found = document(books, config, NOVEMBER)
    assert found.not_accounted == (Stretch("alpha", START_S + 2 * DAY_S, NOW_S),)
    assert found.accounted == 0.0


def test_quarantine_is_told_by_the_period_that_it_belongs_to(books: Books, config: KnownSite) -> None:
    days = [Period("days", date(2026, 10, day), date(2026, 10, day)) for day in (30, 31)]
    assert [document(books, config, day).quarantined for day in days] == [1, 0]


def test_gpus_that_were_held_and_hardly_used(place: Place, config: KnownSite) -> None:
    """A GPU is idle for a day at 50 W. On others of its model one job draws 60 W, one 80 W, one 50 W for 9 minutes."""
    ledger = Ledger(place.url, "UTC", place.password)
    idle = [
        BalanceRow(
            OTHER.key, START_S + hour * HOUR_S, "counter", 3600.0, 3600.0, 180e3, 3600.0, 180e3, 216e3, 6.0, None, 0.0
        )
        for hour in range(24)
    ]  # fmt: skip
    jobs = [job(number) for number in (1, 2, 3)]
    like = replace(GPU, model=OTHER.model)
    rows = [
        usage(jobs[0], 1, 60.0 * 3600, like), usage(jobs[1], 2, 80.0 * 3600, like),
        usage(jobs[2], 3, 50.0 * 540, like, held_s=540.0, known_s=540.0),
    ]  # fmt: skip
    made = window(0, 24, jobs, rows, idle)
    ledger.post(replace(made, meters=[like, OTHER]), RUN)
    ledger.close()
    with Books(place.url, place.password) as books:
        waste = document(books, config).waste
    assert waste is not None
    assert waste.hardly_used is not None
    found = waste.hardly_used
    assert (found.runs, found.gpu_seconds, found.energy_j, found.level_assumed) == (
        1,
        3600.0,
        pytest.approx(216e3),
        False,
    )


def test_an_idle_level_that_was_never_seen_is_assumed(here: Place, config: KnownSite) -> None:
    """12 % of an A100's rated 400 W are 48 W: 60 W is hardly more."""
    ledger = Ledger(here.url, "UTC", here.password)
    one = job(1)
    model = replace(GPU, model="NVIDIA A100-SXM4-80GB")
    made = window(0, 24, [one], [usage(one, 1, 60.0 * 3600, model)], [balance(1, 60.0 * 3600, 0.0)])
    ledger.post(replace(made, meters=[model]), RUN)
    ledger.close()
    with Books(here.url, here.password) as books:
        waste = document(books, config).waste
    assert waste is not None
    assert waste.hardly_used is not None
    assert (waste.hardly_used.runs, waste.hardly_used.level_assumed) == (1, True)


def test_where_no_idle_level_is_known_nothing_is_said(here: Place, config: KnownSite) -> None:
    ledger = Ledger(here.url, "UTC", here.password)
    one, model = job(1), replace(GPU, model="of no table")
    ledger.post(replace(window(0, 24, [one], [usage(one, 1, 60.0 * 3600, model)]), meters=[model]), RUN)
    ledger.close()
    with Books(here.url, here.password) as books:
        waste = document(books, config).waste
    assert waste is not None
    assert (waste.lost, waste.hardly_used) == ((), None)


def test_a_run_of_another_account_is_not_on_this_ones_page(here: Place, config: KnownSite) -> None:
    """1 kWh of the job's first run were for phys, 2 kWh of its second one for chem."""
    ledger = Ledger(here.url, "UTC", here.password)
    again = replace(AGAIN, account="chem")
    ledger.post(window(0, 24, [FIRST], [usage(FIRST, 0, KWH)]), RUN)
    ledger.post(window(24, 48, [again], [usage(again, 24, 2 * KWH)], booked=(0, 48)), RUN)
    ledger.close()
    with Books(here.url) as books:
        pages = [document(books, config, chosen=chosen) for chosen in (None, Chosen(accounts=["phys"]))]
    top = [[(one.account, kwh(one.it_energy_j)) for one in page.top_jobs or ()] for page in pages]
    assert top == [[("chem", 3.0)], [("phys", 1.0)]]


def test_jobs_of_unknown_energy_are_not_among_the_largest(here: Place, config: KnownSite) -> None:
    ledger = Ledger(here.url, "UTC", here.password)
    one, other = job(1), job(2)
    ledger.post(window(0, 24, [one, other], [usage(one, 1, None, UNNAMED), usage(other, 1, 5.0, location_g=None)]), RUN)
    ledger.close()
    with Books(here.url, here.password) as books:
        made = document(books, config)
    assert [(job.job_id, job.it_energy_j, job.co2e_location_g) for job in made.top_jobs or ()] == [("2", 5.0, None)]
    assert made.points is not None
    assert (made.points[0].jobs_energy_j, made.points[0].jobs_co2e_g) == (5.0, None)


def test_over_a_random_history(place: Place, config: KnownSite) -> None:
    """Months make the year, days the month, every grouping the same total, and points the jobs and the idle line."""
    ledger = Ledger(place.url, "UTC", place.password)
    for one in history(1):
        ledger.post(one, RUN)
    ledger.close()
    with Books(place.url, place.password) as books:
        year = document(books, config, Period.of("year", date(2026, 1, 1)))
        months = [document(books, config, Period.of("month", date(2026, number, 1))) for number in (10, 11)]
        quarter = document(books, config, Period.of("quarter", date(2026, 12, 1)))
        days = [
            document(books, config, Period("days", day, day))
            for day in (date(2026, 10, 30), date(2026, 10, 31), date(2026, 11, 1), date(2026, 11, 2))
        ]
        by = [document(books, config, Period.of("year", date(2026, 1, 1)), by=by) for by in (*GROUPINGS, "tag:phase")]
    for parts in (months, days, [quarter]):
        assert figures([part.total for part in parts]) == pytest.approx(figures([year.total]), rel=1e-9)
    for one in by:
        assert figures([one.total]) == pytest.approx(figures([year.total]), rel=1e-9)
        assert one.idle is not None
        assert figures([*one.groups, one.idle]) == pytest.approx(figures([one.total]), rel=1e-9)
        assert one.total.jobs == year.total.jobs
    assert year.step == "month"
    for one in (year, *months, *days):
        assert sum(point.jobs_energy_j or 0.0 for point in one.points or ()) == pytest.approx(
            sum(group.it_energy_j or 0.0 for group in one.groups), rel=1e-9
        )
        assert one.idle is not None
        assert sum(point.idle_energy_j or 0.0 for point in one.points or ()) == pytest.approx(
            one.idle.it_energy_j or 0.0, rel=1e-9
        )
    assert year.top_jobs is not None
    energies = [job.it_energy_j for job in year.top_jobs]
    assert energies == sorted(energies, reverse=True)


def figures(parts: list) -> list[float]:  # type: ignore[type-arg]
    """The additive figures of several sums together; what is unknown in one is left out of all comparisons."""
    names = ("gpu_seconds", "gpu_energy_j", "host_energy_j", "it_energy_j", "co2e_embodied_g")
    return [sum(getattr(part, name) or 0.0 for part in parts) for name in names]


DAYS = st.dates(date(2000, 1, 1), date(2090, 12, 31))


@given(st.sampled_from(["month", "quarter", "year"]), DAYS)
def test_periods_follow_each_other(kind: str, day: date) -> None:
    period = Period.of(kind, day)  # type: ignore[arg-type]
    assert period.first_day <= day <= period.last_day
    before = period.before()
    assert (period.first_day - before.last_day).days == 1
    assert before.kind == kind
    assert Period.of(kind, before.last_day) == before  # type: ignore[arg-type]
    earlier = period.year_before()
    assert (earlier.first_day.month, earlier.first_day.year) == (period.first_day.month, period.first_day.year - 1)
    assert period.bounds(UTC_ZONE)[0] == before.bounds(UTC_ZONE)[1]


@pytest.mark.parametrize(
    ("period", "name", "before", "year_before"),
    [
        (Period.of("month", date(2024, 3, 31)), "2024-03", "2024-02", "2023-03"),
        (Period.of("quarter", date(2026, 2, 1)), "2026-Q1", "2025-Q4", "2025-Q1"),
        (Period.of("year", date(2026, 2, 1)), "2026", "2025", "2025"),
        (
            Period("days", date(2026, 3, 1), date(2026, 3, 7)),
            "2026-03-01..2026-03-07", "2026-02-22..2026-02-28", "2025-03-01..2025-03-07",
        ),
        (
            Period("days", date(2024, 2, 29), date(2024, 2, 29)),
            "2024-02-29..2024-02-29", "2024-02-28..2024-02-28", "2023-02-28..2023-02-28",
        ),
    ],
)  # fmt: skip
def test_periods_by_hand(period: Period, name: str, before: str, year_before: str) -> None:
    assert (period.name, period.before().name, period.year_before().name) == (name, before, year_before)


def test_a_month_of_a_zone_whose_clock_is_set() -> None:
    """October in Paris has 745 hours."""
    start_s, end_s = OCTOBER.bounds(ZoneInfo("Europe/Paris"))
    assert end_s - start_s == 745 * HOUR_S
    assert start_s == datetime(2026, 9, 30, 22, tzinfo=UTC).timestamp()


def test_gpus_that_fell_silent_are_counted(place: Place) -> None:
    """Both GPUs send on 30 October, one on the 31st and on 1 November, and then the other one again."""
    ledger = Ledger(place.url, "UTC", place.password)
    for day, meters in enumerate(((GPU, OTHER), (GPU,), (GPU,))):
        rows = [balance(24 * day, KWH, KWH, meter) for meter in meters]
        ledger.post(window(24 * day, 24 * day + 24, balances=rows, booked=(0, 24 * day + 24)), RUN)

    def silent(first: date, last: date, cluster: str = "alpha") -> int:
        with Books(place.url, place.password) as books:
            return silent_gpus(books, [cluster], first, last)

    assert silent(date(2026, 10, 30), date(2026, 10, 30)) == 0
    assert silent(date(2026, 10, 1), date(2026, 10, 31)) == 1
    assert silent(date(2026, 11, 1), date(2026, 11, 30)) == 1  # silent in all of what the books have of it
    assert silent(date(2026, 11, 2), date(2026, 11, 30)) == 0  # the books have nothing of it
    assert silent(date(2026, 10, 1), date(2026, 10, 31), "beta") == 0
    ledger.post(window(72, 96, balances=[balance(72, KWH, KWH, OTHER), balance(72, KWH, KWH)], booked=(0, 96)), RUN)
    ledger.close()
    assert silent(date(2026, 11, 1), date(2026, 11, 30)) == 0
