"""From joules to grams by hand: E × PUE × intensity, slot by slot, through a whole run into the books.

The site is in Paris. Its GPU draws 300 W while the job holds it, and 60 W while nobody does; the job's host part is
a model's 70 W. Every figure below is worked out in the test's own words, in kWh and g/kWh.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from accounting.booking import Accounted, Rules, Sources, account
from accounting.clock import day_start
from accounting.host import HostModel
from accounting.jobs import JobFilter, JobUsage, list_jobs
from accounting.ledger.reading import Books
from accounting.ledger.store import Ledger
from accounting.model import Device, FactorSlot, GpuSamples, Job, Node, Tag
from accounting.report import Report, make_report
from accounting.sources import Factors
from collectors.grid.declared import market_slots, pue_slots
from site_config.factors import DatedContract, PuePeriod

PARIS = ZoneInfo("Europe/Paris")
DAY = date(2026, 10, 1)
STEP_S = 60.0
BUSY_W, IDLE_W = 300.0, 60.0
#: 8 cores at 4 W, 100 GB (95,367.4… MiB) at 0.38 W.
HOST_W, CPUS, MEMORY_MB = 70.0, 8, 95_367.431640625

#: 273 kg over five years of 365.25 days.
EMBODIED_G_PER_S = 273_000.0 / 157_788_000.0


def at(day: date, clock: str) -> float:
    """An instant of the site's clock."""
    return datetime.fromisoformat(f"{day}T{clock}").replace(tzinfo=PARIS).timestamp()


@dataclass
class Site:
    """One GPU, and one job that holds it from `start` to `end`."""

    start_s: float
    end_s: float
    factors: Factors

    def jobs(self, start_s: float, end_s: float) -> Iterator[Job]:
        start, end = int(self.start_s), int(self.end_s)
        job = Job(
            "alpha", 7, start - 60, "7", "COMPLETED", start, end, user="ada", account="phys", nodes=("n1",),
            cpus=CPUS, memory_mb=MEMORY_MB, gpus=1,
        )  # fmt: skip
        if start < end_s and start_s < end:
            yield job

    def samples(self, start_s: float, end_s: float, uuids: Collection[str] | None = None) -> Iterator[GpuSamples]:
        """The counter at every whole minute: in full windows before, in and after the job, each at one power."""
        time_s = np.arange(np.ceil(start_s / STEP_S) * STEP_S, end_s + 1, STEP_S)
        busy_s = np.clip(time_s, self.start_s, self.end_s) - self.start_s
        origin_s = self.start_s - 30 * 86_400
        energy_j = IDLE_W * (time_s - origin_s) + (BUSY_W - IDLE_W) * busy_s
        yield GpuSamples(Device("alpha", "GPU-1", "n1", "A100", 0), time_s, energy_j, np.zeros(0), np.zeros(0))

    def tags(self, start_s: float, end_s: float, jobs: Sequence[Job], samples: Sequence[GpuSamples]) -> Iterator[Tag]:
        for job in jobs:
            yield Tag("alpha", job.job_id, "n1", "GPU-1", 0, self.start_s, self.end_s, "journal")

    def nodes(self) -> Mapping[str, Node]:
        return {}

    name = "journal"


RULES = Rules(
    zone=PARIS,
    max_gap_s=600.0,
    host=HostModel(4.0, 0.38),
    embodied_gpu_g=273_000.0,
    embodied_gpu_model_g={},
    lifetime_years=5.0,
)


@dataclass
class Accountant:
    """The books of a test, and the runs over them."""

    url: str
    ledger: Ledger

    def run(self, site: Site, start_s: float, end_s: float) -> Accounted:
        sources = Sources(site, site, [site], None, site, lambda a, b: site.factors)  # type: ignore[arg-type]
        return account("alpha", sources, RULES, self.ledger, start_s, end_s, version="test", config_digest="test")

    def day(self, site: Site, day: date = DAY) -> Accounted:
        return self.run(site, day_start(PARIS, day), day_start(PARIS, day + timedelta(days=1)))

    @property
    def books(self) -> Books:
        return Books(self.url)

    def job(self) -> JobUsage:
        with self.books as books:
            (job,) = list_jobs(books, JobFilter())
        return job

    def report(self, day: date = DAY) -> Report:
        with self.books as books:
            return make_report(books, day.isoformat(), day.isoformat(), "account", None)

    def used(self, kind: str, *columns: str) -> list[tuple[Any, ...]]:
        """The postings in force of GPU or host, in order of time."""
        with self.books as books:
            rows = books.rows(
                "SELECT * FROM usage_slots JOIN meters ON meters.meter_id = usage_slots.meter_id "
                "WHERE superseded_by IS NULL AND kind = :kind ORDER BY slot_s",
                {"kind": kind},
            )
        return [tuple(row[column] for column in columns) for row in rows]


@pytest.fixture
def accountant(tmp_path: Path) -> Iterator[Accountant]:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    ledger = Ledger(url, "Europe/Paris")
    yield Accountant(url, ledger)
    ledger.close()


def hourly(day: date, value: Callable[[int], float], but: Collection[int] = (), **more: Any) -> list[FactorSlot]:
    """An intensity for each hour of a day, by the number of the hour since midnight."""
    start_s, end_s = day_start(PARIS, day), day_start(PARIS, day + timedelta(days=1))
    hours = range((end_s - start_s) // 3600)
    return [
        FactorSlot(start_s + hour * 3600, start_s + (hour + 1) * 3600, value(hour), "meter of the grid", **more)
        for hour in hours
        if hour not in but
    ]


def pue_that_changes_at_noon(day: date = DAY) -> tuple[FactorSlot, ...]:
    noon = datetime.fromisoformat(f"{day}T12:00").replace(tzinfo=PARIS)
    periods = (
        PuePeriod(**{"from": noon - timedelta(days=30), "to": noon}, value=1.2),
        PuePeriod(**{"from": noon}, value=1.5),
    )
    return pue_slots(periods, day_start(PARIS, day), day_start(PARIS, day + timedelta(days=1)))


def contracts_that_change_at_one(day: date = DAY) -> tuple[FactorSlot, ...]:
    """Until 13:00, four fifths at 12 g/kWh and the rest at 60: 21.6 g/kWh. From then on all of it at 5 g/kWh."""
    one = datetime.fromisoformat(f"{day}T13:00").replace(tzinfo=PARIS)
    contracts = (
        DatedContract(
            **{"from": one - timedelta(days=9), "to": one}, factor_g_per_kwh=12, coverage=0.8, residual_mix_g_per_kwh=60
        ),
        DatedContract(**{"from": one}, factor_g_per_kwh=5),
    )
    return market_slots(contracts, day_start(PARIS, day), day_start(PARIS, day + timedelta(days=1)))


def the_day(**changes: Any) -> Site:
    """A job from 10:30 to 13:15; the intensity of hour h is 20 + 10 h g/kWh."""
    factors = Factors(
        pue=pue_that_changes_at_noon(),
        location=hourly(DAY, lambda hour: 20.0 + 10.0 * hour),
        market=contracts_that_change_at_one(),
    )
    return Site(at(DAY, "10:30"), at(DAY, "13:15"), replace(factors, **changes))


#: Of the job, hour by hour from 10:00 on: kWh of a device of 1 kW, PUE, gCO2e/kWh of the grid, of the contracts.
PARTS = [
    (0.5, 1.2, 120.0, 21.6),
    (1.0, 1.2, 130.0, 21.6),
    (1.0, 1.5, 140.0, 21.6),
    (0.25, 1.5, 150.0, 5.0),
]


def exactly(value: float) -> Any:
    return pytest.approx(value, rel=1e-9, abs=0)


def test_a_job_across_noon(accountant: Accountant) -> None:
    """0.3 kW × (0.5 × 1.2 × 120 + 1 × 1.2 × 130 + 1 × 1.5 × 140 + 0.25 × 1.5 × 150) = 148.275 g; so with all others."""
    accountant.day(the_day())
    job = accountant.job()
    assert job.gpu_energy_j == exactly(0.3 * 2.75 * 3.6e6)
    assert job.host_energy_j == exactly(0.07 * 2.75 * 3.6e6)
    assert job.it_energy_j == exactly(0.37 * 2.75 * 3.6e6)
    assert job.facility_energy_j == exactly(0.37 * (0.6 + 1.2 + 1.5 + 0.375) * 3.6e6)
    assert job.co2e_location_g == exactly(148.275 + 34.5975)
    assert job.co2e_market_g == exactly(0.37 * (0.6 * 21.6 + 1.2 * 21.6 + 1.5 * 21.6 + 0.375 * 5.0))
    assert job.co2e_embodied_g == exactly(9900 * EMBODIED_G_PER_S)
    assert job.pue == exactly(3.675 / 2.75)
    assert job.intensity_g_per_kwh == exactly((148.275 + 34.5975) / (0.37 * 3.675))
    assert (job.coverage, job.method) == (1.0, "counter")


@pytest.mark.parametrize(("kind", "kilowatts"), [("gpu", 0.3), ("host", 0.07)])
def test_gpu_and_host_hour_by_hour(accountant: Accountant, kind: str, kilowatts: float) -> None:
    accountant.day(the_day())
    rows = accountant.used(kind, "energy_j", "facility_j", "location_g", "market_g")
    assert len(rows) == len(PARTS)
    for (energy_j, facility_j, location_g, market_g), (hours, pue, grid, contract) in zip(rows, PARTS, strict=True):
        kwh = kilowatts * hours
        assert energy_j == exactly(kwh * 3.6e6)
        assert facility_j == exactly(kwh * pue * 3.6e6)
        assert location_g == exactly(kwh * pue * grid)
        assert market_g == exactly(kwh * pue * contract)


def test_what_nobody_held_and_the_total(accountant: Accountant) -> None:
    """The GPU's other 21.25 h at 60 W are the site's idle line, by the same factors."""
    accountant.day(the_day())
    report = accountant.report()
    location_g = market_g = 0.0
    for hour in range(24):
        held = {10: 0.5, 11: 1.0, 12: 1.0, 13: 0.25}.get(hour, 0.0)
        facility_kwh = 0.06 * (1 - held) * (1.2 if hour < 12 else 1.5)
        location_g += facility_kwh * (20 + 10 * hour)
        market_g += facility_kwh * (21.6 if hour < 13 else 5.0)
    assert report.idle.gpu_energy_j == exactly(0.06 * 21.25 * 3.6e6)
    assert report.idle.co2e_location_g == exactly(location_g)
    assert report.idle.co2e_market_g == exactly(market_g)
    assert report.idle.co2e_embodied_g == exactly(21.25 * 3600 * EMBODIED_G_PER_S)
    job = accountant.job()
    assert job.co2e_location_g is not None
    assert report.total.co2e_location_g == exactly(location_g + job.co2e_location_g)
    assert report.total.co2e_embodied_g == exactly(86_400 * EMBODIED_G_PER_S)


def test_means_would_give_another_figure() -> None:
    """What the integral is for: the day's mean PUE and intensity are some per cent off."""
    by_means = 0.3 * 2.75 * (1.2 + 1.5) / 2 * (20 + 10 * 11.5)
    assert abs(by_means / 148.275 - 1) > 0.01


def test_factors_that_change_inside_an_hour(accountant: Accountant) -> None:
    """A grid in quarters of an hour: 300 W for 15 minutes each at 100, 200, 300 and 400 g/kWh, PUE 1."""
    start_s = day_start(PARIS, DAY)
    quarters = [FactorSlot(start_s + q * 900, start_s + (q + 1) * 900, 100.0 * (q % 4 + 1), "grid") for q in range(96)]
    site = the_day(location=quarters, pue=[FactorSlot(start_s, start_s + 86_400, 1.0, "site")])
    accountant.day(replace(site, start_s=at(DAY, "10:00"), end_s=at(DAY, "11:00")))
    ((location_g,),) = accountant.used("gpu", "location_g")
    assert location_g == exactly(0.3 * 0.25 * (100 + 200 + 300 + 400))


def test_a_day_of_23_hours(accountant: Accountant) -> None:
    """On 29 March 2026 Paris goes from 02:00 to 03:00. A job from 01:00 to 04:00 by the clock lasts two hours."""
    day = date(2026, 3, 29)
    grid = hourly(day, lambda hour: 100.0 + hour)
    assert len(grid) == 23
    site = Site(at(day, "01:00"), at(day, "04:00"), Factors(pue_that_changes_at_noon(day), grid, ()))
    accountant.day(site, day)
    job = accountant.job()
    assert job.gpu_seconds == exactly(7200.0)
    assert job.co2e_location_g == exactly(0.37 * 1.2 * (101.0 + 102.0))  # the hours 1 and 2 since midnight
    assert job.co2e_embodied_g == exactly(7200 * EMBODIED_G_PER_S)
    total = accountant.report(day).total
    assert total.gpu_seconds == exactly(23 * 3600.0)
    assert total.co2e_embodied_g == exactly(23 * 3600 * EMBODIED_G_PER_S)


def test_a_day_of_25_hours(accountant: Accountant) -> None:
    """On 25 October 2026 the hour from 02:00 to 03:00 is there twice. From 01:00 to 04:00 it is four hours."""
    day = date(2026, 10, 25)
    grid = hourly(day, lambda hour: 100.0 + hour)
    assert len(grid) == 25
    site = Site(at(day, "01:00"), at(day, "04:00"), Factors(pue_that_changes_at_noon(day), grid, ()))
    accountant.day(site, day)
    assert accountant.job().co2e_location_g == exactly(0.37 * 1.2 * (101.0 + 102.0 + 103.0 + 104.0))


def test_a_slot_that_nobody_knows(accountant: Accountant) -> None:
    """Without an intensity for 11:00 the job's CO2e is unknown, and so are the sums it is in; its energy is not."""
    accountant.day(the_day(location=hourly(DAY, lambda hour: 20.0 + 10.0 * hour, but=[11])))
    assert [known for (known,) in accountant.used("gpu", "location_g")] == [
        exactly(0.3 * 0.5 * 1.2 * 120), None, exactly(0.3 * 1.5 * 140), exactly(0.3 * 0.25 * 1.5 * 150)
    ]  # fmt: skip
    job = accountant.job()
    assert job.it_energy_j == exactly(0.37 * 2.75 * 3.6e6)
    assert job.facility_energy_j == exactly(0.37 * 3.675 * 3.6e6)
    assert (job.co2e_location_g, job.intensity_g_per_kwh) == (None, None)
    assert job.co2e_market_g == exactly(0.37 * (3.3 * 21.6 + 0.375 * 5.0))
    report = accountant.report()
    (group,) = report.groups
    assert (group.co2e_location_g, report.total.co2e_location_g) == (None, None)
    assert report.idle.co2e_location_g is not None  # nothing was idle in that hour
    assert report.total.facility_energy_j is not None


def test_a_pue_that_nobody_knows(accountant: Accountant) -> None:
    start_s = day_start(PARIS, DAY)
    accountant.day(the_day(pue=[FactorSlot(start_s, start_s + 12 * 3600, 1.2, "site")]))  # not known after noon
    job = accountant.job()
    assert job.it_energy_j == exactly(0.37 * 2.75 * 3.6e6)
    assert (job.facility_energy_j, job.co2e_location_g, job.co2e_market_g, job.pue) == (None, None, None, None)
    assert job.co2e_embodied_g == exactly(9900 * EMBODIED_G_PER_S)


def test_no_contract_is_no_market_based_figure(accountant: Accountant) -> None:
    accountant.day(the_day(market=()))
    job = accountant.job()
    assert job.co2e_market_g is None
    assert job.co2e_location_g == exactly(148.275 + 34.5975)


def test_a_contract_that_ends_leaves_the_rest_unknown(accountant: Accountant) -> None:
    accountant.day(the_day(market=contracts_that_change_at_one()[:1]))
    assert accountant.job().co2e_market_g is None
    assert [known for (known,) in accountant.used("host", "market_g")][:3] == [
        exactly(0.07 * 0.5 * 1.2 * 21.6), exactly(0.07 * 1.2 * 21.6), exactly(0.07 * 1.5 * 21.6)
    ]  # fmt: skip


def test_a_final_value_takes_the_place_of_an_estimate_and_the_books_keep_both(accountant: Accountant) -> None:
    """The grid first estimates 130 g/kWh for 11:00, and says 110 later: only that hour's postings are superseded."""
    site = the_day()
    guess = [replace(slot, estimated=slot.value == 130.0) for slot in site.factors.location]
    accountant.day(the_day(location=guess))
    final = [replace(slot, value=110.0) if slot.value == 130.0 else slot for slot in site.factors.location]
    again = accountant.day(the_day(location=final))
    # The hour's two postings of the job, and its factor; nothing was idle then, so the balance stays.
    assert (again.posted.posted, again.posted.superseded) == (3, 3)
    assert accountant.job().co2e_location_g == exactly(148.275 + 34.5975 - 0.37 * 1.2 * 20.0)
    with accountant.books as books:
        old = books.rows("SELECT value, estimated FROM factors WHERE superseded_by IS NOT NULL")
        assert [(row["value"], bool(row["estimated"])) for row in old] == [(130.0, True)]
        gone = books.rows("SELECT location_g FROM usage_slots WHERE superseded_by IS NOT NULL ORDER BY location_g")
        assert [row["location_g"] for row in gone] == [exactly(0.07 * 1.2 * 130), exactly(0.3 * 1.2 * 130)]
    assert accountant.day(the_day(location=final)).posted.posted == 0


def test_the_same_value_retrieved_later_says_nothing_new(accountant: Accountant) -> None:
    grid = the_day().factors.location
    accountant.day(the_day(location=[replace(slot, retrieved_s=1e9, basis="direct") for slot in grid]))
    later = accountant.day(the_day(location=[replace(slot, retrieved_s=2e9, basis="direct") for slot in grid]))
    assert (later.posted.posted, later.posted.superseded) == (0, 0)
    with accountant.books as books:
        rows = books.rows("SELECT DISTINCT retrieved_s, basis FROM factors WHERE kind = 'location'")
        assert [(row["retrieved_s"], row["basis"]) for row in rows] == [(1e9, "direct")]


def test_a_part_of_the_day_again_leaves_the_factors_of_the_rest(accountant: Accountant) -> None:
    """Each hour of the books has its factors, however the day is cut into windows."""
    site = the_day()
    accountant.day(site)
    accountant.run(site, at(DAY, "06:00"), at(DAY, "08:30"))
    with accountant.books as books:
        rows = books.rows(
            "SELECT kind, slot_s, start_s, end_s, value FROM factors WHERE superseded_by IS NULL ORDER BY kind, start_s"
        )
    for kind, value in (("location", 150.0), ("market", 5.0), ("pue", 1.5)):
        hours = [row for row in rows if row["kind"] == kind]
        assert [row["start_s"] for row in hours] == [at(DAY, "00:00") + hour * 3600 for hour in range(24)]
        assert all(row["slot_s"] == row["start_s"] == row["end_s"] - 3600 for row in hours)
        assert hours[13]["value"] == value


def test_the_warnings_of_the_sources_come_with_the_run(accountant: Accountant) -> None:
    assert "the grid is silent" in accountant.day(the_day(warnings=["the grid is silent"])).warnings


def test_what_the_run_wrote_down(accountant: Accountant) -> None:
    accountant.day(the_day())
    with accountant.books as books:
        (row,) = books.rows("SELECT summary FROM runs")
    # The job's 4 hours of GPU and of host, 24 balances, and 24 factors of each of three kinds.
    assert json.loads(row["summary"])["posted"] == 8 + 24 + 72
