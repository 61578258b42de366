"""Which period: the options of reports and of all that goes by calendar days, months, quarters and years."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from math import inf
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import click

from accounting.clock import day_of, day_start
from accounting.document import Period, PeriodKind
from accounting.ledger.reading import Books
from scarbon.errors import UserError, WrongUseError
from scarbon.times import parse_time
from site_config.kept import KnownSite

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--month", metavar="YYYY-MM", help="A calendar month of the site, or: this, last. [default: this]"),
    click.option("--quarter", metavar="YYYY-QN", help="A calendar quarter, for example 2026-Q3, or: this, last."),
    click.option("--year", metavar="YYYY", help="A calendar year, or: this, last."),
    click.option("-S", "--starttime", metavar="TIME", help="From this midnight on, in place of a month."),
    click.option("-E", "--endtime", metavar="TIME", help="… up to this midnight. [default: tomorrow's]"),
)
_KINDS: tuple[PeriodKind, ...] = ("month", "quarter", "year")
_WRITTEN = {
    "month": (re.compile(r"(\d{4})-(\d\d?)"), "2026-10"),
    "quarter": (re.compile(r"(\d{4})-?[Qq](\d)"), "2026-Q3"),
    "year": (re.compile(r"(\d{4})"), "2026"),
}
_MONTHS = {"month": 1, "quarter": 3, "year": 12}


def period_options(command: F) -> F:
    """The options that name a period; `chosen_period` reads them."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def chosen_period(config: KnownSite, options: Mapping[str, Any], now_s: float) -> Period:
    """The period that `period_options` named, else this month. WrongUseError for what cannot be meant."""
    today = day_of(config.site.zone, now_s)
    named = [kind for kind in _KINDS if options[kind] is not None]
    days = options["starttime"] is not None or options["endtime"] is not None
    if len(named) + days > 1:
        two = [f"--{kind}" for kind in named] + ["-S/-E"] * days
        raise WrongUseError(f"{two[0]} and {two[1]} name two periods", "use one of them")
    if days:
        period = _days(config, options["starttime"], options["endtime"], now_s)
    else:
        kind: PeriodKind = named[0] if named else "month"
        period = _calendar(kind, options[kind] or "this", today)
    if period.first_day > today:
        name = period.first_day.isoformat() if days else period.name
        begun = "days that have begun" if days else f"a {period.kind} that has begun"
        raise WrongUseError(f"{name} lies in the future", f"name {begun}")
    return period


def _calendar(kind: PeriodKind, text: str, today: date) -> Period:
    if text in ("this", "last"):
        this = Period.of(kind, today)
        return this if text == "this" else this.before()
    pattern, example = _WRITTEN[kind]
    match = pattern.fullmatch(text.strip())
    if match is None:
        raise WrongUseError(f"cannot read the {kind} {text!r}", f"write for example {example}, this or last")
    year, number = int(match[1]), int(match[2]) if kind != "year" else 1
    if not 1 <= number <= 12 // _MONTHS[kind] or not 1 < year < 9999:
        raise WrongUseError(f"there is no {kind} {text}", f"write for example {example}")
    return Period.of(kind, date(year, (number - 1) * _MONTHS[kind] + 1, 1))


def _days(config: KnownSite, start: str | None, end: str | None, now_s: float) -> Period:
    first = _day(config, start or "midnight", now_s)
    beyond = _day(config, end or "tomorrow", now_s)
    if beyond < first:
        raise WrongUseError("the period ends before it begins", "check -S and -E")
    if beyond == first:
        raise WrongUseError(
            f"from {first} to {beyond} is no day at all",
            f"-E is the midnight at which the period ends: for that day write -E {first + timedelta(days=1)}",
        )
    return Period("days", first, beyond - timedelta(days=1))


def _day(config: KnownSite, text: str, now_s: float) -> date:
    zone = config.site.zone
    time_s = parse_time(text, zone, now_s)
    day = day_of(zone, time_s)
    if day_start(zone, day) != time_s:
        raise WrongUseError(f"{text} is no midnight in {config.site.timezone}", "reports go by whole days; name a date")
    return day


def _adjusted(books: Books, period: Period) -> bool:
    """Whether something was posted in the period about closed months."""
    days = {"first": period.first_day.isoformat(), "last": period.last_day.isoformat()}
    found = books.rows("SELECT COUNT(*) AS n FROM adjustments WHERE posted_day >= :first AND posted_day <= :last", days)
    return bool(found[0]["n"])


def refuse_empty(books: Books, config: KnownSite, period: Period, clusters: Sequence[str]) -> None:
    """UserError where the books hold nothing of the period, with the nearest of that kind of which they do."""
    zone = config.site.zone
    start_s, end_s = period.bounds(zone)
    booked = [stretch for cluster in clusters for stretch in books.booked(cluster)]
    if any(a < end_s and b > start_s for a, b in booked) or _adjusted(books, period):
        return
    of = "" if len(clusters) == len(config.clusters) else f" on {', '.join(clusters)}"
    if not booked:
        raise UserError(f"nothing is accounted yet{of}", "run scarbon collect first")
    at_s = min(
        (time_s for a, b in booked for time_s in (a, b - 1)), key=lambda time_s: abs(time_s - (start_s + end_s) / 2)
    )
    near = day_of(zone, at_s)
    name = f"-S {near} -E {near + timedelta(days=1)}"
    if period.kind != "days":
        name = f"--{period.kind} {Period.of(period.kind, near).name}"
    raise UserError(f"nothing of {period.name} is accounted{of}; the books go {_extent(booked, zone)}", f"try {name}")


def refuse_unbooked(books: Books, zone: ZoneInfo, start_s: float | None, end_s: float | None) -> None:
    """UserError where the books hold no time of [start_s, end_s), None for without a bound; it says which they hold."""
    booked = [stretch for cluster in books.clusters() for stretch in books.booked(cluster)]
    if not booked:
        raise UserError("nothing is accounted yet", "run scarbon collect first")
    first_s, beyond_s = -inf if start_s is None else start_s, inf if end_s is None else end_s
    if not any(a < beyond_s and b > first_s for a, b in booked):
        raise UserError(f"nothing of that time is accounted; the books go {_extent(booked, zone)}", "check -S and -E")


def _extent(booked: Sequence[tuple[float, float]], zone: ZoneInfo) -> str:
    first, last = (day_of(zone, time_s) for time_s in (min(a for a, _ in booked), max(b for _, b in booked) - 1))
    return f"from {first} to {last}"
