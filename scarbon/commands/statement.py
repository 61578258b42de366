"""`scarbon statement`: what jobs used and emitted, as a paragraph for a paper or for other programs."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

import click

from accounting.jobs import JobUsage, list_jobs
from accounting.ledger.reading import Books
from accounting.statement import Spread, Statement, key_of, state_jobs, used
from scarbon import __version__
from scarbon.choosing import job_filter, job_options
from scarbon.equivalents import equivalents_of
from scarbon.errors import UserError
from scarbon.site import accuracy, open_books, site
from site_config.schema import Range, SiteConfig

EXAMPLE = """\b
Examples:
  scarbon statement -j 42,43 --format latex
  scarbon statement -A phys -a -S 2026-10-01 -E 2026-11-01
  scarbon statement -S now-30days --format codecarbon > emissions.csv
"""

FORMS = ("markdown", "latex", "json", "boamps", "codecarbon")


@click.command(epilog=EXAMPLE)
@job_options
@click.option(
    "--format", "form", type=click.Choice(FORMS), default="markdown", show_default=True, help="A text, or for programs."
)
@click.option("--json", "form", flag_value="json", help="The same as --format json.")
@click.pass_obj
def statement(config_option: str | None, /, **options: Any) -> None:
    """State what chosen jobs used and emitted: a paragraph with its BibTeX, or the figures for other programs.

    Jobs are chosen as in `scarbon jobs`, and counted whole. What a requeued job used before, in runs that the window
    touches, is in the figures with or without -D, and it is one job.

    For a calculation, see `scarbon calculate --statement`.
    """
    config = site(config_option)
    now_s = time.time()
    with open_books(config) as books:
        chosen = replace(job_filter(config, books, options, now_s), duplicates=True)  # they were emitted, too
        jobs = [job for job in list_jobs(books, chosen) if job.start is not None]
        if not jobs:
            raise UserError("none of the chosen jobs has started", "choose others, with -S, -u, -j; see scarbon jobs")
        if options["form"] == "codecarbon":
            _print_codecarbon(config, books, jobs)
            return
        stated = state_jobs(books, jobs, config.wue_l_per_kwh, accuracy(config), _spread(config))
    if options["form"] == "json":
        click.echo(json.dumps(_document(config, stated), indent=1, ensure_ascii=False))
    elif options["form"] == "boamps":
        _print_boamps(config, stated, now_s)
    else:
        _print_text(config, stated, options["form"])


def _spread(config: SiteConfig) -> Spread:
    """The spread of the embodied figures that the site declares."""

    def figure(cluster: str, kind: str, model: str) -> Range | None:
        declared = config.clusters[cluster].embodied if cluster in config.clusters else None
        return None if declared is None else declared.figure(kind, model)

    return figure


def _print_text(config: SiteConfig, stated: Statement, form: str) -> None:
    from scarbon.statements import Occasion, print_statement

    what = "the cluster" if len(stated.clusters) == 1 else "the clusters"
    where = f"{what} {', '.join(stated.clusters)} of {config.site.name}"
    references = sorted(
        {
            cluster.embodied.reference
            for name, cluster in config.clusters.items()
            if name in stated.clusters and cluster.embodied is not None and cluster.embodied.reference is not None
        }
    )
    print_statement(stated, Occasion(where, config.site.zone, embodied="; ".join(references) or None), form)


def _document(config: SiteConfig, stated: Statement) -> dict[str, Any]:
    """The figures under the ledger's names, in base units; unknown is null."""
    return {
        "meta": {"version": __version__, "site": config.site.name, "timezone": config.site.timezone},
        "statement": {
            **asdict(stated),
            "pue": stated.pue,
            "intensity_g_per_kwh": stated.intensity_g_per_kwh,
            "sci_g_per_job": stated.sci_g_per_job,
            "sci_g_per_gpu_hour": stated.sci_g_per_gpu_hour,
        },
        "equivalents": [] if stated.co2e_location_g is None else equivalents_of(stated.co2e_location_g),
    }


def _print_boamps(config: SiteConfig, stated: Statement, now_s: float) -> None:
    from scarbon.exchange import boamps
    from site_config.tables import grid_intensity

    zone = config.site.zone
    place = grid_intensity()[config.grid.zone]
    report = boamps(stated, config.site.name, place, zone, datetime.fromtimestamp(now_s, zone))
    click.echo(json.dumps(report, indent=1, ensure_ascii=False))


def _print_codecarbon(config: SiteConfig, books: Books, jobs: Sequence[JobUsage]) -> None:
    from scarbon.exchange import write_codecarbon
    from site_config.tables import grid_intensity

    gpus = {key_of(job): job.gpus for job in jobs}
    models = {row.job: f"{gpus[row.job]} x {row.model}" for row in used(books, jobs) if row.model}
    place = grid_intensity()[config.grid.zone]
    write_codecarbon(sys.stdout, jobs, models, place, config.site.zone, config.wue_l_per_kwh)
