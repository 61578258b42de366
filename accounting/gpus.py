"""The GPUs of a run: their samples, curves and holders, read as far out as the run's period needs them.

Between the sources and `booking`. What a period is accounted from must not depend on where it begins and ends, so that
a month comes out the same at once and hour by hour. Beyond the period and its margin there are read, for the
devices that need it:

* where the exporter was silent across an end of the period, the samples on both sides of the silence, and what the
  silence is divided by if jobs began or ended in it;
* where a device is shared, and nobody was seen to leave it free, what came before, back to when it was free:
  its idle level was measured then (`sharing`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from accounting.attribution import Holds
from accounting.edges import REACH_S
from accounting.energy import MARGIN_S, EnergyCurve, curve_from_samples
from accounting.hardware import MIG_SLICES, assumed_idle_w, mig_capacity
from accounting.holders import Disagreements, Hold, settle
from accounting.model import AttemptKey, Device, GpuSamples, Job, Reject
from accounting.reading import joined, read_bridged
from accounting.sharing import IDLE_LOOK_BACK_S, IdleLevels, activity_of, idle_levels
from accounting.sources import GpuEnergySource, HolderSource

#: How far back a shared device is looked at, step by step, to find when it was last free.
LOOK_BACK_S = (3 * 3600.0, IDLE_LOOK_BACK_S)


@dataclass(frozen=True, slots=True)
class Gpu:
    """One device of a run, with all that it takes to attribute its energy."""

    samples: GpuSamples
    curve: EnergyCurve
    holds: Sequence[Hold]
    since_s: float  # from when on its holders are known

    @property
    def last_s(self) -> float:
        """When its energy was last known; minus infinity where it never was."""
        return -np.inf if self.curve.empty else float(self.curve.time_s[-1])

    def arrays(self, index: Mapping[AttemptKey, int]) -> Holds:
        """The holds as arrays; `index` numbers the attempts."""
        start_s = np.array([hold.start_s for hold in self.holds], dtype=float)
        end_s = np.array([hold.end_s for hold in self.holds], dtype=float)
        activity = None
        if any(hold.mig is not None for hold in self.holds):
            places = {one.name: place for place, one in enumerate(self.samples.instances)}
            activity = activity_of(
                self.curve,
                [(one.activity_time_s, one.activity) for one in self.samples.instances],
                np.array([self._slices(one.profile) for one in self.samples.instances]),
                np.array([places.get(hold.mig or "", -1) for hold in self.holds], dtype=np.intp),
                (start_s, end_s),
            )
        return Holds(
            attempt=np.array([index[hold.attempt] for hold in self.holds], dtype=np.intp),
            start_s=start_s,
            end_s=end_s,
            capacity=np.array([hold.capacity for hold in self.holds], dtype=float),
            activity=activity,
        )

    def _slices(self, profile: str | None) -> float:
        return mig_capacity(profile or "", self.samples.device.model) or 1 / MIG_SLICES

    def idle(self, holds: Holds) -> IdleLevels:
        """The levels at which the device idles, as they were measured where they matter: where it is shared."""
        assumed_w = assumed_idle_w(self.samples.device.model)
        if first_shared(self.holds, -np.inf, np.inf) is None:
            return IdleLevels(np.zeros(0), np.zeros(0), assumed_w)
        return idle_levels(self.curve, holds.stretches, self.since_s, assumed_w)


@dataclass(frozen=True, slots=True)
class Gpus:
    """All devices of a run, those that were held and never sampled too, the jobs, and what was not understood."""

    devices: Sequence[Gpu]
    jobs: Sequence[Job]
    rejects: Sequence[Reject]
    disagreements: Disagreements


class GpuReader:
    """Reads the GPUs of the period [start_s, end_s)."""

    def __init__(
        self,
        source: GpuEnergySource,
        holders: Sequence[HolderSource],
        jobs: Callable[[float, float], Iterable[Job | Reject]],
        max_gap_s: float,
        period: tuple[float, float],
        reach: tuple[float, float],
    ) -> None:
        """`reach`: for which span around the period holders are wanted at least."""
        self._source = source
        self._holders = holders
        self._jobs = jobs
        self._max_gap_s = max_gap_s
        self._start_s, self._end_s = period
        self._from_s, self._to_s = self._start_s - MARGIN_S, self._end_s + MARGIN_S
        self._reach = reach
        self._samples: dict[str, GpuSamples] = {}
        self._curves: dict[str, EnergyCurve] = {}
        self._rejects: list[Reject] = []

    def read(self, known: Collection[str], span_of: Callable[[GpuSamples], tuple[float, float]]) -> Gpus:
        """Read it all. `known` and `span_of` as in `read_bridged`."""
        found = read_bridged(self._source.samples, self._start_s, self._end_s, MARGIN_S, known, span_of)
        self._add(found)
        self._reach_beyond_gaps()
        gpus = self._settle()
        for look_back_s in LOOK_BACK_S:
            missing = {gpu.samples.device.uuid for gpu in gpus.devices if self._lacks_idle_level(gpu)}
            if not missing:
                break
            from_s = self._start_s - look_back_s - MARGIN_S
            self._add(self._source.samples(from_s, self._start_s - MARGIN_S, missing))
            self._from_s = min(self._from_s, from_s)
            gpus = self._settle()
        return gpus

    def _add(self, found: Iterable[GpuSamples | Reject]) -> None:
        for one in found:
            if isinstance(one, Reject):
                self._rejects.append(one)
                continue
            uuid = one.device.uuid
            self._samples[uuid] = joined(self._samples[uuid], one) if uuid in self._samples else one
            self._curves[uuid] = curve_from_samples(self._samples[uuid], self._max_gap_s)

    def _reach_beyond_gaps(self) -> None:
        """Read what a sample window that lies across an end of the period is divided by."""
        before, after = {}, {}
        for uuid, curve in self._curves.items():
            from_s, to_s = across(curve, self._start_s, self._end_s)
            if from_s < self._from_s:
                before[uuid] = from_s
            if to_s > self._to_s:
                after[uuid] = to_s
        start_s, end_s = self._from_s, self._to_s
        if before:
            self._from_s = min(before.values())
            self._add(self._source.samples(self._from_s, start_s, set(before)))
        if after:
            self._to_s = max(after.values())
            self._add(self._source.samples(end_s, self._to_s, set(after)))

    def _settle(self) -> Gpus:
        """Who held what, by all that has been read so far."""
        rejects = list(self._rejects)
        from_s, to_s = min(self._from_s, self._reach[0]), max(self._to_s, self._reach[1])

        def kept(rows: Iterable[Job | Reject]) -> Iterator[Job]:
            for row in rows:
                if isinstance(row, Reject):
                    rejects.append(row)
                else:
                    yield row

        # An attempt that a source names twice is taken once, as it said last.
        jobs = list({job.key: job for job in kept(self._jobs(from_s, to_s))}.values())
        samples = list(self._samples.values())
        tags = []
        for holder in self._holders:
            rows = list(holder.tags(from_s, to_s, jobs, samples))
            rejects += [row for row in rows if isinstance(row, Reject)]
            tags.append((holder.name, [row for row in rows if not isinstance(row, Reject)]))
        settled = settle(tags, jobs, samples, to_s, (self._start_s, self._end_s))
        by_device: dict[str, list[Hold]] = defaultdict(list)
        for hold in settled.holds:
            by_device[hold.uuid].append(hold)
        devices = [Gpu(one, self._curves[uuid], by_device.pop(uuid, []), from_s) for uuid, one in self._samples.items()]
        devices += [Gpu(_never_sampled(held[0]), EnergyCurve.unknown(), held, from_s) for held in by_device.values()]
        return Gpus(devices, jobs, [*rejects, *settled.rejects], settled.disagreements)

    def _lacks_idle_level(self, gpu: Gpu) -> bool:
        """Whether the device is shared in the period and no idle level is known for the first time that it is."""
        if gpu.curve.empty or not gpu.holds:
            return False
        shared_s = first_shared(gpu.holds, self._start_s, self._end_s)
        if shared_s is None:
            return False
        holds = gpu.arrays({hold.attempt: 0 for hold in gpu.holds})
        return not gpu.idle(holds).at(np.array([shared_s]))[1].all()


def _never_sampled(hold: Hold) -> GpuSamples:
    nothing = np.zeros(0)
    return GpuSamples(Device(hold.attempt.cluster, hold.uuid, hold.node), nothing, nothing, nothing, nothing)


def first_shared(holds: Iterable[Hold], start_s: float, end_s: float) -> float | None:
    """When in [start_s, end_s) a device is first held in part, or by several."""
    free_s = -np.inf
    first_s = np.inf
    for hold in sorted(holds, key=lambda hold: hold.start_s):
        begins_s = max(hold.start_s, start_s)
        if begins_s < (hold.end_s if hold.capacity < 1 else min(hold.end_s, free_s)):
            first_s = min(first_s, begins_s)
        free_s = max(free_s, hold.end_s)
    return float(first_s) if first_s < end_s else None


def across(curve: EnergyCurve, start_s: float, end_s: float) -> tuple[float, float]:
    """From when to when the samples and holders of a device are needed to account it over [start_s, end_s)."""
    from_s, to_s = start_s - MARGIN_S, end_s + MARGIN_S
    if curve.empty:
        return from_s, to_s
    before = int(np.searchsorted(curve.time_s, start_s, side="right")) - 1
    if 0 <= before < curve.time_s.size - 1:
        from_s = min(from_s, float(curve.time_s[before]) - 2 * REACH_S)
    after = int(np.searchsorted(curve.time_s, end_s))
    if 0 < after < curve.time_s.size:
        to_s = max(to_s, float(curve.time_s[after]) + 2 * REACH_S)
    return from_s, to_s
