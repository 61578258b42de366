"""`scarbon advice`: how to emit less, from a person's own jobs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from accounting.advice import (
    HARDLY,
    MOVABLE_S,
    HardlyUsed,
    Lost,
    Moved,
    Start,
    best_start,
    hardly_used,
    idle_levels,
    lost,
    moved,
    usual_length_s,
)
from accounting.calculator import UnknownNameError, Work, find_hardware, greenest, same_work_on
from accounting.jobs import JobFilter, JobUsage, list_jobs
from accounting.ledger.reading import Books
from accounting.model import FactorSlot
from accounting.statement import J_PER_KWH, Statement, Used, number_of, state_jobs, used
from scarbon import __version__, units
from scarbon.choosing import job_filter, job_options_since
from scarbon.equivalents import equivalents_of
from scarbon.errors import UserError
from scarbon.site import accuracy, open_books, site
from site_config.schema import SiteConfig

if TYPE_CHECKING:
    from accounting.sources import ForecastSource

EXAMPLE = """\b
Examples:
  scarbon advice                            for you, from your jobs of the last 30 days
  scarbon advice -A phys -a -S now-90days   for an account
"""

DAY_S = 86_400
_MOST = 5  # jobs that are named


@dataclass(frozen=True, slots=True)
class Advice:
    """All that is said; `stated` are the figures of all the jobs."""

    stated: Statement
    lost: Sequence[Lost]
    hardly_used: Sequence[HardlyUsed]
    moved: Moved
    moved_by: str  # whose intensities
    start: Start | None
    forecast_by: str | None
    thriftier: tuple[str, str, float] | None  # this model, that one, and the share of energy that it would save


@click.command(epilog=EXAMPLE)
@job_options_since("now-30days")
@click.option("--json", "as_json", is_flag=True, help="All of it as JSON, in base units.")
@click.pass_obj
def advice(config_option: str | None, /, as_json: bool, **options: Any) -> None:
    """Say how to emit less: what did not complete, what was held and hardly used, when to run.

    The greenest hours of the next two days are told where the site has a source of forecasts (grid.advice).
    """
    config = site(config_option)
    now_s = time.time()
    with open_books(config) as books:
        # What an attempt used before it was requeued did not complete, either.
        chosen = replace(job_filter(config, books, options, now_s, since="now-30days"), duplicates=True)
        jobs = [job for job in list_jobs(books, chosen, accuracy(config)) if job.start is not None]
        if not jobs:
            raise UserError("there are no jobs to learn from", "choose others, with -u, -A, -S; see scarbon jobs")
        found, problems = _advise(config, books, jobs, now_s)
    for problem in problems:
        click.echo(f"warning: {problem}", err=True)
    if as_json:
        click.echo(json.dumps(_document(config, found, chosen), indent=1, ensure_ascii=False))
    else:
        click.echo("\n".join(_text(config, found, now_s)))


def _advise(config: SiteConfig, books: Books, jobs: Sequence[JobUsage], now_s: float) -> tuple[Advice, list[str]]:
    problems: list[str] = []
    rows = used(books, jobs)
    source = _forecast_source(config)
    past, past_by = _past(books, jobs, now_s, source, problems)
    length_s = usual_length_s(jobs)
    start = None
    if source is not None and length_s is not None:
        expected = _asked(lambda: source.forecast(now_s, now_s + 2 * DAY_S), source.name, problems)
        start = best_start(expected, now_s, length_s)
        if expected and start is None:
            problems.append(f"{source.name}: its forecast ends before a job of {length_s / 3600:g} h would")
    by_cluster = [moved([job for job in jobs if job.cluster == name], slots) for name, slots in past.items()]
    found = Advice(
        stated=state_jobs(books, jobs, config.wue_l_per_kwh, accuracy(config)),
        lost=lost(jobs),
        hardly_used=hardly_used(jobs, rows, idle_levels(books, *_period(jobs, now_s))),
        moved=Moved(*(sum(getattr(one, name) for one in by_cluster) for name in ("jobs", "emitted_g", "saved_g"))),
        moved_by=past_by,
        start=start,
        forecast_by=None if source is None else source.name,
        thriftier=_thriftier(books, rows),
    )
    return found, problems


def _forecast_source(config: SiteConfig) -> ForecastSource | None:
    if config.grid.advice is None:
        return None
    from collectors.grid.registry import forecast_source

    return forecast_source(config.grid.advice)


def _period(jobs: Sequence[JobUsage], now_s: float) -> tuple[float, float]:
    """From the first start of the jobs to their last end, or now."""
    starts = [job.start for job in jobs if job.start is not None]
    return min(starts), max(now_s if job.end is None else job.end for job in jobs)


def _past(
    books: Books, jobs: Sequence[JobUsage], now_s: float, source: ForecastSource | None, problems: list[str]
) -> tuple[dict[str, Sequence[FactorSlot]], str]:
    """The intensities of the jobs' time by cluster, and a day on: marginal where the site has them, else the books'."""
    from accounting.factors import applied
    from collectors.grid.watttime import WattTime

    start_s, end_s = _period(jobs, now_s)
    end_s = min(end_s + MOVABLE_S, now_s)
    clusters = sorted({job.cluster for job in jobs})
    if isinstance(source, WattTime):
        marginal = source
        if slots := _asked(lambda: marginal.past(start_s, end_s), source.name, problems):
            return dict.fromkeys(clusters, slots), "WattTime's marginal rates"
    return {
        name: applied(books, name, "location", start_s, end_s) for name in clusters
    }, "the books' hourly intensities"


def _asked(ask: Callable[[], Iterable[FactorSlot]], name: str, problems: list[str]) -> list[FactorSlot]:
    """What a source answers; where it fails, what it gave before, and a line for a person."""
    from accounting.sources import SourceError

    found: list[FactorSlot] = []
    try:
        found.extend(ask())
    except SourceError as error:
        problems.append(f"{name}: {error.what}" + (f" ({error.advice})" if error.advice else ""))
    return found


def _thriftier(books: Books, rows: Sequence[Used]) -> tuple[str, str, float] | None:
    """Of the GPUs that the books know, one on which the same work would take less energy than on the most used one."""
    held_s: dict[str, float] = {}
    for row in rows:
        if row.kind == "gpu" and row.model:
            held_s[row.model] = held_s.get(row.model, 0.0) + row.held_s
    if not held_s:
        return None
    mine = max(held_s, key=lambda model: held_s[model])
    best: tuple[str, str, float] | None = None
    for known in books.rows("SELECT DISTINCT model FROM meters WHERE kind = 'gpu' AND model <> ''"):
        try:
            hardware, other = find_hardware(mine), find_hardware(known["model"])
        except UnknownNameError:
            continue
        carried = same_work_on(hardware, other, Work(1, 1.0, hardware.tdp_w)) if other is not hardware else None
        if carried is not None:
            saved = 1 - carried.hours * carried.power_w / hardware.tdp_w
            if saved > (best[2] if best is not None else 0.0):
                best = (mine, known["model"], saved)
    return best


def _text(config: SiteConfig, found: Advice, now_s: float) -> Iterator[str]:
    stated = found.stated
    total_j = stated.it_energy_j or 0.0
    emitted = "" if stated.co2e_location_g is None else f", {units.mass(stated.co2e_location_g)} CO2e"
    yield f"{_count(stated.jobs or 0, 'job')}: {units.energy(stated.it_energy_j, 'energy unknown')}{emitted}."
    yield ""
    yield from _waste(found, total_j)
    yield ""
    yield from _when(config, found, now_s)
    yield ""
    yield "What you can do, with your own figures:"
    yield from (f"  {line}" for line in _actions(found, total_j))


def _waste(found: Advice, total_j: float) -> Iterator[str]:
    if not found.lost:
        yield "Nothing went into jobs that failed, were cancelled or timed out."
    for state in found.lost:
        grams = "" if state.co2e_location_g is None else f", {units.mass(state.co2e_location_g)} CO2e"
        share = units.share(state.it_energy_j / total_j) if total_j else "none"
        yield f"{state.state}: {_count(state.jobs, 'job')}, {units.energy(state.it_energy_j)} ({share}){grams}"
    if not found.hardly_used:
        yield "No job held GPUs that it hardly used."
        return
    energy_j = sum(one.energy_j for one in found.hardly_used)
    jobs = _count(len({number_of(one.job) for one in found.hardly_used}), "job")
    yield (
        f"Held and hardly used: {_held_h(found):,.1f} GPU-hours in {jobs}, {units.energy(energy_j)}; their GPUs drew "
        f"less than {HARDLY:g} times what idle ones do:"
    )
    for one in found.hardly_used[:_MOST]:
        yield (
            f"  {one.job.job_id} {one.job.name or ''}: {one.gpu_seconds / 3600:,.1f} h on {one.model or 'a GPU'} at "
            f"{one.mean_w:.0f} W; idle {one.idle_w:.0f} W"
        )
    if len(found.hardly_used) > _MOST:
        yield f"  … and {len(found.hardly_used) - _MOST} more"


def _when(config: SiteConfig, found: Advice, now_s: float) -> Iterator[str]:
    start = found.start
    if start is not None:
        job = f"Greenest start of a job of {start.length_s / 3600:g} h, your usual one"
        if start.start_s == now_s:
            yield f"{job}: now, at {start.g_per_kwh:.0f} g/kWh, by {found.forecast_by}."
        else:
            best = datetime.fromtimestamp(start.start_s, config.site.zone).strftime("%Y-%m-%d %H:%M")
            less = units.share(1 - start.g_per_kwh / start.now_g_per_kwh)
            yield (
                f"{job}: {best}, at {start.g_per_kwh:.0f} g/kWh, {less} less than now ({start.now_g_per_kwh:.0f}), "
                f"by {found.forecast_by}."
            )
    elif found.forecast_by is None:
        yield "No source of forecasts is configured (grid.advice), so the greenest hours ahead are not known."
    if found.moved.emitted_g:
        yield (
            f"Had each of {_count(found.moved.jobs, 'job')} started up to a day later, at its greenest hour: "
            f"{units.mass(found.moved.saved_g)} CO2e less, {_saved(found)} of what they emitted, by {found.moved_by}."
        )


def _actions(found: Advice, total_j: float) -> Iterator[str]:
    """The action items of Lacoste, Luccioni, Schmidt and Dandres, each with this person's figure."""
    stated = found.stated
    co2e = f"{units.mass(stated.co2e_location_g, 'an unknown amount of')} CO2e"
    lost_share = units.share(sum(one.it_energy_j for one in found.lost) / total_j) if total_j else "none"
    gpu_h = stated.gpu_seconds / 3600
    yield f"Disclose: these jobs emitted {co2e}; scarbon statement writes the paragraph for your paper."
    yield (
        f"Reduce waste: {lost_share} of your energy is that of runs that did not complete; "
        "test small, checkpoint, set limits that fit."
    )
    yield f"Let go of idle GPUs: {_held_h(found):,.1f} of your {gpu_h:,.1f} GPU-hours were hardly used."
    yield "Search less: most energy goes into tuning; use pretrained models, and random search in place of grids."
    if found.moved.emitted_g:
        yield f"Choose the hour: up to {_saved(found)} less, by waiting a day at most."
    if found.thriftier is not None:
        mine, other, saved = found.thriftier
        yield f"Choose the hardware: {units.share(saved)} less energy on {other} than on {mine}, at the same load."
    if stated.facility_energy_j is not None and stated.it_energy_j is not None:
        beside = units.energy(stated.facility_energy_j - stated.it_energy_j)
        yield f"Mind the building: it drew {beside} beside your jobs, at a PUE of {stated.pue or 0:.2f}."
    if stated.facility_energy_j is not None:
        place = greenest()
        there = units.mass(stated.facility_energy_j / J_PER_KWH * place.grid.gco2e_per_kwh)
        yield f"Choose the place: {there} CO2e for the same energy in {place.location}, the greenest of the tables."
    if stated.co2e_location_g is not None:
        car = next(one for one in equivalents_of(stated.co2e_location_g) if one["per"] == "km")
        as_much = f"{car['amount']:,.0f} km by car ({car['source']})"
        yield f"Offset what is left, and say so beside: {co2e} is as much as {as_much}."


def _held_h(found: Advice) -> float:
    return sum(one.gpu_seconds for one in found.hardly_used) / 3600


def _saved(found: Advice) -> str:
    return units.share(found.moved.saved_g / found.moved.emitted_g)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def _document(config: SiteConfig, found: Advice, chosen: JobFilter) -> dict[str, Any]:
    return {
        "meta": {
            "version": __version__,
            "site": config.site.name,
            "timezone": config.site.timezone,
            "start": chosen.start_s,
            "end": chosen.end_s,
        },
        "jobs": found.stated.jobs,
        "it_energy_j": found.stated.it_energy_j,
        "co2e_location_g": found.stated.co2e_location_g,
        "lost": [asdict(one) for one in found.lost],
        "hardly_used": [
            {
                "cluster": one.job.cluster,
                "job_id": one.job.job_id,
                "user": one.job.user,
                "model": one.model,
                "gpu_seconds": one.gpu_seconds,
                "energy_j": one.energy_j,
                "mean_w": one.mean_w,
                "idle_w": one.idle_w,
            }
            for one in found.hardly_used
        ],
        "moved": {**asdict(found.moved), "by": found.moved_by},
        "start": None if found.start is None else {**asdict(found.start), "by": found.forecast_by},
        "thriftier": None
        if found.thriftier is None
        else dict(zip(("model", "other", "saved_share"), found.thriftier, strict=True)),
        "equivalents": [] if found.stated.co2e_location_g is None else equivalents_of(found.stated.co2e_location_g),
    }
