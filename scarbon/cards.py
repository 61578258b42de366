"""A job's card in words: what `scarbon show` prints, at any width.

Between `accounting.card`, which has the figures, and the verb. A card is sections of rows; a row is a label, a value,
and a remark that goes to a line of its own where the terminal is narrow.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from accounting.card import Card, Held
from accounting.factors import SourceShare
from accounting.jobs import JobUsage
from accounting.tags import format_tags
from accounting.uncertainty import NORMAL_95, Parts
from scarbon import units
from scarbon.equivalents import equivalents_of
from scarbon.reports.printed import ENERGY_J, column

_LABEL = 16
_MOST_GPUS = 16
_MOST_TASKS = 12

#: How an energy was found, in words.
METHODS = {
    "counter": "read from energy counters",
    "power": "summed up from readings of power",
    "slurm": "Slurm's own record of energy",
    "model": "estimated by a model",
    "none": "unknown: nothing measured it",
}
HOST_METHODS = {**METHODS, "counter": "its share of the nodes' counters", "power": "its share of the nodes' power"}
#: Who said which job held which GPU, in words.
HOLDERS = {
    "journal": "Slurm's hooks on the node",
    "hpc_job": "the exporter's label",
    "gres_index": "Slurm's controller",
    "whole_node": "the job had the whole node",
    "slurm": "Slurm",
}
_FACTORS = {"pue": "PUE", "location": "intensity", "market": "market-based"}
_PARTS = (
    ("sensor", "sensors"), ("edges", "beginning and end"), ("sharing", "shared GPUs"), ("model", "model"),
    ("pue", "PUE"), ("intensity", "intensity"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and its rows: label, value, remark. A row without a label is text."""

    title: str
    rows: Sequence[tuple[str, str, str]]


def sections(card: Card, label: str, zone: ZoneInfo, now_s: float) -> Iterator[Section]:
    """The card's sections."""
    show = _Times(zone)
    yield Section(f"Job {label} on {card.jobs[0].cluster}", list(_who(card, show, now_s)))
    if len(card.jobs) > 1:
        yield Section(f"{len(card.jobs)} tasks or parts", list(_tasks(card.jobs)))
    if card.start_s is None:
        return
    yield Section("Energy", list(_energy(card)))
    yield Section("Emissions, CO2e", list(_emissions(card)))
    yield Section("Where this comes from", list(_origin(card, show)))
    if card.held:
        yield Section("GPUs", list(_gpus(card, show)))


def render(parts: Iterable[Section], width: int, bold: bool) -> Iterator[str]:
    """Lines no wider than `width` (but for a word that is)."""
    for place, section in enumerate(parts):
        if place:
            yield ""
        for line in textwrap.wrap(section.title, width):
            yield f"\x1b[1m{line}\x1b[0m" if bold else line
        for row in section.rows:
            yield from _row(*row, width)


def _row(label: str, value: str, remark: str, width: int) -> Iterator[str]:
    first = f"  {label:<{_LABEL}}" if label else "  "
    text = f"{value}  {remark}".strip()
    if len(first) + len(text) <= width:
        yield (first + text).rstrip()
        return
    indent = "  " if not label else " " * (2 + (_LABEL if width >= 60 else 2))
    yield from _wrapped(value, width, first, indent)
    # What has no room but without an indent stands without one: a GPU's UUID on 40 columns.
    longest = max(map(len, remark.split()), default=0)
    yield from _wrapped(remark, width, *([indent if len(indent) + longest <= width else ""] * 2))


def _wrapped(text: str, width: int, first: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False
    )


class _Times:
    def __init__(self, zone: ZoneInfo) -> None:
        self._zone = zone

    def at(self, time_s: float) -> str:
        return datetime.fromtimestamp(time_s, self._zone).strftime("%Y-%m-%d %H:%M:%S")

    def span(self, start_s: float, end_s: float) -> str:
        start, end = self.at(start_s), self.at(end_s)
        return f"{start} to {end.removeprefix(start[:11])}"


def _who(card: Card, show: _Times, now_s: float) -> Iterator[tuple[str, str, str]]:
    jobs = card.jobs
    one = jobs[0]
    if one.name:
        yield "name", one.name, ""
    states = Counter(job.state for job in jobs)
    state = one.state if len(jobs) == 1 else ", ".join(f"{count} {name}" for name, count in states.items())
    yield "state", state, f"exit code {one.exit_code}" if len(jobs) == 1 and one.exit_code else ""
    yield "user", one.user or "unknown", f"account {one.account}" if one.account else ""
    where = [f"partition {one.partition}" if one.partition else "", f"QOS {one.qos}" if one.qos else ""]
    where.append(f"WCKey {one.wckey}" if one.wckey else "")
    yield "where", ", ".join(filter(None, where)) or "unknown", ""
    if one.tags:
        yield "tags", format_tags(one.tags), ""
    yield "submitted", show.at(min(job.submit for job in jobs)), ""
    start_s, end_s = card.start_s, card.end_s(now_s)
    if start_s is None or end_s is None:
        yield "began", "not yet" if any(job.end is None for job in jobs) else "never", "it has used nothing"
        return
    running = any(job.end is None for job in jobs if job.start is not None)
    elapsed = units.duration(sum(job.elapsed_s(now_s) for job in jobs))
    yield "began", show.at(start_s), ""
    if running and card.as_of_s is None:
        yield "ended", "not by the end of the books", ""
    else:
        in_all = " in all" if len(jobs) > 1 else ""
        yield "ended", "still runs" if running else show.at(end_s), f"ran {elapsed}{in_all}"
    cpus, gpus = sum(job.cpus for job in jobs), sum(job.gpus for job in jobs)
    size = f"{cpus} CPU{'s' * (cpus != 1)}, {gpus} GPU{'s' * (gpus != 1)}"
    nodes = sorted({node for job in jobs for node in job.nodes.split(",") if node})
    yield "on", size + ("" if len(jobs) == 1 else " in all"), _folded(nodes)


def _folded(nodes: Sequence[str]) -> str:
    if len(nodes) < 2:
        return "".join(nodes)
    from ClusterShell.NodeSet import NodeSet

    return str(NodeSet(",".join(nodes)))


def _tasks(jobs: Sequence[JobUsage]) -> Iterator[tuple[str, str, str]]:
    ordered = sorted(jobs, key=lambda job: -(job.it_energy_j or 0.0))
    for job in ordered[:_MOST_TASKS]:
        yield (
            job.job_id,
            units.energy(job.it_energy_j, "unknown"),
            f"{units.mass(job.co2e_location_g, '?')}, {job.state}",
        )
    if len(ordered) > _MOST_TASKS:
        yield "", f"… and {len(ordered) - _MOST_TASKS} more that used less: scarbon jobs -j, or --json", ""


def _energy(card: Card) -> Iterator[tuple[str, str, str]]:
    sums = card.totals
    job = card.jobs[0]
    overhead_j = None
    if sums.facility_energy_j is not None and sums.it_energy_j is not None:
        overhead_j = sums.facility_energy_j - sums.it_energy_j
    pue = (
        ""
        if not sums.it_energy_j or sums.facility_energy_j is None
        else f"{sums.facility_energy_j / sums.it_energy_j:.2f}"
    )
    parts = column([sums.gpu_energy_j, sums.host_energy_j, overhead_j], sums.facility_energy_j, ENERGY_J)
    gpus, host, overhead, together = (
        "unknown" if one is None else f"{one:,} {parts.unit}" for one in (*parts.parts, parts.total)
    )
    if any(job.gpus or job.gpu_seconds for job in card.jobs):
        yield "GPUs", gpus, f"{sums.gpu_seconds / 3600:,.2f} GPU-hours held"
    yield "host", host, "its share of CPUs, memory and the rest of its nodes"
    yield "PUE overhead", overhead, f"cooling and losses, PUE {pue}" if pue else ""
    yield "together", together, ""
    if sums.it_energy_j is None:
        reason = "part of what it held has no known energy" if job.gpus else "no source told of its energy"
        yield "", f"Its energy is unknown, and not nothing: {reason}.", ""


def _emissions(card: Card) -> Iterator[tuple[str, str, str]]:
    sums = card.totals
    interval = ""
    if sums.co2e_low_g is not None and sums.co2e_high_g is not None:
        interval = f"95 %: {units.mass(sums.co2e_low_g)} to {units.mass(sums.co2e_high_g)}"
    yield "location-based", units.mass(sums.co2e_location_g, "unknown"), interval
    yield (
        "market-based",
        units.mass(sums.co2e_market_g, "not declared"),
        "by the site's contracts" if sums.co2e_market_g is not None else "",
    )
    yield (
        "embodied",
        units.mass(sums.co2e_embodied_g, "not declared"),
        "share of making the hardware" if sums.co2e_embodied_g is not None else "",
    )
    if sums.uncertainty is not None:
        yield "uncertainty", _parts(sums.uncertainty), ""
    if sums.co2e_location_g:
        yield "as much as", _compared(sums.co2e_location_g), ""
    if card.moved is not None and card.moved.saved_g > 0.005 * card.moved.emitted_g:
        share = units.share(card.moved.saved_g / card.moved.emitted_g)
        yield "greenest hour", f"{units.mass(card.moved.saved_g)} less ({share})", "had it begun up to a day later"


def _parts(parts: Parts) -> str:
    """Each part as what 95 % of the figures are within, those that say something."""
    shown = [
        (getattr(parts, name) * NORMAL_95, words) for name, words in _PARTS if getattr(parts, name) * NORMAL_95 > 0.0005
    ]
    return ", ".join(f"{words} ±{units.share(half)}" for half, words in sorted(shown, reverse=True)) or "nothing"


def _compared(co2e_g: float) -> str:
    """Two of the table's equivalents that a person can picture: a car, and a flight or a television."""
    found = [one for one in equivalents_of(co2e_g) if one["amount"] >= 0.1]
    chosen = [one for one in found if one["per"] in ("km", "hour")] or found[:1]
    words = {"km": "km by an average car (EU)", "hour": "hours of television"}
    return "; ".join(
        f"{one['amount']:,.3g} {words.get(one['per'], one['name'])} ({one['source']})" for one in chosen[:2]
    ) or ("too little to picture")


def _origin(card: Card, show: _Times) -> Iterator[tuple[str, str, str]]:
    sums = card.totals
    yield "energy", "; ".join(METHODS[method] for method in sums.methods), ""
    hosts = sorted({job.host_method for job in card.jobs if job.host_method is not None})
    if sums.gpu_seconds and hosts and sums.host_energy_j is not None:
        yield "energy, host", "; ".join(HOST_METHODS[method] for method in hosts), ""
    if sums.coverage is not None:
        of = "GPU time" if sums.gpu_seconds else "time on its nodes"
        yield "coverage", f"{units.share(sums.coverage)} of its {of} was measured", _rest(sums.coverage)
    for source in card.sources:
        yield _FACTORS[source.kind], *_factor(card, source, show)
    if not card.sources and sums.it_energy_j:
        yield "factors", "no longer kept hour by hour", "the figures are those that were booked"


def _rest(coverage: float) -> str:
    return "" if coverage > 1 - 1e-9 else "the rest is interpolated, modelled or unknown"


def _factor(card: Card, source: SourceShare, show: _Times) -> tuple[str, str]:
    sums = card.totals
    value = ""
    if source.kind == "pue" and sums.it_energy_j and sums.facility_energy_j is not None:
        value = f"{sums.facility_energy_j / sums.it_energy_j:.2f}"
    grams = {"location": sums.co2e_location_g, "market": sums.co2e_market_g}.get(source.kind)
    if grams is not None and sums.facility_energy_j:
        value = f"{grams / sums.facility_energy_j * 3.6e6:.3g} g/kWh"
    remarks = [source.source]
    if source.share < 1 - 1e-9:
        remarks.append(f"for {units.share(source.share)} of the energy")
    if source.kind == "location" and card.intensity_range is not None:
        low, high = card.intensity_range
        remarks += [f"{low:.0f} to {high:.0f} by the hour"] if high - low >= 0.5 else []
    if source.basis:
        remarks.append(source.basis)
    if source.estimated_share:
        all_of_it = source.estimated_share > 1 - 1e-9
        remarks.append("estimated" if all_of_it else f"{units.share(source.estimated_share)} of it estimated")
    if source.retrieved_s is not None:
        remarks.append(f"fetched {show.at(source.retrieved_s)[:10]}")
    return value, "; ".join(remarks)


def _gpus(card: Card, show: _Times) -> Iterator[tuple[str, str, str]]:
    several = len({one.job for one in card.held}) > 1
    labels = {(job.cluster, job.job_id_raw, job.submit): job.job_id for job in card.jobs}
    for one in card.held[:_MOST_GPUS]:
        yield from _gpu(one, show, labels[one.job] if several else "")
    if len(card.held) > _MOST_GPUS:
        yield "", f"… and {len(card.held) - _MOST_GPUS} more: --json has them all", ""
    idle = [one for one in card.held if one.left_idle]
    if idle:
        energy = units.energy(sum(one.energy_j or 0.0 for one in idle))
        which = ", ".join(f"{one.node} {one.uuid}" for one in idle[:4]) + (", …" if len(idle) > 4 else "")
        yield "", f"Held and left idle: {len(idle)} of {len(card.held)} GPUs ({energy}): {which}", ""


def _gpu(one: Held, show: _Times, job: str) -> Iterator[tuple[str, str, str]]:
    where = f"{one.node} {one.model}".strip() or "GPUs that no source names"
    yield "", f"{job}: {where}" if job else where, one.uuid
    held = f"{show.span(one.start_s, one.end_s)}, held {units.duration(one.held_s)}"
    by = f"by {HOLDERS.get(one.holder, one.holder)}" if one.uuid else ""
    yield "  held", held, by
    drew = units.energy(one.energy_j, "unknown")
    if one.mean_w is not None:
        drew += f", {one.mean_w:.0f} W on average"
        if one.idle_w is not None:
            drew += f" ({one.idle_w:.0f} W idle)"
    busy = [] if one.use is None else [f"worked {units.share(one.use)} of the time"]
    busy += ["left idle"] if one.left_idle else []
    yield "  drew", drew, ", ".join(busy)
