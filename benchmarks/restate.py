"""How long a restatement of a month of 200,000 jobs takes, beside a floor in the same run.

The floor reads and writes the same rows with the bare driver: every posting of the month is read, the restated ones are
put into an empty copy of their tables, the old ones are marked, and the roll-ups of the month are read and put again.
It knows nothing of factors. The sums are checked, too: what each account's figures differ by adds up to the total, and
the books say what was printed.

    python benchmarks/restate.py            200,000 jobs
    python benchmarks/restate.py --quick    a fiftieth of it, for continuous integration
"""

from __future__ import annotations

import argparse
import math
import sqlite3
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from zoneinfo import ZoneInfo

sys.path.insert(0, str(Path(__file__).parents[1]))

from accounting.booking import Rules
from accounting.ledger.closing import By
from accounting.ledger.drivers import connect_sqlite
from accounting.ledger.reading import Books
from accounting.ledger.recording import Program
from accounting.ledger.store import Ledger
from accounting.model import FactorSlot
from accounting.report import make_report
from accounting.restate import period_of, restate_factors
from accounting.restated import Restated
from accounting.sources import Factors
from benchmarks._ledger_days import HOUR_S, day_name, days, start_of

DAYS = 31
GOAL_S = 60.0
RUN = {"started_s": 0.0, "version": "0", "config_digest": "0"}
RULES = Rules(
    zone=ZoneInfo("UTC"), max_gap_s=600.0, host=None, embodied_gpu_g=300_000.0, embodied_gpu_model_g={},
    lifetime_years=5.0,
)  # fmt: skip


@dataclass(frozen=True)
class Took:
    """Seconds of the processor, all of it in this process, and by the clock, which a busy machine makes longer."""

    processor_s: float
    wall_s: float

    @classmethod
    def now(cls) -> Took:
        """The readings of both clocks."""
        return cls(time.process_time(), time.perf_counter())

    def __sub__(self, other: Took) -> Took:
        return Took(self.processor_s - other.processor_s, self.wall_s - other.wall_s)


def fill(path: Path, jobs_a_day: int) -> None:
    """A month of jobs, with an intensity for each hour that was an estimate."""
    ledger = Ledger(f"sqlite:///{path}", "UTC")
    for window in days(DAYS, jobs_a_day):
        factors = [
            (kind, FactorSlot(slot_s, slot_s + HOUR_S, value, "estimate", True))
            for slot_s in window.slots_s
            for kind, value in (("location", 60.0), ("market", 25.0))
        ]
        ledger.post(replace(window, factors=[*window.factors, *factors]), RUN)
    ledger.close()


def final(start_s: float, end_s: float) -> Factors:
    """The values that turn out to be final: another one for each hour, on the same PUE and contracts."""
    hours = range(int(start_s), int(end_s), HOUR_S)
    location = [FactorSlot(at, at + HOUR_S, 40.0 + at // HOUR_S % 24, "final") for at in hours]
    return Factors(
        [FactorSlot(start_s, end_s, 1.2, "benchmark")], location, [FactorSlot(start_s, end_s, 25.0, "estimate")]
    )


def restate(path: Path) -> tuple[Restated, Took]:
    """Restate the month; what it says, and how long it took."""
    ledger = Ledger(f"sqlite:///{path}", "UTC")
    started = Took.now()
    with ledger.lock():
        period = period_of(ledger, "alpha", start_of(0), start_of(DAYS))
        found = restate_factors(
            ledger, period, RULES, final, SimpleNamespace(nodes=dict), By("bench", "here", "final values"),
            Program("0", "0"), dry_run=False,
        )  # fmt: skip
    took = Took.now() - started
    ledger.close()
    return found, took


def floor(path: Path, run_id: int) -> Took:
    """How long the bare driver takes for as many rows."""
    driver = connect_sqlite(str(path))
    driver.execute("PRAGMA foreign_keys = ON")
    started = Took.now()
    driver.execute("BEGIN IMMEDIATE")
    for table, identity in (("usage_slots", "usage_id"), ("balance", "balance_id")):
        last = driver.execute(f"SELECT MAX({identity}) FROM {table}").fetchone()[0]
        rows = driver.execute(f"SELECT * FROM {table} WHERE superseded_by IS NULL").fetchall()
        marks = ", ".join("?" * len(rows[0]))
        fresh = [(last + number, *row[1:]) for number, row in enumerate(rows, 1)]
        driver.executemany(f"INSERT INTO {table} VALUES ({marks})", fresh)
        driver.executemany(
            f"UPDATE {table} SET superseded_by = {run_id} WHERE {identity} = ?", ((row[0],) for row in rows)
        )
    for table in ("usage_days", "idle_days", "payer_days", "payer_months"):
        rows = driver.execute(f"SELECT * FROM {table}").fetchall()
        driver.execute(f"DELETE FROM {table}")
        driver.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[0]))})", rows)
    driver.execute("ROLLBACK")
    took = Took.now() - started
    driver.close()
    return took


def sums_agree(path: Path, found: Restated) -> bool:
    """Whether the accounts' differences add up to the total, and the books say what was said, to a billionth."""
    with Books(f"sqlite:///{path}") as books:
        total = make_report(books, day_name(0), day_name(DAYS - 1), "account").total
    good = True
    for name in ("facility_energy_j", "co2e_location_g", "co2e_market_g", "co2e_embodied_g"):
        by_account = math.fsum(getattr(line.difference, name) for line in found.lines)
        scale = abs(getattr(found.total.new, name))
        good &= math.isclose(by_account, getattr(found.total.difference, name), rel_tol=1e-9, abs_tol=1e-9 * scale)
        good &= math.isclose(getattr(total, name), getattr(found.total.new, name), rel_tol=1e-9)
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a fiftieth of it, for continuous integration")
    options = parser.parse_args()
    jobs_a_day = 128 if options.quick else 6_480
    with tempfile.TemporaryDirectory(prefix="scarbon-bench-") as made:
        path = Path(made) / "ledger.db"
        fill(path, jobs_a_day)
        with sqlite3.connect(path) as books:
            postings = books.execute(
                "SELECT (SELECT COUNT(*) FROM usage_slots) + (SELECT COUNT(*) FROM balance)"
            ).fetchone()
        books.close()
        bare = floor(path, 1)
        found, took = restate(path)
        agree = sums_agree(path, found)
    print(
        f"a month of {DAYS * jobs_a_day:,} jobs, {postings[0]:,} postings, {found.posted:,} superseded: restated in "
        f"{took.processor_s:.1f} s of the processor (goal: {GOAL_S:g} s), {took.wall_s:.1f} s by the clock; the bare "
        f"driver takes {bare.processor_s:.1f} s and {bare.wall_s:.1f} s for as many rows: "
        f"{took.processor_s / bare.processor_s:.2f} times"
    )
    print(f"sums by account, total and report {'agree' if agree else 'DO NOT AGREE'} to 1e-9")
    good = agree and took.processor_s <= GOAL_S
    print("goals met" if good else "GOALS NOT MET")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
