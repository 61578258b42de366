"""`scarbon show`: one job's card, or that of an array; a running job as of now."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from accounting.booking import Sources
from accounting.card import Card, make_card
from accounting.jobs import JobFilter, JobUsage, list_jobs, list_jobs_of
from accounting.ledger.errors import LedgerError
from accounting.ledger.reading import Books
from accounting.sources import SourceError
from scarbon import __version__
from scarbon.choosing import job_ids, split_jobs
from scarbon.commands.jobs import json_job
from scarbon.errors import UserError
from scarbon.site import accuracy, chosen_clusters, open_books, site
from site_config.schema import SiteConfig

if TYPE_CHECKING:
    from accounting.course import Course

EXAMPLE = """\b
Examples:
  scarbon show 42                 a job, or all tasks of the array 42
  scarbon show 42_3 43 --json     a task and another job, for programs
  scarbon show 42 --svg power.svg
"""

DAY_S = 86_400.0
#: A running job is accounted from the books' end on; what is further behind than this is for `scarbon collect`.
LIVE_MOST_S = 36 * 3600.0
_TOO_MUCH = "what was used since is too much to account for a look"


@click.command(epilog=EXAMPLE)
@click.argument("job", nargs=-1, required=True)
@click.option("-M", "--clusters", metavar="NAME,…", help="On these clusters. [default: all]")
@click.option("-D", "--duplicates", is_flag=True, help="Earlier attempts of requeued jobs, too.")
@click.option("--plot/--no-plot", default=True, help="Power over time, from the samples. [default: with it]")
@click.option(
    "--svg",
    "svg_path",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the plot of one job as SVG.",
)
@click.option("--json", "as_json", is_flag=True, help="All of it as JSON, in base units; unknown is null.")
@click.pass_obj
def show(
    config_option: str | None,
    /,
    job: tuple[str, ...],
    clusters: str | None,
    duplicates: bool,
    plot: bool,
    svg_path: Path | None,
    as_json: bool,
) -> None:
    """Show what a job used and emitted, where the figures come from, and which GPUs it held.

    JOB is 42, 42_3 or 42_[1-3] (tasks of an array), 42+1 (part of a heterogeneous job); 42 is the whole array. A job
    that runs is accounted as of now from the sources themselves; nothing of that is written to the books.
    """
    config = site(config_option)
    asked = {typed: job_ids(typed) for word in job for typed in split_jobs(word)}
    names = chosen_clusters(config, clusters) or list(config.clusters)
    now_s = time.time()
    books = open_books(config)
    with ExitStack() as stack:
        present = _Present(config, books, now_s, [one for ids in asked.values() for one in ids], stack)
        shown = [one for typed, ids in asked.items() for one in _cards(present, typed, ids, names, duplicates)]
        if not shown:
            raise _not_found(present, list(asked), names)
        if svg_path is not None and len(shown) > 1:
            raise UserError("--svg draws one job", "name one, or its cluster with -M")
        for one in shown:
            if plot or svg_path is not None or as_json:
                one.look_closer(present)
    missing = [typed for typed in asked if typed not in {one.typed for one in shown}]
    if as_json:
        click.echo(json.dumps(_document(config, shown, now_s), indent=1, ensure_ascii=False))
    else:
        _print(config, shown, now_s, plot)
    if svg_path is not None:
        _write_svg(config, shown[0], svg_path)
    if missing:
        raise _not_found(present, missing, names)


@dataclass
class _Shown:
    """A card and what stands beside it."""

    typed: str
    card: Card
    notes: list[str] = field(default_factory=list)
    course: Course | None = None

    def look_closer(self, present: _Present) -> None:
        """The course of its power, and how busy its GPUs were, from the samples; a note where they cannot be read."""
        cluster = self.card.jobs[0].cluster
        spans: dict[str, list[tuple[float, float]]] = {}
        for one in self.card.held:
            if one.uuid:
                spans.setdefault(one.uuid, []).append((one.start_s, one.end_s))
        gpu = present.config.clusters[cluster].gpu if cluster in present.config.clusters else None
        if not spans or gpu is None:
            return
        from accounting.course import power_course
        from accounting.model import GpuSamples

        start_s, end_s = min(a for of in spans.values() for a, _ in of), max(b for of in spans.values() for _, b in of)
        try:
            source = present.sources(cluster).gpu
            assert source is not None
            found = source.samples(start_s - gpu.max_gap_s, end_s + gpu.max_gap_s, set(spans))
            samples = [one for one in found if isinstance(one, GpuSamples)]
            self.course = power_course(samples, spans, gpu.max_gap_s)
            self._note_use(present, cluster, {uuid: (of[0][0], of[-1][1]) for uuid, of in spans.items()})
        except SourceError as error:
            self.notes.append(f"no plot of its power: {error.what}")
            return
        if self.course is None:
            self.notes.append("no plot of its power: the samples of its time are gone")
            return
        step_s = float(self.course.time_s[1] - self.course.time_s[0])
        if any(one.held_s < step_s for one in self.card.held):
            self.notes.append(f"a point of the plot is a mean over {step_s:.0f} s; what ran shorter is lower in it")
        if (drawn_j := self.card.totals.gpu_energy_j) and self.course.energy_j > 1.1 * drawn_j:
            self.notes.append("the plot shows whole GPUs; the job shared them, and pays for its part")

    def _note_use(self, present: _Present, cluster: str, spans: dict[str, tuple[float, float]]) -> None:
        gpu = present.config.clusters[cluster].gpu
        if gpu is None or gpu.prometheus is None or gpu.preset != "dcgm":
            return
        from collectors.prometheus import Prometheus
        from collectors.utilisation import mean_use
        from scarbon.wiring import endpoint

        use = mean_use(Prometheus(endpoint(gpu.prometheus, gpu.match)), spans)
        self.card = replace(self.card, held=[replace(one, use=use.get(one.uuid)) for one in self.card.held])


class _Present:
    """What is not in the books yet, cluster by cluster, read when it is needed."""

    def __init__(self, config: SiteConfig, books: Books, now_s: float, ids: Sequence[str], stack: ExitStack) -> None:
        self.config = config
        self.books = books
        self.now_s = now_s
        self.notes: dict[str, str] = {}  # why a cluster's present is not known
        self._ids = ids
        self._stack = stack
        self._sources: dict[str, Sources] = {}
        self._of: dict[str, tuple[Books, float] | None] = {}

    def sources(self, cluster: str) -> Sources:
        """The cluster's sources."""
        if cluster not in self._sources:
            from scarbon.wiring import sources

            self._sources[cluster] = sources(self.config, cluster)
        return self._sources[cluster]

    def of(self, cluster: str) -> tuple[Books, float] | None:
        """Books of the time since the books' end, and their own end; None where none of the jobs is there."""
        if cluster not in self._of:
            try:
                self._of[cluster] = self._account(cluster)
            except (SourceError, LedgerError) as error:
                self._of[cluster] = None
                self.notes[cluster] = f"what was used since cannot be read: {error.what}"
        return self._of[cluster]

    def booked_until(self, cluster: str) -> float | None:
        """Until when the books go."""
        booked = self.books.booked(cluster)
        return booked[-1][1] if booked else None

    def _account(self, cluster: str) -> tuple[Books, float] | None:
        until_s = self.booked_until(cluster)
        from_s = self.now_s - DAY_S if until_s is None else until_s
        if self.now_s - from_s > LIVE_MOST_S:
            self.notes[cluster] = _TOO_MUCH
            return None
        if self.now_s <= from_s:
            return None
        from accounting.live import jobs_between, last_sample_s, provisional_books
        from scarbon.wiring import rules

        sources = self.sources(cluster)
        found = [
            job
            for job in jobs_between(sources, from_s, self.now_s)
            if any(_is_meant(typed, job.label, job.job_id) for typed in self._ids)
        ]
        if not found:
            return None
        nodes = {node for job in found if job.end_s is None for node in job.nodes}
        end_s = last_sample_s(sources, nodes, self.now_s)
        if end_s <= from_s:
            return None
        declared = rules(self.config, cluster)
        live = provisional_books(self.books, cluster, sources, declared, (from_s, end_s), __version__)
        return self._stack.enter_context(live), end_s


def _is_meant(typed: str, label: str, job_id: int) -> bool:
    return label == typed or str(job_id) == typed or label.startswith((f"{typed}_", f"{typed}+"))


def _cards(
    present: _Present, typed: str, ids: Sequence[str], clusters: Sequence[str], duplicates: bool
) -> Iterator[_Shown]:
    """The cards of what was typed: one for each cluster that has such a job."""
    chosen = JobFilter(clusters=clusters, jobs=ids, duplicates=duplicates)
    by_cluster: dict[str, list[JobUsage]] = {}
    for job in list_jobs(present.books, chosen, accuracy(present.config)):
        by_cluster.setdefault(job.cluster, []).append(job)
    for cluster in list(by_cluster) or clusters:
        jobs = by_cluster.get(cluster, [])
        several, as_of_s, notes = [present.books], None, []
        until_s = present.booked_until(cluster)
        if not jobs or until_s is None or any(job.end is None or job.end > until_s for job in jobs):
            live = present.of(cluster)
            if live is not None:
                several, as_of_s = [present.books, live[0]], live[1]
                jobs = list_jobs_of(several, replace(chosen, clusters=[cluster]), accuracy(present.config))
            elif jobs and any(job.start is not None for job in jobs):
                notes = [_booked_note(present, cluster)]
        if jobs:
            yield _Shown(typed, make_card(several, jobs, present.now_s, as_of_s), notes)


def _booked_note(present: _Present, cluster: str) -> str:
    until_s = present.booked_until(cluster)
    until = "not at all" if until_s is None else f"up to {_shown(present.config, until_s)}"
    why = present.notes.get(cluster, "Slurm told of nothing since")
    why += "; run scarbon collect" * (why == _TOO_MUCH)
    return f"the job had not ended when {cluster} was accounted last, {until}; {why}"


def _not_found(present: _Present, typed: Sequence[str], clusters: Sequence[str]) -> UserError:
    jobs = "job " + typed[0] if len(typed) == 1 else "jobs " + ", ".join(typed)
    if tasks := [line for one in typed for line in _tasks_of_array(present.books, one, clusters)]:
        return UserError(f"{jobs}: there is no such task; {', '.join(tasks)}", "name one of them")
    ends = []
    for cluster in clusters:
        until_s = present.booked_until(cluster)
        end = "nothing is booked yet" if until_s is None else f"booked up to {_shown(present.config, until_s)}"
        why = present.notes.get(cluster, "Slurm tells of none since")
        ends.append(f"{cluster}: {end}" + ("" if why == _TOO_MUCH else f", {why}"))
    behind = _TOO_MUCH in present.notes.values()
    advice = "check the number, or run scarbon collect for a newer job" if behind else "check the number"
    return UserError(f"{jobs}: not in the books ({'; '.join(ends)})", advice)


def _tasks_of_array(books: Books, typed: str, clusters: Sequence[str]) -> Iterator[str]:
    """For a task that is not there, which tasks its array has, where there is one."""
    array, _, _ = typed.partition("_")
    if array == typed:
        return
    by_cluster: dict[str, list[str]] = {}
    for job in list_jobs(books, JobFilter(clusters=clusters, jobs=[array])):
        if job.job_id.startswith(f"{array}_"):
            by_cluster.setdefault(job.cluster, []).append(job.job_id.removeprefix(f"{array}_").strip("[]"))
    for cluster, tasks in by_cluster.items():
        yield f"array {array} on {cluster} has {_ranges(tasks)}"


def _ranges(tasks: Sequence[str]) -> str:
    """`1, 2, 3, 7` as `1-3,7`; tasks that wait come as ranges already."""
    found: list[list[int]] = []
    for task in sorted(int(one) for one in tasks if one.isdecimal()):
        if found and task == found[-1][1] + 1:
            found[-1][1] = task
        else:
            found.append([task, task])
    begun = [str(a) if a == b else f"{a}-{b}" for a, b in found]
    return ",".join([*begun, *(one for one in tasks if not one.isdecimal())])


def _shown(config: SiteConfig, time_s: float) -> str:
    return datetime.fromtimestamp(time_s, config.site.zone).strftime("%Y-%m-%d %H:%M:%S")


def _print(config: SiteConfig, shown: Sequence[_Shown], now_s: float, plot: bool) -> None:
    from scarbon.cards import render, sections

    width = max(min(shutil.get_terminal_size().columns, 100), 30)
    bold = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    for place, one in enumerate(shown):
        if place:
            click.echo("")
        for line in render(sections(one.card, one.typed, config.site.zone, now_s), width, bold):
            click.echo(line, color=bold)
        if plot and one.course is not None:
            from scarbon.plots import lines

            click.echo("")
            title = f"GPU power, W ({config.site.timezone})"
            click.echo(lines(_pieces(one.course), title, config.site.zone, width))
        for note in _notes(config, one):
            from textwrap import fill

            click.echo(fill(f"note: {note}", width, break_on_hyphens=False), err=True)


def _notes(config: SiteConfig, one: _Shown) -> Iterator[str]:
    if one.card.as_of_s is not None:
        yield (
            f"provisional, as of {_shown(config, one.card.as_of_s)}: what lies behind the books' end was accounted "
            "for this look alone, and may still change"
        )
    yield from one.notes


def _title(config: SiteConfig, one: _Shown) -> str:
    return f"Power of the GPUs of job {one.typed} ({config.site.timezone})"


def _pieces(course: Course) -> list[list[tuple[float, float]]]:
    """The course as lines without the holes, step by step."""
    pieces: list[list[tuple[float, float]]] = [[]]
    bounds = course.time_s.tolist()
    for start_s, end_s, power_w in zip(bounds[:-1], bounds[1:], course.power_w.tolist(), strict=True):
        if power_w != power_w:
            pieces.append([])
        else:
            pieces[-1] += [(start_s, power_w), (end_s, power_w)]
    return [piece for piece in pieces if piece]


def _write_svg(config: SiteConfig, one: _Shown, path: Path) -> None:
    if one.course is None:
        raise UserError(f"job {one.typed}: no samples to draw", one.notes[-1] if one.notes else "it held no GPU")
    from scarbon.plots import svg

    path.write_text(svg(_pieces(one.course), _title(config, one), "W", config.site.zone), encoding="utf-8")


def _document(config: SiteConfig, shown: Sequence[_Shown], now_s: float) -> dict[str, Any]:
    meta = {"version": __version__, "site": config.site.name, "timezone": config.site.timezone, "now": now_s}
    return {"meta": meta, "cards": [_json_card(config, one, now_s) for one in shown]}


def _json_card(config: SiteConfig, one: _Shown, now_s: float) -> dict[str, Any]:
    from scarbon.equivalents import equivalents_of

    card = one.card
    sums = asdict(card.totals)
    labels = {(job.cluster, job.job_id_raw, job.submit): job.job_id for job in card.jobs}
    grams = card.totals.co2e_location_g
    return {
        "job": one.typed,
        "cluster": card.jobs[0].cluster,
        "provisional": card.as_of_s is not None,
        "as_of": card.as_of_s,
        "start": card.start_s,
        "end": None if any(job.end is None for job in card.jobs) else card.end_s(now_s),
        **sums,
        "jobs": [json_job(job, now_s) for job in card.jobs],
        "held": [
            {
                "job_id": labels[held.job],
                **{name: value for name, value in asdict(held).items() if name != "job"},
                "mean_w": held.mean_w,
                "left_idle": held.left_idle,
            }
            for held in card.held
        ],
        "factors": [asdict(source) for source in card.sources],
        "intensity_range": card.intensity_range,
        "moved": None if card.moved is None else asdict(card.moved),
        "equivalents": [] if grams is None else equivalents_of(grams),
        "power": None
        if one.course is None
        else {
            "time_s": one.course.time_s.tolist(),
            "power_w": [None if value != value else value for value in one.course.power_w.tolist()],
        },
        "notes": list(_notes(config, one)),
    }
