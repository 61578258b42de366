"""Small plots: in the terminal, with plotext, which is imported only when one is drawn, and as an SVG file."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import datetime
from html import escape
from math import ceil, floor, log10
from zoneinfo import ZoneInfo

from accounting.model import FactorSlot

#: A line in pieces: what is not known lies between them. Times are UTC epoch seconds.
Pieces = Sequence[Sequence[tuple[float, float]]]

_HEIGHT = 14
_TICKS = 5
#: Steps of the axis of time (s) that people count in.
_STEPS_S = (
    *(minutes * unit_s for unit_s in (1, 60) for minutes in (1, 2, 5, 10, 15, 30)),
    *(hours * 3600 for hours in (1, 2, 3, 6, 12)),
    *(days * 86_400 for days in (1, 2, 7, 14, 28, 91, 182, 364)),
)


def curve(slots: Sequence[FactorSlot], title: str, zone: ZoneInfo) -> str:
    """Draw a factor over time as lines of plain text; holes stay empty. `slots` are in order, at least one."""
    pieces = [
        [(time_s, slot.value) for slot in run for time_s in (slot.start_s, slot.end_s)] for run in _unbroken(slots)
    ]
    return lines(pieces, title, zone)


def lines(pieces: Pieces, title: str, zone: ZoneInfo, width: int | None = None) -> str:
    """Draw a line over time as plain text, as wide as the terminal or as it is said; at least one piece."""
    import plotext

    columns = min(shutil.get_terminal_size().columns if width is None else width, 120)
    plotext.clear_figure()
    plotext.theme("clear")
    plotext.plot_size(columns, _HEIGHT)
    for piece in pieces:
        plotext.plot([time_s for time_s, _ in piece], [value for _, value in piece], marker="braille")
    first_s, last_s = pieces[0][0][0], pieces[-1][-1][0]
    ticks = _ticks(first_s, last_s, _TICKS if columns >= 72 else 2, zone)
    plotext.xticks(ticks, [_tick(tick, first_s, last_s, zone) for tick in ticks])
    values = _values(pieces)
    plotext.ylim(0, values[-1])
    plotext.yticks(values, [f"{value:,g}" for value in values])
    plotext.title(title)
    drawn: str = plotext.uncolorize(plotext.build())
    return "\n".join(line.rstrip() for line in drawn.splitlines())


def _ticks(first_s: float, last_s: float, count: int, zone: ZoneInfo) -> list[float]:
    """At most `count` round times of the clock between the two; where there is none, the two themselves."""
    offset = datetime.fromtimestamp(first_s, zone).utcoffset()
    offset_s = 0.0 if offset is None else offset.total_seconds()
    for step_s in _STEPS_S:
        first, last = ceil((first_s + offset_s) / step_s), floor((last_s + offset_s) / step_s)
        if last - first < count:
            break
    return [number * step_s - offset_s for number in range(first, last + 1)] or [first_s, last_s]


def _values(pieces: Pieces) -> list[float]:
    """Round values from 0 to one that is not below the largest: some four steps of 1, 2 or 5 times a power of ten."""
    most = max(value for piece in pieces for _, value in piece)
    if most <= 0:
        return [0.0, 1.0]
    size = 10.0 ** floor(log10(most / 4))
    step = next(size * one for one in (1, 2, 5, 10) if size * one * 5 >= most)
    return [step * number for number in range(ceil(most / step - 1e-9) + 1)]


def _tick(time_s: float, first_s: float, last_s: float, zone: ZoneInfo) -> str:
    pattern = "%H:%M:%S" if last_s - first_s < 1800 else "%m-%d %H:%M"
    return datetime.fromtimestamp(time_s, zone).strftime(pattern)


def svg(pieces: Pieces, title: str, unit: str, zone: ZoneInfo) -> str:
    """The same as an SVG document of its own, with its title as its text alternative; nothing is fetched by it."""
    width, height, left, bottom, top, right = 760, 300, 64, 40, 40, 48  # half a label of the time fits right
    first_s, last_s = pieces[0][0][0], pieces[-1][-1][0]
    values = _values(pieces)
    most = values[-1]

    def x(time_s: float) -> float:
        return left + (time_s - first_s) / max(last_s - first_s, 1e-9) * (width - left - right)

    def y(value: float) -> float:
        return height - bottom - value / most * (height - bottom - top)

    grid = [
        f'<path d="M{left} {y(value):.1f}H{width - right}" stroke="#8888" stroke-width="0.5"/>'
        f'<text x="{left - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value:,g}</text>'
        for value in values
    ]
    ticks = [
        f'<text x="{x(tick):.1f}" y="{height - bottom + 18}" text-anchor="middle">'
        f"{_tick(tick, first_s, last_s, zone)}</text>"
        for tick in _ticks(first_s, last_s, _TICKS, zone)
    ]
    paths = [
        f'<path d="M{" L".join(f"{x(time_s):.1f} {y(value):.1f}" for time_s, value in piece)}" fill="none" '
        'stroke="#1f77b4" stroke-width="1.5"/>'
        for piece in pieces
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-labelledby="t" '
            'font-family="sans-serif" font-size="12">',
            f'<title id="t">{escape(title)}</title>',
            f'<rect width="{width}" height="{height}" fill="#fff"/>',
            f'<text x="{left}" y="20" font-size="14">{escape(title)}</text>',
            f'<text x="{left - 8}" y="{top - 6}" text-anchor="end">{escape(unit)}</text>',
            *grid,
            *ticks,
            *paths,
            "</svg>",
            "",
        ]
    )


def _unbroken(slots: Sequence[FactorSlot]) -> list[list[FactorSlot]]:
    """The stretches without a hole."""
    runs: list[list[FactorSlot]] = []
    for slot in slots:
        if runs and slot.start_s <= runs[-1][-1].end_s:
            runs[-1].append(slot)
        else:
            runs.append([slot])
    return runs
