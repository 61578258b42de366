import csv
from dataclasses import replace
from pathlib import Path

import pytest

from accounting.calculator import (
    Calculation,
    UnknownNameError,
    Work,
    alternatives,
    calculate,
    compared,
    factor_of_region,
    factor_of_zone,
    find_hardware,
    find_region,
    find_zone,
    greenest,
    same_work_on,
)
from site_config import tables

FOLDER = Path(tables.__file__).with_name("tables")


def read(name: str) -> list[dict[str, str]]:
    with (FOLDER / name).open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


PUBLISHED = [row for row in read("cloud_regions.csv") if row["published_gco2e_per_kwh"]]


@pytest.mark.parametrize("region", PUBLISHED, ids=lambda row: f"{row['provider']}/{row['region']}")
def test_the_published_formula_without_its_rounding(region: dict[str, str]) -> None:
    """kWh = TDP × hours / 1000; kg = kWh × factor; offset = kg × share: for every hardware in this region."""
    hours = 123.4
    kg_per_kwh = float(region["published_gco2e_per_kwh"]) / 1000
    share = float(region["provider_offset_percent"]) / 100
    found = find_region(f"{region['provider']}/{region['region']}")
    for row in read("accelerators.csv"):
        hardware = find_hardware(row["model"])
        kwh = float(row["tdp_w"]) * hours / 1000
        work = Work(devices=1, hours=hours, power_w=hardware.tdp_w)
        result = calculate(work, factor_of_region(found, published=True).gco2e_per_kwh, 1.0, found.offset_share)
        assert result.it_energy_j / 3.6e6 == pytest.approx(kwh, rel=1e-12)
        assert result.co2e_location_g / 1000 == pytest.approx(kwh * kg_per_kwh, rel=1e-12)
        assert result.offset_g is not None
        assert result.offset_g / 1000 == pytest.approx(kwh * kg_per_kwh * share, rel=1e-12)


def test_the_papers_two_extremes() -> None:
    """About 20 g/kWh in Québec and about 800 in Queensland: forty times, for the same 100 h on a V100 of 300 W."""
    work = Work(devices=1, hours=100, power_w=300)
    assert calculate(work, 20).co2e_location_g == pytest.approx(600)
    assert calculate(work, 800).co2e_location_g == pytest.approx(24_000)


def test_a_green_grid_is_not_rounded_up() -> None:
    """The published calculator makes 0.02 kg of 16 g/kWh: 25 % too much."""
    assert calculate(Work(1, 1000, 1000), 16).co2e_location_g == 16_000


def test_every_factor_of_the_product_by_hand() -> None:
    """8 × 350 W × 10 h = 28 kWh; × 1.5 = 42 kWh; × 50 g/kWh = 2100 g; a fifth of it offset."""
    assert calculate(Work(8, 10, 350), 50, 1.5, 0.2) == Calculation(
        gpus=8,
        gpu_seconds=288_000.0,
        it_energy_j=28 * 3.6e6,
        pue=1.5,
        facility_energy_j=42 * 3.6e6,
        intensity_g_per_kwh=50,
        co2e_location_g=2100.0,
        offset_g=420.0,
    )


def test_no_offset_is_unknown_and_not_nought() -> None:
    assert calculate(Work(1, 1, 1), 1).offset_g is None
    assert calculate(Work(1, 1, 1), 1, offset_share=0.0).offset_g == 0.0


@pytest.mark.parametrize("values", [(0, 1, 1), (1, -1, 1), (1, float("nan"), 1), (1, 1, -1), (1, 1, float("inf"))])
def test_work_that_cannot_be(values: tuple[int, float, float]) -> None:
    with pytest.raises(ValueError, match=r"must be|at least"):
        Work(*values)


@pytest.mark.parametrize("values", [(-1, 1, 0), (float("nan"), 1, 0), (1, 0.9, 0), (1, float("inf"), 0), (1, 1, 1.1)])
def test_factors_that_cannot_be(values: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        calculate(Work(1, 1, 1), *values)


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("NVIDIA A100 SXM4 80GB", "NVIDIA A100 SXM4 80GB"),
        ("nvidia a100-sxm4-80gb", "NVIDIA A100 SXM4 80GB"),  # as DCGM has it
        ("NVIDIA H100 80GB HBM3", "NVIDIA H100 SXM5 80GB"),  # as DCGM has it
        ("a100 sxm4 80gb", "NVIDIA A100 SXM4 80GB"),
        ("80GB SXM4", "NVIDIA A100 SXM4 80GB"),
        ("h100sxm", "NVIDIA H100 SXM5 80GB"),
        ("t4", "NVIDIA Tesla T4"),
        ("L4", "NVIDIA L4"),  # and not the L40
        ("RTX 3080", "NVIDIA GeForce RTX 3080"),  # and not the Ti
        ("xeon e5-2650", "Intel Xeon E5-2650"),
    ],
)
def test_hardware_by_part_of_its_name(name: str, model: str) -> None:
    assert find_hardware(name).model == model


@pytest.mark.parametrize(
    ("name", "what", "advice"),
    [
        ("H100", "hardware 'H100' may mean NVIDIA H100 SXM5 80GB, NVIDIA H100 NVL, NVIDIA H100 PCIe 80GB", "say which"),
        ("A100 SMX4 80GB", "unknown hardware 'A100 SMX4 80GB'", "did you mean NVIDIA A100 SXM4 80GB"),
        ("abacus", "unknown hardware 'abacus'", "see scarbon calculate --list"),
        ("", "unknown hardware ''", "see scarbon calculate --list"),
    ],
)
def test_hardware_that_is_not_one(name: str, what: str, advice: str) -> None:
    with pytest.raises(UnknownNameError) as error:
        find_hardware(name)
    assert error.value.what == what
    assert error.value.advice.startswith(advice)


def test_every_name_in_the_tables_finds_its_row() -> None:
    for accelerator in tables.accelerators():
        for name in (accelerator.model, *accelerator.aliases):
            assert find_hardware(name) is accelerator
    for region in tables.cloud_regions():
        assert find_region(f"{region.provider}/{region.region}") is region
    for figure in tables.grid_intensity().values():
        assert find_zone(figure.zone) is figure


def test_regions() -> None:
    assert find_region("us-central1").provider == "gcp"
    assert find_region("AWS/eu-west-3").location == "Paris, France"
    with pytest.raises(UnknownNameError, match="unknown provider 'ibm'"):
        find_region("ibm/paris")
    with pytest.raises(UnknownNameError, match="'paris' may mean aws/eu-west-3, gcp/europe-west9, scaleway/fr-par"):
        find_region("paris")
    with pytest.raises(UnknownNameError) as error:
        find_region("aws/us-esat-1")
    assert "aws/us-east-1" in error.value.advice


def test_zones() -> None:
    assert find_zone("france").zone == "FRA"
    assert find_zone("Quebec").zone == "CAN-QC"
    assert find_zone("CAMX").zone == "USA-CAMX"
    assert factor_of_zone(find_zone("FRA")).place == "FRA (France)"


def test_the_greenest_region() -> None:
    of_azure = [region for region in tables.cloud_regions() if region.provider == "azure"]
    assert greenest(of_azure).region == "canadaeast"  # Québec
    least = greenest().grid.gco2e_per_kwh
    assert all(region.grid.gco2e_per_kwh >= least for region in tables.cloud_regions())


def test_a_region_that_the_old_table_lacks() -> None:
    with pytest.raises(UnknownNameError, match="has no figure for gcp europe-north2"):
        factor_of_region(find_region("gcp/europe-north2"), published=True)


def test_the_same_work_on_other_hardware() -> None:
    """100 h on an A100 (312 Tflop/s, 400 W) at half its TDP take 100 × 312 / 989 h on an H100, at half of 700 W."""
    a100, h100 = find_hardware("a100 sxm4 80gb"), find_hardware("h100 sxm5")
    carried = same_work_on(a100, h100, Work(8, 100, 200))
    assert carried is not None
    assert (carried.devices, carried.hours, carried.power_w) == (8, pytest.approx(100 * 312 / 989), pytest.approx(350))
    assert same_work_on(a100, replace(h100, fp16_tflops=None), Work(8, 100, 200)) is None


def test_alternatives_are_thriftiest_first() -> None:
    v100 = find_hardware("v100 pcie")
    found = alternatives(v100, Work(1, 100, 250))
    energies = [work.hours * work.power_w for _, work in found]
    assert energies == sorted(energies)
    assert v100 not in [hardware for hardware, _ in found]
    assert alternatives(find_hardware("EPYC 7763"), Work(1, 1, 280)) == []


def test_equivalents() -> None:
    """1.75 kg are 10 km in a European car at 0.175 kg/km."""
    by_name = {same.name: amount for amount, same in compared(1750)}
    assert by_name["distance driven by an average petrol passenger car (EU)"] == pytest.approx(10)
