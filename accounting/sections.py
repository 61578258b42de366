"""What a report says beside its sums: the course of the period, the largest jobs, runs without a result, gaps.

Each section is a value of its own; `accounting.document` puts them together. Sums of days and months come from the
payers' roll-ups. What is told of single jobs (`Runs`) comes from the jobs' days, of which a large site has millions a
month: those queries go through them in the order in which they lie, and keep nothing but sums.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Literal

from accounting.advice import HARDLY, LEAST_S, LOST_STATES
from accounting.clock import gaps, months_on
from accounting.hardware import assumed_idle_w
from accounting.ledger.methods import METHODS
from accounting.ledger.reading import Books, Row, one_of
from accounting.ledger.spans import LIMITS_S, LONG
from accounting.report import Chosen, period_of
from accounting.statement import MethodShare

Step = Literal["day", "month"]


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
    coverage: float | None  # share of its GPU time that was measured; None: it held none


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
    """GPUs on days on which the jobs that held them drew little more with them than an idle one draws."""

    runs: int
    gpu_seconds: float
    energy_j: float  # of these GPUs on these days
    level_assumed: bool  # an idle level is the hardware table's: no GPU of that model was seen idle for a day


@dataclass(frozen=True, slots=True)
class Waste:
    """Runs that did not complete, and GPUs hardly used, as far as the books can tell; a run may be in both."""

    lost: tuple[Lost, ...]  # the most energy first
    hardly_used: HardlyUsed | None  # None: nothing is known of how GPUs were used


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


def points(books: Books, first: date, last: date, chosen: Chosen, step: Step) -> tuple[Point, ...]:
    """The period's days or months in order, of which the books have anything; what is idle only where all payers are.

    A job's or an idle GPU's energy without a factor makes the point's emissions unknown.
    """
    values: dict[str, Any] = {"first": first.isoformat(), "last": last.isoformat()}
    words = {"chosen": chosen.where("p", values), **period_of(first, last)}
    if step == "day":
        words |= {"sums": f"payer_days WHERE {words['days']}", "at": "day"}
    else:
        words["at"] = "month"
    jobs = {row["at"]: row for row in books.rows(_POINTS.format(**words), values)}
    idle: dict[str, Row] = {}
    if not chosen.narrowed:
        values = {"first": first.isoformat(), "last": last.isoformat()}
        at = "i.day" if step == "day" else "SUBSTR(i.day, 1, 7)"
        rows = books.rows(_IDLE_POINTS.format(at=at, chosen=Chosen(chosen.clusters).where("m", values)), values)
        idle = {row["at"]: row for row in rows}
    return tuple(_point(at, first, last, jobs.get(at), idle.get(at)) for at in sorted(jobs.keys() | idle.keys()))


def _point(at: str, first: date, last: date, jobs: Row | None, idle: Row | None) -> Point:
    begin = date.fromisoformat(f"{at}-01"[:10])
    end = begin if len(at) == 10 else months_on(begin, 1) - timedelta(days=1)
    return Point(max(begin, first), min(end, last), *_energy_and_co2e(jobs), *_energy_and_co2e(idle))


def _energy_and_co2e(row: Row | None) -> tuple[float | None, float | None]:
    return (None, None) if row is None else (row["energy_j"], None if row["unknown"] else row["location_g"])


_POINTS = """
SELECT s.{at} AS at, SUM(s.energy_j) AS energy_j, SUM(s.location_g) AS location_g,
       COUNT(CASE WHEN s.energy_j <> 0 AND s.location_g IS NULL THEN 1 END) AS unknown
FROM (SELECT * FROM {sums}) AS s JOIN payers p ON p.payer_id = s.payer_id
WHERE 1 = 1{chosen}
GROUP BY s.{at}
"""

_IDLE_POINTS = """
SELECT {at} AS at, SUM(i.idle_j) AS energy_j, SUM(i.idle_location_g) AS location_g,
       COUNT(CASE WHEN i.idle_j <> 0 AND i.idle_location_g IS NULL THEN 1 END) AS unknown
FROM idle_days i JOIN meters m ON m.meter_id = i.meter_id
WHERE i.day >= :first AND i.day <= :last{chosen}
GROUP BY {at}
"""


def not_accounted(books: Books, clusters: Sequence[str], start_s: float, end_s: float) -> tuple[Stretch, ...]:
    """The stretches of [start_s, end_s) that the books do not hold, by cluster and in order."""
    return tuple(Stretch(cluster, *gap) for cluster in clusters for gap in gaps(books.booked(cluster), start_s, end_s))


def quarantined(books: Books, clusters: Sequence[str], start_s: float, end_s: float) -> int:
    """How many rows could not be understood in the runs that accounted any of [start_s, end_s)."""
    values: dict[str, Any] = {"start_s": start_s, "end_s": end_s}
    of_clusters = one_of("q.cluster", clusters, values)
    return int(books.rows(_QUARANTINED.format(of_clusters=of_clusters), values)[0]["rejects"])


#: A GPU that was heard so long before a period may be missed in it; one that fell silent earlier is the site's past.
_HEARD_BEFORE = timedelta(days=31)


def silent_gpus(books: Books, clusters: Sequence[str], first: date, last: date) -> int:
    """How many GPUs were measured in [first, last] or shortly before, and no more on the last day of it in the books.

    A device that sends nothing for a week counts as gone, and its idle time is in no figure from then on.
    """
    values: dict[str, Any] = {"since": (first - _HEARD_BEFORE).isoformat(), "last": last.isoformat()}
    rows = books.rows(_HEARD.format(of_clusters=one_of("m.cluster", clusters, values)), values)
    ends: dict[str, str] = {}
    for row in rows:
        ends[row["cluster"]] = max(row["last_day"], ends.get(row["cluster"], ""))
    return sum(first.isoformat() <= ends[row["cluster"]] > row["last_day"] for row in rows)


_HEARD = """
SELECT m.cluster, i.last_day
FROM (
  SELECT meter_id, MAX(day) AS last_day FROM idle_days
  WHERE day >= :since AND day <= :last AND measured_s > 0
  GROUP BY meter_id
) AS i JOIN meters m ON m.meter_id = i.meter_id
WHERE m.kind = 'gpu' AND {of_clusters}
"""

_QUARANTINED = """
SELECT COUNT(*) AS rejects FROM quarantine q JOIN runs r ON r.run_id = q.run_id
WHERE r.start_s < :end_s AND r.end_s > :start_s AND {of_clusters}
"""


class Runs:
    """The days of single runs in a period: what is told of jobs one by one."""

    def __init__(self, books: Books, first: date, last: date, start_s: float, end_s: float, chosen: Chosen) -> None:
        """The calendar days `first` to `last`, which are [start_s, end_s) in UTC epoch s."""
        self._books = books
        self._chosen = chosen
        self._values: dict[str, Any] = {"first": first.isoformat(), "last": last.isoformat()}
        where = chosen.where("a", self._values)
        self._of_runs = "attempts a JOIN usage_days u ON u.attempt_id = a.attempt_id"
        self._where = f"u.day >= :first AND u.day <= :last{where}"
        if chosen.narrowed:  # an index finds their jobs
            self._near = self._in_spans(start_s, end_s)
            self._days = self._of_runs
            self._where += f" AND {self._near}"
        else:
            self._near = self._between(first, last)
            self._where += f" AND {self._near}"
            self._days = "usage_days u" if chosen.clusters is None else self._of_runs

    def _in_spans(self, start_s: float, end_s: float) -> str:
        """The bounds of the submit time of what ran in the period, for each class of `accounting.ledger.spans`."""
        self._values["end_s"] = end_s
        spans = [f"a.span = {LONG}"]
        for span, limit_s in enumerate(LIMITS_S):
            self._values[f"span{span}"] = start_s - limit_s
            spans.append(f"(a.span = {span} AND a.submit_s > :span{span})")
        return f"a.submit_s < :end_s AND ({' OR '.join(spans)})"

    def _between(self, first: date, last: date) -> str:
        """The bounds of the numbers of the runs that have a day in the period, so that only these are gone through.

        Runs are numbered as they came. The ends of each day are found by the index of days, without reading it.
        """
        days = [(first + timedelta(days=number)).isoformat() for number in range((last - first).days + 1)]
        ends = [
            f"SELECT MIN(attempt_id) AS low, MAX(attempt_id) AS high FROM usage_days WHERE method = '{method}' "
            f"AND day = '{day}'"
            for day in days
            for method in (*METHODS, "none")
        ]
        lows, highs = [], []
        for start in range(0, len(ends), 400):  # SQLite takes at most 500 in a union
            for row in self._books.rows(" UNION ALL ".join(ends[start : start + 400])):
                if row["low"] is not None:
                    lows.append(row["low"])
                    highs.append(row["high"])
        self._values |= {"low": min(lows, default=0), "high": max(highs, default=0)}
        return "u.attempt_id >= :low AND u.attempt_id <= :high"

    def top(self, count: int) -> tuple[TopJob, ...]:
        """The jobs that used the most energy in the period.

        They are found by their largest run, and then summed over all of their runs.
        """
        largest = self._books.rows(
            f"SELECT u.attempt_id FROM {self._days} WHERE {self._where} GROUP BY u.attempt_id "
            "HAVING SUM(u.energy_j) > 0 "
            "ORDER BY SUM(u.energy_j) DESC, u.attempt_id "
            f"LIMIT {2 * count}",
            self._values,
        )
        if not largest:
            return ()
        values = self._period()
        found = one_of("b.attempt_id", [row["attempt_id"] for row in largest], values)
        rows = self._books.rows(_ALL_RUNS.format(found=found, chosen=self._chosen.where("a", values)), values)
        by_job: dict[tuple[str, int], list[Row]] = defaultdict(list)
        for row in rows:
            by_job[row["cluster"], row["job_id"]].append(row)
        jobs = [_top_job(runs) for runs in by_job.values()]
        jobs.sort(key=lambda job: (-job.it_energy_j, job.cluster, job.job_id_raw))
        return tuple(jobs[:count])

    def methods(self) -> tuple[MethodShare, ...]:
        """How the energy of GPUs and hosts was found, by the least exact method of each run's day."""
        cases = ", ".join(
            f"SUM(CASE WHEN u.method = '{method}' AND u.kind = '{kind}' THEN u.energy_j END) AS {kind}_{method}"
            for kind in ("gpu", "host")
            for method in METHODS
        )
        row = self._books.rows(f"SELECT {cases} FROM {self._days} WHERE {self._where}", self._values)[0]
        found = []
        for kind in ("gpu", "host"):
            energy_j = {method: row[f"{kind}_{method}"] or 0.0 for method in METHODS}
            total_j = sum(energy_j.values())
            found += [MethodShare(kind, method, part / total_j) for method, part in energy_j.items() if part]
        return tuple(sorted(found, key=lambda one: (one.kind, -one.share)))

    def waste(self) -> Waste:
        """What runs used that ended in one of `accounting.advice.LOST_STATES`, and what GPUs drew hardly used."""
        values = dict(self._values)
        states = one_of("a.state", LOST_STATES, values)
        lost = [
            Lost(
                row["state"],
                row["runs"],
                row["held_s"],
                row["energy_j"],
                None if row["unknown"] else row["location_g"],
            )
            for row in self._books.rows(
                _LOST.format(of_runs=self._of_runs, where=f"{self._where} AND {states}"), values
            )
        ]
        lost.sort(key=lambda one: (-one.it_energy_j, one.state))
        return Waste(tuple(lost), self._hardly_used())

    def _hardly_used(self) -> HardlyUsed | None:
        seen_w = {row["model"]: row["idle_w"] for row in self._books.rows(_IDLE_LEVELS, self._period())}
        models = [row["model"] for row in self._books.rows("SELECT DISTINCT model FROM meters WHERE kind = 'gpu'")]
        levels_w = {model: seen_w.get(model) or assumed_idle_w(model) for model in models}
        known_w = {model: level_w for model, level_w in levels_w.items() if level_w is not None}
        if not known_w:
            return None
        values = dict(self._values)
        rows = self._books.rows(self._hardly(known_w, values), values)
        found = {row["model"]: row for row in rows}
        return HardlyUsed(
            runs=sum(row["runs"] for row in rows),
            gpu_seconds=sum(row["held_s"] for row in rows),
            energy_j=sum(row["energy_j"] for row in rows),
            level_assumed=any(not seen_w.get(model) for model in found),
        )

    def _hardly(self, levels_w: Mapping[str, float], values: dict[str, Any]) -> str:
        """The query for GPUs that were hardly used, by model."""
        cases = []
        for number, (model, level_w) in enumerate(levels_w.items()):
            values |= {f"model{number}": model, f"level{number}": HARDLY * level_w}
            cases.append(f"WHEN :model{number} THEN :level{number}")
        values["least_s"] = LEAST_S
        return _HARDLY.format(days=self._days, where=self._where, level=f"CASE u.model {' '.join(cases)} END")

    def _period(self) -> dict[str, Any]:
        return {"first": self._values["first"], "last": self._values["last"]}


_ALL_RUNS = """
SELECT a.cluster, a.job_id, a.submit_s, a.label, a.user_name, a.account, a.partition_name, a.name, a.state, a.gpus,
       SUM(CASE WHEN u.kind = 'gpu' THEN u.held_s ELSE 0.0 END) AS held_s,
       SUM(CASE WHEN u.kind = 'gpu' THEN u.measured_s ELSE 0 END) AS measured_s,
       SUM(u.energy_j) AS energy_j, SUM(u.location_g) AS location_g,
       COUNT(CASE WHEN u.energy_j <> 0 AND u.location_g IS NULL THEN 1 END) AS unknown
FROM attempts a JOIN usage_days u ON u.attempt_id = a.attempt_id
WHERE u.day >= :first AND u.day <= :last AND a.attempt_id IN (
  SELECT c.attempt_id FROM attempts b JOIN attempts c ON c.job_id = b.job_id AND c.cluster = b.cluster WHERE {found}
){chosen}
GROUP BY a.attempt_id, a.cluster, a.job_id, a.submit_s, a.label, a.user_name, a.account, a.partition_name, a.name,
         a.state, a.gpus
ORDER BY a.submit_s
"""

_LOST = """
SELECT a.state, COUNT(DISTINCT a.attempt_id) AS runs,
       SUM(CASE WHEN u.kind = 'gpu' THEN u.held_s ELSE 0.0 END) AS held_s,
       SUM(u.energy_j) AS energy_j, SUM(u.location_g) AS location_g,
       COUNT(CASE WHEN u.energy_j <> 0 AND u.location_g IS NULL THEN 1 END) AS unknown
FROM {of_runs}
WHERE {where}
GROUP BY a.state
HAVING SUM(u.energy_j) > 0
"""

_HARDLY = """
SELECT u.model, COUNT(DISTINCT u.attempt_id) AS runs, SUM(u.held_s) AS held_s, SUM(u.energy_j) AS energy_j
FROM {days}
WHERE {where} AND u.kind = 'gpu' AND u.method IN ('counter', 'power') AND u.known_s >= :least_s
  AND u.energy_j < u.known_s * {level}
GROUP BY u.model
"""

# Of the days on which a GPU was idle from end to end.
_IDLE_LEVELS = """
SELECT m.model, SUM(i.idle_j) / SUM(i.idle_s) AS idle_w
FROM idle_days i JOIN meters m ON m.meter_id = i.meter_id
WHERE i.day >= :first AND i.day <= :last AND m.kind = 'gpu' AND i.idle_j > 0
  AND i.idle_s > i.known_s - 1 AND i.idle_s < i.known_s + 1 AND i.idle_measured_s > i.idle_s - 1
GROUP BY m.model
"""


def _top_job(runs: Sequence[Row]) -> TopJob:
    """A job of its runs in the period, the last of which says who it is."""
    last = runs[-1]
    held_s = sum(run["held_s"] for run in runs)
    unknown = any(run["unknown"] for run in runs)
    return TopJob(
        cluster=last["cluster"],
        job_id=last["label"],
        job_id_raw=last["job_id"],
        user=last["user_name"],
        account=last["account"],
        partition=last["partition_name"],
        name=last["name"],
        state=last["state"],
        gpus=last["gpus"],
        gpu_seconds=held_s,
        it_energy_j=sum(run["energy_j"] or 0.0 for run in runs),
        co2e_location_g=None if unknown else sum(run["location_g"] or 0.0 for run in runs),
        coverage=sum(run["measured_s"] for run in runs) / held_s if held_s else None,
    )
