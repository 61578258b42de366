"""Reading samples so that a gap at the edge of a window is bridged: the samples on its two sides are found.

A window is accounted from the samples in it and in its margins. Where a device was silent at an edge of the window (its
exporter was down, the node was off), the energy of the silent time is still known from the counter before and
after it, however the period is cut into windows. So the device's nearest samples are looked for further out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from math import inf
from typing import Any, TypeVar

import numpy as np

from accounting.arrays import Floats
from accounting.energy import curve_from_samples
from accounting.model import GpuSamples, HostReadings, HostSamples, MigInstance, Readings, Reject

#: How far out the samples beside a gap are looked for, step by step. What is silent for longer is unknown.
LOOK_OUT_S = (3600.0, 86400.0, 7 * 86400.0)

Samples = TypeVar("Samples", GpuSamples, HostSamples)

Read = Callable[[float, float, Collection[str] | None], Iterable[Samples | Reject]]


def read_bridged(
    read: Read[Samples],
    start_s: float,
    end_s: float,
    margin_s: float,
    known: Collection[str],
    span_of: Callable[[Samples], tuple[float, float]] | None = None,
) -> Iterator[Samples | Reject]:
    """The samples of [start_s, end_s] and `margin_s` on each side, and beyond where a meter is silent at an edge.

    `known` are meters that exist (a GPU's UUID, a node's name): one that is silent for the whole window is looked for,
    too. `span_of` says for which span around the window a meter is needed, where that is not the window.
    """

    def short_of(meter: str, edge: int) -> bool:
        if meter not in found:
            return True
        samples = found[meter]
        span = (start_s, end_s) if span_of is None else span_of(samples)
        first_s, last_s = _told(samples)
        return first_s > span[0] if edge == 0 else last_s < span[1]

    found: dict[str, Samples] = {}
    for one in read(start_s - margin_s, end_s + margin_s, None):
        if isinstance(one, Reject):
            yield one
        else:
            found[one.meter] = one
    meters = {*found, *known}
    nearer_s = margin_s
    for reach_s in LOOK_OUT_S:
        before = {meter for meter in meters if short_of(meter, 0)}
        after = {meter for meter in meters if short_of(meter, 1)}
        for missing, a_s, b_s in (
            (before, start_s - reach_s, start_s - nearer_s),
            (after, end_s + nearer_s, end_s + reach_s),
        ):
            for one in read(a_s, b_s, missing) if missing else ():
                if not isinstance(one, Reject):
                    found[one.meter] = joined(found[one.meter], one) if one.meter in found else one
        nearer_s = reach_s
    yield from found.values()


def _told(samples: Samples) -> tuple[float, float]:
    """From when to when samples tell of energy: blanks do not, nor does a counter that stands still."""
    if isinstance(samples, HostSamples):
        return samples.first_s, samples.last_s
    curve = curve_from_samples(samples, inf)
    return (inf, -inf) if curve.empty else (float(curve.time_s[0]), float(curve.time_s[-1]))


def joined(one: Samples, other: Samples) -> Samples:
    """What two readings of one meter say together."""
    first, second = (one, other) if one.first_s <= other.first_s else (other, one)
    if isinstance(first, HostSamples):
        assert isinstance(second, HostSamples)
        parts = {**first.parts, **second.parts}
        for name in first.parts.keys() & second.parts.keys():
            parts[name] = HostReadings(**_appended(first.parts[name], second.parts[name]))
        return replace(second, parts=parts)
    assert isinstance(second, GpuSamples)
    instances = {instance.name: instance for instance in first.instances}
    for instance in second.instances:
        before = instances.get(instance.name)
        instances[instance.name] = instance if before is None else _one_instance(before, instance)
    labels = first.labels + second.labels
    return replace(second, **_appended(first, second), labels=labels, instances=tuple(instances.values()))


def _one_instance(first: MigInstance, second: MigInstance) -> MigInstance:
    time_s, activity = _in_order(first.activity_time_s, second.activity_time_s, first.activity, second.activity)
    return replace(second, activity_time_s=time_s, activity=activity)


def _appended(first: Readings, second: Readings) -> dict[str, Any]:
    energy = _in_order(first.energy_time_s, second.energy_time_s, first.energy_j, second.energy_j)
    power = _in_order(first.power_time_s, second.power_time_s, first.power_w, second.power_w)
    return dict(zip(("energy_time_s", "energy_j", "power_time_s", "power_w"), (*energy, *power), strict=True))


def _in_order(first_s: Floats, second_s: Floats, first: Floats, second: Floats) -> tuple[Floats, Floats]:
    """Two stretches of one series in order of time; they may overlap."""
    time_s, value = np.concatenate((first_s, second_s)), np.concatenate((first, second))
    if first_s.size and second_s.size and second_s[0] < first_s[-1]:
        order = np.argsort(time_s, kind="stable")
        time_s, value = time_s[order], value[order]
    return time_s, value
