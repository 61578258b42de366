"""GPU energy as dcgm-exporter shows it: its metrics and labels, from Prometheus or from a recording.

The traps of the exporter end here (its mapping folder repeats a series for each job, a MIG instance repeats the whole
GPU's energy, a job's start or end makes a new series, several spellings of one label): what goes on is
one `GpuSamples` for each physical GPU, by UUID.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from accounting.arrays import Floats
from accounting.model import Device, GpuSamples, LabelSpan, Reject
from collectors.prometheus import Prometheus

#: Cumulative energy since the driver was loaded, in mJ.
ENERGY = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"
#: Power, in W.
POWER = "DCGM_FI_DEV_POWER_USAGE"

J_PER_MJ = 1e-3  # millijoules

#: Samples of one label further apart than this are two stretches: a requeued job keeps its id.
LABEL_GAP_S = 300.0


@dataclass(frozen=True, slots=True)
class GpuSeries:
    """A stretch of one series: `metric` is ENERGY or POWER, times in UTC epoch s, values as DCGM has them."""

    metric: str
    labels: Mapping[str, str]
    time_s: Floats
    value: Floats


class DcgmSource:
    """The GPUs of a cluster, from a Prometheus that scrapes their exporters."""

    name = "dcgm"

    def __init__(self, cluster: str, prometheus: Prometheus) -> None:
        self.cluster = cluster
        self._prometheus = prometheus

    def samples(
        self, start_s: float, end_s: float, uuids: Collection[str] | None = None
    ) -> Iterator[GpuSamples | Reject]:
        """Yield the samples in [start_s, end_s] of each GPU. SourceError where Prometheus gives no whole answer."""
        yield from gather(self.cluster, self._series(start_s, end_s, uuids))

    def _series(self, start_s: float, end_s: float, uuids: Collection[str] | None) -> Iterator[GpuSeries]:
        only = "" if uuids is None else f'UUID=~"{"|".join(sorted(uuids))}"'
        for metric in (ENERGY, POWER):
            for series in self._prometheus.raw(metric, start_s, end_s, only):
                yield GpuSeries(metric, series.labels, series.time_s, series.value)


def gather(cluster: str, series: Iterable[GpuSeries]) -> Iterator[GpuSamples | Reject]:
    """Bring together the series of each GPU; a series without a UUID is rejected."""
    by_gpu: dict[str, list[GpuSeries]] = defaultdict(list)
    for one in series:
        uuid = one.labels.get("UUID") or one.labels.get("uuid")
        if uuid:
            by_gpu[uuid].append(one)
        else:
            yield Reject("dcgm", f"metric {one.metric}", repr(dict(one.labels)), "the series has no UUID label")
    for uuid, stretches in by_gpu.items():
        yield _gpu(cluster, uuid, stretches)


def _gpu(cluster: str, uuid: str, stretches: Sequence[GpuSeries]) -> GpuSamples:
    kept = _one_exporter(stretches)
    energy = [one for one in kept if one.metric == ENERGY]
    power = [one for one in kept if one.metric == POWER]
    labels = max(kept, key=lambda one: one.time_s[-1] if one.time_s.size else -np.inf).labels
    index = labels.get("gpu", "")
    energy_time_s, energy_mj = _in_order(energy)
    power_time_s, power_w = _in_order(power)
    return GpuSamples(
        device=Device(
            cluster=cluster,
            uuid=uuid,
            node=_node(labels),
            model=labels.get("modelName") or None,
            index=int(index) if index.isdecimal() else None,
        ),
        energy_time_s=energy_time_s,
        energy_j=energy_mj * J_PER_MJ,
        power_time_s=power_time_s,
        power_w=power_w,
        labels=tuple(_label_spans(energy or power)),
    )


def _in_order(series: Sequence[GpuSeries]) -> tuple[Floats, Floats]:
    """Times and values of several series of one metric as one, in order of time."""
    if not series:
        return np.zeros(0), np.zeros(0)
    time_s = np.concatenate([one.time_s for one in series])
    value = np.concatenate([one.value for one in series])
    if time_s.size > 1 and not (np.diff(time_s) >= 0).all():
        order = np.argsort(time_s, kind="stable")
        time_s, value = time_s[order], value[order]
    return time_s, value


def _node(labels: Mapping[str, str]) -> str:
    """The node's name: `Hostname`, `hostname` in newer exporters, else the scraped host (with --no-hostname)."""
    name = labels.get("Hostname") or labels.get("hostname") or labels.get("instance", "").rpartition(":")[0]
    return name.partition(".")[0] if not name.replace(".", "").isdecimal() else name


def _one_exporter(stretches: Sequence[GpuSeries]) -> list[GpuSeries]:
    """Where two exporters show one GPU, the one with more samples; another only before its first and after its last.

    Their counters are read at different moments, so that mixed samples would seem to fall.
    """
    by_exporter: dict[tuple[str, str], list[GpuSeries]] = defaultdict(list)
    for one in stretches:
        if one.time_s.size:
            by_exporter[one.labels.get("job", ""), one.labels.get("instance", "")].append(one)
    if len(by_exporter) <= 1:
        return list(stretches)
    ranked = sorted(by_exporter.values(), key=lambda group: sum(one.time_s.size for one in group), reverse=True)
    kept = list(ranked[0])
    for group in ranked[1:]:
        first_s = min(one.time_s[0] for one in kept)
        last_s = max(one.time_s[-1] for one in kept)
        for one in group:
            outside = (one.time_s < first_s) | (one.time_s > last_s)
            if outside.any():
                kept.append(GpuSeries(one.metric, one.labels, one.time_s[outside], one.value[outside]))
    return kept


def _label_spans(stretches: Sequence[GpuSeries]) -> Iterator[LabelSpan]:
    """The stretches over which each job's label was there, by MIG instance."""
    times: dict[tuple[int, str | None], list[Floats]] = defaultdict(list)
    for one in stretches:
        job = one.labels.get("hpc_job", "")
        if job.isdecimal() and one.time_s.size:
            times[int(job), one.labels.get("GPU_I_ID") or None].append(one.time_s)
    for (job_id, mig), parts in times.items():
        time_s = np.unique(np.concatenate(parts))
        for span in np.split(time_s, np.flatnonzero(np.diff(time_s) > LABEL_GAP_S) + 1):
            yield LabelSpan(job_id, float(span[0]), float(span[-1]), mig)
