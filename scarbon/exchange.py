"""Statements for other programs: CodeCarbon's `emissions.csv`, and a report in the shape of BoAmps.

BoAmps is Boavizta's format for the energy of AI tasks. What only a person knows of a task (its stage, its model, its
data) is left out, so a report is a draft: its JSON Schema asks for `task` to be filled in.
"""

from __future__ import annotations

import csv
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import IO, Any
from zoneinfo import ZoneInfo

from accounting.jobs import JobUsage
from accounting.statement import JobKey, Statement, key_of, water_l
from scarbon import __version__
from site_config.tables import GridFigure, grid_intensity

J_PER_KWH = 3.6e6

#: The columns of CodeCarbon 3's `emissions.csv`, in its order.
CODECARBON = (
    "timestamp", "project_name", "run_id", "experiment_id", "duration", "emissions", "emissions_rate", "cpu_power",
    "gpu_power", "ram_power", "cpu_energy", "gpu_energy", "ram_energy", "energy_consumed", "water_consumed",
    "country_name", "country_iso_code", "region", "cloud_provider", "cloud_region", "os", "python_version",
    "codecarbon_version", "cpu_count", "cpu_model", "gpu_count", "gpu_model", "longitude", "latitude",
    "ram_total_size", "tracking_mode", "cpu_utilization_percent", "gpu_utilization_percent", "ram_utilization_percent",
    "ram_used_gb", "on_cloud", "pue", "wue",
)  # fmt: skip

#: Jobs get the same name every time.
_NAMESPACE = uuid.UUID("6f2ad8bb-8b0d-5d0e-9d7f-5f3c2b8b9a11")


def write_codecarbon(
    file: IO[str],
    jobs: Iterable[JobUsage],
    models: Mapping[JobKey, str],
    place: GridFigure,
    zone: ZoneInfo,
    wue_l_per_kwh: float | None,
) -> None:
    """Write a line for each job that started; what is unknown, or not CodeCarbon's to know of a cluster, stays empty.

    As in CodeCarbon, energies hold the PUE and powers do not; the host part, memory included, stands under cpu. Water
    is on IT energy, as WUE is defined. `models` are the names of the jobs' GPUs.
    """
    lines = csv.DictWriter(file, CODECARBON, restval="", lineterminator="\n")
    lines.writeheader()
    for job in jobs:
        if job.start is not None:
            row = _codecarbon(job, models, place, zone, wue_l_per_kwh)
            lines.writerow({name: value for name, value in row.items() if value is not None})


def _codecarbon(
    job: JobUsage,
    models: Mapping[JobKey, str],
    place: GridFigure,
    zone: ZoneInfo,
    wue_l_per_kwh: float | None,
) -> dict[str, Any]:
    name = f"{job.cluster}:{job.job_id_raw}:{job.submit}"
    duration_s = None if job.end is None or job.start is None else job.end - job.start
    country, _, part = place.zone.partition("-")
    kilograms = None if job.co2e_location_g is None else job.co2e_location_g / 1000

    def per_second(value: float | None) -> float | None:
        return None if value is None or not duration_s else value / duration_s

    def with_pue(energy_j: float | None) -> float | None:
        return None if energy_j is None or job.pue is None else energy_j * job.pue / J_PER_KWH

    return {
        "timestamp": None if job.end is None else datetime.fromtimestamp(job.end, zone).strftime("%Y-%m-%dT%H:%M:%S"),
        "project_name": job.account,
        "run_id": str(uuid.uuid5(_NAMESPACE, name)),
        "experiment_id": f"{job.cluster}:{job.job_id}",
        "duration": duration_s,
        "emissions": kilograms,
        "emissions_rate": per_second(kilograms),
        "cpu_power": per_second(job.host_energy_j),
        "gpu_power": per_second(job.gpu_energy_j),
        "cpu_energy": with_pue(job.host_energy_j),
        "gpu_energy": with_pue(job.gpu_energy_j),
        "energy_consumed": None if job.facility_energy_j is None else job.facility_energy_j / J_PER_KWH,
        "water_consumed": water_l(job.it_energy_j, wue_l_per_kwh),
        "country_name": country_of(place),
        "country_iso_code": country,
        "region": part,
        "os": "Linux",
        "codecarbon_version": f"scarbon {__version__}",
        "cpu_count": job.cpus,
        "gpu_count": job.gpus,
        "gpu_model": models.get(key_of(job)),
        "ram_total_size": None if job.memory_mb is None else job.memory_mb * 1.048576e-3,
        "tracking_mode": "machine",
        "on_cloud": "N",
        "pue": job.pue,
        "wue": wue_l_per_kwh,
    }


def boamps(statement: Statement, site: str, place: GridFigure, zone: ZoneInfo, now: datetime) -> dict[str, Any]:
    """A report in the shape of BoAmps: a measure for the GPUs and one for the host, in kWh of IT energy."""
    return {
        "header": {
            "formatVersion": "1.1.0",
            "formatVersionSpecificationUri": "https://github.com/Boavizta/BoAmps/tree/main/model",
            "reportId": str(uuid.uuid4()),
            "reportDatetime": now.strftime("%Y-%m-%d %H:%M:%S"),
            "reportStatus": "draft",
            "publisher": {"name": site, "confidentialityLevel": "internal"},
        },
        "task": {"taskDescription": f"{statement.jobs} Slurm jobs on {', '.join(statement.clusters)}"},
        "measures": list(_measures(statement, zone)),
        "system": {"os": "linux"},
        "infrastructure": {"infraType": "onPremise", "components": _components(statement)},
        "environment": _known(
            {
                "country": country_of(place),
                "location": place.name if "-" in place.zone else None,
                "powerSourceCarbonIntensity": statement.intensity_g_per_kwh,
            }
        ),
    }


def country_of(place: GridFigure) -> str:
    """The country's name, also of a part of it."""
    return grid_intensity()[place.zone.partition("-")[0]].name


def _measures(statement: Statement, zone: ZoneInfo) -> Iterable[dict[str, Any]]:
    started = None if statement.start_s is None else datetime.fromtimestamp(statement.start_s, zone)
    duration_s = None if statement.start_s is None or statement.end_s is None else statement.end_s - statement.start_s
    for part, kind, energy_j in (("gpu", "gpu", statement.gpu_energy_j), ("cpu", "host", statement.host_energy_j)):
        methods = ", ".join(one.method for one in statement.methods if one.kind == kind)
        if energy_j is not None:
            yield _known(
                {
                    "measurementMethod": "scarbon",
                    "version": __version__,
                    f"{part}TrackingMode": methods,
                    "powerConsumption": energy_j / J_PER_KWH,
                    "measurementDuration": duration_s,
                    "measurementDateTime": None if started is None else started.strftime("%Y-%m-%d %H:%M:%S"),
                }
            )


def _components(statement: Statement) -> Sequence[dict[str, Any]]:
    gpus = [
        _known({"componentName": one.model or None, "componentType": "gpu", "nbComponent": max(one.gpus, 1)})
        for one in statement.hardware
    ]
    return [*gpus, {"componentType": "cpu", "nbComponent": 1}]


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
