"""`scarbon export`: the books as tables for other programs, CSV or Parquet."""

from __future__ import annotations

import sys
import time
from datetime import date, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import click

from accounting.clock import day_of, day_start
from accounting.exporting import JOBS, TABLES, Table, rows_of
from accounting.ledger.reading import Books
from scarbon import writers
from scarbon.errors import UserError, WrongUseError
from scarbon.periods import refuse_unbooked
from scarbon.secrets import pseudonyms_of
from scarbon.site import chosen_clusters, known_site, open_books
from scarbon.times import midnight, parse_time
from site_config.kept import KnownSite

EXAMPLE = """\b
Examples:
  scarbon export -o books                         jobs.csv, balance.csv, adjustments.csv, columns.csv
  scarbon export --format parquet -S 2026-10-01 -E 2026-11-01 -o october
  scarbon export -S now-7days -o -                the jobs' table on stdout
  scarbon export --anonymise /etc/scarbon/salt --accounts -o published
"""


@click.command(epilog=EXAMPLE)
@click.option("-S", "--starttime", metavar="TIME", help="From this midnight on. [default: where the books begin]")
@click.option("-E", "--endtime", metavar="TIME", help="… up to this midnight. [default: where they end]")
@click.option("-M", "--clusters", metavar="NAME,…", help="Only these clusters. [default: all]")
@click.option("--format", "as_", type=click.Choice(["csv", "parquet"]), default="csv", show_default=True)
@click.option(
    "-o", "--output", metavar="FOLDER|FILE", required=True,
    help="A folder for all tables; a file that ends in .csv or .parquet, or - for stdout (CSV), for the jobs alone.",
)  # fmt: skip
@click.option(
    "--anonymise", metavar="FILE", type=Path, help="Users by pseudonyms made with the secret in FILE; no names of jobs."
)
@click.option("--accounts", is_flag=True, help="With --anonymise: accounts and WCKeys, too.")
@click.option("-f", "--force", is_flag=True, help="Replace files that are there.")
@click.pass_obj
def export(
    config_option: str | None,
    /,
    starttime: str | None,
    endtime: str | None,
    clusters: str | None,
    as_: str,
    output: str,
    anonymise: Path | None,
    accounts: bool,
    force: bool,
) -> None:
    """Write what jobs used by day, the balance of each meter by day, and adjustments to closed months.

    Every column is told in columns.csv (in Parquet's metadata, too): energies in joules, emissions in grams, times in
    seconds since 1970 in UTC, days of the site's calendar. Unknown is empty. All tables are of one moment of the books.
    """
    if accounts and anonymise is None:
        raise WrongUseError("--accounts says what else --anonymise replaces", "use both, or neither")
    config = known_site(config_option)
    chosen = chosen_clusters(config, clusters)
    pseudonyms = None if anonymise is None else pseudonyms_of(anonymise, accounts=accounts)
    as_ = _format(output, as_)
    books = open_books(config)
    first, last = _period(config, books, starttime, endtime)

    def batches(table: Table) -> writers.Batches:
        return rows_of(table, books, first, last, chosen, pseudonyms)

    if output == "-":
        writers.write_csv(sys.stdout, JOBS, batches(JOBS))
        return
    path = Path(output)
    tables: tuple[Table, ...] = (JOBS,)
    paths = [path]
    if path.suffix not in (".csv", ".parquet"):
        tables = TABLES
        paths = [path / f"{table.name}.{as_}" for table in tables] + [path / "columns.csv"]
        path.mkdir(parents=True, exist_ok=True)
    elif not path.parent.is_dir():
        raise UserError(f"{path.parent}: there is no such folder", "make it, or name another place")
    there = [one for one in paths if one.exists()]
    if there and not force:
        raise UserError(f"{there[0]} is there already", "name another place, or replace it with --force")
    with writers.whole_files(paths) as partial_paths:
        for table, file in zip(tables, partial_paths, strict=False):
            _write(file, as_, table, batches(table))
        if len(partial_paths) > len(tables):
            with partial_paths[-1].open("w", encoding="utf-8", newline="") as out:
                writers.write_columns(out)
    click.echo(f"{first} to {last}: {', '.join(str(one) for one in paths)}", err=True)


def _write(path: Path, as_: str, table: Table, batches: writers.Batches) -> None:
    if as_ == "parquet":
        writers.write_parquet(path, table, batches)
        return
    with path.open("w", encoding="utf-8", newline="") as out:
        writers.write_csv(out, table, batches)


def _format(output: str, as_: str) -> str:
    """What the tables are written as; WrongUseError where file and format do not fit."""
    suffix = Path(output).suffix
    if suffix == ".parquet" or (suffix != ".csv" and as_ == "parquet"):
        as_ = "parquet"
        if output == "-":
            raise WrongUseError("Parquet is no text for stdout", "name a folder or a file with -o")
        writers.check_parquet()
    elif suffix == ".csv" and as_ == "parquet":
        raise WrongUseError(f"{output} is the name of a CSV file", "name it .parquet, or leave --format out")
    return as_


def _period(config: KnownSite, books: Books, start: str | None, end: str | None) -> tuple[date, date]:
    """The first and the last day: as asked, else as far as the books go."""
    zone = config.site.zone
    booked = [stretch for cluster in books.clusters() for stretch in books.booked(cluster)]
    if not booked:
        raise UserError("the books are empty", "run scarbon collect first")
    first = _day(start, zone) if start else day_of(zone, min(a for a, _ in booked))
    beyond_s = max(b for _, b in booked)
    last = (_day(end, zone) if end else day_of(zone, beyond_s - 1e-3) + timedelta(days=1)) - timedelta(1)
    if last < first:
        if start and end:
            raise WrongUseError("the period ends before it begins", "check -S and -E")
        # One bound alone is beyond the other end of the books.
        refuse_unbooked(books, zone, *(day_start(zone, _day(one, zone)) if one else None for one in (start, end)))
    return first, last


def _day(text: str, zone: ZoneInfo) -> date:
    """A midnight's day; `now-7days` is taken for the day on which it falls."""
    if text.strip().startswith("now"):
        return day_of(zone, parse_time(text, zone, time.time()))
    return midnight(text, zone)
