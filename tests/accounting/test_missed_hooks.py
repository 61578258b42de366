"""Hooks that were missed, from the journal's lines into the books: each hold ends, or begins, where sacct says.

A GPU draws 100 W throughout, so that a job's energy in J is a hundred times the seconds that it held it. The day is the
first of October 2026, and its times are written as seconds since midnight (UTC).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from accounting.audit import audit
from accounting.booking import Rules, Sources, account
from accounting.jobs import JobFilter, list_jobs
from accounting.ledger.reading import Books
from accounting.ledger.store import Ledger
from accounting.model import Device, FactorSlot, GpuSamples, Job, LabelSpan, Node
from accounting.sources import Factors
from collectors.holders import HpcJobLabels
from collectors.journal import Journal

MIDNIGHT_S = 1790812800  # 2026-10-01T00:00:00Z
DAY_S = 86400
POWER_W = 100.0
RULES = Rules(ZoneInfo("UTC"), 600.0, None, None, {}, 5.0)


@dataclass
class Site:
    """One GPU on n1, and the attempts of job 42 by sacct: (submit, start, end, restarts)."""

    attempts: Sequence[tuple[int, int, int | None, int]]
    labels: Sequence[tuple[int, int]] = ()  # from when to when samples carried the job's label
    name = "test"

    def jobs(self, start_s: float, end_s: float) -> Iterator[Job]:
        for submit, start, end, restarts in self.attempts:
            yield Job(
                "alpha", 42, MIDNIGHT_S + submit, "42", "COMPLETED", MIDNIGHT_S + start,
                None if end is None else MIDNIGHT_S + end, nodes=("n1",), gpus=1, restarts=restarts,
            )  # fmt: skip

    def samples(self, start_s: float, end_s: float, uuids: Collection[str] | None = None) -> Iterator[GpuSamples]:
        time_s = np.arange(np.ceil(start_s / 30) * 30, end_s + 1, 30.0)
        energy_j = POWER_W * (time_s - (MIDNIGHT_S - 30 * DAY_S))
        labels = tuple(LabelSpan(42, MIDNIGHT_S + first, MIDNIGHT_S + last) for first, last in self.labels)
        device = Device("alpha", "GPU-1", "n1", "A100", 0)
        yield GpuSamples(device, time_s, energy_j, np.zeros(0), np.zeros(0), labels)

    def nodes(self) -> Mapping[str, Node]:
        return {}


def factors(start_s: float, end_s: float) -> Factors:
    """PUE 1, and a grid of 50 g/kWh."""
    return Factors([FactorSlot(start_s, end_s, 1.0, "test")], [FactorSlot(start_s, end_s, 50.0, "test")], [])


def line(event: str, time: float, restart: int = 0) -> str:
    """A line as the hook writes it."""
    row = {
        "v": 1, "event": event, "time": MIDNIGHT_S + time, "cluster": "alpha", "job_id": 42, "restart": restart,
        "node": "n1", "gpus": [{"index": 0, "minor": 0, "uuid": "GPU-1", "mig": None}], "share": None,
    }  # fmt: skip
    return json.dumps(row) + "\n"


@dataclass
class Accounted:
    """What the books say: the GPU's seconds and energy by the attempt's submit time, and the disagreements."""

    held_s: dict[int, float]
    energy_j: dict[int, float | None]
    method: dict[int, str]
    disagreements: dict[str, int]
    unknown: int  # attempts that held GPUs of whose energy nothing is known, as the audit counts them
    balanced: bool


def run(
    folder: Path,
    attempts: Sequence[tuple[int, int, int | None, int]],
    lines: Sequence[str],
    hours: int,
    labels: Sequence[tuple[int, int]] = (),
) -> Accounted:
    """Account the day in windows of so many hours, by the journal and then by the label of samples."""
    (folder / "journal").mkdir()
    (folder / "journal" / "n1.jsonl").write_text("".join(lines))
    site, url = Site(attempts, labels), f"sqlite:///{folder}/ledger.db"
    ledger = Ledger(url, "UTC")
    for hour in range(0, 24, hours):
        holders = [Journal("alpha", folder / "journal"), HpcJobLabels()]
        sources = Sources(site, site, holders, None, site, factors)
        start_s = MIDNIGHT_S + hour * 3600
        account("alpha", sources, RULES, ledger, start_s, start_s + hours * 3600, version="t", config_digest="t")
    ledger.close()
    books = Books(url)
    rows = list(list_jobs(books, JobFilter(duplicates=True)))
    found = audit(books, None, None)
    return Accounted(
        {row.submit - MIDNIGHT_S: row.gpu_seconds for row in rows},
        {row.submit - MIDNIGHT_S: row.gpu_energy_j for row in rows},
        {row.submit - MIDNIGHT_S: row.method for row in rows},
        {name: count for name, count in found.holders.items() if count},
        found.jobs_unknown,
        found.balanced,
    )


#: Journal lines and attempts; what each attempt held, and what is counted.
CASES = {
    "all is well": (
        [(0, 7200, 18000, 0)],
        [line("start", 7200.5), line("end", 18002.5)],
        {0: 18002.5 - 7200.5},
        {},
    ),
    "the epilog was missed": (
        [(0, 7200, 18000, 0)],
        [line("start", 7200.5)],
        {0: 18000 - 7200.5},
        {"epilogs_missing": 1},
    ),
    "the prolog was missed": (
        [(0, 7200, 18000, 0)],
        [line("end", 18002.5)],
        {0: 18000.0 - 7200.0},
        {"prologs_missing": 1},
    ),
    "the node rebooted, and the job ran again": (
        [(0, 7200, 10000, 0), (10000, 14000, 20000, 1)],
        [line("start", 7200.5), line("start", 14000.5, 1), line("end", 20000.5, 1)],
        {0: 10000 - 7200.5, 10000: 20000.5 - 14000.5},
        {"epilogs_missing": 1},
    ),
    "the job was requeued, and its epilog counts the next attempt": (
        [(0, 7200, 10000, 0), (10000, 14000, 20000, 1)],
        [line("start", 7200.5), line("end", 10002.5, 1), line("start", 14000.5, 1), line("end", 20000.5, 2)],
        {0: 10002.5 - 7200.5, 10000: 20000.5 - 14000.5},
        {},
    ),
    "the node was away, and its epilog came hours later": (
        [(0, 7200, 10000, 0)],
        [line("start", 7200.5), line("end", 40000)],
        {0: 10000 + 3600 - 7200.5},
        {"ended_late": 1},
    ),
    "the clock stepped back by two hours while it ran": (
        [(0, 7200, 18000, 0)],
        [line("start", 14400.5), line("end", 11000)],
        {0: 18000.0 - 7200.0},
        {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("hours", [24, 1])
@pytest.mark.parametrize("case", CASES)
def test_holds_end_where_slurm_says(tmp_path: Path, case: str, hours: int) -> None:
    attempts, lines, held_s, disagreements = CASES[case]
    found = run(tmp_path, attempts, lines, hours)
    assert found.held_s == pytest.approx(held_s, abs=1e-6)
    assert found.energy_j == pytest.approx({submit: POWER_W * seconds for submit, seconds in held_s.items()}, rel=1e-9)
    assert found.balanced
    assert found.disagreements == disagreements


#: A job that ran, was killed with its node, and ran again: the journal has its first run, and of the second nothing.
REQUEUED = [(0, 7200, 10000, 0), (10000, 14000, 20000, 1)]


@pytest.mark.parametrize("hours", [24, 1])
@pytest.mark.parametrize("first", [[line("start", 7200)], [line("start", 7200), line("end", 10000)]])
def test_a_requeued_attempt_without_hooks_has_what_the_next_source_says(
    tmp_path: Path, first: list[str], hours: int
) -> None:
    found = run(tmp_path, REQUEUED, first, hours, labels=[(7230, 9990), (14010, 19980)])
    assert found.energy_j == pytest.approx({0: POWER_W * 2800, 10000: POWER_W * 6000}, rel=1e-9)
    assert found.method == {0: "counter", 10000: "counter"}
    assert found.unknown == 0
    assert found.balanced


@pytest.mark.parametrize("hours", [24, 1])
def test_a_requeued_attempt_of_which_no_source_knows_is_flagged(tmp_path: Path, hours: int) -> None:
    """Its energy is on the idle line, and neither 0 nor the first attempt's."""
    found = run(tmp_path, REQUEUED, [line("start", 7200), line("end", 10000)], hours)
    assert found.held_s == {0: 2800.0, 10000: 6000.0}
    assert found.energy_j == {0: pytest.approx(POWER_W * 2800, rel=1e-9), 10000: None}
    assert found.method == {0: "counter", 10000: "none"}
    assert found.unknown == 1
    assert found.balanced


def test_the_same_window_again_counts_once(tmp_path: Path) -> None:
    attempts, lines, *_ = CASES["the epilog was missed"]
    assert run(tmp_path, attempts, lines, 24).disagreements == {"epilogs_missing": 1}
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db", "UTC")
    site = Site(attempts)
    sources = Sources(site, site, [Journal("alpha", tmp_path / "journal")], None, site, factors)
    for _ in range(2):
        account("alpha", sources, RULES, ledger, MIDNIGHT_S, MIDNIGHT_S + DAY_S, version="t", config_digest="t")
    ledger.close()
    found = audit(Books(f"sqlite:///{tmp_path}/ledger.db"), None, None)
    assert {name: count for name, count in found.holders.items() if count} == {"epilogs_missing": 1}
