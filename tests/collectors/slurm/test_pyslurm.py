"""pyslurm: what each version says, what is completed, what is refused by name, and that probing it ends nothing.

The versions are stand-ins with the attributes of their `pyslurm.db`; test_contract.py says whether the contract ran
against the real library.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from accounting.model import Job, Reject
from accounting.sources import SourceError
from collectors.slurm.pyslurm import PyslurmSource, probe
from tests.collectors.slurm import world
from tests.collectors.slurm.world import END_S, START_S, Record

STANDINS = Path(__file__).with_name("standins")


@pytest.fixture
def pyslurm(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A version's stand-in, to be imported as pyslurm."""
    version: str = getattr(request, "param", "25.11.2")
    monkeypatch.syspath_prepend(str(STANDINS / version))
    yield version
    sys.modules.pop("pyslurm", None)
    world.PYSLURM.clear()


def failure(source: PyslurmSource) -> SourceError:
    with pytest.raises(SourceError) as caught:
        list(source.jobs(START_S, END_S))
    assert caught.value.advice
    return caught.value


def test_a_version_that_says_enough(pyslurm: str) -> None:
    found = probe()
    assert found.usable
    assert str(found) == "pyslurm 25.11.2"
    assert "pyslurm" not in sys.modules  # it was looked at in another process


@pytest.mark.parametrize("pyslurm", ["22.5.3", "24.11.0"], indirect=True)
def test_versions_that_do_not_are_refused_by_what_they_lack(pyslurm: str) -> None:
    lacks = "what was allocated (GPUs), the earlier runs of requeued jobs, the parts of heterogeneous jobs"
    error = failure(PyslurmSource("alpha"))
    assert error.what == f"pyslurm {pyslurm} does not say: {lacks}"
    assert "sacct" in error.advice
    assert "pyslurm" not in sys.modules


def test_a_pyslurm_without_its_database_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyslurm.py").write_text("__version__ = '18.8.1'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert str(probe()) == "pyslurm 18.8.1 does not say: pyslurm.db"


@pytest.mark.parametrize("pyslurm", ["fatal"], indirect=True)
def test_a_pyslurm_that_ends_the_process_ends_the_probe_alone(pyslurm: str) -> None:
    """As the real one does where there is no slurm.conf."""
    found = probe()
    assert not found.usable
    assert str(found) == "pyslurm cannot be imported: pyslurm: fatal: Could not establish a configuration source"
    assert "Could not establish" in failure(PyslurmSource("alpha")).what


def test_a_pyslurm_that_ends_the_process_without_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyslurm.py").write_text("import os\nos.abort()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "it ended the process (exit -6)" in str(probe())


def test_a_pyslurm_that_never_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyslurm.py").write_text("import time\ntime.sleep(600)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert str(probe(timeout_s=0.5)) == "pyslurm cannot be imported: no answer within 0.5 s"


def test_it_cannot_ask_slurmdbd(pyslurm: str) -> None:
    world.PYSLURM["error"] = "Failed to open connection to slurmdbd"
    assert failure(PyslurmSource("alpha")).what == (
        "pyslurm could not read the jobs: Failed to open connection to slurmdbd"
    )


def test_what_it_prints_does_not_reach_stdout(pyslurm: str, capsys: pytest.CaptureFixture[str]) -> None:
    list(PyslurmSource("alpha").jobs(START_S, END_S))
    said = capsys.readouterr()
    assert said.out == ""
    assert "pyslurm 25.11.2 prints" in said.err


def test_earlier_runs_are_asked_for_only_where_there_are_any(pyslurm: str) -> None:
    """One call for a window of jobs that ran once, even where they start in the second in which they came."""
    world.PYSLURM["records"] = tuple(Record(job_id, job_id, job_id, job_id + 50) for job_id in range(1, 30))
    assert len(list(PyslurmSource("alpha").jobs(START_S, END_S))) == 29
    assert len(world.PYSLURM["calls"]) == 1


def test_earlier_runs_of_many_jobs_requeued_at_once_are_one_call(pyslurm: str) -> None:
    """A node fails, and all its jobs are requeued in the same second."""
    runs = [(Record(i, 0, 10, 500, state="REQUEUED"), Record(i, 500, 620, 900, restarts=1)) for i in range(1, 20)]
    world.PYSLURM["records"] = tuple(run for both in runs for run in both)
    jobs = list(PyslurmSource("alpha").jobs(START_S, END_S))
    assert len(jobs) == 38
    # The window, the runs before the second ones; and what came before those was before the window.
    assert len(world.PYSLURM["calls"]) == 2


def test_runs_before_the_window_are_not_asked_for(pyslurm: str) -> None:
    world.PYSLURM["records"] = (
        Record(1, -5000, -4990, -4000, state="REQUEUED"),
        Record(1, -4000, -3900, 100, restarts=1),
    )
    (job,) = PyslurmSource("alpha").jobs(START_S, END_S)
    assert isinstance(job, Job)
    assert job.restarts == 1
    assert len(world.PYSLURM["calls"]) == 1


def test_a_job_of_several_sizes(pyslurm: str) -> None:
    world.PYSLURM["records"] = (
        Record(1, 0, 10, 100, state="RESIZING", nodes="n[1-4]"),
        Record(1, 100, 100, 200, state="RESIZING", nodes="n[1-2]", eligible=100),
        Record(1, 200, 200, 300, nodes="n1", eligible=200),
    )
    jobs = [job for job in PyslurmSource("alpha").jobs(START_S, END_S) if isinstance(job, Job)]
    assert sorted((job.submit_s - START_S, len(job.nodes)) for job in jobs) == [(0, 4), (100, 2), (200, 1)]


def test_a_record_that_cannot_be_understood_does_not_stop_the_others(pyslurm: str) -> None:
    world.PYSLURM["records"] = (Record(1, 0, 10, 20), Record(2, 0, 10, 20, nodes="n[1-"), Record(3, 0, 30, 20))
    rows = list(PyslurmSource("alpha").jobs(START_S, END_S))
    assert [row.job_id for row in rows if isinstance(row, Job)] == [1]
    rejects = [row for row in rows if isinstance(row, Reject)]
    assert {reject.source for reject in rejects} == {"pyslurm"}
    assert sorted(reject.reason.partition(":")[0] for reject in rejects) == [
        "NodeList 'n[1-'",
        f"the job ends ({START_S + 20}) before it starts ({START_S + 30})",
    ]
    assert all('"id": ' in reject.raw for reject in rejects)
