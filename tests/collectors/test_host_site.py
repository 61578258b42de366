"""A simulated site whose nodes have meters, through a real Prometheus into the books, against the truth."""

from __future__ import annotations

import random
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from accounting.model import Job
from simulator.cluster import Cluster, Sampling, make_cluster
from simulator.hardware import make_node
from simulator.workload import Mix
from tests.collectors.real_prometheus import MISSING, RealPrometheus
from tests.site import Site, make_site, query

pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f"NOT TESTED: a real Prometheus: no {' and '.join(MISSING)} (Debian's package prometheus)"
)

START_S = 1_790_035_200  # 2026-09-22T00:00:00Z
IDLE_W, CORE_W = 300.0, 5.0  # what a node draws without its GPUs: with nobody on it, and for each allocated core
CORES, MEMORY_MB = 64, 262_144.0


def small_cluster() -> Cluster:
    """A day of two nodes with three GPUs."""
    rng = random.Random(7)
    nodes = [make_node(rng, "n1", 2), make_node(rng, "n2", 1)]
    mix = Mix(submissions=150, longest_s=6 * 3600.0, cpu_only=0.4)
    return make_cluster("delta", 7, START_S, START_S + 86400, nodes, mix, Sampling(scrape_interval_s=30.0))


def jobs_by_node(cluster: Cluster) -> dict[str, list[tuple[Job, float, float]]]:
    """The jobs of each node, with when they ran."""
    found: dict[str, list[tuple[Job, float, float]]] = defaultdict(list)
    for attempt in cluster.attempts:
        if attempt.job.start_s is not None and attempt.ends_s is not None:
            for node in attempt.job.nodes:
                found[node].append((attempt.job, float(attempt.job.start_s), float(attempt.ends_s)))
    return found


def owed(job: Job, together: float) -> float:
    """The power (W) that a job owes of one of its nodes, where the capacities of all jobs there are `together`."""
    assert job.memory_mb is not None
    capacity = max(job.cpus / CORES, job.memory_mb / MEMORY_MB) / len(job.nodes)
    return IDLE_W * capacity / max(together, 1.0) + CORE_W * job.cpus / len(job.nodes)


def capacity(job: Job) -> float:
    assert job.memory_mb is not None
    return max(job.cpus / CORES, job.memory_mb / MEMORY_MB) / len(job.nodes)


def truth(cluster: Cluster) -> dict[int, float]:
    """The host energy (J) that each job owes within the day."""
    energy_j: dict[int, float] = defaultdict(float)
    for jobs in jobs_by_node(cluster).values():
        cuts = sorted({float(START_S), float(cluster.end_s), *(cut for _, a, b in jobs for cut in (a, b))})
        for a, b in pairwise(cut for cut in cuts if START_S <= cut <= cluster.end_s):
            there = [job for job, start_s, end_s in jobs if start_s <= a and end_s >= b]
            together = sum(capacity(job) for job in there)
            for job in there:
                energy_j[job.job_id] += owed(job, together) * (b - a)
    return energy_j


def host_j(cluster: Cluster, node: str, time_s: np.ndarray) -> np.ndarray:
    """What a node used without its GPUs since an hour before the day."""
    total = IDLE_W * (time_s - (START_S - 3600))
    for job, start_s, end_s in jobs_by_node(cluster)[node]:
        total += CORE_W * job.cpus / len(job.nodes) * np.clip(time_s - start_s, 0, end_s - start_s)
    return total


def meters_page(cluster: Cluster) -> str:
    """The counters of whole nodes, as CEEMS shows those of a Cray, every 30 s."""
    lines = ["# TYPE ceems_cray_pm_counters_energy_joules gauge\n"]
    for node in cluster.nodes:
        time_s = np.arange(START_S - 60.0, cluster.end_s + 60.0, 30.0) + 11.25
        total = host_j(cluster, node.name, time_s) + sum(cluster.energy(gpu, time_s) for gpu in node.gpus)
        name = f'ceems_cray_pm_counters_energy_joules{{domain="node",hostname="{node.name}"}}'
        lines += [f"{name} {value:.3f} {at:.3f}\n" for at, value in zip(time_s, total + 1e6, strict=True)]
    return "".join(lines)


def with_meters(folder: Path, section: str) -> Site:
    """The site's folder, and a page with the samples of both its GPUs and its nodes."""
    cluster = small_cluster()
    site = make_site(folder, cluster, "UTC")
    page = (site.folder / "dcgm.om").read_text().removesuffix("# EOF\n")
    (site.folder / "all.om").write_text(f"{page}{meters_page(cluster)}# EOF\n")
    site.change("{method: model, cpu_w_per_core: 4.0, memory_w_per_gb: 0.3725}", section)
    return site


def test_the_books_have_what_the_nodes_used_and_the_jobs_what_they_owe(tmp_path: Path) -> None:
    nodes = f"nodes: {{'n[1-2]': {{cpus: {CORES}, memory_mb: {MEMORY_MB}}}}}"
    site = with_meters(tmp_path / "site", f"{{method: prometheus, preset: cray, idle_w: {IDLE_W}, {nodes}}}")
    with RealPrometheus(tmp_path, site.folder / "all.om") as prometheus:
        site.change(
            "openmetrics: {path: dcgm.om}", f"prometheus: {{url: '{prometheus.url}'}}\n      match: {{job: dcgm}}"
        )
        site.collect()
    cluster = small_cluster()
    assert site.good("audit").out.count("The books balance.") == 1
    metered = dict(
        query(site.ledger, "SELECT uuid, SUM(metered_j) FROM balance JOIN meters USING (meter_id) "
              "WHERE kind = 'host' AND superseded_by IS NULL GROUP BY uuid")
    )  # fmt: skip
    used = {
        node.name: np.diff(host_j(cluster, node.name, np.array([START_S, cluster.end_s], float)))[0]
        for node in cluster.nodes
    }
    # The GPUs are not sampled beyond the day: a window of 30 s at each end is unknown.
    ends = 60 / 86400
    assert metered == {name: pytest.approx(value, rel=ends) for name, value in used.items()}
    report = site.good("report", "-S", "2026-09-22", "-E", "2026-09-23", "--format", "json").json
    owed_j = truth(cluster)
    assert report["total"]["host_energy_j"] == pytest.approx(sum(used.values()), rel=ends)
    assert report["idle"]["host_energy_j"] == pytest.approx(sum(used.values()) - sum(owed_j.values()), rel=1e-2)
    booked_j: dict[int, float] = defaultdict(float)
    for job in site.good("jobs", "-a", "-D", "--json", "-S", "2026-09-21").json["jobs"]:
        booked_j[job["job_id_raw"]] += job["host_energy_j"] or 0.0  # None: it never started
    long = {number: energy_j for number, energy_j in owed_j.items() if energy_j > 2e5}
    assert len(long) > 10
    off = sorted(abs(booked_j[number] / energy_j - 1) for number, energy_j in long.items())
    assert off[len(off) // 2] < 1e-3
    assert off[-1] < 0.01


def test_doctor_asks_the_meters(tmp_path: Path) -> None:
    now_s = time.time()
    page = "# TYPE ipmi_dcmi_power_consumption_watts gauge\n" + "".join(
        f'ipmi_dcmi_power_consumption_watts{{instance="{name}:9290"}} 300 {now_s - age_s:.3f}\n'
        for name in ("n1", "login1")
        for age_s in (120, 60)
    )
    (tmp_path / "page.om").write_text(page + "# EOF\n")
    nodes = "nodes: {'n[1-2]': {cpus: 64}, n1: {cpus: 64, idle_w: 200}}"
    with RealPrometheus(tmp_path, tmp_path / "page.om") as prometheus:
        section = f"{{method: prometheus, preset: ipmi, prometheus: {{url: '{prometheus.url}'}}, {nodes}}}"
        site = with_meters(tmp_path / "site", section)
        lines = site.scarbon("doctor").out.splitlines()
        site.change("preset: ipmi", "preset: rapl")
        nothing = site.scarbon("doctor")
    about = [line for line in lines if "delta: " in line and ("metered" in line or " meter" in line or "idle " in line)]
    assert about == [
        "ok    delta: nodes with a meter of their own: 2",
        "warn  delta: n2: no meter; the host energy of jobs there is unknown",
        "warn  delta: login1: metered, but no node of this cluster",
        "warn  delta: n2: idle power not known; the jobs on a node owe all that it draws",
    ]
    assert nothing.code == 1
    assert "FAIL  delta: no node's own meter has a sample of the last ten minutes" in nothing.out
