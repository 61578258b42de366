"""A site of one GPU whose day is worked out by hand, through whole runs into books of its own.

The site is in Paris. Its GPU draws 300 W while a job holds it, and 60 W while nobody does; the job's host part is a
model's 70 W. What the figures must be is written down in kWh and g/kWh.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
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
    others: Sequence[Job] = ()  # whose GPUs no source can name

    def jobs(self, start_s: float, end_s: float) -> Iterator[Job]:
        yield from self.others
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
            if job.job_id == 7:
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

    def run(self, site: Site, start_s: float, end_s: float, rules: Rules = RULES) -> Accounted:
        sources = Sources(site, site, [site], None, site, lambda a, b: site.factors)  # type: ignore[arg-type]
        return account("alpha", sources, rules, self.ledger, start_s, end_s, version="test", config_digest="test")

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
