import csv
from pathlib import Path

import pytest

from site_config import tables

FOLDER = Path(tables.__file__).with_name("tables")
#: What makes a row unique, and the columns that may be empty.
FILES = {
    "accelerators.csv": (("model",), {"aliases", "memory_gb", "fp16_tflops", "peak_source"}),
    "cloud_regions.csv": (
        ("provider", "region"),
        {"gco2e_per_kwh", "year", "source", "published_gco2e_per_kwh", "published_source", "pue"},
    ),
    "emission_factors_by_fuel.csv": (("fuel",), set()),
    "equivalents.csv": (("equivalent",), set()),
    "gpu_meters.csv": (("preset", "what"), {"unit", "reference"}),
    "grid_intensity_by_country.csv": (("iso3",), set()),
    "grid_intensity_by_region.csv": (("zone",), set()),
    "host_meters.csv": (("preset",), {"adds_up"}),
}


def test_every_table_is_checked() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_rows_are_whole_and_unique(name: str) -> None:
    key, may_be_empty = FILES[name]
    with (FOLDER / name).open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    keys = [tuple(row[column] for column in key) for row in rows]
    assert len(keys) == len(set(keys))
    for row in rows:
        assert None not in row and None not in row.values(), f"{row} has too many or too few columns"
        empty = {column for column, value in row.items() if not value.strip()}
        assert empty <= may_be_empty, row
        assert all(value == value.strip() for value in row.values()), row


def test_a_country() -> None:
    """Ember and Our World in Data: France in 2023."""
    france = tables.grid_intensity()["FRA"]
    assert (france.name, france.year, france.gco2e_per_kwh) == ("France", 2023, 56.0)
    assert (france.basis, france.source) == ("life cycle", "Ember and Our World in Data")


def test_parts_of_countries() -> None:
    """eGRID2023: CAMX 195.0. eGRID2022: SRVC 622.987 lb CO2, 0.047 lb CH4 and 0.007 lb N2O a MWh."""
    grids = tables.grid_intensity()
    assert grids["USA-CAMX"].gco2e_per_kwh == 195.0
    assert grids["USA-SRVC"].gco2e_per_kwh == pytest.approx(
        (622.987 + 28 * 0.047 + 265 * 0.007) * 453.59237 / 1000, abs=0.05
    )
    assert grids["AUS-QLD"].basis == "direct"


def test_intensities_are_plausible() -> None:
    assert all(0 < figure.gco2e_per_kwh < 1500 for figure in tables.grid_intensity().values())
    old = {figure.zone for figure in tables.grid_intensity().values() if not 2021 <= figure.year <= 2026}
    assert old == {"ESH"}  # Western Sahara's newest is of 2009
    assert len(tables.grid_intensity()) == 212 + 46


def test_an_accelerator() -> None:
    h100 = next(found for found in tables.accelerators() if found.model == "NVIDIA H100 SXM5 80GB")
    assert (h100.kind, h100.tdp_w, h100.memory_gb, h100.fp16_tflops) == ("gpu", 700.0, 80.0, 989.0)
    assert h100.aliases == ("H100 SXM", "NVIDIA H100 80GB HBM3")


def test_every_peak_says_where_it_was_checked() -> None:
    assert all((found.fp16_tflops is None) == (found.peak_source is None) for found in tables.accelerators())


@pytest.mark.parametrize(
    ("model", "tflops"),
    [
        # Lightning's table: half of 1.979e15 and of 1.513e15, which the data sheet has with sparsity.
        ("NVIDIA H100 SXM5 80GB", 989.5),
        ("NVIDIA H100 PCIe 80GB", 756.5),
        # AMD's footnotes to its products' performance.
        ("AMD Instinct MI100", 184.6),
        ("AMD Instinct MI250X", 383.0),
    ],
)
def test_peaks_are_dense(model: str, tflops: float) -> None:
    found = next(one for one in tables.accelerators() if one.model == model)
    assert found.fp16_tflops == pytest.approx(tflops, rel=1e-3)


def test_no_name_means_two_accelerators() -> None:
    names = [name.lower() for found in tables.accelerators() for name in (found.model, *found.aliases)]
    assert len(names) == len(set(names))


def test_the_hardware_of_the_ml_emissions_calculator_is_there() -> None:
    """The names of its table; the two V100 whose TDP it has exchanged, and its GTX 750, have their makers' figures."""
    by_name = {name: found.tdp_w for found in tables.accelerators() for name in (found.model, *found.aliases)}
    theirs = {
        "RTX 2080 Ti": 250,
        "Tesla T4": 70,
        "NVIDIA Tesla K80": 300,
        "TPUv3 Chip": 283,
        "NVIDIA RTX A4000": 140,
        "AMD EPYC 7763": 280,
        "AGX Xavier": 30,
    }
    assert {name: by_name[name] for name in theirs} == theirs
    assert by_name["Tesla V100-PCIE-16GB"] == 250
    assert by_name["Tesla V100-SXM2-16GB"] == 300
    assert by_name["NVIDIA GeForce GTX 750"] == 55


def region(provider: str, name: str) -> tables.CloudRegion:
    return next(found for found in tables.cloud_regions() if (found.provider, found.region) == (provider, name))


def test_a_region_with_the_providers_own_figure() -> None:
    oregon = region("gcp", "us-west1")
    assert (oregon.grid.gco2e_per_kwh, oregon.grid.year) == (97.85, 2025)
    assert (oregon.grid.source, oregon.grid.zone) == ("Google, region carbon data 2025", "USA-NWPP")
    assert (oregon.published_gco2e_per_kwh, oregon.offset_share) == (94.0, 1.0)


def test_a_region_with_its_grids_figure() -> None:
    """The published 617 g/kWh for Ireland are from before 2016."""
    dublin = region("aws", "eu-west-1")
    assert dublin.grid is tables.grid_intensity()["IRL"]
    assert (dublin.published_gco2e_per_kwh, dublin.pue) == (617.0, None)


def test_every_region_has_a_grid_of_now() -> None:
    assert all(found.grid.year >= 2022 for found in tables.cloud_regions())
    assert all(found.grid.zone in tables.grid_intensity() for found in tables.cloud_regions())


def test_slips_of_the_old_table_are_mended() -> None:
    names = {(found.provider, found.region) for found in tables.cloud_regions()}
    assert ("gcp", "me-central1") in names and ("gcp", "me-cenrtal1") not in names
    assert ("scaleway", "fr-par") in names
    assert region("seeweb", "fro2").grid.gco2e_per_kwh == 330.7  # Italy's grid; 0 is what its contract says


def test_equivalents_have_a_unit_and_a_source() -> None:
    by_name = {found.name: found for found in tables.equivalents()}
    car = by_name["distance driven by an average petrol passenger car (EU)"]
    assert (car.kgco2e, car.per, car.source) == (0.175, "km", "Green Algorithms")
    assert all(found.kgco2e > 0 for found in by_name.values())


def test_factors_by_fuel() -> None:
    factors = tables.fuel_factors()
    assert (factors["coal"], factors["nuclear"], factors["biomass"]) == (995, 29, 230)
