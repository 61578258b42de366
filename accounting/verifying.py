"""Some jobs at random, accounted once more from the sources and held against the books.

The hours of the books in which these jobs used something are accounted as `scarbon collect` would account them, and
nothing is posted. What a source no longer has cannot be compared: it is named, and is no difference. Samples leave
Prometheus after its retention, jobs leave slurmdbd when they are purged.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

from accounting.booking import Rules, Sources, account
from accounting.clock import day_of, slot_edges, split_by_day
from accounting.ledger.postings import MeterKey, Posted, UsageRow, Window
from accounting.ledger.reading import Books, Row, one_of
from accounting.model import AttemptKey

#: Two figures that differ by less are the same figure.
SAME_RELATIVE = 1e-9

COLUMNS = ("held_s", "known_s", "measured_s", "energy_j", "facility_j", "location_g", "market_g", "embodied_g")
#: Of these, what an adjustment to a closed month changes.
_ADJUSTED = ("held_s", "energy_j", "facility_j", "location_g", "market_g", "embodied_g")

_MOST = 500  # numbers in a list of one query

_Place = tuple[MeterKey, int]  # a meter and a slot


@dataclass(frozen=True, slots=True)
class Difference:
    """A figure of a job that the sources no longer give."""

    cluster: str
    job_id: str  # as sacct shows it
    submit: int
    meter: str
    slot_s: int
    column: str
    booked: float | None
    recomputed: float | None


@dataclass(frozen=True, slots=True)
class Verified:
    """What came of it. Jobs as (cluster, id as sacct shows it)."""

    jobs: int
    same: int  # of the jobs: all that could be compared was the same, and something could
    differences: Sequence[Difference]
    samples_gone: Sequence[tuple[str, str]]  # jobs of whose samples some or all are gone
    jobs_gone: Sequence[tuple[str, str]]  # jobs that Slurm no longer knows


@dataclass(slots=True)
class _Attempt:
    key: AttemptKey
    label: str
    slots: set[int] = field(default_factory=set)


class _Onlooker:
    """Stands in for the ledger: says what the books hold, and keeps what would be posted."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self.window: Window | None = None

    def booked(self, cluster: str) -> list[tuple[float, float]]:
        return self._books.booked(cluster)

    def silent_since(self, cluster: str) -> dict[MeterKey, float | None]:
        chosen = "SELECT kind, uuid, silent_since_s FROM meters WHERE cluster = :cluster AND uuid <> ''"
        rows = self._books.rows(chosen, {"cluster": cluster})
        return {MeterKey(row["kind"], row["uuid"]): row["silent_since_s"] for row in rows}

    def post(self, window: Window, run: Mapping[str, Any], found: Mapping[str, Any] | None = None) -> Posted:
        self.window = window
        return Posted(0, 0, 0, 0)


def verify(
    books: Books,
    declared: Callable[[str], tuple[Sources, Rules]],
    zone: ZoneInfo,
    count: int,
    seed: int,
    start_s: float | None = None,
    end_s: float | None = None,
) -> Verified:
    """Recompute `count` jobs that used something in [start_s, end_s); the same seed on the same books, the same jobs.

    `declared` gives the sources and rules of a cluster. SourceError where a source cannot be read.
    """
    purged_s = books.purged_before_s
    values = {
        "start_s": max(-1e18 if start_s is None else start_s, -1e18 if purged_s is None else purged_s),
        "end_s": 1e18 if end_s is None else end_s,
    }
    chosen = _sample(books, count, seed, zone, values)
    attempts = {attempt_id: attempt for ids in _parts(chosen) for attempt_id, attempt in _attempts(books, ids, values)}
    by_cluster: dict[str, list[int]] = defaultdict(list)
    for attempt_id, attempt in attempts.items():
        by_cluster[attempt.key.cluster].append(attempt_id)
    differences: list[Difference] = []
    samples_gone: list[tuple[str, str]] = []
    jobs_gone: list[tuple[str, str]] = []
    same = 0
    for cluster, ids in by_cluster.items():
        again = _Again(books, cluster, *declared(cluster), zone, {slot for one in ids for slot in attempts[one].slots})
        booked = _booked(books, ids, values)
        for attempt_id in ids:
            attempt = attempts[attempt_id]
            name = (cluster, attempt.label)
            if attempt.key not in again.jobs:
                jobs_gone.append(name)
                continue
            kept = booked[attempt_id]
            lost = {slot_s for meter, slot_s in kept if (meter, slot_s) in again.gone}
            if lost:
                samples_gone.append(name)
            found = list(_differences(attempt, kept, again.usage[attempt.key], lost))
            differences += found
            same += not found and bool(attempt.slots - lost)
    return Verified(len(attempts), same, differences, samples_gone, jobs_gone)


def _sample(books: Books, count: int, seed: int, zone: ZoneInfo, values: Mapping[str, float]) -> list[int]:
    """The numbers of attempts, drawn from the window's days in one pass (reservoir sampling, Vitter's algorithm R)."""
    chance = random.Random(seed)
    first, last = values["start_s"], values["end_s"]
    days = {
        "first": "" if first < 0 else day_of(zone, first).isoformat(),
        "last": "9999" if last >= 1e18 else day_of(zone, last - 1e-3).isoformat(),
    }
    drawn: list[int] = []
    for seen, (attempt_id,) in enumerate(books.stream(_IN_WINDOW, days)):
        if seen < count:
            drawn.append(attempt_id)
        elif (place := chance.randrange(seen + 1)) < count:
            drawn[place] = attempt_id
    return sorted(drawn)


def _parts(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    for first in range(0, len(ids), _MOST):
        yield ids[first : first + _MOST]


def _attempts(books: Books, ids: Sequence[int], values: Mapping[str, float]) -> Iterator[tuple[int, _Attempt]]:
    known: dict[int, _Attempt] = {}
    for row in _of(books, _SLOTS, ids, values):
        key = AttemptKey(row["cluster"], row["job_id"], row["submit_s"])
        known.setdefault(row["attempt_id"], _Attempt(key, row["label"])).slots.add(row["slot_s"])
    yield from known.items()


def _of(books: Books, sql: str, ids: Iterable[int], values: Mapping[str, float]) -> list[Row]:
    names: dict[str, Any] = {}
    chosen = one_of("u.attempt_id", list(ids), names)
    return books.rows(sql.format(chosen=chosen), {**names, **values})


class _Again:
    """What the sources say now of some slots of a cluster."""

    def __init__(
        self, books: Books, cluster: str, sources: Sources, rules: Rules, zone: ZoneInfo, slots: Collection[int]
    ) -> None:
        self.jobs: set[AttemptKey] = set()
        self.usage: dict[AttemptKey, dict[_Place, UsageRow]] = defaultdict(dict)
        self.gone: set[_Place] = set()
        onlooker = _Onlooker(books)
        for start_s, end_s in _windows(zone, slots, books.booked(cluster)):
            account(cluster, sources, rules, onlooker, start_s, end_s, version="", config_digest="")
            assert onlooker.window is not None
            self._take(books, onlooker.window)

    def _take(self, books: Books, window: Window) -> None:
        self.jobs |= {job.key for job in window.jobs}
        for row in window.usage:
            self.usage[row.attempt][row.meter, row.slot_s] = row
        measured_s = {(row.meter, row.slot_s): row.measured_s for row in window.balance}
        slots = {"cluster": window.cluster, "first_s": window.slots_s[0], "last_s": window.slots_s[-1]}
        for kept in books.rows(_MEASURED, slots):
            place = MeterKey(kept["kind"], kept["uuid"]), kept["slot_s"]
            if measured_s.get(place, 0.0) < kept["measured_s"] * (1 - SAME_RELATIVE) - 1e-6:
                self.gone.add(place)


def _windows(
    zone: ZoneInfo, slots: Iterable[int], booked: Sequence[tuple[float, float]]
) -> Iterator[tuple[float, float]]:
    """The slots' time as far as the books hold it, in windows that lie within a day and are as long as may be."""
    joined: list[tuple[float, float]] = []
    for slot_s in sorted(slots):
        end_s = slot_edges(zone, slot_s, slot_s + 1)[-1]
        for a, b in booked:
            start, beyond = max(slot_s, a), min(end_s, b)
            if start < beyond and joined and joined[-1][1] == start:
                joined[-1] = (joined[-1][0], beyond)
            elif start < beyond:
                joined.append((start, beyond))
    for stretch in joined:
        yield from split_by_day(zone, *stretch)


def _booked(books: Books, ids: Sequence[int], values: Mapping[str, float]) -> dict[int, dict[_Place, dict[str, Any]]]:
    """What the books say: the postings in force, and the adjustments to those of closed months."""
    found: dict[int, dict[_Place, dict[str, Any]]] = defaultdict(dict)
    for part in _parts(ids):
        for row in _of(books, _BOOKED, part, values):
            place = MeterKey(row["kind"], row["uuid"]), row["slot_s"]
            found[row["attempt_id"]][place] = {column: row[column] for column in COLUMNS}
        for row in _of(books, _ADJUSTMENTS, part, values):
            place = MeterKey(row["kind"], row["uuid"]), row["slot_s"]
            kept = found[row["attempt_id"]].setdefault(place, dict.fromkeys(COLUMNS, 0.0))
            for column in _ADJUSTED:  # beside an adjustment, what was unknown is nothing
                kept[column] = (kept[column] or 0.0) + row[column]
            kept["adjusted"] = True
    return found


def _differences(
    attempt: _Attempt, kept: Mapping[_Place, Mapping[str, Any]], now: Mapping[_Place, UsageRow], lost: Collection[int]
) -> Iterator[Difference]:
    """Figure by figure, where the samples are still there."""
    places = {*kept, *(place for place in now if place[1] in attempt.slots)}
    for meter, slot_s in sorted(places, key=lambda place: (place[1], place[0])):
        if slot_s in lost:
            continue
        was, row = kept.get((meter, slot_s)), now.get((meter, slot_s))
        adjusted = was is not None and "adjusted" in was
        for column in _ADJUSTED if adjusted else COLUMNS:
            booked = None if was is None else was[column]
            recomputed = None if row is None else getattr(row, column)
            if adjusted:
                recomputed = recomputed or 0.0
            if not _same(booked, recomputed):
                name = meter.uuid or ("host" if meter.kind == "host" else "GPUs that no source names")
                yield Difference(
                    attempt.key.cluster, attempt.label, attempt.key.submit_s, name, slot_s, column, booked, recomputed
                )


def _same(booked: float | None, recomputed: float | None) -> bool:
    if booked is None or recomputed is None:
        return booked is recomputed
    return math.isclose(booked, recomputed, rel_tol=SAME_RELATIVE, abs_tol=1e-9)


_IN_WINDOW = "SELECT DISTINCT attempt_id FROM usage_days WHERE day >= :first AND day <= :last ORDER BY attempt_id"

_SLOTS = """
SELECT DISTINCT a.attempt_id, a.cluster, a.job_id, a.submit_s, a.label, u.slot_s
FROM usage_slots u JOIN attempts a ON a.attempt_id = u.attempt_id
WHERE u.superseded_by IS NULL AND u.slot_s >= :start_s AND u.slot_s < :end_s AND {chosen}
ORDER BY a.attempt_id, u.slot_s
"""

_BOOKED = f"""
SELECT u.attempt_id, m.kind, m.uuid, u.slot_s, {", ".join(f"u.{column}" for column in COLUMNS)}
FROM usage_slots u JOIN meters m ON m.meter_id = u.meter_id
WHERE u.superseded_by IS NULL AND u.slot_s >= :start_s AND u.slot_s < :end_s AND {{chosen}}
"""

_ADJUSTMENTS = f"""
SELECT u.attempt_id, m.kind, m.uuid, u.slot_s, {", ".join(f"SUM(u.{column}) AS {column}" for column in _ADJUSTED)}
FROM adjustments u JOIN meters m ON m.meter_id = u.meter_id
WHERE u.slot_s >= :start_s AND u.slot_s < :end_s AND {{chosen}}
GROUP BY u.attempt_id, m.kind, m.uuid, u.slot_s
"""

_MEASURED = """
SELECT m.kind, m.uuid, b.slot_s, b.measured_s
FROM balance b JOIN meters m ON m.meter_id = b.meter_id
WHERE b.superseded_by IS NULL AND m.cluster = :cluster AND b.slot_s >= :first_s AND b.slot_s <= :last_s
"""
