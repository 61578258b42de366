"""What a set of jobs, or a calculation, used and emitted, as one set of figures: what a statement in a paper says.

Sums over all runs of jobs; a requeued job is one job, as in a report. A run of unknown energy is in no sum and is
counted. A figure is None where it is unknown for any of the runs that are in the sums: a part of the emissions is not
the emissions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, fields
from math import hypot
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from accounting.clock import day_of
from accounting.factors import SourceShare, shares_of_energy
from accounting.jobs import JobUsage
from accounting.ledger.reading import Books, one_of
from accounting.uncertainty import Accuracy, EnergyDoubt, emission_parts

if TYPE_CHECKING:
    from site_config.schema import Range

J_PER_KWH = 3.6e6
_MOST = 500  # jobs asked for in one query

JobKey = tuple[str, int, int]  # cluster, Slurm's number, time of submission


@dataclass(frozen=True, slots=True)
class Hardware:
    """The GPUs of one model: the most that one job had of them, and what they were used for in all."""

    model: str  # "" where it is unknown
    gpus: int
    gpu_seconds: float
    energy_j: float | None


@dataclass(frozen=True, slots=True)
class MethodShare:
    """How much of the energy of GPUs, or of the host part, was found by a method (`accounting.model.Method`); 0 … 1."""

    kind: str  # gpu | host
    method: str
    share: float


@dataclass(frozen=True, slots=True)
class Statement:
    """The figures. None is unknown, or, for the market-based figure and the water, not declared by the site."""

    jobs: int | None  # None: a calculation, without jobs
    jobs_unknown: int  # of them, those of which no run has a known energy: in no sum
    clusters: Sequence[str]
    start_s: int | None  # of the first that started
    end_s: int | None  # of the last that ended; None: one still runs
    hardware: Sequence[Hardware]
    gpu_seconds: float
    coverage: float | None  # share of the GPU time that was measured
    gpu_energy_j: float | None
    host_energy_j: float | None
    it_energy_j: float | None
    facility_energy_j: float | None
    co2e_location_g: float | None
    co2e_market_g: float | None
    co2e_embodied_g: float | None
    co2e_embodied_low_g: float | None  # by the lowest and the highest published figure; None: the site declares none
    co2e_embodied_high_g: float | None
    co2e_low_g: float | None  # of co2e_location_g: a 95 % interval
    co2e_high_g: float | None
    methods: Sequence[MethodShare]
    sources: Sequence[SourceShare]
    water_l: float | None
    runs_unknown: int = 0  # runs of unknown energy of the other jobs, which were requeued: in no sum

    @property
    def pue(self) -> float | None:
        """Facility energy over IT energy."""
        return _ratio(self.facility_energy_j, self.it_energy_j)

    @property
    def intensity_g_per_kwh(self) -> float | None:
        """The grid's intensity as it was applied: weighted by the energy of each hour."""
        return _ratio(self.co2e_location_g, self.facility_energy_j, J_PER_KWH)

    @property
    def sci_g_per_job(self) -> float | None:
        """(E × I + M) per job, the Software Carbon Intensity of ISO/IEC 21031:2024."""
        return _ratio(self._operational_and_embodied_g, None if self.jobs is None else self.jobs - self.jobs_unknown)

    @property
    def sci_g_per_gpu_hour(self) -> float | None:
        """(E × I + M) per GPU-hour held."""
        return _ratio(self._operational_and_embodied_g, self.gpu_seconds, 3600.0)

    @property
    def _operational_and_embodied_g(self) -> float | None:
        if self.co2e_location_g is None or self.co2e_embodied_g is None:
            return None  # SCI without M would be another figure under its name
        return self.co2e_location_g + self.co2e_embodied_g


#: The spread of what making a piece of hardware emitted, by cluster, kind of meter and model.
Spread = Callable[[str, str, str], "Range | None"]


def state_jobs(
    books: Books,
    jobs: Sequence[JobUsage],
    wue_l_per_kwh: float | None = None,
    accuracy: Accuracy | None = None,
    spread: Spread | None = None,
) -> Statement:
    """The figures of jobs, with the hardware and the sources of the factors from the books; `jobs` has all their runs.

    `wue_l_per_kwh` is litres of water for a kilowatt-hour of IT energy (WUE is defined on IT energy).
    """
    known = [job for job in jobs if job.it_energy_j is not None]
    numbers = {number_of(job) for job in jobs}
    known_numbers = {number_of(job) for job in known}
    rows = used(books, known)
    ended = [job.end for job in known if job.start is not None]
    seconds = sum(job.gpu_seconds for job in known)
    it_energy_j, location_g = _sum(known, "it_energy_j"), _sum(known, "co2e_location_g")
    low_g = high_g = None
    if it_energy_j is not None and location_g is not None:
        doubt = _doubt(books, rows)
        low_g, high_g = emission_parts(it_energy_j, doubt, accuracy or Accuracy()).interval(location_g)
    # A site may declare what making its GPUs emitted and not its nodes: then jobs without GPUs have no share.
    embodied_g = _sum([job for job in known if job.gpu_seconds], "co2e_embodied_g")
    embodied_low_g, embodied_high_g = (None, None) if embodied_g is None else _embodied_range(rows, spread)
    return Statement(
        jobs=len(numbers),
        jobs_unknown=len(numbers - known_numbers),
        clusters=sorted({job.cluster for job in jobs}),
        start_s=min((job.start for job in known if job.start is not None), default=None),
        end_s=None if None in ended or not ended else max(end for end in ended if end is not None),
        hardware=_hardware(rows, known),
        gpu_seconds=seconds,
        coverage=sum((job.coverage or 0.0) * job.gpu_seconds for job in known) / seconds if seconds else None,
        gpu_energy_j=_sum(known, "gpu_energy_j"),
        host_energy_j=_some(known, "host_energy_j"),
        it_energy_j=it_energy_j,
        facility_energy_j=_sum(known, "facility_energy_j"),
        co2e_location_g=location_g,
        co2e_market_g=_sum(known, "co2e_market_g"),
        co2e_embodied_g=embodied_g,
        co2e_embodied_low_g=embodied_low_g,
        co2e_embodied_high_g=embodied_high_g,
        co2e_low_g=low_g,
        co2e_high_g=high_g,
        methods=_methods(rows),
        sources=shares_of_energy(books, known),
        water_l=water_l(it_energy_j, wue_l_per_kwh),
        runs_unknown=sum(job.it_energy_j is None and number_of(job) in known_numbers for job in jobs),
    )


def water_l(it_energy_j: float | None, wue_l_per_kwh: float | None) -> float | None:
    """Litres of water: WUE × IT energy (ISO/IEC 30134-9)."""
    return None if it_energy_j is None or wue_l_per_kwh is None else it_energy_j / J_PER_KWH * wue_l_per_kwh


def _sum(jobs: Iterable[JobUsage], name: str) -> float | None:
    """The sum of a figure; None where there is no job, or it is unknown for one of them."""
    values = [getattr(job, name) for job in jobs]
    return None if not values or None in values else float(sum(values))


def _some(jobs: Iterable[JobUsage], name: str) -> float | None:
    """The sum of what is known of a figure."""
    values = [value for job in jobs if (value := getattr(job, name)) is not None]
    return float(sum(values)) if values else None


def key_of(job: JobUsage) -> JobKey:
    """What tells an attempt from every other one."""
    return job.cluster, job.job_id_raw, job.submit


def number_of(job: JobUsage) -> tuple[str, int]:
    """What all runs of a job have in common, and no other job has."""
    return job.cluster, job.job_id_raw


@dataclass(frozen=True, slots=True)
class Used:
    """What a job used of GPUs of one model, or of the host part, by one method."""

    job: JobKey
    kind: str  # gpu | host
    model: str
    method: str
    held_s: float
    known_s: float
    energy_j: float | None
    embodied_g: float | None
    modelled_j: float
    edges_j2: float
    sharing_j: float


def used(books: Books, jobs: Sequence[JobUsage]) -> list[Used]:
    """What each job used of which hardware, and how that was found; a method is the least exact one of a day."""
    wanted = {key_of(job) for job in jobs}
    found = []
    ids = sorted({job.job_id_raw for job in jobs})
    for first in range(0, len(ids), _MOST):
        values: dict[str, object] = {}
        for row in books.rows(_USED.format(chosen=one_of("a.job_id", ids[first : first + _MOST], values)), values):
            key = (row["cluster"], row["job_id"], row["submit_s"])
            if key in wanted:
                found.append(Used(key, *(row[name] for name in _USED_COLUMNS)))
    return found


_USED_COLUMNS = [field.name for field in fields(Used)][1:]
_USED = """
SELECT a.cluster, a.job_id, a.submit_s, u.kind, u.model, u.method, SUM(u.held_s) AS held_s, SUM(u.known_s) AS known_s,
       SUM(u.energy_j) AS energy_j, SUM(u.embodied_g) AS embodied_g, COALESCE(SUM(u.modelled_j), 0) AS modelled_j,
       SUM(u.edges_j2) AS edges_j2, SUM(u.sharing_j) AS sharing_j
FROM attempts a JOIN usage_days u ON u.attempt_id = a.attempt_id
WHERE {chosen}
GROUP BY a.cluster, a.job_id, a.submit_s, u.kind, u.model, u.method
"""


def _hardware(rows: Sequence[Used], jobs: Sequence[JobUsage]) -> list[Hardware]:
    """The GPUs by model, the most used first."""
    gpus = {key_of(job): job.gpus for job in jobs}
    by_model: dict[str, list[Used]] = defaultdict(list)
    for row in rows:
        if row.kind == "gpu":
            by_model[row.model].append(row)
    found = []
    for model, of_model in by_model.items():
        known = [row.energy_j for row in of_model if row.energy_j is not None]
        seconds = sum(row.held_s for row in of_model)
        found.append(Hardware(model, max(gpus[row.job] for row in of_model), seconds, sum(known) if known else None))
    return sorted(found, key=lambda one: (-one.gpu_seconds, one.model))


def _doubt(books: Books, rows: Sequence[Used]) -> EnergyDoubt:
    """How uncertain the energy of all the jobs together is (`accounting.uncertainty`, "in a sum").

    One meter is off by the same factor for every job that it measured, so its energies add up before their squares do.
    """
    jobs = {row.job for row in rows}
    by_meter_j: dict[int, float] = defaultdict(float)
    ids = sorted({job_id for _, job_id, _ in jobs})
    for first in range(0, len(ids), _MOST):
        values: dict[str, object] = {}
        chosen = one_of("a.job_id", ids[first : first + _MOST], values)
        for row in books.rows(_BY_METER.format(chosen=chosen), values):
            if (row["cluster"], row["job_id"], row["submit_s"]) in jobs:
                by_meter_j[row["meter_id"]] += row["energy_j"]
    sharing_j: dict[JobKey, float] = defaultdict(float)
    for one in rows:
        sharing_j[one.job] += one.sharing_j
    return EnergyDoubt(
        sensor_j=hypot(*by_meter_j.values()) + _purged_sensor_j(books, jobs),
        edges_j2=sum(row.edges_j2 for row in rows),
        sharing_j=hypot(*sharing_j.values()),
        modelled_j=sum(row.modelled_j for row in rows),
    )


def _purged_sensor_j(books: Books, jobs: Collection[JobKey]) -> float:
    """The same of days whose hours were purged: by which meters is gone, so all of them may be off the same way."""
    purged_s = books.purged_before_s
    if purged_s is None:
        return 0.0
    sensor_j = 0.0
    ids = sorted({job_id for _, job_id, _ in jobs})
    for first in range(0, len(ids), _MOST):
        values: dict[str, object] = {"day": day_of(ZoneInfo(books.zone), purged_s).isoformat()}
        chosen = one_of("a.job_id", ids[first : first + _MOST], values)
        for row in books.rows(_PURGED.format(chosen=chosen), values):
            if (row["cluster"], row["job_id"], row["submit_s"]) in jobs:
                sensor_j += row["sensor_j"] or 0.0
    return sensor_j


_PURGED = """
SELECT a.cluster, a.job_id, a.submit_s, SUM(u.sensor_j) AS sensor_j
FROM attempts a JOIN usage_days u ON u.attempt_id = a.attempt_id
WHERE u.day < :day AND {chosen}
GROUP BY a.cluster, a.job_id, a.submit_s
"""

_BY_METER = """
SELECT a.cluster, a.job_id, a.submit_s, u.meter_id, SUM(u.energy_j) AS energy_j
FROM attempts a JOIN usage_slots u ON u.attempt_id = a.attempt_id
WHERE u.superseded_by IS NULL AND u.energy_j IS NOT NULL AND u.method <> 'model' AND {chosen}
GROUP BY a.cluster, a.job_id, a.submit_s, u.meter_id
"""


def _embodied_range(rows: Iterable[Used], spread: Spread | None) -> tuple[float | None, float | None]:
    """What the jobs' share of making the hardware is by the lowest and by the highest published figure (g)."""
    low_g = high_g = 0.0
    for row in rows:
        if row.embodied_g:
            figure = None if spread is None else spread(row.job[0], row.kind, row.model)
            if figure is None or not figure.best:
                return None, None
            low_g += row.embodied_g * figure.low / figure.best
            high_g += row.embodied_g * figure.high / figure.best
    return low_g, high_g


def _methods(rows: Sequence[Used]) -> list[MethodShare]:
    """The methods by the energy that they gave, the largest share first."""
    energy_j: dict[tuple[str, str], float] = defaultdict(float)
    total_j: dict[str, float] = defaultdict(float)
    for row in rows:
        energy_j[row.kind, row.method] += row.energy_j or 0.0
        total_j[row.kind] += row.energy_j or 0.0
    found = [MethodShare(*key, part / total_j[key[0]]) for key, part in energy_j.items() if part]
    return sorted(found, key=lambda one: (one.kind, -one.share))


def _ratio(part: float | None, whole: float | None, unit: float = 1.0) -> float | None:
    return None if part is None or not whole else part / whole * unit
