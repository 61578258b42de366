"""The calculator: what work would emit, from its hardware, its hours and its place, without any meter.

The formula is the ML Emissions Calculator's (Lacoste, Luccioni, Schmidt, Dandres 2019): power × hours × the grid's
intensity. Here with devices, utilisation and PUE, and with nothing rounded. An offset stands beside what was emitted
and is never subtracted from it. Everything is pure: tables' rows and numbers in, frozen records out.
"""

from __future__ import annotations

import difflib
import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from site_config.tables import (
    Accelerator,
    CloudRegion,
    Equivalent,
    GridFigure,
    accelerators,
    cloud_regions,
    equivalents,
    grid_intensity,
)

J_PER_KWH = 3.6e6

T = TypeVar("T")


class UnknownNameError(Exception):
    """A name that is in no table, or means several rows: `what` says which, `advice` what to write."""

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(what)
        self.what = what
        self.advice = advice


@dataclass(frozen=True, slots=True)
class Factor:
    """A grid's intensity, where it holds, and who published it."""

    gco2e_per_kwh: float
    place: str
    source: str
    year: int | None = None
    basis: str | None = None  # "life cycle" or "direct"


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be run: devices that each draw `power_w` on average, for `hours`."""

    devices: int
    hours: float
    power_w: float

    def __post_init__(self) -> None:
        if self.devices < 1:
            raise ValueError(f"{self.devices} devices are not at least one")
        for name, value in (("the hours", self.hours), ("the power", self.power_w)):
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} must be 0 or more, but is {value}")


@dataclass(frozen=True, slots=True)
class Calculation:
    """What the work draws and emits; the fields are named as in the ledger."""

    gpus: int
    gpu_seconds: float
    it_energy_j: float
    pue: float
    facility_energy_j: float
    intensity_g_per_kwh: float
    co2e_location_g: float
    offset_g: float | None  # beside co2e_location_g, never subtracted; None where no offset is known


def calculate(work: Work, gco2e_per_kwh: float, pue: float = 1.0, offset_share: float | None = None) -> Calculation:
    """Multiply it out: devices × hours × power × PUE × intensity. Raise `ValueError` for what cannot be."""
    if not (math.isfinite(gco2e_per_kwh) and gco2e_per_kwh >= 0):
        raise ValueError(f"the intensity must be 0 or more, but is {gco2e_per_kwh}")
    if not (math.isfinite(pue) and pue >= 1):
        raise ValueError(f"the PUE must be 1 or more, but is {pue}")
    if offset_share is not None and not 0 <= offset_share <= 1:
        raise ValueError(f"the offset must be a share from 0 to 1, but is {offset_share}")
    device_s = work.devices * work.hours * 3600
    it_energy_j = device_s * work.power_w
    facility_energy_j = it_energy_j * pue
    co2e_g = facility_energy_j / J_PER_KWH * gco2e_per_kwh
    return Calculation(
        gpus=work.devices,
        gpu_seconds=device_s,
        it_energy_j=it_energy_j,
        pue=pue,
        facility_energy_j=facility_energy_j,
        intensity_g_per_kwh=gco2e_per_kwh,
        co2e_location_g=co2e_g,
        offset_g=None if offset_share is None else co2e_g * offset_share,
    )


def factor_of_region(region: CloudRegion, published: bool = False) -> Factor:
    """Return a region's newest figure, or the one that the ML Emissions Calculator's table has for it."""
    place = f"{region.provider} {region.region} ({region.location})"
    if not published:
        return _factor(region.grid, place)
    if region.published_gco2e_per_kwh is None:
        raise UnknownNameError(f"the ML Emissions Calculator has no figure for {place}", "leave out --published")
    return Factor(region.published_gco2e_per_kwh, place, region.published_source or "ML Emissions Calculator")


def factor_of_zone(figure: GridFigure) -> Factor:
    """Return the yearly mean of a country, or of a part of one."""
    return _factor(figure, f"{figure.zone} ({figure.name})")


def _factor(figure: GridFigure, place: str) -> Factor:
    return Factor(figure.gco2e_per_kwh, place, figure.source, figure.year, figure.basis)


def greenest(regions: Iterable[CloudRegion] | None = None) -> CloudRegion:
    """Return the region whose grid emits least; of equals, the first of the table."""
    return min(cloud_regions() if regions is None else regions, key=lambda region: region.grid.gco2e_per_kwh)


def same_work_on(hardware: Accelerator, other: Accelerator, work: Work) -> Work | None:
    """Return the same work on other devices: as many, for as long as they need at the same share of their peaks.

    The peaks are those of dense half precision, as the makers state them; None where one of them is not known. The
    other device's power is its TDP, at the share of it that this one drew.
    """
    if hardware.fp16_tflops is None or other.fp16_tflops is None:
        return None
    hours = work.hours * hardware.fp16_tflops / other.fp16_tflops
    return replace(work, hours=hours, power_w=work.power_w / hardware.tdp_w * other.tdp_w)


def alternatives(hardware: Accelerator, work: Work) -> list[tuple[Accelerator, Work]]:
    """Return every other device that the work can be carried over to, the thriftiest first."""
    found = []
    for other in accelerators():
        carried = same_work_on(hardware, other, work) if other is not hardware else None
        if carried is not None:
            found.append((other, carried))
    return sorted(found, key=lambda pair: pair[1].hours * pair[1].power_w)


def compared(co2e_g: float) -> list[tuple[float, Equivalent]]:
    """Return how many of each equivalent emit as much."""
    return [(co2e_g / 1000 / equivalent.kgco2e, equivalent) for equivalent in equivalents()]


def find_hardware(name: str) -> Accelerator:
    """Return the one accelerator that `name` means: `a100 sxm4 80gb`, `H100 NVL`, `T4`. Raise `UnknownNameError`."""
    return _find("hardware", name, accelerators(), lambda found: (found.model, *found.aliases), "calculate --list")


def find_region(name: str) -> CloudRegion:
    """Return the one cloud region that `name` means: `aws/eu-west-3`, `us-central1`. Raise `UnknownNameError`."""
    provider, slash, region = name.partition("/")
    regions = [found for found in cloud_regions() if not slash or found.provider == provider.lower()]
    if not regions:
        providers = ", ".join(sorted({found.provider for found in cloud_regions()}))
        raise UnknownNameError(f"unknown provider {provider!r}", f"the providers are {providers}")
    return _find(
        "region",
        region if slash else name,
        regions,
        lambda found: (f"{found.provider}/{found.region}", found.region, found.location),
        "calculate --list regions",
    )


def find_zone(name: str) -> GridFigure:
    """Return the grid that `name` means: `FRA`, `France`, `USA-CAMX`. Raise `UnknownNameError`."""
    figures = list(grid_intensity().values())
    return _find("zone", name, figures, lambda found: (found.zone, found.name), "calculate --list zones")


def _find(kind: str, name: str, rows: Sequence[T], names: Callable[[T], tuple[str, ...]], listing: str) -> T:
    """Find a row by its full name in any case, else by words that only it has, else by letters that only it has."""
    wanted = _squeezed(name)
    exact = [row for row in rows if wanted in map(_squeezed, names(row))]
    if len(exact) == 1:
        return exact[0]
    matches = exact
    if not matches and wanted:
        words = set(_words(name))
        matches = [row for row in rows if any(words <= set(_words(known)) for known in names(row))]
        matches = matches or [row for row in rows if any(wanted in _squeezed(known) for known in names(row))]
    if len(matches) == 1:
        return matches[0]
    if matches:
        shown = ", ".join(names(row)[0] for row in matches[:8]) + (", …" if len(matches) > 8 else "")
        raise UnknownNameError(f"{kind} {name!r} may mean {shown}", "say which")
    by_squeezed = {_squeezed(known): names(row)[0] for row in rows for known in names(row)}
    near = difflib.get_close_matches(wanted, by_squeezed, n=3, cutoff=0.5)
    guess = " or ".join(dict.fromkeys(by_squeezed[key] for key in near))
    raise UnknownNameError(f"unknown {kind} {name!r}", f"did you mean {guess}?" if guess else f"see scarbon {listing}")


def _words(text: str) -> list[str]:
    plain = "".join(letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))
    return re.findall(r"[^\W_]+", plain.lower())


def _squeezed(text: str) -> str:
    return "".join(_words(text))
