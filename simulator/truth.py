"""What each job really used, and what nobody did: exact sums over the simulated cluster's curves.

All energies are true ones, in J, without the sensors' gain. For every device attempts + idle = metered.
The stand-in exporter's truth is read with `read_exporter_truth`, from `simulator.live_truth`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from accounting.model import AttemptKey
from simulator.cluster import Cluster
from simulator.hardware import Gpu
from simulator.live_truth import read_exporter_truth as read_exporter_truth

HOUR_S = 3600


@dataclass(frozen=True, slots=True)
class AttemptTruth:
    """The GPU energy of one attempt over the period; `by_device` has it by the GPU's UUID."""

    key: AttemptKey
    label: str
    start_s: int | None
    end_s: int | None
    energy_j: float
    by_device: Mapping[str, float]
    by_hour: Mapping[int, float]  # by the hour's first second, UTC


@dataclass(frozen=True, slots=True)
class DeviceTruth:
    """All that one GPU drew over the period, and the part of it that nobody held. `gain` is its sensor's."""

    uuid: str
    node: str
    index: int
    model: str
    gain: float
    metered_j: float
    idle_j: float


@dataclass(frozen=True, slots=True)
class Truth:
    """The truth of a cluster over [start_s, end_s)."""

    cluster: str
    start_s: float
    end_s: float
    attempts: Mapping[AttemptKey, AttemptTruth]
    devices: Mapping[str, DeviceTruth]


def truth_of(cluster: Cluster, start_s: float | None = None, end_s: float | None = None) -> Truth:
    """The truth over [start_s, end_s), by default the cluster's whole period."""
    start = float(cluster.start_s if start_s is None else start_s)
    end = float(cluster.end_s if end_s is None else end_s)
    attempts = {}
    for place, attempt in enumerate(cluster.attempts):
        by_device: dict[str, float] = {}
        by_hour: dict[int, float] = {}
        for hold in attempt.holds:
            begin, finish = max(start, hold.start_s), min(end, hold.end_s)
            if begin >= finish:
                continue
            first_hour = int(begin // HOUR_S + 1) * HOUR_S
            cuts = np.unique(np.concatenate(([begin], np.arange(first_hour, finish, HOUR_S), [finish])))
            energy = cluster.hold_energy(place, hold, cuts)
            uuid = hold.gpu.uuid
            by_device[uuid] = by_device.get(uuid, 0.0) + float(energy[-1] - energy[0])
            hours = (cuts[:-1] // HOUR_S * HOUR_S).astype(int)
            for hour, part in zip(hours.tolist(), np.diff(energy).tolist(), strict=True):
                by_hour[hour] = by_hour.get(hour, 0.0) + part
        job = attempt.job
        attempts[job.key] = AttemptTruth(
            job.key, job.label, job.start_s, job.end_s, sum(by_device.values()), by_device, by_hour
        )
    devices = {}
    for gpu in cluster.gpus:
        before, after = cluster.energy(gpu, (start, end))
        devices[gpu.uuid] = DeviceTruth(
            gpu.uuid, gpu.node, gpu.index, gpu.model, gpu.gain, float(after - before), _idle(cluster, gpu, start, end)
        )
    return Truth(cluster.name, start, end, attempts, devices)


def _idle(cluster: Cluster, gpu: Gpu, start: float, end: float) -> float:
    """The energy of what nobody holds: counted from the free times, not as a remainder."""
    curve = cluster.idle[gpu.uuid]
    cooling = cluster.cooling.get(gpu.uuid)
    total = cooling.between(start, end) if cooling else 0.0
    # Slices of which no instance is made are never held.
    shares = {part: 1.0 if part is None else part.share for part in gpu.parts}
    total += curve.between(start, end) * (1.0 - sum(shares.values()))
    for part, share in shares.items():
        held = sorted(
            (hold.start_s, hold.end_s)
            for attempt in cluster.attempts
            for hold in attempt.holds
            if hold.gpu.uuid == gpu.uuid and hold.part == part
        )
        free_from = start
        for begin, finish in held:
            total += share * curve.between(free_from, min(begin, end))
            free_from = max(free_from, finish)
        total += share * curve.between(free_from, end)
    return total


def write_truth(truth: Truth, path: Path) -> None:
    """Write the truth as JSON."""
    document = {
        "cluster": truth.cluster,
        "start_s": truth.start_s,
        "end_s": truth.end_s,
        "attempts": [
            {
                "cluster": attempt.key.cluster,
                "job_id": attempt.key.job_id,
                "submit_s": attempt.key.submit_s,
                "label": attempt.label,
                "start_s": attempt.start_s,
                "end_s": attempt.end_s,
                "energy_j": attempt.energy_j,
                "by_device": dict(attempt.by_device),
                "by_hour": dict(attempt.by_hour),
            }
            for attempt in truth.attempts.values()
        ],
        "devices": [
            {
                "uuid": device.uuid,
                "node": device.node,
                "index": device.index,
                "model": device.model,
                "gain": device.gain,
                "metered_j": device.metered_j,
                "idle_j": device.idle_j,
            }
            for device in truth.devices.values()
        ],
    }
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def read_truth(path: Path) -> Truth:
    """Read what `write_truth` wrote."""
    document = json.loads(path.read_text(encoding="utf-8"))
    attempts = {}
    for row in document["attempts"]:
        key = AttemptKey(row["cluster"], row["job_id"], row["submit_s"])
        by_hour = {int(hour): part for hour, part in row["by_hour"].items()}
        attempts[key] = AttemptTruth(
            key, row["label"], row["start_s"], row["end_s"], row["energy_j"], row["by_device"], by_hour
        )
    devices = {row["uuid"]: DeviceTruth(**row) for row in document["devices"]}
    return Truth(document["cluster"], document["start_s"], document["end_s"], attempts, devices)
