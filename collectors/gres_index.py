"""Who held which GPU, by the controller: `scontrol show job -d` says which of a node's GPUs each running job has.

The controller forgets a job minutes after its end, so it is asked time and again (`scarbon collect --poll` or
`--watch`), and what it says is kept: `Sightings` writes a line the first time that a job is seen on a node, `GresIndex`
reads them as tags. A job that began and ended between two polls is in none. Slurm's own start and end bound the hold.

Slurm counts a node's GPUs by its own index: the device minor with `File=/dev/nvidia[0-7]`, the place on the PCI bus
with `AutoDetect=nvml`. DCGM's index is the place on the bus, and so where minors follow the bus all are one; where they
do not, the site says the order (`gpu.gres_minors`).
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from accounting.model import GpuSamples, Job, Reject, Tag
from accounting.sources import SourceError
from collectors.slurm import fields
from collectors.slurm.programs import Program

FORMAT_VERSION = 1
TIMEOUT_S = 60.0
DAY_S = 86400.0

#: Where Slurm writes them: a user's name of a job may hold anything.
_JOB = re.compile(r"JobId=(\d+)\b")
_RESTARTS = re.compile(r"^ +Requeue=\d+ Restarts=(\d+)\b", re.MULTILINE)
_START = re.compile(r"^ +StartTime=(\d+)\b", re.MULTILINE)
#: `Nodes=n[1-2] CPU_IDs=0-3 Mem=100 GRES=gpu:a100:2(IDX:0-1),shard:4(IDX:2)`
_ON_NODES = re.compile(r"^ +Nodes=(\S+) CPU_IDs=\S* Mem=\S* GRES=(\S+)", re.MULTILINE)
_GRES = re.compile(r"\b(gpu|shard|mps)(?::([^:,()]+))?:(\d+)\(IDX:([0-9,-]+)\)")
_NODE = re.compile(r"\b(NodeName|Gres)=(\S+)")
_CONFIGURED = re.compile(r"\b(gpu|shard)(?::[^:,()]+)?:(\d+)")
#: An instance's profile in a GRES type (`a100_1g.5gb`): Slurm's index then counts instances, and not GPUs.
_MIG = re.compile(r"\d+g\.\d+gb")


@dataclass(frozen=True, slots=True)
class Sighting:
    """The controller said of a job that began at `start_s` that it holds these GPUs of a node, by Slurm's index."""

    time_s: float
    cluster: str
    job_id: int
    restart: int
    start_s: int
    node: str
    indices: tuple[int, ...]
    share: float | None  # of each of them; None: the whole

    @property
    def key(self) -> tuple[int, int, int, str, tuple[int, ...]]:
        """All but when it was seen: what is the same is written once."""
        return self.job_id, self.restart, self.start_s, self.node, self.indices


def ask(cluster: str, scontrol: str, now_s: float) -> list[Sighting]:
    """What the controller says now of all its jobs, in one question (two where shards are in use). SourceError."""
    jobs = _answer([scontrol, f"--clusters={cluster}", "show", "job", "-d"])
    per_gpu = {}
    if "GRES=shard" in jobs or ",shard:" in jobs:
        per_gpu = shards_per_gpu(_answer([scontrol, f"--clusters={cluster}", "--oneliner", "show", "node"]))
    return list(read_jobs(jobs, cluster, now_s, per_gpu))


def _answer(command: Sequence[str]) -> str:
    try:
        return b"".join(Program(command, TIMEOUT_S, {"SLURM_TIME_FORMAT": "%s"}).output()).decode("utf-8", "replace")
    except SourceError as error:
        advice = "make scontrol work here (is the controller up?), or take gres_index out of gpu.holders"
        raise SourceError(error.what, advice) from None


def read_jobs(text: str, cluster: str, now_s: float, per_gpu: Mapping[str, float]) -> Iterator[Sighting]:
    """The GPUs of each job in the answer of `scontrol show job -d`, with times as `%s`.

    `per_gpu`: how many shards a GPU of each node has. MIG instances are left out, as the index does not tell the GPU.
    """
    blocks: dict[int, list[str]] = defaultdict(list)
    for block in text.split("\n\n"):
        if match := _JOB.match(block.lstrip("\n")):
            blocks[int(match[1])].append(block)
    for job_id, (block, *more) in blocks.items():
        restarts, start = _RESTARTS.search(block), _START.search(block)
        if more or restarts is None or start is None:
            continue  # a job's name may look like a block of another one, and some have no start yet
        for nodes, gres in _ON_NODES.findall(block):
            for kind, type_, count, indices_text in _GRES.findall(gres):
                if _MIG.search(type_):
                    continue
                indices = tuple(expand(indices_text))
                for node in fields.nodes(nodes):
                    share = _share(kind, int(count), len(indices), per_gpu.get(node))
                    yield Sighting(now_s, cluster, job_id, int(restarts[1]), int(start[1]), node, indices, share)


def shards_per_gpu(text: str) -> dict[str, float]:
    """How many shards a GPU of each node has, by the answer of `scontrol --oneliner show node`."""
    found = {}
    for line in text.splitlines():
        words = dict(_NODE.findall(line))
        counts: dict[str, int] = defaultdict(int)
        for kind, count in _CONFIGURED.findall(words.get("Gres", "")):
            counts[kind] += int(count)
        if counts["gpu"] and counts["shard"]:
            found[words["NodeName"]] = counts["shard"] / counts["gpu"]
    return found


def _share(kind: str, count: int, gpus: int, shards: float | None) -> float | None:
    """The share of each GPU that so many shards, or per cents of MPS, are; None: the whole, or not known."""
    whole = {"mps": 100.0, "shard": shards}.get(kind)
    return None if whole is None else min(count / gpus / whole, 1.0)


def expand(text: str) -> Iterator[int]:
    """`0-2,5` → 0, 1, 2, 5."""
    for part in text.split(","):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


class Sightings:
    """The folder in which a cluster's sightings are kept, a file for each day (UTC).

    Each file begins anew: it has every job that was seen on its day, so that no older one is needed to read it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(self, seen: Iterable[Sighting]) -> int:
        """Append those that the day's file does not have yet; how many they were. SourceError."""
        added = 0
        by_file: dict[Path, list[Sighting]] = defaultdict(list)
        for sighting in seen:
            by_file[self._file(sighting.time_s)].append(sighting)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for path, sightings in by_file.items():
                added += _append(path, sightings)
        except OSError as error:
            raise SourceError(
                f"what the controller said cannot be kept in {self.folder}: {error.strerror}",
                "let the user who runs scarbon write there, or name another folder in gpu.gres_index",
            ) from None
        return added

    def read(self, start_s: float, end_s: float) -> Iterator[Sighting | Reject]:
        """What was seen on the days that [start_s, end_s] touches, and on the day before and the day after."""
        first, last = self._file(start_s - DAY_S).name, self._file(end_s + DAY_S).name
        for path in sorted(self.folder.glob("????-??-??.jsonl")):
            if first <= path.name <= last:
                yield from _lines(path)

    def _file(self, time_s: float) -> Path:
        bounded_s = min(max(time_s, 0.0), 4e9)
        return self.folder / f"{datetime.fromtimestamp(bounded_s, UTC):%Y-%m-%d}.jsonl"


def _append(path: Path, sightings: Sequence[Sighting]) -> int:
    """Append what is new in one write, held against another poll; after a torn line on a line of its own."""
    with path.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        text = file.read()
        known = {one.key for one in _parse(path, text) if isinstance(one, Sighting)}
        fresh = [one for one in {one.key: one for one in sightings}.values() if one.key not in known]
        if fresh:
            torn = b"\n" if text and not text.endswith(b"\n") else b""
            file.write(torn + b"".join(_line(one) for one in fresh))
            file.flush()
            os.fsync(file.fileno())
    return len(fresh)


def _line(one: Sighting) -> bytes:
    row = {
        "v": FORMAT_VERSION, "time": one.time_s, "cluster": one.cluster, "job_id": one.job_id, "restart": one.restart,
        "start": one.start_s, "node": one.node, "indices": one.indices, "share": one.share,
    }  # fmt: skip
    return json.dumps(row).encode() + b"\n"


def _lines(path: Path) -> Iterator[Sighting | Reject]:
    try:
        text = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}", "check its owner and mode") from None
    return _parse(path, text)


def _parse(path: Path, text: bytes) -> Iterator[Sighting | Reject]:
    for number, line in enumerate(text.decode("utf-8", "backslashreplace").split("\n"), 1):
        if line:
            try:
                yield _sighting(json.loads(line))
            except (ValueError, TypeError, KeyError, RecursionError):
                yield Reject("gres_index", f"{path}:{number}", line, "not a line of this file, or cut off")


def _sighting(row: Mapping[str, Any]) -> Sighting:
    if row["v"] != FORMAT_VERSION:
        raise ValueError("another version")
    numbers = (row["job_id"], row["restart"], row["start"], *row["indices"])
    if not all(type(number) is int for number in numbers) or not isinstance(row["node"], str):
        raise TypeError("not a number")
    share = None if row["share"] is None else float(row["share"])
    return Sighting(
        float(row["time"]), str(row["cluster"]), row["job_id"], row["restart"], row["start"], row["node"],
        tuple(row["indices"]), share,
    )  # fmt: skip


class GresIndex:
    """The sightings of a cluster as tags."""

    name = "gres_index"

    def __init__(self, cluster: str, folder: Path, minors: Mapping[str, Sequence[int]]) -> None:
        """`minors`: by node, the device minor of each GPU in the order of the PCI bus, where they do not follow it."""
        self.cluster = cluster
        self._sightings = Sightings(folder)
        self._minors = minors

    def tags(
        self, start_s: float, end_s: float, jobs: Sequence[Job], samples: Sequence[GpuSamples]
    ) -> Iterator[Tag | Reject]:
        """Yield a tag for each GPU on which one of `jobs` was seen."""
        there = {job.job_id for job in jobs}
        seen: dict[object, Sighting] = {}
        for one in self._sightings.read(start_s, end_s):
            if isinstance(one, Reject):
                yield one
            elif one.cluster == self.cluster and one.job_id in there and one.start_s < end_s:
                seen[one.key] = one
        for one in seen.values():
            for index in one.indices:
                yield Tag(
                    cluster=self.cluster,
                    job_id=one.job_id,
                    node=one.node,
                    uuid=None,
                    index=self._dcgm_index(one.node, index),
                    start_s=float(one.start_s),
                    end_s=max(one.time_s, one.start_s + 1.0),  # by whichever clock, it was there for a moment
                    source=self.name,
                    exact=False,
                    restart=one.restart,
                    share=one.share,
                )

    def _dcgm_index(self, node: str, index: int) -> int | None:
        minors = self._minors.get(node)
        if minors is None:
            return index
        return minors.index(index) if index in minors else None
