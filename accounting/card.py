"""All that the books say of one job, or of an array, a heterogeneous job: the figures behind `scarbon show`.

Sums over the tasks or parts; who held which GPU, from when to when, by which source; which factors were applied and
who published them. Books of the present (`accounting.live`) may stand beside the books.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import hypot

from accounting.advice import HARDLY, LEAST_S, Moved, idle_levels, moved
from accounting.factors import SourceShare, applied, shares_of_energy
from accounting.hardware import assumed_idle_w
from accounting.jobs import JobUsage
from accounting.ledger.methods import METHODS
from accounting.ledger.reading import Books, one_of
from accounting.uncertainty import Parts

HOUR_S = 3600
DAY_S = 86_400

JobKey = tuple[str, int, int]  # cluster, Slurm's number, time of submission


@dataclass(frozen=True, slots=True)
class Held:
    """A GPU that a job held. The books have hours: `start_s` and `end_s` are exact where they are the job's own.

    `holder` is the source that named the holder; "" for GPUs that Slurm counts and no source names (`uuid` "", too).
    """

    job: JobKey
    uuid: str
    node: str
    model: str
    holder: str
    start_s: float
    end_s: float
    held_s: float
    known_s: float
    energy_j: float | None
    method: str
    idle_w: float | None = None  # what it draws while nobody holds it, as seen or assumed
    use: float | None = None  # mean share of the time in which it worked, where the site's samples say

    @property
    def mean_w(self) -> float | None:
        """Its mean power while its energy was known."""
        return None if self.energy_j is None or not self.known_s else self.energy_j / self.known_s

    @property
    def left_idle(self) -> bool:
        """Whether it drew hardly more than an idle one, for long enough to say so."""
        if self.mean_w is None or self.idle_w is None or self.known_s < LEAST_S or self.method == "model":
            return False
        return self.mean_w < HARDLY * self.idle_w


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over jobs, in base units; None where a figure is unknown for one of those that have begun."""

    gpu_seconds: float
    gpu_energy_j: float | None
    host_energy_j: float | None
    it_energy_j: float | None
    facility_energy_j: float | None
    co2e_location_g: float | None
    co2e_market_g: float | None
    co2e_embodied_g: float | None
    co2e_low_g: float | None  # 95 % interval of the location-based emissions
    co2e_high_g: float | None
    uncertainty: Parts | None
    coverage: float | None
    methods: Sequence[str]  # those of the jobs, the most exact first


@dataclass(frozen=True, slots=True)
class Card:
    """A job, or several that are one to a person. `as_of_s`: the figures are provisional, of that moment."""

    jobs: Sequence[JobUsage]
    totals: Totals
    held: Sequence[Held]
    sources: Sequence[SourceShare]
    intensity_range: tuple[float, float] | None  # the lowest and the highest that was applied, g/kWh
    moved: Moved | None  # what beginning up to a day later would have saved; None: not known (yet)
    as_of_s: float | None = None

    @property
    def start_s(self) -> int | None:
        """When the first of them began."""
        return min((job.start for job in self.jobs if job.start is not None), default=None)

    def end_s(self, now_s: float) -> float | None:
        """When the last of them ended, or the present while one runs; None where none began."""
        ends = [now_s if job.end is None else job.end for job in self.jobs if job.start is not None]
        return max(ends, default=None)


def make_card(several: Sequence[Books], jobs: Sequence[JobUsage], now_s: float, as_of_s: float | None = None) -> Card:
    """What the books say of these jobs, of one cluster; `several` hold one time each."""
    card = Card(jobs, totals(jobs), (), (), None, None, as_of_s)
    start_s, end_s = card.start_s, card.end_s(now_s)
    if start_s is None or end_s is None:
        return card
    cluster = jobs[0].cluster
    intensity = [slot for books in several for slot in applied(books, cluster, "location", start_s, end_s + DAY_S)]
    values = [slot.value for slot in intensity if slot.start_s < end_s]
    ended = all(job.end is not None for job in jobs)
    later = moved(jobs, intensity) if ended else None
    return replace(
        card,
        held=_held(several, jobs, now_s if as_of_s is None else as_of_s),
        sources=_sources(several, jobs),
        intensity_range=(min(values), max(values)) if values else None,
        moved=later
        if later is not None and later.jobs == len([job for job in jobs if job.start is not None])
        else None,
    )


def totals(jobs: Sequence[JobUsage]) -> Totals:
    """The sums; those that never began have used nothing."""
    begun = [job for job in jobs if job.start is not None]
    location_g = _sum(begun, "co2e_location_g")
    parts = None if location_g is None else _parts(begun, location_g)
    low_g, high_g = (None, None) if parts is None or location_g is None else parts.interval(location_g)
    held_s = sum(job.gpu_seconds for job in begun)
    covered = [(job.coverage, job.gpu_seconds if held_s else 1.0) for job in begun if job.coverage is not None]
    weight = sum(share for _, share in covered)
    return Totals(
        gpu_seconds=held_s,
        gpu_energy_j=_sum(begun, "gpu_energy_j"),
        host_energy_j=_sum(begun, "host_energy_j"),
        it_energy_j=_sum(begun, "it_energy_j"),
        facility_energy_j=_sum(begun, "facility_energy_j"),
        co2e_location_g=location_g,
        co2e_market_g=_sum(begun, "co2e_market_g"),
        co2e_embodied_g=_sum(begun, "co2e_embodied_g"),
        co2e_low_g=low_g,
        co2e_high_g=high_g,
        uncertainty=parts,
        coverage=sum(part * share for part, share in covered) / weight if weight else None,
        methods=sorted({job.method for job in begun}, key=(*METHODS, "none").index),
    )


def _sum(jobs: Sequence[JobUsage], name: str) -> float | None:
    values = [getattr(job, name) for job in jobs]
    return None if not values or None in values else float(sum(values))


def _parts(jobs: Sequence[JobUsage], location_g: float) -> Parts | None:
    """The parts of a sum's uncertainty (`accounting.uncertainty`): edges average out, the others do not."""
    known = [(job.uncertainty, job.co2e_location_g or 0.0) for job in jobs if job.uncertainty is not None]
    if len(known) < len(jobs) or location_g <= 0:
        return None
    same_way = {
        name: sum(getattr(parts, name) * grams for parts, grams in known) / location_g
        for name in ("sensor", "sharing", "model", "pue", "intensity")
    }
    return Parts(edges=hypot(*(parts.edges * grams for parts, grams in known)) / location_g, **same_way)


def _held(several: Sequence[Books], jobs: Sequence[JobUsage], until_s: float) -> list[Held]:
    """The GPUs of each job, in the order of jobs, nodes and UUIDs."""
    by_key = {(job.cluster, job.job_id_raw, job.submit): job for job in jobs}
    found: dict[tuple[JobKey, str, str], Held] = {}
    for books in several:
        values: dict[str, object] = {}
        chosen = one_of("a.job_id", sorted({job.job_id_raw for job in jobs}), values)
        for row in books.rows(_HELD.format(chosen=chosen), values):
            key = (row["cluster"], row["job_id"], row["submit_s"])
            if key not in by_key:
                continue
            job = by_key[key]
            start_s, end_s = job.start or row["first_s"], until_s if job.end is None else job.end
            one = Held(
                job=key,
                uuid=row["uuid"],
                node=row["node"],
                model=row["model"],
                holder=row["holder"] if row["uuid"] else "",
                start_s=max(start_s, row["first_s"]),
                end_s=min(end_s, row["last_s"] + HOUR_S),
                held_s=row["held_s"],
                known_s=row["known_s"],
                energy_j=row["energy_j"],
                method="none" if row["method_rank"] is None else METHODS[row["method_rank"]],
            )
            before = found.get((key, row["uuid"], row["holder"]))
            found[key, row["uuid"], row["holder"]] = one if before is None else _joined(before, one)
    place = {key: number for number, key in enumerate(by_key)}
    ordered = sorted(found.values(), key=lambda one: (place[one.job], one.node, one.uuid, one.start_s))
    starts = [job.start for job in jobs if job.start is not None]
    levels = idle_levels(several[0], min(starts) - DAY_S, until_s)
    return [replace(one, idle_w=levels.get(one.model) or assumed_idle_w(one.model)) for one in ordered]


def _joined(before: Held, after: Held) -> Held:
    energies = [one.energy_j for one in (before, after) if one.energy_j is not None]
    return replace(
        after,
        start_s=min(before.start_s, after.start_s),
        end_s=max(before.end_s, after.end_s),
        held_s=before.held_s + after.held_s,
        known_s=before.known_s + after.known_s,
        energy_j=sum(energies) if energies else None,
        method=max(before.method, after.method, key=(*METHODS, "none").index),
    )


_RANK = "CASE u.method " + " ".join(f"WHEN '{name}' THEN {rank}" for rank, name in enumerate(METHODS)) + " END"

_HELD = f"""
SELECT a.cluster, a.job_id, a.submit_s, m.uuid, m.node, m.model, u.holder, MIN(u.slot_s) AS first_s,
       MAX(u.slot_s) AS last_s, SUM(u.held_s) AS held_s, SUM(u.known_s) AS known_s, SUM(u.energy_j) AS energy_j,
       MAX({_RANK}) AS method_rank
FROM attempts a
JOIN usage_slots u ON u.attempt_id = a.attempt_id AND u.superseded_by IS NULL AND u.held_s > 0
JOIN meters m ON m.meter_id = u.meter_id AND m.kind = 'gpu'
WHERE {{chosen}}
GROUP BY a.cluster, a.job_id, a.submit_s, m.uuid, m.node, m.model, u.holder
"""


def _sources(several: Sequence[Books], jobs: Sequence[JobUsage]) -> list[SourceShare]:
    """Who published the factors, over all of the books; each one's share is weighted by the energy that it has."""
    found = [(_energy_j(books, jobs), shares_of_energy(books, jobs)) for books in several]
    total_j = sum(energy_j for energy_j, shares in found if shares)
    by_name: dict[tuple[str, str, str | None], list[tuple[float, SourceShare]]] = defaultdict(list)
    for energy_j, shares in found:
        for one in shares:
            by_name[one.kind, one.source, one.basis].append((energy_j / total_j if total_j else 1.0, one))
    summed = []
    for parts in by_name.values():
        share = sum(weight * one.share for weight, one in parts)
        estimated = sum(weight * one.share * one.estimated_share for weight, one in parts)
        retrieved = [one.retrieved_s for _, one in parts if one.retrieved_s is not None]
        summed.append(
            replace(
                parts[0][1],
                share=share,
                estimated_share=estimated / share if share else 0.0,
                retrieved_s=max(retrieved, default=None),
            )
        )
    return sorted(summed, key=lambda one: (one.kind, -one.share, one.source))


def _energy_j(books: Books, jobs: Sequence[JobUsage]) -> float:
    values: dict[str, object] = {}
    chosen = one_of("a.job_id", sorted({job.job_id_raw for job in jobs}), values)
    return float(books.rows(_ENERGY.format(chosen=chosen), values)[0]["energy_j"] or 0.0)


_ENERGY = """
SELECT SUM(u.energy_j) AS energy_j FROM attempts a
JOIN usage_slots u ON u.attempt_id = a.attempt_id AND u.superseded_by IS NULL WHERE {chosen}
"""
