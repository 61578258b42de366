"""`scarbon jobs`: jobs with their energy and CO2e, with sacct's letters."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any

import click

from accounting.jobs import JobFilter, JobUsage, list_jobs
from accounting.ledger.reading import Books
from scarbon import __version__
from scarbon.choosing import job_filter, job_options
from scarbon.fields import DEFAULT_FORMAT, FIELDS, Style, format_time, parse_format, table
from scarbon.site import LATE_S, accuracy, known_site, open_books
from site_config.kept import KnownSite

EXAMPLE = """\b
Examples:
  scarbon jobs                              your jobs since midnight
  scarbon jobs -S now-7days -A phys -a      an account's jobs of a week
  scarbon jobs -j 42,43_1 -o JobID,State,GpuEnergy,CO2e,Coverage -P
"""


@click.command(epilog=EXAMPLE)
@job_options
@click.option("-X", "--allocations", is_flag=True, help="Accepted as in sacct: there are no steps to leave out.")
@click.option("-o", "--format", "fields", metavar="FIELD[%WIDTH],…", default=DEFAULT_FORMAT, help="Which fields.")
@click.option("-P", "--parsable2", is_flag=True, help="Fields with | between them.")
@click.option("-p", "--parsable", is_flag=True, help="Fields with | behind each.")
@click.option("--delimiter", metavar="TEXT", default="|", help="In the place of |.")
@click.option("-n", "--noheader", is_flag=True, help="No header.")
@click.option("--noconvert", is_flag=True, help="Figures in base units: J, gCO2e, gCO2e/kWh, ratios.")
@click.option("--json", "as_json", is_flag=True, help="All of it as JSON, in base units; unknown is null.")
@click.option("--helpformat", is_flag=True, help="List the fields and end.")
@click.pass_obj
def jobs(config_option: str | None, /, **options: Any) -> None:
    """List jobs with their energy and CO2e.

    As in sacct, a job that overlaps the window is listed whole: -S and -E choose jobs, and do not cut them.
    """
    if options["helpformat"]:
        for field in sorted(FIELDS.values(), key=lambda field: field.name.lower()):
            click.echo(f"{field.name:<16} {field.about}")
        return
    fields = parse_format(options["fields"])
    config = known_site(config_option)
    now_s = time.time()
    chosen = job_filter(config, options, now_s)
    books = open_books(config)
    found = list_jobs(books, chosen, accuracy(config))
    if options["as_json"]:
        _print_json(config, books, chosen, found)
        return
    style = Style(config.site.zone, now_s, options["noconvert"])
    rows = ([field.show(job, style) for field in fields] for job in found)
    header = not options["noheader"]
    if options["parsable"] or options["parsable2"]:
        delimiter = options["delimiter"]
        end = delimiter if options["parsable"] and not options["parsable2"] else ""
        names = [[field.name for field in fields]] if header else []
        lines = (delimiter.join(row) + end for row in (*names, *rows))
        sys.stdout.writelines(f"{line}\n" for line in lines)
    else:
        listed = list(found)
        cells = [[field.show(job, style) for field in fields] for job in listed]
        sys.stdout.writelines(f"{line}\n" for line in table(fields, cells, header))
        if sys.stderr.isatty():
            _say_how_late(config, books, chosen, now_s)
            if config.budgets and header:
                _say_budgets(config, books, listed, now_s)


def _say_how_late(config: KnownSite, books: Books, chosen: JobFilter, now_s: float) -> None:
    """Tell a person that the books end before the window does: what was used since is in no figure."""
    wanted_s = min(now_s if chosen.end_s is None else chosen.end_s, now_s) - LATE_S
    for name in chosen.clusters or config.clusters:
        booked = books.booked(name)
        if not booked or booked[-1][1] < wanted_s:
            end = f"up to {format_time(booked[-1][1], config.site.zone)}" if booked else "not at all"
            click.echo(f"note: {name} is accounted {end}; what was used since is in no figure", err=True)


def _say_budgets(config: KnownSite, books: Books, listed: list[JobUsage], now_s: float) -> None:
    """Tell a person how the budgets stand to which the listed jobs count."""
    from scarbon.budgets import lines_for

    for line in lines_for(config, books, {job.account for job in listed if job.account is not None}, now_s):
        click.echo(line, err=True)


def _print_json(config: KnownSite, books: Books, chosen: JobFilter, found: Iterator[JobUsage]) -> None:
    """The documented object: `meta` and `jobs`, in base units."""
    import json

    meta = {
        "version": __version__,
        "site": config.site.name,
        "timezone": config.site.timezone,
        "start": chosen.start_s,
        "end": chosen.end_s,
        "booked": {name: books.booked(name) for name in config.clusters},
        "host": {name: cluster.host.method for name, cluster in config.clusters.items()},
    }
    rows = [_json_job(job) for job in found]
    click.echo(json.dumps({"meta": meta, "jobs": rows}, indent=1, ensure_ascii=False))


def _json_job(job: JobUsage) -> dict[str, Any]:
    names = (
        "cluster", "job_id", "job_id_raw", "submit", "start", "end", "state", "user", "account", "partition", "qos",
        "wckey", "name", "tags", "gpus", "gpu_seconds", "gpu_energy_j", "host_energy_j", "it_energy_j",
        "facility_energy_j", "co2e_location_g", "co2e_market_g", "co2e_embodied_g", "co2e_low_g", "co2e_high_g",
        "intensity_g_per_kwh", "pue", "coverage", "method",
    )  # fmt: skip
    return {name: getattr(job, name) for name in names}
