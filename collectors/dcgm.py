"""GPU energy as exporters show it: their metrics and labels, from Prometheus or from a recording.

The traps of the exporters end here (dcgm-exporter's mapping folder repeats a series for each job, a MIG instance
repeats the whole GPU's energy, a job's start or end makes a new series, several spellings of one label): what goes on
is one `GpuSamples` for each physical GPU, in base units.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from accounting.arrays import Floats
from accounting.model import Device, GpuSamples, LabelSpan, MigInstance, Reject
from collectors.prometheus import Prometheus
from site_config.gpu import GpuMeter, GpuMetric, gpu_meters

#: What is read of a GPU: a counter (J), a gauge (W), and how busy a MIG instance was (0 to 1).
Quantity = Literal["energy", "power", "activity"]

DCGM = gpu_meters()["dcgm"]

#: Samples of one label further apart than this are two stretches: a requeued job keeps its id.
LABEL_GAP_S = 300.0

#: Where two exporters show one GPU, the second stands in where the first is silent for longer than this, and keeps this
#: far from its samples.
STAND_IN_S = 120.0


@dataclass(frozen=True, slots=True)
class GpuSeries:
    """A stretch of one series: times in UTC epoch s, values in J, W or as a ratio.

    `rank` is the metric's place among those of which the first counts.
    """

    quantity: Quantity
    labels: Mapping[str, str]
    time_s: Floats
    value: Floats
    rank: int = 0


class DcgmSource:
    """The GPUs of a cluster, from a Prometheus that scrapes their exporters."""

    name = "dcgm"

    def __init__(self, cluster: str, prometheus: Prometheus, meter: GpuMeter = DCGM) -> None:
        self.cluster = cluster
        self._prometheus = prometheus
        self._meter = meter

    def samples(
        self, start_s: float, end_s: float, uuids: Collection[str] | None = None
    ) -> Iterator[GpuSamples | Reject]:
        """Yield the samples in [start_s, end_s] of each GPU. SourceError where Prometheus gives no whole answer."""
        series = (
            one
            for quantity in get_args(Quantity)
            if quantity in self._meter.metrics
            for one in self._series(quantity, self._meter.metrics[quantity], start_s, end_s, uuids)
        )
        for gpu in gather(self.cluster, series, self._meter):
            if uuids is None or (isinstance(gpu, GpuSamples) and gpu.device.uuid in uuids):
                yield gpu

    def _series(
        self, quantity: Quantity, metric: GpuMetric, start_s: float, end_s: float, uuids: Collection[str] | None
    ) -> Iterator[GpuSeries]:
        for rank, name in enumerate(metric.names):
            if metric.step_s is not None:
                found = self._prometheus.over(name, start_s, end_s, metric.step_s)
            else:
                found = self._prometheus.raw(name, start_s, end_s, ",".join(self._matchers(quantity, uuids)))
            for one in found:
                yield GpuSeries(quantity, one.labels, one.time_s, one.value * metric.scale, rank)

    def _matchers(self, quantity: Quantity, uuids: Collection[str] | None) -> Iterator[str]:
        labels = self._meter.labels
        if quantity == "activity" and "mig" in labels:
            yield f'{labels["mig"][0]}!=""'  # of a whole GPU it is not needed
        # With several spellings none can be asked for alone; what is too much is left out afterwards.
        if uuids is not None and len(labels.get("uuid", ())) == 1:
            yield f'{labels["uuid"][0]}=~"{"|".join(sorted(uuids))}"'


def gather(cluster: str, series: Iterable[GpuSeries], meter: GpuMeter = DCGM) -> Iterator[GpuSamples | Reject]:
    """Bring together the series of each GPU; a series that names no GPU is rejected."""
    by_gpu: dict[str, list[GpuSeries]] = defaultdict(list)
    of_instances: list[tuple[tuple[str, str], GpuSeries]] = []  # under the instance's own UUID
    by_place: dict[tuple[str, str], str] = {}
    for one in series:
        uuid, place = _name(one, meter, "uuid"), (_node(one.labels, meter), _name(one, meter, "index"))
        uuid = uuid or ("/".join(place) if all(place) and not place[1].startswith("MIG-") else "")
        if uuid.startswith("MIG-"):
            of_instances.append((place, one))
        elif uuid:
            by_gpu[uuid].append(one)
            by_place[place] = uuid
        else:
            yield _nameless(one, "the series names no GPU")
    for place, one in of_instances:
        if place in by_place:
            by_gpu[by_place[place]].append(one)
        else:
            yield _nameless(one, "the series names a MIG instance, and none names the GPU that it is a part of")
    for uuid, stretches in by_gpu.items():
        yield _gpu(cluster, uuid, stretches, meter)


def _nameless(one: GpuSeries, reason: str) -> Reject:
    labels = json.dumps(dict(one.labels), sort_keys=True, ensure_ascii=False)
    return Reject("gpu", f"a series of {one.quantity}", labels, reason)


def _name(one: GpuSeries, meter: GpuMeter, what: str) -> str:
    """What a series says of its GPU: the first of the labels that it has."""
    return next((one.labels[name] for name in meter.labels.get(what, ()) if one.labels.get(name)), "")


def _gpu(cluster: str, uuid: str, stretches: Sequence[GpuSeries], meter: GpuMeter) -> GpuSamples:
    kept = _one_exporter(stretches)
    # The GPU's own series tell more of it than those of its instances, the newest most.
    whole = [one for one in kept if not _name(one, meter, "mig")] or kept
    newest = max(whole, key=lambda one: one.time_s[-1] if one.time_s.size else -np.inf)
    index = _name(newest, meter, "index")
    energy, power = (_first_metric([one for one in kept if one.quantity == each]) for each in ("energy", "power"))
    energy_time_s, energy_j = _in_order(energy)
    power_time_s, power_w = _in_order(power)
    return GpuSamples(
        device=Device(
            cluster=cluster,
            uuid=uuid,
            node=_node(newest.labels, meter),
            model=_name(newest, meter, "model") or None,
            index=int(index) if index.isdecimal() else None,
        ),
        energy_time_s=energy_time_s,
        energy_j=energy_j,
        power_time_s=power_time_s,
        power_w=power_w,
        labels=tuple(_label_spans(energy or power, meter)),
        instances=tuple(_instances(kept, meter)),
    )


def _first_metric(series: Sequence[GpuSeries]) -> list[GpuSeries]:
    """The series of the first of several metrics for one quantity."""
    first = min((one.rank for one in series if one.time_s.size), default=0)
    return [one for one in series if one.rank == first]


def _instances(series: Sequence[GpuSeries], meter: GpuMeter) -> Iterator[MigInstance]:
    by_name: dict[str, list[GpuSeries]] = defaultdict(list)
    for one in series:
        if name := _name(one, meter, "mig"):
            by_name[name].append(one)
    for name, stretches in sorted(by_name.items()):
        profile = next((found for one in stretches if (found := _name(one, meter, "profile"))), None)
        yield MigInstance(name, profile, *_in_order([one for one in stretches if one.quantity == "activity"]))


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


def _node(labels: Mapping[str, str], meter: GpuMeter) -> str:
    """The node's name: as the exporter says, else (dcgm-exporter with --no-hostname) the host that was scraped."""
    name = next((labels[each] for each in meter.labels.get("node", ()) if labels.get(each)), "")
    if not name or name == labels.get("instance"):
        name = labels.get("instance", "").rpartition(":")[0] or labels.get("instance", "")
    return name.partition(".")[0] if not name.replace(".", "").isdecimal() else name


def _one_exporter(stretches: Sequence[GpuSeries]) -> list[GpuSeries]:
    """Where two exporters show one GPU, one of them; another only where that one is silent for a while.

    Their counters are read at different moments, so that mixed samples would seem to fall. The one that is read more
    often counts, else the first by name: a choice that does not depend on the span that is read.
    """
    by_exporter: dict[tuple[str, str], list[GpuSeries]] = defaultdict(list)
    for one in stretches:
        if one.time_s.size:
            by_exporter[one.labels.get("job", ""), one.labels.get("instance", "")].append(one)
    if len(by_exporter) <= 1:
        return list(stretches)
    times = {exporter: np.unique(np.concatenate([one.time_s for one in of])) for exporter, of in by_exporter.items()}
    interval_s = {
        exporter: round(float(np.median(np.diff(time_s)))) if time_s.size > 1 else 0x7FFFFFFF
        for exporter, time_s in times.items()
    }
    first, *others = sorted(by_exporter, key=lambda exporter: (interval_s[exporter], exporter))
    kept, kept_s = list(by_exporter[first]), times[first]
    for exporter in others:
        for one in by_exporter[exporter]:
            place = np.searchsorted(kept_s, one.time_s)
            since_s = one.time_s - np.append(-np.inf, kept_s)[place]
            until_s = np.append(kept_s, np.inf)[place] - one.time_s
            alone = np.minimum(since_s, until_s) > STAND_IN_S
            if alone.any():
                kept.append(GpuSeries(one.quantity, one.labels, one.time_s[alone], one.value[alone], one.rank))
        kept_s = np.unique(np.concatenate([one.time_s for one in kept]))
    return kept


def _label_spans(stretches: Sequence[GpuSeries], meter: GpuMeter) -> Iterator[LabelSpan]:
    """The stretches over which each job's label was there, by MIG instance."""
    times: dict[tuple[int, str | None], list[Floats]] = defaultdict(list)
    for one in stretches:
        job = _name(one, meter, "job")
        if job.isdecimal() and one.time_s.size:
            times[int(job), _name(one, meter, "mig") or None].append(one.time_s)
    for (job_id, mig), parts in times.items():
        time_s = np.unique(np.concatenate(parts))
        for span in np.split(time_s, np.flatnonzero(np.diff(time_s) > LABEL_GAP_S) + 1):
            yield LabelSpan(job_id, float(span[0]), float(span[-1]), mig)
