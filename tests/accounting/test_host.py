"""The host part of a node, by hand: what is left of its meter without its GPUs, and who owes what of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
import pytest

from accounting.attribution import attribute
from accounting.energy import EnergyCurve, curve_from_samples
from accounting.host import (
    NO_HOLDS,
    HostBySlurm,
    HostModel,
    host_curve,
    host_warnings,
    mean_power_w,
    node_holds,
    read_hosts,
)
from accounting.model import FactorSlot, HostReadings, HostSamples, Job, Node
from accounting.timeline import Timeline, build_timeline

NOTHING = np.zeros(0)
MAX_GAP_S = 600.0


def job(job_id: int, start_s: int | None, end_s: int | None, **changes: object) -> Job:
    values: dict[str, object] = {"nodes": ("n1",), "cpus": 1, "state": "COMPLETED", **changes}
    return Job(cluster="alpha", job_id=job_id, submit_s=0, label=str(job_id), start_s=start_s, end_s=end_s, **values)  # type: ignore[arg-type]


def gauge(times: list[float], power_w: list[float]) -> HostReadings:
    return HostReadings(NOTHING, NOTHING, np.array(times, float), np.array(power_w, float))


def counter(times: list[float], energy_j: list[float]) -> HostReadings:
    return HostReadings(np.array(times, float), np.array(energy_j, float), NOTHING, NOTHING)


def of_node(**parts: HostReadings) -> HostSamples:
    return HostSamples("n1", parts)


def gpu(times: list[float], energy_j: list[float]) -> EnergyCurve:
    return curve_from_samples(counter(times, energy_j), MAX_GAP_S)


def an_hour() -> Timeline:
    whole = [FactorSlot(0, 3600, 1.0, "test")]
    return build_timeline([0, 3600], [(0, 3600)], whole, whole, ())


# --- what is left of the meter


def test_the_gpus_are_taken_off() -> None:
    """500 W of the node less 300 W and 50 W of its GPUs, whose samples come at other times, are 150 W."""
    node = of_node(node=gauge([0, 60, 120], [500, 500, 500]))
    gpus = [gpu([-10, 50, 110, 170], [0, 18_000, 36_000, 54_000]), gpu([-30, 150], [0, 9_000])]
    found = host_curve(node, gpus, MAX_GAP_S)
    assert found.curve.method == "power"
    assert np.diff(found.curve.energy_at(np.array([0.0, 60.0, 120.0]))) == pytest.approx([9_000, 9_000])
    assert not found.overdrawn_s.size


def test_gpus_that_drew_more_than_the_node_leave_nothing_and_no_less() -> None:
    """The meter lags a minute behind: 6 kJ while the GPU took 18 kJ, then 30 kJ while it took 18 kJ."""
    node = of_node(node=counter([0, 60, 120, 180], [0, 6_000, 36_000, 60_000]))
    found = host_curve(node, [gpu([0, 180], [0, 54_000])], MAX_GAP_S)
    assert np.diff(found.curve.energy_at(np.array([0.0, 60.0, 120.0, 180.0]))) == pytest.approx([0, 12_000, 6_000])
    assert found.overdrawn_s.tolist() == [0.0]


def test_the_host_part_is_unknown_where_a_gpu_is() -> None:
    node = of_node(node=gauge([0, 60, 120, 180, 240], [500] * 5))
    found = host_curve(node, [gpu([0, 240], [0, 24_000]), gpu([70, 190], [0, 12_000])], MAX_GAP_S)
    assert found.curve.known_at(np.array([0.0, 120.0, 180.0, 240.0])).tolist() == [0, 0, 60, 60]


@pytest.mark.parametrize("gpus", [[EnergyCurve.unknown()], [gpu([500, 600], [0, 1])]])
def test_a_gpu_that_is_not_known_at_all_leaves_nothing_known(gpus: list[EnergyCurve]) -> None:
    assert host_curve(of_node(node=gauge([0, 60], [500, 500])), gpus, MAX_GAP_S).curve.empty


def test_a_node_without_samples_is_unknown() -> None:
    assert host_curve(of_node(), [], MAX_GAP_S).curve.empty
    assert host_curve(of_node(node=gauge([0], [500])), [], MAX_GAP_S).curve.empty


def test_the_parts_of_a_node_add_up_where_all_of_them_are_known() -> None:
    """Two packages at 100 W and 80 W from 0 s on, memory at 20 W from 30 s on."""
    node = of_node(
        package0=counter([0, 30, 60], [5, 3_005, 6_005]),
        package1=counter([0, 30, 60], [0, 2_400, 4_800]),
        memory=counter([30, 60, 90], [0, 600, 1_200]),
    )
    found = host_curve(node, [], MAX_GAP_S).curve
    assert found.method == "counter"
    assert (found.time_s[0], found.time_s[-1]) == (30, 60)
    assert np.diff(found.energy_at(np.array([30.0, 60.0]))) == pytest.approx([6_000])


def test_a_counter_that_wraps_goes_on_at_its_own_slope() -> None:
    """RAPL of 65,536 J at 100 W: 63,000 J is followed by 66,000 − 65,536 J."""
    node = of_node(package=counter([0, 30, 60, 90], [60_000, 63_000, 464, 3_464]))
    found = host_curve(node, [], MAX_GAP_S).curve
    assert np.diff(found.energy_at(np.array([0.0, 30.0, 60.0, 90.0]))) == pytest.approx([3_000, 3_000, 3_000])
    assert not found.lower_bound.knot_s.size


def test_a_counter_that_begins_anew_at_the_end_is_a_lower_bound() -> None:
    """Nothing is known of its slope afterwards: at least the 464 J that it shows."""
    node = of_node(package=counter([0, 30, 60], [60_000, 63_000, 464]))
    found = host_curve(node, [], MAX_GAP_S).curve
    assert np.diff(found.energy_at(np.array([30.0, 60.0]))) == pytest.approx([464])
    assert found.lower_bound.knot_s.tolist() == [30, 60]


def test_what_is_interpolated_is_not_measured() -> None:
    """The node's meter is silent from 60 s to 1000 s, one of its GPUs from 1000 s to 1700 s."""
    node = of_node(node=gauge([0, 60, 1000, 1060, 1120, 1700, 1760], [500] * 7))
    found = host_curve(node, [gpu([0, 500, 1000, 1700, 1760], [0, 1, 2, 3, 4])], MAX_GAP_S).curve
    times = np.array([0.0, 60.0, 1000.0, 1700.0, 1760.0])
    assert np.diff(found.measured_at(times)).tolist() == [60, 0, 0, 60]
    assert np.diff(found.known_at(times)).tolist() == [60, 940, 700, 60]


class Silent:
    """A meter that is read every minute, and not at all between 4450 s and 9000 s."""

    name = "test"

    def samples(self, start_s: float, end_s: float, nodes: Collection[str] | None = None) -> Iterator[HostSamples]:
        times = [time_s for time_s in range(0, 30_000, 60) if start_s <= time_s <= end_s]
        heard = [float(time_s) for time_s in times if not 4450 < time_s < 9000]
        if heard:
            yield of_node(node=gauge(heard, [500.0] * len(heard)))


def test_a_silence_across_the_start_is_read_with_ten_minutes_before_it() -> None:
    """The window from 4440 s on lies across 8000 s; what it is divided by is read up to 10 minutes before it."""
    hosts = read_hosts(Silent(), (), (8000.0, 20_000.0))
    times = hosts.samples[0].parts["node"].power_time_s.tolist()
    assert times[0] == 3840
    assert times == sorted(times)
    assert hosts.reach == {"n1": (3840.0, 20_640.0)}
    assert hosts.reach_of_all((8000.0, 20_000.0)) == (3840.0, 20_720.0)


def test_a_silence_across_the_end_is_read_with_ten_minutes_behind_it() -> None:
    hosts = read_hosts(Silent(), (), (1000.0, 5000.0))
    times = hosts.samples[0].parts["node"].power_time_s
    assert (times[times < 5000][-1], times[times > 5000][0]) == (4440, 9000)
    assert times[-1] >= 9600
    assert hosts.reach["n1"][1] == 9600


# --- who owes it


def test_the_idle_level_goes_by_capacity_and_the_rest_by_cores() -> None:
    """A node of 16 cores and 64 GiB that draws 300 W, and 100 W with nobody on it.

    Job 1 has 4 cores and 32 GiB: it keeps half of the node from others, for its memory. Job 2 has 4 cores and 8 GiB: a
    quarter, for its cores. The last quarter is nobody's. In an hour the idle level is 360 kJ: 180, 90, and 90 for the
    site. What lies above, 720 kJ, goes by cores: 360 each.
    """
    jobs = [job(1, 0, 3600, cpus=4, memory_mb=32768.0), job(2, 0, 3600, cpus=4, memory_mb=8192.0)]
    nodes = {"n1": Node("n1", 16, 65536.0, 100.0)}
    holds = node_holds(jobs, {one.key: place for place, one in enumerate(jobs)}, nodes, 4000)["n1"]
    assert holds.capacity.tolist() == [0.5, 0.25]
    curve = host_curve(of_node(node=gauge([0, 1800, 3600], [300] * 3)), [], 1e9).curve
    usage, balance = attribute(curve, holds, an_hour(), nodes["n1"].idle_w)
    assert usage.energy_j == pytest.approx([540_000, 450_000])
    assert usage.held_s == pytest.approx([1800, 900])
    assert (balance.metered_j[0], balance.idle_j[0]) == pytest.approx((1_080_000, 90_000))
    assert balance.idle_s[0] == pytest.approx(900)


def test_without_an_idle_level_the_holders_owe_all_by_cores() -> None:
    """Job 1 is there for the first half hour, alone; then nobody: that half is the site's."""
    jobs = [job(1, 0, 1800, cpus=2, memory_mb=1024.0), job(2, 0, 1800, cpus=6)]
    nodes = {"n1": Node("n1", 16, 65536.0)}
    holds = node_holds(jobs, {one.key: place for place, one in enumerate(jobs)}, nodes, 4000)["n1"]
    curve = host_curve(of_node(node=gauge([0, 1800, 3600], [200] * 3)), [], 1e9).curve
    usage, balance = attribute(curve, holds, an_hour(), None)
    assert usage.energy_j == pytest.approx([90_000, 270_000])
    assert balance.idle_j == pytest.approx([360_000])


def test_a_job_that_fills_a_node_of_unknown_size_or_claims_more_than_it_has() -> None:
    jobs = [job(1, 0, 10, cpus=8), job(2, 0, 10, cpus=64, nodes=("n1", "n2"), memory_mb=1.0)]
    index = {one.key: place for place, one in enumerate(jobs)}
    holds = node_holds(jobs, index, {"n2": Node("n2", 16)}, 100)
    assert holds["n1"].capacity.tolist() == [1.0, 1.0]
    assert holds["n1"].weight is not None
    assert holds["n1"].weight.tolist() == [8.0, 32.0]
    assert holds["n2"].capacity.tolist() == [1.0]  # 32 cores of 16


def test_a_job_of_several_nodes_is_spread_evenly() -> None:
    """16 cores and 48 GiB on 4 nodes of 16 cores and 64 GiB: a quarter of each, for the cores."""
    jobs = [job(1, 0, 10, cpus=16, memory_mb=49152.0, nodes=("n1", "n2", "n3", "n4"))]
    nodes = {name: Node(name, 16, 65536.0) for name in jobs[0].nodes}
    holds = node_holds(jobs, {jobs[0].key: 0}, nodes, 100)
    assert {name: one.capacity.tolist() for name, one in holds.items()} == {name: [0.25] for name in jobs[0].nodes}


def test_who_holds_nothing() -> None:
    """Jobs that never started, that have no cores, that ended as they began; a running one holds up to the end."""
    jobs = [
        job(1, None, None),
        job(2, 0, 10, cpus=0),
        job(3, 5, 5),
        job(4, 5, None, state="RUNNING"),
    ]
    holds = node_holds(jobs, {one.key: place for place, one in enumerate(jobs)}, {}, 100)
    assert (holds["n1"].attempt.tolist(), holds["n1"].end_s.tolist()) == ([3], [100.0])


def test_a_node_that_nobody_holds_is_the_sites() -> None:
    curve = host_curve(of_node(node=gauge([0, 3600], [100, 100])), [], 1e9).curve
    usage, balance = attribute(curve, NO_HOLDS, an_hour(), 100.0)
    assert not usage.energy_j.size
    assert (balance.metered_j[0], balance.idle_j[0]) == pytest.approx((360_000, 360_000))


# --- without a meter


def test_the_model() -> None:
    """8 cores at 4 W and 1000 MiB (1.048576 GB) at 0.3725 W: 32.390595 W. Without its memory: unknown."""
    jobs = [job(1, 0, 10, cpus=8, memory_mb=1000.0), job(2, 0, 10, cpus=8)]
    power_w, refused = mean_power_w(HostModel(4.0, 0.3725), jobs, {})
    assert power_w[0] == pytest.approx(32.39059456)
    assert np.isnan(power_w[1])
    assert not refused


def test_slurms_figure_is_believed_where_a_job_had_its_nodes_alone() -> None:
    """2 MJ in 1000 s on all the cores of both nodes: 2000 W."""
    nodes = {"n1": Node("n1", 16), "n2": Node("n2", 32)}
    alone = job(1, 0, 1000, cpus=48, nodes=("n1", "n2"), consumed_energy_j=2e6)
    power_w, refused = mean_power_w(HostBySlurm(includes_gpus=True), [alone], nodes)
    assert power_w.tolist() == [2000.0]
    assert not refused


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"cpus": 15}, "did not have all the cores of their nodes"),
        ({"nodes": ("n1", "n9")}, "ran on nodes of which it is not known how many cores they have"),
        ({"consumed_energy_j": None}, "have no ConsumedEnergyRaw"),
        ({"consumed_energy_j": 0.0}, "have no ConsumedEnergyRaw"),
        ({"gpus": 1}, "held GPUs, whose energy Slurm's figure holds, too"),
        ({"shards": 1}, "held GPUs, whose energy Slurm's figure holds, too"),
        ({"end_s": None, "state": "RUNNING"}, "still run"),
        ({"end_s": 0}, "ran for no time at all"),
    ],
)
def test_slurms_figure_is_refused_with_the_reason(changes: dict[str, object], why: str) -> None:
    values: dict[str, object] = {"start_s": 0, "end_s": 1000, "cpus": 16, "consumed_energy_j": 1e6, **changes}
    power_w, refused = mean_power_w(HostBySlurm(includes_gpus=True), [job(1, **values)], {"n1": Node("n1", 16)})  # type: ignore[arg-type]
    assert np.isnan(power_w[0])
    assert [(reason.startswith(why), count) for reason, count in refused.items()] == [(True, 1)]


def test_slurms_figure_of_a_gpu_job_is_believed_where_it_leaves_them_out() -> None:
    one = job(1, 0, 1000, cpus=16, gpus=1, consumed_energy_j=1e6)
    power_w, _ = mean_power_w(HostBySlurm(includes_gpus=False), [one], {"n1": Node("n1", 16)})
    assert power_w.tolist() == [1000.0]


# --- what is said of it


def test_what_was_found_out_is_said_in_a_line_each() -> None:
    assert host_warnings({}, [], []) == []
    said = host_warnings({"n2": 3, "n1": 1}, ["login1", "s3", "s2", "s1"], ["n7"])
    assert said == [
        "host: the GPUs of n1, n2 drew more than the node's own meter says, in 4 of its sample windows: "
        "the host part is 0 there",
        "host: login1, s1, s2 and 1 more: metered, but no node of this cluster; left out",
        "host: n7: jobs were there, and no meter is; their host energy is unknown",
    ]
