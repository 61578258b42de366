"""One run, from its sources to the books: all or nothing, the same however the time is cut, and nothing dropped."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from accounting.booking import Sources, account
from accounting.ledger.store import Ledger
from accounting.model import Job, Reject
from accounting.sources import Factors, SourceError
from simulator.scenarios import random_cluster
from tests.accounting.oneday import (
    BUSY_W,
    DAY,
    HOST_W,
    IDLE_W,
    RULES,
    Accountant,
    Site,
    at,
    the_day,
)
from tests.site import iso, make_site, query, tables

MIDNIGHT, NOON, EVENING = at(DAY, "00:00"), at(DAY, "12:00"), at(DAY, "00:00") + 86_400


def content(accountant: Accountant) -> dict[str, list[tuple[Any, ...]]]:
    """The books, without who wrote them when."""
    return tables(Path(accountant.ledger.address.path), but=("runs",))


def same_books(one: Path, other: Path) -> None:
    """The postings in force are the same: texts and times equal, figures to 1e-9."""
    quarantine = "SELECT source, raw FROM quarantine ORDER BY digest"
    for sql in (USAGE, BALANCE, "SELECT start_s, end_s FROM booked", quarantine):
        left, right = query(one, sql), query(other, sql)
        assert len(left) == len(right), sql
        for a, b in zip(left, right, strict=True):
            assert tuple(pytest.approx(x, rel=1e-9, abs=1e-6) if isinstance(x, float) else x for x in a) == b


USAGE = """
SELECT job_id, submit_s, kind, uuid, slot_s, method, holder, held_s, known_s, measured_s, energy_j, facility_j,
       location_g
FROM usage_slots JOIN attempts USING (attempt_id) JOIN meters USING (meter_id)
WHERE superseded_by IS NULL ORDER BY job_id, submit_s, kind, uuid, slot_s
"""
BALANCE = """
SELECT kind, uuid, slot_s, method, known_s, measured_s, metered_j, idle_s, idle_j
FROM balance JOIN meters USING (meter_id) WHERE superseded_by IS NULL ORDER BY kind, uuid, slot_s
"""


# --- all or nothing


class Broken:
    """A site one of whose sources cannot be read."""

    def __init__(self, site: Site, part: str) -> None:
        self._site, self._part = site, part

    def __getattr__(self, name: str) -> Any:
        if name == self._part:
            return self._fail
        return getattr(self._site, name)

    def _fail(self, *_: object) -> Iterator[Any]:
        yield from ()
        raise SourceError(f"the {self._part} cannot be read", "mend it")


@pytest.mark.parametrize("part", ["jobs", "samples", "tags"])
def test_a_source_that_cannot_be_read_leaves_the_books_as_they_were(accountant: Accountant, part: str) -> None:
    accountant.run(the_day(), MIDNIGHT, NOON)
    before = tables(Path(accountant.ledger.address.path))
    with pytest.raises(SourceError, match=f"the {part} cannot be read"):
        accountant.run(Broken(the_day(), part), MIDNIGHT, EVENING)  # type: ignore[arg-type]
    assert tables(Path(accountant.ledger.address.path)) == before


def test_factors_that_cannot_be_read_leave_the_books_as_they_were(accountant: Accountant) -> None:
    def fail(start_s: float, end_s: float) -> Factors:
        raise SourceError("the grid cannot be read")

    site = the_day()
    sources = Sources(site, site, [site], None, site, fail)  # type: ignore[arg-type]
    with pytest.raises(SourceError, match="the grid cannot be read"):
        account("alpha", sources, RULES, accountant.ledger, MIDNIGHT, NOON, version="", config_digest="")
    assert accountant.ledger.booked("alpha") == []


# --- however the time is cut


@pytest.mark.parametrize(
    "cuts",
    [
        ["00:00", "11:00", "24:00"],  # the job runs across it
        ["00:00", "10:30", "13:15", "24:00"],
        ["00:00", "12:10", "12:20", "12:21", "24:00"],  # all inside one hour
        ["12:00", "24:00", "00:00", "12:00"],  # the later part first
        ["00:00", "13:00", "12:00", "24:00"],  # an hour twice
    ],
    ids=" ".join,
)
def test_a_day_in_pieces_is_the_day(accountant: Accountant, tmp_path: Path, cuts: list[str]) -> None:
    times = [EVENING if clock == "24:00" else at(DAY, clock) for clock in cuts]
    for start_s, end_s in pairwise(times):
        if end_s > start_s:
            accountant.run(the_day(), start_s, end_s)
    whole = whole_day(tmp_path)
    same_books(Path(accountant.ledger.address.path), whole)


def whole_day(folder: Path) -> Path:
    path = folder / "whole.db"
    ledger = Ledger(f"sqlite:///{path}", "Europe/Paris")
    Accountant(f"sqlite:///{path}", ledger).day(the_day())
    ledger.close()
    return path


def test_a_job_that_runs_across_the_end_is_booked_for_its_part(accountant: Accountant) -> None:
    """From 10:30 to noon, at 300 W and 70 W; the rest comes with the window that has it."""
    accountant.run(the_day(), MIDNIGHT, NOON)
    job = accountant.job()
    assert job.gpu_energy_j == pytest.approx(1.5 * 3600 * BUSY_W, rel=1e-9)
    assert job.host_energy_j == pytest.approx(1.5 * 3600 * HOST_W, rel=1e-9)
    assert job.gpu_seconds == pytest.approx(1.5 * 3600, rel=1e-9)
    accountant.run(the_day(), NOON, EVENING)
    assert accountant.job().gpu_energy_j == pytest.approx(2.75 * 3600 * BUSY_W, rel=1e-9)
    assert accountant.report().idle.gpu_energy_j == pytest.approx(21.25 * 3600 * IDLE_W, rel=1e-9)


def test_again_changes_nothing(accountant: Accountant) -> None:
    accountant.day(the_day())
    before = content(accountant)
    again = accountant.day(the_day())
    assert (again.posted.posted, again.posted.superseded) == (0, 0)
    assert again.posted.unchanged > 24
    assert content(accountant) == before


def test_a_hole_between_two_windows_stays_a_hole(accountant: Accountant) -> None:
    accountant.run(the_day(), MIDNIGHT, at(DAY, "10:45"))
    accountant.run(the_day(), at(DAY, "11:15"), NOON)
    assert accountant.ledger.booked("alpha") == [(MIDNIGHT, at(DAY, "10:45")), (at(DAY, "11:15"), NOON)]
    assert accountant.job().gpu_seconds == pytest.approx(3600, rel=1e-9)  # 15 and 45 minutes
    accountant.run(the_day(), at(DAY, "10:45"), at(DAY, "11:15"))
    assert accountant.ledger.booked("alpha") == [(MIDNIGHT, NOON)]
    assert accountant.job().gpu_seconds == pytest.approx(5400, rel=1e-9)


@pytest.mark.parametrize("seed", [4, 5, 6, 9, 12])
def test_random_clusters_cut_at_random(tmp_path: Path, seed: int) -> None:
    """Every trouble is on; a window is from a second to an hour long."""
    whole = make_site(tmp_path / "whole", random_cluster(seed), "Asia/Kathmandu")
    pieces = whole.copy(tmp_path / "pieces")
    whole.collect()
    chance = random.Random(seed)
    cuts = sorted({whole.start_s, whole.end_s, *(chance.randrange(whole.start_s, whole.end_s) for _ in range(6))})
    for start_s, end_s in pairwise(cuts):
        pieces.collect("-S", iso(start_s), "-E", iso(end_s))
    same_books(whole.ledger, pieces.ledger)
    assert "The books balance." in pieces.good("audit").out


# --- nothing is dropped


class Noisy(Site):
    """Its sources have rows that cannot be understood."""

    def jobs(self, start_s: float, end_s: float) -> Iterator[Any]:
        yield Reject("sacct", "line 7", "a|b", "no job")
        yield from super().jobs(start_s, end_s)

    def samples(self, *words: Any) -> Iterator[Any]:
        yield Reject("gpu", "a series", "{}", "the series names no GPU")
        yield from super().samples(*words)

    def tags(self, *words: Any) -> Iterator[Any]:
        yield Reject("journal", "n1.jsonl:3", "{", "torn")
        yield from (replace(tag, job_id=99) for tag in super().tags(*words))  # a job that Slurm does not know
        yield from super().tags(*words)


def test_every_row_ends_in_the_books_or_in_quarantine(accountant: Accountant) -> None:
    quiet = the_day()
    noisy = Noisy(quiet.start_s, quiet.end_s, quiet.factors)
    assert accountant.day(noisy).posted.quarantined == 4
    with accountant.books as books:
        rows = books.rows("SELECT source, reason FROM quarantine ORDER BY source, reason")
    assert [(row["source"], row["reason"]) for row in rows] == [
        ("gpu", "the series names no GPU"),
        ("journal", "job 99 is not in Slurm's accounting of cluster alpha"),
        ("journal", "torn"),
        ("sacct", "no job"),
    ]
    assert accountant.job().gpu_energy_j == pytest.approx(2.75 * 3600 * BUSY_W, rel=1e-9)


def test_a_job_that_a_source_names_twice_is_taken_once_as_it_said_last(accountant: Accountant) -> None:
    first = next(the_day().jobs(MIDNIGHT, EVENING))
    site = replace(the_day(), others=[replace(first, state="RUNNING", end_s=None)])
    accountant.day(site)
    job = accountant.job()
    assert (job.state, job.gpu_seconds) == ("COMPLETED", pytest.approx(2.75 * 3600))


def test_gpus_that_nobody_can_name_are_held_and_unknown(accountant: Accountant) -> None:
    other = Job(
        "alpha", 8, int(MIDNIGHT), "8", "COMPLETED", int(at(DAY, "14:00")), int(at(DAY, "15:00")), nodes=("n9",), gpus=2
    )  # fmt: skip
    accountant.day(replace(the_day(), others=[other]))
    assert accountant.used("gpu", "uuid", "held_s", "energy_j", "method")[-1] == ("", 7200.0, None, "none")
    report = accountant.report()
    assert (report.total.jobs, report.total.jobs_unknown) == (2, 1)
