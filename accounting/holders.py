"""Who held which device, settled: tags of several sources in, holds of known attempts out.

A tag names a job id; the books need the attempt, the device, its share and an interval. The rules, in order:

1. **Which attempt.** A requeued job has several. A hook that saw the hold begin names the attempt that began then; one
   that saw only its end, the attempt that ended then; give or take `CLOCK_TOLERANCE_S` of clocks that differ. A
   label that was seen on samples names every attempt of the job during which it was seen. A tag of a job that Slurm
   does not know goes to quarantine, and the device's time stays on the idle line.
2. **Which device.** By UUID; where the hook could not resolve it, the device that has this index on the node.
3. **When.** A hook saw the hold begin and end, so its times stand. Where it saw only one of them (the epilog or the
   prolog was missed), or the source only saw the job in passing (a label of a sample), Slurm's start and end of the
   attempt bound the hold. An exact end more than `EPILOG_TOLERANCE_S` after the attempt's is not believed, nor is one
   after the job's next attempt began.
4. **How much of it.** A MIG instance has its profile's compute slices out of the GPU's; a job on shards or MPS what its
   hook saw, else the percentage that Slurm gave it; every other job the whole device.
5. **Which source.** For each attempt and node, the first source of the site's list that knows of it; the rest are
   ignored.

Where sources do not agree with each other or with Slurm, the rules decide all the same, and it is counted
(`Disagreements`; docs/holders.md has an example of each).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from math import inf

from accounting.hardware import MIG_SLICES, mig_capacity
from accounting.model import AttemptKey, Device, GpuSamples, Job, Reject, Tag

#: How far a node's clock and the controller's may differ, and how long a prolog may run before the job's start.
CLOCK_TOLERANCE_S = 60.0

#: How long after a job's end its epilog may still hold the devices (Slurm's UnkillableStepTimeout and the like).
EPILOG_TOLERANCE_S = 3600.0


@dataclass(frozen=True, slots=True)
class Hold:
    """An attempt held a device over [start_s, end_s) with a share of its capacity."""

    attempt: AttemptKey
    uuid: str
    node: str
    start_s: float
    end_s: float
    capacity: float  # 1: the whole device
    source: str
    mig: str | None = None  # the instance's GPU_I_ID, where it is known; else as the tag has it


@dataclass(frozen=True, slots=True)
class Disagreements:
    """What the rules had to decide in a window; the first four by attempt and node.

    Each is counted once, in the window in which the attempt began (`other_devices`), ended (the next three), or began
    to hold what another one held (`held_twice`).
    """

    other_devices: int = 0  # a later source names a device that the first one does not
    epilogs_missing: int = 0  # a hook saw it begin, Slurm says that it is over, and no hook saw it end
    prologs_missing: int = 0  # a hook saw it end, and none saw it begin
    ended_late: int = 0  # a hook saw it end more than `CLOCK_TOLERANCE_S` after Slurm did
    held_twice: int = 0  # two attempts at once on a device that Slurm gave to each of them whole


@dataclass(frozen=True, slots=True)
class Settled:
    """Who held what; the tags that could not be settled; and how often the sources disagreed."""

    holds: Sequence[Hold]
    rejects: Sequence[Reject]
    disagreements: Disagreements


def settle(
    tags_by_source: Sequence[tuple[str, Iterable[Tag]]],
    jobs: Iterable[Job],
    samples: Iterable[GpuSamples],
    until_s: float,
    within_s: tuple[float, float] = (-inf, inf),
) -> Settled:
    """Turn tags into holds by the rules above. `until_s` ends the holds of what still runs.

    `tags_by_source` is in the site's order of trust; `samples` tell the devices and their MIG instances. Only what
    lies in the window `within_s` is rejected and counted: what lies outside of it belongs to another window, which had
    its jobs.
    """
    attempts: dict[tuple[str, int], list[Job]] = defaultdict(list)
    for job in jobs:
        if job.start_s is not None:
            attempts[job.cluster, job.job_id].append(job)
    devices = _Devices(samples)
    holds: list[Hold] = []
    rejects: list[Reject] = []
    known: set[_Place] = set()
    witnesses = _Witnesses(job for several in attempts.values() for job in several)
    for source, tags in tags_by_source:
        known_here: set[_Place] = set()
        for tag in tags:
            settled = _settle_one(tag, attempts.get((tag.cluster, tag.job_id), ()), devices, until_s)
            if isinstance(settled, str):
                if _is_of(within_s, tag):
                    where = f"{source} on {tag.node}, at {tag.start_s:.3f}"
                    # A label is told by when it came: until when it was seen depends on how far samples were read.
                    told = replace(tag, end_s=None) if _seen_in_passing(tag) else tag
                    rejects.append(Reject(source=source, where=where, raw=json.dumps(asdict(told)), reason=settled))
                continue
            for hold in settled:
                witnesses.hear(source, tag, hold)
                if (hold.attempt, hold.node) not in known:
                    known_here.add((hold.attempt, hold.node))
                    holds.append(hold)
        known |= known_here
    merged = _merge(holds)
    return Settled(merged, rejects, witnesses.disagreements(merged, within_s))


def _is_of(within_s: tuple[float, float], tag: Tag) -> bool:
    """Whether a tag that cannot be settled is the window's to reject.

    A label that stays after its job's end (its epilog was missed) is seen in windows that do not have the job any more:
    it belongs to the window in which it came.
    """
    if _seen_in_passing(tag):
        return within_s[0] <= tag.start_s < within_s[1]
    ends_s = tag.start_s if tag.end_s is None else tag.end_s
    return tag.start_s < within_s[1] and ends_s >= within_s[0]


def _seen_in_passing(tag: Tag) -> bool:
    """Whether no hook saw the hold begin or end: a label."""
    return not tag.exact and not tag.epilog_only


_Place = tuple[AttemptKey, str]  # an attempt and a node


class _Witnesses:
    """What each source said, to find where they disagree."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._jobs = {job.key: job for job in jobs}
        self._devices: dict[_Place, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        self._begun: set[_Place] = set()
        self._ended: set[_Place] = set()
        self._late: set[_Place] = set()

    def hear(self, source: str, tag: Tag, hold: Hold) -> None:
        """Take note of a tag and of a hold that it became."""
        place = (hold.attempt, hold.node)
        self._devices[place][source].add(hold.uuid)
        if tag.exact:
            self._begun.add(place)
        if tag.epilog_only or (tag.exact and tag.end_s is not None):
            self._ended.add(place)
            over_s = self._jobs[hold.attempt].end_s
            if tag.end_s is not None and over_s is not None and tag.end_s > over_s + CLOCK_TOLERANCE_S:
                self._late.add(place)

    def disagreements(self, holds: Sequence[Hold], within_s: tuple[float, float]) -> Disagreements:
        """Count those of the window."""

        def inside(time_s: float | None) -> bool:
            return time_s is not None and within_s[0] <= time_s < within_s[1]

        def over(places: Iterable[_Place]) -> int:
            return sum(inside(self._jobs[attempt].end_s) for attempt, _ in places)

        other = 0
        for (attempt, _), by_source in self._devices.items():
            first, *rest = by_source.values()
            other += inside(self._jobs[attempt].start_s) and any(uuids - first for uuids in rest)
        return Disagreements(
            other_devices=other,
            epilogs_missing=over(self._begun - self._ended),
            prologs_missing=over(self._ended - self._begun),
            ended_late=over(self._late),
            held_twice=sum(inside(hold.start_s) for hold in self._second(holds)),
        )

    def _second(self, holds: Sequence[Hold]) -> Iterator[Hold]:
        """The holds that begin while another attempt holds the device, give or take clocks that differ."""
        whole = [hold for hold in holds if hold.mig is None and not self._shares(hold.attempt)]
        until: dict[str, Hold] = {}
        for hold in sorted(whole, key=lambda hold: (hold.uuid, hold.start_s)):
            last = until.get(hold.uuid)
            both_s = 0.0 if last is None else min(last.end_s, hold.end_s) - hold.start_s
            if last is not None and last.attempt != hold.attempt and both_s > CLOCK_TOLERANCE_S:
                yield hold
            if last is None or hold.end_s > last.end_s:
                until[hold.uuid] = hold

    def _shares(self, attempt: AttemptKey) -> bool:
        job = self._jobs[attempt]
        return bool(job.shards or job.mps_percent)


class _Devices:
    """The devices of a run, by node and index, and the MIG instances of each."""

    def __init__(self, samples: Iterable[GpuSamples]) -> None:
        self._by_uuid: dict[str, GpuSamples] = {}
        self._uuid_of: dict[tuple[str, str, int | None], str] = {}
        for one in samples:
            self._by_uuid[one.device.uuid] = one
            self._uuid_of[one.device.cluster, one.device.node, one.device.index] = one.device.uuid

    def uuid(self, tag: Tag) -> str | None:
        """Which device a tag means."""
        return tag.uuid or self._uuid_of.get((tag.cluster, tag.node, tag.index))

    def device(self, uuid: str) -> Device | None:
        """What is known of a device."""
        one = self._by_uuid.get(uuid)
        return None if one is None else one.device

    def instance(self, uuid: str, mig: str, job: Job) -> tuple[str, float]:
        """A MIG instance's name and its capacity.

        A hook that saw only the instance's own UUID does not know its number: then the profile that Slurm gave the
        job tells it, where only one instance has it. An instance of which no profile is known is taken for one slice.
        """
        one = self._by_uuid.get(uuid)
        model = None if one is None else one.device.model
        instances = () if one is None else one.instances
        profiles = {each.name: each.profile for each in instances if each.profile}
        if mig in profiles:
            return mig, mig_capacity(profiles[mig], model) or 1 / MIG_SLICES
        by_slurm = {capacity for name in job.gpu_types if (capacity := mig_capacity(name, model)) is not None}
        if len(by_slurm) != 1:
            return mig, 1 / MIG_SLICES
        (capacity,) = by_slurm
        alike = [name for name, profile in profiles.items() if mig_capacity(profile, model) == capacity]
        return (alike[0] if len(alike) == 1 else mig), capacity


def exact_share(share: float) -> float:
    """The share that was meant by one with three decimals: the simplest fraction that rounds to it (0.333 is 1/3).

    So that the holders of three thirds hold all of a device, and not 0.999 of it. Whole per cents are what they say.
    """
    if share <= 0 or round(share, 3) != share or round(share, 2) == share:
        return share
    return float(_simplest(Fraction(round(share * 1000) * 2 - 1, 2000), Fraction(round(share * 1000) * 2 + 1, 2000)))


def _simplest(low: Fraction, high: Fraction) -> Fraction:
    """The fraction of the smallest denominator in [low, high], by their continued fractions."""
    whole = low.numerator // low.denominator
    if whole == low:
        return low
    if whole + 1 <= high:
        return Fraction(whole + 1)
    return whole + 1 / _simplest(1 / (high - whole), 1 / (low - whole))


def _settle_one(tag: Tag, attempts: Sequence[Job], devices: _Devices, until_s: float) -> list[Hold] | str:
    if not attempts:
        return f"job {tag.job_id} is not in Slurm's accounting of cluster {tag.cluster}"
    meant = list(_attempts(tag, attempts, until_s))
    if not meant:
        return f"job {tag.job_id} did not run at that time by Slurm's accounting"
    uuid = devices.uuid(tag)
    if uuid is None:
        return f"no device with index {tag.index} is known on node {tag.node}, and the tag has no UUID"
    holds = []
    for job in meant:
        start_s, end_s = _span(job, until_s)
        if tag.exact:
            start_s = tag.start_s
            if tag.end_s is not None:
                following_s = min((_span(other, until_s)[0] for other in attempts if _later(other, job)), default=inf)
                end_s = min(tag.end_s, end_s + EPILOG_TOLERANCE_S, following_s)
        if end_s > start_s:  # else held for no time at all: nothing to pay for
            mig, capacity = _share(tag, uuid, job, devices)
            holds.append(Hold(job.key, uuid, tag.node, start_s, end_s, capacity, tag.source, mig))
    return holds


def _attempts(tag: Tag, attempts: Sequence[Job], until_s: float) -> Iterator[Job]:
    """The attempts that a tag means: rule 1."""
    if tag.exact or tag.epilog_only:
        edge = 0 if tag.exact else 1  # the one that the hook saw
        late_s = CLOCK_TOLERANCE_S if tag.exact else EPILOG_TOLERANCE_S
        there = [
            job
            for job in attempts
            if _span(job, until_s)[0] - CLOCK_TOLERANCE_S <= tag.start_s <= _span(job, until_s)[1] + late_s
        ]
        if there:
            yield min(there, key=lambda job: abs(_span(job, until_s)[edge] - tag.start_s))
        return
    seen = [job for job in attempts if _overlap_s(tag, job, until_s) > 0]
    if seen:
        yield from seen
    else:
        nearest = max(attempts, key=lambda job: _overlap_s(tag, job, until_s))
        if _overlap_s(tag, nearest, until_s) >= -CLOCK_TOLERANCE_S:
            yield nearest


def _later(one: Job, other: Job) -> bool:
    return one.start_s is not None and other.start_s is not None and one.start_s > other.start_s


def _span(job: Job, until_s: float) -> tuple[float, float]:
    assert job.start_s is not None
    return float(job.start_s), until_s if job.end_s is None else float(job.end_s)


def _overlap_s(tag: Tag, job: Job, until_s: float) -> float:
    """How long tag and attempt overlap; negative: how far apart they are."""
    start_s, end_s = _span(job, until_s)
    return min(end_s if tag.end_s is None else tag.end_s, end_s) - max(tag.start_s, start_s)


def _share(tag: Tag, uuid: str, job: Job, devices: _Devices) -> tuple[str | None, float]:
    """The instance that was held, and how much of the device: rule 4."""
    if tag.mig is not None:
        return devices.instance(uuid, tag.mig, job)
    if tag.share is not None:
        return None, min(exact_share(tag.share), 1.0)
    if job.mps_percent:  # of one GPU on each node: Slurm gives no job MPS on several
        return None, min(job.mps_percent / 100 / max(len(job.nodes), 1), 1.0)
    return None, 1.0


def _merge(holds: list[Hold]) -> list[Hold]:
    """One hold for each stretch that an attempt held a device or instance: overlapping and touching ones are one."""
    merged: list[Hold] = []
    for hold in sorted(holds, key=lambda hold: (hold.uuid, hold.attempt, hold.mig or "", hold.start_s)):
        last = merged[-1] if merged else None
        same = last is not None and (last.uuid, last.attempt, last.mig) == (hold.uuid, hold.attempt, hold.mig)
        if last is not None and same and hold.start_s <= last.end_s:
            capacity = max(last.capacity, hold.capacity)
            merged[-1] = replace(last, end_s=max(last.end_s, hold.end_s), capacity=capacity)
        else:
            merged.append(hold)
    return merged
