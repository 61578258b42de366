"""`scarbon calculate`: what work would emit, told step by step, before or without any measurement."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import click

from accounting.calculator import (
    J_PER_KWH,
    Calculation,
    Factor,
    UnknownNameError,
    Work,
    alternatives,
    compared,
    factor_of_region,
    factor_of_zone,
    find_hardware,
    find_region,
    find_zone,
    greenest,
)
from accounting.calculator import (
    calculate as multiply_out,
)
from scarbon import __version__
from scarbon.equivalents import equivalents_of
from scarbon.errors import WrongUseError
from site_config.tables import Accelerator, CloudRegion, accelerators, cloud_regions, grid_intensity

METHOD = "power × hours × grid intensity, after Lacoste, Luccioni, Schmidt and Dandres 2019, arXiv:1910.09700"
_OTHERS = 3  # as many other devices are named
_STATED = (
    "gpu_energy_j", "host_energy_j", "it_energy_j", "facility_energy_j", "co2e_location_g", "co2e_market_g",
    "co2e_embodied_g",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Asked:
    """What was asked, with every name found in its table."""

    hardware: Accelerator | None
    utilisation: float  # 1 where watts were given
    work: Work
    region: CloudRegion | None
    factor: Factor
    pue: float
    pue_source: str
    offset_share: float | None
    result: Calculation


@click.command()
@click.option("--hardware", metavar="NAME", help="A GPU, TPU or CPU; part of its name will do. See --list.")
@click.option("--devices", type=click.IntRange(min=1), default=1, show_default=True, help="How many of them.")
@click.option("--hours", type=float, help="How long they run.")
@click.option("--utilisation", type=click.FloatRange(0, 100), metavar="PERCENT", help="Of the TDP. [default: 100]")
@click.option("--watts", type=float, help="Mean power of a device, in the place of its TDP.")
@click.option("--region", metavar="NAME", help="A cloud region: aws/eu-west-3, us-central1. See --list regions.")
@click.option("--provider", metavar="NAME", help="The region's provider, where the region's name is not enough.")
@click.option("--zone", metavar="NAME", help="A country or a part of one: FRA, USA-CAMX. See --list zones.")
@click.option("--intensity", type=float, metavar="G_PER_KWH", help="Your own grid factor, in gCO2e/kWh.")
@click.option("--pue", type=float, help="Facility energy over IT energy. [default: the region's, else 1]")
@click.option("--offset", type=click.FloatRange(0, 100), metavar="PERCENT", help="Offset; shown, never subtracted.")
@click.option("--published", is_flag=True, help="Use the region's figure of the ML Emissions Calculator's table.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, in the field names of the books.")
@click.option("--statement", type=click.Choice(["markdown", "latex"]), help="A paragraph for a paper, with BibTeX.")
@click.option(
    "--list",
    "listing",
    is_flag=False,
    flag_value="hardware",
    type=click.Choice(["hardware", "regions", "zones"]),
    help="List what the tables have: hardware, regions or zones.",
)
def calculate(
    hardware: str | None,
    devices: int,
    hours: float | None,
    utilisation: float | None,
    watts: float | None,
    region: str | None,
    provider: str | None,
    zone: str | None,
    intensity: float | None,
    pue: float | None,
    offset: float | None,
    published: bool,
    as_json: bool,
    statement: str | None,
    listing: str | None,
) -> None:
    """Estimate emissions from hardware, hours and place: power × hours × PUE × grid intensity.

    \b
    scarbon calculate --hardware "A100 SXM4 80GB" --devices 8 --hours 100 --region aws/eu-west-3
    scarbon calculate --watts 350 --hours 24 --zone SWE --pue 1.2
    scarbon calculate --hardware "H100 SXM" --hours 240 --region us-central1 --statement latex
    """
    if listing is not None:
        _list(listing, as_json)
        return
    try:
        power = _power(hardware, utilisation, watts)
        place = _place(region, provider, zone, intensity, published)
        asked = _calculate(power, place, devices, hours, pue, offset)
    except UnknownNameError as error:
        raise WrongUseError(error.what, error.advice) from None
    except ValueError as error:
        raise WrongUseError(str(error)) from None
    if statement is not None:
        _print_statement(asked, statement)
    elif as_json:
        click.echo(json.dumps(_document(asked), indent=2, ensure_ascii=False))
    else:
        click.echo("\n".join(_text(asked)))


def _power(
    hardware: str | None, utilisation: float | None, watts: float | None
) -> tuple[Accelerator | None, float, float]:
    """Find the device, its utilisation and its mean power in watts."""
    if hardware is None and watts is None:
        raise WrongUseError("what it runs on is missing", "give --hardware, or --watts; --list shows the hardware")
    if watts is not None and utilisation is not None:
        raise WrongUseError("--watts and --utilisation say the same in two ways", "give one of them")
    found = find_hardware(hardware) if hardware is not None else None
    if watts is not None or found is None:
        return found, 1.0, watts or 0.0
    share = 1.0 if utilisation is None else utilisation / 100
    return found, share, found.tdp_w * share


def _place(
    region: str | None, provider: str | None, zone: str | None, intensity: float | None, published: bool
) -> tuple[CloudRegion | None, Factor]:
    """Find the grid: a region's, a zone's, or the caller's own factor."""
    if sum(given is not None for given in (region, zone, intensity)) != 1:
        raise WrongUseError("where it runs is not clear", "give one of --region, --zone and --intensity")
    if region is None and (provider is not None or published):
        raise WrongUseError("--provider and --published speak of a region", "give --region, or leave them out")
    if intensity is not None:
        return None, Factor(intensity, "a grid of your own", "given on the command line")
    if zone is not None:
        return None, factor_of_zone(find_zone(zone))
    found = find_region(f"{provider}/{region}" if provider else str(region))
    return found, factor_of_region(found, published)


def _calculate(
    power: tuple[Accelerator | None, float, float],
    place: tuple[CloudRegion | None, Factor],
    devices: int,
    hours: float | None,
    pue: float | None,
    offset: float | None,
) -> _Asked:
    if hours is None:
        raise WrongUseError("how long it runs is missing", "give --hours")
    hardware, utilisation, power_w = power
    region, factor = place
    pue_source = "given"
    if pue is None:
        declared = region.pue if region is not None else None
        pue_source = "the region's" if declared is not None else "none was given: what the building uses is left out"
        pue = declared if declared is not None else 1.0
    offset_share = offset / 100 if offset is not None else region.offset_share if region is not None else None
    work = Work(devices, hours, power_w)
    result = multiply_out(work, factor.gco2e_per_kwh, pue, offset_share)
    return _Asked(hardware, utilisation, work, region, factor, pue, pue_source, offset_share, result)


def _text(asked: _Asked) -> list[str]:
    return [*_arithmetic(asked), "", *_side_by_side(asked), "", *_elsewhere(asked), "", *_equivalents(asked)]


def _arithmetic(asked: _Asked) -> list[str]:
    work, result, factor = asked.work, asked.result, asked.factor
    name = asked.hardware.model if asked.hardware is not None else "device"
    watts = f"{figure(work.power_w)} W"
    if asked.hardware is not None and work.power_w == asked.hardware.tdp_w * asked.utilisation:
        watts = f"{figure(asked.hardware.tdp_w)} W (its TDP) × {figure(asked.utilisation * 100)} %"
    rows = [
        ("Device time", f"{work.devices} × {figure(work.hours)} h", f"{figure(result.gpu_seconds / 3600)} h"),
        ("IT energy", f"{figure(result.gpu_seconds / 3600)} h × {watts}", kwh(result.it_energy_j)),
        ("Facility energy", f"{kwh(result.it_energy_j)} × PUE {figure(asked.pue)}", kwh(result.facility_energy_j)),
        (
            "Emitted",
            f"{kwh(result.facility_energy_j)} × {figure(factor.gco2e_per_kwh)} gCO2e/kWh",
            kilograms(result.co2e_location_g),
        ),
    ]
    return [
        f"{work.devices} × {name} for {figure(work.hours)} h in {factor.place}",
        "",
        *_aligned([(label, step, "=", value) for label, step, value in rows]),
        "",
        f"PUE: {asked.pue_source}.",
        f"Grid: {factor.source}{f' ({_known(factor)})' if _known(factor) else ''}.",
    ]


def _known(factor: Factor) -> str:
    """Say what is known of a factor: two of different years or bases compare only roughly."""
    return ", ".join(str(part) for part in (factor.year, factor.basis) if part is not None)


def _side_by_side(asked: _Asked) -> list[str]:
    """Emitted and offset, beside each other: nothing is subtracted."""
    result = asked.result
    if result.offset_g is None or asked.offset_share is None:
        return [f"Emitted: {kilograms(result.co2e_location_g)}. Nothing is known of offsets."]
    who = "Offset by the provider" if asked.region is not None else "Offset"
    offset = f"{kilograms(result.offset_g)} ({figure(asked.offset_share * 100)} %; not subtracted)"
    return _aligned([("Emitted", who), (kilograms(result.co2e_location_g), offset)])


def _elsewhere(asked: _Asked) -> list[str]:
    lines = []
    for words, region in _greener(asked):
        if region is asked.region:
            lines.append(f"This is the greenest region {words} already.")
        else:
            there = multiply_out(asked.work, region.grid.gco2e_per_kwh, asked.pue)
            factor = factor_of_region(region)
            emitted = f"{kilograms(there.co2e_location_g)} ({_known(factor)})"
            lines.append(f"In the greenest region {words}, {factor.place}: {emitted}.")
    others = _others(asked)
    if others:
        lines.append("The same work here on other hardware, at the same share of its peak in half precision:")
        rows = [(other.model, work.hours, result.co2e_location_g) for other, work, result in others]
        lines += _aligned([(f"  {model}", f"{figure(hours)} h", kilograms(co2e_g)) for model, hours, co2e_g in rows])
    return lines


def _equivalents(asked: _Asked) -> list[str]:
    rows = [
        (f"  {figure(amount)} {same.per}", same.name, f"[{same.source}]")
        for amount, same in compared(asked.result.co2e_location_g)
    ]
    return ["As much as", *_aligned(rows)]


def _greener(asked: _Asked) -> Iterable[tuple[str, CloudRegion]]:
    """The greenest region of the provider, and that of all."""
    if asked.region is not None:
        provider = asked.region.provider
        yield f"of {provider}", greenest(found for found in cloud_regions() if found.provider == provider)
    yield "of all providers", greenest()


def _others(asked: _Asked) -> list[tuple[Accelerator, Work, Calculation]]:
    if asked.hardware is None:
        return []
    return [
        (other, work, multiply_out(work, asked.factor.gco2e_per_kwh, asked.pue, asked.offset_share))
        for other, work in alternatives(asked.hardware, asked.work)[:_OTHERS]
    ]


def _document(asked: _Asked) -> dict[str, Any]:
    """The machine-readable form: base units, the ledger's names, nothing rounded, unknown as null."""
    return {
        "meta": {"scarbon": __version__, "method": METHOD},
        "calculation": {
            "hardware": asked.hardware.model if asked.hardware is not None else None,
            "hours": asked.work.hours,
            "power_w": asked.work.power_w,
            **_fields(asked.result, asked.hardware),
            "intensity": asdict(asked.factor),
            "provider": asked.region.provider if asked.region is not None else None,
            "region": asked.region.region if asked.region is not None else None,
            "zone": asked.region.grid.zone if asked.region is not None else None,
        },
        "greenest": [
            {
                "of": words.removeprefix("of "),
                "provider": region.provider,
                "region": region.region,
                "location": region.location,
                **_fields(multiply_out(asked.work, region.grid.gco2e_per_kwh, asked.pue), asked.hardware),
            }
            for words, region in _greener(asked)
        ],
        "same_work_on": [
            {"hardware": other.model, "hours": work.hours, "power_w": work.power_w, **_fields(result, other)}
            for other, work, result in _others(asked)
        ],
        "equivalents": equivalents_of(asked.result.co2e_location_g),
    }


def _fields(result: Calculation, hardware: Accelerator | None) -> dict[str, Any]:
    """The figures under the names that the books give them; a CPU is the host's."""
    is_cpu = hardware is not None and hardware.kind == "cpu"
    return {
        "gpus": 0 if is_cpu else result.gpus,
        "gpu_seconds": 0.0 if is_cpu else result.gpu_seconds,
        "gpu_energy_j": None if is_cpu else result.it_energy_j,
        "host_energy_j": result.it_energy_j if is_cpu else None,
        "it_energy_j": result.it_energy_j,
        "facility_energy_j": result.facility_energy_j,
        "co2e_location_g": result.co2e_location_g,
        "co2e_market_g": None,
        "co2e_embodied_g": None,
        "offset_g": result.offset_g,
        "intensity_g_per_kwh": result.intensity_g_per_kwh,
        "pue": result.pue,
        "coverage": 0.0,  # nothing of it was measured
        "method": "model",
    }


def _print_statement(asked: _Asked, form: str) -> None:
    """What `scarbon statement` says of jobs, of this calculation."""
    from zoneinfo import ZoneInfo

    from accounting.statement import Hardware, Statement
    from scarbon.statements import Occasion, print_statement

    result, fields = asked.result, _fields(asked.result, asked.hardware)
    name = asked.hardware.model if asked.hardware is not None else f"a device of {figure(asked.work.power_w)} W"
    stated = Statement(
        jobs=None, jobs_unknown=0, clusters=(), start_s=None, end_s=None,
        hardware=[Hardware(name, result.gpus, result.gpu_seconds, result.it_energy_j)], gpu_seconds=result.gpu_seconds,
        coverage=0.0, co2e_embodied_low_g=None, co2e_embodied_high_g=None, co2e_low_g=None, co2e_high_g=None,
        methods=(), sources=(), water_l=None,
        **{name: fields[name] for name in _STATED},
    )  # fmt: skip
    rated = asked.hardware is not None and asked.work.power_w == asked.hardware.tdp_w
    power = f"{'a rated' if rated else 'a mean'} power of {figure(asked.work.power_w)} W"
    devices = "1 device" if result.gpus == 1 else f"{result.gpus} devices"
    occasion = Occasion(
        where="private infrastructure" if asked.region is None and asked.factor.year is None else asked.factor.place,
        zone=ZoneInfo("UTC"),
        calculated=f"{devices} at {power} for {figure(asked.work.hours)} h",
        pue=asked.pue_source,
        factor=f"{asked.factor.source}{f', {_known(asked.factor)}' if _known(asked.factor) else ''}",
        offset_g=result.offset_g,
    )
    print_statement(stated, occasion, form)


def _list(listing: str, as_json: bool) -> None:
    """Print a table as it stands, with its sources."""
    rows: Sequence[Any]
    if listing == "hardware":
        rows = accelerators()
        cells = [(row.model, row.kind, f"{figure(row.tdp_w)} W", row.source) for row in accelerators()]
    elif listing == "regions":
        rows = cloud_regions()
        cells = [
            (
                f"{row.provider}/{row.region}",
                row.location,
                f"{figure(row.grid.gco2e_per_kwh)} gCO2e/kWh",
                f"{row.grid.source}, {row.grid.year}",
            )
            for row in cloud_regions()
        ]
    else:
        rows = list(grid_intensity().values())
        cells = [
            (row.zone, row.name, f"{figure(row.gco2e_per_kwh)} gCO2e/kWh", f"{row.source}, {row.year}, {row.basis}")
            for row in grid_intensity().values()
        ]
    if as_json:
        click.echo(json.dumps([asdict(row) for row in rows], indent=2, ensure_ascii=False))
    else:
        click.echo("\n".join(_aligned(cells)))


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def figure(value: float) -> str:
    """Write a number with four digits that count, for a person; only here is anything rounded."""
    if value == 0:
        return "0"
    decimals = max(0, 3 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def kwh(energy_j: float) -> str:
    """Write an energy in kWh."""
    return f"{figure(energy_j / J_PER_KWH)} kWh"


def kilograms(co2e_g: float) -> str:
    """Write a mass in kgCO2e."""
    return f"{figure(co2e_g / 1000)} kgCO2e"
