"""Quantities as people read them: the unit that fits the number, three significant digits."""

from __future__ import annotations

import math

_ENERGY_J = (("mWh", 3.6), ("Wh", 3.6e3), ("kWh", 3.6e6), ("MWh", 3.6e9), ("GWh", 3.6e12), ("TWh", 3.6e15))
_MASS_G = (("mg", 1e-3), ("g", 1.0), ("kg", 1e3), ("t", 1e6), ("kt", 1e9), ("Mt", 1e12))


#: sacct's prefixes (--units) as places of the lists above.
PREFIXES = {"K": 2, "M": 3, "G": 4, "T": 5}


def energy(energy_j: float | None, unknown: str = "", prefix: str | None = None) -> str:
    """Joules as mWh, Wh, kWh, MWh, GWh or TWh: what fits the number, or what `prefix` of `PREFIXES` says."""
    return unknown if energy_j is None else _shown(energy_j, _ENERGY_J, prefix)


def mass(mass_g: float | None, unknown: str = "", prefix: str | None = None) -> str:
    """Grams of CO2e as mg, g, kg, t, kt or Mt: what fits the number, or what `prefix` of `PREFIXES` says."""
    return unknown if mass_g is None else _shown(mass_g, _MASS_G, prefix)


def counted(number: int, word: str) -> str:
    """`1 job`, `2 jobs`."""
    return f"{number} {word}{'s' * (number != 1)}"


def share(ratio: float | None, unknown: str = "") -> str:
    """A ratio in per cent; 100% only for all of it, and 0% only for none. One that is below 0 has its sign."""
    if ratio is None:
        return unknown
    percent = ratio * 100
    if percent == 0 or percent > 100 - 1e-9:
        return f"{percent:.0f}%"
    shown = min(max(percent, 0.1), 99.9) if percent > 0 else min(percent, -0.1)
    return f"{shown:.1f}".removesuffix(".0") + "%"


def duration(seconds: float) -> str:
    """Seconds as sacct writes them: [D-]HH:MM:SS."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    return (f"{days}-" if days else "") + f"{hour:02d}:{minute:02d}:{second:02d}"


def _shown(value: float, units: tuple[tuple[str, float], ...], prefix: str | None) -> str:
    """The number in the largest unit in which it is at least 1 once rounded; in the smallest where none is.

    What is nothing even in the smallest is 0 of the unit without a prefix.
    """
    if prefix is not None:
        name, unit = units[PREFIXES[prefix]]
        return f"{_plain(value / unit)} {name}"
    name, unit = units[0]
    if round(value / unit, 2) == 0:
        return f"0 {units[1][0]}"
    for larger, size in units:
        if float(f"{abs(value) / size:.3g}") >= 1:
            name, unit = larger, size
    return f"{_digits(value / unit)} {name}"


def _digits(value: float) -> str:
    """Three significant digits, without an exponent."""
    size = abs(float(f"{value:.3g}"))
    decimals = 2 if size < 10 else 1 if size < 100 else 0
    return f"{value:.{decimals}f}"


def _plain(value: float) -> str:
    """Three significant digits of a number of any size, without an exponent."""
    if value == 0:
        return "0"
    return f"{value:.{max(2 - math.floor(math.log10(abs(float(f'{value:.3g}')))), 0)}f}"
