"""A recording, read by those who read the real thing: promtool, Prometheus's own parser, and plain csv and json."""

from __future__ import annotations

import csv
import json
import math
import re
import shutil
import subprocess
from collections import Counter
from datetime import datetime
from pathlib import Path

import pytest
from ClusterShell.NodeSet import NodeSet
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from simulator.cluster import Cluster, Troubles
from simulator.meters import hook_events, read_all
from simulator.recording import Recording, write_recording
from simulator.scenarios import random_cluster
from simulator.truth import read_truth, truth_of

ENERGY = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"
POWER = "DCGM_FI_DEV_POWER_USAGE"
ACTIVITY = "DCGM_FI_PROF_GR_ENGINE_ACTIVE"


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    return random_cluster(5)  # with MIG instances, requeued jobs and every trouble


@pytest.fixture(scope="module")
def recording(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return write_recording(cluster, tmp_path_factory.mktemp("recording"))


@pytest.fixture(scope="module")
def rows(recording: Recording) -> list[dict[str, str]]:
    lines = recording.jobs.read_text().splitlines()
    header = lines[0].split("|")
    return [dict(zip(header, line.split("|"), strict=True)) for line in lines[1:]]


def test_promtool_takes_every_sample(recording: Recording, tmp_path: Path) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    made = subprocess.run(
        ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(recording.samples), str(tmp_path / "data")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    samples = [line for line in recording.samples.read_text().splitlines() if not line.startswith("#")]
    # Every block that is made is a line of the table: ULID, min and max time, duration, samples, chunks, series, size.
    blocks = re.findall(r"^[0-9A-Z]{26} +\d+ +\d+ +\S+ +(\d+)", made.stdout, re.MULTILINE)
    assert sum(int(count) for count in blocks) == len(samples)


def test_openmetrics_has_the_families_labels_and_time_stamps(cluster: Cluster, recording: Recording) -> None:
    families = {family.name: family for family in text_string_to_metric_families(recording.samples.read_text())}
    assert {name: family.type for name, family in families.items()} == {
        ENERGY: "unknown",
        POWER: "gauge",
        ACTIVITY: "gauge",
    }
    whole = {"gpu", "UUID", "pci_bus_id", "device", "modelName", "Hostname"}
    part = whole | {"GPU_I_PROFILE", "GPU_I_ID"}
    gpus = {gpu.uuid: gpu for gpu in cluster.gpus}
    for family in families.values():
        for sample in family.samples:
            gpu = gpus[sample.labels["UUID"]]
            assert set(sample.labels) - {"hpc_job"} == (part if gpu.instances else whole)
            assert sample.labels["gpu"] == str(gpu.index)
            assert sample.labels["device"] == f"nvidia{gpu.index}"
    assert all(sample.labels["GPU_I_ID"] for sample in families[ACTIVITY].samples)
    readings = read_all(cluster)[0]
    mine = [sample for sample in families[ENERGY].samples if sample.labels["UUID"] == readings.gpu.uuid]
    shown = {float(sample.timestamp): sample.value for sample in mine}
    assert len(shown) == len(mine)
    assert shown == dict(zip(readings.time_s.tolist(), readings.energy_mj.tolist(), strict=True))


def test_every_instance_repeats_the_whole_gpus_energy(cluster: Cluster, recording: Recording) -> None:
    (gpu,) = (gpu for gpu in cluster.gpus if gpu.instances)
    families = {family.name: family for family in text_string_to_metric_families(recording.samples.read_text())}
    for name in (ENERGY, POWER):
        by_instance: dict[str, dict[float, float]] = {}
        for sample in families[name].samples:
            if sample.labels["UUID"] == gpu.uuid:
                by_instance.setdefault(sample.labels["GPU_I_ID"], {})[float(sample.timestamp)] = sample.value
        assert set(by_instance) == {"1", "2", "3"}
        assert by_instance["1"] == by_instance["2"] == by_instance["3"]


def test_a_shared_gpu_has_a_series_for_each_of_its_jobs(tmp_path: Path) -> None:
    cluster = random_cluster(4, mig=False, shards=True, troubles=Troubles())
    recording = write_recording(cluster, tmp_path)
    (gpu,) = (gpu for gpu in cluster.gpus if gpu.shards)
    families = {family.name: family for family in text_string_to_metric_families(recording.samples.read_text())}
    shown: dict[float, dict[str, float]] = {}
    for sample in families[ENERGY].samples:
        if sample.labels["UUID"] == gpu.uuid:
            shown.setdefault(float(sample.timestamp), {})[sample.labels.get("hpc_job", "")] = sample.value
    assert max(len(values) for values in shown.values()) > 1
    for time_s, values in shown.items():
        holders = {
            str(attempt.job.job_id)
            for attempt in cluster.attempts
            for hold in attempt.holds
            if hold.gpu.uuid == gpu.uuid and hold.start_s <= time_s < hold.end_s
        }
        assert set(values) == (holders or {""})
        assert len(set(values.values())) == 1
    lines = [json.loads(line) for line in (recording.journal / "n1.jsonl").read_text().splitlines()]
    assert {line["share"] for line in lines if line["gpus"][0]["uuid"] == gpu.uuid} == {0.25}
    assert {line["share"] for line in lines if line["gpus"][0]["uuid"] != gpu.uuid} == {None}


def test_labels_of_a_scrape_are_added_to_every_series(cluster: Cluster, tmp_path: Path) -> None:
    scraped = write_recording(cluster, tmp_path, labels={"job": "dcgm"})
    for family in text_string_to_metric_families(scraped.samples.read_text()):
        assert {sample.labels["job"] for sample in family.samples} == {"dcgm"}


def test_sacct_lines_say_what_the_jobs_are(cluster: Cluster, rows: list[dict[str, str]]) -> None:
    assert len(rows) == len(cluster.attempts)
    for row, attempt in zip(rows, cluster.attempts, strict=True):
        job = attempt.job
        assert (row["JobID"], row["JobIDRaw"], row["Cluster"]) == (job.label, str(job.job_id), "beta")
        assert (row["User"], row["UID"], row["Account"]) == (job.user, str(job.uid), job.account)
        assert int(row["Submit"]) == job.submit_s
        assert row["Start"] == ("Unknown" if job.start_s is None else str(job.start_s))
        assert row["End"] == ("Unknown" if job.end_s is None else str(job.end_s))
        assert row["State"] == (f"CANCELLED by {job.uid}" if job.state == "CANCELLED" else job.state)
        if job.start_s is None:
            assert (row["NodeList"], row["AllocTRES"]) == ("None assigned", "")
        else:
            assert tuple(NodeSet(row["NodeList"])) == job.nodes
            tres = dict(part.split("=") for part in row["AllocTRES"].split(","))
            held = int(tres.get("gres/gpu", 0)) + int(tres.get("gres/shard", 0))
            assert held == len(attempt.holds)
            assert tres["cpu"] == row["NCPUS"]
            assert tres["node"] == row["NNodes"] == str(len(job.nodes))


def test_elapsed_is_written_as_sacct_does(rows: list[dict[str, str]]) -> None:
    for row in rows:
        if row["Start"] != "Unknown" and row["End"] != "Unknown":
            hours, minutes, seconds = (int(part) for part in row["Elapsed"].split(":"))
            assert hours * 3600 + minutes * 60 + seconds == int(row["End"]) - int(row["Start"])


def test_a_job_over_a_day_and_one_on_two_nodes_are_written_as_sacct_does(tmp_path: Path) -> None:
    long = random_cluster(2, hours=24 * 8, jobs=60)
    lines = write_recording(long, tmp_path).jobs.read_text().splitlines()
    assert any(re.search(r"\|[1-9]-\d\d:\d\d:\d\d\|00:00:00\|", line) for line in lines)
    assert any("|n[1-2]|2|" in line for line in lines)


def test_a_requeued_job_has_a_line_for_each_attempt(rows: list[dict[str, str]]) -> None:
    twice = [job_id for job_id, lines in Counter(row["JobIDRaw"] for row in rows).items() if lines > 1]
    assert twice
    for job_id in twice:
        first, second = (row for row in rows if row["JobIDRaw"] == job_id)
        assert first["End"] == second["Submit"]


def test_the_journal_has_a_line_for_each_hook_of_a_gpu_job(cluster: Cluster, recording: Recording) -> None:
    wanted = ["v", "event", "time", "cluster", "job_id", "restart", "sluid", "uid", "user", "account", "node"]
    total = 0
    for node in cluster.nodes:
        lines = [json.loads(line) for line in (recording.journal / f"{node.name}.jsonl").read_text().splitlines()]
        total += len(lines)
        assert [line["time"] for line in lines] == sorted(line["time"] for line in lines)
        for line in lines:
            assert list(line) == [*wanted, "gpus", "share"]
            assert (line["v"], line["cluster"], line["node"]) == (1, "beta", node.name)
            assert line["event"] in ("start", "end")
            for shown in line["gpus"]:
                gpu = node.gpus[shown["index"]]
                assert (shown["minor"], shown["uuid"]) == (gpu.minor, gpu.uuid)
                known = {str(instance.gi_id) for instance in gpu.instances} or {None}
                assert shown["mig"] in known
    assert total == sum(1 for event in hook_events(cluster) if event.holds)
    assert any(gpu.minor != gpu.index for gpu in cluster.gpus)


def test_the_intensity_covers_the_period_hour_by_hour(cluster: Cluster, recording: Recording) -> None:
    with recording.intensity.open(encoding="utf-8", newline="") as file:
        slots = list(csv.DictReader(file))
    starts = [datetime.fromisoformat(slot["start"]).timestamp() for slot in slots]
    ends = [datetime.fromisoformat(slot["end"]).timestamp() for slot in slots]
    assert starts[0] <= cluster.start_s
    assert ends[-1] >= cluster.end_s
    assert starts[1:] == ends[:-1]
    assert all(end - start == 3600 for start, end in zip(starts, ends, strict=True))
    values = [float(slot["gco2e_per_kwh"]) for slot in slots]
    assert all(math.isfinite(value) and value > 0 for value in values)
    assert len(set(values)) > 1


def test_the_truth_lies_beside_it(cluster: Cluster, recording: Recording) -> None:
    assert read_truth(recording.truth) == truth_of(cluster)
    assert (recording.start_s, recording.end_s) == (cluster.start_s, cluster.end_s)
