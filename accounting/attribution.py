"""Whose energy it was: the pieces of a device's time, and who pays for each.

Pure arithmetic, one device at a time: a curve, the holds on it and the run's time axis in; sums by attempt and
slot, and the device's own balance by slot, out. Everything is arrays; the work grows with the samples and the holds.

**The rule.** The holds cut a device's time into pieces in which its holders do not change. A piece's energy goes to
its only holder, used or not; with no holder, to the site's idle line. Where several hold one device, or a part of it
is free, its energy has two parts. The *idle level* is owed by capacity: each holder pays its share, and the capacity
that nobody holds is the site's idle. What lies above it is owed by those who hold something: by engine activity ×
slices where all of them were profiled in the sample window, else in proportion to their capacity. Holders
whose capacities add up to more than the device (several holders of a whole GPU) are scaled down to it, alike, and the
time is counted (`Balance.overheld_s`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from accounting.arrays import Flags, Floats, Indices, distinct, sum_by
from accounting.edges import ASSUMED_DOUBT, IDLE_DOUBT, Gauge, Stretches
from accounting.energy import EnergyCurve, Spans
from accounting.sharing import Activity, IdleLevels
from accounting.timeline import Timeline

#: How far a holder's part of what several used together may be off, as a standard deviation, of that part and times
#: what the others have of it: by engine activity (power does not follow it exactly), and by capacity alone (somebody
#: may have used it all).
ACTIVITY_DOUBT = 0.1
CAPACITY_DOUBT = 1.0

#: With longer gaps between its samples a power gauge is no check of the energy counter.
GAUGE_GAP_S = 300.0


@dataclass(frozen=True)
class Holds:
    """The holds on one device: h of each. `capacity` is the share of the device: 1 is the whole GPU.

    `weight` says in what proportion they owe what lies above the idle level, where that is not their capacity, and
    `activity` how busy the parts were that they held, which goes before both.
    """

    attempt: Indices  # index of the attempt in the run's list
    start_s: Floats
    end_s: Floats
    capacity: Floats
    weight: Floats | None = None
    activity: Activity | None = None

    @cached_property
    def edges(self) -> tuple[Floats, Indices, Indices]:
        """The times at which holders change, in order, and with which of them each hold starts and ends."""
        edges_s, place = distinct(np.concatenate((self.start_s, self.end_s)))
        return edges_s, place[: self.start_s.size], place[self.start_s.size :]

    @cached_property
    def stretches(self) -> Stretches:
        """The times between changes of the device's holders."""
        edges_s, start, end = self.edges
        began = np.bincount(start, minlength=edges_s.size)
        ended = np.bincount(end, minlength=edges_s.size)
        return Stretches(edges_s, np.append(0, np.cumsum(began - ended)) > 0, began > 0)


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
    edges_j2: Floats  # variance of the energy by the edges of holds, gaps and restarts; independent from row to row
    sharing_j: Floats  # standard deviation by the division of a shared device; the same way in all rows of an attempt


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
    overheld_s: Floats  # in which holders had more than the whole device together
    assumed_s: Floats  # in which it was shared on an idle level that was assumed, not measured
    restarts: Floats  # of its counter
    lower_bound_s: Floats  # whose energy is a lower bound, because of a restart
    gauge_j: Floats  # the same energy by the power gauge; NaN where that has a gap


def attribute(
    curve: EnergyCurve, holds: Holds, timeline: Timeline, idle: IdleLevels | float | None
) -> tuple[Usage, Balance]:
    """Divide a device's energy over the run's period among its holders and the idle line.

    `idle` is the level (W) at which the device idles, needed only where it is shared or a part of it is free: a
    figure of the site's, or levels as they were measured. Where none is known, the whole of a piece's energy counts as
    above it, so that holders pay for it. A curve that is divided was divided by these holds (`divided`).
    """
    if curve.division is None:
        curve = divided(curve, holds, idle.assumed_w if isinstance(idle, IdleLevels) else idle)
    pieces = _pieces(curve, holds, timeline)
    points, interval = pieces.points_s, pieces.interval
    slot, booked = timeline.slot[interval], timeline.booked[interval]
    up_to_known_s, up_to_gaps_s = curve.known_at(points), curve.gaps.up_to(points)
    energy_j = np.diff(pieces.up_to_j) * booked
    known_s = np.diff(up_to_known_s) * booked
    measured_s = known_s - np.diff(up_to_gaps_s) * booked
    length_s = np.diff(points) * booked

    hold, piece = pieces.pairs()
    owed = _shares(curve, holds, idle, pieces, hold, piece, energy_j, known_s)
    part = owed.pair_j / np.where(energy_j > 0, energy_j, np.inf)[piece]
    usage = _sum_usage(
        holds.attempt[hold],
        interval[piece],
        timeline,
        held_s=length_s[piece] * owed.capacity,
        known_s=known_s[piece] * owed.capacity,
        measured_s=measured_s[piece] * owed.capacity,
        energy_j=owed.pair_j,
        edges_j2=(pieces.doubt_j2 * booked)[piece] * part**2,
        sharing_j=owed.doubt_j,
    )
    slots = np.flatnonzero(np.bincount(timeline.slot[timeline.booked]))

    def by_slot(values: Floats) -> Floats:
        return sum_by(slot, values, timeline.slots)[slots]

    def over_slot(running_total: Floats) -> Floats:
        difference = np.where(timeline.booked, np.diff(running_total), 0.0)
        return sum_by(timeline.slot, difference, timeline.slots)[slots]

    facility_j = owed.idle_j * timeline.pue[interval]
    balance = Balance(
        slot=slots,
        known_s=over_slot(up_to_known_s[pieces.at_edge]),
        measured_s=over_slot((up_to_known_s - up_to_gaps_s)[pieces.at_edge]),
        metered_j=over_slot(pieces.up_to_j[pieces.at_edge]),
        idle_s=by_slot(length_s * owed.unheld),
        idle_j=by_slot(owed.idle_j),
        idle_facility_j=by_slot(_none_of_nothing(facility_j, owed.idle_j)),
        idle_location_g=by_slot(_none_of_nothing(facility_j * timeline.location_g_per_j[interval], owed.idle_j)),
        idle_market_g=by_slot(_none_of_nothing(facility_j * timeline.market_g_per_j[interval], owed.idle_j)),
        overheld_s=by_slot(length_s * owed.overheld),
        assumed_s=by_slot(length_s * owed.assumed),
        restarts=by_slot(_in_pieces(curve.restart_s, np.ones(curve.restart_s.size), points) * booked),
        lower_bound_s=over_slot(curve.lower_bound.up_to(timeline.edges_s)),
        gauge_j=_by_gauge(curve.gauge, timeline, slots),
    )
    return usage, balance


@dataclass(frozen=True, slots=True)
class _Pieces:
    """The pieces of the period, in which neither holders nor factors change: p of them between p+1 points."""

    points_s: Floats  # p+1: the timeline's edges, those of holds, and samples where they say who was busy
    at_edge: Indices  # which of the points are the timeline's edges
    interval: Indices  # p: in which of the timeline's intervals a piece lies
    first: Indices  # h: with which piece each hold begins
    last: Indices  # h: with which piece the time after it begins
    up_to_j: Floats  # p+1: E at the points
    doubt_j2: Floats  # p: how uncertain a piece's energy is, as a variance

    def pairs(self) -> tuple[Indices, Indices]:
        """Every (hold, piece) such that the hold covers the piece."""
        count = self.last - self.first
        return np.repeat(np.arange(count.size), count), _ranges(self.first, count)


def _pieces(curve: EnergyCurve, holds: Holds, timeline: Timeline) -> _Pieces:
    """Cut the period; the curve is divided by these holds."""
    edges_s, start, end = holds.edges
    inner_s = np.clip(edges_s, timeline.start_s, timeline.end_s)  # what lies beyond the period counts as at its ends
    shows = np.zeros(curve.time_s.size, dtype=bool)
    if holds.activity is not None:
        shows = (curve.time_s > timeline.start_s) & (curve.time_s < timeline.end_s)
    points_s, place = distinct(np.concatenate((timeline.edges_s, inner_s, curve.time_s[shows])))
    at_edge, at_hold, at_sample = np.split(place, np.cumsum((timeline.edges_s.size, edges_s.size)))
    up_to_j = np.zeros(points_s.size)
    doubt_j2 = _in_pieces(curve.doubts.time_s, curve.doubts.variance_j2, points_s)
    if curve.division is not None:
        up_to_j[at_sample] = curve.energy_j[shows]
        up_to_j[at_hold] = curve.division.edge_j
        inside = inner_s == edges_s
        # What is uncertain before an edge is in the piece that ends there. Beyond the ends of the points there is none.
        around = sum_by(
            np.concatenate((at_hold, at_hold + 1)),
            np.concatenate((curve.division.before_j2 * inside, curve.division.after_j2 * inside)),
            points_s.size + 1,
        )
        doubt_j2 += around[1:-1]
    up_to_j[at_edge] = curve.energy_at(timeline.edges_s)
    interval = np.repeat(np.arange(timeline.slot.size), np.diff(at_edge))
    return _Pieces(points_s, at_edge, interval, at_hold[start], at_hold[end], up_to_j, doubt_j2)


@dataclass(frozen=True, slots=True)
class _Shares:
    """Who owes what: q pairs of a hold and a piece, p pieces."""

    capacity: Floats  # q: of the device, scaled down where holders have more than all of it
    pair_j: Floats  # q: what the holder owes of the piece
    doubt_j: Floats  # q: how uncertain the division is, as a standard deviation
    idle_j: Floats  # p: what is the site's
    unheld: Floats  # p: the capacity that nobody holds
    overheld: Flags  # p
    assumed: Flags  # p: divided by an idle level that was not measured


def _shares(
    curve: EnergyCurve,
    holds: Holds,
    idle: IdleLevels | float | None,
    pieces: _Pieces,
    hold: Indices,
    piece: Indices,
    energy_j: Floats,
    known_s: Floats,
) -> _Shares:
    """Divide each piece among its holders and the site: the rule."""
    held = sum_by(piece, holds.capacity[hold], energy_j.size)
    holders = np.bincount(piece, minlength=held.size)
    capacity = holds.capacity[hold] / np.maximum(held, 1.0)[piece]
    unheld = np.where(held < 1.0 - 1e-12, 1.0 - held, 0.0)
    shared = (held > 0) & ((held != 1) | (holders > 1))
    pair_j, doubt_j = energy_j[piece], np.zeros(piece.size)
    idle_j = np.where(held == 0, energy_j, 0.0)
    assumed = shared
    if shared.any():
        level_w, level_known = _levels(idle, pieces.points_s[:-1])
        base_j = np.minimum(energy_j, level_w * known_s)
        above_j = energy_j - base_j
        weight, doubt = _weights(curve, holds, hold, piece, pieces.points_s)
        by_level_j = base_j * np.where(level_known, IDLE_DOUBT, ASSUMED_DOUBT)
        off_j = np.hypot(doubt * weight * (1 - weight) * above_j[piece], (capacity - weight) * by_level_j[piece])
        pair_j = np.where(shared[piece], base_j[piece] * capacity + above_j[piece] * weight, pair_j)
        doubt_j = np.where(shared[piece], off_j, 0.0)
        idle_j = np.where(shared, base_j * unheld, idle_j)
        assumed = shared & ~level_known
    return _Shares(capacity, pair_j, doubt_j, idle_j, unheld, held > 1 + 1e-9, assumed)


def _levels(idle: IdleLevels | float | None, time_s: Floats) -> tuple[Floats, Flags]:
    """The idle level at each instant, 0 where it is unknown, and whether it is more than an assumption."""
    if isinstance(idle, IdleLevels):
        return idle.at(time_s)
    return np.full(time_s.size, idle or 0.0), np.full(time_s.size, idle is not None)


def _weights(curve: EnergyCurve, holds: Holds, hold: Indices, piece: Indices, points: Floats) -> tuple[Floats, Floats]:
    """How much of what lies above the idle level each pair of hold and piece owes, and how doubtful that is."""
    pieces = points.size - 1
    weight = holds.capacity[hold] if holds.weight is None else holds.weight[hold]
    doubt = np.full(hold.size, CAPACITY_DOUBT)
    if holds.activity is not None:
        window = np.searchsorted(curve.time_s, (points[:-1] + points[1:]) / 2, side="right") - 1
        busy = holds.activity.in_window(hold, window[piece])
        together = sum_by(piece, busy, pieces)  # NaN where one of them is
        profiled = (together > 0)[piece]
        weight = np.where(profiled, busy, weight)
        doubt = np.where(profiled, ACTIVITY_DOUBT, doubt)
    return weight / sum_by(piece, weight, pieces)[piece], doubt


def _in_pieces(time_s: Floats, values: Floats, points: Floats) -> Floats:
    """The sums of values at instants in each of the pieces between `points`."""
    if not time_s.size:
        return np.zeros(points.size - 1)
    place = np.searchsorted(points, time_s, side="right") - 1
    inside = (place >= 0) & (place < points.size - 1)
    return sum_by(place[inside], values[inside], points.size - 1)


def _by_gauge(gauge: Gauge, timeline: Timeline, slots: Indices) -> Floats:
    """The energy by the power gauge in each of the slots, NaN where that has a gap."""
    if not gauge.time_s.size:
        return np.full(slots.size, np.nan)

    def over_slot(running_total: Floats) -> Floats:
        difference = np.where(timeline.booked, np.diff(running_total), 0.0)
        return sum_by(timeline.slot, difference, timeline.slots)[slots]

    silent = Spans.of_windows(gauge.time_s, np.flatnonzero(np.diff(gauge.time_s) > GAUGE_GAP_S))
    silent_s = over_slot(silent.up_to(timeline.edges_s))
    return np.where(silent_s > 0, np.nan, over_slot(gauge.energy_at(timeline.edges_s)))


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


def divided(curve: EnergyCurve, holds: Holds, assumed_idle_w: float | None = None) -> EnergyCurve:
    """The curve as `attribute` sees it: divided where a hold begins or ends inside a sample window."""
    return curve.refine(holds.stretches, assumed_idle_w)


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
    edges_j2: Floats | None = None,
    sharing_j: Floats | None = None,
) -> Usage:
    """Sums by attempt and slot. Emissions are taken interval by interval before they are summed."""
    key, place = distinct(attempt * timeline.slots + timeline.slot[interval])

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
        edges_j2=np.zeros(key.size) if edges_j2 is None else total(edges_j2),
        sharing_j=np.zeros(key.size) if sharing_j is None else total(sharing_j),
    )


def _none_of_nothing(values: Floats, energy_j: Floats) -> Floats:
    """No energy emits nothing, also where the factor is unknown (NaN × 0)."""
    return np.where(energy_j == 0, 0.0, values)
