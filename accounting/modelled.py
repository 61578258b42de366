"""GPU time of which nothing was measured: what jobs held, and what a site's model makes of it.

Between `gpus` and `booking`. Two kinds of time: that of a device before its first and after its last sample (a device
that was never sampled has only such time), and that of GPUs which a job held by Slurm's accounting and no source can
name. A site that declares a load has both modelled, as rated power × load; otherwise their energy stays unknown.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from accounting.attribution import Usage, spread
from accounting.gpus import Gpu
from accounting.hardware import mig_capacity, rated_w
from accounting.model import AttemptKey, Job
from accounting.timeline import Timeline


@dataclass(frozen=True, slots=True)
class _Span:
    attempt: AttemptKey
    start_s: float
    end_s: float
    power_w: float  # NaN: unknown
    named: bool  # whether it is a named device's, whose time is booked with the device


def unmeasured_usage(
    gpus: Sequence[Gpu], jobs: Sequence[Job], index: Mapping[AttemptKey, int], timeline: Timeline, load: float | None
) -> Usage:
    """The time and the modelled energy of GPUs, where nothing was measured.

    `load` is the part of their rated power that GPUs are taken to draw; None: their energy is unknown. Of named devices
    only the energy is here: that they were held is booked with the device.
    """
    spans = list(_spans(gpus, jobs, timeline.end_s, load))

    def spread_out(chosen: list[_Span]) -> Usage:
        return spread(
            np.array([index[span.attempt] for span in chosen], dtype=np.intp),
            np.array([span.start_s for span in chosen], dtype=float),
            np.array([span.end_s for span in chosen], dtype=float),
            np.array([span.power_w for span in chosen], dtype=float),
            timeline,
        )

    usage = spread_out(spans)
    unnamed = spread_out([span for span in spans if not span.named])
    keys = [one.attempt * timeline.slots + one.slot for one in (usage, unnamed)]
    held_s = np.zeros(usage.held_s.size)
    held_s[np.searchsorted(keys[0], keys[1])] = unnamed.held_s  # both are in order of attempt and slot
    return Usage(
        usage.attempt, usage.slot, held_s, usage.known_s, usage.measured_s, usage.energy_j, usage.facility_j,
        usage.location_g, usage.market_g, usage.edges_j2, usage.sharing_j,
    )  # fmt: skip


def _spans(gpus: Sequence[Gpu], jobs: Sequence[Job], until_s: float, load: float | None) -> Iterator[_Span]:
    of_node = _rated_by_node(gpus)
    named: dict[AttemptKey, set[tuple[str, str | None]]] = defaultdict(set)
    for gpu in gpus:
        for hold in gpu.holds:
            named[hold.attempt].add((hold.uuid, hold.mig))
        if load is not None:
            power_w = load * (rated_w(gpu.samples.device.model) or of_node.get(gpu.samples.device.node, np.nan))
            yield from _silent(gpu, power_w)
    for job in jobs:
        missing = 0 if job.start_s is None else job.gpus - len(named[job.key])
        if missing > 0 and job.start_s is not None:
            rated = [of_node[node] for node in job.nodes if node in of_node]
            power_w = np.nan if load is None or not rated else load * rated[0] * _part(job)
            end_s = until_s if job.end_s is None else float(job.end_s)
            yield from [_Span(job.key, float(job.start_s), end_s, power_w, False)] * missing


def _silent(gpu: Gpu, power_w: float) -> Iterator[_Span]:
    """The time of a device's holds before its first and after its last sample."""
    first_s, last_s = (np.inf, np.inf) if gpu.curve.empty else (gpu.curve.time_s[0], gpu.curve.time_s[-1])
    for hold in gpu.holds:
        for start_s, end_s in ((hold.start_s, min(hold.end_s, first_s)), (max(hold.start_s, last_s), hold.end_s)):
            if end_s > start_s and not np.isnan(power_w):
                yield _Span(hold.attempt, start_s, end_s, power_w * hold.capacity, True)


def _rated_by_node(gpus: Sequence[Gpu]) -> dict[str, float]:
    """The rated power of a node's GPUs, where they are all of one known model."""
    models: dict[str, set[str | None]] = defaultdict(set)
    for gpu in gpus:
        if gpu.samples.device.model is not None:
            models[gpu.samples.device.node].add(gpu.samples.device.model)
    rated = {node: rated_w(next(iter(several))) for node, several in models.items() if len(several) == 1}
    return {node: power_w for node, power_w in rated.items() if power_w is not None}


def _part(job: Job) -> float:
    """The part of a GPU that each of a job's is: a MIG instance's, where Slurm gave it instances of one profile."""
    parts = {mig_capacity(name, name) or 1.0 for name in job.gpu_types}
    return parts.pop() if len(parts) == 1 else 1.0
