"""The layers under the books, on a real cluster: hooks against Slurm's own record, exporters, Prometheus' samples.

When these hold and the end-to-end tests do not, the fault is in the collectors or the accounting.
"""

from __future__ import annotations

import pytest

from tests.cluster.evidence import Attempt, Evidence, journal_lines, metered_j
from tests.cluster.harness import Cluster
from tests.cluster.workload import Workload

pytestmark = pytest.mark.cluster

ENERGY = 'DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{job="dcgm"}'


def test_no_node_is_drained(workload: Workload) -> None:
    assert workload.node_states == {"n1": "idle", "n2": "idle"}


def test_the_jobs_ended_as_they_should(workload: Workload, evidence: Evidence) -> None:
    states = {name: [attempt.state for attempt in evidence.of(job)] for name, job in workload.ids.items()}
    assert states.pop("requeued") == ["REQUEUED", "COMPLETED"]
    assert states.pop("cancelled") == ["CANCELLED"]
    assert states.pop("failed") == ["FAILED"]
    assert set(map(tuple, states.values())) == {("COMPLETED",)}
    array = workload.ids["array"]
    assert {attempt.label for attempt in evidence.attempts if "_" in attempt.label} == {
        f"{array}_{i}" for i in range(3)
    }


def test_each_hold_is_what_slurm_itself_says(cluster: Cluster, workload: Workload, evidence: Evidence) -> None:
    def by_node(attempt: Attempt) -> dict[str, set[tuple[int, int, str]]]:
        nodes = {hold.node for hold in attempt.holds}
        return {
            node: {(hold.minor, hold.index, hold.uuid) for hold in attempt.holds if hold.node == node} for node in nodes
        }

    expected = {}
    for attempt, held in workload.slurm_gpus.items():
        expected[attempt] = {
            node: {(minor, gpu.index, gpu.uuid) for minor in minors for gpu in [cluster.nodes[node].by_minor(minor)]}
            for node, minors in held.items()
        }
    assert {(attempt.job_id, attempt.restart): by_node(attempt) for attempt in evidence.attempts} == expected


def test_jobs_of_each_kind_held_what_they_asked_for(workload: Workload, evidence: Evidence) -> None:
    gpus = {name: [len(attempt.holds) for attempt in evidence.of(job)] for name, job in workload.ids.items()}
    expected = {"requeued": [1, 1], "two nodes": [4], "three GPUs": [3], "CPU only": [0], "12 s": [2]}
    expected |= {"whole node, first": [4], "whole node, second": [4]}
    assert gpus == {name: expected.get(name, [1]) for name in workload.ids}
    assert {hold.node for hold in evidence.of(workload.ids["two nodes"])[0].holds} == {"n1", "n2"}


def test_the_journal_says_whose_each_job_is(cluster: Cluster, workload: Workload) -> None:
    by_slurm = {
        (int(row["JobIDRaw"]), row["User"], row["Account"], int(row["UID"]))
        for row in cluster.slurm.sacct("JobIDRaw,User,Account,UID")
        if int(row["JobIDRaw"]) != workload.ids["CPU only"]
    }
    lines = journal_lines(cluster)
    assert {(line["job_id"], line["user"], line["account"], line["uid"]) for line in lines} == by_slurm
    assert {(line["v"], line["cluster"]) for line in lines} == {(1, "alpha")}


def test_a_job_draws_power_only_while_it_holds_the_gpu(evidence: Evidence) -> None:
    seen_s = 1.0  # the exporter looks at loads now and then
    for attempt in evidence.attempts:
        for load in evidence.truth.loaded(attempt.job_id):
            assert any(
                hold.uuid == load.uuid and hold.start_s <= load.start_s and load.end_s <= hold.end_s + seen_s
                for other in evidence.of(attempt.job_id)
                for hold in other.holds
            ), load
    assert evidence.truth.mismatches(seen_s) == []


def test_the_mapping_folders_are_empty_again(cluster: Cluster, workload: Workload) -> None:
    for node in cluster.nodes.values():
        files = {file.name: file.read_text() for file in node.mapping_dir.iterdir() if not file.name.startswith(".")}
        assert files == {"0": "", "1": "", "2": "", "3": ""}


def test_the_exporters_always_had_a_page(workload: Workload) -> None:
    """A mapping file that vanishes while it is read would make the whole page fail."""
    assert set(workload.page_statuses) == {200}
    assert len(workload.page_statuses) > 100


def test_prometheus_scraped_both_nodes_all_the_time(cluster: Cluster, workload: Workload) -> None:
    series = cluster.prometheus.raw('up{job="dcgm"}', workload.start_s, workload.end_s)
    assert {one.labels["node"] for one in series} == {"n1", "n2"}
    for one in series:
        # On a busy machine a scrape now and then takes longer than the second that it may take.
        assert sum(value for _, value in one.samples) > (workload.end_s - workload.start_s) / 2


def test_prometheus_has_each_device_under_each_job_that_held_it(
    cluster: Cluster, workload: Workload, evidence: Evidence
) -> None:
    series = cluster.prometheus.raw(ENERGY, workload.start_s, workload.end_s)
    labels = {(one.labels["UUID"], one.labels.get("hpc_job")) for one in series}
    held = {(hold.uuid, str(attempt.job_id)) for attempt in evidence.attempts for hold in attempt.holds}
    assert {(uuid, job) for uuid, job in labels if job} == held
    uuids = {gpu.uuid for node in cluster.nodes.values() for gpu in node.gpus}
    assert {uuid for uuid, job in labels if not job} == uuids  # all were idle at some time


def test_the_raw_samples_give_each_job_its_true_energy(
    cluster: Cluster, workload: Workload, evidence: Evidence
) -> None:
    series = cluster.prometheus.raw(ENERGY, workload.start_s, workload.end_s)
    attempts = [attempt for attempt in evidence.attempts if attempt.is_long]
    assert len(attempts) == 13  # of 17: all but 8 s, 5 s, 12 s and CPU only
    for attempt in attempts:
        by_samples = sum(metered_j(series, hold) for hold in attempt.holds)
        assert by_samples == pytest.approx(attempt.truth_j, rel=0.02), attempt
