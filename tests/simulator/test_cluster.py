"""The simulated cluster: what its jobs are like, and its truth against brute force."""

from __future__ import annotations

import itertools
import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.cluster import Cluster, Troubles, make_cluster
from simulator.hardware import A100, Part, make_node
from simulator.power import Curve, cooling_curve
from simulator.scenarios import demo_month, random_cluster
from simulator.truth import read_truth, truth_of, write_truth
from simulator.workload import Mix

SEEDS = st.integers(0, 10_000)


@pytest.fixture(scope="module")
def month() -> Cluster:
    return demo_month()


def test_the_same_seed_gives_the_same_cluster() -> None:
    one, same, other = random_cluster(5), random_cluster(5), random_cluster(6)
    assert one.attempts == same.attempts
    assert truth_of(one) == truth_of(same)
    assert one.attempts != other.attempts


def test_the_demo_month_is_a_calendar_month_of_eight_gpus(month: Cluster) -> None:
    assert (month.start_s, month.end_s) == (1790812800, 1793491200)  # 2026-10-01T00Z, 2026-11-01T00Z
    assert len(month.gpus) == 8
    assert 2 <= len(month.nodes) <= 3
    assert len({attempt.job.user for attempt in month.attempts}) == 6
    assert len({attempt.job.account for attempt in month.attempts}) == 3
    assert month.outages
    assert month.driver_reloads


def test_the_demo_month_has_every_kind_of_job(month: Cluster) -> None:
    states = Counter(attempt.job.state for attempt in month.attempts)
    assert {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "RUNNING", "PENDING"} <= set(states)
    ran = [attempt for attempt in month.attempts if attempt.ends_s is not None]
    lengths = [attempt.ends_s - attempt.job.start_s for attempt in ran]
    assert min(lengths) < 30
    assert max(lengths) > 86400
    assert any(not attempt.holds for attempt in ran)
    assert any(len(attempt.holds) > 2 for attempt in ran)
    assert any(len(attempt.job.nodes) > 1 for attempt in ran)
    assert any("_" in attempt.job.label for attempt in ran)
    assert any(attempt.restart for attempt in ran)
    assert any(attempt.ends_s is None and attempt.job.state == "CANCELLED" for attempt in month.attempts)


def test_a_demo_december_ends_with_the_year() -> None:
    assert demo_month(year=2026, month=12).end_s == 1798761600  # 2027-01-01T00Z


@given(SEEDS)
@settings(max_examples=25, deadline=None)
def test_attempts_are_told_apart_by_job_id_and_submit_time(seed: int) -> None:
    cluster = random_cluster(seed)
    keys = [attempt.job.key for attempt in cluster.attempts]
    assert len(set(keys)) == len(keys)
    for job_id, runs in Counter(key.job_id for key in keys).items():
        if runs > 1:
            first, second = (attempt for attempt in cluster.attempts if attempt.job.job_id == job_id)
            assert (first.restart, second.restart) == (0, 1)
            assert first.job.state in ("REQUEUED", "NODE_FAIL", "PREEMPTED")
            assert second.job.submit_s == first.job.end_s


@given(SEEDS)
@settings(max_examples=25, deadline=None)
def test_nothing_is_held_twice_at_once(seed: int) -> None:
    cluster = random_cluster(seed)
    rows: dict[tuple[str, Part], list[tuple[int, int]]] = {}
    for attempt in cluster.attempts:
        for hold in attempt.holds:
            assert (hold.start_s, hold.end_s) == (attempt.job.start_s, attempt.ends_s)
            assert hold.end_s - hold.start_s >= 8
            rows.setdefault((hold.gpu.uuid, hold.part), []).append((hold.start_s, hold.end_s))
    for held in rows.values():
        held.sort()
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(held))


@given(SEEDS)
@settings(max_examples=25, deadline=None)
def test_attempts_and_idle_are_all_that_was_metered(seed: int) -> None:
    cluster = random_cluster(seed)
    truth = truth_of(cluster)
    for uuid, device in truth.devices.items():
        held_j = sum(attempt.by_device.get(uuid, 0.0) for attempt in truth.attempts.values())
        assert held_j + device.idle_j == pytest.approx(device.metered_j, rel=1e-12)
        assert device.idle_j >= 0
    for attempt in truth.attempts.values():
        assert sum(attempt.by_hour.values()) == pytest.approx(attempt.energy_j, rel=1e-9)


@given(SEEDS, st.floats(0.0, 1.0))
@settings(max_examples=25, deadline=None)
def test_two_windows_are_as_much_as_one(seed: int, share: float) -> None:
    cluster = random_cluster(seed)
    cut_s = cluster.start_s + share * (cluster.end_s - cluster.start_s)
    whole, before, after = truth_of(cluster), truth_of(cluster, end_s=cut_s), truth_of(cluster, start_s=cut_s)
    for key, attempt in whole.attempts.items():
        parts_j = before.attempts[key].energy_j + after.attempts[key].energy_j
        assert parts_j == pytest.approx(attempt.energy_j, rel=1e-9, abs=1e-6)


@pytest.mark.parametrize("seed", [2, 3])  # whole GPUs; MIG instances and shards
def test_the_truth_is_the_integral_of_the_power(seed: int) -> None:
    cluster = random_cluster(seed)
    truth = truth_of(cluster)
    step_s = 0.02
    grid = np.arange(cluster.start_s, cluster.end_s, step_s) + step_s / 2
    for gpu in cluster.gpus:
        power_w = cluster.idle[gpu.uuid].power(grid)
        for (hold, _), load in cluster.loads.items():
            if hold.gpu.uuid == gpu.uuid:
                power_w = power_w + load.power(grid)
        if gpu.uuid in cluster.cooling:
            power_w = power_w + cluster.cooling[gpu.uuid].power(grid)
        assert truth.devices[gpu.uuid].metered_j == pytest.approx(power_w.sum() * step_s, rel=1e-4)
    for place, attempt in enumerate(cluster.attempts):
        brute_j = 0.0
        for hold in attempt.holds:
            held = (grid >= hold.start_s) & (grid < hold.end_s)
            mine_w = cluster.idle[hold.gpu.uuid].power(grid) * hold.share + cluster.loads[hold, place].power(grid)
            brute_j += float(mine_w[held].sum()) * step_s
        assert truth.attempts[attempt.job.key].energy_j == pytest.approx(brute_j, rel=2e-3)


def test_one_instance_owes_its_own_load_and_its_slices_of_the_idle_level() -> None:
    node = make_node(random.Random(1), "n1", 1, A100, mig={0: ("3g.20gb", "3g.20gb")})
    mix = Mix(submissions=1, cpu_only=0, arrays=0, requeues=0, withdrawn=0, longest_s=600, shortest_s=300)
    cluster = make_cluster("gamma", 1, 1_790_000_000, 1_790_003_600, [node], mix)
    (attempt,) = cluster.attempts
    (hold,) = attempt.holds
    truth = truth_of(cluster)
    idle = cluster.idle[hold.gpu.uuid]
    own_j = cluster.loads[hold, 0].between(hold.start_s, hold.end_s)
    idle_j = idle.between(hold.start_s, hold.end_s)
    all_idle_j = idle.between(cluster.start_s, cluster.end_s)
    assert truth.attempts[attempt.job.key].energy_j == pytest.approx(own_j + 3 / 7 * idle_j, rel=1e-12)
    # The site's: all of the idle level but the three slices that were held.
    assert truth.devices[hold.gpu.uuid].idle_j == pytest.approx(all_idle_j - 3 / 7 * idle_j, rel=1e-12)


def test_a_shard_owes_its_part_of_the_idle_level() -> None:
    node = make_node(random.Random(1), "n1", 1, A100, shards={0: 4})
    mix = Mix(submissions=1, cpu_only=0, arrays=0, requeues=0, withdrawn=0, longest_s=600, shortest_s=300)
    cluster = make_cluster("gamma", 1, 1_790_000_000, 1_790_003_600, [node], mix)
    (attempt,) = cluster.attempts
    (hold,) = attempt.holds
    assert (attempt.job.gpus, attempt.job.shards) == (0, 1)
    own_j = cluster.loads[hold, 0].between(hold.start_s, hold.end_s)
    idle_j = cluster.idle[hold.gpu.uuid].between(hold.start_s, hold.end_s)
    assert truth_of(cluster).attempts[attempt.job.key].energy_j == pytest.approx(own_j + idle_j / 4, rel=1e-12)


def test_a_gpu_that_cools_down_after_a_job_is_idle() -> None:
    node = make_node(random.Random(1), "n1", 1, A100)
    mix = Mix(submissions=1, cpu_only=0, arrays=0, requeues=0, withdrawn=0, longest_s=600, shortest_s=300)
    period = (1_790_000_000, 1_790_003_600)
    cold, warm = (make_cluster("gamma", 1, *period, [node], mix, troubles=Troubles(cooling=part)) for part in (0, 0.05))
    (attempt,) = cold.attempts
    (hold,) = attempt.holds
    assert truth_of(cold).attempts == truth_of(warm).attempts
    mean_w = cold.loads[hold, 0].between(hold.start_s, hold.end_s) / (hold.end_s - hold.start_s)
    more_j = truth_of(warm).devices[hold.gpu.uuid].idle_j - truth_of(cold).devices[hold.gpu.uuid].idle_j
    assert more_j == pytest.approx(0.05 * mean_w * 90 / 2)  # a triangle of 90 s


def test_a_gpu_cools_down_no_longer_than_until_the_next_job() -> None:
    load = Curve.from_knots([0, 100], [200, 200])
    tail = cooling_curve(load, 0.05, until_s=130)
    assert tail is not None
    assert tail.power([100, 129.999]).tolist() == pytest.approx([10, 10 * 2 / 3], abs=1e-3)
    assert tail.between(0, 1000) == pytest.approx(30 * (10 + 10 * 2 / 3) / 2)
    assert cooling_curve(load, 0.05, until_s=100) is None


def test_the_truth_survives_its_file(tmp_path) -> None:
    truth = truth_of(random_cluster(3))
    write_truth(truth, tmp_path / "truth.json")
    assert read_truth(tmp_path / "truth.json") == truth
