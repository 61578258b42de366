"""Jobs with what they used, from the books: the rows behind `scarbon jobs`.

A job is listed whole, as in sacct: the window chooses the jobs, and does not cut them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import hypot, inf
from typing import Any

from accounting.ledger.methods import METHODS
from accounting.ledger.reading import Books, Row, one_of
from accounting.ledger.spans import LIMITS_S, LONG
from accounting.tags import parse_tags
from accounting.uncertainty import Accuracy, EnergyDoubt, Parts, emission_parts

J_PER_KWH = 3.6e6


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs, as sacct chooses them. None: no limit; users by name or by number."""

    start_s: float | None = None
    end_s: float | None = None
    clusters: Sequence[str] | None = None
    users: Sequence[str] | None = None
    uids: Sequence[int] | None = None
    accounts: Sequence[str] | None = None
    partitions: Sequence[str] | None = None
    qos: Sequence[str] | None = None
    wckeys: Sequence[str] | None = None
    names: Sequence[str] | None = None  # in small or large letters
    nodes: Sequence[str] | None = None  # on any of them
    nnodes: tuple[int, int] | None = None  # from, to; on how many
    ncpus: tuple[int, int] | None = None
    states: Sequence[str] | None = None  # in this state at some time of the window, or ended in it there
    jobs: Sequence[str] | None = None  # as typed: 42, 42_3, 42+1; 42 is the whole array or heterogeneous job
    whole_hetjob: bool | None = None  # False: 42 is its first part alone; True: 42+1 is the whole job, too
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
    comment: str | None
    tags: Mapping[str, str]
    nodes: str  # names with commas between them
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
    host_method: str | None = None  # how its share of CPUs, memory and the rest was found; None: it has none

    def elapsed_s(self, now_s: float) -> int:
        """How long it ran, or has run by now: without the time in which it was suspended, as sacct counts."""
        if self.start is None:
            return 0
        return max(int(now_s if self.end is None else self.end) - self.start - self.suspended_s, 0)

    @property
    def nnodes(self) -> int:
        """How many nodes it was given."""
        return len(self.nodes.split(",")) if self.nodes else 0


def list_jobs(books: Books, chosen: JobFilter, accuracy: Accuracy | None = None) -> Iterator[JobUsage]:
    """The chosen jobs in sacct's order: by cluster and submission, arrays behind the others of the same second."""
    return (_job(row, accuracy or Accuracy()) for row in _job_rows(books, chosen))


def chosen_attempts(books: Books, chosen: JobFilter) -> list[int]:
    """The numbers that the books have of the chosen jobs' runs."""
    return [row["attempt_id"] for row in _job_rows(books, chosen)]


def list_jobs_of(several: Sequence[Books], chosen: JobFilter, accuracy: Accuracy | None = None) -> list[JobUsage]:
    """The chosen jobs from several books, each of which holds another time; what the last says of a job holds."""
    rows: dict[tuple[str, int, int], dict[str, Any]] = {}
    for books in several:
        for row in _job_rows(books, chosen):
            key = (row["cluster"], row["job_id"], row["submit_s"])
            rows[key] = _added(rows[key], row) if key in rows else dict(row)
    return [_job(row, accuracy or Accuracy()) for row in sorted(rows.values(), key=_order)]


def _added(before: dict[str, Any], row: Row) -> dict[str, Any]:
    """An attempt with what it used before, too."""
    added = dict(row)
    for name in _SUMS:
        known = [one[name] for one in (before, row) if one[name] is not None]
        added[name] = (max if name.endswith("_rank") else sum)(known) if known else None
    return added


def _job_rows(books: Books, chosen: JobFilter) -> Iterator[Row]:
    values: dict[str, Any] = {}
    chosen = _whole_hetjobs(books, chosen)
    rows = books.rows(_SELECT.format(where=_where(chosen, values), near=_near(chosen, values)), values)
    if chosen.nnodes is not None:
        least, most = chosen.nnodes
        rows = [row for row in rows if least <= len(_nodes(row)) <= most]
    newest: dict[tuple[str, int], int] = {}
    if not chosen.duplicates:
        for row in rows:
            key = (row["cluster"], row["job_id"])
            newest[key] = max(newest.get(key, 0), row["submit_s"])
    adjusted = _adjusted(books, rows)
    for row in sorted(rows, key=_order):
        if not chosen.duplicates and newest[row["cluster"], row["job_id"]] != row["submit_s"]:
            continue
        if chosen.nodes is not None and not _nodes(row) & set(chosen.nodes):
            continue
        if chosen.tags and not set(chosen.tags) <= parse_tags(row["comment"]).items():
            continue
        yield row if row["attempt_id"] not in adjusted else _with_adjustments(row, adjusted[row["attempt_id"]])


def _adjusted(books: Books, rows: Sequence[Row]) -> dict[int, Row]:
    """What was found out about these runs after their months were closed: a job's figures have it, as one is whole."""
    found: dict[int, Row] = {}
    if books.rows("SELECT 1 AS there FROM adjustments LIMIT 1"):
        ids = [str(row["attempt_id"]) for row in rows]
        for first in range(0, len(ids), _MOST_IDS):
            sql = _ADJUSTED.format(ids=", ".join(ids[first : first + _MOST_IDS]))
            found |= {row["attempt_id"]: row for row in books.rows(sql)}
    return found


def _with_adjustments(row: Row, adjusted: Row) -> dict[str, Any]:
    """A run's figures with the adjustments to them; what is not known stays so. Its times are as it was closed."""
    changed = {name: adjusted[name] for name in _ADJUSTABLE if adjusted[name]}
    return {**dict(row), **{name: (row[name] or 0.0) + change for name, change in changed.items()}}


def _nodes(row: Row) -> set[str]:
    return set(row["nodes"].split(",")) if row["nodes"] else set()


def _order(row: Mapping[str, Any]) -> tuple[str, int, int, float, int]:
    array, _, task = row["label"].partition("_")
    if not task:
        return row["cluster"], row["submit_s"], 0, 0.0, row["job_id"]
    # The tasks that wait are one row, `42_[4-9]`, behind those that began.
    return row["cluster"], row["submit_s"], int(array), float(task) if task.isdecimal() else inf, row["job_id"]


def _whole_hetjobs(books: Books, chosen: JobFilter) -> JobFilter:
    """With the number of the heterogeneous job for each of its parts that was named, where the whole is asked for."""
    if not chosen.whole_hetjob or chosen.jobs is None:
        return chosen
    values: dict[str, Any] = {}
    numbers = [int(job) for job in chosen.jobs if job.isdecimal() and int(job) < _TOO_LARGE]
    of_numbers = f"SELECT label FROM attempts WHERE {one_of('job_id', numbers, values)}"
    labels = [row["label"] for row in books.rows(of_numbers, values)] if numbers else []
    whole = {name.partition("+")[0] for name in (*labels, *chosen.jobs) if "+" in name}
    return replace(chosen, jobs=[*chosen.jobs, *sorted(whole)])


#: What a database's integer does not hold.
_TOO_LARGE = 2**63


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

#: The names of these parts: what of a job's row is a sum over its days, or the worst of them.
_SUMS = [part.rpartition(" AS ")[2] for part in _PARTS.split(", ")]

_ADJUSTABLE = ("gpu_energy_j", "host_energy_j", "facility_j", "location_g", "market_g", "embodied_g")
_ADJUSTED = """
SELECT d.attempt_id, SUM(CASE WHEN m.kind = 'gpu' THEN d.energy_j END) AS gpu_energy_j,
       SUM(CASE WHEN m.kind = 'host' THEN d.energy_j END) AS host_energy_j, SUM(d.facility_j) AS facility_j,
       SUM(d.location_g) AS location_g, SUM(d.market_g) AS market_g, SUM(d.embodied_g) AS embodied_g
FROM adjustments d JOIN meters m ON m.meter_id = d.meter_id
WHERE d.attempt_id IN ({ids}) GROUP BY d.attempt_id
"""
_MOST_IDS = 1000  # in one query

_SELECT = f"""
SELECT a.*, {_PARTS}
FROM ({{near}}) AS near
JOIN attempts a ON a.attempt_id = near.attempt_id
LEFT JOIN usage_days u ON u.attempt_id = a.attempt_id
WHERE {{where}}
GROUP BY a.attempt_id
"""


def _near(chosen: JobFilter, values: dict[str, Any]) -> str:
    """The attempts to look at: all that are chosen and little else, by queries that an index answers from both ends.

    Left to choose among the conditions of `_where`, databases go through all of a user's jobs, or everybody's.
    """
    if chosen.jobs is not None:
        conditions = list(_named(chosen, values))
    else:
        # By number a user is in no index.
        by_name = [("user_name", chosen.users)] if chosen.uids is None else []
        names = [
            one_of(column, wanted, values)
            for column, wanted in (*by_name, ("account", chosen.accounts))
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


def _named(chosen: JobFilter, values: dict[str, Any]) -> Iterator[str]:
    """The jobs as they were typed: whole labels, raw ids, and the numbers of arrays and heterogeneous jobs.

    Labels are ordered by their bytes, so those that begin with `42_` or `42+` lie between two bounds.
    """
    jobs = chosen.jobs or ()
    numbers = [job for job in jobs if job.isdecimal()]
    yield one_of("label", jobs, values)
    if ids := [int(job) for job in numbers if int(job) < _TOO_LARGE]:
        yield one_of("job_id", ids, values)
    for job in numbers:
        yield _between(f"{job}_", f"{job}`", values)
        if chosen.whole_hetjob is not False:
            yield _between(f"{job}+", f"{job},", values)


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
        ("a.cluster", chosen.clusters), ("a.account", chosen.accounts), ("a.partition_name", chosen.partitions),
        ("a.qos", chosen.qos), ("a.wckey", chosen.wckeys),
        ("LOWER(a.name)", None if chosen.names is None else [name.lower() for name in chosen.names]),
    ):  # fmt: skip
        if wanted is not None:
            parts.append(one_of(column, wanted, values))
    people = [
        one_of(column, wanted, values)
        for column, wanted in (("a.user_name", chosen.users), ("a.uid", chosen.uids))
        if wanted is not None
    ]
    if people:
        parts.append(f"({' OR '.join(people)})")
    if chosen.ncpus is not None:
        values |= {"least_cpus": chosen.ncpus[0], "most_cpus": chosen.ncpus[1]}
        parts.append("a.cpus BETWEEN :least_cpus AND :most_cpus")
    if chosen.states is not None:
        parts.append(f"({' OR '.join(_in_state(state, chosen, values) for state in chosen.states)})")
    if chosen.tags:  # which of them, the comments' readers say
        values["tagged"] = "%scarbon:%"
        parts.append("a.comment LIKE :tagged")
    return " AND ".join(parts)


def _in_state(state: str, chosen: JobFilter, values: dict[str, Any]) -> str:
    """Whether an attempt was in a state at some time of the window; of a state in which jobs end, whether it did there.

    These are the bounds of Slurm 22.05's accounting, except that a job is taken to wait from its submission on, and
    that of suspensions only the total is known.
    """
    begun = "a.start_s IS NOT NULL" if chosen.end_s is None else "a.start_s < :end_s"
    begins = "a.start_s IS NOT NULL" if chosen.start_s is None else "a.start_s > :start_s"
    ends = "a.end_s IS NOT NULL" if chosen.start_s is None else "a.end_s > :start_s"
    if state == "PENDING":
        return f"({begins} OR a.start_s IS NULL AND (a.end_s IS NULL OR {ends}))"
    if state == "RUNNING":
        return f"({begun} AND ({ends} OR a.end_s IS NULL AND a.state = 'RUNNING'))"
    if state == "SUSPENDED":
        was = "a.state = 'SUSPENDED' OR a.suspended_s > 0"
        return f"({begun} AND ({was}) AND (a.end_s IS NULL OR {ends}))"
    ended = one_of("a.state", [state], values)
    since = "a.end_s IS NOT NULL" if chosen.start_s is None else "a.end_s >= :start_s"
    until = "1 = 1" if chosen.end_s is None else "a.end_s <= :end_s"
    return f"({ended} AND {since} AND {until})"


def _job(row: Mapping[str, Any], accuracy: Accuracy) -> JobUsage:
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
        comment=row["comment"],
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
        host_method=None if row["host_rank"] is None else METHODS[row["host_rank"]],
    )


def _doubt(row: Mapping[str, Any]) -> EnergyDoubt:
    return EnergyDoubt(
        # A sensor is off the same way on all days; the GPUs' sensors and the node's have nothing to do with each other.
        sensor_j=hypot(row["gpu_sensor_j"] or 0.0, row["host_sensor_j"] or 0.0),
        edges_j2=row["edges_j2"] or 0.0,
        sharing_j=row["sharing_j"] or 0.0,
        modelled_j=row["modelled_j"] or 0.0,
    )


def _coverage(row: Mapping[str, Any]) -> float | None:
    """The share of a job's GPU time that was measured; without GPUs, of its time on nodes that have a meter."""
    if row["gpu_held_s"]:
        return _ratio(row["gpu_measured_s"], row["gpu_held_s"])
    metered = row["host_rank"] is not None and METHODS[row["host_rank"]] in ("counter", "power")
    return _ratio(row["host_measured_s"], row["host_held_s"]) if metered else None


def _ratio(part: float | None, whole: float | None, unit: float = 1.0) -> float | None:
    return None if part is None or not whole else part / whole * unit
