"""`scarbon grid`: the grid's intensity as the accounting gets it: ask the services, show it, say who gives it."""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from accounting.model import FactorSlot
from scarbon import __version__, units
from scarbon.errors import UserError, WrongUseError
from scarbon.site import open_books, site
from scarbon.times import parse_time
from site_config.schema import SiteConfig

if TYPE_CHECKING:
    from collectors.grid.chain import FillReport
    from collectors.grid.kept import Ask

EXAMPLE = """\b
Examples:
  scarbon grid sources
  scarbon grid fetch -S 2026-10-01 -E 2026-11-01
  scarbon grid show -S now-7days
"""


@click.group(epilog=EXAMPLE)
def grid() -> None:
    """The grid's carbon intensity: who gives it, what is kept of it, and how it went."""


def _window(command: Any) -> Any:
    """-S and -E."""
    command = click.option("-E", "--endtime", metavar="TIME", default="now", help="… to here. [default: now]")(command)
    return click.option(
        "-S", "--starttime", metavar="TIME", default="now-2days", show_default=True, help="From here on …"
    )(command)


@grid.command()
@_window
@click.option("--again", is_flag=True, help="Ask for what is kept as final, too.")
@click.pass_obj
def fetch(config_option: str | None, starttime: str, endtime: str, again: bool) -> None:
    """Ask the sources for a period and keep what they answer, as `scarbon collect` does by itself.

    Of what is kept, final values are not asked for again; estimates are, and a final value takes their place. Periods
    that the books hold with other values are named: they are to be accounted anew.
    """
    config = site(config_option)
    start_s, end_s = _span(config, starttime, endtime)
    slots, report = _fill(config, start_s, end_s, "all" if again else "new")
    _print_shares(slots, report, start_s, end_s)
    _tell(config, report)
    _print_stale(config, slots, start_s, end_s)
    if not slots:
        raise UserError("no source has anything of this period", "see scarbon grid sources")


@grid.command()
@_window
@click.option("--json", "as_json", is_flag=True, help="Every slot as JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="Every slot as CSV, in the form that `source: file` reads.")
@click.pass_obj
def show(config_option: str | None, starttime: str, endtime: str, as_json: bool, as_csv: bool) -> None:
    """Show the intensity that is known of a period, without asking any service."""
    if as_json and as_csv:
        raise WrongUseError("--json and --csv are two forms", "use one of them")
    config = site(config_option)
    start_s, end_s = _span(config, starttime, endtime)
    slots, report = _fill(config, start_s, end_s, "nothing")
    if as_csv:
        _print_csv(slots)
    elif as_json:
        _print_json(config, slots, report, start_s, end_s)
    else:
        _print_plot(config, slots)
        _print_shares(slots, report, start_s, end_s)
    _tell(config, report)


@grid.command()
@click.pass_obj
def sources(config_option: str | None) -> None:
    """List the sources in the order in which they are asked, and what is kept of each."""
    from accounting.sources import SourceError
    from collectors.grid.kept import KeptSource, told
    from collectors.grid.registry import grid_sources
    from collectors.grid.store import SlotStore
    from site_config.tables import grid_intensity

    config = site(config_option)
    store = SlotStore(config.grid_cache)
    rows = []
    for number, (declared, source) in enumerate(
        zip(config.grid.location, grid_sources(config.grid, store), strict=True), 1
    ):
        kept = "at hand"
        if isinstance(source, KeptSource):
            try:
                found = store.summary(source.asked)
            except SourceError as error:
                raise UserError(error.what, error.advice) from None
            kept = "nothing is kept yet"
            if found is not None:
                span = f"{_shown(config, found.start_s)} to {_shown(config, found.end_s)}"
                kept = f"{found.slots} slots kept, {span}, {found.estimated} of them estimates"
        rows.append((f"{number}. {source.name}", told(declared), kept))
    figure = grid_intensity()[config.grid.zone]
    click.echo(
        f"Zone {figure.zone}: {figure.name}, {figure.gco2e_per_kwh:g} gCO2e/kWh in {figure.year} ({figure.source})"
    )
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    for name, what, kept in rows:
        click.echo(f"{name:<{widths[0]}}  {what:<{widths[1]}}  {kept}".rstrip())
    market = config.grid.market
    click.echo("Contracts: " + ("none are declared: no market-based figure" if market is None else "declared"))
    advice = config.grid.advice
    click.echo("Forecasts, for advice alone: " + ("none" if advice is None else f"{advice.source} {told(advice)}"))


def _span(config: SiteConfig, start: str, end: str) -> tuple[float, float]:
    now_s = time.time()
    start_s, end_s = (parse_time(text, config.site.zone, now_s) for text in (start, end))
    if end_s <= start_s:
        raise WrongUseError("the period ends before it begins", "check -S and -E")
    return start_s, end_s


def _fill(config: SiteConfig, start_s: float, end_s: float, ask: Ask) -> tuple[Sequence[FactorSlot], FillReport]:
    from collectors.grid.chain import fill
    from collectors.grid.registry import grid_sources
    from collectors.grid.store import SlotStore

    return fill(grid_sources(config.grid, SlotStore(config.grid_cache), ask), start_s, end_s)


def _print_shares(slots: Sequence[FactorSlot], report: FillReport, start_s: float, end_s: float) -> None:
    """Who gave how much of the period, and how much of that is an estimate."""
    for name, seconds in report.seconds_by_source.items():
        click.echo(f"{name:<18} {units.share(seconds / (end_s - start_s)):>6} of the period")
    known_s = sum(slot.end_s - slot.start_s for slot in slots)
    if not known_s:
        click.echo("nothing is known of the period")
        return
    estimated_s = sum(slot.end_s - slot.start_s for slot in slots if slot.estimated)
    mean = sum(slot.value * (slot.end_s - slot.start_s) for slot in slots) / known_s
    low, high = (pick(slot.value for slot in slots) for pick in (min, max))
    click.echo(
        f"mean {mean:.1f} gCO2e/kWh, from {low:.1f} to {high:.1f}; {units.share(estimated_s / known_s)} of it estimated"
    )


def _tell(config: SiteConfig, report: FillReport) -> None:
    for problem in report.problems:
        click.echo(f"warning: {problem}", err=True)
    for start_s, end_s in report.holes:
        click.echo(f"no source has {_shown(config, start_s)} to {_shown(config, end_s)}", err=True)


def _print_stale(config: SiteConfig, slots: Sequence[FactorSlot], start_s: float, end_s: float) -> None:
    """The days that the books hold with other values."""
    from accounting.clock import day_of
    from accounting.factors import applied, other_values
    from accounting.ledger.errors import NoLedgerError

    try:
        books = open_books(config)
    except NoLedgerError:
        return
    with books:
        for cluster in books.clusters():
            used = applied(books, cluster, "location", start_s, end_s)
            days = sorted({day_of(config.site.zone, at_s) for at_s in other_values(used, slots)})
            if days:
                last = days[-1] + timedelta(days=1)
                click.echo(
                    f"{cluster}: the books hold {len(days)} days with other values, from {days[0]} on; account them "
                    f"anew: scarbon collect -M {cluster} -S {days[0]} -E {last}"
                )


def _print_plot(config: SiteConfig, slots: Sequence[FactorSlot]) -> None:
    if slots:
        from scarbon.plots import curve

        click.echo(curve(slots, f"gCO2e/kWh, {config.site.timezone}", config.site.zone))


def _print_csv(slots: Sequence[FactorSlot]) -> None:
    lines = csv.writer(sys.stdout, lineterminator="\n")
    lines.writerow(["start", "end", "gco2e_per_kwh", "estimated"])
    for slot in slots:
        start, end = (datetime.fromtimestamp(at_s, UTC).isoformat() for at_s in (slot.start_s, slot.end_s))
        lines.writerow([start, end, repr(slot.value), str(slot.estimated).lower()])


def _print_json(
    config: SiteConfig, slots: Sequence[FactorSlot], report: FillReport, start_s: float, end_s: float
) -> None:
    import json

    meta = {
        "version": __version__,
        "site": config.site.name,
        "zone": config.grid.zone,
        "start": start_s,
        "end": end_s,
        "seconds_by_source": report.seconds_by_source,
        "holes": report.holes,
    }
    click.echo(json.dumps({"meta": meta, "slots": [asdict(slot) for slot in slots]}, indent=1, ensure_ascii=False))


def _shown(config: SiteConfig, time_s: float) -> str:
    return datetime.fromtimestamp(time_s, config.site.zone).strftime("%Y-%m-%d %H:%M")
