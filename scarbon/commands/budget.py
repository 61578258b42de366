"""`scarbon budget`: what of the accounts' budgets is used, and what their pace leads to."""

from __future__ import annotations

import re
import time
from datetime import date, timedelta
from difflib import get_close_matches

import click

from accounting.budgets import Period, Standing, counts_to, known_accounts, period_of, standings
from accounting.clock import day_of
from accounting.ledger.reading import Books
from scarbon import __version__, budgets, units
from scarbon.errors import FAILED, WrongUseError
from scarbon.site import known_site, names, open_books
from site_config.kept import KnownBudget, KnownSite

EXAMPLE = """\b
Examples:
  scarbon budget                            every budget, in its current month or year
  scarbon budget -A phys || echo "over"     for scripts: the exit code is 1 past a limit
  scarbon budget --pace --month 2026-10     … or where the pace leads past it
"""


@click.command(epilog=EXAMPLE)
@click.option("-A", "--accounts", metavar="NAME,…", help="What these accounts count to: theirs and those above them.")
@click.option("--month", metavar="YYYY-MM", help="The monthly budgets of a month, or: this, last.")
@click.option("--year", metavar="YYYY", help="The yearly budgets that begin in a year, or: this, last.")
@click.option("--pace", is_flag=True, help="Fail, too, where the pace leads past a limit.")
@click.option("--format", "as_", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.pass_obj
def budget(
    config_option: str | None, /, accounts: str | None, month: str | None, year: str | None, pace: bool, as_: str
) -> None:
    """Show what of each budget is used, and what its pace leads to by the end of its month or year.

    The pace is the use of what is booked of the period, carried on to its end. The exit code is 1 where a limit is
    passed, or where nobody can say because a factor is unknown.
    """
    config = known_site(config_option)
    books = open_books(config)
    chosen = _chosen(config, books, names(accounts))
    found = standings(books, _asked(config, chosen, month, year), config.site.zone, config.clusters)
    if as_ == "json":
        _print_json(config, found)
    elif found:
        _print(found)
    _say_who_is_nobody(books, chosen)
    if not found:
        click.echo("scarbon: no budget is declared for what was asked", err=True)
    over = [one for one in found if one.status in ("passed", "unknown") or (pace and one.will_pass)]
    if over:
        click.get_current_context().exit(FAILED)


def _chosen(config: KnownSite, books: Books, accounts: list[str] | None) -> list[KnownBudget]:
    """The budgets that the accounts' use counts to."""
    if accounts is None:
        return list(config.budgets)
    known = known_accounts(books)
    for account in accounts:
        if account not in known and all(budget.account != account for budget in config.budgets):
            close = get_close_matches(account, [*known, *(budget.account for budget in config.budgets)], n=1)
            raise WrongUseError(
                f"the books know no account {account!r}", f"did you mean {close[0]}?" if close else "check -A"
            )
    return [budget for budget, counted in counts_to(books, config.budgets).items() if counted & set(accounts)]


def _say_who_is_nobody(books: Books, chosen: list[KnownBudget]) -> None:
    """Name the budgets of accounts that the books have never heard of: a slip of the pen looks like nothing used."""
    known = known_accounts(books)
    for account in sorted({one.account for one in chosen} - set(known)):
        close = get_close_matches(account, known, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        click.echo(f"note: the books know no account {account!r}, which has a budget{hint}", err=True)


def _asked(
    config: KnownSite, chosen: list[KnownBudget], month: str | None, year: str | None
) -> list[tuple[KnownBudget, Period]]:
    """The budgets with the periods that the options name; without, those that now is in."""
    today = day_of(config.site.zone, time.time())
    if month is None and year is None:
        return _holding(chosen, f"{today:%Y-%m}")
    asked = []
    if month is not None:
        wanted = _month(month, today)
        asked += _holding([one for one in chosen if one.period == "month"], wanted)
    if year is not None:
        wanted = _year(year, today)
        asked += [
            pair
            for one in chosen
            if one.period == "year"
            for pair in _holding([one], f"{wanted}-{(one.first_month or '0000-01')[5:]}")
        ]
    return asked


def _holding(chosen: list[KnownBudget], month: str) -> list[tuple[KnownBudget, Period]]:
    return [(one, period) for one in chosen if (period := period_of(one, month)) is not None]


def _month(text: str, today: date) -> str:
    if text in ("this", "last"):
        first = today.replace(day=1)
        return f"{first if text == 'this' else first - timedelta(days=1):%Y-%m}"
    match = re.fullmatch(r"(\d{4})-(\d\d?)", text)
    if match is None or not 1 <= int(match[2]) <= 12:
        raise WrongUseError(f"cannot read the month {text!r}", "write for example 2026-10, this or last")
    month = f"{match[1]}-{int(match[2]):02}"
    if month > f"{today:%Y-%m}":
        raise WrongUseError(f"{month} lies in the future", "name a month that has begun")
    return month


def _year(text: str, today: date) -> str:
    if text in ("this", "last"):
        return f"{today.year - (text == 'last'):04}"
    if not re.fullmatch(r"\d{4}", text):
        raise WrongUseError(f"cannot read the year {text!r}", "write for example 2026, this or last")
    if int(text) > today.year:
        raise WrongUseError(f"{text} lies in the future", "name a year that has begun")
    return text


def _print(found: list[Standing]) -> None:
    head = ("account", "period", "counts", "used", "limit", "share", "by its end", "pace of", "coverage", "status")
    rows = [
        (
            budgets.name(one.budget),
            one.period.name,
            budgets.MEASURES[one.budget.measure],
            budgets.quantity(one.budget, one.used),
            budgets.quantity(one.budget, one.budget.limit),
            units.share(one.share, "unknown"),
            budgets.quantity(one.budget, one.expected),
            budgets.rests_on(one),
            units.share(one.coverage),
            budgets.verdict(one),
        )
        for one in found
    ]
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    left = (0, 1, 2, 9)
    lines = [
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (head, tuple("-" * width for width in widths), *rows)
    ]
    click.echo("\n".join(lines))


def _print_json(config: KnownSite, found: list[Standing]) -> None:
    """The documented object: `meta` and `budgets`, in base units."""
    import json

    meta = {"version": __version__, "site": config.site.name, "timezone": config.site.timezone}
    click.echo(
        json.dumps({"meta": meta, "budgets": [budgets.plain(one) for one in found]}, indent=1, ensure_ascii=False)
    )
