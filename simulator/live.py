"""GPUs whose power follows real processes, with their exact energy: what the stand-in exporter measures.

The loads come from the files of `simulator.load`, the holders from the mapping folder. A load counts from the moment
at which it is seen here, so that the energy is exact by construction; each change is a line in the truth file, from
which `simulator.truth.read_exporter_truth` knows the energy at any time.

Power of a GPU = its idle level (constant) + what each of its loads draws above it: a ramp, then a level.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from simulator.hardware import MIG_SLICES, Gpu, Node
from simulator.load import pid_start


@dataclass(slots=True)
class LiveLoad:
    """A load from `since_s` on: 0 W above the idle level, then a ramp of `ramp_s` up to `above_idle_w`."""

    job_id: str
    gi_id: int | None
    above_idle_w: float
    ramp_s: float
    since_s: float

    def energy_j(self, time_s: float) -> float:
        """Energy above the idle level up to a time."""
        lasted = max(0.0, time_s - self.since_s)
        if lasted < self.ramp_s:
            return self.above_idle_w * lasted * lasted / (2.0 * self.ramp_s)
        return self.above_idle_w * (lasted - self.ramp_s / 2.0)

    def power_w(self, time_s: float) -> float:
        """Power above the idle level at a time."""
        lasted = time_s - self.since_s
        return self.above_idle_w * (min(1.0, lasted / self.ramp_s) if self.ramp_s else 1.0)


@dataclass(slots=True)
class LiveGpu:
    """One GPU with its loads, by the name of the load's file. Energies count from `since_s`."""

    gpu: Gpu
    since_s: float
    loads: dict[str, LiveLoad] = field(default_factory=dict)
    ended_j: dict[int | None, float] = field(default_factory=dict)  # of loads that are gone, by instance
    mapped: dict[int | None, tuple[str, ...]] = field(default_factory=dict)  # jobs by instance

    def energy_j(self, time_s: float) -> float:
        """All that it drew up to a time."""
        above = sum(self.ended_j.values()) + sum(load.energy_j(time_s) for load in self.loads.values())
        return self.gpu.idle_w * (time_s - self.since_s) + above

    def power_w(self, time_s: float) -> float:
        """Its power at a time."""
        return self.gpu.idle_w + sum(load.power_w(time_s) for load in self.loads.values())

    def above_idle_j(self, gi_id: int, time_s: float) -> float:
        """What the loads on one instance drew above the idle level up to a time."""
        now = sum(load.energy_j(time_s) for load in self.loads.values() if load.gi_id == gi_id)
        return self.ended_j.get(gi_id, 0.0) + now


class LiveNode:
    """A node's GPUs, and the truth file that is written as they change. Not for several threads at once."""

    def __init__(self, node: Node, time_s: float, truth: TextIO) -> None:
        self.node = node
        self.gpus = [LiveGpu(gpu, time_s) for gpu in node.gpus]
        self._truth = truth
        for live in self.gpus:
            gpu = live.gpu
            instances = [{"gi_id": part.gi_id, "profile": part.profile, "uuid": part.uuid} for part in gpu.instances]
            about = {"node": node.name, "index": gpu.index, "minor": gpu.minor, "idle_w": gpu.idle_w}
            self._tell("device", live, time_s, {**about, "instances": instances})

    def see_loads(self, folder: Path, time_s: float) -> None:
        """Take up the loads that are new in the folder, and end those whose file or process is gone."""
        present: dict[str, dict[str, Any]] = {}
        for path in folder.glob(f"{self.node.name}.*.json"):
            try:
                load = json.loads(path.read_text(encoding="utf-8"))
            except FileNotFoundError:
                continue  # gone since the listing
            if pid_start(load["pid"]) == load["pid_start"]:
                present[path.name] = load
        for live in self.gpus:
            for name in [name for name in live.loads if name not in present]:
                gone = live.loads.pop(name)
                live.ended_j[gone.gi_id] = live.ended_j.get(gone.gi_id, 0.0) + gone.energy_j(time_s)
                self._tell("unload", live, time_s, {"load": name, "job_id": gone.job_id})
            for name, load in present.items():
                if load["minor"] == live.gpu.minor and name not in live.loads:
                    self._begin(live, name, load, time_s)

    def see_mapping(self, mapping: Mapping[str, Sequence[str]], time_s: float) -> None:
        """Note which jobs the mapping folder names for each GPU and instance."""
        for live in self.gpus:
            keys: list[int | None] = [None, *(part.gi_id for part in live.gpu.instances)]
            for gi_id in keys:
                name = str(live.gpu.index) if gi_id is None else f"{live.gpu.index}.{gi_id}"
                jobs = tuple(mapping.get(name, ()))
                if jobs != live.mapped.get(gi_id, ()):
                    live.mapped[gi_id] = jobs
                    self._tell("mapping", live, time_s, {"gi_id": gi_id, "jobs": jobs})

    def seen(self, time_s: float) -> None:
        """Note that all changes up to this time are in the truth."""
        self._write({"event": "seen", "time": time_s, "node": self.node.name})

    def _begin(self, live: LiveGpu, name: str, load: Mapping[str, Any], time_s: float) -> None:
        slices = {part.gi_id: part.slices for part in live.gpu.instances}
        gi_id = load["gi_id"] if load["gi_id"] in slices else None
        idle_w = live.gpu.idle_w * (slices[gi_id] / MIG_SLICES if gi_id is not None else 1.0)
        above_w = max(0.0, float(load["power_w"]) - idle_w)
        begun = LiveLoad(str(load["job_id"]), gi_id, above_w, float(load["ramp_s"]), time_s)
        live.loads[name] = begun
        facts = {"load": name, "job_id": begun.job_id, "gi_id": gi_id}
        self._tell("load", live, time_s, {**facts, "above_idle_w": above_w, "ramp_s": begun.ramp_s})

    def _tell(self, event: str, live: LiveGpu, time_s: float, facts: Mapping[str, object]) -> None:
        self._write({"event": event, "time": time_s, "uuid": live.gpu.uuid, "energy_j": live.energy_j(time_s), **facts})

    def _write(self, line: Mapping[str, object]) -> None:
        self._truth.write(json.dumps(line) + "\n")
        self._truth.flush()
