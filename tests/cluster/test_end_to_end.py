"""From a Prolog to `scarbon jobs`: the books of a real cluster against Slurm's own and the exporters' truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cluster.books import Books, iso, open_books
from tests.cluster.evidence import Evidence
from tests.cluster.harness import Cluster
from tests.cluster.workload import Workload

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def books(cluster: Cluster, workload: Workload, tmp_path_factory: pytest.TempPathFactory) -> Books:
    """The workload's window, collected."""
    books = open_books(tmp_path_factory.mktemp("books"), cluster)
    books.scarbon("collect", *window(workload))
    return books


@pytest.fixture(scope="module")
def jobs(books: Books, workload: Workload) -> dict[tuple[int, int], dict[str, Any]]:
    """Every attempt in the books, by raw job id and submit time."""
    rows = books.json("jobs", "-a", "-D", *window(workload))["jobs"]
    assert all(row["cluster"] == "alpha" for row in rows)
    found = {(int(row["job_id_raw"]), row["submit"]): row for row in rows}
    assert len(found) == len(rows), "an attempt is listed twice"
    return found


def window(workload: Workload) -> list[str]:
    """The options that name the workload's window."""
    return ["-S", iso(workload.start_s), "-E", iso(workload.end_s)]


def test_every_long_job_is_within_two_per_cent_of_the_truth(
    jobs: dict[tuple[int, int], dict[str, Any]], evidence: Evidence
) -> None:
    long = [attempt for attempt in evidence.attempts if attempt.is_long]
    assert len(long) == 13  # of 17: all but 8 s, 5 s, 12 s and CPU only
    off = {
        (attempt.label, attempt.restart): (booked, attempt.truth_j)
        for attempt in long
        for booked in [jobs[attempt.key]["gpu_energy_j"]]
        if booked != pytest.approx(attempt.truth_j, rel=0.02)
    }
    assert off == {}


def test_short_jobs_are_measured_too(jobs: dict[tuple[int, int], dict[str, Any]], evidence: Evidence) -> None:
    short = [attempt for attempt in evidence.attempts if attempt.holds and not attempt.is_long]
    assert len(short) == 3
    for attempt in short:
        # Two edges of a second each, in the shortest job of five seconds.
        assert jobs[attempt.key]["gpu_energy_j"] == pytest.approx(attempt.truth_j, rel=0.1), attempt.label


def test_every_job_is_measured_by_the_counter_throughout(
    jobs: dict[tuple[int, int], dict[str, Any]], evidence: Evidence
) -> None:
    for attempt in evidence.attempts:
        if attempt.holds:
            row = jobs[attempt.key]
            assert (row["method"], row["gpus"]) == ("counter", len(attempt.holds)), attempt.label
            assert row["coverage"] == pytest.approx(1.0, abs=1e-6), attempt.label
            held_s = sum(hold.end_s - hold.start_s for hold in attempt.holds)
            assert row["gpu_seconds"] == pytest.approx(held_s, abs=0.01), attempt.label


def test_a_job_without_a_gpu_has_no_gpu_energy(jobs: dict[tuple[int, int], dict[str, Any]], workload: Workload) -> None:
    (row,) = [row for (job_id, _), row in jobs.items() if job_id == workload.ids["CPU only"]]
    assert (row["gpus"], row["gpu_seconds"]) == (0, 0)
    assert not row["gpu_energy_j"]


def test_each_task_of_the_array_is_right(
    jobs: dict[tuple[int, int], dict[str, Any]], workload: Workload, evidence: Evidence
) -> None:
    tasks = {row["job_id"]: row for row in jobs.values() if "_" in row["job_id"]}
    assert set(tasks) == {f"{workload.ids['array']}_{task}" for task in range(3)}
    truth = {attempt.label: attempt.truth_j for attempt in evidence.attempts}
    for label, row in tasks.items():
        assert row["gpu_energy_j"] == pytest.approx(truth[label], rel=0.02)


def test_a_requeue_is_two_attempts_of_one_job(
    jobs: dict[tuple[int, int], dict[str, Any]], books: Books, workload: Workload, evidence: Evidence
) -> None:
    job_id = workload.ids["requeued"]
    first, second = evidence.of(job_id)
    rows = {key: row for key, row in jobs.items() if key[0] == job_id}
    assert set(rows) == {first.key, second.key}
    assert [rows[key]["state"] for key in (first.key, second.key)] == ["REQUEUED", "COMPLETED"]
    # They ran on the GPUs that each of them held, and are not mixed up: their energies differ.
    assert rows[first.key]["gpu_energy_j"] == pytest.approx(first.truth_j, rel=0.02)
    assert rows[second.key]["gpu_energy_j"] == pytest.approx(second.truth_j, rel=0.02)
    assert first.truth_j != pytest.approx(second.truth_j, rel=0.05)
    # Without -D only the last one is shown, as in sacct.
    (shown,) = books.json("jobs", "-a", "-j", str(job_id), *window(workload))["jobs"]
    assert shown["submit"] == second.submit_s


def test_the_job_on_two_nodes_has_all_its_gpus(
    jobs: dict[tuple[int, int], dict[str, Any]], workload: Workload, evidence: Evidence
) -> None:
    (attempt,) = evidence.of(workload.ids["two nodes"])
    row = jobs[attempt.key]
    assert row["gpus"] == 4
    assert row["gpu_energy_j"] == pytest.approx(attempt.truth_j, rel=0.02)


def test_the_books_balance(books: Books, evidence: Evidence, workload: Workload) -> None:
    audit = books.json("audit")
    (cluster,) = audit["clusters"]
    for row in [cluster, *cluster["devices"]]:
        assert row["attributed_j"] + row["idle_j"] == pytest.approx(row["metered_j"], rel=1e-9), row
        assert row["difference_j"] == pytest.approx(0, abs=1e-9 * row["metered_j"]), row
    # What was metered is what the GPUs drew, on each device.
    metered = {row["uuid"]: row["metered_j"] for row in cluster["devices"]}
    truth = {uuid: device.between(workload.start_s, workload.end_s) for uuid, device in evidence.truth.devices.items()}
    assert metered == pytest.approx(truth, rel=0.01)


def test_scarbon_jobs_shows_what_sacct_shows(books: Books, cluster: Cluster, workload: Workload) -> None:
    fields = "JobID,JobIDRaw,User,Account,Partition,JobName,Submit,Start,End,Elapsed,ExitCode"
    options = ["-P", "-a", "-o", fields, "-S", iso(workload.start_s)[:-1], "-E", iso(workload.end_s)[:-1]]
    for duplicates in ([], ["-D"]):
        slurm = cluster.processes.run(
            ["sacct", "-X", *options, *duplicates],
            env={"SLURM_CONF": cluster.slurm.env["SLURM_CONF"], "TZ": "UTC"},
        )
        ours = books.scarbon("jobs", "-X", *options, *duplicates)
        assert len(ours.splitlines()) == (17 if duplicates else 16) + 1
        assert ours.splitlines()[0] == slurm.splitlines()[0]
        assert sorted(ours.splitlines()) == sorted(slurm.splitlines())


def test_states_are_those_of_sacct(
    jobs: dict[tuple[int, int], dict[str, Any]], cluster: Cluster, evidence: Evidence
) -> None:
    shown = {key: row["state"] for key, row in jobs.items()}
    assert shown == {attempt.key: attempt.state for attempt in evidence.attempts}


def test_collecting_again_changes_nothing(cluster: Cluster, workload: Workload, tmp_path: Path) -> None:
    books = open_books(tmp_path, cluster)
    # What follows a window tells the level at its end, so it must stay as it is. (Long after it, it does.)
    with cluster.prometheus.not_scraping():
        books.scarbon("collect", *window(workload))
        before = books.tables()
        books.scarbon("collect", *window(workload))
        after = books.tables()
    assert {"usage_slots", "balance", "runs"} <= {name for name, rows in before.items() if rows}
    assert len(after.pop("runs")) > len(before.pop("runs"))
    changed = {name: set(before[name]) ^ set(after[name]) for name in before if before[name] != after[name]}
    assert changed == {}
    assert set(after) == set(before)


def test_the_mapping_alone_says_who_held_what(
    cluster: Cluster, workload: Workload, evidence: Evidence, tmp_path: Path
) -> None:
    """A site without the journal: `hpc_job` of the samples, and Slurm's whole seconds for the edges."""
    books = open_books(tmp_path, cluster, holders="[hpc_job]")
    books.scarbon("collect", *window(workload))
    rows = books.json("jobs", "-a", "-D", *window(workload))["jobs"]
    booked = {(int(row["job_id_raw"]), row["submit"]): row["gpu_energy_j"] for row in rows}
    for attempt in evidence.attempts:
        if attempt.is_long:  # edges up to a second off, of twenty seconds and more
            assert booked[attempt.key] == pytest.approx(attempt.truth_j, rel=0.1), attempt.label
