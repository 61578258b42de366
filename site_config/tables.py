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

#: Who published the yearly means by country (both CC BY 4.0, as distributed by CodeCarbon).
GRID_SOURCE = "Ember and Our World in Data"


@dataclass(frozen=True, slots=True)
class GridFigure:
    """The mean carbon intensity of a grid over a year, in gCO2e/kWh."""

    zone: str  # a country by ISO 3166-1 alpha-3 (FRA), or a part of one (USA-CAMX, AUS-NSW, SWE-SE3)
    name: str
    year: int
    gco2e_per_kwh: float
    basis: str  # "life cycle" (with fuel and plant), or "direct" (what leaves the chimney)
    source: str


@dataclass(frozen=True, slots=True)
class Accelerator:
    """A GPU, TPU or CPU and the power it was built for (TDP, in watts)."""

    model: str
    aliases: tuple[str, ...]  # as drivers and older tables call it
    kind: str  # gpu | tpu | cpu
    tdp_w: float
    memory_gb: float | None
    fp16_tflops: float | None  # peak of dense half precision, as the maker states it
    source: str
    peak_source: str | None  # where that peak was checked


@dataclass(frozen=True, slots=True)
class CloudRegion:
    """A provider's region, its grid, and the share of its emissions that the provider says it offsets."""

    provider: str
    region: str
    location: str
    grid: GridFigure  # the newest figure: the provider's own for the region, or that of the grid's zone
    published_gco2e_per_kwh: float | None  # as the ML Emissions Calculator and CodeCarbon publish it
    published_source: str | None
    offset_share: float  # 0 … 1; shown beside, never subtracted
    pue: float | None


@dataclass(frozen=True, slots=True)
class Equivalent:
    """Something that emits `kgco2e` for each one of `per`."""

    name: str
    kgco2e: float
    per: str  # "km", "mile", "kg coal", …
    source: str


def rows(name: str) -> Iterator[dict[str, str]]:
    """The rows of a table, as text."""
    with (_TABLES / name).open(encoding="utf-8", newline="") as lines:
        yield from csv.DictReader(lines)


def _number(text: str) -> float | None:
    return float(text) if text else None


@cache
def grid_intensity() -> Mapping[str, GridFigure]:
    """Yearly means by zone: every country, and parts of countries where a public figure exists."""
    countries = [
        {**row, "zone": row["iso3"], "basis": "life cycle", "source": GRID_SOURCE}
        for row in rows("grid_intensity_by_country.csv")
    ]
    figures = (_grid_figure(row) for row in [*countries, *rows("grid_intensity_by_region.csv")])
    return MappingProxyType({figure.zone: figure for figure in figures})


def _grid_figure(row: Mapping[str, str]) -> GridFigure:
    value = float(row["gco2e_per_kwh"])
    return GridFigure(row["zone"], row["name"], int(row["year"]), value, row["basis"], row["source"])


@cache
def accelerators() -> tuple[Accelerator, ...]:
    """Every accelerator, in the order of the table."""
    return tuple(
        Accelerator(
            model=row["model"],
            aliases=tuple(alias for alias in row["aliases"].split("|") if alias),
            kind=row["kind"],
            tdp_w=float(row["tdp_w"]),
            memory_gb=_number(row["memory_gb"]),
            fp16_tflops=_number(row["fp16_tflops"]),
            source=row["source"],
            peak_source=row["peak_source"] or None,
        )
        for row in rows("accelerators.csv")
    )


@cache
def cloud_regions() -> tuple[CloudRegion, ...]:
    """Every provider's regions, in the order of the table."""
    return tuple(
        CloudRegion(
            provider=row["provider"],
            region=row["region"],
            location=row["location"],
            grid=(
                _grid_figure({**row, "name": row["location"], "basis": "direct"})
                if row["gco2e_per_kwh"]
                else grid_intensity()[row["zone"]]
            ),
            published_gco2e_per_kwh=_number(row["published_gco2e_per_kwh"]),
            published_source=row["published_source"] or None,
            offset_share=float(row["provider_offset_percent"]) / 100,
            pue=_number(row["pue"]),
        )
        for row in rows("cloud_regions.csv")
    )


@cache
def equivalents() -> tuple[Equivalent, ...]:
    """What an amount of CO2e compares to, in the order of the table."""
    return tuple(
        Equivalent(row["equivalent"], float(row["value"]), row["unit"].removeprefix("kgCO2e per "), row["source"])
        for row in rows("equivalents.csv")
    )


@cache
def fuel_factors() -> Mapping[str, float]:
    """What a kilowatt-hour from each fuel emits over its life cycle, in gCO2e; each row of the table has its source."""
    return MappingProxyType({row["fuel"]: float(row["gco2e_per_kwh"]) for row in rows("emission_factors_by_fuel.csv")})
