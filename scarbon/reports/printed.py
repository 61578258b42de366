"""Figures as they are printed under each other: one unit for a column, and rows that add up to the total as printed.

Every format for people takes its figures from here. Rounding each row by itself makes columns whose printed rows miss
the printed total by a digit; here the total is rounded, and the last digits are shared out among the rows by the
largest remainder (Hamilton's method), so that no row is off by as much as one of its last digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import floor

Ladder = Sequence[tuple[str, float]]

ENERGY_J: Ladder = (("mWh", 3.6), ("Wh", 3.6e3), ("kWh", 3.6e6), ("MWh", 3.6e9), ("GWh", 3.6e12), ("TWh", 3.6e15))
MASS_G: Ladder = (("mg", 1e-3), ("g", 1.0), ("kg", 1e3), ("t", 1e6), ("kt", 1e9), ("Mt", 1e12))
HOURS_S: Ladder = (("h", 3600.0),)
WATER_L: Ladder = (("mL", 1e-3), ("L", 1.0), ("m³", 1e3))

#: Digits that a column's total has at least.
DIGITS = 4


@dataclass(frozen=True, slots=True)
class Column:
    """Figures of one unit with the same number of decimals; None is unknown. The known `parts` add up to `total`."""

    unit: str
    decimals: int
    parts: tuple[Decimal | None, ...]
    total: Decimal | None


def column(parts: Sequence[float | None], total: float | None, ladder: Ladder) -> Column:
    """The figures in the unit of `ladder` that fits the largest of them, which is the total where none is negative.

    `total` is the sum of the parts that are known, or None; ValueError where it is another figure.
    """
    largest = max((abs(figure) for figure in (*parts, total) if figure is not None), default=0.0)
    unit, size = _fitting(largest, ladder)
    decimals = _decimals(largest / size)
    quantum = Fraction(size) / 10**decimals
    if total is None:
        return Column(
            unit, decimals, tuple(None if p is None else _decimal(_nearest(p, quantum), decimals) for p in parts), None
        )
    whole = _nearest(total, quantum)
    counts = share_out([None if part is None else Fraction(part) / quantum for part in parts], whole)
    made = tuple(None if count is None else _decimal(count, decimals) for count in counts)
    return Column(unit, decimals, made, _decimal(whole, decimals))


def share_out(parts: Sequence[Fraction | None], total: int) -> list[int | None]:
    """Whole numbers next to the parts whose sum is `total`, by the largest remainder; None stays None.

    ValueError where no rounding of the parts, each up or down, makes that sum.
    """
    floors = [None if part is None else floor(part) for part in parts]
    missing = total - sum(count for count in floors if count is not None)
    remainders = sorted(
        (place for place, part in enumerate(parts) if part is not None and part != floors[place]),
        key=lambda place: (-(parts[place] - floors[place]), place),  # type: ignore[operator]
    )
    if not 0 <= missing <= len(remainders):
        raise ValueError("the total is not the sum of its parts")
    for place in remainders[:missing]:
        floors[place] += 1  # type: ignore[operator]
    return floors


def _fitting(largest: float, ladder: Ladder) -> tuple[str, float]:
    """The largest unit in which the figure is at least 1 once rounded; the smallest where none is."""
    found = ladder[0]
    for unit in ladder:
        if float(f"{largest / unit[1]:.{DIGITS}g}") >= 1:
            found = unit
    return found


def _decimals(figure: float) -> int:
    """How many decimals give the figure its digits."""
    rounded = float(f"{figure:.{DIGITS}g}")
    return max(DIGITS - len(str(int(rounded))), 0) if rounded >= 1 else DIGITS - 1


def _nearest(figure: float, quantum: Fraction) -> int:
    return round(Fraction(figure) / quantum)


def _decimal(count: int, decimals: int) -> Decimal:
    return Decimal(count).scaleb(-decimals)
