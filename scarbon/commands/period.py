"""`scarbon period`: which months are closed, closing one, and opening it again."""

from __future__ import annotations

import time
from dataclasses import asdict
from datetime import datetime

import click

from accounting.ledger.errors import LedgerError
from accounting.periods import Adjusted, Event, Month, adjustments_to, hindrances, months
from scarbon import __version__, units
from scarbon.errors import UserError, WrongUseError
from scarbon.periods import chosen_period
from scarbon.site import known_site, open_books, open_ledger, site, who_does
from site_config.kept import KnownSite

EXAMPLE = """\b
Examples:
  scarbon period list
  scarbon period close 2026-10
  scarbon period reopen 2026-10 --why "the meters of rack 3 were swapped"
"""


@click.group(epilog=EXAMPLE)
def period() -> None:
    """Close months: their figures stay, and what is found out later is an adjustment in an open month.

    The reports of both months say so.
    """


@period.command("list")
@click.option("--format", "as_", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.pass_obj
def list_(config_option: str | None, /, as_: str) -> None:
    """Show the months of the books, whether they are closed, since when, by whom, and what was adjusted since."""
    config = known_site(config_option)
    books = open_books(config)
    found = [(month, adjustments_to(books, f"{month.month}-01", f"{month.month}-31")) for month in months(books)]
    if as_ == "json":
        _print_json(config, found)
        return
    head = f"{'month':<8} {'state':<7} {'since':<17} {'by':<24} {'adjusted':>12}  why"
    click.echo(head)
    click.echo("-" * len(head))
    for month, adjusted in found:
        last = month.events[-1] if month.events else None
        since, by = ("", "") if last is None else (_shown(config, last.at_s), f"{last.who} on {last.host}")
        co2e_g = sum(one.total.co2e_location_g or 0.0 for one in adjusted)
        click.echo(
            f"{month.month:<8} {'closed' if month.closed else 'open':<7} {since:<17} {by:<24.24} "
            f"{units.mass(co2e_g) if adjusted else '':>12}  {(last.why or '') if last else ''}".rstrip()
        )


@period.command()
@click.argument("month")
@click.option("--why", metavar="TEXT", help="A note that is kept with it.")
@click.option("--force", is_flag=True, help="Also where a part of it is not accounted.")
@click.pass_obj
def close(config_option: str | None, /, month: str, why: str | None, force: bool) -> None:
    """Close MONTH (2026-10, or: last). It must be over, wholly accounted, and its books must balance."""
    from accounting.ledger.closing import close_month

    config = site(config_option)
    name = _name(known_site(config_option), month)
    books = open_books(config)
    forbidding, lacking = hindrances(books, name, list(config.clusters), time.time())
    if forbidding:
        raise UserError(f"{name} cannot be closed: {'; '.join(forbidding)}", "scarbon audit shows how the books stand")
    if lacking and not force:
        raise UserError(
            f"{name} cannot be closed: {'; '.join(lacking)}", "account it with scarbon collect, or say --force"
        )
    books.close()
    ledger = open_ledger(config)
    try:
        with ledger.lock():
            close_month(ledger, name, who_does(why))
    finally:
        ledger.close()
    click.echo(f"{name} is closed", err=True)


@period.command()
@click.argument("month")
@click.option("--why", metavar="TEXT", required=True, help="The reason: it stays in the books.")
@click.pass_obj
def reopen(config_option: str | None, /, month: str, why: str) -> None:
    """Open the closed MONTH again. What was adjusted stands until it is accounted again."""
    from accounting.ledger.closing import reopen_month

    config = site(config_option)
    if not why.strip():
        raise WrongUseError("--why says nothing", "give the reason: it stays in the books")
    name = _name(known_site(config_option), month)
    open_books(config).close()
    ledger = open_ledger(config)
    try:
        with ledger.lock():
            run = {"version": __version__, "config_digest": config.digest()}
            reopen_month(ledger, name, who_does(why.strip()), run)
    except LedgerError as error:
        raise UserError(error.what, error.advice) from error
    finally:
        ledger.close()
    click.echo(f"{name} is open", err=True)


def _name(config: KnownSite, month: str) -> str:
    options = {"month": month, "quarter": None, "year": None, "starttime": None, "endtime": None}
    return chosen_period(config, options, time.time()).name


def _print_json(config: KnownSite, found: list[tuple[Month, list[Adjusted]]]) -> None:
    import json

    meta = {"version": __version__, "site": config.site.name, "timezone": config.site.timezone}
    rows = [
        {
            "month": month.month,
            "closed": month.closed,
            "events": [_event(event) for event in month.events],
            "adjustments": [_adjusted(one) for one in adjusted],
        }
        for month, adjusted in found
    ]
    click.echo(json.dumps({"meta": meta, "periods": rows}, indent=1, ensure_ascii=False))


def _event(event: Event) -> dict[str, object]:
    values = asdict(event)
    return {"closed": values["closed"], "at": values["at_s"], **{name: values[name] for name in ("who", "host", "why")}}


def _adjusted(one: Adjusted) -> dict[str, object]:
    """One adjustment in the names of the documented objects; differences to what the month says."""
    names = ("it_energy_j", "facility_energy_j", "co2e_location_g", "co2e_market_g", "co2e_embodied_g")
    return {
        "posted_month": one.posted_month,
        "posted": one.posted_s,
        "restatement_id": one.restatement_id,
        "reason": one.reason,
        **{name: getattr(one.total, name) for name in names},
    }


def _shown(config: KnownSite, time_s: float) -> str:
    return datetime.fromtimestamp(time_s, config.site.zone).strftime("%Y-%m-%d %H:%M")
