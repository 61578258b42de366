"""What a person's own jobs say of how to emit less: jobs that did not complete, GPUs held and hardly used, hours.

Values in, values out: the jobs and what they used come from the books, forecasts from a source of the site's.
Average intensities tell what the accounting would have said; marginal ones tell what the grid would have emitted less.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from accounting.hardware import assumed_idle_w
from accounting.jobs import JobUsage
from accounting.ledger.reading import Books
from accounting.model import FactorSlot
from accounting.statement import JobKey, Used, key_of, number_of

J_PER_KWH = 3.6e6
HOUR_S = 3600

#: States of jobs that did not end as they were meant to, as Slurm writes them.
LOST_STATES = (
    "FAILED", "TIMEOUT", "OUT_OF_MEMORY", "CANCELLED", "NODE_FAIL", "PREEMPTED", "DEADLINE", "BOOT_FAIL",
)  # fmt: skip

#: A GPU that draws less than this many times its idle level is held and hardly used. A process that has only opened it
#: (a CUDA context at the highest clocks) draws up to half more than an idle one.
HARDLY = 1.5

#: GPU time below which a mean power says little.
LEAST_S = 600.0

#: How much later a job might have started, and the steps in which that is tried.
MOVABLE_S = 24 * HOUR_S


@dataclass(frozen=True, slots=True)
class Lost:
    """The jobs that ended in one state, and what they had used by then."""

    state: str
    jobs: int
    gpu_seconds: float
    it_energy_j: float
    co2e_location_g: float | None  # None where it is unknown for one of them


@dataclass(frozen=True, slots=True)
class HardlyUsed:
    """A job whose GPUs drew little more than idle ones: their mean power, and the idle level of their model."""

    job: JobUsage
    model: str
    gpu_seconds: float
    energy_j: float
    mean_w: float
    idle_w: float


@dataclass(frozen=True, slots=True)
class Start:
    """When a job of a given length would best begin, and the mean intensity over it; and that of beginning at once."""

    start_s: float
    length_s: float
    g_per_kwh: float
    now_g_per_kwh: float


@dataclass(frozen=True, slots=True)
class Moved:
    """What jobs would have emitted less, had each started up to `MOVABLE_S` later, at its greenest hour."""

    jobs: int  # those of which the intensity is known for as long
    emitted_g: float  # by mean power and the same intensities, so that the two compare
    saved_g: float


def lost(jobs: Iterable[JobUsage]) -> list[Lost]:
    """The jobs that did not complete by state, the most energy first; jobs of unknown energy are left out."""
    by_state: dict[str, list[JobUsage]] = defaultdict(list)
    for job in jobs:
        if job.state in LOST_STATES and job.it_energy_j is not None:
            by_state[job.state].append(job)
    found = []
    for state, of_state in by_state.items():
        grams = [job.co2e_location_g for job in of_state]
        known = [one for one in grams if one is not None]
        found.append(
            Lost(
                state,
                len({number_of(job) for job in of_state}),
                sum(job.gpu_seconds for job in of_state),
                sum(job.it_energy_j or 0.0 for job in of_state),
                sum(known) if len(known) == len(grams) else None,
            )
        )
    return sorted(found, key=lambda one: -one.it_energy_j)


def idle_levels(books: Books, start_s: float, end_s: float) -> dict[str, float]:
    """What a GPU of each model drew while nobody held it (W), in [start_s, end_s).

    From the hours in which it was idle and measured throughout.
    """
    rows = books.rows(_IDLE, {"start_s": start_s, "end_s": end_s})
    return {row["model"]: row["idle_j"] / row["idle_s"] for row in rows}


_IDLE = """
SELECT m.model, SUM(b.idle_j) AS idle_j, SUM(b.idle_s) AS idle_s
FROM balance b JOIN meters m ON m.meter_id = b.meter_id
WHERE b.superseded_by IS NULL AND b.slot_s >= :start_s AND b.slot_s < :end_s
  AND m.kind = 'gpu' AND b.known_s > 0 AND b.idle_s > b.known_s - 0.001 AND b.idle_s < b.known_s + 0.001
GROUP BY m.model
"""


def hardly_used(jobs: Iterable[JobUsage], used: Iterable[Used], idle_w: Mapping[str, float]) -> list[HardlyUsed]:
    """The jobs whose GPUs of one model drew less than `HARDLY` times their idle level, the most energy first.

    `idle_w` are the idle levels that were seen; for other models one is assumed from their rated power.
    """
    by_key = {key_of(job): job for job in jobs}
    energy_j: dict[tuple[JobKey, str], float] = defaultdict(float)
    known_s: dict[tuple[JobKey, str], float] = defaultdict(float)
    for row in used:
        if row.job in by_key and row.kind == "gpu" and row.energy_j is not None and row.method != "model":
            energy_j[row.job, row.model] += row.energy_j
            known_s[row.job, row.model] += row.known_s
    found = []
    for (key, model), seconds in known_s.items():
        level_w = idle_w.get(model) or assumed_idle_w(model)
        if level_w is None or seconds < LEAST_S:
            continue
        mean_w = energy_j[key, model] / seconds
        if mean_w < HARDLY * level_w:
            found.append(HardlyUsed(by_key[key], model, seconds, energy_j[key, model], mean_w, level_w))
    return sorted(found, key=lambda one: -one.energy_j)


def usual_length_s(jobs: Iterable[JobUsage]) -> float | None:
    """How long a job usually runs: the median of those that ended, to the hour; None without one."""
    lengths = [job.end - job.start for job in jobs if job.start is not None and job.end is not None]
    return None if not lengths else max(1, round(median(lengths) / HOUR_S)) * float(HOUR_S)


def best_start(forecast: Sequence[FactorSlot], now_s: float, length_s: float) -> Start | None:
    """When to begin a job of `length_s`, by the half hour; None where the forecast does not cover one from now on."""
    curve = _Integral(forecast)
    now = curve.mean(now_s, now_s + length_s)
    if now is None:
        return None
    best = Start(now_s, length_s, now, now)
    start_s = (now_s // 1800 + 1) * 1800
    while start_s + length_s <= curve.end_s:
        mean = curve.mean(start_s, start_s + length_s)
        if mean is not None and mean < best.g_per_kwh:
            best = Start(start_s, length_s, mean, now)
        start_s += 1800
    return best


def moved(jobs: Iterable[JobUsage], intensity: Sequence[FactorSlot]) -> Moved:
    """What starting later would have saved, by the hour, with the intensities that there were (in order, apart)."""
    curve = _Integral(intensity)
    counted: set[tuple[str, int]] = set()
    emitted_g = saved_g = 0.0
    for job in jobs:
        if job.start is None or job.end is None or job.end <= job.start or job.facility_energy_j is None:
            continue
        spans = [(job.start + later, job.end + later) for later in range(0, MOVABLE_S + 1, HOUR_S)]
        means = [curve.mean(*span) for span in spans]
        known = [mean for mean in means if mean is not None]
        if len(known) < len(means):
            continue
        counted.add(number_of(job))
        kwh = job.facility_energy_j / J_PER_KWH
        emitted_g += kwh * known[0]
        saved_g += kwh * (known[0] - min(known))
    return Moved(len(counted), emitted_g, saved_g)


class _Integral:
    """The running integral of an intensity over its slots, so that the mean over any span is two look-ups."""

    def __init__(self, slots: Sequence[FactorSlot]) -> None:
        self._slots = slots
        self._starts = [slot.start_s for slot in slots]
        self._before = [0.0]  # of value × seconds, and of seconds known
        self._known = [0.0]
        for slot in slots:
            self._before.append(self._before[-1] + slot.value * (slot.end_s - slot.start_s))
            self._known.append(self._known[-1] + slot.end_s - slot.start_s)

    @property
    def end_s(self) -> float:
        return self._slots[-1].end_s if self._slots else 0.0

    def mean(self, start_s: float, end_s: float) -> float | None:
        """The mean over a span; None where a part of it is not known."""
        (a, known_a), (b, known_b) = self._at(start_s), self._at(end_s)
        if end_s <= start_s or known_b - known_a < end_s - start_s - 1e-6:
            return None
        return (b - a) / (end_s - start_s)

    def _at(self, time_s: float) -> tuple[float, float]:
        place = bisect_right(self._starts, time_s) - 1
        if place < 0:
            return 0.0, 0.0
        slot = self._slots[place]
        inside_s = min(time_s, slot.end_s) - slot.start_s
        return self._before[place] + slot.value * inside_s, self._known[place] + inside_s
