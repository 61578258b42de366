"""Other factors on energy that is in the books: what a posting's joules emit by what is known now.

Pure arithmetic, one slot at a time: postings and the factors that were and are to be applied in, new factors for each
posting's energy out. A posting says what an attempt used of a meter in an hour, and not when in that hour. Where each
factor is one value for the hour, that does not matter, and the result is exact. Where a factor changes within it:

- The energy is taken as even over the part of the hour in which the attempt ran (the idle line's: over all of it).
- That is then corrected so that the factors which were applied give the figures that are in the books: of all ways to
  divide the energy among the stretches of the hour that do, the one nearest to an even power is taken (least squares,
  weighted by the time: calibration as in Deville and Särndal 1992, doi:10.1080/01621459.1992.10475217).

So the hour's energy-weighted ratios are kept: the same factors give the same figures, factors that differ by a constant
factor or a constant amount give exactly what the energy of each stretch would have given, and so do any, where the hour
has two stretches of which the books tell the one from the other. Otherwise what is left of the error is the part of the
new factors' change within the hour that has nothing to do with the old ones' change.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from accounting.arrays import Floats


@dataclass(frozen=True, slots=True)
class Rates:
    """Factors: of stretches of time, or of the energy of postings. NaN is unknown.

    `location` and `market` are gCO2e per joule of facility energy; of postings, per joule of IT energy.
    """

    pue: Floats
    location: Floats
    market: Floats


@dataclass(frozen=True, slots=True)
class SlotFactors:
    """The k stretches of a slot in which no factor changes, and the factors that were and are to be applied."""

    start_s: Floats
    end_s: Floats
    old: Rates
    new: Rates


@dataclass(frozen=True, slots=True)
class SlotPostings:
    """What n postings of a slot say, and from when to when it was used (UTC epoch s). NaN is unknown."""

    energy_j: Floats
    facility_j: Floats
    location_g: Floats
    market_g: Floats
    start_s: Floats
    end_s: Floats


def reapplied(postings: SlotPostings, factors: SlotFactors) -> Rates:
    """The new factors on each posting's IT energy: `pue` on it, and grams per joule of it; NaN is unknown."""
    old, new = factors.old, factors.new
    many = factors.start_s.size
    share = _even(postings, factors) if many > 1 else np.ones((postings.energy_j.size, 1))
    if many > 1:
        share = _calibrated(share, postings, old)
    rates = [
        _weighted(share, new.pue),
        _weighted(share, new.pue * new.location),
        _weighted(share, new.pue * new.market),
    ]
    same = np.array_equal(old.pue, new.pue, equal_nan=True)
    for place, (said, one, other) in enumerate(
        (
            (postings.facility_j, old.pue, new.pue),
            (postings.location_g, old.location, new.location),
            (postings.market_g, old.market, new.market),
        )
    ):
        if same and np.array_equal(one, other, equal_nan=True):
            known = ~np.isnan(said) & (postings.energy_j > 0)
            rates[place][known] = said[known] / postings.energy_j[known]
    return Rates(*rates)


def _even(postings: SlotPostings, factors: SlotFactors) -> Floats:
    """The share of each posting's energy (n) in each stretch (k), by the time in which its attempt ran."""
    length_s = factors.end_s - factors.start_s
    overlap_s = np.minimum(postings.end_s[:, None], factors.end_s) - np.maximum(
        postings.start_s[:, None], factors.start_s
    )
    overlap_s = np.maximum(overlap_s, 0.0)
    overlap_s[overlap_s.sum(axis=1) == 0] = length_s
    even: Floats = overlap_s / overlap_s.sum(axis=1, keepdims=True)
    return even


def _calibrated(share: Floats, postings: SlotPostings, old: Rates) -> Floats:
    """The shares nearest to these with which the old factors give the postings' figures."""
    said = (
        (postings.facility_j, old.pue),
        (postings.location_g, old.pue * old.location),
        (postings.market_g, old.pue * old.market),
    )
    share = share.copy()
    has_energy = postings.energy_j > 0
    for figure, factor in said:  # where a factor was unknown, what has a figure used nothing
        nothing = (has_energy & ~np.isnan(figure))[:, None] & np.isnan(factor)
        without = np.where(nothing, 0.0, share)
        left = without.sum(axis=1, keepdims=True)
        share = np.where(left > 0, without / np.where(left > 0, left, 1.0), share)
    for known in _patterns([has_energy & ~np.isnan(figure) for figure, _ in said]):
        rows = known.rows
        features, targets = [np.ones(share.shape[1])], [np.ones(rows.size)]
        for place in known.which:
            figure, factor = said[place]
            value = np.nan_to_num(factor)
            middle, spread = value.mean(), value.std()
            if spread > 1e-12 * abs(middle):
                features.append((value - middle) / spread)
                targets.append((figure[rows] / postings.energy_j[rows] - middle) / spread)
        if len(features) > 1:
            share[rows] = _nearest(share[rows], np.array(features), np.array(targets))
    return share


@dataclass(frozen=True, slots=True)
class _Pattern:
    """Postings of which the same figures are known."""

    rows: NDArray[np.intp]
    which: tuple[int, ...]


def _patterns(known: list[NDArray[np.bool_]]) -> Iterator[_Pattern]:
    code = sum(np.where(one, 1 << place, 0) for place, one in enumerate(known))
    for value in np.unique(code):
        which = tuple(place for place in range(len(known)) if int(value) >> place & 1)
        if which:
            yield _Pattern(np.flatnonzero(code == value), which)


def _nearest(share: Floats, features: Floats, targets: Floats) -> Floats:
    """Shares (n × k) whose sums with `features` (q × k) are `targets` (q × n), by the least weighted squares."""
    gram = np.einsum("nk,qk,rk->nqr", share, features, features)
    missing = targets.T - share @ features.T
    factor = np.einsum("nqr,nr->nq", np.linalg.pinv(gram, rcond=1e-10, hermitian=True), missing)
    found: Floats = share * (1.0 + factor @ features)
    return found


def _weighted(share: Floats, value: Floats) -> Floats:
    """The mean of a factor (k) by each posting's shares (n × k), between its least and its largest value there."""
    used = share != 0
    mean = np.where(used, share * value, 0.0).sum(axis=1)
    low = np.where(used, value, np.inf).min(axis=1)
    high = np.where(used, value, -np.inf).max(axis=1)
    clipped: Floats = np.clip(mean, low, high)
    return clipped
