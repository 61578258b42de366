"""Metered nodes in the books: they balance, they are the same however the day is cut, their idle energy is reported."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounting.audit import audit
from accounting.booking import Accounted, Rules, Sources, account, again
from accounting.host import HostBySlurm, HostMetered, HostRule
from accounting.ledger.postings import MeterKey
from accounting.ledger.reading import Books
from accounting.ledger.store import Ledger
from accounting.model import Device, FactorSlot, GpuSamples, HostReadings, HostSamples, Job, Node, Tag
from accounting.report import make_report
from accounting.sources import Factors

DAY_S = 1_790_035_200  # 2026-09-22T00:00:00Z
HOUR_S = 3600
END_S = DAY_S + 8 * HOUR_S
NOTHING = np.zeros(0)
NODES = {"n1": Node("n1", 16, 65536.0, 120.0), "n2": Node("n2", 16, 65536.0)}


@dataclass
class World:
    """A cluster of two nodes, the first with two GPUs, as its sources show it."""

    jobs_: Sequence[Job] = ()
    gpus: Sequence[GpuSamples] = ()
    hosts: Sequence[HostSamples] = ()
    tags_: Sequence[Tag] = ()
    known_until_s: float = np.inf  # samples after that are not there yet
    name: str = "test"

    def jobs(self, start_s: float, end_s: float) -> Iterator[Job]:
        for job in self.jobs_:
            if job.start_s is not None and job.start_s < end_s and (job.end_s is None or job.end_s > start_s):
                yield job

    def tags(self, start_s: float, end_s: float, jobs: Sequence[Job], samples: Sequence[GpuSamples]) -> Iterator[Tag]:
        yield from (tag for tag in self.tags_ if tag.start_s < end_s and (tag.end_s or np.inf) > start_s)

    def gpu_samples(self, start_s: float, end_s: float, uuids: Collection[str] | None = None) -> Iterator[GpuSamples]:
        for one in self.gpus:
            cut = self._cut(one, start_s, end_s)
            if (uuids is None or one.device.uuid in uuids) and cut["energy_time_s"].size + cut["power_time_s"].size:
                yield replace(one, **cut)

    def host_samples(self, start_s: float, end_s: float, nodes: Collection[str] | None = None) -> Iterator[HostSamples]:
        for one in self.hosts:
            parts = {name: HostReadings(**self._cut(part, start_s, end_s)) for name, part in one.parts.items()}
            parts = {name: part for name, part in parts.items() if part.energy_time_s.size + part.power_time_s.size}
            if (nodes is None or one.node in nodes) and parts:
                yield HostSamples(one.node, parts)

    def _cut(self, one: GpuSamples | HostReadings, start_s: float, end_s: float) -> dict[str, np.ndarray]:
        cut = {}
        for times, values in (("energy_time_s", "energy_j"), ("power_time_s", "power_w")):
            time_s = getattr(one, times)
            inside = (time_s >= start_s) & (time_s <= min(end_s, self.known_until_s))
            cut |= {times: time_s[inside], values: getattr(one, values)[inside]}
        return cut

    def sources(self, nodes: Mapping[str, Node] = NODES) -> Sources:
        whole = [FactorSlot(0, 2e9, 1.2, "test")]
        hours = [FactorSlot(a, a + HOUR_S, 50.0 + a // HOUR_S % 24, "test") for a in range(DAY_S, END_S, HOUR_S)]
        return Sources(
            jobs=self,
            gpu=_Named(self.gpu_samples) if self.gpus else None,
            holders=[self],
            host=_Named(self.host_samples),
            nodes=_Nodes(nodes),
            factors=lambda start_s, end_s: Factors(whole, hours, hours),
        )


class _Named:
    name = "test"

    def __init__(self, samples: object) -> None:
        self.samples = samples


class _Nodes:
    def __init__(self, nodes: Mapping[str, Node]) -> None:
        self._nodes = nodes

    def nodes(self) -> Mapping[str, Node]:
        return self._nodes


def rules(host: HostRule) -> Rules:
    return Rules(ZoneInfo("UTC"), 600.0, host, 150_000.0, {}, 5.0)


METERED = HostMetered(includes_gpus=True, max_gap_s=600.0)


def book(
    place: Path, world: World, cuts: Sequence[float], host: HostRule = METERED, nodes: Mapping[str, Node] = NODES
) -> list[Accounted]:
    """Account from cut to cut, each time as `scarbon collect` does; silences that end are accounted anew."""
    ledger = Ledger(f"sqlite:///{place}", "UTC")
    done = []
    for start_s, end_s in pairwise(cuts):
        result = account(
            "alpha", world.sources(nodes), rules(host), ledger, start_s, end_s, version="0", config_digest="0"
        )
        done.append(result)
        for stretch in again(ledger, "alpha", result.heard_again, start_s):
            account("alpha", world.sources(nodes), rules(host), ledger, *stretch, version="0", config_digest="0")
        ledger.heard_again("alpha", result.heard_again)
    ledger.close()
    return done


def in_force(place: Path) -> dict[tuple[object, ...], tuple[float | None, ...]]:
    """Every posting in force: who, which meter and hour, and its figures."""
    with Books(f"sqlite:///{place}") as books:
        usage = books.rows(
            "SELECT a.job_id, m.kind, m.uuid, u.slot_s, u.held_s, u.known_s, u.measured_s, u.energy_j, u.location_g "
            "FROM usage_slots u JOIN attempts a ON a.attempt_id = u.attempt_id "
            "JOIN meters m ON m.meter_id = u.meter_id WHERE u.superseded_by IS NULL"
        )
        balance = books.rows(
            "SELECT 0, m.kind, m.uuid, b.slot_s, b.idle_s, b.known_s, b.measured_s, b.metered_j, b.idle_j "
            "FROM balance b JOIN meters m ON m.meter_id = b.meter_id WHERE b.superseded_by IS NULL"
        )
        return {tuple(row)[:4]: tuple(row)[4:] for row in (*usage, *balance)}


def job(job_id: int, start_s: float, end_s: float | None, nodes: tuple[str, ...], cpus: int, gpus: int = 0) -> Job:
    return Job(
        "alpha", job_id, int(start_s), str(job_id), "COMPLETED", start_s=int(start_s),
        end_s=None if end_s is None else int(end_s), nodes=nodes, cpus=cpus, memory_mb=1024.0 * cpus, gpus=gpus,
        account=f"account{job_id % 2}",
    )  # fmt: skip


def held(one: Job, uuid: str) -> Tag:
    assert one.start_s is not None
    end_s = None if one.end_s is None else float(one.end_s)
    return Tag("alpha", one.job_id, "n1", uuid, None, float(one.start_s), end_s, "test")


def simple() -> World:
    """Eight hours: n1 draws 900 W, 400 W of it in its two GPUs; n2 has no GPU and draws 250 W.

    Job 1 has half of n1 and a GPU from the second hour to the end of the fourth; job 2 half of n2 all day.
    """
    time_s = np.arange(DAY_S - HOUR_S, END_S + HOUR_S + 1, 60.0)
    jobs = [
        job(1, DAY_S + HOUR_S, DAY_S + 4 * HOUR_S, ("n1",), 8, 1),
        job(2, DAY_S - 600, END_S + 600, ("n2",), 8),
    ]
    return World(
        jobs_=jobs,
        tags_=[held(jobs[0], "GPU-1")],
        gpus=[
            GpuSamples(Device("alpha", uuid, "n1"), time_s, (time_s - time_s[0]) * 200.0, NOTHING, NOTHING)
            for uuid in ("GPU-1", "GPU-2")
        ],
        hosts=[
            HostSamples("n1", {"": HostReadings(NOTHING, NOTHING, time_s + 7, np.full(time_s.size, 900.0))}),
            HostSamples("n2", {"": HostReadings(time_s, 1e6 + (time_s - time_s[0]) * 250.0, NOTHING, NOTHING)}),
        ],
    )


def test_the_day_by_hand(tmp_path: Path) -> None:
    """n1's host part is 900 − 400 = 500 W, 120 W of it when idle.

    Job 1: half of the idle level and all above it, 60 + 380 = 440 W for three hours. The site: 60 W for these, and
    500 W for five hours. n2's idle level is not known: job 2 owes all of its 250 W.
    """
    place = tmp_path / "ledger.db"
    done = book(place, simple(), [DAY_S, END_S])
    assert done[0].warnings == []
    rows = in_force(place)
    host_j = {
        number: sum(row[3] or 0.0 for key, row in rows.items() if key[:2] == (number, "host")) for number in (1, 2)
    }
    assert host_j == pytest.approx({1: 440 * 3 * HOUR_S, 2: 250 * 8 * HOUR_S})
    idle_j = sum(row[4] or 0.0 for key, row in rows.items() if key[:3] == (0, "host", "n1"))
    assert idle_j == pytest.approx((60 * 3 + 500 * 5) * HOUR_S)
    with Books(f"sqlite:///{place}") as books:
        found = audit(books, None, None)
        report = make_report(books, "2026-09-22", "2026-09-22", "account", None)
    assert found.balanced
    assert {line.uuid for line in found.devices} == {"GPU-1", "GPU-2", "n1", "n2"}
    assert found.clusters[0].metered_j == pytest.approx((900 + 250) * 8 * HOUR_S)
    assert report.idle.host_energy_j == pytest.approx((60 * 3 + 500 * 5) * HOUR_S)
    assert report.idle.gpu_energy_j == pytest.approx((200 * 8 + 200 * 5) * HOUR_S)
    assert report.idle.gpu_seconds == pytest.approx(13 * HOUR_S)
    assert report.host_metered_j == pytest.approx((500 + 250) * 8 * HOUR_S)
    assert report.total.it_energy_j == pytest.approx((900 + 250) * 8 * HOUR_S)
    # Making nodes is not part of what making GPUs emitted.
    assert report.idle.co2e_embodied_g == pytest.approx(13 * HOUR_S * 150_000 / (5 * 365.25 * 86400))


def test_a_job_on_a_node_without_a_meter_has_unknown_host_energy(tmp_path: Path) -> None:
    world = simple()
    world.hosts = [one for one in world.hosts if one.node == "n1"]
    done = book(tmp_path / "ledger.db", world, [DAY_S, END_S])
    assert done[0].warnings == ["host: n2: jobs were there, and no meter is; their host energy is unknown"]
    rows = in_force(tmp_path / "ledger.db")
    assert {row[3] for key, row in rows.items() if key[0] == 2} == {None}
    assert sum(row[0] or 0.0 for key, row in rows.items() if key[0] == 2) == pytest.approx(8 * HOUR_S / 2)


def test_hosts_that_are_no_nodes_of_the_cluster_are_left_out_and_named(tmp_path: Path) -> None:
    done = book(tmp_path / "ledger.db", simple(), [DAY_S, END_S], nodes={"n1": NODES["n1"]})
    assert done[0].warnings[0] == "host: n2: metered, but no node of this cluster; left out"
    assert not any(key[:3] == (0, "host", "n2") for key in in_force(tmp_path / "ledger.db"))


def test_slurms_own_figure(tmp_path: Path) -> None:
    """Job 3 had all of n1 for an hour and used 3.6 MJ; job 2 had half of n2."""
    world = simple()
    alone = replace(job(3, DAY_S + HOUR_S, DAY_S + 2 * HOUR_S, ("n1",), 16), consumed_energy_j=3.6e6)
    world.jobs_ = [alone, replace(world.jobs_[1], consumed_energy_j=1e6)]
    done = book(tmp_path / "ledger.db", world, [DAY_S, END_S], HostBySlurm(includes_gpus=True))
    assert done[0].warnings == [
        "host: 1 jobs did not have all the cores of their nodes, so that Slurm's figure may be of others, too"
    ]
    rows = {key: row[3] for key, row in in_force(tmp_path / "ledger.db").items() if key[1:3] == ("host", "")}
    assert rows.pop((3, "host", "", DAY_S + HOUR_S)) == pytest.approx(3.6e6)
    assert set(rows) == {(2, "host", "", hour) for hour in range(DAY_S, END_S, HOUR_S)}
    assert set(rows.values()) == {None}


def test_a_meter_that_is_heard_again_is_accounted_anew(tmp_path: Path) -> None:
    """n1's meter is silent from 02:10 to 05:20. The books end at 04:00 first: nothing is known of the silence yet."""
    world = simple()
    meter = world.hosts[0].parts[""]
    silent = (meter.power_time_s > DAY_S + 2 * HOUR_S + 600) & (meter.power_time_s < DAY_S + 5 * HOUR_S + 1200)
    heard = HostReadings(NOTHING, NOTHING, meter.power_time_s[~silent], meter.power_w[~silent])
    world.hosts = [HostSamples("n1", {"": heard}), world.hosts[1]]
    at_once, in_steps = tmp_path / "once.db", tmp_path / "steps.db"
    book(at_once, world, [DAY_S, END_S])
    world.known_until_s = DAY_S + 4 * HOUR_S
    book(in_steps, world, [DAY_S, DAY_S + 4 * HOUR_S])
    silence = in_force(in_steps)[0, "host", "n1", DAY_S + 3 * HOUR_S]
    assert silence[1:] == (0.0, 0.0, None, None)  # the hour passed, and nothing is known of it
    world.known_until_s = np.inf
    done = book(in_steps, world, [DAY_S + 4 * HOUR_S, END_S])
    assert set(done[0].heard_again) == {MeterKey("host", "n1")}
    assert in_force(in_steps) == approximately(in_force(at_once))


def test_a_silence_across_a_cut_is_divided_by_all_that_happened_in_it(tmp_path: Path) -> None:
    """n2's meter is silent from 02:00 to 05:00, and job 3 ran on it from 02:10 to 02:20; the books are cut at 04:00."""
    world = simple()
    meter = world.hosts[1].parts[""]
    silent = (meter.energy_time_s > DAY_S + 2 * HOUR_S) & (meter.energy_time_s < DAY_S + 5 * HOUR_S)
    heard = HostReadings(meter.energy_time_s[~silent], meter.energy_j[~silent] ** 1.0001, NOTHING, NOTHING)
    world.hosts = [world.hosts[0], HostSamples("n2", {"": heard})]
    world.jobs_ = [job(3, DAY_S + 2 * HOUR_S + 600, DAY_S + 2 * HOUR_S + 1200, ("n2",), 8)]
    world.tags_ = []
    at_once, in_steps = tmp_path / "once.db", tmp_path / "steps.db"
    book(at_once, world, [DAY_S, END_S])
    book(in_steps, world, [DAY_S, DAY_S + 4 * HOUR_S, END_S])
    assert in_force(in_steps) == approximately(in_force(at_once))


def approximately(rows: Mapping[tuple[object, ...], tuple[float | None, ...]]) -> dict[tuple[object, ...], object]:
    return {
        key: tuple(value if value is None else pytest.approx(value, rel=1e-9, abs=1e-6) for value in row)
        for key, row in rows.items()
    }


def random_world(seed: int, job_count: int, step_s: float) -> World:
    """Random power, jobs, and silences of every meter; n1's meter is read every `step_s`, its GPUs' every 30 s."""
    chance = np.random.default_rng(seed)

    def times(step_s: float) -> np.ndarray:
        first_s = DAY_S - 2 * HOUR_S + chance.uniform(0, step_s)
        time_s = np.arange(first_s, END_S + 2 * HOUR_S, step_s) + chance.uniform(0, 0.5, 1)
        for _ in range(chance.integers(0, 3)):
            begin_s, length_s = chance.uniform(DAY_S, END_S), chance.exponential(1500)
            time_s = time_s[(time_s < begin_s) | (time_s > begin_s + length_s)]
        return time_s

    def total(time_s: np.ndarray, idle_w: float) -> np.ndarray:
        power_w = idle_w + chance.exponential(100, time_s.size)
        return np.cumsum(power_w * np.diff(time_s, prepend=time_s[0]))

    jobs, tags = [], []
    for number in range(1, job_count + 1):
        start_s = float(chance.integers(DAY_S - HOUR_S, END_S))
        nodes = (("n1",), ("n2",), ("n1", "n2"))[chance.integers(3)]
        one = job(number, start_s, start_s + 1 + float(chance.exponential(5000)), nodes, int(chance.integers(1, 20)), 1)
        jobs.append(one)
        if "n1" in nodes:
            tags.append(held(one, f"GPU-{number % 2}"))
    gpus = []
    for number in range(2):
        time_s = times(30.0)
        gpus.append(GpuSamples(Device("alpha", f"GPU-{number}", "n1"), time_s, total(time_s, 60.0), NOTHING, NOTHING))
    slow_s, packages_s = times(step_s), times(60.0)
    wrapped_j = total(packages_s, 80.0) % 65536.0
    hosts = [
        HostSamples("n1", {"": HostReadings(NOTHING, NOTHING, slow_s, chance.uniform(150, 900, slow_s.size))}),
        HostSamples(
            "n2",
            {
                "package": HostReadings(packages_s, wrapped_j, NOTHING, NOTHING),
                "dram": HostReadings(packages_s, total(packages_s, 10.0), NOTHING, NOTHING),
            },
        ),
    ]
    return World(jobs, gpus, hosts, tags)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32 - 1),
    job_count=st.integers(0, 6),
    step_s=st.sampled_from([30.0, 60.0, 300.0]),
    cuts=st.lists(st.integers(DAY_S + 1, END_S - 1), max_size=6, unique=True),
)
def test_the_books_balance_and_chunks_do_not_matter(
    tmp_path_factory: pytest.TempPathFactory, seed: int, job_count: int, step_s: float, cuts: list[int]
) -> None:
    world = random_world(seed, job_count, step_s)
    folder = tmp_path_factory.mktemp("books")
    at_once, in_chunks = folder / "once.db", folder / "chunks.db"
    book(at_once, world, [DAY_S, END_S])
    book(in_chunks, world, [DAY_S, *sorted(cuts), END_S])
    expected = in_force(at_once)
    assert in_force(in_chunks) == approximately(expected)
    assert all(value is None or value >= 0 for row in expected.values() for value in row)
    with Books(f"sqlite:///{in_chunks}") as books:
        assert audit(books, None, None).balanced
