"""Jobs with what they used, from the books: the rows behind `scarbon jobs`.

A job is listed whole, as in sacct: the window chooses the jobs, and does not cut them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import hypot
from typing import Any

from accounting.ledger.methods import METHODS
from accounting.ledger.reading import Books, Row, one_of
from accounting.ledger.spans import LIMITS_S, LONG
from accounting.tags import parse_tags
from accounting.uncertainty import Accuracy, EnergyDoubt, Parts, emission_parts

J_PER_KWH = 3.6e6


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs. None: no limit. Names match exactly; `job_ids` are raw ids, `labels` what sacct shows (`42_3`)."""

    start_s: float | None = None
    end_s: float | None = None
    clusters: Sequence[str] | None = None
    users: Sequence[str] | None = None
    accounts: Sequence[str] | None = None
    partitions: Sequence[str] | None = None
    qos: Sequence[str] | None = None
    names: Sequence[str] | None = None
    states: Sequence[str] | None = None
    jobs: Sequence[str] | None = None  # as typed: 42, 42_3, 42+1; 42 is the whole array or heterogeneous job
    duplicates: bool = False  # earlier attempts of requeued jobs, too
    tags: Sequence[tuple[str, str]] = ()  # all of them (`accounting.tags`)


@dataclass(frozen=True, slots=True)
class JobUsage:
    """One attempt and all that the books say of it; None is unknown. Units as in `accounting.model`."""

    cluster: str
    job_id: str  # as sacct shows it
    job_id_raw: int
    submit: int
    start: int | None
    end: int | None
    state: str
    user: str | None
    uid: int | None
    account: str | None
    partition: str | None
    qos: str | None
    wckey: str | None
    name: str | None
    tags: Mapping[str, str]
    nodes: str
    cpus: int
    memory_mb: float | None
    exit_code: str | None
    suspended_s: int
    gpus: int
    gpu_seconds: float
    gpu_energy_j: float | None
    host_energy_j: float | None
    it_energy_j: float | None
    facility_energy_j: float | None
    co2e_location_g: float | None
    co2e_market_g: float | None
    co2e_embodied_g: float | None
    intensity_g_per_kwh: float | None
    pue: float | None
    coverage: float | None
    method: str
    co2e_low_g: float | None = None  # 95 % interval of the location-based emissions
    co2e_high_g: float | None = None
    uncertainty: Parts | None = None  # its parts; None where the energy is unknown


def list_jobs(books: Books, chosen: JobFilter, accuracy: Accuracy | None = None) -> Iterator[JobUsage]:
    """The chosen jobs in the order of their ids, as sacct lists them."""
    accuracy = accuracy or Accuracy()
    values: dict[str, Any] = {}
    rows = books.rows(_SELECT.format(where=_where(chosen, values), near=_near(chosen, values)), values)
    newest: dict[tuple[str, int], int] = {}
    if not chosen.duplicates:
        for row in rows:
            key = (row["cluster"], row["job_id"])
            newest[key] = max(newest.get(key, 0), row["submit_s"])
    for row in rows:
        if chosen.duplicates or newest[row["cluster"], row["job_id"]] == row["submit_s"]:
            job = _job(row, accuracy)
            if all(job.tags.get(key) == value for key, value in chosen.tags):
                yield job


def _rank(alias: str) -> str:
    return (
        f"CASE {alias}.method " + " ".join(f"WHEN '{name}' THEN {rank}" for rank, name in enumerate(METHODS)) + " END"
    )


def _part(kind: str, column: str) -> str:
    return f"SUM(CASE WHEN u.kind = '{kind}' THEN u.{column} END) AS {kind}_{column}"


def _unknown(column: str) -> str:
    """How many of a job's days have energy and no figure in `column`: then the job's sum is unknown."""
    return f"COUNT(CASE WHEN u.energy_j <> 0 AND u.{column} IS NULL THEN 1 END) AS {column}_unknown"


_PARTS = ", ".join(
    [_part(kind, column) for kind in ("gpu", "host") for column in ("held_s", "known_s", "measured_s", "energy_j")]
    + [_part(kind, "sensor_j") for kind in ("gpu", "host")]
    + [f"SUM(u.{column}) AS {column}" for column in ("facility_j", "location_g", "market_g", "embodied_g")]
    + [f"SUM(u.{column}) AS {column}" for column in ("edges_j2", "sharing_j", "modelled_j")]
    + [_unknown(column) for column in ("facility_j", "location_g", "market_g")]
    + [f"MAX(CASE WHEN u.kind = '{kind}' THEN {_rank('u')} END) AS {kind}_rank" for kind in ("gpu", "host")]
)

_SELECT = f"""
SELECT a.*, {_PARTS}
FROM ({{near}}) AS near
JOIN attempts a ON a.attempt_id = near.attempt_id
LEFT JOIN usage_days u ON u.attempt_id = a.attempt_id
WHERE {{where}}
GROUP BY a.attempt_id
ORDER BY a.cluster, a.job_id, a.submit_s
"""


def _near(chosen: JobFilter, values: dict[str, Any]) -> str:
    """The attempts to look at: all that are chosen and little else, by queries that an index answers from both ends.

    Left to choose among the conditions of `_where`, databases go through all of a user's jobs, or everybody's.
    """
    if chosen.jobs is not None:
        conditions = [condition for job in chosen.jobs for condition in _one_job(job, values)]
    else:
        names = [
            one_of(column, wanted, values)
            for column, wanted in (("user_name", chosen.users), ("account", chosen.accounts))
            if wanted is not None
        ]
        conditions = [" AND ".join([*names[:1], *span]) or "1 = 1" for span in _spans(chosen, values)]
    parts = [f"SELECT attempt_id FROM attempts WHERE {condition}" for condition in conditions]
    while len(parts) > 400:  # SQLite takes at most 500 in a union
        unions = [" UNION ".join(parts[start : start + 400]) for start in range(0, len(parts), 400)]
        parts = [f"SELECT attempt_id FROM ({union}) AS part" for union in unions]
    return " UNION ".join(parts)


def _spans(chosen: JobFilter, values: dict[str, Any]) -> Iterator[list[str]]:
    """The window's bounds of the submit time, for each class of `accounting.ledger.spans`."""
    until = [] if chosen.end_s is None else ["submit_s < :end_s"]
    if chosen.start_s is None:
        yield until
        return
    yield [f"span = {LONG}", *until]
    for span, limit_s in enumerate(LIMITS_S):
        values[f"span{span}"] = chosen.start_s - limit_s
        yield [f"span = {span}", f"submit_s > :span{span}", *until]


def _one_job(job: str, values: dict[str, Any]) -> Iterator[str]:
    """A job by what was typed: a whole label, or the number of an array or heterogeneous job.

    Labels are ordered by their bytes, so those that begin with `42_` or `42+` lie between two bounds.
    """
    yield one_of("label", [job], values)
    if job.isdecimal():
        yield _between(f"{job}_", f"{job}`", values)
        yield _between(f"{job}+", f"{job},", values)
        if int(job) < 2**63:  # what a database's integer holds
            yield one_of("job_id", [int(job)], values)


def _between(first: str, beyond: str, values: dict[str, Any]) -> str:
    low, high = f"p{len(values)}", f"p{len(values) + 1}"
    values |= {low: first, high: beyond}
    return f"(label >= :{low} AND label < :{high})"


def _where(chosen: JobFilter, values: dict[str, Any]) -> str:
    parts = ["1 = 1"]
    if chosen.end_s is not None:
        values["end_s"] = chosen.end_s
        parts.append("a.submit_s < :end_s")
    if chosen.start_s is not None:
        values["start_s"] = chosen.start_s
        parts.append("(a.end_s IS NULL OR a.end_s >= :start_s)")
    for column, wanted in (
        ("a.cluster", chosen.clusters), ("a.user_name", chosen.users), ("a.account", chosen.accounts),
        ("a.partition_name", chosen.partitions), ("a.qos", chosen.qos), ("a.name", chosen.names),
        ("a.state", chosen.states),
    ):  # fmt: skip
        if wanted is not None:
            parts.append(one_of(column, wanted, values))
    if chosen.tags:  # which of them, the comments' readers say
        values["tagged"] = "%scarbon:%"
        parts.append("a.comment LIKE :tagged")
    return " AND ".join(parts)


def _job(row: Row, accuracy: Accuracy) -> JobUsage:
    gpus = row["gpus"]
    # A job that holds GPUs of whose energy nothing is known has unknown energy, whatever its host part is.
    gpu_j = row["gpu_energy_j"] if gpus or row["gpu_held_s"] else (0.0 if row["start_s"] is not None else None)
    unknown = (bool(gpus) and gpu_j is None) or (row["host_held_s"] is not None and row["host_energy_j"] is None)
    host_j = row["host_energy_j"]
    it_j = None if unknown or (host_j is None and not gpus) else (gpu_j or 0.0) + (host_j or 0.0)
    facility_j = None if it_j is None or row["facility_j_unknown"] else row["facility_j"]
    location_g = None if it_j is None or row["location_g_unknown"] else row["location_g"]
    market_g = None if it_j is None or row["market_g_unknown"] else row["market_g"]
    held_s = row["gpu_held_s"] or 0.0
    rank = row["gpu_rank"] if gpus or held_s else row["host_rank"]
    parts = None if it_j is None else emission_parts(it_j, _doubt(row), accuracy)
    low_g, high_g = (None, None) if parts is None or location_g is None else parts.interval(location_g)
    return JobUsage(
        cluster=row["cluster"],
        job_id=row["label"],
        job_id_raw=row["job_id"],
        submit=row["submit_s"],
        start=row["start_s"],
        end=row["end_s"],
        state=row["state"],
        user=row["user_name"],
        uid=row["uid"],
        account=row["account"],
        partition=row["partition_name"],
        qos=row["qos"],
        wckey=row["wckey"],
        name=row["name"],
        tags=parse_tags(row["comment"]),
        nodes=row["nodes"],
        cpus=row["cpus"],
        memory_mb=row["memory_mb"],
        exit_code=row["exit_code"],
        suspended_s=row["suspended_s"],
        gpus=gpus,
        gpu_seconds=held_s,
        gpu_energy_j=gpu_j,
        host_energy_j=host_j,
        it_energy_j=it_j,
        facility_energy_j=facility_j,
        co2e_location_g=location_g,
        co2e_market_g=market_g,
        co2e_embodied_g=row["embodied_g"],
        intensity_g_per_kwh=_ratio(location_g, facility_j, J_PER_KWH),
        pue=_ratio(facility_j, it_j),
        coverage=_coverage(row),
        method="none" if rank is None or it_j is None else METHODS[rank],
        co2e_low_g=low_g,
        co2e_high_g=high_g,
        uncertainty=parts,
    )


def _doubt(row: Row) -> EnergyDoubt:
    return EnergyDoubt(
        # A sensor is off the same way on all days; the GPUs' sensors and the node's have nothing to do with each other.
        sensor_j=hypot(row["gpu_sensor_j"] or 0.0, row["host_sensor_j"] or 0.0),
        edges_j2=row["edges_j2"] or 0.0,
        sharing_j=row["sharing_j"] or 0.0,
        modelled_j=row["modelled_j"] or 0.0,
    )


def _coverage(row: Row) -> float | None:
    """The share of a job's GPU time that was measured; without GPUs, of its time on nodes that have a meter."""
    if row["gpu_held_s"]:
        return _ratio(row["gpu_measured_s"], row["gpu_held_s"])
    metered = row["host_rank"] is not None and METHODS[row["host_rank"]] in ("counter", "power")
    return _ratio(row["host_measured_s"], row["host_held_s"]) if metered else None


def _ratio(part: float | None, whole: float | None, unit: float = 1.0) -> float | None:
    return None if part is None or not whole else part / whole * unit
