"""All that a report page says, as one value without words: what the makers of its formats render.

The books come in, a frozen record in base units goes out; tables, Markdown, CSV, JSON, HTML and PDF are made of it in
`scarbon.reports` and `scarbon.pages`. Text in it is only what the site or the factors' publishers wrote: names of
groups, jobs and sources.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from math import fsum
from typing import Any, Literal
from zoneinfo import ZoneInfo

from accounting.branches import Branch, branches, parents_of
from accounting.budgets import Standing, period_of, standings
from accounting.clock import day_of, day_start, months_on
from accounting.factors import SourceShare, shares_of_time
from accounting.ledger.reading import Books
from accounting.periods import Adjusted, adjustments_in, adjustments_to
from accounting.report import Chosen, Report, Sums, make_report
from accounting.sections import (
    Point,
    Reconciliation,
    Runs,
    Step,
    Stretch,
    TopJob,
    Waste,
    not_accounted,
    points,
    quarantined,
    silent_gpus,
)
from accounting.statement import J_PER_KWH, MethodShare
from accounting.uncertainty import Accuracy
from site_config.kept import KnownSite

PeriodKind = Literal["month", "quarter", "year", "days"]
_MONTHS = {"month": 1, "quarter": 3, "year": 12}

#: The figures that add up, beside the time.
ADDED = (
    "gpu_energy_j", "host_energy_j", "it_energy_j", "facility_energy_j", "co2e_location_g", "co2e_market_g",
    "co2e_embodied_g",
)  # fmt: skip

#: The course of a longer period goes by months.
MOST_DAYS = 92

#: Of the largest difference: less than this is no figure, but what rounding leaves of those that cancel out.
_ROUNDING = 1e-9

#: Two periods are compared where the books hold more than this share of both.
NEARLY_ALL = 0.99


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
        return cls(kind, first, months_on(first, months) - timedelta(days=1))

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

    def bounds(self, zone: ZoneInfo) -> tuple[int, int]:
        """[start, end) in UTC epoch s."""
        return day_start(zone, self.first_day), day_start(zone, self.last_day + timedelta(days=1))

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


def _year_back(day: date) -> date:
    leap = (day.month, day.day) == (2, 29)
    return day.replace(year=day.year - 1, day=28 if leap else day.day)


@dataclass(frozen=True, slots=True)
class Comparison:
    """The total of another period. `accounted` is the share of it that the books hold, 0 … 1."""

    period: Period
    total: Sums
    accounted: float
    points: tuple[Point, ...] | None = None  # its course, by the step of the report's; None: not asked for


@dataclass(frozen=True, slots=True)
class Adjustment:
    """What was found out about a closed month after it was closed: differences, which may be negative."""

    of: str  # the closed month, `2026-09`
    posted_in: str  # the month whose total has it
    posted_s: float  # when, the last of them
    reason: str | None  # as its author wrote it; None: the month's time was accounted again
    sums: Sums


@dataclass(frozen=True, slots=True)
class Document:
    """A report. All energies in J, emissions in g, times in UTC epoch s; None is unknown or not asked for."""

    site: str
    timezone: str
    clusters: tuple[str, ...]  # those that are in it
    period: Period
    by: str  # account, user, …, gpu-model, or tag:KEY
    chosen: Chosen  # what it was narrowed to
    made_s: float
    groups: tuple[Sums, ...]  # the largest first; a key of None: jobs without one
    idle: Sums | None  # None where only some payers are in the report: idle time is the site's
    total: Sums  # groups, idle and adjustments
    adjustments: tuple[Adjustment, ...]  # posted in the period, about months that were closed before
    adjusted_later: tuple[Adjustment, ...]  # about the period, posted after it: in no figure here
    before: Comparison | None  # None: the books have nothing of it
    year_before: Comparison | None
    modelled_share: float | None  # of the IT energy of jobs
    reconciliation: tuple[Reconciliation, ...]  # empty where only some payers are in the report
    not_accounted: tuple[Stretch, ...]  # of the period up to now
    quarantined: int  # rows of the period's accounting that could not be understood
    factors: tuple[SourceShare, ...]
    wue_l_per_kwh: float | None  # litres of water a kWh of IT energy; None: the site declares none
    budgets: tuple[Standing, ...]  # of the accounts in it
    tree: tuple[Branch, ...] = ()  # of the accounts, where it was asked for: parents before their children
    step: Step = "day"  # of the points
    points: tuple[Point, ...] | None = None  # in order; None: not asked for, as all that follows
    top_jobs: tuple[TopJob, ...] | None = None
    waste: Waste | None = None
    methods: tuple[MethodShare, ...] | None = None
    closed_s: float | None = None  # when the month was closed; None: it is open
    as_of_s: float | None = None  # the books as they were then; None: as they are
    accounted: float = 1.0  # the share of the period that the books hold; what is to come of it they do not
    own: Sums | None = None  # the total without adjustments; None: there are none
    silent_gpus: int = 0  # that were measured before, and no more at the end of what the books have of the period

    @property
    def unused(self) -> bool:
        """Whether no job used anything in the period itself, and nothing was idle."""
        return not self.groups and (self.own or self.total).it_energy_j is None

    @property
    def idle_host_missing(self) -> bool:
        """Whether what idle nodes draw besides their GPUs is unknown, though it is known for jobs."""
        return (
            self.idle is not None
            and self.idle.host_energy_j is None
            and self.idle.gpu_energy_j is not None
            and any(group.host_energy_j is not None for group in self.groups)
        )

    @property
    def pue(self) -> float | None:
        """The PUE as it was applied to the period's own energy, adjustments apart: weighted by each hour's."""
        own = self.own or self.total
        return _ratio(own.facility_energy_j, own.it_energy_j)

    @property
    def intensity_g_per_kwh(self) -> float | None:
        """The grid's intensity as it was applied, weighted likewise."""
        own = self.own or self.total
        return _ratio(own.co2e_location_g, own.facility_energy_j, J_PER_KWH)

    @property
    def market_g_per_kwh(self) -> float | None:
        """The intensity by the site's contracts as it was applied, weighted likewise."""
        own = self.own or self.total
        return _ratio(own.co2e_market_g, own.facility_energy_j, J_PER_KWH)

    def comparable(self, other: Comparison) -> bool:
        """Whether the books hold nearly all of both periods: else the difference says nothing."""
        return min(self.accounted, other.accounted) > NEARLY_ALL


def make_document(
    books: Books,
    config: KnownSite,
    period: Period,
    by: str = "account",
    chosen: Chosen | None = None,
    *,
    now_s: float,
    top: int | None = None,
    tree: bool = False,
) -> Document:
    """The report of a period, grouped `by` one of `accounting.report.GROUPINGS` or `tag:KEY`.

    `top` is how many of the largest jobs it names; None leaves out all that takes a look at every job of the period,
    and its course. `tree`: the accounts with the sums of their branches.
    """
    chosen = chosen or Chosen()
    zone = config.site.zone
    accuracy = Accuracy(**vars(config.uncertainty))
    clusters = tuple(chosen.clusters or config.clusters)
    first, last = period.first_day, period.last_day
    start_s, end_s = period.bounds(zone)
    days = first.isoformat(), last.isoformat()
    made = make_report(books, *days, by, chosen, accuracy)
    adjustments = _adjustments(adjustments_in(books, *days, chosen=chosen), made.total)
    later = [one for one in adjustments_to(books, *days, chosen=chosen) if one.posted_month > f"{last:%Y-%m}"]
    document = Document(
        site=config.site.name,
        timezone=config.site.timezone,
        clusters=clusters,
        period=period,
        by=by,
        chosen=chosen,
        made_s=now_s,
        groups=tuple(made.groups),
        idle=made.idle,
        total=_adjusted(made.total, adjustments),
        adjustments=adjustments,
        adjusted_later=_adjustments(later, made.total),
        before=_compared(books, zone, period.before(), chosen, clusters, accuracy),
        year_before=_compared(books, zone, period.year_before(), chosen, clusters, accuracy),
        modelled_share=_modelled_share(made),
        reconciliation=_reconciled(made),
        not_accounted=not_accounted(books, clusters, start_s, min(end_s, now_s)),
        quarantined=quarantined(books, clusters, start_s, end_s),
        factors=tuple(shares_of_time(books, start_s, end_s, clusters)),
        wue_l_per_kwh=config.wue_l_per_kwh,
        budgets=_budgets(books, config, min(last, day_of(zone, now_s)), chosen, clusters),
        tree=branches(made.groups, parents_of(books, clusters)) if tree else (),
        closed_s=_closed_s(books, period),
        accounted=_accounted(books, clusters, start_s, end_s),
        own=made.total if adjustments else None,
        silent_gpus=0 if chosen.narrowed else silent_gpus(books, clusters, first, last),
    )
    if top is None:
        return document
    step: Step = "day" if period.days <= MOST_DAYS else "month"
    runs = Runs(books, first, last, start_s, end_s, chosen)
    before = document.before
    if before is not None:
        course = points(books, before.period.first_day, before.period.last_day, chosen, step)
        before = replace(before, points=course)
    return replace(
        document,
        before=before,
        step=step,
        points=points(books, first, last, chosen, step),
        top_jobs=runs.top(top) if top else (),
        waste=runs.waste(),
        methods=runs.methods(),
    )


def _compared(
    books: Books, zone: ZoneInfo, period: Period, chosen: Chosen, clusters: Sequence[str], accuracy: Accuracy
) -> Comparison | None:
    """The total of another period; None where the books hold nothing of it."""
    start_s, end_s = period.bounds(zone)
    accounted = _accounted(books, clusters, start_s, end_s)
    if accounted <= 0:
        return None
    days = period.first_day.isoformat(), period.last_day.isoformat()
    total = make_report(books, *days, "cluster", chosen, accuracy).total
    return Comparison(
        period, _adjusted(total, _adjustments(adjustments_in(books, *days, chosen=chosen), total)), accounted
    )


def _accounted(books: Books, clusters: Sequence[str], start_s: float, end_s: float) -> float:
    """The share of [start_s, end_s) that the books hold, over all clusters; exactly 1 where nothing is missing."""
    missing_s = sum(gap.end_s - gap.start_s for gap in not_accounted(books, clusters, start_s, end_s))
    return 1 - missing_s / ((end_s - start_s) * len(clusters))


def _adjustments(found: Sequence[Adjusted], total: Sums) -> tuple[Adjustment, ...]:
    """The adjustments as the report shows them: what the report knows nothing of, they add nothing to."""
    made = []
    for one in found:
        unknown: dict[str, Any] = {
            name: None for name in ADDED if getattr(total, name) is None and not getattr(one.total, name)
        }
        made.append(Adjustment(one.month, one.posted_month, one.posted_s, one.reason, replace(one.total, **unknown)))
    return tuple(made)


def _adjusted(total: Sums, adjustments: Sequence[Adjustment]) -> Sums:
    """The total with what the adjustments add to it; its interval moves along, for they are taken as exact.

    A figure that is unknown stays so; where nothing at all was used, it is what the adjustments say. Where the period
    itself emitted nothing there is no interval.
    """
    nothing = total.it_energy_j is None
    if adjustments and total.co2e_low_g == total.co2e_high_g:
        total = replace(total, co2e_low_g=None, co2e_high_g=None)
    for one in adjustments:
        added: dict[str, Any] = {}
        for name in ADDED:
            figure, more = getattr(total, name), getattr(one.sums, name)
            if figure is not None:
                added[name] = figure + (more or 0.0)
            elif nothing:
                added[name] = more
        for end in ("co2e_low_g", "co2e_high_g"):
            if (figure := getattr(total, end)) is not None:
                added[end] = figure + (one.sums.co2e_location_g or 0.0)
        total = replace(total, gpu_seconds=total.gpu_seconds + one.sums.gpu_seconds, **added)
    nothing_left: dict[str, Any] = {name: 0.0 for name in ADDED if _cancels(name, total, adjustments)}
    return replace(total, **nothing_left)


def _cancels(name: str, total: Sums, adjustments: Sequence[Adjustment]) -> bool:
    """Whether nothing is left of a figure but the rounding of differences that cancel out."""
    largest = max((abs(getattr(one.sums, name) or 0.0) for one in adjustments), default=0.0)
    figure: float | None = getattr(total, name)
    return figure is not None and abs(figure) < _ROUNDING * largest


def _closed_s(books: Books, period: Period) -> float | None:
    """When the month was closed; None where it is open, or the period is no month."""
    if period.kind != "month":
        return None
    rows = books.rows(_LAST_EVENT, {"month": period.name})
    return rows[0]["at_s"] if rows and rows[0]["closed"] else None


_LAST_EVENT = "SELECT closed, at_s FROM periods WHERE month = :month ORDER BY period_id DESC LIMIT 1"


def _modelled_share(made: Report) -> float | None:
    """How much of the jobs' IT energy is modelled."""
    energy_j = _known_sum(group.it_energy_j for group in made.groups)
    return made.total.modelled_j / energy_j if energy_j and made.total.modelled_j is not None else None


def _reconciled(made: Report) -> tuple[Reconciliation, ...]:
    """The meters' own sums against the report's, for each kind that has meters."""
    if made.idle is None:
        return ()
    kinds = (
        ("gpu", made.gpu_metered_j, [group.gpu_energy_j for group in made.groups], made.idle.gpu_energy_j),
        ("host", made.host_metered_j, [group.host_energy_j for group in made.groups], made.idle.host_energy_j),
    )
    return tuple(
        Reconciliation(kind, metered_j, _known_sum(of_jobs) or 0.0, idle_j or 0.0)
        for kind, metered_j, of_jobs, idle_j in kinds
        if metered_j is not None
    )


def _budgets(
    books: Books, config: KnownSite, day: date, chosen: Chosen, clusters: Sequence[str]
) -> tuple[Standing, ...]:
    """How the budgets of the report's accounts stand in the month or year that holds a day."""
    if chosen.users is not None:
        return ()
    asked = [
        (budget, period)
        for budget in config.budgets
        if (chosen.accounts is None or budget.account in chosen.accounts)
        and (budget.cluster is None or budget.cluster in clusters)
        and (period := period_of(budget, f"{day:%Y-%m}")) is not None
    ]
    return tuple(standings(books, asked, config.site.zone, config.clusters))


def _ratio(part: float | None, whole: float | None, unit: float = 1.0) -> float | None:
    return None if part is None or not whole else part / whole * unit


def _known_sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fsum(known) if known else None
