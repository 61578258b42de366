"""What the meters and hooks show of a cluster, one trouble at a time."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.cluster import Cluster, Sampling, Troubles
from simulator.meters import SENTINELS, Readings, gpu_samples, hook_events, read_all
from simulator.scenarios import random_cluster

WELL = Troubles()
INSTEP = Sampling()


def quiet(sampling: Sampling = INSTEP, troubles: Troubles = WELL, mig: bool = False, shards: bool = False) -> Cluster:
    return random_cluster(4, sampling=sampling, troubles=troubles, mig=mig, shards=shards)


def of_node(cluster: Cluster, node: str) -> Readings:
    return next(readings for readings in read_all(cluster) if readings.gpu.node == node)


def test_the_counter_shows_the_true_energy_in_whole_millijoules() -> None:
    cluster = quiet()
    for readings in read_all(cluster):
        shown_j = np.diff(readings.energy_mj) / 1000.0
        true_j = np.diff(cluster.energy(readings.gpu, readings.time_s))
        assert readings.energy_mj.dtype == np.int64
        assert abs(shown_j - true_j).max() <= 0.001


def test_the_samples_reach_beyond_both_ends_of_the_period() -> None:
    cluster = quiet()
    for readings in read_all(cluster):
        assert cluster.start_s - 30 <= readings.time_s[0] <= cluster.start_s
        assert cluster.end_s <= readings.time_s[-1] <= cluster.end_s + 30
        assert np.diff(readings.time_s) == pytest.approx(30.0)


def test_jitter_moves_the_scrapes_but_keeps_their_order() -> None:
    readings = of_node(quiet(sampling=Sampling(jitter_s=2.0)), "n1")
    widths = np.diff(readings.time_s)
    assert widths.min() > 0
    assert widths.std() > 0.5
    assert np.round(readings.time_s, 3).tolist() == readings.time_s.tolist()


def test_the_gauge_is_the_mean_of_the_last_second() -> None:
    cluster = quiet()
    readings = of_node(cluster, "n1")
    assert readings.power_w is not None
    energy = cluster.energy
    expected_w = energy(readings.gpu, readings.time_s) - energy(readings.gpu, readings.time_s - 1.0)
    assert readings.power_w == pytest.approx(expected_w, abs=0.001)
    assert of_node(quiet(sampling=Sampling(power=False)), "n1").power_w is None


def test_a_driver_that_is_loaded_again_counts_from_zero() -> None:
    cluster = quiet(troubles=Troubles(driver_reloads=1))
    ((node, reload_s),) = cluster.driver_reloads
    for readings in read_all(cluster):
        falls = np.flatnonzero(np.diff(readings.energy_mj) < 0)
        if readings.gpu.node != node:
            assert not len(falls)
            continue
        (at,) = falls
        assert readings.time_s[at] < reload_s <= readings.time_s[at + 1]
        since_j = cluster.energy(readings.gpu, readings.time_s[at + 1]) - cluster.energy(readings.gpu, reload_s)
        assert readings.energy_mj[at + 1] == pytest.approx(since_j * 1000, abs=1)


def test_an_outage_has_no_samples_and_loses_no_energy() -> None:
    cluster = quiet(troubles=Troubles(outages=1, outage_s=(600, 600)))
    (outage,) = cluster.outages
    readings = of_node(cluster, outage.node)
    assert not ((readings.time_s >= outage.start_s) & (readings.time_s < outage.end_s)).any()
    assert np.diff(readings.time_s).max() >= 600
    true_j = np.diff(cluster.energy(readings.gpu, readings.time_s[[0, -1]]))[0]
    assert readings.energy_mj[-1] - readings.energy_mj[0] == pytest.approx(true_j * 1000, abs=1)


def test_a_collection_slower_than_the_scrapes_repeats_values() -> None:
    cluster = quiet(sampling=Sampling(scrape_interval_s=15, collect_interval_s=30))
    readings = of_node(cluster, "n1")
    repeated = np.diff(readings.energy_mj) == 0
    assert repeated.mean() == pytest.approx(0.5, abs=0.02)
    # A value is never newer than its scrape, and at most one collection old.
    energy = cluster.energy(readings.gpu, readings.time_s) - cluster.energy(readings.gpu, readings.time_s[0])
    shown = (readings.energy_mj - readings.energy_mj[0]) / 1000
    assert abs(shown - energy).max() <= 30 * readings.gpu.tdp_w


def test_blank_values_leak_and_the_ready_samples_are_without_them() -> None:
    cluster = quiet(troubles=Troubles(sentinel_rate=0.05))
    for readings, samples in zip(read_all(cluster), gpu_samples(cluster), strict=True):
        blank = np.isin(readings.energy_mj, SENTINELS)
        assert 0 < blank.mean() < 0.2
        assert samples.energy_time_s.tolist() == readings.time_s[~blank].tolist()
        assert (np.diff(samples.energy_j) > 0).all()
        assert samples.power_w.max() < 1000


def test_a_sensor_shows_its_gain() -> None:
    cluster = quiet(troubles=Troubles(gain_sigma=0.05))
    for readings in read_all(cluster):
        true_j = np.diff(cluster.energy(readings.gpu, readings.time_s[[0, -1]]))[0]
        shown_j = (readings.energy_mj[-1] - readings.energy_mj[0]) / 1000
        assert shown_j / true_j == pytest.approx(readings.gpu.gain, rel=1e-8)
        assert readings.gpu.gain != 1.0


def test_hooks_run_once_for_each_node_at_start_and_end() -> None:
    cluster = quiet()
    events = hook_events(cluster)
    for attempt in cluster.attempts:
        mine = [event for event in events if event.attempt is attempt]
        starts = [(event.time_s, event.node) for event in mine if event.event == "start"]
        ends = [(event.time_s, event.node) for event in mine if event.event == "end"]
        assert starts == [(attempt.job.start_s, node) for node in attempt.job.nodes]
        over = attempt.job.end_s is not None
        assert ends == ([(attempt.ends_s, node) for node in attempt.job.nodes] if over else [])


def test_late_hooks_never_cross_those_of_the_next_job() -> None:
    cluster = quiet(troubles=Troubles(hook_lag_s=0.4))
    assert any(event.time_s % 1 for event in hook_events(cluster))
    held: dict[str, int] = {}
    for event in hook_events(cluster):
        for hold in event.holds:
            if event.event == "start":
                assert hold.gpu.uuid not in held
                held[hold.gpu.uuid] = event.attempt.job.job_id
            else:
                assert held.pop(hold.gpu.uuid) == event.attempt.job.job_id


def test_missed_hooks_leave_no_line() -> None:
    all_well = hook_events(quiet())
    missed = hook_events(quiet(troubles=Troubles(missed_prolog_rate=0.3, missed_epilog_rate=0.3)))
    assert {(event.event, event.time_s) for event in missed} < {(event.event, event.time_s) for event in all_well}
    for kind in ("start", "end"):
        before, after = (sum(event.event == kind for event in events) for events in (all_well, missed))
        assert 0.4 * before < after < 0.95 * before


def test_the_label_names_the_job_that_holds_the_gpu() -> None:
    cluster = quiet(mig=True, shards=True)
    most: dict[int, int] = {}  # by the number of lines that a mapping file can have: the most jobs at once
    for readings in read_all(cluster):
        for gi_id, lines in readings.job_ids.items():
            for time_s, job_ids in zip(readings.time_s, lines.T, strict=True):
                holders = [
                    attempt.job.job_id
                    for attempt in cluster.attempts
                    for hold in attempt.holds
                    if hold.gpu.uuid == readings.gpu.uuid
                    and hold.gi_id == gi_id
                    and hold.start_s <= time_s < hold.end_s
                ]
                assert sorted(holders) == sorted(job_id for job_id in job_ids if job_id)
                most[len(job_ids)] = max(most.get(len(job_ids), 0), len(holders))
    assert most[1] == 1
    assert most[4] > 1


def test_without_the_mapping_folder_there_is_no_label() -> None:
    for readings in read_all(quiet(sampling=Sampling(hpc_job=False))):
        assert not any(job_ids.any() for job_ids in readings.job_ids.values())


def test_a_missed_epilog_leaves_the_label_until_the_next_prolog() -> None:
    cluster = quiet(troubles=Troubles(missed_epilog_rate=1.0))
    readings = of_node(cluster, "n1")
    first_s = min(hold.start_s for attempt in cluster.attempts for hold in attempt.holds if hold.gpu is readings.gpu)
    assert readings.job_ids[None][0][readings.time_s >= first_s].all()


def test_activity_times_slices_is_the_power_above_idle() -> None:
    cluster = quiet(mig=True)
    readings = next(readings for readings in read_all(cluster) if readings.gpu.instances)
    gpu = readings.gpu
    slices = {instance.gi_id: instance.slices for instance in gpu.instances}
    assert slices == {1: 3, 2: 2, 3: 1}
    above_w = sum(share * slices[gi_id] / 7 * gpu.dynamic_w for gi_id, share in readings.activity.items())
    idle_j = np.diff(cluster.idle[gpu.uuid].energy(readings.time_s))
    true_w = (np.diff(cluster.energy(gpu, readings.time_s)) - idle_j) / np.diff(readings.time_s)
    assert above_w[1:] == pytest.approx(true_w, abs=0.01)


def test_activity_may_be_missing() -> None:
    readings = read_all(quiet(mig=True, troubles=Troubles(unprofiled_rate=0.2)))
    shares = [share for one in readings for share in one.activity.values()]
    assert 0.1 < np.isnan(np.concatenate(shares)).mean() < 0.3
