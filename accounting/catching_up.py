"""What has become known of time that is in the books already: what a run accounts again, beside what is new.

Slurm's accounting is told late: of an end while slurmdbd was away, of a requeue, of a comment or an account that was
changed. It has no time of change, so the jobs of the last days are read again and compared with the books. And a
row in quarantine is tried again once the program or the configuration is another one: its window is accounted again.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from math import inf
from typing import Any, TypedDict

from sqlalchemy import select, update

from accounting.clock import union
from accounting.energy import MARGIN_S
from accounting.ledger import schema
from accounting.ledger.registers import differences
from accounting.ledger.spans import LONG
from accounting.ledger.store import Ledger
from accounting.model import AttemptKey, Job, Reject
from accounting.sources import JobSource

#: The state of attempts that the books have as running, and of which Slurm no longer knows anything. It is our word.
LOST = "LOST"

#: How far back a job is looked for that the books have as running and Slurm does not.
LOOK_FOR_LOST_S = 31 * 86400.0

#: On these columns of an attempt, its start, its end and its nodes it hangs what it used; the rest says who and why.
_AMOUNTS = ("cpus", "memory_mb", "gpus", "shards")

#: Jobs compared at a time.
_BATCH = 5000

Stretch = tuple[float, float]


class By(TypedDict):
    """By what something was accounted: the version of the program, and the digest of the configuration."""

    version: str
    config_digest: str


@dataclass
class CaughtUp:
    """What is to be accounted again, and the jobs of which Slurm says otherwise than the books."""

    stretches: list[Stretch] = field(default_factory=list)
    jobs: dict[AttemptKey, Job] = field(default_factory=dict)
    lost: int = 0  # attempts that the books had as running, and Slurm no longer has at all


def catch_up(ledger: Ledger, cluster: str, source: JobSource, back_s: float, run: By) -> CaughtUp:
    """Read again the jobs of the last `back_s` of the books, and of windows with rows in quarantine to be tried again.

    Rows that were last tried by another `run` are tried again. SourceError where the jobs cannot be read.
    """
    purged_s = _purged_before_s(ledger)
    booked = [(max(a, purged_s), b) for a, b in ledger.booked(cluster) if b > purged_s]
    found = CaughtUp()
    if not booked:
        return found
    end_s = booked[-1][1]
    windows = windows_to_try(ledger, cluster, run)
    unseen = _running(ledger, cluster) if back_s else {}
    for start_s, until_s in _within(booked, [*windows, *([(end_s - back_s, end_s)] if back_s else [])]):
        _compare(ledger, cluster, source.jobs(start_s, until_s), booked, found, unseen)
    since_s = max(min(unseen.values(), default=end_s), end_s - LOOK_FOR_LOST_S)
    if since_s < end_s - back_s:  # what the books have as running ended before all this, or was never known again
        _compare(ledger, cluster, source.jobs(since_s, end_s - back_s), booked, found, unseen)
    _lose(ledger, unseen)
    found.lost = len(unseen)
    windows += _windows_of_tags(ledger, cluster, {key.job_id for key in found.jobs})
    found.stretches = _within(booked, [*found.stretches, *windows])
    return found


def last_hour(ledger: Ledger, cluster: str) -> Stretch:
    """The end of the books: a window to account again where only the jobs' own records changed."""
    start_s, end_s = ledger.booked(cluster)[-1]
    return max(start_s, end_s - 3600.0), end_s


def _purged_before_s(ledger: Ledger) -> float:
    """Before when the books have no hours any more, so that nothing can be accounted again."""
    table = schema.meta
    with ledger.transaction() as connection:
        value = connection.execute(select(table.c.value).where(table.c.name == "purged_before_s")).scalar()
    return -inf if value is None else float(value)


def windows_to_try(ledger: Ledger, cluster: str, run: By) -> list[Stretch]:
    """The windows of rows in quarantine that another version, or another configuration, could not understand."""
    table, runs = schema.quarantine, schema.runs
    chosen = select(runs.c.start_s, runs.c.end_s).distinct().join_from(table, runs)
    chosen = chosen.where(table.c.cluster == cluster, _other(run))
    with ledger.transaction() as connection:
        return [(row.start_s, row.end_s) for row in connection.execute(chosen)]


def _windows_of_tags(ledger: Ledger, cluster: str, job_ids: Collection[int]) -> list[Stretch]:
    """The windows of rows in quarantine that are tags of these jobs: what a hook said of a job that Slurm knows now."""
    table, runs = schema.quarantine, schema.runs
    chosen = select(table.c.raw, runs.c.start_s, runs.c.end_s).join_from(table, runs)
    chosen = chosen.where(table.c.cluster == cluster, table.c.raw.like('{"cluster"%'))
    windows = []
    if job_ids:
        with ledger.transaction() as connection:
            for raw, *window in connection.execute(chosen):
                with suppress(ValueError):
                    if json.loads(raw).get("job_id") in job_ids:
                        windows.append((window[0], window[1]))
    return windows


def tried(ledger: Ledger, cluster: str, run: By) -> None:
    """Note of all that is in quarantine that it was tried."""
    table = schema.quarantine
    with ledger.transaction() as connection:
        connection.execute(update(table).where(table.c.cluster == cluster, _other(run)).values(**run))


def _other(run: By) -> Any:
    table = schema.quarantine
    return (table.c.version != run["version"]) | (table.c.config_digest != run["config_digest"])


def _compare(
    ledger: Ledger,
    cluster: str,
    rows: Iterable[Job | Reject],
    booked: Sequence[Stretch],
    found: CaughtUp,
    unseen: dict[AttemptKey, int],
) -> None:
    """Note what the books say otherwise of these jobs; rows that are not understood are the accounting's to keep."""
    for jobs in _batches(row for row in rows if isinstance(row, Job)):
        for job in jobs:
            unseen.pop(job.key, None)
        with ledger.transaction() as connection:
            for job, before in differences(connection, cluster, jobs):
                stretches = list(_use_changed(job, before, booked[-1][1]))
                if stretches or not _went_on(job, before, booked[-1][1]):
                    found.jobs[job.key] = job
                    found.stretches += stretches


def _went_on(job: Job, before: Mapping[str, Any] | None, end_s: float) -> bool:
    """Whether a job that had not ended by the books was there beyond their end: the new windows tell of it."""
    return before is not None and before["end_s"] is None and (job.end_s is None or job.end_s >= end_s)


def _use_changed(job: Job, before: Mapping[str, Any] | None, end_s: float) -> Iterator[Stretch]:
    """When, before `end_s`, the job used something else than the books say."""
    said = _span(job.start_s, job.end_s, end_s)
    if before is None or before["start_s"] is None:
        changed = [said]
    else:
        had = _span(before["start_s"], before["end_s"], end_s)
        now = {"nodes": ",".join(job.nodes), **{name: getattr(job, name) for name in _AMOUNTS}}
        if any(before[name] != value for name, value in now.items()):
            changed = [(min(had[0], said[0]), max(had[1], said[1]))]
        else:
            changed = [(min(one, other), max(one, other)) for one, other in zip(had, said, strict=True)]
    # A sample window in which a hold ends may lie across the edge of a slot.
    yield from ((a - MARGIN_S, b + MARGIN_S) for a, b in changed if a < b)


def _span(start_s: float | None, end_s: float | None, until_s: float) -> Stretch:
    """From when to when something was used before `until_s`; what never began is there for no time at all."""
    if start_s is None:
        return until_s, until_s
    return min(start_s, until_s), until_s if end_s is None else min(end_s, until_s)


def _within(booked: Sequence[Stretch], stretches: Iterable[Stretch]) -> list[Stretch]:
    """The stretches as far as the books hold them, joined."""
    return union((max(a, c), min(b, d)) for a, b in stretches for c, d in booked if max(a, c) < min(b, d))


def _running(ledger: Ledger, cluster: str) -> dict[AttemptKey, int]:
    """The attempts that the books have as running, and since when."""
    table = schema.attempts
    chosen = select(table.c.job_id, table.c.submit_s, table.c.start_s).where(
        table.c.span == LONG, table.c.cluster == cluster, table.c.end_s.is_(None), table.c.start_s.is_not(None),
        table.c.state != LOST,
    )  # fmt: skip
    with ledger.transaction() as connection:
        return {AttemptKey(cluster, row[0], row[1]): row[2] for row in connection.execute(chosen)}


def _lose(ledger: Ledger, keys: Iterable[AttemptKey]) -> None:
    table = schema.attempts
    with ledger.transaction() as connection:
        for key in keys:
            this = (table.c.job_id == key.job_id) & (table.c.cluster == key.cluster)
            connection.execute(update(table).where(this, table.c.submit_s == key.submit_s).values(state=LOST))


def _batches(jobs: Iterable[Job]) -> Iterator[list[Job]]:
    waiting = iter(jobs)
    while batch := list(islice(waiting, _BATCH)):
        yield batch
