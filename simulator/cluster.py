"""A cluster that is not there, of known truth: its hardware, its jobs, and the exact power of each GPU.

Everything follows from a seed. From here `simulator.meters` makes what an exporter would have shown,
`simulator.truth` what each job really used, and `simulator.recording` writes both to a folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from simulator.hardware import Gpu, Node, Part
from simulator.power import Curve, Floats, cooling_curve, idle_curve, load_curve
from simulator.workload import Attempt, Hold, Mix, make_workload


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the GPUs are read: DCGM collects, Prometheus scrapes, each on its own clock unless they are in step."""

    scrape_interval_s: float = 30.0
    collect_interval_s: float | None = None  # None: in step, each scrape shows a fresh value
    jitter_s: float = 0.0  # of the scrapes' times, standard deviation
    power: bool = True  # the gauge is exported, too
    hpc_job: bool = True  # the exporter reads the mapping folder


@dataclass(frozen=True, slots=True)
class Troubles:
    """What goes wrong. All is well by default."""

    driver_reloads: int = 0  # on a node chosen at random: its counters start again from 0
    outages: int = 0  # of an exporter: no samples of a node for a while
    outage_s: tuple[float, float] = (600.0, 7200.0)
    sentinel_rate: float = 0.0  # samples that are one of DCGM's blank values
    gain_sigma: float = 0.0  # relative error of each GPU's sensor, standard deviation
    missed_prolog_rate: float = 0.0
    missed_epilog_rate: float = 0.0
    hook_lag_s: float = 0.0  # a hook's line is up to so much later than the event
    unprofiled_rate: float = 0.0  # samples of an instance's activity that are missing
    cooling: float = 0.0  # part of a load that a whole GPU still draws when it is over, falling to 0


@dataclass(frozen=True, slots=True)
class Span:
    """Something that lasts on one node over [start_s, end_s)."""

    node: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True, eq=False)
class Cluster:
    """The cluster over its period [start_s, end_s). Power and energy are true ones, without a sensor's error."""

    name: str
    seed: int
    start_s: int
    end_s: int
    nodes: tuple[Node, ...]
    attempts: tuple[Attempt, ...]
    sampling: Sampling
    troubles: Troubles
    outages: tuple[Span, ...]
    driver_reloads: tuple[tuple[str, float], ...]  # node, time
    idle: Mapping[str, Curve]  # by the GPU's UUID
    loads: Mapping[tuple[Hold, int], Curve]  # what a hold adds, by hold and its attempt's place in `attempts`
    dynamic: Mapping[tuple[str, Part], Curve]  # all holds' loads, by the GPU's UUID and part
    cooling: Mapping[str, Curve]  # what GPUs draw above the idle level after a load, by UUID

    @property
    def gpus(self) -> tuple[Gpu, ...]:
        """All GPUs, in order of node and index."""
        return tuple(gpu for node in self.nodes for gpu in node.gpus)

    def rng(self, what: str) -> np.random.Generator:
        """A generator of this cluster's own for one purpose, so that one part's draws do not move another's."""
        return _rng(self.seed, what)

    def energy(self, gpu: Gpu, time_s: ArrayLike) -> Floats:
        """True energy in J that the GPU drew from before the period up to each time."""
        total = self.idle[gpu.uuid].energy(time_s)
        curves = [self.dynamic.get((gpu.uuid, part)) for part in gpu.parts]
        for curve in [*curves, self.cooling.get(gpu.uuid)]:
            if curve is not None:
                total = total + curve.energy(time_s)
        return total

    def hold_energy(self, place: int, hold: Hold, time_s: ArrayLike) -> Floats:
        """True energy in J that a hold owes up to each time: its own load and its share of the idle level."""
        within = np.clip(np.asarray(time_s, dtype=np.float64), hold.start_s, hold.end_s)
        idle = self.idle[hold.gpu.uuid]
        return hold.share * (idle.energy(within) - idle.energy(hold.start_s)) + self.loads[hold, place].energy(within)


def make_cluster(
    name: str,
    seed: int,
    start_s: int,
    end_s: int,
    nodes: Sequence[Node],
    mix: Mix,
    sampling: Sampling | None = None,
    troubles: Troubles | None = None,
) -> Cluster:
    """Run the mix of jobs on the nodes over [start_s, end_s) (UTC epoch s)."""
    sampling = sampling or Sampling()
    troubles = troubles or Troubles()
    attempts = make_workload(_rng(seed, "workload"), name, nodes, start_s, end_s, mix, turnaround_s=troubles.hook_lag_s)
    # The samples just outside of the period are needed to know its first and last moments.
    margin = 4 * max(sampling.scrape_interval_s, sampling.collect_interval_s or 0.0) + 60.0
    idle = {}
    for node in nodes:
        for gpu in node.gpus:
            idle[gpu.uuid] = idle_curve(_rng(seed, f"idle {gpu.uuid}"), gpu.idle_w, start_s - margin, end_s + margin)

    rng = _rng(seed, "loads")
    loads: dict[tuple[Hold, int], Curve] = {}
    rows: dict[tuple[str, Part], list[Curve]] = {}
    for place, attempt in enumerate(attempts):
        for hold in attempt.holds:
            limit_w = hold.gpu.dynamic_w * hold.share
            curve = load_curve(rng, attempt.load * limit_w, hold.start_s, hold.end_s, limit_w)
            loads[hold, place] = curve
            rows.setdefault((hold.gpu.uuid, hold.part), []).append(curve)
    dynamic = {}
    cooling = {}
    for (uuid, part), curves in rows.items():
        curves.sort(key=lambda curve: float(curve.time_s[0]))
        dynamic[uuid, part] = Curve.chain(curves)
        if part is None and troubles.cooling:
            # Only until the next job holds the GPU: all that it draws from then on is that job's.
            until = [*(float(curve.time_s[0]) for curve in curves[1:]), np.inf]
            tails = [cooling_curve(curve, troubles.cooling, end) for curve, end in zip(curves, until, strict=True)]
            cooling[uuid] = Curve.chain([tail for tail in tails if tail])

    rng = _rng(seed, "troubles")
    outages = []
    for _ in range(troubles.outages):
        length = rng.uniform(*troubles.outage_s)
        at = rng.uniform(start_s, max(start_s + 1.0, end_s - length))
        outages.append(Span(str(rng.choice([node.name for node in nodes])), float(at), float(at + length)))
    reloads = [
        (str(rng.choice([node.name for node in nodes])), float(np.round(rng.uniform(start_s, end_s), 3)))
        for _ in range(troubles.driver_reloads)
    ]
    return Cluster(
        name=name,
        seed=seed,
        start_s=start_s,
        end_s=end_s,
        nodes=tuple(nodes),
        attempts=attempts,
        sampling=sampling,
        troubles=troubles,
        outages=tuple(outages),
        driver_reloads=tuple(sorted(reloads, key=lambda reload: reload[1])),
        idle=idle,
        loads=loads,
        dynamic=dynamic,
        cooling=cooling,
    )


def _rng(seed: int, what: str) -> np.random.Generator:
    return np.random.default_rng([seed, *what.encode()])
