"""The record of a restatement: what was said before, what is said now, why, when and by whom."""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, update

from accounting.ledger import schema
from accounting.ledger.closing import By


@dataclass(frozen=True, slots=True)
class Program:
    """What a run was made with: the version, and the digest of the configuration."""

    version: str
    config_digest: str


class Record:
    """One restatement of one cluster, begun in the transaction that changes the books, and ended in it."""

    def __init__(
        self, connection: Connection, cluster: str, rule: str, span: tuple[float, float], by: By, program: Program
    ) -> None:
        self._connection = connection
        table = schema.restatements
        self.restatement_id = _following(connection, table.c.restatement_id)
        self.first_run = _following(connection, schema.runs.c.run_id)
        self._run = {"cluster": cluster, "start_s": span[0], "end_s": span[1], "started_s": time.time()}
        self._run |= {"version": program.version, "config_digest": program.config_digest}
        connection.execute(
            insert(table).values(
                restatement_id=self.restatement_id, cluster=cluster, start_s=span[0], end_s=span[1], rule=rule,
                at_s=time.time(), who=by.who, host=by.host, why=by.why, old="{}", new="{}",
            )
        )  # fmt: skip

    def run(self) -> int:
        """A run of its own, for what is posted without one."""
        self._connection.execute(
            insert(schema.runs).values(
                run_id=self.first_run,
                finished_s=time.time(),
                summary="{}",
                restatement_id=self.restatement_id,
                **self._run,
            )
        )
        return self.first_run

    def finish(self, old: str, new: str, summary: str | None = None) -> None:
        """Note both sides (JSON), and that the runs since the beginning belong to it; `summary` of a run of its own."""
        table, runs = schema.restatements, schema.runs
        this = table.c.restatement_id == self.restatement_id
        self._connection.execute(update(table).where(this).values(old=old, new=new))
        values: dict[str, object] = {"restatement_id": self.restatement_id}
        if summary is not None:
            values["summary"] = summary
        self._connection.execute(update(runs).where(runs.c.run_id >= self.first_run).values(values))

    def forget(self) -> None:
        """Nothing differed: it leaves no trace. Only for one with a run of its own."""
        runs, table = schema.runs, schema.restatements
        self._connection.execute(delete(runs).where(runs.c.run_id >= self.first_run))
        self._connection.execute(delete(table).where(table.c.restatement_id == self.restatement_id))


def _following(connection: Connection, column: ColumnElement[int]) -> int:
    return (connection.execute(select(func.max(column))).scalar() or 0) + 1
