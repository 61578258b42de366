"""A report's tables as people read them: words of a language, figures that add up as printed, bars beside them.

A document of `accounting.document` in, tables of text out; `templates/report.html.j2` lays them out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Literal

from accounting.document import Document, Period
from accounting.report import Sums
from accounting.sections import Point, Reconciliation, Step
from accounting.statement import water_l
from scarbon.pages.languages import Language
from scarbon.pages.words import by_word, group_name, kind_word
from scarbon.reports.printed import ENERGY_J, HOURS_S, MASS_G, WATER_L, Ladder, column, share_out


@dataclass(frozen=True)
class Heading:
    """What stands over a column: of figures, which are set to the right, of names, or of words that are kept whole."""

    label: str
    unit: str = ""
    figures: bool = True
    whole: bool = False


@dataclass(frozen=True)
class Line:
    """A row: its name, and a text for each further column; `bar` is how long its bar is (0 … 1; None: it has none)."""

    name: str
    cells: tuple[str, ...]
    kind: Literal["group", "idle", "adjustment", "total"] = "group"
    bar: float | None = None
    depth: int = 0  # in a tree


@dataclass(frozen=True)
class Table:
    """The first heading is that of the rows' names."""

    caption: str
    headings: tuple[Heading, ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class _Part:
    name: str
    kind: Literal["group", "idle", "adjustment"]
    sums: Sums


def where_it_went(document: Document, language: Language) -> Table:
    """Who caused the emissions (where they are unknown, the IT energy), with shares and bars."""
    parts = _parts(document, language)
    emissions = document.total.co2e_location_g is not None
    measure = _location if emissions else _it_energy
    total = measure(document.total)
    columns = [
        _column(language, "CO₂e", parts, document.total, _location, MASS_G),
        *_shares(language, [measure(part.sums) for part in parts], total),
        _column(language, language.text("Energy at the facility"), parts, document.total, _facility, ENERGY_J),
    ]
    largest = max((measure(part.sums) or 0.0 for part in parts), default=0.0)
    bars = [max((measure(part.sums) or 0.0) / largest, 0.0) if largest > 0 else None for part in parts]
    caption = language.text("Emissions and energy, and each one’s share of the total")
    return _table(document, language, caption, parts, columns, bars)


def in_detail(document: Document, language: Language) -> Table:
    """Every figure of every group."""
    parts, total = _parts(document, language), document.total

    def made(label: str, figure: Callable[[Sums], float | None], ladder: Ladder) -> _Column:
        return _column(language, label, parts, total, figure, ladder)

    columns = [
        _Column(Heading(language.text("Jobs")), [_jobs(language, part) for part in parts], language.number(total.jobs)),
        made(language.text("GPU time"), lambda sums: sums.gpu_seconds, HOURS_S),
        made(language.text("GPU energy"), lambda sums: sums.gpu_energy_j, ENERGY_J),
        made(language.text("Rest of the nodes"), lambda sums: sums.host_energy_j, ENERGY_J),
        made(language.text("At the facility"), _facility, ENERGY_J),
        made(language.text("CO₂e, location-based"), _location, MASS_G),
        made(language.text("CO₂e, market-based"), lambda sums: sums.co2e_market_g, MASS_G),
        made(language.text("CO₂e, embodied"), lambda sums: sums.co2e_embodied_g, MASS_G),
    ]
    if (wue := document.wue_l_per_kwh) is not None:
        columns.append(made(language.text("Water"), lambda sums: water_l(sums.it_energy_j, wue), WATER_L))
    columns.append(
        _Column(
            Heading(language.text("Measured")),
            ["" if part.kind == "adjustment" else _measured(language, part.sums) for part in parts],
            _measured(language, total),
        )
    )
    caption = language.text("All figures, with the total")
    return _table(document, language, caption, parts, columns)


def top_jobs(document: Document, language: Language) -> Table:
    """The jobs that used most."""
    jobs = document.top_jobs or ()
    several = len(document.clusters) > 1
    energy = column([job.it_energy_j for job in jobs], None, ENERGY_J)
    emissions = column([job.co2e_location_g for job in jobs], None, MASS_G)
    hours = column([job.gpu_seconds for job in jobs], None, HOURS_S)
    headings = (
        Heading(language.text("Job"), figures=False, whole=True),
        Heading(language.text("Name"), figures=False),
        Heading(language.text("User"), figures=False),
        Heading(language.text("Account"), figures=False),
        Heading(language.text("State"), figures=False, whole=True),
        Heading(language.text("GPU time"), hours.unit),
        Heading(language.text("IT energy"), energy.unit),
        Heading("CO₂e", emissions.unit),
    )
    lines = tuple(
        Line(
            f"{job.cluster} {job.job_id}" if several else job.job_id,
            (
                job.name or "",
                job.user or "",
                job.account or "",
                job.state,
                _figure(language, hours.parts[place], hours.decimals),
                _figure(language, energy.parts[place], energy.decimals),
                _figure(language, emissions.parts[place], emissions.decimals),
            ),
        )
        for place, job in enumerate(jobs)
    )
    return Table(language.text("The jobs that used most energy in the period"), headings, lines)


def waste(document: Document, language: Language) -> Table:
    """What runs that did not complete had used, by the state in which they ended."""
    lost = document.waste.lost if document.waste else ()
    columns = [
        _Column(
            Heading(language.text("Runs")),
            [language.number(one.runs) for one in lost],
            language.number(sum(one.runs for one in lost)),
        ),
        _added(language, language.text("GPU time"), [one.gpu_seconds for one in lost], HOURS_S),
        _added(language, language.text("IT energy"), [one.it_energy_j for one in lost], ENERGY_J),
        _added(language, "CO₂e", [one.co2e_location_g for one in lost], MASS_G),
    ]
    return _laid_out(
        language,
        language.text("What runs that did not complete had used, by the state in which they ended"),
        Heading(language.text("State"), figures=False),
        [(one.state, "group") for one in lost],
        columns,
    )


def reconciliation(document: Document, language: Language) -> Table:
    """What the meters say against what the report has: what they metered and what none saw make jobs and idle."""
    found = document.reconciliation
    totals = [one.attributed_j + one.idle_j for one in found]
    shape = column([*totals, *(one.metered_j for one in found)], None, ENERGY_J)
    quantum = Fraction(dict(ENERGY_J)[shape.unit]) / 10**shape.decimals

    def cells(one: Reconciliation, total_j: float) -> Iterator[str]:
        """Two sides that are the same as printed: metered and not; of jobs and idle, and both."""
        whole = round(Fraction(total_j) / quantum)
        for side in ((one.metered_j, one.unmetered_j), (one.attributed_j, one.idle_j)):
            for count in share_out([Fraction(figure) / quantum for figure in side], whole):
                yield _figure(language, _decimal(count, shape.decimals), shape.decimals)
        yield language.number(Decimal(whole).scaleb(-shape.decimals), shape.decimals)

    lines = tuple(
        Line(kind_word(language, one.kind), tuple(cells(one, total_j)))
        for one, total_j in zip(found, totals, strict=True)
    )
    headings = (
        Heading(language.text("Energy of"), figures=False),
        Heading(language.text("The meters’ figure"), shape.unit),
        Heading(language.text("Without a meter"), shape.unit),
        Heading(language.text("Jobs"), shape.unit),
        Heading(language.text("Idle"), shape.unit),
        Heading(language.text("Jobs and idle"), shape.unit),
    )
    return Table(language.text("What the meters say, and what this report has of it"), headings, lines)


def course(document: Document, language: Language) -> Table:
    """The figures of the chart: each day or month."""
    points = list(calendar(document.period, document.step, document.points or ()))

    def made(label: str, figures: Sequence[float | None], ladder: Ladder) -> _Column:
        return _added(language, label, figures, ladder)

    columns = [made(language.text("CO₂e of jobs"), [point.jobs_co2e_g for point in points], MASS_G)]
    if document.idle is not None:
        columns.append(made(language.text("CO₂e of idle time"), [point.idle_co2e_g for point in points], MASS_G))
    if before := days_before(document):
        figures = [together(point.jobs_co2e_g, point.idle_co2e_g) for point in before]
        columns.append(made(language.text("CO₂e of the period before"), figures, MASS_G))
    columns.append(made(language.text("IT energy of jobs"), [point.jobs_energy_j for point in points], ENERGY_J))
    if document.idle is not None:
        idle = [point.idle_energy_j for point in points]
        columns.append(made(language.text("IT energy of idle time"), idle, ENERGY_J))
    by_day = document.step == "day"
    names = [language.short_day(one.first_day) if by_day else language.month(one.first_day) for one in points]
    return _laid_out(
        language,
        language.text("The figures of the chart by day")
        if by_day
        else language.text("The figures of the chart by month"),
        Heading(language.text("Day") if by_day else language.text("Month"), figures=False),
        [(name, "group") for name in names],
        columns,
    )


def calendar(period: Period, step: Step, points: Sequence[Point]) -> Iterator[Point]:
    """Every day or month of a period: the books' points, and unknown ones where the books have nothing."""
    known = {point.first_day: point for point in points}
    first, end = period.first_day, period.last_day + timedelta(days=1)
    while first < end:
        following = first + timedelta(days=1)
        if step == "month":
            following = min((first.replace(day=1) + timedelta(days=32)).replace(day=1), end)
        yield known.get(first) or Point(first, following - timedelta(days=1), None, None, None, None)
        first = following


def days_before(document: Document) -> list[Point]:
    """The day or month of the period before that stands at the same place in it; nothing where it is not known."""
    before = document.before
    if before is None or not before.points:
        return []
    found = list(calendar(before.period, document.step, before.points))
    count = len(list(calendar(document.period, document.step, ())))
    found += [Point(before.period.last_day, before.period.last_day, None, None, None, None)] * (count - len(found))
    return found[:count]


def together(jobs: float | None, idle: float | None) -> float | None:
    """Both, as far as they are known."""
    return None if jobs is None and idle is None else (jobs or 0.0) + (idle or 0.0)


def tree(document: Document, language: Language) -> Table:
    """The accounts, each with what it and all accounts below it used; the outermost add up to all jobs."""
    branches = document.tree
    hours = column([one.sums.gpu_seconds for one in branches], None, HOURS_S)
    energy = column([one.sums.facility_energy_j for one in branches], None, ENERGY_J)
    emissions = column([one.sums.co2e_location_g for one in branches], None, MASS_G)
    headings = (
        Heading(language.text("Account"), figures=False),
        Heading(language.text("Jobs")),
        Heading(language.text("GPU time"), hours.unit),
        Heading(language.text("Energy at the facility"), energy.unit),
        Heading("CO₂e", emissions.unit),
    )
    lines = tuple(
        Line(
            group_name(language, "account", one.account),
            (
                language.number(one.sums.jobs),
                *(_figure(language, each.parts[place], each.decimals) for each in (hours, energy, emissions)),
            ),
            depth=one.depth,
        )
        for place, one in enumerate(branches)
    )
    return Table(language.text("Accounts, each with those below it"), headings, lines)


def first_day(month: str) -> date:
    """The first day of a month as the books name it, `2026-10`."""
    return date.fromisoformat(f"{month}-01")


@dataclass(frozen=True)
class _Column:
    heading: Heading
    cells: Sequence[str]
    total: str


def _parts(document: Document, language: Language) -> list[_Part]:
    """What makes the total, in the order in which it is shown."""
    parts = [_Part(group_name(language, document.by, group.key), "group", group) for group in document.groups]
    if document.idle is not None:
        parts.append(_Part(language.text("Idle (held by no job)"), "idle", document.idle))
    adjusted = [
        (language.text("Adjustment of %(month)s", month=language.month(first_day(one.of))), one.sums)
        for one in document.adjustments
    ]
    return [*parts, *(_Part(name, "adjustment", sums) for name, sums in adjusted)]


def _table(
    document: Document,
    language: Language,
    caption: str,
    parts: Sequence[_Part],
    columns: Sequence[_Column],
    bars: Sequence[float | None] = (),
) -> Table:
    heading = Heading(by_word(language, document.by), figures=False)
    return _laid_out(language, caption, heading, [(part.name, part.kind) for part in parts], columns, bars)


def _laid_out(
    language: Language,
    caption: str,
    heading: Heading,
    names: Sequence[tuple[str, Literal["group", "idle", "adjustment"]]],
    columns: Sequence[_Column],
    bars: Sequence[float | None] = (),
) -> Table:
    """Rows of columns, with the total below."""
    lines = [
        Line(name, tuple(each.cells[place] for each in columns), kind, bars[place] if bars else None)
        for place, (name, kind) in enumerate(names)
    ]
    lines.append(Line(language.text("Total"), tuple(each.total for each in columns), "total"))
    return Table(caption, (heading, *(each.heading for each in columns)), tuple(lines))


def _column(
    language: Language,
    label: str,
    parts: Sequence[_Part],
    total: Sums,
    figure: Callable[[Sums], float | None],
    ladder: Ladder,
) -> _Column:
    return _printed(language, label, [figure(part.sums) for part in parts], figure(total), ladder)


def _added(language: Language, label: str, figures: Sequence[float | None], ladder: Ladder) -> _Column:
    """A column whose total is that of the figures that are known."""
    known = [figure for figure in figures if figure is not None]
    return _printed(language, label, figures, sum(known) if known else None, ladder)


def _printed(
    language: Language, label: str, figures: Sequence[float | None], total: float | None, ladder: Ladder
) -> _Column:
    made = column(figures, total, ladder)
    unit = made.unit if any(figure is not None for figure in figures) else ""
    cells = [_figure(language, figure, made.decimals) for figure in made.parts]
    return _Column(Heading(label, unit), cells, _figure(language, made.total, made.decimals))


def _shares(language: Language, figures: Sequence[float | None], total: float | None) -> list[_Column]:
    """Shares of the total in per cent with one decimal, which make 100 as printed; none of a total of 0 or below."""
    heading = Heading(language.text("Share"), "%")
    if total is not None and total <= 0:
        return []
    if total is None:
        return [_Column(heading, [language.text("unknown") for _ in figures], language.text("unknown"))]
    known = sum(Fraction(figure) for figure in figures if figure is not None)
    counts = share_out([None if f is None else Fraction(f) / known * 1000 for f in figures], 1000)
    cells = [_figure(language, _decimal(count, 1), 1) for count in counts]
    return [_Column(heading, cells, language.number(100))]


def _decimal(count: int | None, decimals: int) -> Decimal | None:
    return None if count is None else Decimal(count).scaleb(-decimals)


def _figure(language: Language, figure: Decimal | None, decimals: int) -> str:
    return language.text("unknown") if figure is None else language.number(figure, decimals)


def _jobs(language: Language, part: _Part) -> str:
    return language.number(part.sums.jobs) if part.kind == "group" else ""


def _measured(language: Language, sums: Sums) -> str:
    """The share of its GPU time that was measured; nothing where it had none."""
    return language.share(sums.coverage) if sums.gpu_seconds else ""


def _location(sums: Sums) -> float | None:
    return sums.co2e_location_g


def _facility(sums: Sums) -> float | None:
    return sums.facility_energy_j


def _it_energy(sums: Sums) -> float | None:
    return sums.it_energy_j
