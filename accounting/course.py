"""Power over time, from samples: what a job's GPUs drew, as a plot shows it.

Each GPU counts while the job held it. A shared one counts whole: what of it was the job's, only the books say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from accounting.arrays import Floats
from accounting.attribution import Holds, divided
from accounting.energy import EnergyCurve, curve_from_samples
from accounting.hardware import assumed_idle_w
from accounting.model import GpuSamples

#: A plot has no more points than this.
MOST_BINS = 120


@dataclass(frozen=True, slots=True)
class Course:
    """Mean power (W) between the times `time_s` (n+1, UTC epoch s): n values, NaN where none is known."""

    time_s: Floats
    power_w: Floats

    @property
    def energy_j(self) -> float:
        """The energy under the curve, as far as it is known."""
        return float(np.nansum(self.power_w * np.diff(self.time_s)))


def power_course(
    samples: Sequence[GpuSamples],
    spans: Mapping[str, Sequence[tuple[float, float]]],
    max_gap_s: float,
    most_bins: int = MOST_BINS,
) -> Course | None:
    """The GPUs' power together; `spans` says from when to when each was held, by UUID. None where nothing is known.

    A stretch without samples that is longer than `max_gap_s` is a hole of the plot, though its energy is accounted.
    """
    curves = {
        one.device.uuid: curve
        for one in samples
        if not (curve := _curve(one, spans.get(one.device.uuid, ()), max_gap_s)).empty
    }
    held = [(uuid, *span) for uuid, of_device in spans.items() if uuid in curves for span in of_device]
    if not held:
        return None
    first_s, last_s = min(start for _, start, _ in held), max(end for _, _, end in held)
    step_s = float(np.median([np.median(np.diff(curve.time_s)) for curve in curves.values()]))
    bins = int(np.clip((last_s - first_s) / max(step_s, 1.0), 1, most_bins))
    time_s = np.linspace(first_s, last_s, bins + 1)
    power_w, seen = np.zeros(bins), np.zeros(bins, dtype=bool)
    for uuid, start_s, end_s in held:
        edges_s = np.clip(time_s, start_s, end_s)
        measured_s = np.diff(curves[uuid].measured_at(edges_s))
        known = measured_s > 0
        mean_w = np.diff(curves[uuid].energy_at(edges_s))[known] / measured_s[known]
        power_w[known] += mean_w * (np.diff(edges_s) / np.diff(time_s))[known]
        seen |= known
    return Course(time_s, np.where(seen, power_w, np.nan)) if seen.any() else None


def _curve(samples: GpuSamples, held: Sequence[tuple[float, float]], max_gap_s: float) -> EnergyCurve:
    """The GPU's energy, with the sample windows divided in which a hold begins or ends, as the accounting does."""
    holds = Holds(
        attempt=np.zeros(len(held), dtype=np.intp),
        start_s=np.array([start_s for start_s, _ in held]),
        end_s=np.array([end_s for _, end_s in held]),
        capacity=np.ones(len(held)),
        activity=None,
    )
    return divided(curve_from_samples(samples, max_gap_s), holds, assumed_idle_w(samples.device.model))
