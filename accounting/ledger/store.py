"""Writing the books: one transaction a window, all of it or nothing.

A window says everything about the slots that it touches. What it says again is left as it is; what it says differently
supersedes the posting in force; what it no longer says is superseded by nothing. So the same window twice
leaves the books as they were, and a run that was killed left no trace.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import sqlite3
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    Table,
    bindparam,
    create_engine,
    event,
    func,
    insert,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy.exc import DatabaseError

from accounting.ledger import schema
from accounting.ledger.errors import SCHEMA_VERSION, LedgerError, ledger_path, not_a_ledger, wrong_version
from accounting.ledger.postings import MeterKey, Posted, Window
from accounting.ledger.rollup import roll_up
from accounting.model import AttemptKey, Job

#: Two figures that differ by less are the same figure: sums taken in another order differ in their last digits.
SAME_RELATIVE = 1e-9


class Ledger:
    """The books, opened for writing. Made where there are none."""

    def __init__(self, url: str, zone: str) -> None:
        """Open the ledger at `url` (`sqlite:///PATH`), kept by the calendar of the time zone `zone`.

        LedgerError when the file is something else, of another version, or kept by another calendar.
        """
        self.path = ledger_path(url)
        folder = Path(self.path).parent
        if not folder.is_dir():
            raise LedgerError(f"the folder of the ledger, {folder}, does not exist", f"make it: mkdir -p {folder}")
        self._engine = _sqlite_engine(self.path)
        try:
            self._make_or_check(zone)
        except DatabaseError as error:
            raise not_a_ledger(self.path, str(error.orig)) from None

    def close(self) -> None:
        """Let go of the file."""
        self._engine.dispose()

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the books for writing; LedgerError, naming who holds them, when another process does."""
        with Path(f"{self.path}.lock").open("a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise LedgerError(
                    f"another run is writing to {self.path}: {file.read().strip() or 'its holder is unknown'}",
                    "let it end; nothing was changed by this one",
                ) from None
            file.truncate(0)
            file.write(f"process {os.getpid()} on {os.uname().nodename} since {time.strftime('%Y-%m-%dT%H:%M:%S%z')}\n")
            file.flush()
            try:
                yield
            finally:
                file.truncate(0)

    def booked(self, cluster: str) -> list[tuple[float, float]]:
        """The stretches of the cluster's time that the books hold, in order."""
        table = schema.booked
        with self._engine.connect() as connection:
            rows = connection.execute(
                select(table.c.start_s, table.c.end_s).where(table.c.cluster == cluster).order_by(table.c.start_s)
            )
            return [(row.start_s, row.end_s) for row in rows]

    def silent_since(self, cluster: str) -> dict[MeterKey, float | None]:
        """The cluster's GPUs and metered nodes, and since when each is silent at the end of the books, if it is."""
        table = schema.meters
        chosen = select(table.c.kind, table.c.uuid, table.c.silent_since_s).where(
            table.c.cluster == cluster, table.c.uuid != ""
        )
        with self._engine.connect() as connection:
            return {MeterKey(row.kind, row.uuid): row.silent_since_s for row in connection.execute(chosen)}

    def heard_again(self, cluster: str, meters: Collection[MeterKey]) -> None:
        """Note that the silence of these meters has been accounted anew."""
        table = schema.meters
        with self._engine.begin() as connection:
            for kind, uuid in meters:
                this = (table.c.cluster == cluster) & (table.c.kind == kind) & (table.c.uuid == uuid)
                connection.execute(update(table).where(this).values(silent_since_s=None))

    def post(self, window: Window, run: Mapping[str, Any]) -> Posted:
        """Put a window into the books, in one transaction. `run` has the remaining columns of `schema.runs`."""
        with self._engine.begin() as connection:
            run_id = (connection.execute(select(func.max(schema.runs.c.run_id))).scalar() or 0) + 1
            connection.execute(
                insert(schema.runs).values(
                    run_id=run_id, cluster=window.cluster, start_s=window.start_s, end_s=window.end_s,
                    finished_s=time.time(), summary="{}", **run,
                )
            )  # fmt: skip
            attempt_ids = _keep_attempts(connection, window.cluster, window.jobs)
            meter_ids = _keep_meters(connection, window)
            differ = _Differ(connection, run_id, window)
            usage = differ.post(
                schema.usage,
                ("attempt_id", "meter_id", "slot_s"),
                [
                    {**row._asdict(), "attempt_id": attempt_ids[row.attempt], "meter_id": meter_ids[row.meter]}
                    for row in window.usage
                ],
            )
            balance = differ.post(
                schema.balance,
                ("meter_id", "slot_s"),
                [{**row._asdict(), "meter_id": meter_ids[row.meter]} for row in window.balance],
            )
            differ.post(schema.factors, ("kind", "start_s"), [_factor_row(kind, slot) for kind, slot in window.factors])
            roll_up(connection, window.days, usage, balance)
            quarantined = _quarantine(connection, window, run_id)
            _set_booked(connection, window)
            posted = Posted(differ.posted, differ.superseded, differ.unchanged, quarantined)
            connection.execute(
                update(schema.runs).where(schema.runs.c.run_id == run_id).values(summary=json.dumps(asdict(posted)))
            )
        return posted

    def _make_or_check(self, zone: str) -> None:
        with self._engine.begin() as connection:
            tables = set(inspect(connection).get_table_names())
            if not tables:
                schema.metadata.create_all(connection)
                pairs = {"schema": SCHEMA_VERSION, "zone": zone}
                connection.execute(insert(schema.meta), [{"key": k, "value": v} for k, v in pairs.items()])
                return
            if not {"meta", "usage", "balance"} <= tables:
                raise not_a_ledger(self.path, "it is a database with other tables")
            found = dict(connection.execute(select(schema.meta.c.key, schema.meta.c.value)).tuples().all())
        if found.get("schema") != SCHEMA_VERSION:
            raise wrong_version(self.path, str(found.get("schema")), SCHEMA_VERSION)
        if found.get("zone") != zone:
            raise LedgerError(
                f"the ledger {self.path} is kept by the calendar of {found.get('zone')}, the configuration says {zone}",
                "set site.timezone back, or begin another ledger",
            )


class _Differ:
    """Posts what differs from the postings in force, table by table, and counts."""

    def __init__(self, connection: Connection, run_id: int, window: Window) -> None:
        self._connection = connection
        self._run_id = run_id
        self._window = window
        self.posted = self.superseded = self.unchanged = 0

    def post(self, table: Table, key: Sequence[str], rows: Iterable[dict[str, Any]]) -> set[int]:
        """Bring `table` to say `rows` of the window. Returns the first key column's values of what changed."""
        identity = next(iter(table.primary_key.columns)).name
        columns = [c.name for c in table.columns if c.name not in (identity, "run_id", "superseded_by")]
        in_force = {
            tuple(row[name] for name in key): row for row in self._connection.execute(self._in_force(table)).mappings()
        }
        fresh: list[dict[str, Any]] = []
        gone: list[int] = []
        touched: set[int] = set()
        for row in rows:
            values = {name: row[name] for name in columns if name in row}
            old = in_force.pop(tuple(values[name] for name in key), None)
            if old is not None and all(_same(old[name], value) for name, value in values.items()):
                self.unchanged += 1
                continue
            if old is not None:
                gone.append(old[identity])
            touched.add(values[key[0]])
            fresh.append({**values, "run_id": self._run_id})
        for old in in_force.values():
            gone.append(old[identity])
            touched.add(old[key[0]])
        if gone:
            statement = update(table).where(table.c[identity] == bindparam("this")).values(superseded_by=self._run_id)
            self._connection.execute(statement, [{"this": one} for one in gone])
        if fresh:
            if table is schema.factors:
                fresh = [{**row, "cluster": self._window.cluster} for row in fresh]
            first = (self._connection.execute(select(func.max(table.c[identity]))).scalar() or 0) + 1
            self._connection.execute(insert(table), [{**row, identity: first + i} for i, row in enumerate(fresh)])
        self.posted += len(fresh)
        self.superseded += len(gone)
        return touched

    def _in_force(self, table: Table) -> Any:
        start_s, end_s = self._window.slots_s[0], self._window.slots_s[-1]
        if table is schema.factors:
            time_s = table.c.start_s
            statement = select(table).where(table.c.cluster == self._window.cluster)
            end_s = self._window.days[-1][2] - 1
        else:
            time_s = table.c.slot_s
            meters = schema.meters
            statement = select(table).join(meters).where(meters.c.cluster == self._window.cluster)
        return statement.where(time_s >= start_s, time_s <= end_s, table.c.superseded_by.is_(None))


def _same(old: Any, new: Any) -> bool:
    if isinstance(old, float) and isinstance(new, float):
        return math.isclose(old, new, rel_tol=SAME_RELATIVE, abs_tol=1e-9)
    return bool(old == new)


def _factor_row(kind: str, slot: Any) -> dict[str, Any]:
    return {"kind": kind, **asdict(slot)}


def _keep_attempts(connection: Connection, cluster: str, jobs: Sequence[Job]) -> dict[AttemptKey, int]:
    """Write what Slurm now says of each attempt, and return their ids."""
    table = schema.attempts
    known: dict[AttemptKey, Any] = {}
    ids = sorted({job.job_id for job in jobs})
    for start in range(0, len(ids), 500):
        chosen = select(table).where(table.c.cluster == cluster, table.c.job_id.in_(ids[start : start + 500]))
        for row in connection.execute(chosen).mappings():
            known[AttemptKey(cluster, row["job_id"], row["submit_s"])] = row
    following = (connection.execute(select(func.max(table.c.attempt_id))).scalar() or 0) + 1
    result = {key: int(row["attempt_id"]) for key, row in known.items()}
    fresh: list[dict[str, Any]] = []
    changed: list[dict[str, Any]] = []
    for job in jobs:
        values = _attempt_values(job)
        old = known.get(job.key)
        if old is None:
            if job.key not in result:
                result[job.key] = following + len(fresh)
                fresh.append({"attempt_id": result[job.key], **values})
        elif any(old[name] != value for name, value in values.items()):
            changed.append({"this": old["attempt_id"], **values})
    if fresh:
        connection.execute(insert(table), fresh)
    if changed:
        names = [name for name in changed[0] if name != "this"]
        statement = update(table).where(table.c.attempt_id == bindparam("this"))
        connection.execute(statement.values({name: bindparam(name) for name in names}), changed)
    return result


def _attempt_values(job: Job) -> dict[str, Any]:
    names = [c.name for c in schema.attempts.columns if c.name not in ("attempt_id", "nodes")]
    return {**{name: getattr(job, name) for name in names}, "nodes": ",".join(job.nodes)}


def _keep_meters(connection: Connection, window: Window) -> dict[MeterKey, int]:
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


def _quarantine(connection: Connection, window: Window, run_id: int) -> int:
    """Keep rows that could not be understood, each once; returns how many this window met."""
    table = schema.quarantine
    rows: dict[str, dict[str, Any]] = {}
    for reject in window.rejects:
        text_ = "\0".join((window.cluster, reject.source, reject.raw))
        digest = hashlib.sha256(text_.encode("utf-8", "surrogateescape")).hexdigest()
        rows[digest] = {
            "digest": digest, "cluster": window.cluster, "source": reject.source, "location": reject.where,
            "raw": reject.raw, "reason": reject.reason, "run_id": run_id,
        }  # fmt: skip
    if rows:
        known = set(connection.execute(select(table.c.digest)).scalars())
        fresh = [row for digest, row in rows.items() if digest not in known]
        if fresh:
            connection.execute(insert(table), fresh)
    return len(rows)


def _set_booked(connection: Connection, window: Window) -> None:
    table = schema.booked
    of_cluster = table.c.cluster == window.cluster
    before = connection.execute(select(table.c.start_s, table.c.end_s).where(of_cluster).order_by(table.c.start_s))
    if [tuple(row) for row in before] == [tuple(stretch) for stretch in window.booked]:
        return
    connection.execute(table.delete().where(of_cluster))
    connection.execute(insert(table), [{"cluster": window.cluster, "start_s": a, "end_s": b} for a, b in window.booked])


def _sqlite_engine(path: str) -> Engine:
    engine = create_engine(URL.create("sqlite", database=path))

    @event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # transactions are begun below, not guessed by the driver
        connection.execute("PRAGMA busy_timeout = 30000")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA journal_mode = WAL")  # readers never wait for a writer

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.execute(text("BEGIN IMMEDIATE"))

    return engine
