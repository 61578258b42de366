"""What is asked of sacct, and what happens when it does not answer as it should."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from accounting.model import Job, Reject
from accounting.sources import SourceError
from collectors.slurm.sacct import SacctSource
from tests.collectors.slurm import world
from tests.collectors.slurm.conftest import FakeSlurm
from tests.collectors.slurm.world import END_S, START_S, Record


def failure(source: SacctSource, start_s: float = START_S, end_s: float = END_S) -> SourceError:
    with pytest.raises(SourceError) as caught:
        list(source.jobs(start_s, end_s))
    assert caught.value.advice
    assert "\n" not in caught.value.what + caught.value.advice
    return caught.value


# --- what is asked


def test_one_call_for_all_jobs_of_a_window(fake_slurm: FakeSlurm) -> None:
    list(SacctSource("alpha", fake_slurm.sacct).jobs(START_S, END_S))
    (call,) = fake_slurm.calls()
    assert {"--allusers", "--duplicates", "--allocations", "--clusters=alpha"} <= set(call)
    assert {"--starttime=2026-10-01T00:00:00", "--endtime=2026-10-02T00:00:00"} <= set(call)
    # `-s` changes what the window means, `-T` the times of the jobs.
    assert not [word for word in call if word.startswith(("-s", "--state", "-T", "--truncate"))]


def test_the_window_is_rounded_outwards_to_whole_seconds(fake_slurm: FakeSlurm) -> None:
    list(SacctSource("alpha", fake_slurm.sacct).jobs(START_S + 0.7, END_S - 0.3))
    assert {"--starttime=2026-10-01T00:00:00", "--endtime=2026-10-02T00:00:00"} <= set(fake_slurm.calls()[0])


def test_each_call_has_a_separator_of_its_own(fake_slurm: FakeSlurm) -> None:
    list(SacctSource("alpha", fake_slurm.sacct, days_a_call=0.1).jobs(START_S, END_S))
    words = [word for call in fake_slurm.calls() for word in call if word.startswith("--delimiter")]
    assert len(set(words)) == len(words) == 10
    assert all("\x1f" in word for word in words)


def test_a_long_window_is_asked_for_in_parts_and_each_attempt_comes_once(fake_slurm: FakeSlurm) -> None:
    """Parts of six hours; a job over three of them, one that ends on an edge, one that begins on it, one that waits."""
    records = (
        Record(1, 0, 100, 50_000),
        Record(2, 0, 100, 21_600),
        Record(3, 21_600, 21_600, 21_700),
        Record(4, 10, state="PENDING", nodes="None assigned", tres=()),
        Record(5, 0, 21_600, 21_600),
    )
    fake_slurm.set(records)
    source = SacctSource("alpha", fake_slurm.sacct, days_a_call=0.25)
    jobs = [job.job_id for job in source.jobs(START_S, END_S) if isinstance(job, Job)]
    assert sorted(jobs) == [1, 2, 3, 4, 5]
    assert len(fake_slurm.calls()) == 4


def test_keys_are_held_of_those_alone_that_cross_an_edge(fake_slurm: FakeSlurm) -> None:
    """A job id that starts again after a day is another attempt, in whatever part it comes."""
    fake_slurm.set((Record(1, 0, 10, 20), Record(1, 70_000, 70_010, 70_020)))
    jobs = list(SacctSource("alpha", fake_slurm.sacct, days_a_call=0.25).jobs(START_S, END_S))
    assert [job.submit_s - START_S for job in jobs if isinstance(job, Job)] == [0, 70_000]


def test_newer_fields_are_asked_for_where_sacct_knows_them(fake_slurm: FakeSlurm) -> None:
    fake_slurm.set((Record(1, 0, 10, 20, restarts=3, sluid="s1ABC"),), fields=[*fake_slurm.facts["fields"], "Restarts"])
    (job,) = SacctSource("alpha", fake_slurm.sacct).jobs(START_S, END_S)
    assert isinstance(job, Job)
    assert (job.restarts, job.sluid) == (3, None)
    fake_slurm.set((Record(1, 0, 10, 20, sluid="s1ABC"),), fields=[*fake_slurm.facts["fields"], "SLUID"])
    (job,) = SacctSource("alpha", fake_slurm.sacct).jobs(START_S, END_S)
    assert isinstance(job, Job)
    assert job.sluid == "s1ABC"


def test_a_row_that_cannot_be_understood_does_not_stop_the_others(fake_slurm: FakeSlurm) -> None:
    fake_slurm.set((Record(1, 0, 10, 20), Record(2, 0, 10, 20, tres=()), Record(3, 0, 10, 20)))
    fake_slurm.facts["rows"][1]["AllocTRES"] = "gres/gpu=two"
    fake_slurm.write()
    first, reject, third = SacctSource("alpha", fake_slurm.sacct).jobs(START_S, END_S)
    assert isinstance(first, Job)
    assert isinstance(third, Job)
    assert isinstance(reject, Reject)
    assert reject.source == "sacct"
    assert reject.where == "sacct 2026-10-01T00:00:00 to 2026-10-02T00:00:00 UTC"
    assert "gres/gpu=two" in reject.reason
    assert reject.raw.startswith("2|2|1790812800|")


def test_names_in_another_encoding(fake_slurm: FakeSlurm) -> None:
    fake_slurm.set((Record(1, 0, 10, 20, name="caf\udce9"),))  # the byte E9
    (job,) = SacctSource("alpha", fake_slurm.sacct).jobs(START_S, END_S)
    assert isinstance(job, Job)
    assert job.name == "caf\\xe9"


def test_a_reader_that_goes_away_leaves_no_process(fake_slurm: FakeSlurm) -> None:
    many = tuple(Record(job_id, 0, 10, 20, name="x" * 500) for job_id in range(1, 3000))
    fake_slurm.set(many)
    before = children()  # other tests' services may run
    jobs = SacctSource("alpha", fake_slurm.sacct).jobs(START_S, END_S)
    next(jobs)
    assert len(children() - before) == 1
    jobs.close()  # type: ignore[attr-defined]
    assert children() == before


def children() -> set[int]:
    listed = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    return {int(word) for word in listed.split()}


# --- what goes wrong


def test_no_sacct(tmp_path: Path) -> None:
    error = failure(SacctSource("alpha", str(tmp_path / "sacct")))
    assert error.what == f"{tmp_path}/sacct cannot be run: No such file or directory"


def test_a_sacct_that_may_not_be_run(tmp_path: Path) -> None:
    (tmp_path / "sacct").write_text("")
    assert "cannot be run: Permission denied" in failure(SacctSource("alpha", str(tmp_path / "sacct"))).what


def test_sacct_fails_before_it_answers(fake_slurm: FakeSlurm) -> None:
    fake_slurm.set(fault="late failure")
    error = failure(SacctSource("alpha", fake_slurm.sacct))
    assert "failed (exit 1): sacct: error: Problem talking to the database: Connection refused" in error.what


def test_sacct_fails_after_its_header(fake_slurm: FakeSlurm) -> None:
    """Its own message is shown, on one line."""
    fake_slurm.set(fault="failure")
    error = failure(SacctSource("alpha", fake_slurm.sacct))
    assert "No response to persist_init / sacct: error: no database" in error.what
    assert "slurmdbd" in error.advice


def test_sacct_fails_and_says_that_it_ended_well(fake_slurm: FakeSlurm) -> None:
    """As Slurm 22.05 does when errno happens to be 0."""
    fake_slurm.set(fault="failure that ends well")
    assert (
        "failed: sacct: error: Problem talking to the database" in failure(SacctSource("alpha", fake_slurm.sacct)).what
    )


def test_a_warning_beside_an_answer_is_no_failure(fake_slurm: FakeSlurm) -> None:
    fake_slurm.set(fault="warning")
    jobs = list(SacctSource("alpha", fake_slurm.sacct).jobs(START_S, END_S))
    assert len(jobs) == len(world.EXPECTED)


def test_an_answer_that_breaks_off(fake_slurm: FakeSlurm) -> None:
    fake_slurm.set(fault="broken off")
    assert "broke off in the middle of its answer" in failure(SacctSource("alpha", fake_slurm.sacct)).what


def test_sacct_says_nothing(fake_slurm: FakeSlurm) -> None:
    before = children()
    fake_slurm.set(fault="silent")
    assert "said nothing for 0.5 s" in failure(SacctSource("alpha", fake_slurm.sacct, timeout_s=0.5)).what
    assert children() == before


@pytest.mark.parametrize(("said", "what"), [("", "without its header line"), ("Good morning", "broke off")])
def test_an_answer_that_is_none(said: str, what: str, tmp_path: Path) -> None:
    program = tmp_path / "sacct"
    program.write_text(f"#!/bin/sh\n[ $1 = --helpformat ] || printf '{said}'\n")
    program.chmod(0o755)
    assert what in failure(SacctSource("alpha", str(program))).what


def test_sacct_is_ended_by_a_signal(tmp_path: Path) -> None:
    program = tmp_path / "sacct"
    program.write_text("#!/bin/sh\nkill -9 $$\n")
    program.chmod(0o755)
    assert f"failed (exit -{signal.SIGKILL.value})" in failure(SacctSource("alpha", str(program))).what


def test_a_cluster_that_slurmdbd_does_not_know(fake_slurm: FakeSlurm) -> None:
    """sacct itself answers with no jobs, and no error."""
    error = failure(SacctSource("gamma", fake_slurm.sacct))
    assert error.what == "slurmdbd knows no cluster 'gamma', only: alpha, beta"


def test_an_empty_window_of_a_known_cluster_is_no_failure(fake_slurm: FakeSlurm) -> None:
    assert list(SacctSource("beta", fake_slurm.sacct).jobs(END_S, END_S + 60)) == []


def test_the_next_run_is_complete(fake_slurm: FakeSlurm) -> None:
    source = SacctSource("alpha", fake_slurm.sacct)
    fake_slurm.set(fault="broken off")
    failure(source)
    fake_slurm.set(fault="")
    assert len(list(source.jobs(START_S, END_S))) == len(world.EXPECTED)


def test_the_fake_refuses_what_it_does_not_know(fake_slurm: FakeSlurm) -> None:
    for words in (["-s", "R"], ["--truncate"], ["--allusers", "--format=Nonsense"]):
        env = {"PATH": os.environ["PATH"], "SLURM_CONF": os.environ["SLURM_CONF"]}
        assert subprocess.run([fake_slurm.sacct, *words], env=env, capture_output=True).returncode != 0
