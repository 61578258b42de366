"""What postings refer to: attempts with what Slurm now says of them, payers, meters; and what lies in quarantine."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from accounting.ledger import schema
from accounting.ledger.bulk import insert_rows
from accounting.ledger.postings import MeterKey, Window
from accounting.ledger.spans import span_of
from accounting.model import AttemptKey, Job
from accounting.tags import canonical_tags

Values = tuple[Any, ...]

#: The columns of `attempts` behind its number, in the order of `_values`.
_COLUMNS = (
    "cluster", "job_id", "submit_s", "label", "state", "start_s", "end_s", "uid", "account",
    "qos", "wckey", "cpus", "memory_mb", "gpus", "shards", "exit_code", "suspended_s", "restarts",
    "sluid", "user_name", "partition_name", "name", "comment", "nodes", "payer_id",
    "span",
)  # fmt: skip
_QUARANTINE = ("digest", "cluster", "source", "location", "raw", "reason", "run_id", "version", "config_digest")
_PAYER = ("cluster", "user_name", "account", "partition_name", "qos", "wckey", "tags")


@dataclass(frozen=True, slots=True)
class Attempts:
    """The ids of a window's attempts, and those that moved to another payer, with the one before."""

    ids: Mapping[AttemptKey, int]
    moved: Mapping[int, int]


def keep_attempts(connection: Connection, cluster: str, jobs: Sequence[Job]) -> Attempts:
    """Write what Slurm now says of each attempt."""
    table = schema.attempts
    payer_ids = _keep_payers(connection, cluster, jobs)
    known = _known_attempts(connection, cluster, jobs)
    following = (connection.execute(select(func.max(table.c.attempt_id))).scalar() or 0) + 1
    ids = {key: row[0] for key, row in known.items()}
    fresh: list[Values] = []
    changed: list[Values] = []
    moved: dict[int, int] = {}
    payer = _COLUMNS.index("payer_id")
    for job in jobs:
        key = job.key
        values = _values(job, payer_ids[_payer(job)])
        old = known.get(key)
        if old is not None:
            if old[1:] != values:
                changed.append((old[0], *values))
                if old[1 + payer] != values[payer]:
                    moved[old[0]] = old[1 + payer]
        elif key not in ids:
            ids[key] = following + len(fresh)
            fresh.append((ids[key], *values))
    if fresh:
        insert_rows(connection, table, ("attempt_id", *_COLUMNS), fresh)
    if changed:
        statement = update(table).where(table.c.attempt_id == bindparam("this"))
        statement = statement.values({name: bindparam(name) for name in _COLUMNS})
        connection.execute(statement, [dict(zip(("this", *_COLUMNS), row, strict=True)) for row in changed])
    return Attempts(ids, moved)


def differences(
    connection: Connection, cluster: str, jobs: Sequence[Job]
) -> Iterator[tuple[Job, Mapping[str, Any] | None]]:
    """Those of the jobs of which the books say otherwise, with the columns as they are there; None: it is not there."""
    known = _known_attempts(connection, cluster, jobs)
    payer = 1 + _COLUMNS.index("payer_id")
    for job in jobs:
        before = known.get(job.key)
        if before is None:
            yield job, None
        elif _values(job, before[payer]) != before[1:]:
            yield job, dict(zip(_COLUMNS, before[1:], strict=True))


def keep_meters(connection: Connection, window: Window) -> dict[MeterKey, int]:
    """Write where each meter now stands, and since when it is silent; returns the meters' ids."""
    table = schema.meters
    rows = connection.execute(select(table).where(table.c.cluster == window.cluster)).mappings().all()
    known = {MeterKey(row["kind"], row["uuid"]): row for row in rows}
    result = {key: int(row["meter_id"]) for key, row in known.items()}
    following = (connection.execute(select(func.max(table.c.meter_id))).scalar() or 0) + 1
    for meter in window.meters:
        old = known.get(meter.key)
        if old is None:
            values = {"cluster": window.cluster, **meter.key._asdict(), "node": meter.node, "model": meter.model}
            connection.execute(insert(table).values(meter_id=following, **values))
            result[meter.key] = following
            following += 1
        elif meter.model and (old["node"], old["model"]) != (meter.node, meter.model):
            moved = update(table).where(table.c.meter_id == old["meter_id"])
            connection.execute(moved.values(node=meter.node, model=meter.model))
    for key, since_s in window.silent_since_s.items():
        meter_id = result.get(key)
        old = known.get(key)
        if meter_id is not None and (None if old is None else old["silent_since_s"]) != since_s:
            connection.execute(update(table).where(table.c.meter_id == meter_id).values(silent_since_s=since_s))
    return result


def keep_rejects(connection: Connection, window: Window, run_id: int, run: Mapping[str, Any]) -> tuple[int, int]:
    """Keep rows that could not be understood, each once; how many are new, and how many were understood now.

    What was met in a window, and is not met when all of that window is accounted again, leaves quarantine. `run` has
    the version and the configuration's digest: with others a row is to be tried again.
    """
    table, runs = schema.quarantine, schema.runs
    tried = (run["version"], run["config_digest"])
    rows: dict[str, Values] = {}
    for reject in window.rejects:
        whole = "\0".join((window.cluster, reject.source, reject.raw))
        digest = hashlib.sha256(whole.encode("utf-8", "surrogateescape")).hexdigest()
        texts = (storable(text) for text in (reject.where, reject.raw, reject.reason))
        rows[digest] = (digest, window.cluster, reject.source, *texts, run_id, *tried)
    chosen = select(table.c.digest, table.c.version, table.c.config_digest, runs.c.start_s, runs.c.end_s)
    chosen = chosen.join_from(table, runs).where(table.c.cluster == window.cluster)
    known = {row.digest: row for row in connection.execute(chosen)}
    again = [digest for digest in rows if digest in known and tuple(known[digest][1:3]) != tried]
    understood = [
        digest
        for digest, row in known.items()
        if digest not in rows and window.start_s <= row.start_s and row.end_s <= window.end_s
    ]
    for start in range(0, len(again), 500):
        these = table.c.digest.in_(again[start : start + 500])
        connection.execute(update(table).where(these).values(version=tried[0], config_digest=tried[1]))
    for start in range(0, len(understood), 500):
        connection.execute(delete(table).where(table.c.digest.in_(understood[start : start + 500])))
    fresh = [row for digest, row in rows.items() if digest not in known]
    if fresh:
        insert_rows(connection, table, _QUARANTINE, fresh)
    return len(fresh), len(understood)


def storable(text: str | None) -> str | None:
    r"""Text as every database takes it: bytes that were no UTF-8, and NUL, are written out as `\udc…` and `\x00`."""
    if text is None or (text.isascii() and "\0" not in text):
        return text
    return text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\x00")


def _known_attempts(connection: Connection, cluster: str, jobs: Sequence[Job]) -> dict[AttemptKey, Values]:
    """The attempts that the books have of these jobs: number and `_COLUMNS`."""
    table = schema.attempts
    chosen = select(table.c.attempt_id, *(table.c[name] for name in _COLUMNS)).where(table.c.cluster == cluster)
    job_id, submit_s = (1 + _COLUMNS.index(name) for name in ("job_id", "submit_s"))
    known: dict[AttemptKey, Values] = {}
    ids = sorted({job.job_id for job in jobs})
    for start in range(0, len(ids), 500):
        for row in connection.execute(chosen.where(table.c.job_id.in_(ids[start : start + 500]))):
            known[AttemptKey(cluster, row[job_id], row[submit_s])] = tuple(row)
    return known


def _values(job: Job, payer_id: int) -> Values:
    """A job as a row, in the order of `_COLUMNS`."""
    return (
        job.cluster, job.job_id, job.submit_s, _label(job.label), job.state, job.start_s, job.end_s, job.uid,
        job.account, job.qos, job.wckey, job.cpus, job.memory_mb, job.gpus, job.shards, job.exit_code,
        job.suspended_s, job.restarts, job.sluid, job.user, job.partition, storable(job.name), storable(job.comment),
        ",".join(job.nodes), payer_id, span_of(job.submit_s, job.end_s),
    )  # fmt: skip


def _label(label: str) -> str:
    """A job's label as the books have room for it; that of an array's waiting tasks may go on for pages."""
    longest = 64
    return label if len(label) <= longest else f"{label[: longest - 4]}...]"


def _payer(job: Job) -> Values:
    """Whom a job is booked to, in the order of `_PAYER`."""
    tags = storable(canonical_tags(job.comment))
    return (job.cluster, job.user, job.account, job.partition, job.qos, job.wckey, tags)


def _keep_payers(connection: Connection, cluster: str, jobs: Sequence[Job]) -> dict[Values, int]:
    table = schema.payers
    chosen = select(table.c.payer_id, *(table.c[name] for name in _PAYER)).where(table.c.cluster == cluster)
    ids = {tuple(row[1:]): row[0] for row in connection.execute(chosen)}
    following = (connection.execute(select(func.max(table.c.payer_id))).scalar() or 0) + 1
    fresh = [payer for payer in dict.fromkeys(map(_payer, jobs)) if payer not in ids]
    if fresh:
        ids |= {payer: following + place for place, payer in enumerate(fresh)}
        insert_rows(connection, table, ("payer_id", *_PAYER), [(ids[payer], *payer) for payer in fresh])
    return ids
