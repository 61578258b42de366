"""`scarbon jobs`: jobs with their energy and CO2e, with sacct's letters.

docs/jobs.md says option by option where this is not what sacct does.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import click

from accounting.jobs import JobFilter, JobUsage, list_jobs
from accounting.ledger.reading import Books
from scarbon import __version__
from scarbon.choosing import job_filter, job_options
from scarbon.errors import WrongUseError
from scarbon.fields import DEFAULT_FORMAT, FIELDS, ONLY_IN_SACCT, Field, Style, format_time, parse_format, table
from scarbon.past import as_of_option, jobs_then
from scarbon.sacct import SacctLike, refused_options
from scarbon.site import LATE_S, accuracy, known_site, open_books
from scarbon.units import PREFIXES
from site_config.kept import KnownSite

EXAMPLE = """\b
Examples:
  scarbon jobs                              your jobs since midnight
  scarbon jobs -S now-7days -A phys -a      an account's jobs of a week
  scarbon jobs -j 42,43_1 -o JobID,State,GpuEnergy,CO2e,Coverage -P
"""

_BRIEF = "JobID,State,ExitCode"
_LONG = (
    "JobID,JobIDRaw,JobName,Partition,AllocCPUS,NGPUs,Elapsed,State,ExitCode,GpuEnergy,HostEnergy,ItEnergy,"
    "FacilityEnergy,PUE,Intensity,CO2e,CO2eLow,CO2eHigh,CO2eMarket,CO2eEmbodied,Coverage,Method"
)


def _helpformat(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        for field in sorted(FIELDS.values(), key=lambda field: field.name.lower()):
            click.echo(f"{field.name:<16} {field.about}")
        ctx.exit()


def _usage(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        click.echo(ctx.get_usage())
        ctx.exit()


@click.command(cls=SacctLike, epilog=EXAMPLE)
@job_options
@click.option("-X", "--allocations", is_flag=True, help="Accepted as in sacct: there are no steps to leave out.")
@click.option("-o", "--format", "fields", metavar="FIELD[%WIDTH],…", multiple=True, help="Which fields; ALL: all.")
@click.option("-b", "--brief", is_flag=True, help=f"The fields {_BRIEF}.")
@click.option("-l", "--long", is_flag=True, help="All that is said of energy and emissions.")
@click.option("-P", "--parsable2", "parsable", flag_value="between", help="Fields with | between them.")
@click.option("-p", "--parsable", "parsable", flag_value="behind", help="Fields with | behind each.")
@click.option("--delimiter", metavar="TEXT", default="|", help="In the place of |.")
@click.option("-n", "--noheader", is_flag=True, help="No header.")
@click.option("--noconvert", is_flag=True, help="Figures in base units: J, gCO2e, gCO2e/kWh, ratios.")
@click.option(
    "--units",
    "unit",
    type=click.Choice(list(PREFIXES), case_sensitive=False),
    metavar="|".join(PREFIXES),
    help="All in kWh and kg, MWh and t, …",
)
@click.option("--json", "form", flag_value="json", help="All of it as JSON, in base units; unknown is null.")
@click.option("--yaml", "form", flag_value="yaml", help="The same as YAML.")
@click.option("-v", "--verbose", is_flag=True, help="Say on stderr which window is meant.")
@click.option(
    "-e",
    "--helpformat",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_helpformat,
    help="List the fields and end.",
)
@click.option("--usage", is_flag=True, is_eager=True, expose_value=False, callback=_usage, hidden=True)
@click.version_option(__version__, "-V", "--version", prog_name="scarbon", message="%(prog)s %(version)s")
@as_of_option
@refused_options
@click.pass_obj
def jobs(config_option: str | None, /, **options: Any) -> None:
    """List jobs with their energy and CO2e.

    As in sacct, a job that overlaps the window is listed whole: -S and -E choose jobs, and do not cut them. With
    -s and without times it lists jobs as they are now; with -S alone, as they were then.
    """
    fields = _fields(options)
    config = known_site(config_option)
    now_s = time.time()
    books = open_books(config)
    chosen = job_filter(config, books, options, now_s, one_moment=True)
    if options["verbose"]:
        _say_window(config, chosen)
    as_of_s = jobs_then(config, books, options["as_of"], chosen, now_s)
    found = list_jobs(books, chosen, accuracy(config))
    if options["form"] is not None:
        _print_document(config, books, chosen, found, now_s, options["form"], as_of_s)
        return
    style = Style(config.site.zone, now_s, options["noconvert"] and options["unit"] is None, options["unit"])
    header = not options["noheader"]
    if options["parsable"] is not None:
        _print_parsable(fields, found, style, header, options)
        return
    shown = list(found)
    rows = [[field.show(job, style) for field in fields] for job in shown]
    sys.stdout.writelines(f"{line}\n" for line in table(fields, rows, header))
    if sys.stderr.isatty():
        _say_how_late(config, books, chosen, now_s)
        if as_of_s is not None:
            moment = format_time(as_of_s, config.site.zone)
            click.echo(f"note: figures as they stood at {moment}; all else of the jobs is as it is now", err=True)
        elif header:
            _say_budgets(config, books, shown, now_s)
        if not shown and options["state"] and not options["endtime"] and options["starttime"]:
            click.echo("note: as in sacct, -s with -S alone means that moment; say until when with -E now", err=True)


def _fields(options: dict[str, Any]) -> list[Field]:
    """The fields that -o, -b and -l ask for together; else those of the environment."""
    asked = [*options["fields"], *([_BRIEF] if options["brief"] else ()), *([_LONG] if options["long"] else ())]
    if asked:
        return parse_format(",".join(asked))
    for variable in ("SCARBON_FORMAT", "SACCT_FORMAT"):
        if text := os.environ.get(variable):
            # A list that was made for sacct may name what only sacct has.
            known = [part for part in text.split(",") if part.partition("%")[0].strip().lower() not in ONLY_IN_SACCT]
            try:
                return parse_format(",".join(known if variable == "SACCT_FORMAT" else [text]))
            except WrongUseError as error:
                raise WrongUseError(f"{variable}: {error.what}", error.advice) from None
    return parse_format(DEFAULT_FORMAT)


def _print_parsable(
    fields: Sequence[Field], found: Iterable[JobUsage], style: Style, header: bool, options: dict[str, Any]
) -> None:
    delimiter = options["delimiter"]
    end = delimiter if options["parsable"] == "behind" else ""
    names = [[field.name for field in fields]] if header else []
    rows = ([field.show(job, style) for field in fields] for job in found)
    sys.stdout.writelines(f"{delimiter.join(row)}{end}\n" for part in (names, rows) for row in part)


def _say_window(config: KnownSite, chosen: JobFilter) -> None:
    states = "" if chosen.states is None else f" {','.join(chosen.states)}"
    start = "the beginning" if chosen.start_s is None else format_time(chosen.start_s, config.site.zone)
    end = "now" if chosen.end_s is None else format_time(chosen.end_s, config.site.zone)
    click.echo(f"scarbon: jobs{states} in the window from {start} to {end}", err=True)


def _say_how_late(config: KnownSite, books: Books, chosen: JobFilter, now_s: float) -> None:
    """Tell a person that the books end before the window does: what was used since is in no figure."""
    wanted_s = min(now_s if chosen.end_s is None else chosen.end_s, now_s) - LATE_S
    for name in chosen.clusters or config.clusters:
        booked = books.booked(name)
        if not booked or booked[-1][1] < wanted_s:
            end = f"up to {format_time(booked[-1][1], config.site.zone)}" if booked else "not at all"
            click.echo(f"note: {name} is accounted {end}; what was used since is in no figure", err=True)


def _say_budgets(config: KnownSite, books: Books, shown: Iterable[JobUsage], now_s: float) -> None:
    """Tell a person how the budgets stand of the accounts that are listed."""
    if config.budgets:
        from scarbon.budgets import lines_for

        for line in lines_for(config, books, {job.account for job in shown if job.account is not None}, now_s):
            click.echo(line, err=True)


def _print_document(
    config: KnownSite,
    books: Books,
    chosen: JobFilter,
    found: Iterator[JobUsage],
    now_s: float,
    form: str,
    as_of_s: float | None,
) -> None:
    """The documented object: `meta` and `jobs`, in base units."""
    meta = {
        "version": __version__,
        "site": config.site.name,
        "timezone": config.site.timezone,
        "start": chosen.start_s,
        "end": chosen.end_s,
        "as_of": as_of_s,
        "booked": {name: [list(stretch) for stretch in books.booked(name)] for name in config.clusters},
        "host": {name: cluster.host.method for name, cluster in config.clusters.items()},
    }
    document = {"meta": meta, "jobs": [json_job(job, now_s) for job in found]}
    if form == "yaml":
        import yaml

        click.echo(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), nl=False)
    else:
        import json

        click.echo(json.dumps(document, indent=1, ensure_ascii=False))


def json_job(job: JobUsage, now_s: float) -> dict[str, Any]:
    """A job under the documented names, in base units; unknown is null."""
    names = (
        "cluster", "job_id", "job_id_raw", "submit", "start", "end", "state", "exit_code", "user", "uid", "account",
        "partition", "qos", "wckey", "name", "comment", "tags", "cpus", "memory_mb", "gpus", "suspended_s",
        "gpu_seconds", "gpu_energy_j", "host_energy_j", "it_energy_j", "facility_energy_j", "co2e_location_g",
        "co2e_market_g", "co2e_embodied_g", "co2e_low_g", "co2e_high_g", "intensity_g_per_kwh", "pue", "coverage",
        "method",
    )  # fmt: skip
    nodes = job.nodes.split(",") if job.nodes else []
    return {**{name: getattr(job, name) for name in names}, "nodes": nodes, "elapsed_s": job.elapsed_s(now_s)}
