"""`scarbon jobs`: jobs with their energy and CO2e, with sacct's letters."""

from __future__ import annotations

import os
import pwd
import sys
import time
from collections.abc import Iterator
from typing import Any

import click

from accounting.jobs import JobFilter, JobUsage, list_jobs
from accounting.ledger.reading import Books
from scarbon import __version__
from scarbon.errors import WrongUseError
from scarbon.fields import DEFAULT_FORMAT, FIELDS, Style, parse_format, table
from scarbon.site import chosen_clusters, names, open_books, site
from scarbon.times import parse_time
from site_config.schema import SiteConfig

EXAMPLE = """\b
Examples:
  scarbon jobs                              your jobs since midnight
  scarbon jobs -S now-7days -A phys -a      an account's jobs of a week
  scarbon jobs -j 42,43_1 -o JobID,State,GpuEnergy,CO2e,Coverage -P
"""

#: sacct's short names of states (`man sacct`, "JOB STATE CODES").
STATES = {
    "BF": "BOOT_FAIL", "CA": "CANCELLED", "CD": "COMPLETED", "DL": "DEADLINE", "F": "FAILED", "NF": "NODE_FAIL",
    "OOM": "OUT_OF_MEMORY", "PD": "PENDING", "PR": "PREEMPTED", "R": "RUNNING", "RQ": "REQUEUED", "RS": "RESIZING",
    "RV": "REVOKED", "S": "SUSPENDED", "TO": "TIMEOUT",
}  # fmt: skip


@click.command(epilog=EXAMPLE)
@click.option("-u", "--user", metavar="NAME,…", help="Of these users (names or numbers). [default: you; root: all]")
@click.option("-a", "--allusers", is_flag=True, help="Of all users.")
@click.option("-A", "--accounts", metavar="NAME,…", help="Of these accounts.")
@click.option("-j", "--jobs", metavar="ID,…", help="These jobs: 42, 42_3 (array task), 42+1 (heterogeneous part).")
@click.option("-r", "--partition", metavar="NAME,…", help="In these partitions.")
@click.option("-q", "--qos", metavar="NAME,…", help="With these QOS.")
@click.option("--name", metavar="NAME,…", help="With these names.")
@click.option("-M", "--clusters", metavar="NAME,…", help="On these clusters. [default: all]")
@click.option("-s", "--state", metavar="STATE,…", help="In these states, as they are now: R, CD, F, CANCELLED, …")
@click.option("-S", "--starttime", metavar="TIME", help="That were there after. [default: 00:00 today; with -j: ever]")
@click.option("-E", "--endtime", metavar="TIME", help="… and before. [default: now]")
@click.option("-D", "--duplicates", is_flag=True, help="Earlier attempts of requeued jobs, too.")
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
    config = site(config_option)
    now_s = time.time()
    chosen = _filter(config, options, now_s)
    books = open_books(config)
    found = list_jobs(books, chosen)
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
        sys.stdout.writelines(f"{line}\n" for line in table(fields, list(rows), header))


def _filter(config: SiteConfig, options: dict[str, Any], now_s: float) -> JobFilter:
    zone = config.site.zone
    ids = names(options["jobs"])
    for job in ids or ():
        if "." in job:
            raise WrongUseError(f"{job} names a step, and energy is accounted by job", f"ask for {job.split('.')[0]}")
        if not job.replace("_", "").replace("+", "").isdecimal():
            raise WrongUseError(f"{job!r} is no job id", "write 42, 42_3 or 42+1")
    start = options["starttime"] or (None if ids else "midnight")
    start_s = None if start is None else parse_time(start, zone, now_s)
    end_s = parse_time(options["endtime"] or "now", zone, now_s)
    if start_s is not None and end_s < start_s:
        raise WrongUseError("the window ends before it begins", "check -S and -E")
    return JobFilter(
        start_s=start_s,
        end_s=end_s,
        clusters=chosen_clusters(config, options["clusters"]),
        users=_users(options, bool(ids)),
        accounts=names(options["accounts"]),
        partitions=names(options["partition"]),
        qos=names(options["qos"]),
        names=names(options["name"]),
        states=_states(options["state"]),
        jobs=ids,
        duplicates=options["duplicates"],
    )


def _users(options: dict[str, Any], by_id: bool) -> list[str] | None:
    """The users asked for: those named, else the caller; root sees all, as in sacct."""
    named = names(options["user"])
    if options["allusers"] or (named is None and (os.getuid() == 0 or by_id)):
        return None
    return [_user_name(name) for name in named or [str(os.getuid())]]


def _user_name(name: str) -> str:
    if not name.isdecimal():
        return name
    try:
        return pwd.getpwuid(int(name)).pw_name
    except (KeyError, OverflowError):
        raise WrongUseError(f"no user has the number {name} here", "name the user with -u, or say -a") from None


def _states(text: str | None) -> list[str] | None:
    named = names(text)
    if named is None:
        return None
    states = []
    for name in named:
        state = STATES.get(name.upper(), name.upper())
        if state not in STATES.values():
            raise WrongUseError(f"no such state: {name!r}", f"use one of {', '.join(STATES.values())}")
        states.append(state)
    return states


def _print_json(config: SiteConfig, books: Books, chosen: JobFilter, found: Iterator[JobUsage]) -> None:
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
        "wckey", "name", "gpus", "gpu_seconds", "gpu_energy_j", "host_energy_j", "it_energy_j", "facility_energy_j",
        "co2e_location_g", "co2e_market_g", "co2e_embodied_g", "intensity_g_per_kwh", "pue", "coverage", "method",
    )  # fmt: skip
    row = {name: getattr(job, name) for name in names}
    # The interval needs the sensor's and the factors' uncertainty, which the books do not have yet: unknown, not equal.
    return {**row, "co2e_low_g": None, "co2e_high_g": None}
