"""The reference tables that come with the program: grids, hardware, cloud regions, equivalents.

Each row keeps who published it and, where it is known, for which year. The tables stand beside this module as CSV, in
`tables/`; they are read once, without numpy or polars, because the calculator and the configuration need them at once.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

_TABLES = Path(__file__).with_name("tables")  # importlib.resources would cost 20 ms at start-up

#: Who published the yearly means by country (both CC BY 4.0).
GRID_SOURCE = "Ember and Our World in Data"


@dataclass(frozen=True, slots=True)
class GridFigure:
    """The mean carbon intensity of a country's grid over a year, in gCO2e/kWh, life cycle."""

    zone: str  # ISO 3166-1 alpha-3
    name: str
    year: int
    gco2e_per_kwh: float
    source: str


@dataclass(frozen=True, slots=True)
class Accelerator:
    """A GPU, TPU or CPU and the power it was built for (TDP, in watts)."""

    model: str
    aliases: tuple[str, ...]  # as drivers and older tables call it
    kind: str  # gpu | tpu | cpu
    tdp_w: float
    memory_gb: float | None
    source: str


@dataclass(frozen=True, slots=True)
class CloudRegion:
    """A provider's region: the grid's intensity there, and the share of it that the provider says it offsets."""

    provider: str
    region: str
    location: str
    gco2e_per_kwh: float
    offset_share: float  # 0 … 1; shown beside, never subtracted
    pue: float | None
    source: str


@dataclass(frozen=True, slots=True)
class Equivalent:
    """Something that emits `kgco2e` for each one of `per`."""

    name: str
    kgco2e: float
    per: str  # "km", "mile", "kg coal", …
    source: str


def _rows(name: str) -> Iterator[dict[str, str]]:
    with (_TABLES / name).open(encoding="utf-8", newline="") as lines:
        yield from csv.DictReader(lines)


@cache
def grid_intensity() -> Mapping[str, GridFigure]:
    """Yearly means by zone (ISO 3166-1 alpha-3)."""
    figures = (
        GridFigure(row["iso3"], row["name"], int(row["year"]), float(row["gco2e_per_kwh"]), GRID_SOURCE)
        for row in _rows("grid_intensity_by_country.csv")
    )
    return MappingProxyType({figure.zone: figure for figure in figures})


@cache
def accelerators() -> tuple[Accelerator, ...]:
    """Every accelerator, in the order of the table."""
    return tuple(
        Accelerator(
            model=row["model"],
            aliases=tuple(alias for alias in row["aliases"].split("|") if alias),
            kind=row["kind"],
            tdp_w=float(row["tdp_w"]),
            memory_gb=float(row["memory_gb"]) if row["memory_gb"] else None,
            source=row["source"],
        )
        for row in _rows("accelerators.csv")
    )


@cache
def cloud_regions() -> tuple[CloudRegion, ...]:
    """Every provider's regions, in the order of the table."""
    return tuple(
        CloudRegion(
            provider=row["provider"],
            region=row["region"],
            location=row["location"],
            gco2e_per_kwh=float(row["gco2e_per_kwh"]),
            offset_share=float(row["provider_offset_percent"]) / 100,
            pue=float(row["pue"]) if row["pue"] else None,
            source=row["source"],
        )
        for row in _rows("cloud_regions.csv")
    )


@cache
def equivalents() -> tuple[Equivalent, ...]:
    """What an amount of CO2e compares to, in the order of the table."""
    return tuple(
        Equivalent(row["equivalent"], float(row["value"]), row["unit"].removeprefix("kgCO2e per "), row["source"])
        for row in _rows("equivalents.csv")
    )


@cache
def fuel_factors() -> Mapping[str, float]:
    """What a kilowatt-hour from each fuel emits over its life cycle, in gCO2e; each row of the table has its source."""
    return MappingProxyType({row["fuel"]: float(row["gco2e_per_kwh"]) for row in _rows("emission_factors_by_fuel.csv")})
