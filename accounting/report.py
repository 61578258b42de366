"""A period's sums by group, clipped to the calendar, with the idle line and the total.

Jobs here are the parts of jobs that lie in the period: a job that crosses a month's end counts on both sides, each with
what it used there. Groups and idle add up to the total.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date, timedelta
from typing import Any

from accounting.clock import months_between
from accounting.ledger.reading import Books, Row, one_of
from accounting.tags import split_tags
from accounting.uncertainty import Accuracy, EnergyDoubt, emission_parts


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a report is narrowed to; None: not at all. Names match exactly."""

    clusters: Sequence[str] | None = None
    accounts: Sequence[str] | None = None
    users: Sequence[str] | None = None

    @property
    def narrowed(self) -> bool:
        """Whether only some payers are in it: then the site's idle time is not."""
        return self.accounts is not None or self.users is not None

    def where(self, payer: str, values: dict[str, Any]) -> str:
        """The condition on a payer's columns, of the alias `payer`, to go on behind others; its values in `values`."""
        columns = (("cluster", self.clusters), ("account", self.accounts), ("user_name", self.users))
        return "".join(
            f" AND {one_of(f'{payer}.{column}', wanted, values)}" for column, wanted in columns if wanted is not None
        )


@dataclass(frozen=True, slots=True)
class Grouping:
    """What groups are made by: `name` gives the group's name in SQL, of a payer `p` or of what meters `j` they used.

    `key` makes the group of that name, where several names are one group.
    """

    name: str
    of_meters: bool = False
    key: Callable[[str | None], str | None] | None = None


GROUPINGS = {
    "account": Grouping("p.account"),
    "user": Grouping("p.user_name"),
    "partition": Grouping("p.partition_name"),
    "qos": Grouping("p.qos"),
    "wckey": Grouping("p.wckey"),
    "tag": Grouping("p.tags"),  # all labels of a job together; `tag:KEY` by one of them
    "cluster": Grouping("p.cluster"),
    "gpu-model": Grouping("CASE WHEN j.kind = 'gpu' THEN j.model ELSE '(host)' END", of_meters=True),
}


def grouping_of(by: str) -> Grouping:
    """One of `GROUPINGS`, or that by the value of a label, `tag:KEY`; ValueError where it is neither."""
    kind, _, label = by.partition(":")
    if by in GROUPINGS:
        return GROUPINGS[by]
    if kind != "tag" or not label:
        raise ValueError(f"no grouping {by!r}")
    return Grouping("p.tags", key=lambda tags: split_tags(tags).get(label))


@dataclass(frozen=True, slots=True)
class Sums:
    """What a group used in the period; None is unknown. Units as in `accounting.model`.

    `jobs_unknown` counts those of its jobs that held GPUs of which nothing was measured or modelled: their energy is
    in no sum. A figure of emissions is None where energy is known and its factor is not.
    """

    key: str | None
    jobs: int
    jobs_unknown: int
    gpu_seconds: float
    gpu_energy_j: float | None
    host_energy_j: float | None
    it_energy_j: float | None
    facility_energy_j: float | None
    co2e_location_g: float | None
    co2e_market_g: float | None
    co2e_embodied_g: float | None
    coverage: float | None
    co2e_low_g: float | None = None  # 95 % interval of the location-based emissions
    co2e_high_g: float | None = None
    modelled_j: float | None = None  # how much of the IT energy is modelled; None: unknown, as in the idle line


@dataclass(frozen=True, slots=True)
class Report:
    """The groups (`largest_first`), the site's idle line, and the total of both.

    A report on some payers only has no idle line, for idle time is the site's, and its total is the groups'.
    """

    groups: Sequence[Sums]
    idle: Sums | None
    total: Sums
    gpu_metered_j: float | None  # what the meters of the GPUs say, for the reconciliation
    host_metered_j: float | None  # … and those of the nodes, without their GPUs


def make_report(
    books: Books,
    first_day: str,
    last_day: str,
    by: str,
    chosen: Chosen | None = None,
    accuracy: Accuracy | None = None,
) -> Report:
    """The sums of the calendar days `first_day` to `last_day` (ISO, both included) by one of `GROUPINGS` or `tag:KEY`.

    In the interval of a sum the sensors of different GPUs are not taken to average out: those of one model may well be
    off the same way.
    """
    accuracy, chosen = accuracy or Accuracy(), chosen or Chosen()
    values: dict[str, Any] = {"first": first_day, "last": last_day}
    grouping = grouping_of(by)
    words = {
        "chosen": chosen.where("p", values),
        **period_of(date.fromisoformat(first_day), date.fromisoformat(last_day)),
    }
    rows = _groups(books, grouping, words, values)
    whole: dict[str, Any] = {column: _sum(row[column] for row in rows) for column in (rows[0] if rows else _NOTHING)}
    if grouping.of_meters:  # a job on meters of two groups is one job
        whole |= {
            column: _count(books, sql, None, words, values).get(None, 0)
            for column, sql in (("jobs", _JOBS), ("jobs_unknown", _UNKNOWN))
        }
    groups = [_with_interval(_sums(row["group_name"], row), _doubt(row), accuracy) for row in rows]
    groups.sort(key=largest_first(groups))
    jobs = _sums(None, whole)
    if chosen.narrowed:
        return Report(groups, None, _with_interval(jobs, _doubt(whole), accuracy), None, None)
    idle_values: dict[str, Any] = {"first": first_day, "last": last_day}
    of_clusters = Chosen(chosen.clusters).where("m", idle_values)
    idle_row = dict(books.rows(_IDLE.format(clusters=of_clusters), idle_values)[0])
    idle = _sums(None, idle_row)
    idle_doubt = _doubt({**idle_row, "sensor_j": (idle.it_energy_j or 0.0)})
    total = _with_interval(_together(jobs, idle), _added(_doubt(whole), idle_doubt), accuracy)
    idle = _with_interval(idle, idle_doubt, accuracy)
    return Report(groups, idle, total, idle_row["gpu_metered_j"], idle_row["host_metered_j"])


def largest_first(groups: Iterable[Sums]) -> Callable[[Sums], Any]:
    """The order of groups: the most emissions first; where they are unknown for some, the most energy."""
    by_energy = any(group.it_energy_j and group.co2e_location_g is None for group in groups)

    def order(group: Sums) -> Any:
        return 0.0 if by_energy else -(group.co2e_location_g or 0.0), -(group.it_energy_j or 0.0), group.key or ""

    return order


def period_of(first: date, last: date) -> dict[str, str]:
    """Where the sums of a period are found, and which days are its; whole months have sums of their own."""
    months = [month.isoformat()[:7] for month in months_between(first, last)]
    in_months = f"month IN ({', '.join(map(repr, months))})"
    whole = first.day == 1 and (last + timedelta(days=1)).day == 1
    in_days = f"{in_months} AND day >= :first AND day <= :last"
    return {"sums": f"payer_months WHERE {in_months}" if whole else f"payer_days WHERE {in_days}", "days": in_days}


def _groups(books: Books, grouping: Grouping, words: Mapping[str, str], values: dict[str, Any]) -> list[dict[str, Any]]:
    """The sums of each group that jobs were in."""
    jobs = _count(books, _JOBS, grouping, words, values)
    unknown = _count(books, _UNKNOWN, grouping, words, values)
    rows = [
        {**row, "jobs": jobs.get(row["group_name"], 0), "jobs_unknown": unknown.get(row["group_name"], 0)}
        for row in books.rows(_SUMS.format(name=grouping.name, **words), values)
    ]
    return rows if grouping.key is None else _merged(rows, grouping.key)


def _merged(rows: Iterable[dict[str, Any]], key: Callable[[str | None], str | None]) -> list[dict[str, Any]]:
    """The rows whose names have the same key as one row of that name."""
    by_key: dict[str | None, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_key[key(row["group_name"])].append(row)
    return [
        {**{column: _sum(row[column] for row in group) for column in group[0]}, "group_name": name}
        for name, group in by_key.items()
    ]


def _count(
    books: Books, sql: str, grouping: Grouping | None, words: Mapping[str, str], values: dict[str, Any]
) -> dict[str | None, int]:
    """How many jobs by group, a requeued one as one; None: of all groups together."""
    words = {
        **words,
        "name": grouping.name if grouping else "NULL",
        "kinds": "j.kind <> ''" if grouping and grouping.of_meters else "j.kind = ''",
        "same_group": " AND k.model = u.model" if grouping and grouping.of_meters else "",
        "by_model": ", u.model" if grouping and grouping.of_meters else "",
        "group_by": f"GROUP BY {grouping.name}" if grouping else "",
    }
    return {row["group_name"]: row["jobs"] or 0 for row in books.rows(sql.format(**words), values)}


def _sum(values: Iterable[Any]) -> Any:
    """The sum of what is known; None where nothing is."""
    known = [value for value in values if isinstance(value, int | float)]
    return sum(known) if known else None


def _incomplete(column: str) -> str:
    """How many of a group's days have energy and no figure in `column`: then the group's sum is unknown."""
    return f"COUNT(CASE WHEN energy_j <> 0 AND {column} IS NULL THEN 1 END) AS {column}_unknown"


_DOUBTS = ("modelled_j", "sensor_j", "edges_j2", "sharing_j")
_ADDED = ("held_s", "measured_s", "energy_j", "facility_j", "location_g", "market_g", "embodied_g", *_DOUBTS)
_APPLIED = ("facility_j", "location_g", "market_g")  # unknown where energy is known and its factor is not

# Payers' months are summed first, in the order in which they lie, and then by group.
_SUMS = f"""
SELECT {{name}} AS group_name,
       SUM(CASE WHEN j.kind = 'gpu' THEN j.held_s ELSE 0 END) AS held_s,
       SUM(CASE WHEN j.kind = 'gpu' THEN j.measured_s ELSE 0 END) AS measured_s,
       SUM(CASE WHEN j.kind = 'gpu' THEN j.energy_j END) AS gpu_energy_j,
       SUM(CASE WHEN j.kind = 'host' THEN j.energy_j END) AS host_energy_j,
       SUM(j.facility_j) AS facility_j, SUM(j.location_g) AS location_g, SUM(j.market_g) AS market_g,
       SUM(j.embodied_g) AS embodied_g, {", ".join(f"SUM(j.{one}) AS {one}" for one in _DOUBTS)},
       {", ".join(f"SUM(j.{one}_unknown) AS {one}_unknown" for one in _APPLIED)}
FROM (
  SELECT payer_id, kind, model, {", ".join(f"SUM({one}) AS {one}" for one in _ADDED)},
         {", ".join(_incomplete(one) for one in _APPLIED)}
  FROM {{sums}}
  GROUP BY month, payer_id, kind, model
) AS j JOIN payers p ON p.payer_id = j.payer_id
WHERE 1 = 1{{chosen}}
GROUP BY {{name}}
"""

#: What no group sums to.
_NOTHING = (
    "jobs", "jobs_unknown", "held_s", "measured_s", "gpu_energy_j", "host_energy_j", *_ADDED,
    *(f"{one}_unknown" for one in _APPLIED),
)  # fmt: skip

# Each job is counted on the first of its days in the period.
_JOBS = """
SELECT {name} AS group_name, SUM(j.jobs) AS jobs
FROM (
  SELECT payer_id, kind, model, SUM(jobs) AS jobs
  FROM payer_jobs j WHERE {days} AND previous_day < :first AND {kinds}
  GROUP BY month, kind, model, payer_id
) AS j JOIN payers p ON p.payer_id = j.payer_id
WHERE 1 = 1{chosen}
{group_by}
"""

# Jobs a run of which held GPUs and has no GPU energy on any day of the period. Days without energy have the method
# none, and are few; they are found by it.
_UNKNOWN = """
SELECT {name} AS group_name, SUM(j.jobs) AS jobs
FROM (
  SELECT u.payer_id, u.kind{by_model}, COUNT(DISTINCT a.job_id) AS jobs
  FROM usage_days u JOIN attempts a ON a.attempt_id = u.attempt_id
  WHERE u.method = 'none' AND u.day >= :first AND u.day <= :last AND u.kind = 'gpu' AND u.held_s > 0
    AND NOT EXISTS (
      SELECT 1 FROM usage_days k
      WHERE k.attempt_id = u.attempt_id AND k.day >= :first AND k.day <= :last AND k.kind = 'gpu'
        AND k.energy_j IS NOT NULL{same_group})
  GROUP BY u.payer_id, u.kind{by_model}
) AS j JOIN payers p ON p.payer_id = j.payer_id
WHERE 1 = 1{chosen}
{group_by}
"""

_IDLE = """
SELECT 0 AS jobs, 0 AS jobs_unknown, SUM(CASE WHEN m.kind = 'gpu' THEN i.idle_s ELSE 0 END) AS held_s,
       SUM(CASE WHEN m.kind = 'gpu' THEN i.idle_measured_s ELSE 0 END) AS measured_s,
       SUM(CASE WHEN m.kind = 'gpu' THEN i.idle_j END) AS gpu_energy_j,
       SUM(CASE WHEN m.kind = 'host' THEN i.idle_j END) AS host_energy_j,
       SUM(CASE WHEN m.kind = 'gpu' THEN i.metered_j END) AS gpu_metered_j,
       SUM(CASE WHEN m.kind = 'host' THEN i.metered_j END) AS host_metered_j,
       SUM(i.idle_facility_j) AS facility_j, SUM(i.idle_location_g) AS location_g, SUM(i.idle_market_g) AS market_g,
       SUM(i.idle_embodied_g) AS embodied_g,
       SUM(CASE WHEN i.idle_j <> 0 AND i.idle_facility_j IS NULL THEN 1 ELSE 0 END) AS facility_j_unknown,
       SUM(CASE WHEN i.idle_j <> 0 AND i.idle_location_g IS NULL THEN 1 ELSE 0 END) AS location_g_unknown,
       SUM(CASE WHEN i.idle_j <> 0 AND i.idle_market_g IS NULL THEN 1 ELSE 0 END) AS market_g_unknown
FROM idle_days i JOIN meters m ON m.meter_id = i.meter_id
WHERE i.day >= :first AND i.day <= :last{clusters}
"""


def _sums(key: str | None, row: Row) -> Sums:
    held_s = row["held_s"] or 0.0
    gpu_j, host_j = row["gpu_energy_j"], row["host_energy_j"]
    nothing = gpu_j is None and host_j is None
    return Sums(
        key=key,
        jobs=row["jobs"] or 0,
        jobs_unknown=row["jobs_unknown"] or 0,
        gpu_seconds=held_s,
        gpu_energy_j=gpu_j,
        host_energy_j=host_j,
        it_energy_j=None if nothing else (gpu_j or 0.0) + (host_j or 0.0),
        facility_energy_j=None if row["facility_j_unknown"] else row["facility_j"],
        co2e_location_g=None if row["location_g_unknown"] else row["location_g"],
        co2e_market_g=None if row["market_g_unknown"] else row["market_g"],
        co2e_embodied_g=row["embodied_g"],
        coverage=(row["measured_s"] or 0.0) / held_s if held_s else None,
        modelled_j=(row["modelled_j"] or 0.0) if "modelled_j" in row and not nothing else None,
    )


def _doubt(row: Row) -> EnergyDoubt:
    """How uncertain a row's energy is; what it does not have, it does not owe."""
    found = {one: row.get(one) or 0.0 for one in _DOUBTS}
    return EnergyDoubt(found["sensor_j"], found["edges_j2"], found["sharing_j"], found["modelled_j"])


def _added(one: EnergyDoubt, other: EnergyDoubt) -> EnergyDoubt:
    return EnergyDoubt(
        one.sensor_j + other.sensor_j,
        one.edges_j2 + other.edges_j2,
        one.sharing_j + other.sharing_j,
        one.modelled_j + other.modelled_j,
    )


def _with_interval(sums: Sums, doubt: EnergyDoubt, accuracy: Accuracy) -> Sums:
    if sums.it_energy_j is None or sums.co2e_location_g is None:
        return sums
    low_g, high_g = emission_parts(sums.it_energy_j, doubt, accuracy).interval(sums.co2e_location_g)
    return replace(sums, co2e_low_g=low_g, co2e_high_g=high_g)


def _together(jobs: Sums, idle: Sums) -> Sums:
    """Jobs and idle as one: a sum of which one side has no energy at all is the other side."""
    summed: dict[str, Any] = {}
    for field in fields(Sums):
        if field.name in ("key", "coverage", "co2e_low_g", "co2e_high_g", "modelled_j"):
            continue
        one, other = getattr(jobs, field.name), getattr(idle, field.name)
        missing = [sums for sums, value in ((jobs, one), (idle, other)) if value is None and sums.it_energy_j]
        if field.name.startswith(("co2e", "facility")) and missing and field.name != "co2e_embodied_g":
            summed[field.name] = None
        else:
            summed[field.name] = None if one is None and other is None else (one or 0) + (other or 0)
    seconds = jobs.gpu_seconds + idle.gpu_seconds
    measured_s = sum((sums.coverage or 0.0) * sums.gpu_seconds for sums in (jobs, idle))
    coverage = measured_s / seconds if seconds else None
    return Sums(key=None, coverage=coverage, modelled_j=jobs.modelled_j, **summed)
