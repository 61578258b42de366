"""What the cluster's meters and hooks would have shown: samples, labels and journal lines, troubles included.

Between the cluster's truth and the files of `simulator.recording`; tests that need no files take it from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from accounting.model import Device, GpuSamples
from simulator.cluster import Cluster
from simulator.hardware import Gpu, MigInstance, Node, Part
from simulator.power import Floats
from simulator.workload import Attempt, Hold

#: DCGM's blank values, which leak through an exporter now and then.
SENTINELS = (9223372036854775792, 9223372036854775793, 9223372036854775794, 9223372036854775795)

#: DCGM's power is a mean over about a second.
GAUGE_S = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Readings:
    """All samples of one GPU. Every array is as long as `time_s` (UTC epoch s, whole ms, increasing)."""

    gpu: Gpu
    time_s: Floats
    energy_mj: NDArray[np.int64]
    power_w: Floats | None  # None: not exported
    activity: Mapping[int, Floats]  # GR_ENGINE_ACTIVE by instance, NaN where it is missing
    job_ids: Mapping[int | None, NDArray[np.int64]]  # `hpc_job` by instance (None: the GPU), a row a line, 0: none


@dataclass(frozen=True, slots=True)
class HookEvent:
    """A prolog or epilog that ran on one node: a line of the journal, and a change of the mapping folder."""

    time_s: float
    event: str  # start | end
    node: str
    attempt: Attempt
    holds: tuple[Hold, ...]  # on this node


def hook_events(cluster: Cluster) -> list[HookEvent]:
    """Every prolog and epilog up to the period's end that was not missed, in order of time."""
    rng = cluster.rng("hooks")
    troubles = cluster.troubles
    events = []
    for attempt in cluster.attempts:
        if attempt.job.start_s is None or attempt.ends_s is None:
            continue
        for node in attempt.job.nodes:
            holds = tuple(hold for hold in attempt.holds if hold.gpu.node == node)
            # Drawn whether used or not, so that one trouble does not change another's course.
            begin_lag, end_lag = rng.uniform(0.0, troubles.hook_lag_s, 2)
            no_prolog, no_epilog = rng.random(2) < (troubles.missed_prolog_rate, troubles.missed_epilog_rate)
            began, ended = round(attempt.job.start_s + begin_lag, 3), round(attempt.ends_s + end_lag, 3)
            if not no_prolog:
                events.append(HookEvent(began, "start", node, attempt, holds))
            if not no_epilog:
                events.append(HookEvent(ended, "end", node, attempt, holds))
    # At one moment the epilog of the last job runs before the prolog of the next.
    events.sort(key=lambda event: (event.time_s, event.event))
    return [event for event in events if event.time_s <= cluster.end_s]


def read_all(cluster: Cluster) -> list[Readings]:
    """The samples of every GPU over the period, with one scrape before it and one after it."""
    labels = _labels(cluster)
    found = []
    for node in cluster.nodes:
        rng = cluster.rng(f"scrapes {node.name}")
        time, read = _clocks(cluster, node, rng)
        found += [_read(cluster, gpu, time, read, rng, labels) for gpu in node.gpus]
    return found


def gpu_samples(cluster: Cluster) -> list[GpuSamples]:
    """The same as accounting wants it of a source: blank values left out, the counter in J."""
    found = []
    for readings in read_all(cluster):
        gpu = readings.gpu
        good = readings.energy_mj < SENTINELS[0]
        power_time = power = np.empty(0)
        if readings.power_w is not None:
            shown = readings.power_w < SENTINELS[0]
            power_time, power = readings.time_s[shown], readings.power_w[shown]
        device = Device(cluster.name, gpu.uuid, gpu.node, gpu.model, gpu.index)
        found.append(GpuSamples(device, readings.time_s[good], readings.energy_mj[good] / 1000.0, power_time, power))
    return found


def _clocks(cluster: Cluster, node: Node, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """When the node's exporter is scraped, and when the values that it then serves were collected."""
    sampling = cluster.sampling
    scrape = sampling.scrape_interval_s
    phase, collect_phase = rng.random(2)
    first = cluster.start_s - scrape * (1.0 - phase)
    time = first + scrape * np.arange(int((cluster.end_s - first) // scrape) + 2)
    if sampling.jitter_s:
        time += np.clip(rng.normal(0.0, sampling.jitter_s, len(time)), -scrape / 3, scrape / 3)
    time = np.round(time, 3)
    for outage in cluster.outages:
        if outage.node == node.name:
            time = time[(time < outage.start_s) | (time >= outage.end_s)]
    if sampling.collect_interval_s is None:
        return time, time
    collect = sampling.collect_interval_s
    ticks = np.floor((time - cluster.start_s) / collect - collect_phase)
    return time, cluster.start_s + (ticks + collect_phase) * collect


def _read(
    cluster: Cluster,
    gpu: Gpu,
    time: Floats,
    read: Floats,
    rng: np.random.Generator,
    labels: Mapping[tuple[str, Part], tuple[Floats, NDArray[np.int64]]],
) -> Readings:
    troubles, sampling = cluster.troubles, cluster.sampling
    true_j = cluster.energy(gpu, read)
    counted = float(rng.uniform(1e6, 1e9)) + true_j  # J since the driver was loaded, before the period
    for node, reload_s in cluster.driver_reloads:
        if node == gpu.node:
            counted = np.where(read >= reload_s, true_j - cluster.energy(gpu, reload_s), counted)
    energy_mj = np.floor(gpu.gain * counted * 1000.0).astype(np.int64)
    power_w = None
    if sampling.power:
        power_w = np.round(gpu.gain * (true_j - cluster.energy(gpu, read - GAUGE_S)) / GAUGE_S, 3)
    if troubles.sentinel_rate:
        leaks = rng.random((2, len(time))) < troubles.sentinel_rate
        blanks = rng.choice(SENTINELS, size=(2, len(time)))
        energy_mj = np.where(leaks[0], blanks[0], energy_mj)
        if power_w is not None:
            power_w = np.where(leaks[1], blanks[1].astype(np.float64), power_w)

    activity = {}
    window = sampling.collect_interval_s or sampling.scrape_interval_s
    for instance in gpu.instances:
        full_w = gpu.dynamic_w * instance.share
        curve = cluster.dynamic.get((gpu.uuid, instance))
        busy = np.zeros(len(time)) if curve is None else (curve.energy(read) - curve.energy(read - window)) / window
        share = np.round(np.clip(busy / full_w, 0.0, 1.0), 6)
        missing = rng.random(len(time)) < troubles.unprofiled_rate
        activity[instance.gi_id] = np.where(missing, np.nan, share)

    lines: dict[int | None, list[NDArray[np.int64]]] = {}
    for part in gpu.parts:
        changed, held = labels.get((gpu.uuid, part), (np.empty(0), np.empty(0, dtype=np.int64)))
        at = np.searchsorted(changed, time, side="right")
        gi_id = part.gi_id if isinstance(part, MigInstance) else None
        lines.setdefault(gi_id, []).append(np.concatenate((np.zeros(1, dtype=np.int64), held))[at])
    job_ids = {gi_id: np.stack(rows) for gi_id, rows in lines.items()}
    return Readings(gpu, time, energy_mj, power_w, activity, job_ids)


def _labels(cluster: Cluster) -> dict[tuple[str, Part], tuple[Floats, NDArray[np.int64]]]:
    """By GPU and part: when the mapping folder changed, and the job that it named from then on (0: none)."""
    if not cluster.sampling.hpc_job:
        return {}
    changes: dict[tuple[str, Part], list[tuple[float, int]]] = {}
    for event in hook_events(cluster):
        for hold in event.holds:
            rows = changes.setdefault((hold.gpu.uuid, hold.part), [])
            if event.event == "start":
                rows.append((event.time_s, event.attempt.job.job_id))
            elif rows and rows[-1][1] == event.attempt.job.job_id:
                rows.append((event.time_s, 0))
    return {
        key: (np.array([at for at, _ in rows]), np.array([job_id for _, job_id in rows], dtype=np.int64))
        for key, rows in changes.items()
    }
