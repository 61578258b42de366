"""Who held which device, settled: tags of several sources in, holds of known attempts out.

A tag names a job id; the books need the attempt, the device and an interval. The rules, in order:

1. **Which attempt.** Of the attempts with the tag's cluster and job id (a requeue has several), the one that overlaps
   the tag the most, give or take `CLOCK_TOLERANCE_S` of clocks that differ. A tag of a job that Slurm does not know
   goes to quarantine, and the device's time stays on the idle line.
2. **Which device.** By UUID; where the hook could not resolve it, the device that has this index on the node.
3. **When.** A hook saw the hold begin and end, so its times stand. Where it saw only one of them (the epilog or the
   prolog was missed), or the source only saw the job in passing (a label of a sample), Slurm's start and end of the
   attempt bound the hold. An exact end more than `EPILOG_TOLERANCE_S` after the attempt's is not believed.
4. **Which source.** For each attempt and node, the first source of the site's list that knows of it; the rest are
   ignored.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from accounting.model import AttemptKey, Device, Job, Reject, Tag

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
    mig: str | None = None


def settle(
    tags_by_source: Sequence[tuple[str, Iterable[Tag]]],
    jobs: Iterable[Job],
    devices: Iterable[Device],
    until_s: float,
) -> tuple[list[Hold], list[Reject]]:
    """Turn tags into holds by the rules above. `until_s` ends the holds of what still runs.

    `tags_by_source` is in the site's order of trust.
    """
    attempts: dict[tuple[str, int], list[Job]] = defaultdict(list)
    for job in jobs:
        if job.start_s is not None:
            attempts[job.cluster, job.job_id].append(job)
    uuid_of = {(device.cluster, device.node, device.index): device.uuid for device in devices}
    holds: list[Hold] = []
    rejects: list[Reject] = []
    known: set[tuple[AttemptKey, str]] = set()
    for source, tags in tags_by_source:
        known_here: set[tuple[AttemptKey, str]] = set()
        for tag in tags:
            settled = _settle_one(tag, attempts.get((tag.cluster, tag.job_id), ()), uuid_of, until_s)
            if isinstance(settled, str):
                where = f"{source} on {tag.node}, at {tag.start_s:.3f}"
                rejects.append(Reject(source=source, where=where, raw=repr(tag), reason=settled))
            elif settled is not None and (settled.attempt, settled.node) not in known:
                known_here.add((settled.attempt, settled.node))
                holds.append(settled)
        known |= known_here
    return _merge(holds), rejects


def _settle_one(
    tag: Tag,
    attempts: Sequence[Job],
    uuid_of: Mapping[tuple[str, str, int | None], str],
    until_s: float,
) -> Hold | str | None:
    if not attempts:
        return f"job {tag.job_id} is not in Slurm's accounting of cluster {tag.cluster}"
    job = max(attempts, key=lambda job: _overlap_s(tag, job, until_s))
    if _overlap_s(tag, job, until_s) < -CLOCK_TOLERANCE_S:
        return f"job {tag.job_id} did not run at that time by Slurm's accounting"
    uuid = tag.uuid or uuid_of.get((tag.cluster, tag.node, tag.index))
    if uuid is None:
        return f"no device with index {tag.index} is known on node {tag.node}, and the tag has no UUID"
    assert job.start_s is not None
    job_end_s = until_s if job.end_s is None else float(job.end_s)
    if tag.exact:
        start_s = tag.start_s
        end_s = job_end_s if tag.end_s is None else min(tag.end_s, job_end_s + EPILOG_TOLERANCE_S)
    else:
        start_s, end_s = float(job.start_s), job_end_s
    if end_s <= start_s:
        return None  # held for no time at all: nothing to pay for
    return Hold(job.key, uuid, tag.node, start_s, end_s, tag.share or 1.0, tag.source, tag.mig)


def _overlap_s(tag: Tag, job: Job, until_s: float) -> float:
    """How long tag and attempt overlap; negative: how far apart they are."""
    assert job.start_s is not None
    job_end_s = until_s if job.end_s is None else job.end_s
    tag_end_s = job_end_s if tag.end_s is None else tag.end_s
    return min(tag_end_s, job_end_s) - max(tag.start_s, job.start_s)


def _merge(holds: list[Hold]) -> list[Hold]:
    """One hold for each stretch that an attempt held a device or instance: overlapping and touching ones are one."""
    merged: list[Hold] = []
    for hold in sorted(holds, key=lambda hold: (hold.uuid, hold.attempt, hold.mig or "", hold.start_s)):
        last = merged[-1] if merged else None
        same = last is not None and (last.uuid, last.attempt, last.mig) == (hold.uuid, hold.attempt, hold.mig)
        if last is not None and same and hold.start_s <= last.end_s:
            merged[-1] = Hold(
                last.attempt,
                last.uuid,
                last.node,
                last.start_s,
                max(last.end_s, hold.end_s),
                max(last.capacity, hold.capacity),
                last.source,
                last.mig,
            )
        else:
            merged.append(hold)
    return merged
