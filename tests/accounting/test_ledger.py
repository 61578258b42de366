"""What a posting does to the books: what is said again stays, what differs supersedes, what fails leaves nothing."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from accounting.ledger import store
from accounting.ledger.errors import LedgerError
from accounting.ledger.postings import BalanceRow, Posted, UsageRow
from accounting.ledger.reading import Books
from accounting.ledger.store import Ledger
from accounting.model import Reject
from tests.ledger.windows import HOUR_S, OTHER, RUN, START_S, balance, job, usage, window
from tests.site import query, tables

ADA = job(1)
BOB = job(2, user="bob", account="chem", job_id=2)

USAGE = [usage(ADA, 0), usage(ADA, 1, 7200.0), usage(BOB, 0, None, OTHER)]
BALANCE = [balance(0, 4000.0, 400.0), balance(1, 7200.0, 0.0)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    made = Ledger(f"sqlite:///{path}", "UTC")
    yield made
    made.close()


def post(
    ledger: Ledger,
    rows: list[UsageRow] = USAGE,
    balances: list[BalanceRow] = BALANCE,
    first: int = 0,
    beyond: int = 2,
    **words: Any,
) -> Posted:
    return ledger.post(window(first, beyond, words.pop("jobs", [ADA, BOB]), rows, balances, **words), RUN)


def in_force(path: Path) -> list[tuple[Any, ...]]:
    """(job, hour, energy, run) of the usage in force."""
    sql = "SELECT job_id, (slot_s - ?) / 3600, energy_j, u.run_id FROM usage_slots u JOIN attempts USING (attempt_id) "
    return query(path, sql + "WHERE superseded_by IS NULL ORDER BY job_id, slot_s", START_S)


def test_what_is_posted_is_there(ledger: Ledger, path: Path) -> None:
    assert post(ledger) == Posted(posted=6, superseded=0, unchanged=0, quarantined=0)  # 3 usage, 2 balance, 1 PUE
    assert in_force(path) == [(1, 0, 3600.0, 1), (1, 1, 7200.0, 1), (2, 0, None, 1)]
    assert ledger.booked("alpha") == [(START_S, START_S + 2 * HOUR_S)]
    assert ledger.booked("beta") == []


def test_the_same_again_changes_nothing_but_the_list_of_runs(ledger: Ledger, path: Path) -> None:
    post(ledger)
    before = tables(path)
    assert post(ledger) == Posted(posted=0, superseded=0, unchanged=6, quarantined=0)
    after = tables(path)
    assert {name for name in before if before[name] != after[name]} == {"runs"}


def test_a_figure_is_the_same_to_a_billionth(ledger: Ledger, path: Path) -> None:
    post(ledger)
    nearly = [USAGE[0]._replace(energy_j=3600.0 * (1 + 5e-10)), *USAGE[1:]]
    assert post(ledger, nearly).superseded == 0
    other = [USAGE[0]._replace(energy_j=3600.0 * (1 + 5e-9)), *USAGE[1:]]
    assert post(ledger, other).superseded == 1
    assert in_force(path)[0] == (1, 0, 3600.0 * (1 + 5e-9), 3)


def test_what_differs_supersedes_and_stays_as_history(ledger: Ledger, path: Path) -> None:
    post(ledger)
    changed = [USAGE[0], USAGE[1]._replace(energy_j=9000.0), USAGE[2]]
    assert post(ledger, changed) == Posted(posted=1, superseded=1, unchanged=5, quarantined=0)
    assert in_force(path) == [(1, 0, 3600.0, 1), (1, 1, 9000.0, 2), (2, 0, None, 1)]
    history = query(path, "SELECT energy_j, run_id, superseded_by FROM usage_slots WHERE superseded_by IS NOT NULL")
    assert history == [(7200.0, 1, 2)]


def test_what_is_said_no_more_is_gone_and_stays_as_history(ledger: Ledger, path: Path) -> None:
    post(ledger)
    assert post(ledger, USAGE[:1], BALANCE[:1]) == Posted(posted=0, superseded=3, unchanged=3, quarantined=0)
    assert in_force(path) == [(1, 0, 3600.0, 1)]
    assert query(path, "SELECT COUNT(*) FROM usage_slots") == [(3,)]


@pytest.mark.parametrize(("before", "after"), [(None, 3600.0), (3600.0, None), (None, 0.0)])
def test_unknown_and_a_figure_are_never_the_same(
    ledger: Ledger, path: Path, before: float | None, after: float | None
) -> None:
    post(ledger, [usage(ADA, 0, before)])
    assert post(ledger, [usage(ADA, 0, after)]).superseded >= 1
    assert in_force(path) == [(1, 0, after, 2)]


def test_other_slots_and_other_clusters_are_not_touched(ledger: Ledger, path: Path) -> None:
    post(ledger)
    stranger = replace(ADA, cluster="beta")
    there = window(0, 2, [stranger], [usage(stranger, 0)], [balance(0, 1.0, 0.0)], cluster="beta")
    ledger.post(there, RUN)
    post(ledger, [usage(ADA, 2)], [balance(2, 1.0, 0.0)], first=2, beyond=3, booked=(0, 3))
    assert [row[:3] for row in in_force(path)] == [
        (1, 0, 3600.0), (1, 0, 3600.0), (1, 1, 7200.0), (1, 2, 3600.0), (2, 0, None),
    ]  # fmt: skip
    assert query(path, "SELECT COUNT(*) FROM usage_slots WHERE superseded_by IS NOT NULL") == [(0,)]


def test_the_days_are_sums_of_what_is_in_force(ledger: Ledger, path: Path) -> None:
    sql = "SELECT job_id, day, kind, held_s, energy_j FROM usage_days JOIN attempts USING (attempt_id) ORDER BY job_id"
    post(ledger)
    assert query(path, sql) == [
        (1, "2026-10-30", "gpu", 7200.0, 10_800.0), (2, "2026-10-30", "gpu", 3600.0, None),
    ]  # fmt: skip
    post(ledger, [USAGE[0], USAGE[1]._replace(energy_j=9000.0)])
    assert query(path, sql) == [(1, "2026-10-30", "gpu", 7200.0, 12_600.0)]


def test_what_slurm_now_says_of_a_job_is_kept(ledger: Ledger, path: Path) -> None:
    sql = "SELECT attempt_id, state, end_s, account FROM attempts ORDER BY attempt_id"
    running = replace(ADA, state="RUNNING", end_s=None)
    post(ledger, [usage(running, 0)], jobs=[running])
    assert query(path, sql) == [(1, "RUNNING", None, "phys")]
    moved = replace(ADA, account="bio")
    post(ledger, [usage(moved, 0)], jobs=[moved])
    assert query(path, sql) == [(1, "COMPLETED", START_S + 2 * HOUR_S, "bio")]


def test_attempts_of_one_job_are_told_apart(ledger: Ledger, path: Path) -> None:
    again = replace(ADA, submit_s=START_S + 60)
    post(ledger, [usage(ADA, 0), usage(again, 1)], jobs=[ADA, again])
    assert query(path, "SELECT attempt_id, job_id, submit_s FROM attempts ORDER BY attempt_id") == [
        (1, 1, START_S), (2, 1, START_S + 60),
    ]  # fmt: skip


def test_a_row_goes_to_quarantine_once(ledger: Ledger, path: Path) -> None:
    torn = Reject("journal", "/j/n1.jsonl:7", '{"v":1,', "torn")
    later = replace(torn, where="/j/n1.jsonl:9")
    assert post(ledger, rejects=[torn, torn]).quarantined == 1
    before = query(path, "SELECT * FROM quarantine")
    assert post(ledger, rejects=[later]).quarantined == 0  # it is there already
    assert query(path, "SELECT * FROM quarantine") == before
    assert post(ledger, rejects=[torn, replace(torn, raw="other"), replace(torn, source="sacct")]).quarantined == 2
    assert query(path, "SELECT COUNT(*) FROM quarantine") == [(3,)]


def test_a_row_that_its_window_no_longer_meets_leaves_quarantine(ledger: Ledger, path: Path) -> None:
    torn = Reject("journal", "/j/n1.jsonl:7", '{"v":1,', "torn")
    post(ledger, rejects=[torn, replace(torn, raw="other")])
    posted = post(ledger, rejects=[torn])
    assert (posted.quarantined, posted.understood) == (0, 1)
    assert query(path, "SELECT raw FROM quarantine") == [(torn.raw,)]
    (summary,) = query(path, "SELECT summary FROM runs WHERE run_id = 2")
    assert json.loads(summary[0])["understood"] == 1


@pytest.mark.parametrize("raw", ["caf\udce9", "nul\0", "☂ \U0001f329", "", "x" * 100_000])
def test_any_text_can_lie_in_quarantine(ledger: Ledger, path: Path, raw: str) -> None:
    post(ledger, rejects=[Reject("sacct", "dump:1", raw, "no job")])
    ((kept,),) = query(path, "SELECT raw FROM quarantine")
    assert isinstance(kept, str)
    assert len(kept) >= len(raw)
    with Books(f"sqlite:///{path}") as books:
        assert books.rows("SELECT reason FROM quarantine")[0]["reason"] == "no job"


@pytest.mark.parametrize("step", ["_post", "keep_rejects", "_set_booked"])
def test_a_failure_in_the_middle_leaves_no_trace(
    ledger: Ledger, path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    post(ledger)
    before = tables(path)
    real = getattr(store, step)

    def failing(*words: Any) -> Any:
        real(*words)
        raise KeyboardInterrupt

    monkeypatch.setattr(store, step, failing)
    changed = [usage(ADA, 0, 1.0), usage(BOB, 1, 2.0, OTHER)]
    torn = Reject("journal", "n1.jsonl:7", "{", "torn")
    with pytest.raises(KeyboardInterrupt):
        post(ledger, changed, rejects=[torn], booked=(0, 9))
    assert tables(path) == before
    monkeypatch.undo()
    assert post(ledger, changed, rejects=[torn]).quarantined == 1  # the ledger can still be written
    assert [row[:3] for row in in_force(path)] == [(1, 0, 1.0), (2, 1, 2.0)]


def test_a_ledger_that_cannot_be_written_says_so(ledger: Ledger, path: Path) -> None:
    """Another program holds the file."""
    post(ledger)
    before = tables(path)
    ledger._connection.connection.driver_connection.execute("PRAGMA busy_timeout = 10")  # type: ignore[union-attr]
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError) as refused:
            post(ledger, [usage(ADA, 0, 1.0)])
        other.execute("ROLLBACK")
    assert refused.value.what == f"the ledger {path} cannot be written: database is locked"
    assert refused.value.advice == "this window was not booked; mend it and run again"
    assert tables(path) == before


def test_one_writer_at_a_time(ledger: Ledger, path: Path) -> None:
    second = Ledger(f"sqlite:///{path}", "UTC")
    try:
        held = pytest.raises(LedgerError, match=r"another run is writing to .*: process \d+ on \S+ since \d")
        with ledger.lock(), held, second.lock():
            raise AssertionError
        with second.lock():
            pass
    finally:
        second.close()


def test_a_reader_waits_for_no_writer(ledger: Ledger, path: Path) -> None:
    post(ledger)
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("UPDATE usage_slots SET energy_j = 0")
        with Books(f"sqlite:///{path}") as books:
            (row,) = books.rows("SELECT SUM(energy_j) AS j FROM usage_slots")
            assert row["j"] == 10_800.0
        writer.execute("ROLLBACK")
