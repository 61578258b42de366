"""`scarbon collect`: account device time, day by day, from where the books end."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from scarbon import __version__
from scarbon.commands import polling
from scarbon.errors import QUARANTINED, UserError, WrongUseError
from scarbon.site import chosen_clusters, open_ledger, site
from scarbon.times import parse_time
from scarbon.units import counted
from site_config.schema import SiteConfig

if TYPE_CHECKING:
    from accounting.booking import Accounted
    from accounting.ledger.postings import MeterKey
    from accounting.ledger.store import Ledger

EXAMPLE = """\b
Examples:
  scarbon collect                       from where the books end to now, less the settling delay
  scarbon collect -S 2026-10-01 -E 2026-11-01
  scarbon collect --again 30            … and bring up to date what Slurm changed in the 30 days before
  scarbon collect --watch               only ask the controllers who holds which GPU, every 30 s (holders: gres_index)
"""


DAY_S = 86400.0


@click.command(epilog=EXAMPLE)
@click.option("-S", "--starttime", metavar="TIME", help="Account device time from here on. [default: the books' end]")
@click.option("-E", "--endtime", metavar="TIME", help="… up to here. [default: now less collect.settle_s, on the hour]")
@click.option(
    "--again",
    type=click.FloatRange(min=0),
    metavar="DAYS",
    help="Read the jobs of so many days of the books again, for what Slurm changed. [default: collect.again_days; "
    "with -S 0]",
)
@click.option("-M", "--clusters", metavar="NAME,…", help="Only these clusters. [default: all]")
@click.option(
    "--poll", is_flag=True, help="Account nothing: ask the controllers once who holds which GPU (gres_index)."
)
@click.option(
    "--watch",
    type=click.FloatRange(min=1),
    is_flag=False,
    flag_value=30.0,
    metavar="[SECONDS]",
    help="… and again every 30 s, or so many, until SIGTERM or Ctrl-C.",
)
@click.option("-q", "--quiet", is_flag=True, help="No progress and no summary; what went wrong is still shown.")
@click.pass_obj
def collect(
    config_option: str | None,
    starttime: str | None,
    endtime: str | None,
    again: float | None,
    clusters: str | None,
    poll: bool,
    watch: float | None,
    quiet: bool,
) -> None:
    """Account the device time in [start, end): a job that runs across the end is booked for its part.

    Each day is one transaction: what was accounted before an error, or Ctrl-C, stays, and the next run goes on from
    there. The same window again changes nothing.
    """
    config = site(config_option)
    names = chosen_clusters(config, clusters) or list(config.clusters)
    if poll or watch is not None:
        if starttime or endtime or again is not None or (poll and watch is not None):
            raise WrongUseError("--poll and --watch account nothing", "use one of them, without -S, -E and --again")
        polling.poll(config, names, quiet) if watch is None else polling.watch(config, names, watch, quiet)
        return
    now_s = time.time()
    zone = config.site.zone
    start_s = None if starttime is None else parse_time(starttime, zone, now_s)
    end_s = None if endtime is None else parse_time(endtime, zone, now_s)
    if end_s is not None and end_s > now_s:
        raise WrongUseError("the end of the window lies in the future", "leave -E out to account up to now")
    if start_s is not None and start_s >= (now_s if end_s is None else end_s):
        raise WrongUseError("the window ends before it begins", "check -S and -E")
    back_days = again if again is not None else config.collect.again_days if starttime is None else 0.0
    asked = _Asked(start_s, end_s, back_days * DAY_S, again=again is not None)
    code = 0
    problems: list[UserError] = []
    for name in names:
        try:
            if _collect(config, name, asked, now_s, quiet):
                code = QUARANTINED
        except UserError as error:
            if len(names) == 1 or isinstance(error, InterruptedRunError):
                raise
            problems.append(error)  # one cluster's failure does not cost the others their window
    if problems:
        raise UserError("; ".join(problem.what for problem in problems), problems[0].advice)
    raise click.exceptions.Exit(code)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is to be accounted (None: what is new), and how far back jobs are read again, in seconds."""

    start_s: float | None
    end_s: float | None
    back_s: float
    again: bool  # whether that was asked for, and is to be done where nothing is new, too


def _collect(config: SiteConfig, name: str, asked: _Asked, now_s: float, quiet: bool) -> bool:
    """Account one cluster; whether rows are new in quarantine."""
    from accounting.clock import day_of, day_start, slot_floor
    from accounting.ledger.errors import LedgerError
    from accounting.sources import SourceError

    zone = config.site.zone
    done = _Done(config)
    try:
        ledger = open_ledger(config)
        try:
            with ledger.lock():
                booked = ledger.booked(name)
                start_s = asked.start_s
                if start_s is None:
                    start_s = booked[-1][1] if booked else day_start(zone, day_of(zone, now_s))
                end_s = slot_floor(zone, now_s - config.collect.settle_s) if asked.end_s is None else asked.end_s
                if end_s <= start_s and not asked.again:
                    if not quiet:
                        click.echo(f"{name}: nothing to account after {_shown(config, start_s)} yet", err=True)
                    return False
                _account_days(config, name, ledger, start_s, end_s, asked.back_s, done, quiet)
                _keep_accounts(config, name, ledger, done)
        finally:
            ledger.close()
    except (SourceError, LedgerError) as error:
        raise UserError(f"{name}: {error.what}{done.kept()}", error.advice) from error
    except KeyboardInterrupt:
        kept = done.kept() or "; the books are as they were"
        raise InterruptedRunError(f"{name}: interrupted{kept}", "run it again to go on") from None
    if start_s < end_s and end_s > now_s - config.collect.settle_s:
        done.warnings["the last minutes may change while samples come in; account them again later"] = None
    for warning in done.warnings:
        click.echo(f"{name}: warning: {warning}", err=True)
    for note in [*done.losses(), *(() if quiet else done.notes())]:
        click.echo(f"{name}: {note}", err=True)
    if not quiet and start_s < end_s:
        span = f"{_shown(config, start_s)} to {_shown(config, end_s)}"
        click.echo(f"{name}: accounted {span}: {done.posted} postings, {done.superseded} superseded", err=True)
    if done.quarantined:
        click.echo(
            f"{name}: {counted(done.quarantined, 'row')} new in quarantine; see scarbon audit --quarantine", err=True
        )
    return done.quarantined > 0


class InterruptedRunError(UserError):
    """Ctrl-C: the clusters that are left are not begun."""


class _Done:
    """What has been accounted so far."""

    def __init__(self, config: SiteConfig) -> None:
        self._config = config
        self.posted = self.superseded = self.quarantined = self.understood = 0
        self.changed = self.lost = 0  # jobs of which Slurm says otherwise than the books, or nothing any more
        self.gone: dict[tuple[float, float], None] = {}  # what could not be accounted again: its samples are gone
        self.up_to_s: float | None = None
        self.warnings: dict[str, None] = {}  # each once, in order

    def add(self, result: Accounted) -> None:
        posted = result.posted
        self.warnings |= dict.fromkeys(result.warnings)
        self.posted += posted.posted
        self.superseded += posted.superseded
        self.quarantined += posted.quarantined
        self.understood += posted.understood

    def notes(self) -> Iterator[str]:
        """What a person may want to know of the time before, a line each."""
        if self.changed:
            yield f"{counted(self.changed, 'job')} changed in Slurm's accounting since; the books follow"
        if self.understood:
            yield f"{counted(self.understood, 'row')} of the quarantine understood, and booked"

    def losses(self) -> Iterator[str]:
        """What can no longer be found out of the time before, a line each."""
        if self.lost:
            yield f"warning: {counted(self.lost, 'job')} that ran by the books, Slurm no longer has (state LOST)"
        for start_s, end_s in self.gone:
            span = f"{_shown(self._config, start_s)} to {_shown(self._config, end_s)}"
            yield f"warning: {span} stays as it was accounted: samples that it was made of are gone from their source"

    def kept(self) -> str:
        """What an error leaves in the books, in words."""
        return "" if self.up_to_s is None else f" (accounted up to {_shown(self._config, self.up_to_s)})"


def _account_days(
    config: SiteConfig, name: str, ledger: Ledger, start_s: float, end_s: float, back_s: float, done: _Done, quiet: bool
) -> None:
    """Account [start_s, end_s) day by day; and again what has become known of the time before it."""
    from accounting.booking import SamplesGoneError, account, again
    from accounting.catching_up import By, catch_up, last_hour, tried
    from accounting.clock import split_by_day, union
    from scarbon.wiring import rules, sources

    made, declared = sources(config, name), rules(config, name)
    run: By = {"version": __version__, "config_digest": config.digest()}
    heard_again: dict[MeterKey, float] = {}
    found = catch_up(ledger, name, made.jobs, back_s, run)
    also = list(found.jobs.values())  # what is new of jobs goes with the first window
    with _progress(split_by_day(config.site.zone, start_s, end_s) if end_s > start_s else [], name, quiet) as days:
        for day in days:
            result = account(name, made, declared, ledger, *day, also=also, **run)
            also = []
            heard_again |= result.heard_again
            done.add(result)
            done.up_to_s = day[1]
    stretches = union([*again(ledger, name, heard_again, start_s), *found.stretches])
    if also and not stretches:
        stretches = [last_hour(ledger, name)]
    for stretch in stretches:
        for day in split_by_day(config.site.zone, *stretch):
            try:
                done.add(
                    account(name, made, declared, ledger, *day, also=also, measured_before=ledger.measured_s, **run)
                )
                also = []
            except SamplesGoneError:
                done.gone[day] = None
    ledger.heard_again(name, heard_again)
    tried(ledger, name, run)
    done.changed, done.lost = len(found.jobs), found.lost


def _keep_accounts(config: SiteConfig, name: str, ledger: Ledger, done: _Done) -> None:
    """Note who belongs to which account. Sums by account need it not: where Slurm does not say, that is a warning."""
    from accounting.sources import SourceError
    from scarbon.wiring import account_tree

    try:
        tree = account_tree(config, name)
    except SourceError as error:
        done.warnings[f"the tree of accounts stays as it was: {error.what}"] = None
    else:
        if tree is not None:
            ledger.keep_accounts(tree)


def _shown(config: SiteConfig, time_s: float) -> str:
    from datetime import datetime

    return datetime.fromtimestamp(time_s, config.site.zone).strftime("%Y-%m-%dT%H:%M:%S")


@contextmanager
def _progress(days: list[tuple[float, float]], label: str, quiet: bool) -> Iterator[Iterable[tuple[float, float]]]:
    """The days, with a bar on a terminal's stderr when there are several."""
    if quiet or len(days) < 2 or not sys.stderr.isatty():
        yield days
    else:
        with click.progressbar(days, label=label, file=sys.stderr) as bar:
            yield bar
