"""`--as-of`: let the books stand as they did at an earlier time, for a report or for a list of jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import click

from accounting.clock import months_on
from accounting.jobs import JobFilter, chosen_attempts
from accounting.ledger.reading import Books
from scarbon.errors import WrongUseError
from scarbon.times import parse_time
from site_config.kept import KnownSite

if TYPE_CHECKING:
    from accounting.document import Period

F = TypeVar("F", bound=Callable[..., Any])


def as_of_option(command: F) -> F:
    """The option `--as-of`; what it says is given to one of the functions below."""
    about = "The figures as they then stood. A date is its midnight."
    return click.option("--as-of", "as_of", metavar="TIME", help=about)(command)


def report_then(config: KnownSite, books: Books, as_of: str | None, period: Period, now_s: float) -> float | None:
    """Let the books stand as at `as_of` for all that a report of the period asks; when that was (UTC epoch s)."""
    if as_of is None:
        return None
    from accounting.ledger.as_of import days_as_of

    time_s = _time(config, as_of, now_s)
    days_as_of(books, time_s, _days(config, books, period))
    return time_s


def jobs_then(config: KnownSite, books: Books, as_of: str | None, chosen: JobFilter, now_s: float) -> float | None:
    """Let the books stand as at `as_of` for the figures of the chosen jobs; when that was (UTC epoch s)."""
    if as_of is None:
        return None
    from accounting.ledger.as_of import jobs_as_of

    time_s = _time(config, as_of, now_s)
    jobs_as_of(books, time_s, chosen_attempts(books, chosen))
    return time_s


def _time(config: KnownSite, text: str, now_s: float) -> float:
    time_s = parse_time(text, config.site.zone, now_s)
    if time_s > now_s:
        raise WrongUseError(f"--as-of {text} lies in the future", "leave it out for the figures as they are")
    return time_s


def _days(config: KnownSite, books: Books, period: Period) -> Iterator[str]:
    """The days that a report asks for: its own, those that it compares with, and those of its budgets."""
    from accounting.budgets import period_of
    from accounting.ledger.as_of import days_between

    booked = [stretch for cluster in books.clusters() for stretch in books.booked(cluster)]
    for one in (period, period.before(), period.year_before()):
        start_s, end_s = one.bounds(config.site.zone)
        if one is period or any(a < end_s and b > start_s for a, b in booked):
            yield from days_between(one.first_day, one.last_day)
    for budget in config.budgets:
        held = period_of(budget, f"{period.last_day:%Y-%m}")
        for month in () if held is None else held.months:
            first = date.fromisoformat(f"{month}-01")
            last = min(months_on(first, 1) - timedelta(days=1), period.last_day)
            yield from days_between(first, last)
