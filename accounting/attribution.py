"""Whose energy it was: the pieces of a device's time, and who pays for each.

Pure arithmetic, one device at a time: a curve, the holds on it and the run's time axis in; sums by attempt and
slot, and the device's own balance by slot, out. Everything is arrays; the work grows with the samples and the holds.

**The rule.** The holds cut a device's time into pieces in which its holders do not change. A piece's energy goes to
its only holder, used or not; with no holder, to the site's idle line. Where several hold one device, its energy has
two parts. The *idle level* is owed by capacity: each holder pays its share, and the capacity that nobody holds is
the site's idle. What lies above it is owed by those who hold something, in proportion to their capacity. Holders whose
capacities add up to more than the device (several holders of a whole GPU) are scaled down to it, alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from accounting.arrays import Floats, Indices, sum_by
from accounting.edges import Stretches
from accounting.energy import EnergyCurve
from accounting.timeline import Timeline


@dataclass(frozen=True, slots=True)
class Holds:
    """The holds on one device: h of each. `capacity` is the share of the device: 1 is the whole GPU.

    `weight` says in what proportion they owe what lies above the idle level, where that is not their capacity.
    """

    attempt: Indices  # index of the attempt in the run's list
    start_s: Floats
    end_s: Floats
    capacity: Floats
    weight: Floats | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What attempts used of one meter, a row for each attempt and slot. NaN is unknown, never 0."""

    attempt: Indices
    slot: Indices
    held_s: Floats  # device-seconds held, by capacity
    known_s: Floats  # of them, those whose energy is known in some way
    measured_s: Floats  # of them, those in sample windows no longer than the site's limit
    energy_j: Floats  # IT energy
    facility_j: Floats  # × PUE
    location_g: Floats  # × the grid's intensity
    market_g: Floats


@dataclass(frozen=True, slots=True)
class Balance:
    """A device's own books, a row for each slot: what was metered, and what of it nobody held."""

    slot: Indices
    known_s: Floats
    measured_s: Floats
    metered_j: Floats  # from the curve at the run's own edges, not from the pieces: the audit's other side
    idle_s: Floats  # device-seconds that nobody held, by capacity
    idle_j: Floats
    idle_facility_j: Floats
    idle_location_g: Floats
    idle_market_g: Floats


def attribute(
    curve: EnergyCurve, holds: Holds, timeline: Timeline, idle_level_w: float | None
) -> tuple[Usage, Balance]:
    """Divide a device's energy over the run's period among its holders and the idle line.

    `idle_level_w` is needed only where a part of the device is held; where it is unknown, the whole of a piece's
    energy counts as above the idle level, so that holders pay for it and the idle line gets the unheld
    capacity's part by time alone.
    """
    stretches = stretches_of(holds)
    boundaries = stretches.edges_s
    curve = curve.refine(stretches, idle_level_w)
    inner = boundaries[(boundaries > timeline.start_s) & (boundaries < timeline.end_s)]
    points = np.unique(np.concatenate((timeline.edges_s, inner)))
    interval = timeline.interval_of(points[:-1])
    booked = timeline.booked[interval]
    energy_j = np.diff(curve.energy_at(points)) * booked
    known_s = np.diff(curve.known_at(points)) * booked
    measured_s = np.diff(curve.measured_at(points)) * booked
    length_s = np.diff(points) * booked

    pair_hold, pair_piece = _pairs(holds, points)
    held_capacity = sum_by(pair_piece, holds.capacity[pair_hold], length_s.size)
    capacity = holds.capacity[pair_hold] / np.maximum(held_capacity[pair_piece], 1.0)
    unheld = np.maximum(1.0 - held_capacity, 0.0)
    unheld[np.abs(unheld) < 1e-12] = 0.0

    nobody = held_capacity == 0
    base_j = np.where(nobody, energy_j, np.minimum(energy_j, (idle_level_w or 0.0) * known_s))
    idle_j = base_j * unheld
    above_j = energy_j - base_j
    weight = holds.capacity[pair_hold] if holds.weight is None else holds.weight[pair_hold]
    weight = weight / sum_by(pair_piece, weight, length_s.size)[pair_piece]
    pair_j = base_j[pair_piece] * capacity + above_j[pair_piece] * weight

    usage = _sum_usage(
        holds.attempt[pair_hold],
        interval[pair_piece],
        timeline,
        held_s=length_s[pair_piece] * capacity,
        known_s=known_s[pair_piece] * capacity,
        measured_s=measured_s[pair_piece] * capacity,
        energy_j=pair_j,
    )
    slots = np.unique(timeline.slot[timeline.booked])

    def by_slot(values: Floats) -> Floats:
        return sum_by(timeline.slot[interval], values, timeline.slots)[slots]

    def over_slot(running_total: Floats) -> Floats:
        difference = np.diff(running_total) * timeline.booked
        return sum_by(timeline.slot, difference, timeline.slots)[slots]

    facility_j = idle_j * timeline.pue[interval]
    balance = Balance(
        slot=slots,
        known_s=over_slot(curve.known_at(timeline.edges_s)),
        measured_s=over_slot(curve.measured_at(timeline.edges_s)),
        metered_j=over_slot(curve.energy_at(timeline.edges_s)),
        idle_s=by_slot(length_s * unheld),
        idle_j=by_slot(idle_j),
        idle_facility_j=by_slot(_none_of_nothing(facility_j, idle_j)),
        idle_location_g=by_slot(_none_of_nothing(facility_j * timeline.location_g_per_j[interval], idle_j)),
        idle_market_g=by_slot(_none_of_nothing(facility_j * timeline.market_g_per_j[interval], idle_j)),
    )
    return usage, balance


def spread(attempt: Indices, start_s: Floats, end_s: Floats, power_w: Floats, timeline: Timeline) -> Usage:
    """Constant power of attempts over [start_s, end_s), by slot: what a model gives for the host, or for a GPU.

    `power_w` may be NaN: the time is then booked with its energy unknown.
    """
    start_s, end_s = np.maximum(start_s, timeline.start_s), np.minimum(end_s, timeline.end_s)
    overlapping = end_s > start_s
    attempt, start_s, end_s, power_w = (
        attempt[overlapping],
        start_s[overlapping],
        end_s[overlapping],
        power_w[overlapping],
    )
    first = timeline.interval_of(start_s)
    count = np.searchsorted(timeline.edges_s, end_s, side="left") - first
    row = np.repeat(np.arange(attempt.size), count)
    interval = _ranges(first, count)
    booked = timeline.booked[interval]
    row, interval = row[booked], interval[booked]
    length_s = np.minimum(end_s[row], timeline.edges_s[interval + 1]) - np.maximum(
        start_s[row], timeline.edges_s[interval]
    )
    known_s = np.where(np.isnan(power_w[row]), 0.0, length_s)
    return _sum_usage(
        attempt[row],
        interval,
        timeline,
        held_s=length_s,
        known_s=known_s,
        measured_s=np.zeros(row.size),
        energy_j=np.nan_to_num(power_w)[row] * length_s,
    )


def divided(curve: EnergyCurve, holds: Holds) -> EnergyCurve:
    """The curve as `attribute` sees it: divided where a hold begins or ends inside a sample window."""
    return curve.refine(stretches_of(holds))


def stretches_of(holds: Holds) -> Stretches:
    """The times between changes of the device's holders."""
    edges_s = np.unique(np.concatenate((holds.start_s, holds.end_s)))
    began = np.bincount(np.searchsorted(edges_s, holds.start_s), minlength=edges_s.size)
    ended = np.bincount(np.searchsorted(edges_s, holds.end_s), minlength=edges_s.size)
    held = np.append(0, np.cumsum(began - ended)) > 0
    return Stretches(edges_s, held, began > 0)


def _pairs(holds: Holds, points: Floats) -> tuple[Indices, Indices]:
    """Every (hold, piece) such that the hold covers the piece; holds' edges are among the points or outside them."""
    first = np.searchsorted(points, np.maximum(holds.start_s, points[0]))
    last = np.searchsorted(points, np.minimum(holds.end_s, points[-1]))
    count = np.maximum(last - first, 0)
    return np.repeat(np.arange(count.size), count), _ranges(first, count)


def _ranges(first: Indices, count: Indices) -> Indices:
    """first[0], first[0]+1, … (count[0] of them), first[1], …"""
    before = np.cumsum(count) - count
    return np.repeat(first - before, count) + np.arange(int(count.sum()))


def _sum_usage(
    attempt: Indices,
    interval: Indices,
    timeline: Timeline,
    *,
    held_s: Floats,
    known_s: Floats,
    measured_s: Floats,
    energy_j: Floats,
) -> Usage:
    """Sums by attempt and slot. Emissions are taken interval by interval before they are summed."""
    key, place = np.unique(attempt * timeline.slots + timeline.slot[interval], return_inverse=True)

    def total(values: Floats) -> Floats:
        return sum_by(place, values, key.size)

    facility_j = energy_j * timeline.pue[interval]
    known = total(known_s)

    def unknown_is_nan(values: Floats) -> Floats:
        return np.where(known > 0, total(_none_of_nothing(values, energy_j)), np.nan)

    return Usage(
        attempt=key // timeline.slots,
        slot=key % timeline.slots,
        held_s=total(held_s),
        known_s=known,
        measured_s=total(measured_s),
        energy_j=np.where(known > 0, total(energy_j), np.nan),
        facility_j=unknown_is_nan(facility_j),
        location_g=unknown_is_nan(facility_j * timeline.location_g_per_j[interval]),
        market_g=unknown_is_nan(facility_j * timeline.market_g_per_j[interval]),
    )


def _none_of_nothing(values: Floats, energy_j: Floats) -> Floats:
    """No energy emits nothing, also where the factor is unknown (NaN × 0)."""
    return np.where(energy_j == 0, 0.0, values)
