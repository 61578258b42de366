"""Reading samples so that a gap at the edge of a window is bridged: the samples on its two sides are found.

A window is accounted from the samples in it and in its margins. Where a device was silent at an edge of the window (its
exporter was down, the node was off), the energy of the silent time is still known from the counter before and
after it, however the period is cut into windows. So the device's nearest samples are looked for further out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator

import numpy as np

from accounting.model import GpuSamples, Reject

#: How far out the samples beside a gap are looked for, step by step. What is silent for longer is unknown.
LOOK_OUT_S = (3600.0, 86400.0, 7 * 86400.0)

Read = Callable[[float, float, Collection[str] | None], Iterable[GpuSamples | Reject]]


def read_bridged(
    read: Read, start_s: float, end_s: float, margin_s: float, known: Collection[str]
) -> Iterator[GpuSamples | Reject]:
    """The samples of [start_s, end_s] and `margin_s` on each side, and beyond where a device is silent at an edge.

    `known` are the UUIDs of devices that exist: one that is silent for the whole window is looked for, too.
    """
    found: dict[str, GpuSamples] = {}
    for one in read(start_s - margin_s, end_s + margin_s, None):
        if isinstance(one, GpuSamples):
            found[one.device.uuid] = one
        else:
            yield one
    uuids = {*found, *known}
    nearer_s = margin_s
    for reach_s in LOOK_OUT_S:
        before = {uuid for uuid in uuids if uuid not in found or found[uuid].first_s > start_s}
        after = {uuid for uuid in uuids if uuid not in found or found[uuid].last_s < end_s}
        for missing, a_s, b_s in (
            (before, start_s - reach_s, start_s - nearer_s),
            (after, end_s + nearer_s, end_s + reach_s),
        ):
            for one in read(a_s, b_s, missing) if missing else ():
                if isinstance(one, GpuSamples):
                    found[one.device.uuid] = _joined(found.get(one.device.uuid), one)
        nearer_s = reach_s
    yield from found.values()


def _joined(one: GpuSamples | None, other: GpuSamples) -> GpuSamples:
    if one is None:
        return other
    first, second = (one, other) if one.first_s <= other.first_s else (other, one)
    return GpuSamples(
        device=second.device,
        energy_time_s=np.concatenate((first.energy_time_s, second.energy_time_s)),
        energy_j=np.concatenate((first.energy_j, second.energy_j)),
        power_time_s=np.concatenate((first.power_time_s, second.power_time_s)),
        power_w=np.concatenate((first.power_w, second.power_w)),
        labels=first.labels + second.labels,
    )
