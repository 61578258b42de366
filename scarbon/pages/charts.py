"""The chart of a period's course: bars of jobs and idle time stacked, by day or month, with a mark
where the period before was, as numbers for an SVG.

Widths are in per cent of the plot and heights in its own units, so that the drawing fits every width while its text
stays as large as the page's. `templates/report.html.j2` draws it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log10

from scarbon.pages.languages import Language
from scarbon.reports.printed import Ladder, column

HEIGHT = 200.0  # of the plot
_LABELS = 6  # as many fit under the plot on a narrow page


@dataclass(frozen=True)
class Piece:
    """A part of a bar, from `y` downwards."""

    kind: str  # jobs | idle
    y: float
    height: float


@dataclass(frozen=True)
class Bar:
    """A day or a month: `x` and `width` in per cent; no pieces where nothing is known of it."""

    x: float
    width: float
    middle: float
    label: str  # under the plot; empty where there is no room for one
    tip: str  # what a pointer on it shows
    pieces: tuple[Piece, ...]
    before_y: float | None  # where the period before was at this place


@dataclass(frozen=True)
class Tick:
    """A line across the plot and the figure beside it."""

    y: float
    text: str


@dataclass(frozen=True)
class Chart:
    """The plot."""

    unit: str
    ticks: tuple[Tick, ...]
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Value:
    """What a bar stands for, and both together in the period before; None is unknown."""

    name: str
    jobs: float | None
    idle: float | None
    before: float | None = None


def chart(values: Sequence[Value], ladder: Ladder, language: Language) -> Chart:
    """Bars of these values, which are in the ladder's base unit."""
    largest = max(max((each.jobs or 0.0) + (each.idle or 0.0), each.before or 0.0) for each in values)
    scale = column([largest], None, ladder)
    size = dict(ladder)[scale.unit]
    step = _step(largest / size)
    top = max(step * -(-largest / size // step), step)
    decimals = max(-floor(log10(step)), 0)
    ticks = tuple(
        Tick(HEIGHT * (1 - count * step / top), language.number(count * step, decimals))
        for count in range(round(top / step) + 1)
    )
    slot = 100 / len(values)
    every = -(-len(values) // _LABELS)
    bars = tuple(
        Bar(
            x=place * slot + slot * 0.14,
            width=slot * 0.72,
            middle=(place + 0.5) * slot,
            label=value.name if place % every == 0 else "",
            tip=_tip(value, ladder, language),
            pieces=tuple(_pieces(value, size * top)),
            before_y=None if value.before is None else HEIGHT * (1 - value.before / size / top),
        )
        for place, value in enumerate(values)
    )
    return Chart(scale.unit, ticks, bars)


def _step(largest: float) -> float:
    """1, 2 or 5 times a power of ten, so that at most five steps reach the largest figure."""
    if largest <= 0:
        return 1.0
    rough = largest / 5
    power = 10.0 ** floor(log10(rough))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))


def _pieces(value: Value, top: float) -> list[Piece]:
    pieces, below = [], 0.0
    for kind, figure in (("jobs", value.jobs), ("idle", value.idle)):
        if figure is not None and figure > 0:
            height = HEIGHT * figure / top
            pieces.append(Piece(kind, HEIGHT - below - height, height))
            below += height
    return pieces


def _tip(value: Value, ladder: Ladder, language: Language) -> str:
    """What is known of it."""
    parts = []
    if value.jobs is not None:
        parts.append(language.text("jobs %(figure)s", figure=language.quantity(value.jobs, ladder)))
    if value.idle is not None:
        parts.append(language.text("idle %(figure)s", figure=language.quantity(value.idle, ladder)))
    if value.before is not None:
        parts.append(language.text("period before %(figure)s", figure=language.quantity(value.before, ladder)))
    return language.labelled(value.name, ", ".join(parts) or language.text("unknown"))
