"""Reports made by hand, with every section, for the pages' tests."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from accounting.branches import Branch
from accounting.budgets import Period as Months
from accounting.budgets import Standing
from accounting.document import Adjustment, Comparison, Document, Period
from accounting.factors import SourceShare
from accounting.report import Chosen, Sums
from accounting.sections import HardlyUsed, Lost, Point, Reconciliation, Stretch, TopJob, Waste
from accounting.statement import MethodShare
from site_config.kept import KnownBudget

KWH = 3.6e6
YEAR = [f"2026-{number:02}" for number in range(1, 13)]

HOSTILE = (
    "<script>alert('x')</script>",
    '"><img src=x onerror=alert(1)>',
    "{{ 7*7 }}{% raw %}",
    "a&amp;b;</style></title>",
    "%(n)s %s %",
    "\u202egnp.exe",
    "Ä" * 64,
)


def sums(key: str | None, kwh: float, jobs: int = 0, hours: float = 0.0, coverage: float | None = 1.0) -> Sums:
    """A group that used so much IT energy, at a PUE of 1.25 and with 40 g/kWh by the grid, 12 by contracts."""
    facility_kwh = kwh * 1.25
    return Sums(
        key=key,
        jobs=jobs,
        jobs_unknown=0,
        gpu_seconds=hours * 3600,
        gpu_energy_j=kwh * 0.8 * KWH,
        host_energy_j=kwh * 0.2 * KWH,
        it_energy_j=kwh * KWH,
        facility_energy_j=facility_kwh * KWH,
        co2e_location_g=facility_kwh * 40,
        co2e_market_g=facility_kwh * 12,
        co2e_embodied_g=hours * 6.2,
        coverage=coverage,
        co2e_low_g=facility_kwh * 34,
        co2e_high_g=facility_kwh * 46,
    )


def total(parts: list[Sums], **changes: Any) -> Sums:
    """What these add up to."""
    kwh = sum((part.it_energy_j or 0.0) for part in parts) / KWH
    hours = sum(part.gpu_seconds for part in parts) / 3600
    return replace(sums(None, kwh, sum(part.jobs for part in parts), hours, 0.984), **changes)


def at(*when: int) -> float:
    return datetime(*when, tzinfo=UTC).timestamp()  # type: ignore[arg-type]


def month(names: tuple[str | None, ...] = ("climate", "genomics", "lattice-qcd", "nlp", "teaching", None)) -> Document:
    """October 2026 by account, with every section."""
    groups = [
        sums(name, 5210.4 / (place + 1) ** 1.3, 914 // (place + 1), 9120 / (place + 1) ** 1.2, 1 - place / 50)
        for place, name in enumerate(names)
    ]
    idle = sums(None, 1873.3, 0, 7422.0, 0.97)
    period = Period.of("month", date(2026, 10, 1))
    whole = total([*groups, idle], jobs_unknown=3)
    before = tuple(point(date(2026, 9, 1) + timedelta(days=day), day * 5 + 3) for day in range(30))
    return Document(
        site="Example HPC",
        timezone="Europe/Paris",
        clusters=("alpha",),
        period=period,
        by="account",
        chosen=Chosen(),
        made_s=at(2026, 11, 2, 5, 0),
        groups=tuple(groups),
        idle=idle,
        total=whole,
        adjustments=(),
        adjusted_later=(),
        before=Comparison(period.before(), total([sums("x", 14_200, 2000, 16_000)]), 1.0, before),
        year_before=Comparison(period.year_before(), total([sums("x", 11_080, 1600, 15_000)]), 0.8),
        points=tuple(point(date(2026, 10, 1) + timedelta(days=day), day) for day in range(31)),
        top_jobs=tuple(job(place, name) for place, name in enumerate([*names, "again"])),
        waste=Waste(
            (
                Lost("TIMEOUT", 41, 812 * 3600.0, 241.7 * KWH, 12_085.0),
                Lost("FAILED", 118, 320 * 3600.0, 88.1 * KWH, 4_405.0),
                Lost("OUT_OF_MEMORY", 12, 11 * 3600.0, 3.04 * KWH, 152.0),
            ),
            HardlyUsed(23, 410 * 3600.0, 31.2 * KWH, True),
        ),
        methods=(
            MethodShare("gpu", "counter", 0.962),
            MethodShare("gpu", "power", 0.022),
            MethodShare("gpu", "model", 0.016),
            MethodShare("host", "model", 1.0),
        ),
        modelled_share=0.213,
        reconciliation=(
            Reconciliation("gpu", 10_120.0 * KWH, 8_660.4 * KWH, 1_498.6 * KWH),
            Reconciliation("host", 0.0, 2_165.1 * KWH, 374.7 * KWH),
        ),
        not_accounted=(),
        quarantined=2,
        factors=(
            SourceShare("pue", "site.yaml", None, 1.0, 0.0, None),
            SourceShare("location", "RTE éCO2mix", "direct", 0.982, 0.03, at(2026, 11, 1, 6)),
            SourceShare("location", "Ember 2025, France", "life cycle", 0.018, 1.0, None),
            SourceShare("market", "site.yaml", None, 1.0, 0.0, None),
        ),
        wue_l_per_kwh=0.4,
        tree=(
            Branch("science", 0, None, sums("science", 9000.0, 1900, 15_000)),
            Branch("climate", 1, groups[0], groups[0]),
            Branch("genomics", 2, groups[1], groups[1]),
        ),
        budgets=(
            standing("climate", "co2e_location_g", YEAR, 3e6, 2.41e6, 2.89e6),
            standing("nlp", "facility_energy_j", ["2026-10"], 900 * KWH, 1_074 * KWH, 1_074 * KWH),
        ),
    )


def standing(account: str, measure: str, months: list[str], limit: float, used: float, expected: float) -> Standing:
    period = "year" if len(months) == 12 else "month"
    budget = KnownBudget(account, None, period, measure, limit, None, None, 0.8)
    return Standing(budget, Months(tuple(months)), (account,), used, used, expected, None, 1.0, 1.0, 1.0)


def point(day: date, place: int) -> Point:
    if day == date(2026, 10, 31):  # the books do not have it
        return Point(day, day, None, None, None, None)
    kwh = 280 + (place * 37 % 19) * 14.0
    idle = 40 + (place * 13 % 7) * 9.0
    return Point(day, day, kwh * KWH, kwh * 50, idle * KWH, idle * 50)


def job(place: int, name: str | None) -> TopJob:
    return TopJob(
        cluster="alpha",
        job_id=f"{48211 + place * 13}_{place}" if place % 2 else str(48211 + place * 13),
        job_id_raw=48211 + place * 13,
        user=f"user{place}",
        account=name,
        partition="gpu",
        name=name and f"train-{name}",
        state=("COMPLETED", "TIMEOUT", "FAILED")[place % 3],
        gpus=8,
        gpu_seconds=(320 - 31 * place) * 3600.0,
        it_energy_j=(141.3 - 12.7 * place) * KWH,
        co2e_location_g=(141.3 - 12.7 * place) * 50,
        coverage=1.0,
    )


def hostile() -> Document:
    """The same with names that attack a page; users choose them."""
    return hostile_with(HOSTILE)


def hostile_with(names: tuple[str, ...]) -> Document:
    """A report in which these names are everywhere where a site or a user puts one."""
    made = month(names)
    jobs = tuple(
        replace(one, name=name, user=name, account=name) for one, name in zip(made.top_jobs or (), names, strict=False)
    )
    return replace(
        made,
        site=names[0],
        not_accounted=(Stretch(names[0], at(2026, 10, 30, 23), at(2026, 10, 31, 2)),),
        clusters=(names[-1],),
        chosen=Chosen(accounts=names[:3], users=names[3:] or names),
        top_jobs=jobs,
        factors=tuple(replace(one, source=names[0]) for one in made.factors),
        adjusted_later=(Adjustment("2026-10", "2026-11", at(2026, 11, 5), None, sums(None, -12.0)),),
        adjustments=(Adjustment("2026-09", "2026-10", at(2026, 10, 5), names[0], sums(None, 0.0)),),
        budgets=tuple(replace(one, budget=replace(one.budget, account=names[-1])) for one in made.budgets),
    )


def year() -> Document:
    """2026 by partition on two clusters, by months, without jobs looked at."""
    made = month(("gpu", "cpu-long"))
    months = [Period.of("month", date(2026, number, 1)) for number in range(1, 13)]
    points = tuple(
        Point(one.first_day, one.last_day, (9000 + 311 * place) * KWH, (9000 + 311 * place) * 50, 900 * KWH, 45_000)
        for place, one in enumerate(months)
    )
    return replace(
        made,
        clusters=("alpha", "beta"),
        period=Period.of("year", date(2026, 1, 1)),
        by="partition",
        step="month",
        points=points,
        top_jobs=None,
        waste=None,
        methods=None,
        before=None,
        year_before=None,
        budgets=(),
        tree=(),
        quarantined=0,
    )


def unknown() -> Document:
    """A week of which nothing but jobs is known: no energy, no factor."""
    nothing = dict.fromkeys(
        ("gpu_energy_j", "host_energy_j", "it_energy_j", "facility_energy_j", "co2e_location_g", "co2e_market_g",
         "co2e_embodied_g", "coverage", "co2e_low_g", "co2e_high_g")
    )  # fmt: skip
    group: Sums = replace(sums("climate", 0.0, 2, 4.0), jobs_unknown=2, **nothing)  # type: ignore[arg-type]
    idle: Sums = replace(group, key=None, jobs=0, jobs_unknown=0, gpu_seconds=0.0)
    days = Period("days", date(2026, 10, 1), date(2026, 10, 7))
    return Document(
        site="Example HPC", timezone="Europe/Paris", clusters=("alpha",), period=days, by="account", chosen=Chosen(),
        made_s=at(2026, 11, 2), groups=(group,), idle=idle, total=replace(group, key=None), adjustments=(),
        adjusted_later=(), before=None, year_before=None, modelled_share=None, reconciliation=(), not_accounted=(),
        quarantined=0, factors=(), wue_l_per_kwh=None, budgets=(),
    )  # fmt: skip
