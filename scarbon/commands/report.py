"""`scarbon report`: a period by account or another group, with the idle line and the total."""

from __future__ import annotations

import re
import time
from dataclasses import asdict
from datetime import date, datetime, timedelta
from typing import Any

import click

from accounting.clock import day_of, day_start
from accounting.ledger.reading import Books
from accounting.report import GROUPINGS, Chosen, Report, Sums, make_report
from accounting.statement import water_l
from scarbon import __version__, units
from scarbon.errors import WrongUseError
from scarbon.site import accuracy, chosen_clusters, known_site, open_books
from scarbon.times import parse_time
from site_config.kept import KnownSite

EXAMPLE = """\b
Examples:
  scarbon report --month 2026-10 --by account
  scarbon report --month last --by user --format json
  scarbon report -S 2026-10-01 -E 2026-10-08 --by partition
"""


@click.command(epilog=EXAMPLE)
@click.option("--month", metavar="YYYY-MM", help="A calendar month of the site, or: this, last. [default: this]")
@click.option("-S", "--starttime", metavar="TIME", help="From this midnight on, in place of a month.")
@click.option("-E", "--endtime", metavar="TIME", help="… up to this midnight. [default: tomorrow's]")
@click.option("--by", type=click.Choice(list(GROUPINGS)), default="account", show_default=True, help="The groups.")
@click.option("-M", "--clusters", metavar="NAME,…", help="Only these clusters. [default: all]")
@click.option("--format", "as_", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.pass_obj
def report(
    config_option: str | None,
    /,
    month: str | None,
    starttime: str | None,
    endtime: str | None,
    by: str,
    clusters: str | None,
    as_: str,
) -> None:
    """Sum a period, clipped to the site's calendar: a job that crosses its end counts with what it used inside.

    Groups and idle add up to the total.
    """
    config = known_site(config_option)
    first, last = _period(config, month, starttime, endtime)
    chosen = chosen_clusters(config, clusters)
    books = open_books(config)
    made = make_report(books, first.isoformat(), last.isoformat(), by, Chosen(chosen), accuracy(config))
    missing = _missing(config, books, chosen or list(config.clusters), first, last)
    if as_ == "json":
        _print_json(config, made, by, first, last, missing, _factors(config, books, chosen, first, last))
    else:
        _print(config, made, by, first, last, missing)


def _period(config: KnownSite, month: str | None, start: str | None, end: str | None) -> tuple[date, date]:
    """The first and the last day."""
    zone, now_s = config.site.zone, time.time()
    today = day_of(zone, now_s)
    if month is not None and (start or end):
        raise WrongUseError("--month and -S/-E name two periods", "use one of them")
    if start or end:
        first = _day(config, start or "midnight", now_s)
        last = (_day(config, end, now_s) if end else today + timedelta(days=1)) - timedelta(days=1)
        if last < first:
            raise WrongUseError("the period ends before it begins", "check -S and -E")
        return first, last
    if month in (None, "this"):
        first = today.replace(day=1)
    elif month == "last":
        first = (today.replace(day=1) - timedelta(days=1)).replace(day=1)
    elif match := re.fullmatch(r"(\d{4})-(\d\d?)", month or ""):
        year, number = int(match[1]), int(match[2])
        if not 1 <= number <= 12 or year < 1:
            raise WrongUseError(f"there is no month {month}", "write for example 2026-10")
        first = date(year, number, 1)
    else:
        raise WrongUseError(f"cannot read the month {month!r}", "write for example 2026-10, this or last")
    if first > today:
        raise WrongUseError(f"{first:%Y-%m} lies in the future", "name a month that has begun")
    return first, (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)


def _day(config: KnownSite, text: str, now_s: float) -> date:
    zone = config.site.zone
    time_s = parse_time(text, zone, now_s)
    day = day_of(zone, time_s)
    if day_start(zone, day) != time_s:
        raise WrongUseError(f"{text} is no midnight in {config.site.timezone}", "reports go by whole days; name a date")
    return day


def _missing(config: KnownSite, books: Books, clusters: list[str], first: date, last: date) -> list[str]:
    """What of the period the books do not hold yet, in words."""
    zone = config.site.zone
    start_s, end_s = day_start(zone, first), day_start(zone, last + timedelta(days=1))
    lines = []
    for name in clusters:
        at_s: float = start_s
        for a, b in [*books.booked(name), (float(end_s), float(end_s))]:
            if a > at_s and at_s < end_s:
                spans = [datetime.fromtimestamp(s, zone).strftime("%Y-%m-%d %H:%M") for s in (at_s, min(a, end_s))]
                lines.append(f"{name}: {spans[0]} to {spans[1]} is not accounted")
            at_s = max(at_s, b)
    return lines


def _print(config: KnownSite, made: Report, by: str, first: date, last: date, missing: list[str]) -> None:
    head = (
        f"{by:<16} {'jobs':>7} {'GPU hours':>10} {'GPU energy':>11} {'host':>9} {'facility':>10} {'CO2e':>9} "
        f"{'market':>9} {'embodied':>9} {'coverage':>8}"
    )
    click.echo(f"{config.site.name}, {first} to {last} ({config.site.timezone})\n")
    click.echo(head)
    click.echo("-" * len(head))
    for group in made.groups:
        click.echo(_row(group.key or "(none)", group))
    click.echo(_row("idle", made.idle))
    click.echo("-" * len(head))
    click.echo(_row("total", made.total))
    notes = [f"Not in these figures: {line}." for line in missing]
    if made.total.jobs_unknown:
        notes.append(f"{made.total.jobs_unknown} jobs held GPUs of whose energy nothing is known: in no sum.")
    if notes:
        click.echo("\n" + "\n".join(notes))


def _row(name: str, sums: Sums) -> str:
    return (
        f"{name:<16.16} {sums.jobs or '':>7} {sums.gpu_seconds / 3600:>10,.1f} {units.energy(sums.gpu_energy_j):>11} "
        f"{units.energy(sums.host_energy_j):>9} {units.energy(sums.facility_energy_j):>10} "
        f"{units.mass(sums.co2e_location_g):>9} {units.mass(sums.co2e_market_g):>9} "
        f"{units.mass(sums.co2e_embodied_g):>9} {units.share(sums.coverage):>8}"
    )


def _factors(
    config: KnownSite, books: Books, clusters: list[str] | None, first: date, last: date
) -> list[dict[str, Any]]:
    """Who gave the factors of the period: PUE, grid and contracts, each source with its share of the time."""
    from accounting.factors import shares_of_time

    zone = config.site.zone
    start_s, end_s = day_start(zone, first), day_start(zone, last + timedelta(days=1))
    return [asdict(one) for one in shares_of_time(books, start_s, end_s, clusters)]


def _with_water(config: KnownSite, sums: Sums) -> dict[str, Any]:
    """A group's figures, and the litres of water by the site's WUE; null where none is declared."""
    return {**asdict(sums), "water_l": water_l(sums.it_energy_j, config.wue_l_per_kwh)}


def _print_json(
    config: KnownSite,
    made: Report,
    by: str,
    first: date,
    last: date,
    missing: list[str],
    factors: list[dict[str, Any]],
) -> None:
    import json

    meta = {
        "version": __version__,
        "site": config.site.name,
        "timezone": config.site.timezone,
        "by": by,
        "first_day": first.isoformat(),
        "last_day": last.isoformat(),
        "not_accounted": missing,
        "gpu_metered_j": made.gpu_metered_j,
        "host_metered_j": made.host_metered_j,
        "wue_l_per_kwh": config.wue_l_per_kwh,
        "factors": factors,
    }
    document = {
        "meta": meta,
        "groups": [_with_water(config, group) for group in made.groups],
        "idle": _with_water(config, made.idle),
        "total": _with_water(config, made.total),
    }
    click.echo(json.dumps(document, indent=1, ensure_ascii=False))
