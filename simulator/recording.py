"""A cluster's recording: a folder with all that Scarbon reads, as the real programs write it, and the truth beside it.

dcgm.om             DCGM's samples as OpenMetrics text with time stamps (also for promtool)
jobs.sacct          a dump of `sacct -P`, times as epoch seconds
journal/NODE.jsonl  what the hooks wrote
intensity.csv       the grid's carbon intensity, hour by hour
truth.json          what each job really used (`simulator.truth`)
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

import numpy as np
from ClusterShell.NodeSet import NodeSet
from numpy.typing import NDArray

from simulator.cluster import Cluster
from simulator.hardware import Shard
from simulator.meters import HookEvent, Readings, hook_events, read_all
from simulator.power import Floats
from simulator.truth import HOUR_S, truth_of, write_truth
from simulator.workload import Attempt

SACCT_FIELDS = (
    "JobID|JobIDRaw|Cluster|User|UID|Account|Partition|QOS|WCKey|JobName|Submit|Start|End|Elapsed|Suspended|State|"
    "ExitCode|AllocTRES|NodeList|NNodes|NCPUS|ConsumedEnergyRaw"
)

ENERGY = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"
POWER = "DCGM_FI_DEV_POWER_USAGE"
ACTIVITY = "DCGM_FI_PROF_GR_ENGINE_ACTIVE"


@dataclass(frozen=True, slots=True)
class Recording:
    """Where a recording lies, and what it covers: [start_s, end_s), UTC epoch s."""

    folder: Path
    cluster: str
    start_s: int
    end_s: int
    samples: Path
    jobs: Path
    journal: Path
    intensity: Path
    truth: Path


def write_recording(cluster: Cluster, folder: Path, labels: Mapping[str, str] | None = None) -> Recording:
    """Write the cluster's recording to `folder`, which is made where it is missing.

    `labels` are added to every series, as a scrape adds `job` and `instance`.
    """
    journal = folder / "journal"
    journal.mkdir(parents=True, exist_ok=True)
    recording = Recording(
        folder=folder,
        cluster=cluster.name,
        start_s=cluster.start_s,
        end_s=cluster.end_s,
        samples=folder / "dcgm.om",
        jobs=folder / "jobs.sacct",
        journal=journal,
        intensity=folder / "intensity.csv",
        truth=folder / "truth.json",
    )
    with recording.samples.open("w", encoding="utf-8") as out:
        write_openmetrics(read_all(cluster), out, labels or {})
    rows = [SACCT_FIELDS, *(_sacct_row(cluster, attempt) for attempt in cluster.attempts)]
    recording.jobs.write_text("\n".join(rows) + "\n", encoding="utf-8")
    lines: dict[str, list[str]] = {node.name: [] for node in cluster.nodes}
    for event in hook_events(cluster):
        if event.holds:  # the hooks write no line for a job without a GPU
            lines[event.node].append(_journal_line(event))
    for node, written in lines.items():
        (journal / f"{node}.jsonl").write_text("".join(written), encoding="utf-8")
    _write_intensity(cluster, recording.intensity)
    write_truth(truth_of(cluster), recording.truth)
    return recording


def write_openmetrics(readings: list[Readings], out: TextIO, labels: Mapping[str, str]) -> None:
    """Write the samples by family and series.

    DCGM calls its energy a counter, but OpenMetrics wants such names to end in `_total`: its type is left unknown.
    """
    for family, kind in ((ENERGY, "unknown"), (POWER, "gauge"), (ACTIVITY, "gauge")):
        rows = [row for reading in readings for row in _series(family, reading)]
        if not rows:
            continue
        out.write(f"# TYPE {family} {kind}\n")
        extra = "".join(f',{name}="{value}"' for name, value in labels.items())
        for names, times, values in rows:
            prefix = f"{family}{{{names}{extra}}} "
            out.writelines(f"{prefix}{value} {time:.3f}\n" for time, value in zip(times, values, strict=True))
    out.write("# EOF\n")


def _series(family: str, reading: Readings) -> Iterator[tuple[str, list[float], list[float] | list[int]]]:
    """Each series of one GPU in a family: its labels, times and values. Each job in `hpc_job` makes a new series."""
    gpu = reading.gpu
    names = (
        f'gpu="{gpu.index}",UUID="{gpu.uuid}",pci_bus_id="{gpu.pci_bus_id}",device="nvidia{gpu.index}",'
        f'modelName="{gpu.model}"'
    )
    profiles = {instance.gi_id: instance.profile for instance in gpu.instances}
    for gi_id, job_ids in reading.job_ids.items():
        part = "" if gi_id is None else f',GPU_I_PROFILE="{profiles[gi_id]}",GPU_I_ID="{gi_id}"'
        values: Floats | NDArray[np.int64]
        if family == ENERGY:
            values = reading.energy_mj
        elif family == POWER and reading.power_w is not None:
            values = reading.power_w
        elif family == ACTIVITY and gi_id is not None:
            values = reading.activity[gi_id]
        else:
            continue
        shown = ~np.isnan(values)
        for job_id in np.unique(job_ids).tolist():
            # A shared GPU has a series for each of its jobs, and one without a job only while it has none.
            named = (job_ids == job_id).any(axis=0) if job_id else (job_ids == 0).all(axis=0)
            chosen = shown & named
            label = f',hpc_job="{job_id}"' if job_id else ""
            yield (
                f'{names}{part},Hostname="{gpu.node}"{label}',
                reading.time_s[chosen].tolist(),
                values[chosen].tolist(),
            )


def _sacct_row(cluster: Cluster, attempt: Attempt) -> str:
    """One line of `sacct -P -X -D`, as it stands at the end of the period."""
    job = attempt.job
    gone_s = cluster.end_s if job.end_s is None else job.end_s
    elapsed_s = 0 if job.start_s is None else gone_s - job.start_s
    cancelled = f"CANCELLED by {job.uid}"
    tres = ""
    if job.nodes and job.memory_mb is not None:
        gres = [f"gres/gpu:{name}={count}" for name, count in sorted(job.gpu_types.items())]
        gres += [f"gres/gpu={job.gpus}"] if job.gpus else []
        gres += [f"gres/shard={job.shards}"] if job.shards else []
        parts = [f"billing={job.cpus}", f"cpu={job.cpus}", *gres, f"mem={job.memory_mb / 1024:g}G"]
        tres = ",".join([*parts, f"node={len(job.nodes)}"])
    fields = (
        job.label,
        job.job_id,
        job.cluster,
        job.user,
        job.uid,
        job.account,
        job.partition,
        job.qos,
        job.wckey or "",
        job.name,
        job.submit_s,
        "Unknown" if job.start_s is None else job.start_s,
        "Unknown" if job.end_s is None else job.end_s,
        _elapsed(elapsed_s),
        _elapsed(job.suspended_s),
        cancelled if job.state == "CANCELLED" else job.state,
        job.exit_code,
        tres,
        NodeSet.fromlist(job.nodes) if job.nodes else "None assigned",
        len(job.nodes) or 1,
        job.cpus,
        "",  # no energy plugin
    )
    return "|".join(str(field) for field in fields)


def _elapsed(seconds: int) -> str:
    """Seconds as sacct writes them: [DD-]HH:MM:SS."""
    days, rest = divmod(seconds, 86400)
    return (f"{days}-" if days else "") + f"{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"


def _journal_line(event: HookEvent) -> str:
    job = event.attempt.job
    gpus = [
        {
            "index": hold.gpu.index,
            "minor": hold.gpu.minor,
            "uuid": hold.gpu.uuid,
            "mig": None if hold.gi_id is None else str(hold.gi_id),
        }
        for hold in event.holds
    ]
    line = {
        "v": 1,
        "event": event.event,
        "time": event.time_s,
        "cluster": job.cluster,
        "job_id": job.job_id,
        "restart": event.attempt.restart,
        "sluid": None,
        "uid": job.uid,
        "user": job.user,
        "account": job.account,
        "node": event.node,
        "gpus": gpus,
        "share": next((hold.part.share for hold in event.holds if isinstance(hold.part, Shard)), None),
    }
    return json.dumps(line, separators=(",", ":")) + "\n"


def _write_intensity(cluster: Cluster, path: Path) -> None:
    """Hourly slots: low around noon when the sun shines, high in the evening."""
    rows = ["start,end,gco2e_per_kwh"]
    first = cluster.start_s // HOUR_S * HOUR_S
    for start in range(first, cluster.end_s, HOUR_S):
        hour = start // HOUR_S % 24
        value = 60.0 - 20.0 * math.cos((hour - 13.0) / 24.0 * 2.0 * math.pi)
        value += 12.0 * math.exp(-(((hour - 19.0) / 2.0) ** 2))
        rows.append(f"{_iso(start)},{_iso(start + HOUR_S)},{value:.1f}")
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")


def _iso(time_s: int) -> str:
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
