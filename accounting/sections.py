"""What a report says beside its sums: the largest jobs, energy that came to nothing, the course of the period, gaps.

Each section is a value of its own; `accounting.document` puts them together. Sums of days and months come from the
payers' roll-ups; what is told of single jobs comes from the jobs' days, and is found only where it is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True, slots=True)
class Point:
    """A day or a month of the period: what jobs used, and what was idle; None is unknown, or not in the books."""

    first_day: date
    last_day: date
    jobs_energy_j: float | None  # IT energy
    jobs_co2e_g: float | None  # location-based
    idle_energy_j: float | None
    idle_co2e_g: float | None


@dataclass(frozen=True, slots=True)
class TopJob:
    """One of the largest jobs: who it was, and what it used inside the period, all of its runs together."""

    cluster: str
    job_id: str  # as sacct shows it
    job_id_raw: int
    user: str | None
    account: str | None
    partition: str | None
    name: str | None
    state: str  # of its last run
    gpus: int
    gpu_seconds: float
    it_energy_j: float
    co2e_location_g: float | None
    coverage: float | None


@dataclass(frozen=True, slots=True)
class Lost:
    """What the runs that ended in one state had used in the period."""

    state: str  # FAILED, TIMEOUT, …
    runs: int
    gpu_seconds: float
    it_energy_j: float
    co2e_location_g: float | None


@dataclass(frozen=True, slots=True)
class HardlyUsed:
    """GPUs that jobs held while they drew little more than an idle one does."""

    runs: int
    gpu_seconds: float
    energy_j: float  # of these GPUs
    level_assumed: bool  # the idle level of one of the models is the hardware table's: none was seen idle for a day


@dataclass(frozen=True, slots=True)
class Waste:
    """Energy that came to nothing, as far as the books can tell; a run may be in both."""

    lost: tuple[Lost, ...]  # the most energy first
    hardly_used: HardlyUsed | None  # None: nothing is known of how the GPUs were used


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """What the meters of one kind (gpu, host) say, against what the report has of it.

    `metered_j` = `attributed_j` + `idle_j` − `unmetered_j`, the last being energy that no meter saw: modelled, or
    Slurm's own figure.
    """

    kind: str
    metered_j: float
    attributed_j: float
    idle_j: float

    @property
    def unmetered_j(self) -> float:
        """The energy in the report that no meter saw."""
        return self.attributed_j + self.idle_j - self.metered_j


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of a cluster's time, UTC epoch s."""

    cluster: str
    start_s: float
    end_s: float
