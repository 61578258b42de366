"""Writing the books: one transaction a window, all of it or nothing.

A window says everything about the slots that it touches. What it says again is left as it is; what it says differently
supersedes the posting in force; what it no longer says is superseded by nothing. So the same window twice
leaves the books as they were, and a run that was killed left no trace. The postings of a closed month stay as they are:
there, what is said differently is an adjustment (`accounting.ledger.adjusting`).
"""

from __future__ import annotations

import json
import time
from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, fields
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, func, insert, select, update
from sqlalchemy.exc import DatabaseError, DBAPIError, IntegrityError, ProgrammingError

from accounting.accounts import AccountTree
from accounting.clock import day_of
from accounting.ledger import schema
from accounting.ledger.accounts import keep_accounts
from accounting.ledger.address import parse_address
from accounting.ledger.adjusting import Adjustments
from accounting.ledger.differ import Differ, Values
from accounting.ledger.errors import LedgerError, not_a_ledger
from accounting.ledger.locks import file_lock, server_lock
from accounting.ledger.opening import make_or_check, open_engine
from accounting.ledger.postings import BalanceRow, MeterKey, Posted, UsageRow, Window
from accounting.ledger.registers import keep_attempts, keep_meters, keep_rejects
from accounting.ledger.rollup import RollUp
from accounting.model import FactorSlot

_USAGE = ("attempt_id", "meter_id", *UsageRow._fields[2:])
_BALANCE = ("meter_id", *BalanceRow._fields[1:])
_FACTOR = tuple(field.name for field in fields(FactorSlot))
_FACTORS = ("cluster", "kind", "slot_s", *_FACTOR)


class Ledger:
    """The books, opened for writing. Made where there are none.

    All is written over one connection: on a server the lock belongs to it, and is lost with it.
    """

    def __init__(self, url: str, zone: str, password: str | None = None) -> None:
        """Open the ledger at `url`, kept by the calendar of the time zone `zone`.

        LedgerError when it cannot be reached, is something else, of another version, or kept by another calendar.
        """
        self.address = parse_address(url, password)
        self.zone = ZoneInfo(zone)
        self._engine = open_engine(self.address)
        try:
            self._connection = self._engine.connect()
        except DatabaseError as error:
            raise _cannot_write(self.address.shown, error) from error
        try:
            make_or_check(self._connection, self.address, zone)
        except DatabaseError as error:
            self.close()
            if self.address.kind == "sqlite":
                raise not_a_ledger(self.address.shown, str(error.orig)) from None
            raise _cannot_write(self.address.shown, error) from error
        except LedgerError:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the database."""
        self._connection.close()
        self._engine.dispose()

    def lock(self) -> AbstractContextManager[None]:
        """Hold the books for writing; LedgerError, naming who holds them, when another process does."""
        if self.address.kind == "sqlite":
            return file_lock(self.address)
        return server_lock(self._connection, self.address)

    def booked(self, cluster: str) -> list[tuple[float, float]]:
        """The stretches of the cluster's time that the books hold, in order."""
        table = schema.booked
        chosen = select(table.c.start_s, table.c.end_s).where(table.c.cluster == cluster).order_by(table.c.start_s)
        with self.transaction() as connection:
            return [(row.start_s, row.end_s) for row in connection.execute(chosen)]

    def silent_since(self, cluster: str) -> dict[MeterKey, float | None]:
        """The cluster's GPUs and metered nodes, and since when each is silent at the end of the books, if it is."""
        table = schema.meters
        chosen = select(table.c.kind, table.c.uuid, table.c.silent_since_s).where(
            table.c.cluster == cluster, table.c.uuid != ""
        )
        with self.transaction() as connection:
            return {MeterKey(row.kind, row.uuid): row.silent_since_s for row in connection.execute(chosen)}

    def heard_again(self, cluster: str, meters: Collection[MeterKey]) -> None:
        """Note that the silence of these meters has been accounted anew."""
        table = schema.meters
        with self.transaction() as connection:
            for kind, uuid in meters:
                this = (table.c.cluster == cluster) & (table.c.kind == kind) & (table.c.uuid == uuid)
                connection.execute(update(table).where(this).values(silent_since_s=None))

    def measured_s(self, cluster: str, slots_s: Sequence[int]) -> float:
        """For how long the cluster's meters measured in these slots, by the books, summed over the meters."""
        table, meters = schema.balance, schema.meters
        chosen = select(func.sum(table.c.measured_s)).join_from(table, meters).where(
            meters.c.cluster == cluster, table.c.superseded_by.is_(None),
            table.c.slot_s >= slots_s[0], table.c.slot_s <= slots_s[-1],
        )  # fmt: skip
        with self.transaction() as connection:
            return float(connection.execute(chosen).scalar() or 0.0)

    def keep_accounts(self, tree: AccountTree) -> None:
        """Note what Slurm now says of a cluster's accounts; what it no longer has is marked as gone."""
        with self.transaction() as connection:
            keep_accounts(connection, tree, time.time())

    def post(self, window: Window, run: Mapping[str, Any], found: Mapping[str, Any] | None = None) -> Posted:
        """Put a window into the books, in one transaction. `run` has the remaining columns of `schema.runs`.

        `found` is what else is to be said of the run in its summary.
        """
        runs = schema.runs
        with self.transaction() as connection:
            _check_kept(connection, window, self.zone)
            run_id = (connection.execute(select(func.max(runs.c.run_id))).scalar() or 0) + 1
            connection.execute(
                insert(runs).values(
                    run_id=run_id, cluster=window.cluster, start_s=window.start_s, end_s=window.end_s,
                    finished_s=time.time(), summary="{}", **run,
                )
            )  # fmt: skip
            posted = _post(connection, window, run_id, self.zone)
            rejects = keep_rejects(connection, window, run_id, run)
            _set_booked(connection, window)
            summary = Posted(*posted, *rejects)
            text = json.dumps({**asdict(summary), **(found or {})})
            connection.execute(update(runs).where(runs.c.run_id == run_id).values(summary=text))
        return summary

    @contextmanager
    def transaction(self, advice: str = "this window was not booked; mend it and run again") -> Iterator[Connection]:
        """All or nothing; one within another is a part of it.

        LedgerError, with `advice`, where the database cannot do it; a fault of ours stays what it is.
        """
        if self._connection.in_transaction():
            yield self._connection
            return
        driver_error = self._engine.dialect.loaded_dbapi.Error
        try:
            with self._connection.begin():
                yield self._connection
        except (IntegrityError, ProgrammingError):
            raise
        except (DBAPIError, driver_error) as error:
            raise _cannot_write(self.address.shown, error, advice) from error


def _post(connection: Connection, window: Window, run_id: int, zone: ZoneInfo) -> tuple[int, int, int]:
    """Post what the window says; how many rows were posted, superseded, and left as they are."""
    attempts = keep_attempts(connection, window.cluster, window.jobs)
    meter_ids = keep_meters(connection, window)
    ids = attempts.ids
    usage_rows: list[Values] = [(ids[row[0]], meter_ids[row[1]], *row[2:]) for row in window.usage]
    balance_rows: list[Values] = [(meter_ids[row[0]], *row[1:]) for row in window.balance]
    adjustments = Adjustments(connection, run_id, zone, time.time())
    moved = [{"attempt_id": attempt, "run_id": run_id, "payer_id": payer} for attempt, payer in attempts.moved.items()]
    if moved:
        connection.execute(insert(schema.moves), moved)
    rolled = RollUp(connection, window.cluster, window.days, adjustments.closed)
    adjusted = adjustments.move(attempts.moved)
    if window.days[0][0][:7] in adjustments.closed:
        rolled.payers((), attempts.moved)
        adjusted += adjustments.correct(window.cluster, window.days[0], window.slots_s, usage_rows, balance_rows)
        return adjusted, 0, len(usage_rows) + len(balance_rows) - adjusted
    differ = Differ(connection, run_id, window.cluster, window.slots_s)
    usage = differ.post(schema.usage_slots, _USAGE, 3, usage_rows)
    balance = differ.post(schema.balance, _BALANCE, 2, balance_rows)
    factor_rows = [
        (window.cluster, kind, _slot_of(window, slot), *(getattr(slot, name) for name in _FACTOR))
        for kind, slot in window.factors
    ]
    factors = differ.post(schema.factors, _FACTORS, 4, factor_rows, notes=1)  # when it was retrieved says nothing new
    adjusted += adjustments.take_back(window.cluster, window.slots_s)
    rolled.usage(usage.touched, first=usage.first and _whole_days(window))
    rolled.idle(balance.touched)
    rolled.payers(usage.touched, attempts.moved)
    changes = (usage, balance, factors)
    return (
        sum(change.posted for change in changes) + adjusted,
        sum(change.superseded for change in changes),
        sum(change.unchanged for change in changes),
    )


def _check_kept(connection: Connection, window: Window, zone: ZoneInfo) -> None:
    """LedgerError where of some of the window's slots only sums are left."""
    kept = select(schema.meta.c.value).where(schema.meta.c.name == "purged_before_s")
    purged_s = connection.execute(kept).scalar()
    if purged_s is not None and window.slots_s[0] < float(purged_s):
        before = day_of(zone, float(purged_s))
        raise LedgerError(
            f"the hours before {before} were purged, and cannot be accounted anew",
            f"begin at {before}; nothing of this window was booked",
        )


def _slot_of(window: Window, factor: FactorSlot) -> int:
    return window.slots_s[bisect_right(window.slots_s, factor.start_s) - 1]


def _whole_days(window: Window) -> bool:
    """Whether the window's slots are all those of its days."""
    return window.slots_s[0] <= window.days[0][1] and window.end_s >= window.days[-1][2]


def _set_booked(connection: Connection, window: Window) -> None:
    table = schema.booked
    of_cluster = table.c.cluster == window.cluster
    before = connection.execute(select(table.c.start_s, table.c.end_s).where(of_cluster).order_by(table.c.start_s))
    if [tuple(row) for row in before] == [tuple(stretch) for stretch in window.booked]:
        return
    connection.execute(table.delete().where(of_cluster))
    connection.execute(insert(table), [{"cluster": window.cluster, "start_s": a, "end_s": b} for a, b in window.booked])


def _cannot_write(shown: str, error: Exception, advice: str = "mend it and run again") -> LedgerError:
    lines = str(getattr(error, "orig", error)).strip().splitlines() or [type(error).__name__]
    return LedgerError(f"the ledger {shown} cannot be written: {lines[0]}", advice)
