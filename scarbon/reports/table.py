"""A report as a table for the terminal, in English as all that the command prints; each column has one unit.

The rows add up to the total as they are printed (`printed`). Babel, by which pages say numbers in other languages, is
not imported: it takes as long as the report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from accounting.branches import Branch
from accounting.document import Comparison, Document
from accounting.report import Sums
from accounting.statement import water_l
from scarbon import units
from scarbon.budgets import line as budget_line
from scarbon.reports.plain import not_accounted
from scarbon.reports.printed import ENERGY_J, HOURS_S, MASS_G, WATER_L, Column, Ladder, column

UNKNOWN = "-"
WIDEST_NAME = 32

#: The columns that add up: their heading, their figure and its units.
FIGURES: tuple[tuple[str, Callable[[Sums], float | None], Ladder], ...] = (
    ("GPU", lambda sums: sums.gpu_seconds, HOURS_S),
    ("GPU energy", lambda sums: sums.gpu_energy_j, ENERGY_J),
    ("host", lambda sums: sums.host_energy_j, ENERGY_J),
    ("facility", lambda sums: sums.facility_energy_j, ENERGY_J),
    ("CO2e", lambda sums: sums.co2e_location_g, MASS_G),
    ("market", lambda sums: sums.co2e_market_g, MASS_G),
    ("embodied", lambda sums: sums.co2e_embodied_g, MASS_G),
)


@dataclass(frozen=True, slots=True)
class _Row:
    """A row: its name, its sums, and which of the `parts` that make the total are in it."""

    name: str
    sums: Sums
    parts: tuple[int, ...]


def render(document: Document, look: object = None) -> str:
    """The table, and below it what has to be known to read it."""
    lines = [f"{document.site}, {_scope(document)} ({document.timezone})", "", *_table(document)]
    if document.top_jobs:
        lines += ["", *_top_jobs(document)]
    if notes := list(_notes(document)):
        lines += ["", *notes]
    return "\n".join(lines) + "\n"


def _scope(document: Document) -> str:
    period, chosen = document.period, document.chosen
    said = f"{period.first_day} to {period.last_day}"
    for word, names in (("account", chosen.accounts), ("user", chosen.users)):
        if names is not None:
            said += f", {word}{'s' if len(names) > 1 else ''} {', '.join(names)}"
    return said


def _table(document: Document) -> Iterator[str]:
    parts, rows = _parts_and_rows(document)
    columns: list[list[str]] = [[document.by, *(row.name for row in rows), "total"]]
    columns.append(["jobs", *(str(row.sums.jobs or "") for row in rows), str(document.total.jobs)])
    for title, figure, ladder in (*FIGURES, ("water", _water(document), WATER_L)):
        figures = [figure(part) for part in parts]
        made = column(figures, figure(document.total), ladder)
        if made.total is None and all(figure is None for figure in figures):
            continue  # nothing is known of it, or the site declares none
        cells = [UNKNOWN if figure(row.sums) is None else _number(_added(made, row)) for row in rows]
        columns.append([f"{title} {made.unit}", *cells, _number(made.total)])
    shares = [units.share(row.sums.coverage) for row in (*rows, _Row("", document.total, ()))]
    columns.append(["coverage", *shares])
    lines = list(_aligned(columns))
    rule = "-" * len(lines[0])
    return iter([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def _water(document: Document) -> Callable[[Sums], float | None]:
    return lambda sums: water_l(sums.it_energy_j, document.wue_l_per_kwh)


def _parts_and_rows(document: Document) -> tuple[list[Sums], list[_Row]]:
    """What makes the total, and the rows that show it; a branch of the tree is several parts."""
    if document.tree:
        parts, rows = _tree(document.tree)
    else:
        parts = list(document.groups)
        rows = [_Row(_name(group.key), group, (place,)) for place, group in enumerate(parts)]
    others = [] if document.idle is None else [("idle", document.idle)]
    others += [(f"adjusts {one.of}", one.sums) for one in document.adjustments]
    for name, sums in others:
        rows.append(_Row(name, sums, (len(parts),)))
        parts.append(sums)
    return parts, rows


def _tree(tree: Sequence[Branch]) -> tuple[list[Sums], list[_Row]]:
    """Each account's own sums as parts, and its branch as a row, with a row of its own where it is more than that."""
    parts: list[Sums] = []
    rows: list[_Row] = []
    for place, branch in enumerate(tree):
        inside = tree[place + 1 :]
        below = next((count for count, other in enumerate(inside) if other.depth <= branch.depth), len(inside))
        owned = sum(one.own is not None for one in tree[place : place + below + 1])
        own_place = len(parts)
        indent = "  " * branch.depth
        rows.append(_Row(f"{indent}{_name(branch.account)}", branch.sums, tuple(range(own_place, own_place + owned))))
        if branch.own is not None:
            parts.append(branch.own)
            if below:
                rows.append(_Row(f"{indent}  (itself)", branch.own, (own_place,)))
    return parts, rows


def _name(key: str | None) -> str:
    """A group's name, cut where it is long, and without what would upset a terminal."""
    name = "".join(char if char.isprintable() else "?" for char in key or "(none)")
    return name if len(name) <= WIDEST_NAME else f"{name[: WIDEST_NAME - 1]}+"


def _added(made: Column, row: _Row) -> Decimal:
    """A row's figure: the sum of its parts as they are printed."""
    return sum((figure for place in row.parts if (figure := made.parts[place]) is not None), Decimal(0))


def _number(figure: Decimal | None) -> str:
    return UNKNOWN if figure is None else f"{figure:,}"


def _aligned(columns: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines of columns, each as wide as its widest cell; names to the left, figures to the right."""
    widths = [max(len(cell) for cell in cells) for cells in columns]
    for cells in zip(*columns, strict=True):
        first, *others = (
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        yield "  ".join((first, *others))


def _top_jobs(document: Document) -> Iterator[str]:
    jobs = document.top_jobs or ()
    energy = column([job.it_energy_j for job in jobs], None, ENERGY_J)
    emissions = column([job.co2e_location_g for job in jobs], None, MASS_G)
    hours = column([job.gpu_seconds for job in jobs], None, HOURS_S)
    several = len(document.clusters) > 1
    columns = [["largest jobs", *(f"{job.cluster} {job.job_id}" if several else job.job_id for job in jobs)]]
    for title, made in (("GPU", hours), ("IT energy", energy), ("CO2e", emissions)):
        columns.append([f"{title} {made.unit}", *(_number(figure) for figure in made.parts)])
    columns.append(["coverage", *(units.share(job.coverage) for job in jobs)])
    who = ["user, account, state, name"]
    who += [", ".join(_name(word) for word in (job.user, job.account, job.state, job.name) if word) for job in jobs]
    for line, said in zip(_aligned(columns), who, strict=True):
        yield f"{line}  {said}"


def _notes(document: Document) -> Iterator[str]:
    total = document.total
    if total.co2e_low_g is not None and total.co2e_high_g is not None and total.co2e_high_g > total.co2e_low_g:
        low, high = units.mass(total.co2e_low_g), units.mass(total.co2e_high_g)
        yield f"95 % interval of the total: {low} to {high} CO2e."
    for comparison in (document.before, document.year_before):
        if comparison is not None:
            yield _compared(document, comparison)
    if document.modelled_share:
        yield f"{units.share(document.modelled_share)} of the jobs' IT energy is modelled."
    if document.waste is not None:
        yield from _waste(document)
    yield from (f"B{budget_line(standing)[1:]}." for standing in document.budgets)
    if not document.groups:
        yield "No job used anything in this period."
    if document.as_of_s is not None:
        yield f"The books as they stood on {_moment(document, document.as_of_s)}."
    if document.closed_s is not None:
        yield f"The month was closed on {_moment(document, document.closed_s)}."
    for one in document.adjustments:
        yield f"The total has an adjustment of {one.of}, which was closed{f': {one.reason}' if one.reason else ''}."
    for one in document.adjusted_later:
        figure = units.mass(one.sums.co2e_location_g, "an unknown amount of")
        yield f"Later, in {one.posted_in}, this period was changed by {figure} CO2e: in no figure here."
    for line in not_accounted(document):
        yield f"Not in these figures: {line}."
    if document.idle_host_missing:
        yield "What idle nodes draw besides their GPUs is in no figure: it is known for jobs only."
    if document.silent_gpus:
        gpus = _counted(document.silent_gpus, "GPU", "GPUs")
        yield f"{gpus} fell silent, and sent nothing up to the end of these figures: idle time may be missing."
    if total.jobs_unknown:
        jobs = _counted(total.jobs_unknown, "job held", "jobs held")
        yield f"{jobs} GPUs of whose energy nothing is known: in no sum."
    if document.quarantined:
        rows = _counted(document.quarantined, "row is", "rows are")
        yield f"{rows} in quarantine: see scarbon audit."
    yield from _factors(document)


def _compared(document: Document, comparison: Comparison) -> str:
    now_g, then_g = document.total.co2e_location_g, comparison.total.co2e_location_g
    now_j, then_j = document.total.facility_energy_j, comparison.total.facility_energy_j
    comparable = document.comparable(comparison)
    said = [
        f"{show(then)} {what}" + (f" ({_change(now, then)})" if comparable and now is not None and then > 0 else "")
        for what, show, now, then in (
            ("CO2e", units.mass, now_g, then_g),
            ("facility energy", units.energy, now_j, then_j),
        )
        if then is not None
    ]
    partly = "" if comparison.accounted >= 1 else f", {units.share(comparison.accounted)} of it accounted"
    return f"{comparison.period.name}{partly}: {', '.join(said) or 'unknown'}."


def _change(now: float, then: float) -> str:
    """How much more or less it is now: +12% since."""
    return f"{(now - then) / then:+.0%} since"


def _waste(document: Document) -> Iterator[str]:
    assert document.waste is not None
    lost, hardly = document.waste.lost, document.waste.hardly_used
    if lost:
        states = ", ".join(f"{one.state} {units.energy(one.it_energy_j)}" for one in lost)
        yield f"Used by runs that did not complete: {states}."
    if hardly is not None and hardly.runs:
        assumed = ", taken from the model's rated power" if hardly.level_assumed else ""
        yield (
            f"GPUs held and hardly used (near their idle power{assumed}): {units.energy(hardly.energy_j)} "
            f"in {_counted(hardly.runs, 'run', 'runs')}."
        )


_KINDS: Mapping[str, str] = {"pue": "PUE", "location": "Grid intensity", "market": "Contracts"}


def _factors(document: Document) -> Iterator[str]:
    """The factors on average, and each with who gave it: for how much of the time, how much of it estimated, when."""
    means = (
        ("PUE {:.3g}", document.pue),
        ("grid {:.3g} g/kWh", document.intensity_g_per_kwh),
        ("contracts {:.3g} g/kWh", document.market_g_per_kwh),
    )
    if found := [said.format(mean) for said, mean in means if mean is not None]:
        yield f"Applied, weighted by energy: {', '.join(found)}."
    for one in document.factors:
        said = [one.source]
        if one.basis and one.basis not in one.source:
            said.append(one.basis)
        if one.share < 1:
            said.append(f"{units.share(one.share)} of the time")
        if one.estimated_share:
            said.append(f"{units.share(one.estimated_share)} estimated")
        if one.retrieved_s is not None:
            said.append(f"fetched {_moment(document, one.retrieved_s)[:10]}")
        yield f"{_KINDS.get(one.kind, one.kind)}: {', '.join(said)}."


def _moment(document: Document, time_s: float) -> str:
    return datetime.fromtimestamp(time_s, ZoneInfo(document.timezone)).strftime("%Y-%m-%d %H:%M")


def _counted(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"
