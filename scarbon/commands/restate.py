"""`scarbon restate`: what is known now of factors, or of rules, applied to what the books hold; past restatements."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from accounting.restated import Line, Past, Restated, past
from scarbon import __version__
from scarbon.errors import UserError, WrongUseError
from scarbon.reports.printed import ENERGY_J, MASS_G, Ladder, column
from scarbon.site import chosen_clusters, known_site, open_books, open_ledger, site, who_does
from scarbon.times import parse_time

if TYPE_CHECKING:
    from accounting.ledger.closing import By
    from accounting.ledger.store import Ledger
    from accounting.restate import Period
    from site_config.kept import KnownSite
    from site_config.schema import SiteConfig

EXAMPLE = """\b
Examples:
  scarbon restate -S 2026-10-01 -E 2026-11-01 --why "final values of the grid's operator" --dry-run
  scarbon restate -S 2026-10-01 -E 2026-11-01 --why "final values of the grid's operator"
  scarbon restate -S now-7days -E now --why "holders: journal before hpc_job" --attribution
  scarbon restate --list
"""

KINDS = ("pue", "location", "market")

#: The figures of `accounting.restated.Amounts`, for people.
FIGURES: dict[str, tuple[str, Ladder]] = {
    "it_energy_j": ("IT energy", ENERGY_J),
    "facility_energy_j": ("facility energy", ENERGY_J),
    "co2e_location_g": ("CO2e", MASS_G),
    "co2e_market_g": ("CO2e, market-based", MASS_G),
    "co2e_embodied_g": ("CO2e, embodied", MASS_G),
}


@click.command(epilog=EXAMPLE)
@click.option("-S", "--starttime", metavar="TIME", help="The hours from here on …")
@click.option("-E", "--endtime", metavar="TIME", help="… up to here.")
@click.option("--why", metavar="TEXT", help="The reason: it stays in the books, and reports show it.")
@click.option("-n", "--dry-run", is_flag=True, help="Show the difference, and change nothing.")
@click.option("--attribution", is_flag=True, help="Read the sources again, by the rules of now, as collect does.")
@click.option("-M", "--clusters", metavar="NAME,…", help="Only these clusters. [default: all]")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--list", "list_", is_flag=True, help="Show what was restated so far, and end.")
@click.option("--format", "as_", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.pass_obj
def restate(
    config_option: str | None,
    /,
    starttime: str | None,
    endtime: str | None,
    why: str | None,
    dry_run: bool,
    attribution: bool,
    clusters: str | None,
    yes: bool,
    list_: bool,
    as_: str,
) -> None:
    """Give the figures of a period anew: the energy stays, the factors are those of the configuration now.

    Intensity, PUE, contracts and embodied figures are asked for and applied hour by hour. The difference is shown by
    account before anything is written. What was said before stays in the books, with who restated it, when and why.
    """
    if list_:
        config = known_site(config_option)
        _list(config, past(open_books(config), chosen_clusters(config, clusters)), as_)
        return
    why = (why or "").strip()
    if starttime is None or endtime is None or not (why or dry_run):
        given = {"-S": starttime, "-E": endtime, "--why": why or dry_run}
        lacking = [name for name, value in given.items() if not value]
        raise WrongUseError(f"a restatement needs {', '.join(lacking)}", "see scarbon restate --help")
    declared = site(config_option)
    now_s = time.time()
    start_s, end_s = (parse_time(text, declared.site.zone, now_s) for text in (starttime, endtime))
    if end_s <= start_s:
        raise WrongUseError("the period ends before it begins", "check -S and -E")
    asks = not (dry_run or yes)
    if asks and not sys.stdin.isatty():
        raise WrongUseError("there is nobody to be asked", "say --dry-run to look, or --yes to restate")
    names = chosen_clusters(declared, clusters) or list(declared.clusters)
    work = _Work(declared, names, (start_s, end_s), who_does(why), attribution)
    found = work.do(dry_run=dry_run or not yes)
    if asks:
        for one in found:
            _print(declared, one, True)
        if not any(one.changes for one in found):
            return
        if not click.confirm("Restate it?", err=True):
            click.echo("the books are as they were", err=True)
            return
        found = work.do(dry_run=False)
    if as_ == "json":
        _print_json(declared, found, dry_run)
    elif asks:
        for one in found:
            _say(one)
    else:
        for one in found:
            _print(declared, one, dry_run)
    for one in found:
        for warning in one.warnings:
            click.echo(f"{one.cluster}: warning: {warning}", err=True)


class _Work:
    """What was asked for, to be looked at and to be done."""

    def __init__(
        self, config: SiteConfig, names: Sequence[str], span: tuple[float, float], by: By, attribution: bool
    ) -> None:
        self._config = config
        self._names = names
        self._span = span
        self._by = by
        self._attribution = attribution

    def do(self, *, dry_run: bool) -> list[Restated]:
        """Restate each cluster of which the books hold something then, or only look at what would change."""
        from accounting.ledger.errors import LedgerError
        from accounting.sources import SourceError

        open_books(self._config).close()  # a ledger that is not there is not made
        ledger = open_ledger(self._config)
        try:
            with ledger.lock():
                return [self._one(ledger, period, dry_run) for period in self._periods(ledger)]
        except (SourceError, LedgerError) as error:
            raise UserError(error.what, error.advice) from error
        finally:
            ledger.close()

    def _periods(self, ledger: Ledger) -> list[Period]:
        """What there is to restate, known of all clusters before the first is touched."""
        from accounting.restate import NothingBookedError, period_of

        found: list[Period] = []
        nothing: list[NothingBookedError] = []
        for name in self._names:
            try:
                found.append(period_of(ledger, name, *self._span))
            except NothingBookedError as error:
                nothing.append(error)
        if not found:
            raise nothing[0]
        return found

    def _one(self, ledger: Ledger, period: Period, dry_run: bool) -> Restated:
        from accounting.ledger.recording import Program
        from accounting.restate import restate_factors
        from scarbon.wiring import factor_source, node_source, rules, sources

        config, name = self._config, period.cluster
        program = Program(__version__, config.digest())
        if self._attribution:
            from accounting.reattribute import restate_attribution

            return restate_attribution(
                ledger, period, sources(config, name), rules(config, name), self._by, program, dry_run=dry_run
            )
        nodes = node_source(name, config.clusters[name])
        return restate_factors(
            ledger, period, rules(config, name), factor_source(config), nodes, self._by, program, dry_run=dry_run
        )


def _print(config: SiteConfig, one: Restated, dry_run: bool) -> None:
    """The difference by account, a block for each figure that changes."""
    span = f"{_shown(config, one.start_s)} to {_shown(config, one.end_s)}"
    click.echo(f"{one.cluster}, {span} ({config.site.timezone})")
    click.echo("  factors, as means over time:")
    sides = [("before", factor) for factor in one.old_factors] + [("now", factor) for factor in one.new_factors]
    for side, factor in sorted(sides, key=lambda pair: KINDS.index(pair[1].kind)):
        unit = "" if factor.kind == "pue" else " g/kWh"
        click.echo(f"  {factor.kind:<9} {side:<7} {factor.mean:>9.4g}{unit:<7} {factor.source}")
    for name, (label, ladder) in FIGURES.items():
        lines = [line for line in one.lines if getattr(line.old, name) or getattr(line.new, name)]
        if any(getattr(line.difference, name) for line in lines) and one.changes:
            click.echo("\n" + "\n".join(_block(label, name, ladder, lines, one.total)))
    click.echo()
    _say(one, dry_run)
    click.echo()


def _block(label: str, name: str, ladder: Ladder, lines: Sequence[Line], total: Line) -> list[str]:
    columns = [
        column([getattr(getattr(line, side), name) for line in lines], getattr(getattr(total, side), name), ladder)
        for side in ("old", "new", "difference")
    ]
    heads = [f"{head} [{one.unit}]" for head, one in zip(("before", "now", "difference"), columns, strict=True)]
    made = [f"{label:<22} {heads[0]:>16} {heads[1]:>16} {heads[2]:>18}"]
    keys = ["idle" if line.idle else line.account or "(none)" for line in lines]
    for place, key in enumerate(keys):
        old, new, difference = (one.parts[place] for one in columns)
        made.append(f"{key:<22.22} {old:>16,} {new:>16,} {difference:>+18,}")
    old, new, difference = (one.total for one in columns)
    made.append(f"{'total':<22} {old:>16,} {new:>16,} {difference:>+18,}")
    return made


def _say(one: Restated, dry_run: bool = False) -> None:
    """What became of it, in a line."""
    if not one.changes:
        click.echo(f"{one.cluster}: nothing differs; the books are as they were")
        return
    verb = "would be" if dry_run else "were"
    said = [f"{one.posted:,} postings {verb} superseded"] if one.posted else []
    if one.adjusted:
        reasons = [f"because {_months(one.closed)} closed"] if one.closed else []
        if one.reopened:
            reasons.append(f"to take back earlier ones, because {_months(one.reopened)} open again")
        said.append(f"{one.adjusted:,} adjustments {verb} posted, {', and '.join(reasons)}")
    number = "" if one.restatement_id is None else f" (restatement {one.restatement_id})"
    click.echo(f"{one.cluster}: {'; '.join(said)}{number}")


def _months(months: Sequence[str]) -> str:
    return f"{', '.join(months)} {'is' if len(months) == 1 else 'are'}"


def _print_json(config: SiteConfig, found: Sequence[Restated], dry_run: bool) -> None:
    import json

    made: list[dict[str, Any]] = []
    for one in found:
        accounts = [{"account": line.account, "idle": line.idle, **_sides(line)} for line in one.lines]
        plain = {key: value for key, value in asdict(one).items() if key not in ("lines", "total", "start_s", "end_s")}
        made.append(
            {**plain, "start": one.start_s, "end": one.end_s, "changes": one.changes, "accounts": accounts,
             "total": _sides(one.total)}
        )  # fmt: skip
    meta = {
        "version": __version__, "site": config.site.name, "timezone": config.site.timezone, "dry_run": dry_run,
    }  # fmt: skip
    click.echo(json.dumps({"meta": meta, "restatements": made}, indent=1, ensure_ascii=False))


def _sides(line: Line) -> dict[str, Any]:
    return {side: asdict(getattr(line, side)) for side in ("old", "new", "difference")}


def _list(config: KnownSite, found: Sequence[Past], as_: str) -> None:
    if as_ == "json":
        import json

        meta = {"version": __version__, "site": config.site.name, "timezone": config.site.timezone}
        rows = [
            {**{key: value for key, value in asdict(one).items() if key not in ("start_s", "end_s", "at_s")},
             "start": one.start_s, "end": one.end_s, "at": one.at_s}
            for one in found
        ]  # fmt: skip
        click.echo(json.dumps({"meta": meta, "restatements": rows}, indent=1, ensure_ascii=False))
        return
    head = f"{'no.':>4} {'when':<16} {'who':<16} {'cluster':<10} {'period':<33} {'rule':<11} {'CO2e':>12}  why"
    click.echo(head)
    click.echo("-" * len(head))
    for one in found:
        span = f"{_shown(config, one.start_s)} {_shown(config, one.end_s)}"
        changed_g = one.new["total"]["co2e_location_g"] - one.old["total"]["co2e_location_g"]
        difference = column([changed_g], changed_g, MASS_G)
        click.echo(
            f"{one.restatement_id:>4} {_shown(config, one.at_s):<16} {one.who:<16.16} {one.cluster:<10} {span:<33} "
            f"{one.rule:<11} {f'{difference.total:+,} {difference.unit}':>12}  {one.why}"
        )


def _shown(config: SiteConfig | KnownSite, time_s: float) -> str:
    return datetime.fromtimestamp(time_s, config.site.zone).strftime("%Y-%m-%d %H:%M")
