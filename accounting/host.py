"""The host part of a node: CPUs, memory, fans and the rest, without its GPUs; and whose it was.

Between the sources and `attribution`. Three ways, of which a site chooses one for a cluster:

**Model** (`HostModel`): a constant power for each core and GB that a job was allocated. It knows no nodes, and no idle.

**Metered** (`HostMetered`): each node is a meter of its own. What its own meter says, less its GPUs where that meter
includes them, is divided among its jobs and the idle line as a shared GPU is (`attribution`), with two figures for a
job. Its *capacity* is the larger of its shares of the node's cores and of its memory: that much it keeps from others.
It owes that share of the idle level, and the capacity that nobody holds is the site's idle. What lies above the idle
level is owed by those who hold something, in proportion to their *cores*. Where the idle level is not known, all counts
as above it: a node that nobody holds is the site's, and one that somebody holds is its holders'.

**Slurm** (`HostBySlurm`): ConsumedEnergy, which Slurm reads from its nodes for each job as if it were there alone. It
is believed where the job had all the cores of all its nodes.

Slurm's accounting says how many cores and how much memory a job had in all, and not on which node how much: a job of
several nodes is taken to be spread evenly over them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from accounting.arrays import Floats
from accounting.attribution import Holds
from accounting.edges import REACH_S
from accounting.energy import MARGIN_S, EnergyCurve, Spans, curve_from_samples, curve_from_windows
from accounting.model import AttemptKey, HostReadings, HostSamples, Job, Method, Node, Reject
from accounting.reading import joined, read_bridged
from accounting.sources import HostEnergySource

#: A node with eight GPUs draws some 15 kW; a counter that moves faster than this is not believed.
MAX_NODE_POWER_W = 50_000.0


@dataclass(frozen=True, slots=True)
class HostModel:
    """The host's power from what a job was allocated; W a core, W a GB (10^9 bytes) of memory."""

    cpu_w_per_core: float
    memory_w_per_gb: float

    def power_w(self, job: Job) -> float:
        """The modelled power of a job's cores and memory, NaN where Slurm does not say how much memory it had."""
        if job.memory_mb is None:
            return float("nan")
        return job.cpus * self.cpu_w_per_core + job.memory_mb * 1.048576e-3 * self.memory_w_per_gb


@dataclass(frozen=True, slots=True)
class HostMetered:
    """Each node has a meter; a gap between its samples longer than `max_gap_s` is counted as interpolated."""

    includes_gpus: bool
    max_gap_s: float


@dataclass(frozen=True, slots=True)
class HostBySlurm:
    """Slurm's ConsumedEnergy, which holds the GPUs' energy, too, where Slurm reads the whole node's meter."""

    includes_gpus: bool

    def power_w(self, job: Job, nodes: Mapping[str, Node]) -> float | str:
        """The job's mean power (W) where Slurm's figure is its own, else why it is not."""
        if job.end_s is None:
            return "still run: Slurm says what they used when they have ended"
        if job.start_s is None or job.end_s <= job.start_s or not job.nodes:
            return "ran for no time at all"
        if not job.consumed_energy_j:
            return "have no ConsumedEnergyRaw"
        if self.includes_gpus and (job.gpus or job.shards or job.mps_percent):
            return "held GPUs, whose energy Slurm's figure holds, too"
        capacity = [nodes[name].cpus for name in job.nodes if name in nodes]
        if len(capacity) < len(job.nodes):
            return "ran on nodes of which it is not known how many cores they have"
        if job.cpus < sum(capacity):
            return "did not have all the cores of their nodes, so that Slurm's figure may be of others, too"
        return job.consumed_energy_j / (job.end_s - job.start_s)


#: The holds of a node on which no job was.
NO_HOLDS = Holds(np.zeros(0, dtype=np.intp), np.zeros(0), np.zeros(0), np.zeros(0), np.zeros(0))

HostRule = HostModel | HostMetered | HostBySlurm


def mean_power_w(
    rule: HostModel | HostBySlurm, jobs: Sequence[Job], nodes: Mapping[str, Node]
) -> tuple[Floats, Counter[str]]:
    """The mean power of each job's host part, NaN where it is unknown, and for how many jobs of each reason."""
    power_w = np.full(len(jobs), np.nan)
    refused: Counter[str] = Counter()
    for place, job in enumerate(jobs):
        found = rule.power_w(job) if isinstance(rule, HostModel) else rule.power_w(job, nodes)
        if isinstance(found, str):
            refused[found] += 1
        else:
            power_w[place] = found
    return power_w, refused


def node_holds(
    jobs: Sequence[Job], index: Mapping[AttemptKey, int], nodes: Mapping[str, Node], until_s: float
) -> dict[str, Holds]:
    """Who held each node, and how much of it; `index` numbers the attempts, `until_s` ends those that still run."""
    by_node: dict[str, list[tuple[int, float, float, float, float]]] = defaultdict(list)
    for job in jobs:
        if job.start_s is None or not job.cpus:
            continue
        end_s = until_s if job.end_s is None else float(job.end_s)
        if end_s <= job.start_s:
            continue
        cores = job.cpus / max(len(job.nodes), 1)
        for name in job.nodes:
            capacity = _capacity(job, nodes.get(name))
            by_node[name].append((index[job.key], float(job.start_s), end_s, capacity, cores))
    return {name: _holds(rows) for name, rows in by_node.items()}


def _capacity(job: Job, node: Node | None) -> float:
    """A job's share of a node: 1 is all of it, also where the node's size is not known."""
    if node is None:
        return 1.0
    share = job.cpus / node.cpus
    if node.memory_mb and job.memory_mb:
        share = max(share, job.memory_mb / node.memory_mb)
    return min(share / len(job.nodes), 1.0)


def nodes_held(job: Job, nodes: Mapping[str, Node]) -> float | None:
    """How many whole nodes a job had, by its share of each: RR / ToR of the SCI's formula; None where it is unknown."""
    if not job.nodes or any(name not in nodes for name in job.nodes):
        return None
    return sum(_capacity(job, nodes[name]) for name in job.nodes)


def _holds(rows: Sequence[tuple[int, float, float, float, float]]) -> Holds:
    attempt, start_s, end_s, capacity, cores = zip(*rows, strict=True)
    return Holds(
        attempt=np.array(attempt, dtype=np.intp),
        start_s=np.array(start_s),
        end_s=np.array(end_s),
        capacity=np.array(capacity),
        weight=np.array(cores),
    )


@dataclass(frozen=True, slots=True)
class Hosts:
    """The nodes' samples for a period, as far out as it needs them, and how far that is, by node."""

    samples: Sequence[HostSamples]
    reach: Mapping[str, tuple[float, float]]
    rejects: Sequence[Reject]

    def reach_of_all(self, period: tuple[float, float]) -> tuple[float, float]:
        """The span for which it must be known who held what."""
        spans = [(period[0] - MARGIN_S, period[1] + MARGIN_S), *self.reach.values()]
        return min(span[0] for span in spans), max(span[1] for span in spans)


def read_hosts(source: HostEnergySource, known: Collection[str], period: tuple[float, float]) -> Hosts:
    """Read the nodes' meters for the period [start_s, end_s), and beyond where a sample window lies across its ends.

    Such a window is divided by what is known on both sides of it, so that is read, too. `known` as in `read_bridged`.
    """
    start_s, end_s = period
    samples: dict[str, HostSamples] = {}
    rejects: list[Reject] = []
    for one in read_bridged(source.samples, start_s, end_s, MARGIN_S, known):
        if isinstance(one, Reject):
            rejects.append(one)
        else:
            samples[one.node] = one
    reach = {node: _windows_across(one, start_s, end_s) for node, one in samples.items()}
    before = {node: span[0] for node, span in reach.items() if span[0] < start_s - MARGIN_S}
    after = {node: span[1] for node, span in reach.items() if span[1] > end_s + MARGIN_S}
    for nodes, a_s, b_s in (
        (before, min(before.values(), default=start_s), start_s - MARGIN_S),
        (after, end_s + MARGIN_S, max(after.values(), default=end_s)),
    ):
        for one in source.samples(a_s, b_s, set(nodes)) if nodes else ():
            if not isinstance(one, Reject):
                samples[one.node] = joined(samples[one.node], one)
    return Hosts(list(samples.values()), reach, rejects)


def _windows_across(samples: HostSamples, start_s: float, end_s: float) -> tuple[float, float]:
    """From when to when samples say how the meter's windows that touch [start_s, end_s] are divided."""
    times = [
        time_s for part in samples.parts.values() for time_s in (part.energy_time_s, part.power_time_s) if time_s.size
    ]
    before = [float(time_s[place - 1]) for time_s in times if (place := np.searchsorted(time_s, start_s, "right"))]
    after = [float(time_s[place]) for time_s in times if (place := np.searchsorted(time_s, end_s)) < time_s.size]
    return min([start_s, *before]) - 2 * REACH_S, max([end_s, *after]) + 2 * REACH_S


@dataclass(frozen=True, slots=True)
class HostCurve:
    """A node's energy without its GPUs, and where the windows begin in which its GPUs drew more than all of it."""

    curve: EnergyCurve
    overdrawn_s: Floats


def host_curve(samples: HostSamples, gpus: Sequence[EnergyCurve], max_gap_s: float) -> HostCurve:
    """The curve of a node's host part from its meter, less `gpus` (none, where the meter does not include them).

    It is known where the meter and every GPU are. Window by window of the meter's samples, what the GPUs used is taken
    off; where that is more than the node used (its meter lags behind, or is read at another moment), the host part is 0
    and the window is named.
    """
    parts = [_part_curve(part, max_gap_s) for part in samples.parts.values()]
    known = [*parts, *gpus]
    nowhere = HostCurve(EnergyCurve.unknown(), np.zeros(0))
    if not parts or any(curve.empty for curve in known):
        return nowhere
    time_s = np.unique(np.concatenate([part.time_s for part in parts]))
    first_s = max(curve.time_s[0] for curve in known)
    last_s = min(curve.time_s[-1] for curve in known)
    time_s = time_s[(time_s >= first_s) & (time_s <= last_s)]
    if time_s.size < 2:
        return nowhere
    used_j = sum((np.diff(part.energy_at(time_s)) for part in parts), np.zeros(time_s.size - 1))
    for gpu in gpus:
        used_j -= np.diff(gpu.energy_at(time_s))
    overdrawn = used_j < -1e-6
    lower_bound = np.logical_or.reduce([np.diff(part.lower_bound.up_to(time_s)) > 0 for part in parts])
    method: Method = "counter" if all(part.method == "counter" for part in parts) else "power"
    curve = curve_from_windows(time_s, np.maximum(used_j, 0.0), lower_bound, max_gap_s, method)
    # It is measured as far as all that it was worked out from is.
    in_gap = np.logical_or.reduce([np.diff(one.gaps.up_to(time_s)) > 0 for one in known])
    curve = replace(curve, gaps=Spans.of_windows(time_s, np.flatnonzero(in_gap)))
    return HostCurve(curve, time_s[:-1][overdrawn])


def _part_curve(part: HostReadings, max_gap_s: float) -> EnergyCurve:
    """The curve of one meter. Where its counter falls, its own slope on both sides says what it counted meanwhile.

    RAPL's counters fall every few minutes: they wrap at 65 or 262 kJ, and no exporter says at which.
    """
    if not part.power_time_s.size and part.energy_time_s.size > 2:
        step_s, step_j = np.diff(part.energy_time_s), np.diff(part.energy_j)
        rises = (step_j >= 0) & (step_s > 0)
        middle_s = (part.energy_time_s[1:] + part.energy_time_s[:-1])[rises] / 2
        part = HostReadings(part.energy_time_s, part.energy_j, middle_s, step_j[rises] / step_s[rises])
    return curve_from_samples(part, max_gap_s, MAX_NODE_POWER_W)


def host_warnings(overdrawn: Mapping[str, int], strangers: Sequence[str], unmetered: Iterable[str]) -> list[str]:
    """What a run found out about the nodes' meters, a line each."""
    lines = []
    if overdrawn:
        lines.append(
            f"host: the GPUs of {some(overdrawn)} drew more than the node's own meter says, in "
            f"{sum(overdrawn.values())} of its sample windows: the host part is 0 there"
        )
    if strangers:
        lines.append(f"host: {some(strangers)}: metered, but no node of this cluster; left out")
    without = list(unmetered)
    if without:
        lines.append(f"host: {some(without)}: jobs were there, and no meter is; their host energy is unknown")
    return lines


def some(names: Collection[str]) -> str:
    """The first names, and how many more."""
    first = sorted(names)[:3]
    more = len(names) - len(first)
    return ", ".join(first) + (f" and {more} more" if more else "")
