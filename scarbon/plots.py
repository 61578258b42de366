"""Small plots in the terminal, with plotext, which is imported only when one is drawn."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from accounting.model import FactorSlot

_HEIGHT = 14
_TICKS = 5


def curve(slots: Sequence[FactorSlot], title: str, zone: ZoneInfo) -> str:
    """Draw a factor over time as lines of plain text; holes stay empty. `slots` are in order, at least one."""
    import plotext

    plotext.clear_figure()
    plotext.theme("clear")
    plotext.plot_size(min(shutil.get_terminal_size().columns, 120), _HEIGHT)
    for run in _unbroken(slots):
        times = [time_s for slot in run for time_s in (slot.start_s, slot.end_s)]
        plotext.plot(times, [value for slot in run for value in (slot.value, slot.value)], marker="braille")
    first_s, last_s = slots[0].start_s, slots[-1].end_s
    ticks = [first_s + (last_s - first_s) * tick / (_TICKS - 1) for tick in range(_TICKS)]
    plotext.xticks(ticks, [datetime.fromtimestamp(tick, zone).strftime("%m-%d %H:%M") for tick in ticks])
    plotext.ylim(0, max(slot.value for slot in slots) * 1.05 or 1.0)
    plotext.title(title)
    drawn: str = plotext.uncolorize(plotext.build())
    return "\n".join(line.rstrip() for line in drawn.splitlines())


def _unbroken(slots: Sequence[FactorSlot]) -> list[list[FactorSlot]]:
    """The stretches without a hole."""
    runs: list[list[FactorSlot]] = []
    for slot in slots:
        if runs and slot.start_s <= runs[-1][-1].end_s:
            runs[-1].append(slot)
        else:
            runs.append([slot])
    return runs
