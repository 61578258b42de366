"""The stand-in exporter's truth file: the exact energy of each GPU at any time, and whose it was.

`simulator.live` writes it, the tests on a real cluster hold the books against it. Standard library only.
"""

from __future__ import annotations

import bisect
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simulator.live import LiveLoad


@dataclass(frozen=True, slots=True)
class Interval:
    """A job on a device over [start_s, end_s), by the mapping folder or by its load; `energy_j` is the whole GPU's."""

    job_id: str
    uuid: str
    gi_id: int | None
    start_s: float
    end_s: float
    energy_j: float


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A load of a job on a device while the mapping folder did not name the job for it, and for how long."""

    job_id: str
    uuid: str
    gi_id: int | None
    start_s: float
    end_s: float


@dataclass(slots=True)
class LiveDevice:
    """One GPU's truth from `start_s` to `end_s`."""

    uuid: str
    node: str
    index: int
    minor: int
    idle_w: float
    start_s: float
    end_s: float = 0.0
    loads: list[tuple[LiveLoad, float]] = field(default_factory=list)  # with the time at which each ended
    mappings: dict[int | None, list[tuple[float, tuple[str, ...]]]] = field(default_factory=dict)

    def energy_j(self, time_s: float) -> float:
        """What the GPU drew from `start_s` up to a time. Raises ValueError outside of what is known."""
        if not self.start_s <= time_s <= self.end_s:
            raise ValueError(f"{self.uuid}: nothing is known at {time_s}")
        above = sum(load.energy_j(min(time_s, ended)) for load, ended in self.loads)
        return self.idle_w * (time_s - self.start_s) + above

    def between(self, start_s: float, end_s: float) -> float:
        """What the GPU drew over [start_s, end_s), in J."""
        return self.energy_j(end_s) - self.energy_j(start_s)

    def holders(self, gi_id: int | None, time_s: float) -> tuple[str, ...]:
        """The jobs that the mapping folder named at a time."""
        rows = self.mappings.get(gi_id, [])
        at = bisect.bisect_right(rows, time_s, key=lambda row: row[0]) - 1
        return rows[at][1] if at >= 0 else ()


@dataclass(frozen=True, slots=True)
class LiveTruth:
    """The truth of one or more nodes."""

    devices: dict[str, LiveDevice]  # by the GPU's UUID

    def mapped(self, job_id: int | str) -> list[Interval]:
        """Each interval in which the mapping folder named the job for a device, in order of time."""
        return self._sorted(job_id, self._mapped_spans(str(job_id)))

    def loaded(self, job_id: int | str) -> list[Interval]:
        """Each interval in which a load of the job ran on a device, in order of time."""
        spans = (
            (device, load.gi_id, load.since_s, ended)
            for device in self.devices.values()
            for load, ended in device.loads
            if load.job_id == str(job_id)
        )
        return self._sorted(job_id, spans)

    def mapped_j(self, job_id: int | str) -> float:
        """Energy in J of the GPUs that the job held, while it did. A GPU that jobs shared counts whole for each."""
        return sum(interval.energy_j for interval in self.mapped(job_id))

    def loaded_j(self, job_id: int | str) -> float:
        """Energy in J of the GPUs on which the job's loads ran, while they did."""
        return sum(interval.energy_j for interval in self.loaded(job_id))

    def mismatches(self, tolerance_s: float = 0.1) -> list[Mismatch]:
        """Where a load's device was not mapped to its job for longer than the tolerance (the watcher polls)."""
        found = []
        for device in self.devices.values():
            for load, ended in device.loads:
                changes = [at for at, _ in device.mappings.get(load.gi_id, []) if load.since_s < at < ended]
                cuts = [load.since_s, *changes, ended]
                for begin, end in itertools.pairwise(cuts):
                    if load.job_id not in device.holders(load.gi_id, begin) and end - begin > tolerance_s:
                        found.append(Mismatch(load.job_id, device.uuid, load.gi_id, begin, end))
        return found

    def _mapped_spans(self, job_id: str) -> Iterator[tuple[LiveDevice, int | None, float, float]]:
        for device in self.devices.values():
            for gi_id, rows in device.mappings.items():
                begun: float | None = None
                for time_s, jobs in [*rows, (device.end_s, ())]:
                    if begun is None and job_id in jobs:
                        begun = time_s
                    elif begun is not None and job_id not in jobs:
                        yield device, gi_id, begun, time_s
                        begun = None

    def _sorted(
        self, job_id: int | str, spans: Iterator[tuple[LiveDevice, int | None, float, float]]
    ) -> list[Interval]:
        found = [
            Interval(str(job_id), device.uuid, gi_id, begin, end, device.between(begin, end))
            for device, gi_id, begin, end in spans
        ]
        return sorted(found, key=lambda interval: (interval.start_s, interval.uuid))


def read_exporter_truth(*paths: Path) -> LiveTruth:
    """Read the truth files of one or more exporters, also while they run: then it is known up to the last second."""
    devices: dict[str, LiveDevice] = {}
    for path in paths:
        devices.update(_read(path))
    return LiveTruth(devices)


def _read(path: Path) -> dict[str, LiveDevice]:
    devices: dict[str, LiveDevice] = {}
    running: dict[tuple[str, str], LiveLoad] = {}  # by device and load
    last_s = 0.0
    for line in path.read_text(encoding="utf-8").split("\n")[:-1]:  # what follows the last newline is torn
        row: dict[str, Any] = json.loads(line)
        last_s = time_s = row["time"]
        if row["event"] == "seen":
            continue
        uuid = row["uuid"]
        if row["event"] == "device":
            devices[uuid] = LiveDevice(uuid, row["node"], row["index"], row["minor"], row["idle_w"], time_s)
        elif row["event"] == "load":
            load = LiveLoad(row["job_id"], row["gi_id"], row["above_idle_w"], row["ramp_s"], time_s)
            running[uuid, row["load"]] = load
        elif row["event"] == "unload":
            devices[uuid].loads.append((running.pop((uuid, row["load"])), time_s))
        elif row["event"] == "mapping":
            devices[uuid].mappings.setdefault(row["gi_id"], []).append((time_s, tuple(row["jobs"])))
    for (uuid, _), load in running.items():
        devices[uuid].loads.append((load, last_s))
    for device in devices.values():
        device.end_s = last_s
    return devices
