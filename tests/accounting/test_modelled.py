"""What a site's model makes of GPU time of which nothing was measured; an A100's rated power is 400 W."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from accounting.attribution import Usage
from accounting.energy import EnergyCurve, curve_from_samples
from accounting.gpus import Gpu
from accounting.holders import Hold
from accounting.model import Device, FactorSlot, GpuSamples, Job
from accounting.modelled import unmeasured_usage
from accounting.timeline import build_timeline
from simulator.cluster import Sampling, Troubles
from simulator.scenarios import random_cluster
from tests.accounting.recorded import SITE, USAGE, Recorded

HOUR_S = 3600
START_S = 1_790_000_000 // HOUR_S * HOUR_S
NOTHING = np.zeros(0)
JOB = Job("alpha", 7, START_S - 60, "7", "RUNNING", START_S, START_S + HOUR_S, nodes=("n1",), gpus=1)


def gpu(last_s: float | None, *holds: Hold, model: str | None = "NVIDIA A100-SXM4-80GB") -> Gpu:
    """A GPU of 100 W that is sampled until `last_s` after the hour, or never."""
    time_s = NOTHING if last_s is None else np.arange(START_S - 30, START_S + last_s + 1, 30.0)
    samples = GpuSamples(
        Device("alpha", "GPU-1", "n1", model), time_s, 100 * (time_s - START_S) + 5e3, NOTHING, NOTHING
    )
    curve = EnergyCurve.unknown() if last_s is None else curve_from_samples(samples, 600)
    return Gpu(samples, curve, holds, START_S - 720)


def hold(capacity: float = 1.0) -> Hold:
    return Hold(JOB.key, "GPU-1", "n1", START_S, START_S + HOUR_S, capacity, "journal")


def unmeasured(gpus: Sequence[Gpu], load: float | None, job: Job = JOB) -> Usage:
    edges = [START_S, START_S + HOUR_S]
    one = [FactorSlot(0.0, 1e12, 1.0, "by hand")]
    timeline = build_timeline(edges, [(edges[0], edges[1])], one, one, one)
    return unmeasured_usage(gpus, [job], {job.key: 0}, timeline, load)


def test_after_the_last_sample() -> None:
    """Sampled for the first half hour: the other half is 400 W × 0.5; that it was held is booked with the device."""
    usage = unmeasured([gpu(1800, hold())], 0.5)
    assert usage.energy_j.tolist() == pytest.approx([200 * 1800])
    assert (usage.held_s.tolist(), usage.known_s.tolist(), usage.measured_s.tolist()) == ([0], [1800], [0])


def test_a_part_of_a_gpu_is_a_part_of_its_power() -> None:
    assert unmeasured([gpu(None, hold(3 / 7))], 0.7).energy_j.tolist() == pytest.approx([400 * 0.7 * 3 / 7 * 3600])


def test_without_a_declared_load_nothing_is_modelled() -> None:
    assert not unmeasured([gpu(1800, hold())], None).attempt.size


def test_a_gpu_whose_rated_power_is_not_known() -> None:
    assert not unmeasured([gpu(None, hold(), model="Some GPU of tomorrow")], 0.5).attempt.size


def test_a_gpu_that_no_source_can_name() -> None:
    """Slurm says that the job had a GPU; the node's are A100s. Held for the hour, and 200 W of it."""
    usage = unmeasured([gpu(HOUR_S)], 0.5)
    assert usage.energy_j.tolist() == pytest.approx([200 * 3600]) and usage.held_s.tolist() == [3600]
    unknown = unmeasured([gpu(HOUR_S)], None)
    assert np.isnan(unknown.energy_j).all() and unknown.held_s.tolist() == [3600]


def test_a_named_and_an_unnamed_one() -> None:
    """Two GPUs by Slurm's record: one was sampled for half an hour, the other has no name."""
    usage = unmeasured([gpu(1800, hold())], 0.5, replace(JOB, gpus=2))
    assert usage.energy_j.tolist() == pytest.approx([200 * 1800 + 200 * 3600])
    assert usage.held_s.tolist() == [3600] and usage.known_s.tolist() == [5400]


def test_the_books_balance_without_what_is_modelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recording that ends an hour before the jobs do: what the model says is marked, and in no meter's balance."""
    cluster = random_cluster(4, hours=3.0, mig=False, shards=False, sampling=Sampling(), troubles=Troubles())
    recorded = Recorded.of(cluster, tmp_path)
    samples, end_s = tmp_path / "dcgm.om", cluster.end_s - 3600
    lines = samples.read_text().splitlines()
    kept = [line for line in lines if line.startswith("#") or float(line.rsplit(" ", 1)[1]) < end_s]
    samples.write_text("\n".join(kept) + "\n")
    modelled = SITE.replace("journal: journal", "journal: journal\n      model: {{load: 0.5}}")
    monkeypatch.setattr("tests.accounting.recorded.SITE", modelled)
    recorded.account("books", [recorded.whole])
    rows = [row for row in recorded.rows("books", USAGE) if row["method"] == "model"]
    assert rows and all(row["uuid"] == "" and row["measured_s"] == 0 for row in rows)
    assert all(row["energy_j"] == pytest.approx(row["known_s"] * 0.5 * 400) for row in rows)
    days = recorded.rows("books", "SELECT SUM(modelled_j) AS modelled_j, SUM(energy_j) AS energy_j FROM usage_days")
    assert days[0]["modelled_j"] == pytest.approx(sum(row["energy_j"] for row in rows))
    assert days[0]["modelled_j"] < days[0]["energy_j"]
