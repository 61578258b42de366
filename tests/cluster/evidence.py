"""What really happened to the jobs, by those who know: Slurm's books and controller, our journal, the exporters' truth.

Nothing here goes through `collectors` or `accounting`: it is what they are held against.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from simulator.live_truth import LiveTruth, read_exporter_truth
from tests.cluster.harness import Cluster
from tests.cluster.prometheus import Series
from tests.cluster.workload import Workload


@dataclass(frozen=True)
class Hold:
    """A device that a job held from its Prolog to its Epilog on the device's node, as the journal has it."""

    node: str
    uuid: str
    index: int
    minor: int
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Attempt:
    """One attempt: sacct's record of it, and what it held. `restart` counts the attempts before it."""

    job_id: int
    restart: int
    label: str
    state: str
    start_s: int
    end_s: int
    submit_s: int
    holds: tuple[Hold, ...]
    truth_j: float  # what its devices really drew while it held them; 0 for a job without a GPU

    @property
    def key(self) -> tuple[int, int]:
        """As Slurm's books tell it from other attempts: raw job id and submit time."""
        return self.job_id, self.submit_s

    @property
    def is_long(self) -> bool:
        """Whether it is one of those that must be right within 2 %."""
        return bool(self.holds) and self.end_s - self.start_s >= 20


@dataclass(frozen=True)
class Evidence:
    """All attempts of the workload, and the truth of all devices."""

    attempts: tuple[Attempt, ...]
    truth: LiveTruth

    def of(self, job_id: int) -> list[Attempt]:
        """The attempts of a job, in order."""
        return [attempt for attempt in self.attempts if attempt.job_id == job_id]


def journal_lines(cluster: Cluster) -> list[dict[str, Any]]:
    """Every line of every node's journal, in each node's order."""
    files = sorted(cluster.journal_dir.glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines() if line]


def gather(cluster: Cluster, workload: Workload) -> Evidence:
    """Put the evidence together. A journal that has an end without a start, or the reverse, is an error."""
    truth = read_exporter_truth(*[node.truth for node in cluster.nodes.values()])
    holds = _holds(journal_lines(cluster))
    records: dict[int, list[dict[str, str]]] = defaultdict(list)
    for row in cluster.slurm.sacct("JobID,JobIDRaw,State,Submit,Start,End"):
        records[int(row["JobIDRaw"])].append(row)
    attempts = []
    for job_id, rows in records.items():
        for restart, row in enumerate(sorted(rows, key=lambda row: int(row["Submit"]))):
            held = tuple(holds.pop((job_id, restart), ()))
            attempts.append(
                Attempt(
                    job_id,
                    restart,
                    row["JobID"],
                    row["State"].split()[0],
                    int(row["Start"]),
                    int(row["End"]),
                    int(row["Submit"]),
                    held,
                    truth_j=sum(truth.devices[hold.uuid].between(hold.start_s, hold.end_s) for hold in held),
                )
            )
    if holds:
        raise AssertionError(f"the journal has holds of attempts that Slurm does not know: {holds}")
    return Evidence(tuple(attempts), truth)


def _holds(lines: list[dict[str, Any]]) -> dict[tuple[int, int], list[Hold]]:
    """Holds by (raw job id, restart): on a node a job's start is followed by its end.

    The restart is that of the start: in the Epilog of an attempt that is requeued, Slurm counts the next one already.
    """
    open_starts: dict[tuple[str, int], dict[str, Any]] = {}
    holds: dict[tuple[int, int], list[Hold]] = defaultdict(list)
    for line in lines:
        place = line["node"], line["job_id"]
        if line["event"] == "start":
            assert place not in open_starts, f"two starts without an end between them: {line}"
            open_starts[place] = line
            continue
        assert line["event"] == "end", f"the hook had trouble: {line}"
        assert place in open_starts, f"an end without a start: {line}"
        start = open_starts.pop(place)
        assert start["gpus"] == line["gpus"], f"ends with other GPUs than it started with: {line}"
        for gpu in start["gpus"]:
            holds[start["job_id"], start["restart"]].append(
                Hold(line["node"], gpu["uuid"], gpu["index"], gpu["minor"], start["time"], line["time"])
            )
    assert not open_starts, f"starts without an end: {open_starts}"
    return holds


def metered_j(series: list[Series], hold: Hold) -> float:
    """The hold's energy in J by the raw samples of its device's counter alone.

    Linear between samples; the window in which the hold begins or ends is divided by the power levels beside it.
    """
    samples = sorted(
        (time_s, value / 1000) for one in series if one.labels["UUID"] == hold.uuid for time_s, value in one.samples
    )
    windows = [(t0, t1, e1 - e0) for (t0, e0), (t1, e1) in pairwise(samples)]
    total = 0.0
    for before, (t0, t1, energy_j), after in zip(windows, windows[1:], windows[2:], strict=False):
        cuts = [t0, *(cut for cut in (hold.start_s, hold.end_s) if t0 < cut < t1), t1]
        levels_w = [energy_j / (t1 - t0)] if len(cuts) == 2 else [_level_w(before), _level_w(after)]
        assert len(cuts) <= 3, "a hold within one window is no job for this test"
        weights = [level_w * (end - begin) for level_w, (begin, end) in zip(levels_w, pairwise(cuts), strict=True)]
        for weight, (begin, end) in zip(weights, pairwise(cuts), strict=True):
            if hold.start_s <= begin and end <= hold.end_s:
                total += energy_j * weight / sum(weights)
    return total


def _level_w(window: tuple[float, float, float]) -> float:
    start_s, end_s, energy_j = window
    return energy_j / (end_s - start_s)
