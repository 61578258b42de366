"""The ways to ask Slurm for its jobs give the same ones: sacct's text, its JSON, and slurmrestd."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from accounting.model import Job
from accounting.sources import JobSource, SourceError
from collectors.slurm.file import FileSource
from collectors.slurm.sacct import SacctSource
from collectors.slurm.slurmrestd import SlurmrestdSource
from tests.cluster.evidence import Evidence
from tests.cluster.harness import ACCOUNTS, Cluster
from tests.cluster.workload import Workload

pytestmark = pytest.mark.cluster


def asked(source: JobSource, workload: Workload) -> dict[tuple[int, int], Job]:
    """What a source says of the workload's window, by raw job id and submit time."""
    jobs = list(source.jobs(workload.start_s, workload.end_s))
    assert all(isinstance(job, Job) for job in jobs), jobs
    return {(job.job_id, job.submit_s): job for job in jobs if isinstance(job, Job)}


@pytest.fixture(scope="module")
def by_text(cluster: Cluster, workload: Workload) -> dict[tuple[int, int], Job]:
    """The jobs by `sacct -P`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", cluster.slurm.env["SLURM_CONF"])
        return asked(SacctSource("alpha"), workload)


def test_the_text_of_sacct_is_understood(
    by_text: dict[tuple[int, int], Job], cluster: Cluster, evidence: Evidence, workload: Workload
) -> None:
    expected = {
        attempt.key: (attempt.label, attempt.state, attempt.start_s, attempt.end_s, len(attempt.holds))
        for attempt in evidence.attempts
    }
    assert {key: (job.label, job.state, job.start_s, job.end_s, job.gpus) for key, job in by_text.items()} == expected
    accounts = {cluster.users[name]: account for name, account in ACCOUNTS.items()}
    assert {(job.user, job.account) for job in by_text.values()} == set(accounts.items())
    (two_nodes,) = [job for job in by_text.values() if job.job_id == workload.ids["two nodes"]]
    assert (two_nodes.nodes, two_nodes.cpus, two_nodes.partition) == (("n1", "n2"), 2, "gpu")


def test_the_json_of_sacct_says_the_same(
    by_text: dict[tuple[int, int], Job], cluster: Cluster, workload: Workload, tmp_path: Path
) -> None:
    dump = tmp_path / "sacct.json"
    # Without SLURM_TIME_FORMAT=%s, with which the JSON of this sacct fails.
    settings = {"SLURM_CONF": cluster.slurm.env["SLURM_CONF"]}
    dump.write_text(cluster.processes.run(["sacct", "--json", "-a", "-D", "-S", "1970-01-02"], env=settings))
    assert_same(asked(FileSource("alpha", dump), workload), by_text)


def test_slurmrestd_on_its_socket_says_the_same(
    by_text: dict[tuple[int, int], Job], cluster: Cluster, workload: Workload
) -> None:
    socket = cluster.slurm.start_rest_socket(cluster.folder / "rest", cluster.users["ada"])
    assert_same(asked(SlurmrestdSource("alpha", f"unix://{socket}"), workload), by_text)


def test_slurmrestd_with_a_token_says_the_same(
    by_text: dict[tuple[int, int], Job], cluster: Cluster, workload: Workload
) -> None:
    user = cluster.users["ada"]
    url = f"http://127.0.0.1:{cluster.slurm.start_rest_http(user)}"
    expired = cluster.slurm.token(user, seconds=1)
    assert_same(asked(SlurmrestdSource("alpha", url, user, cluster.slurm.token(user)), workload), by_text)
    time.sleep(2)
    with pytest.raises(SourceError) as refused:
        asked(SlurmrestdSource("alpha", url, user, expired), workload)
    assert "authentication error" in refused.value.what  # Slurm's own words
    assert "has the token expired?" in refused.value.advice


def assert_same(jobs: dict[tuple[int, int], Job], by_text: dict[tuple[int, int], Job]) -> None:
    """All that both know is the same. The JSON of Slurm 22.05 has no uid, and success as every job's exit code."""
    assert set(jobs) == set(by_text)
    for key, job in jobs.items():
        text = by_text[key]
        assert job.uid in (None, text.uid)
        assert job.exit_code in (None, text.exit_code)
        assert replace(job, uid=text.uid, exit_code=text.exit_code) == text
