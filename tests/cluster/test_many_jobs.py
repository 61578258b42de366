"""Many short jobs at once, as fast as Slurm takes them: the hooks harm none of them, and the books know who held what.

Arrays, jobs on several GPUs and on both nodes, jobs that share GPUs, and some without any. What they held is told by
Slurm itself: by the environment that it gives each job, and by the controller while they run.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster.books import Books, iso, open_books
from tests.cluster.evidence import journal_lines
from tests.cluster.gpus import CHECKOUT
from tests.cluster.harness import Cluster

pytestmark = pytest.mark.cluster

#: SCARBON_TEST_JOBS chooses another number.
JOBS = int(os.environ.get("SCARBON_TEST_JOBS", "500"))

#: A job says what Slurm gave it: its raw id, its node, and Slurm's indices of its GPUs there.
SAY = 'echo "$SLURM_JOB_ID $SLURMD_NODENAME $SLURM_JOB_GPUS" >held-$SLURM_JOB_ID'

#: Of a hundred jobs, so many of each kind: what it asks for, and how long it goes on.
KINDS = (
    (40, ("--gpus=1",), 0.0),
    (30, ("--gres=shard:2",), 1.0),
    (10, ("--gres=shard:1",), 2.5),
    (10, ("--gpus=2", "--nodes=1"), 0.0),
    (10, (), 0.0),
)
PAIRS = 10  # jobs on both nodes, which only the controller can tell of

Holds = dict[int, set[tuple[str, int]]]  # by raw job id: node and Slurm's index


@dataclass(frozen=True)
class Storm:
    """What happened: which jobs there were, what they held by Slurm, and what was seen beside them."""

    start_s: int
    end_s: int
    took_s: float
    ids: set[int]
    said: Holds
    sampled: Holds
    page_statuses: Counter[int]
    node_states: dict[str, str]
    sightings: Path

    @property
    def held(self) -> Holds:
        """What each job with GPUs held, by either of Slurm's records."""
        return {**self.sampled, **self.said}


@pytest.fixture(scope="module")
def storm(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Storm:
    """Run the jobs."""
    slurm = cluster.slurm
    before = {int(row["JobIDRaw"]) for row in slurm.sacct("JobIDRaw")}
    statuses: Counter[int] = Counter()
    sampled: Holds = {}
    folder = tmp_path_factory.mktemp("sightings")
    books = open_books(folder, cluster, holders="[gres_index]")
    time.sleep(3)  # a few samples of idle GPUs
    start_s = int(time.time())
    began_s = time.monotonic()

    def ended() -> bool:
        statuses.update(exporter.page_status() for exporter in cluster.exporters.values())
        for (job_id, _), held in slurm.running_gpus().items():
            if held:
                sampled[job_id] = {(node, index) for node, indices in held.items() for index in indices}
        return not submitting.is_alive() and not slurm.queue()

    with watching(books):
        submitting = threading.Thread(target=submit, args=(cluster,))
        submitting.start()
        cluster.processes.wait_until(ended, "the jobs have ended", timeout_s=400, every_s=0.2)
    took_s = time.monotonic() - began_s
    slurm.wait_for_books()
    time.sleep(3)
    said: Holds = {}
    for file in cluster.home.glob("held-*"):
        job_id, node, *indices = file.read_text().split()
        if indices:
            said[int(job_id)] = {(node, int(index)) for index in indices[0].split(",")}
    ids = {int(row["JobIDRaw"]) for row in slurm.sacct("JobIDRaw")} - before
    return Storm(start_s, int(time.time()) - 1, took_s, ids, said, sampled, statuses, slurm.node_states(), books.folder)


def submit(cluster: Cluster) -> None:
    """Half of each kind as an array, the other half one by one."""
    users = ("ada", "bob", "eve")
    for place, (per_hundred, options, sleep_s) in enumerate(KINDS):
        count = (JOBS - PAIRS) * per_hundred // 100
        script = SAY + (f"; sleep {sleep_s:g}" if sleep_s else "")
        cluster.submit(users[place % 3], script, *options, f"--array=1-{count // 2}", "--output=/dev/null")
    for place, (per_hundred, options, sleep_s) in enumerate(KINDS):
        count = (JOBS - PAIRS) * per_hundred // 100
        script = SAY + (f"; sleep {sleep_s:g}" if sleep_s else "")
        for _ in range(count - count // 2):
            cluster.submit(users[place % 3], script, *options, "--output=/dev/null")
    for _ in range(PAIRS):
        cluster.submit("eve", "sleep 2", "--nodes=2", "--gpus-per-node=1", "--output=/dev/null")


@contextmanager
def watching(books: Books) -> Iterator[None]:
    """`scarbon collect --watch` beside it, as a service has it."""
    command = [sys.executable, "-m", "scarbon", "--config", str(books.config), "collect", "--watch", "1", "--quiet"]
    env = {**os.environ, "SLURM_CONF": books.cluster.slurm.env["SLURM_CONF"]}
    with subprocess.Popen(command, cwd=CHECKOUT, env=env, stderr=subprocess.PIPE, text=True) as watch:
        yield
        watch.terminate()
        _, errors = watch.communicate(timeout=30)
    assert (watch.returncode, errors) == (0, "")


@pytest.fixture(scope="module")
def truth(cluster: Cluster, storm: Storm) -> dict[int, set[str]]:
    """The devices that each job with GPUs held, by Slurm's own word."""
    return {
        job_id: {cluster.nodes[node].by_minor(index).uuid for node, index in held}
        for job_id, held in storm.held.items()
    }


def booked(books: Books, storm: Storm) -> dict[int, set[str]]:
    """The devices of each job in the books."""
    found: dict[int, set[str]] = defaultdict(set)
    with closing(sqlite3.connect(books.folder / "ledger.db")) as ledger:
        rows = ledger.execute(
            "SELECT DISTINCT a.job_id, m.uuid FROM usage_slots u JOIN attempts a ON a.attempt_id = u.attempt_id "
            "JOIN meters m ON m.meter_id = u.meter_id WHERE m.kind = 'gpu' AND m.uuid <> '' AND u.superseded_by IS NULL"
        )
        for job_id, uuid in rows:
            if job_id in storm.ids:
                found[job_id].add(uuid)
    return dict(found)


def collected(folder: Path, cluster: Cluster, storm: Storm, holders: str) -> Books:
    """Books of the storm by some sources of holders."""
    books = open_books(folder, cluster, holders)
    books.scarbon("collect", "--quiet", "-S", iso(storm.start_s), "-E", iso(storm.end_s))
    return books


def test_slurm_ran_them_all_and_drained_no_node(cluster: Cluster, storm: Storm) -> None:
    print(f"{len(storm.ids)} jobs in {storm.took_s:.0f} s")  # shown with -s
    assert len(storm.ids) == JOBS
    states = {row["State"] for row in cluster.slurm.sacct("JobIDRaw,State") if int(row["JobIDRaw"]) in storm.ids}
    assert states == {"COMPLETED"}
    assert storm.node_states == {"n1": "idle", "n2": "idle"}


def test_no_page_of_the_exporters_failed_while_they_ran(storm: Storm) -> None:
    assert set(storm.page_statuses) == {200}
    assert storm.page_statuses[200] > 50


def test_slurms_two_records_agree_and_have_every_job_with_gpus(cluster: Cluster, storm: Storm) -> None:
    for job_id in storm.said.keys() & storm.sampled.keys():
        assert storm.said[job_id] == storm.sampled[job_id], job_id
    tres = {int(row["JobIDRaw"]): row["AllocTRES"] for row in cluster.slurm.sacct("JobIDRaw,AllocTRES")}
    assert {job_id for job_id in storm.ids if "gres/" in tres[job_id]} == set(storm.held)
    shared = Counter(device for job_id, held in storm.held.items() if "shard" in tres[job_id] for device in held)
    assert max(shared.values()) > 1


def test_every_hold_of_the_journal_is_right(cluster: Cluster, storm: Storm) -> None:
    times = {int(row["JobIDRaw"]): row for row in cluster.slurm.sacct("JobIDRaw,Start,End,AllocTRES")}
    lines = [line for line in journal_lines(cluster) if line["job_id"] in storm.ids]
    assert {line["event"] for line in lines} == {"start", "end"}
    held: dict[str, Holds] = {"start": defaultdict(set), "end": defaultdict(set)}
    for line in lines:
        held[line["event"]][line["job_id"]] |= {(line["node"], gpu["minor"]) for gpu in line["gpus"]}
        for gpu in line["gpus"]:
            assert cluster.nodes[line["node"]].by_minor(gpu["minor"]).uuid == gpu["uuid"]
        edge = int(times[line["job_id"]][line["event"].capitalize()])
        # Slurm's whole seconds; a Prolog runs once the job has its resources, an Epilog before they are another's.
        assert line["time"] > edge - 1, line
    assert held["start"] == held["end"] == storm.held


def test_no_two_jobs_hold_the_same_gpu_whole(cluster: Cluster) -> None:
    """By the order of the journal's lines. (Slurm 22.05 hands out a whole GPU while others have shards of it.)"""
    tres = {int(row["JobIDRaw"]): row["AllocTRES"] for row in cluster.slurm.sacct("JobIDRaw,AllocTRES")}
    holders: dict[str, set[int]] = defaultdict(set)
    for line in journal_lines(cluster):
        if "gres/gpu" not in tres[line["job_id"]]:
            continue
        for gpu in line["gpus"]:
            if line["event"] == "start":
                assert not holders[gpu["uuid"]], line
                holders[gpu["uuid"]].add(line["job_id"])
            else:
                holders[gpu["uuid"]].remove(line["job_id"])


def test_the_books_by_the_journal(cluster: Cluster, storm: Storm, truth: dict[int, set[str]], tmp_path: Path) -> None:
    books = collected(tmp_path, cluster, storm, "[journal]")
    assert booked(books, storm) == truth
    assert books.json("audit")["balanced"]


def test_the_books_without_the_journal(storm: Storm, cluster: Cluster, truth: dict[int, set[str]]) -> None:
    """A job that comes and goes between two polls is in none: of the others, every hold is right."""
    by_index = booked(collected(storm.sightings, cluster, storm, "[gres_index]"), storm)
    assert by_index == {job_id: truth[job_id] for job_id in by_index}
    lasted = {
        int(row["JobIDRaw"])
        for row in cluster.slurm.sacct("JobIDRaw,Start,End")
        if int(row["End"]) - int(row["Start"]) >= 6
    }
    print(f"{len(by_index)} of {len(truth)} jobs seen by polls, {len(lasted & storm.ids)} of 6 s and more")
    assert (lasted & truth.keys()) <= by_index.keys()


def test_the_books_by_the_exporters_label(
    cluster: Cluster, storm: Storm, truth: dict[int, set[str]], tmp_path: Path
) -> None:
    """The same by `hpc_job`: a job that was in no scrape is in no sample."""
    by_label = booked(collected(tmp_path, cluster, storm, "[hpc_job]"), storm)
    print(f"{len(by_label)} of {len(truth)} jobs seen in samples")
    assert by_label
    assert all(by_label[job_id] <= truth[job_id] for job_id in by_label)


def test_the_sources_do_not_disagree(cluster: Cluster, storm: Storm, tmp_path: Path) -> None:
    shutil.copytree(storm.sightings / "gres_index", tmp_path / "gres_index")
    books = collected(tmp_path, cluster, storm, "[journal, hpc_job, gres_index]")
    assert books.json("audit")["holders"] == {
        "other_devices": 0, "epilogs_missing": 0, "prologs_missing": 0, "ended_late": 0, "held_twice": 0,
    }  # fmt: skip
