"""The jobs that the end-to-end tests account: one of each kind, side by side, and what Slurm said while they ran."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from tests.cluster.harness import Cluster

Holds = dict[tuple[int, int], dict[str, list[int]]]


@dataclass(frozen=True)
class Workload:
    """Finished jobs: raw ids by what they show, within [start_s, end_s] (UTC epoch s, whole seconds)."""

    start_s: int
    end_s: int
    ids: dict[str, int]
    slurm_gpus: Holds  # by (raw job id, restart count): node, and Slurm's indices there, seen while they ran
    page_statuses: list[int]  # HTTP status of the exporters' pages, asked for while the jobs ran
    node_states: dict[str, str]  # at the end


def run_workload(cluster: Cluster) -> Workload:
    """Submit the jobs, disturb the two that are to be disturbed, and wait for the last one."""
    slurm, submit, load = cluster.slurm, cluster.submit, cluster.load
    time.sleep(5)  # a few samples of idle GPUs
    start_s = math.floor(time.time()) - 2
    ids = {
        "requeued": submit("eve", load(26, 310), "--gpus=1", "--requeue"),
        "cancelled": submit("bob", load(600, 280), "--gpus=1"),
        "two nodes": submit(
            "eve", f"srun {load(24, 330)}", "--nodes=2", "--ntasks-per-node=1", "--gpus-per-node=2", "--comment=a|b"
        ),
        "one GPU": submit("ada", load(25, 300), "--gpus=1"),
        "array": submit("bob", load(22, 200), "--gpus=1", "--array=0-2"),
        "three GPUs": submit("ada", load(28, 250), "--gpus=3", "--nodes=1"),
        "failed": submit("ada", f"{load(21, 350)}; exit 3", "--gpus=1"),
        "CPU only": submit("eve", "sleep 20", "--cpus-per-task=2"),
        "8 s": submit("bob", load(8, 400), "--gpus=1"),
        "no load": submit("eve", "sleep 22", "--gpus=1"),
        # The second waits for the first one's GPUs, and has them the moment they are free.
        "whole node, first": submit("ada", load(22, 300), "--nodelist=n2", "--gpus-per-node=4"),
        "whole node, second": submit("eve", load(22, 150), "--nodelist=n2", "--gpus-per-node=4"),
        "5 s": submit("eve", load(5, 400), "--nodelist=n1", "--gpus-per-node=1"),
        "12 s": submit("ada", load(12, 220), "--nodelist=n1", "--gpus-per-node=2"),
    }
    seen: Holds = {}
    first_seen: dict[tuple[int, int], float] = {}
    disturbed: set[str] = set()
    page_statuses: list[int] = []

    def ended() -> bool:
        now = time.monotonic()
        page_statuses.extend(exporter.page_status() for exporter in cluster.exporters.values())
        for attempt, held in slurm.running_gpus().items():
            seen[attempt] = held
            first_seen.setdefault(attempt, now)
        for name, disturb in (("requeued", slurm.requeue), ("cancelled", slurm.cancel)):
            since = first_seen.get((ids[name], 0))
            if name not in disturbed and since is not None and now - since > 22:
                disturb(ids[name])
                disturbed.add(name)
        return len(disturbed) == 2 and not slurm.queue()

    cluster.processes.wait_until(ended, "the jobs have ended", timeout_s=240, every_s=0.2)
    slurm.wait_for_books()
    time.sleep(5)  # a few samples of idle GPUs, and the truth is written every second
    return Workload(start_s, math.floor(time.time()) - 2, ids, seen, page_statuses, slurm.node_states())
