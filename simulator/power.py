"""Power as a function of time, with its energy in closed form.

Everything in the simulated cluster that draws power is a `Curve`: straight lines between knots, with jumps where two
knots have the same time. Its energy is therefore exact (to double precision) for any interval, which is what makes
the cluster's truth a truth and not one more estimate.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Piecewise linear power. Outside its knots the power is 0.

    `time_s` (UTC epoch s) does not decrease; two equal times are a jump, and the later value holds from then on.
    """

    time_s: Floats
    power_w: Floats
    slope_w_per_s: Floats  # of the piece that begins at each knot; one shorter
    energy_j: Floats  # since the first knot, at each knot

    @classmethod
    def from_knots(cls, time_s: ArrayLike, power_w: ArrayLike) -> Curve:
        """Build the curve through the knots (two or more)."""
        time = np.asarray(time_s, dtype=np.float64)
        power = np.asarray(power_w, dtype=np.float64)
        width = np.diff(time)
        if len(time) < 2 or len(time) != len(power) or (width < 0).any():
            raise ValueError("a curve needs two knots or more, in order of time")
        slope = np.divide(np.diff(power), width, out=np.zeros_like(width), where=width > 0)
        pieces = width * (power[:-1] + power[1:]) / 2
        return cls(time, power, slope, np.concatenate(([0.0], np.cumsum(pieces))))

    @classmethod
    def chain(cls, curves: Iterable[Curve]) -> Curve:
        """Join curves (one or more) that follow each other in time, with 0 W between them."""
        times: list[Floats] = []
        powers: list[Floats] = []
        for curve in curves:
            times.append(np.concatenate((curve.time_s[:1], curve.time_s, curve.time_s[-1:])))
            powers.append(np.concatenate(([0.0], curve.power_w, [0.0])))
        return cls.from_knots(np.concatenate(times), np.concatenate(powers))

    def power(self, time_s: ArrayLike) -> Floats:
        """Power in W at each time."""
        at = np.asarray(time_s, dtype=np.float64)
        piece = self._piece(at)
        inside = (at >= self.time_s[0]) & (at < self.time_s[-1])
        return np.where(inside, self.power_w[piece] + self.slope_w_per_s[piece] * (at - self.time_s[piece]), 0.0)

    def energy(self, time_s: ArrayLike) -> Floats:
        """Energy in J from the first knot up to each time."""
        at = np.clip(np.asarray(time_s, dtype=np.float64), self.time_s[0], self.time_s[-1])
        piece = self._piece(at)
        since = at - self.time_s[piece]
        return np.asarray(
            self.energy_j[piece] + since * (self.power_w[piece] + 0.5 * self.slope_w_per_s[piece] * since)
        )

    def between(self, start_s: float, end_s: float) -> float:
        """Energy in J over [start_s, end_s); 0 where the interval is empty."""
        if end_s <= start_s:
            return 0.0
        at_start, at_end = self.energy((start_s, end_s))
        return float(at_end - at_start)

    def _piece(self, at: Floats) -> NDArray[np.intp]:
        return np.clip(np.searchsorted(self.time_s, at, side="right") - 1, 0, len(self.time_s) - 2)


def idle_curve(rng: np.random.Generator, level_w: float, start_s: float, end_s: float, knot_s: float = 600.0) -> Curve:
    """The power of a GPU that nobody uses: a level with a slow drift of well under 1 % (room temperature, leakage)."""
    time = np.arange(start_s, end_s + knot_s, knot_s)
    drift = np.zeros_like(time)
    for period_s, part in ((86400.0, 0.004), (5.3 * 3600.0, 0.002), (1.7 * 3600.0, 0.001)):
        drift += part * np.sin(2 * np.pi * (time / period_s + rng.random()))
    return Curve.from_knots(time, level_w * (1.0 + drift))


def load_curve(rng: np.random.Generator, level_w: float, start_s: float, end_s: float, limit_w: float) -> Curve:
    """The power that a job adds to its GPU over [start_s, end_s): nothing while it loads, a ramp, then its level.

    The level wanders by a few per cent from phase to phase, with bursts (up to `limit_w`) and lulls (an evaluation,
    a checkpoint), and falls to nothing shortly before the job ends.
    """
    length = end_s - start_s
    begins = start_s + min(rng.uniform(0.2, 4.0), 0.15 * length)
    level_from = begins + min(rng.uniform(0.5, 6.0), 0.15 * length)
    level_to = end_s - min(rng.uniform(0.0, 1.5), 0.05 * length)
    phases = int(np.clip(length / 900.0, 1, 60))
    bounds = np.linspace(level_from, level_to, phases + 1)
    bounds[1:-1] += rng.uniform(-0.3, 0.3, phases - 1) * (bounds[1] - bounds[0])
    levels = np.minimum(level_w * (1.0 + 0.03 * rng.standard_normal(phases)), limit_w)

    time = [start_s, begins, level_from]
    power = [0.0, 0.0, levels[0]]
    for index in range(phases):
        level, begin, end = levels[index], bounds[index], bounds[index + 1]
        time.append(begin)
        power.append(level)
        if end - begin > 120.0 and rng.random() < 0.3:
            burst_s = rng.uniform(5.0, 60.0)
            at = rng.uniform(begin, end - burst_s)
            burst_w = min(level * rng.choice((0.25, 0.6, 1.2, 1.4)), limit_w)
            time += [at, at, at + burst_s, at + burst_s]
            power += [level, burst_w, burst_w, level]
        time.append(end)
        power.append(level)
    time += [level_to, end_s]
    power += [0.0, 0.0]
    return Curve.from_knots(time, power)


def cooling_curve(load: Curve, part: float, until_s: float, lasts_s: float = 90.0) -> Curve | None:
    """What a warm GPU draws above its idle level after a load: a part of it, falling to 0 W, cut off at `until_s`.

    The load counts with its mean power; None where there is no time.
    """
    start = float(load.time_s[-1])
    end = min(start + lasts_s, until_s)
    if end <= start:
        return None
    mean_w = float(load.energy_j[-1]) / (start - float(load.time_s[0]))
    first_w = part * mean_w
    return Curve.from_knots([start, end], [first_w, first_w * (1.0 - (end - start) / lasts_s)])
