"""All that a report page says, as one value without words: what the makers of its formats render.

The books come in, a frozen record in base units goes out; tables, Markdown, CSV, JSON, HTML and PDF are made of it in
`scarbon.reports` and `scarbon.pages`. Text in it is only what the site or the factors' publishers wrote: names of
groups, jobs and sources.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Literal

from accounting.clock import day_start
from accounting.factors import SourceShare, shares_of_time
from accounting.ledger.reading import Books
from accounting.report import Sums, make_report
from accounting.sections import Point, Reconciliation, Stretch, TopJob, Waste
from accounting.statement import MethodShare
from accounting.uncertainty import Accuracy
from site_config.kept import KnownSite

PeriodKind = Literal["month", "quarter", "year", "days"]
_MONTHS = {"month": 1, "quarter": 3, "year": 12}


@dataclass(frozen=True, slots=True)
class Period:
    """Calendar days of the site, both included; a month, a quarter and a year are whole ones."""

    kind: PeriodKind
    first_day: date
    last_day: date

    @classmethod
    def of(cls, kind: PeriodKind, day: date) -> Period:
        """The month, quarter or year that holds a day."""
        months = _MONTHS[kind]
        first = date(day.year, (day.month - 1) // months * months + 1, 1)
        return cls(kind, first, _months_on(first, months) - timedelta(days=1))

    @property
    def name(self) -> str:
        """`2026-10`, `2026-Q4`, `2026`, or the days as `2026-10-01..2026-10-07`."""
        first = self.first_day
        return {
            "month": f"{first:%Y-%m}",
            "quarter": f"{first.year}-Q{(first.month + 2) // 3}",
            "year": f"{first.year:04}",
            "days": f"{first}..{self.last_day}",
        }[self.kind]

    @property
    def days(self) -> int:
        """How many days it has."""
        return (self.last_day - self.first_day).days + 1

    def before(self) -> Period:
        """The period of the same kind, or as many days, that ends where this one begins."""
        last = self.first_day - timedelta(days=1)
        if self.kind != "days":
            return Period.of(self.kind, last)
        return Period("days", last - timedelta(days=self.days - 1), last)

    def year_before(self) -> Period:
        """The same period of the year before; of days, those of the same dates (28 February for the 29th)."""
        if self.kind != "days":
            return Period.of(self.kind, self.first_day.replace(year=self.first_day.year - 1))
        return Period("days", _year_back(self.first_day), _year_back(self.last_day))


def _months_on(first: date, months: int) -> date:
    months += first.month - 1
    return date(first.year + months // 12, months % 12 + 1, 1)


def _year_back(day: date) -> date:
    leap = (day.month, day.day) == (2, 29)
    return day.replace(year=day.year - 1, day=28 if leap else day.day)


@dataclass(frozen=True, slots=True)
class Comparison:
    """The total of another period. `accounted` is the share of it that the books hold, 0 … 1."""

    period: Period
    total: Sums
    accounted: float


@dataclass(frozen=True, slots=True)
class Adjustment:
    """What a closed period's restatement added to this one: the figures are differences, and may be negative."""

    of: str  # the closed month, `2026-09`
    posted_s: float  # when
    reason: str  # as its author wrote it
    sums: Sums


@dataclass(frozen=True, slots=True)
class Budget:
    """What an account may use or emit over a period, what it has, and what that pace leads to by the period's end."""

    account: str
    quantity: Literal["co2e", "energy"]  # g, or J at the facility
    period: Period
    limit: float
    used: float | None
    expected: float | None


@dataclass(frozen=True, slots=True)
class Chosen:
    """What the report was narrowed to; None: not at all."""

    clusters: tuple[str, ...] | None = None
    accounts: tuple[str, ...] | None = None
    users: tuple[str, ...] | None = None

    @property
    def narrowed(self) -> bool:
        """Whether only some payers are in it: then the site's idle line is not."""
        return self.accounts is not None or self.users is not None


@dataclass(frozen=True, slots=True)
class Document:
    """A report. All energies in J, emissions in g, times in UTC epoch s; None is unknown or not asked for."""

    site: str
    timezone: str
    clusters: tuple[str, ...]  # those that are in it
    period: Period
    by: str  # account, user, …, gpu-model, or tag:KEY
    chosen: Chosen
    made_s: float
    groups: tuple[Sums, ...]  # the most emissions first; a key of None: jobs without one
    idle: Sums | None  # None where only some payers are in the report: idle time is the site's
    total: Sums  # groups, idle and adjustments
    adjustments: tuple[Adjustment, ...] = ()
    before: Comparison | None = None  # None: the books have nothing of it
    year_before: Comparison | None = None
    step: Literal["day", "month"] = "day"  # of the points
    points: tuple[Point, ...] = ()  # in order; all of the period up to today
    top_jobs: tuple[TopJob, ...] | None = None  # None: not asked for
    waste: Waste | None = None  # None: not asked for
    methods: tuple[MethodShare, ...] | None = None  # None: not asked for
    modelled_share: float | None = None  # of the IT energy of jobs
    reconciliation: tuple[Reconciliation, ...] = ()  # empty where only some payers are in the report
    not_accounted: tuple[Stretch, ...] = ()  # of the period up to now
    quarantined: int = 0  # rows of the period's accounting that could not be understood
    factors: tuple[SourceShare, ...] = ()
    wue_l_per_kwh: float | None = None  # litres of water a kWh of IT energy; None: the site declares none
    budgets: tuple[Budget, ...] = ()
    closed_s: float | None = None  # when the month was closed; None: it is open
    as_of_s: float | None = None  # the books as they were then; None: as they are
    parents: dict[str, str | None] = field(default_factory=dict)  # by account its parent, for a tree; else empty


def make_document(
    books: Books,
    config: KnownSite,
    period: Period,
    by: str = "account",
    chosen: Chosen | None = None,
    *,
    now_s: float,
    top: int = 0,
) -> Document:
    """The report of a period, grouped `by` one of `accounting.report.GROUPINGS` or `tag:KEY`.

    `top` is how many of the largest jobs it names; above 0 it also tells of waste and methods, which takes a look at
    every job of the period.
    """
    chosen = chosen or Chosen()
    zone = config.site.zone
    accuracy = Accuracy(**vars(config.uncertainty))
    clusters = chosen.clusters or tuple(config.clusters)
    first, last = period.first_day.isoformat(), period.last_day.isoformat()
    made = make_report(books, first, last, by, chosen.clusters, accuracy)
    start_s, end_s = day_start(zone, period.first_day), day_start(zone, period.last_day + timedelta(days=1))
    return Document(
        site=config.site.name,
        timezone=config.site.timezone,
        clusters=clusters,
        period=period,
        by=by,
        chosen=chosen,
        made_s=now_s,
        groups=tuple(made.groups),
        idle=None if chosen.narrowed else made.idle,
        total=made.total,
        factors=tuple(shares_of_time(books, start_s, end_s, clusters)),
        wue_l_per_kwh=config.wue_l_per_kwh,
    )


__all__ = ["Adjustment", "Budget", "Chosen", "Comparison", "Document", "Period", "make_document"]
