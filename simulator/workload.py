"""The jobs of the simulated cluster: who submits what, when it runs, on which GPUs, and how it ends.

A simple scheduler, first come first served: each job takes the node where enough of what it asks for is free first.
No two jobs ever hold the same GPU, or the same part of one, at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from accounting.model import Job
from simulator.hardware import Gpu, MigInstance, Node, Part, Shard


@dataclass(frozen=True, slots=True)
class Hold:
    """An attempt holds a GPU, or a part of one, over [start_s, end_s); the end is known even if it is to come."""

    gpu: Gpu
    part: Part
    start_s: int
    end_s: int

    @property
    def gi_id(self) -> int | None:
        """DCGM's number of the MIG instance; None where it is none."""
        return self.part.gi_id if isinstance(self.part, MigInstance) else None

    @property
    def share(self) -> float:
        """Of the GPU's capacity."""
        return 1.0 if self.part is None else self.part.share


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run of a job. `ends_s` is when it truly ends; `job.end_s` is None where that is after the period."""

    job: Job
    restart: int
    ends_s: int | None  # None: it never started
    holds: tuple[Hold, ...]
    load: float  # of the dynamic power of what it holds, 0 to 1


@dataclass(frozen=True, slots=True)
class User:
    """A person, and the accounts that the person may charge."""

    name: str
    uid: int
    accounts: tuple[str, ...]


USERS = (
    User("ada", 1001, ("phys",)),
    User("bob", 1002, ("phys", "chem")),
    User("chen", 1003, ("bio",)),
    User("dana", 1004, ("bio",)),
    User("emil", 1005, ("chem",)),
    User("fatou", 1006, ("chem",)),
)

#: How a job ends: Slurm's state, exit code, and how often.
ENDINGS = (
    ("COMPLETED", "0:0", 0.80),
    ("FAILED", "1:0", 0.08),
    ("CANCELLED", "0:15", 0.05),
    ("TIMEOUT", "0:0", 0.04),
    ("OUT_OF_MEMORY", "0:125", 0.02),
    ("NODE_FAIL", "1:0", 0.01),
)


@dataclass(frozen=True, slots=True)
class Mix:
    """What is submitted. The shares are of all submissions."""

    submissions: int = 300
    shortest_s: float = 8.0
    longest_s: float = 3 * 86400.0
    cpu_only: float = 0.12
    multi_gpu: float = 0.25
    multi_node: float = 0.05
    arrays: float = 0.04
    requeues: float = 0.03
    withdrawn: float = 0.02  # cancelled before they start
    back_to_back: float = 0.1  # of jobs that waited: start in the second in which another ended
    pause_s: float = 240.0  # mean pause of a GPU between the others
    users: tuple[User, ...] = USERS
    first_job_id: int = 1001


@dataclass(slots=True)
class _Slot:
    """A thing that one job can hold at a time: a GPU, a part of one, or some cores (gpu None)."""

    node: Node
    gpu: Gpu | None = None
    part: Part = None
    free_at: float = 0.0

    @property
    def kind(self) -> str:
        if self.gpu is None:
            return "cpu"
        if isinstance(self.part, MigInstance):
            return self.part.profile
        return "gpu" if self.part is None else "shard"


@dataclass(slots=True)
class _Scheduler:
    rng: np.random.Generator
    nodes: Sequence[Node]
    back_to_back: float
    pause_s: float
    turnaround_s: float
    slots: dict[tuple[str, str], list[_Slot]] = field(default_factory=dict)  # by node and kind

    def __post_init__(self) -> None:
        for node in self.nodes:
            found = [_Slot(node) for _ in range(node.cpu_slots)]
            found += [_Slot(node, gpu, part) for gpu in node.gpus for part in gpu.parts]
            for slot in found:
                self.slots.setdefault((node.name, slot.kind), []).append(slot)

    def kinds(self) -> list[str]:
        """The kinds of parts there are: MIG profiles, shards."""
        return sorted({kind for _, kind in self.slots if kind not in ("cpu", "gpu")})

    def most(self, kind: str) -> int:
        """The most of a kind on one node."""
        return max((len(slots) for (_, have), slots in self.slots.items() if have == kind), default=0)

    def place(self, submit_s: float, kind: str, per_node: int, nodes: int, length_s: int) -> tuple[int, list[_Slot]]:
        """Take what is asked for where it is free first; give the start and what is held."""
        ready = []
        for (name, have), slots in self.slots.items():
            if have == kind and len(slots) >= per_node:
                ready.append((sorted(slot.free_at for slot in slots)[per_node - 1], name))
        chosen = sorted(ready)[:nodes]
        free = chosen[-1][0]
        start = max(submit_s + self.rng.uniform(1, 5), free)
        if start == free:
            pause = 0.0 if self.rng.random() < self.back_to_back else 1.0 + self.rng.exponential(self.pause_s)
            start += self.turnaround_s + pause
        begin = int(np.ceil(start))
        held = []
        for _, name in chosen:
            able = [slot for slot in self.slots[name, kind] if slot.free_at <= free or slot.free_at <= submit_s]
            for at in self.rng.permutation(len(able))[:per_node]:
                able[at].free_at = begin + length_s
                held.append(able[at])
        return begin, sorted(held, key=lambda slot: (slot.node.name, slot.gpu.index if slot.gpu else 0))


def make_workload(
    rng: np.random.Generator,
    cluster: str,
    nodes: Sequence[Node],
    start_s: int,
    end_s: int,
    mix: Mix,
    turnaround_s: float = 0.0,
) -> tuple[Attempt, ...]:
    """Submit the mix over [start_s, end_s) and run it; give all attempts in order of submission."""
    scheduler = _Scheduler(rng, nodes, mix.back_to_back, mix.pause_s, turnaround_s)
    attempts: list[Attempt] = []
    next_id = mix.first_job_id
    submits = np.sort(rng.uniform(start_s, start_s + 0.97 * (end_s - start_s), mix.submissions)).astype(int)
    for submit_s in submits.tolist():
        tasks = int(rng.integers(2, 6)) if rng.random() < mix.arrays else 1
        shape = _Shape.draw(rng, scheduler, mix, len(nodes), alone=tasks > 1)
        for task in range(tasks):
            # Slurm splits tasks off the array's own id, which the last task keeps.
            job_id = next_id if task == tasks - 1 else next_id + 1 + task
            label = str(next_id) if tasks == 1 else f"{next_id}_{task}"
            requeued = tasks == 1 and rng.random() < mix.requeues
            attempts += _run(rng, scheduler, mix, shape, (cluster, job_id, label), submit_s, end_s, requeued)
        next_id += tasks
    return tuple(sorted(attempts, key=lambda attempt: (attempt.job.submit_s, attempt.job.job_id)))


@dataclass(frozen=True, slots=True)
class _Shape:
    """What one submission asks for; all tasks of an array ask for the same."""

    kind: str
    per_node: int
    nodes: int
    user: User
    account: str
    name: str
    load: float
    log_length: float

    @classmethod
    def draw(cls, rng: np.random.Generator, scheduler: _Scheduler, mix: Mix, nodes: int, alone: bool) -> _Shape:
        kind, per_node, wide = "gpu", 1, 1
        whole = scheduler.most("gpu")
        parts = scheduler.kinds()
        if rng.random() < mix.cpu_only:
            kind = "cpu"
        elif parts and (whole == 0 or rng.random() < 0.4):
            kind = str(rng.choice(parts))
        elif not alone and whole > 1 and rng.random() < mix.multi_gpu:
            per_node = int(rng.integers(2, whole + 1))
        elif not alone and rng.random() < mix.multi_node and sum(1 for _, have in scheduler.slots if have == "gpu") > 1:
            wide = 2
        user = mix.users[int(rng.integers(len(mix.users)))]
        return cls(
            kind=kind,
            per_node=per_node,
            nodes=wide,
            user=user,
            account=str(rng.choice(user.accounts)),
            name=str(rng.choice(("train", "finetune", "infer", "md", "eval", "interactive"))),
            # Some jobs hold a GPU and hardly use it.
            load=float(rng.uniform(0.0, 0.03)) if rng.random() < 0.05 else float(rng.uniform(0.25, 0.95)),
            log_length=float(rng.uniform(np.log(mix.shortest_s), np.log(mix.longest_s))),
        )


def _run(
    rng: np.random.Generator,
    scheduler: _Scheduler,
    mix: Mix,
    shape: _Shape,
    ids: tuple[str, int, str],
    submit_s: int,
    period_end_s: int,
    requeued: bool,
) -> list[Attempt]:
    """One job: its attempts, one or (requeued) two."""
    cluster, job_id, label = ids
    job = Job(
        cluster=cluster,
        job_id=job_id,
        submit_s=submit_s,
        label=label,
        state="PENDING",
        user=shape.user.name,
        uid=shape.user.uid,
        account=shape.account,
        partition=shape.kind if shape.kind in ("cpu", "gpu") else "shared",
        qos="normal",
        name=shape.name,
        exit_code="0:0",
    )
    if rng.random() < mix.withdrawn:
        gone_s = submit_s + int(rng.integers(5, 600))
        if gone_s < period_end_s:
            job = replace(job, state="CANCELLED", end_s=gone_s)
        return [Attempt(job, 0, None, (), shape.load)]
    first = _attempt(rng, scheduler, mix, shape, job, 0, period_end_s)
    first_end_s = first.job.end_s
    if not requeued or first_end_s is None or first.job.start_s is None:
        return [first]
    state = str(rng.choice(("REQUEUED", "NODE_FAIL", "PREEMPTED")))
    first = replace(first, job=replace(first.job, state=state, exit_code="0:0"))
    # Slurm gives the second attempt the time of the requeue as its submit time, and holds it back for a while.
    again = replace(job, submit_s=first_end_s)
    return [first, _attempt(rng, scheduler, mix, shape, again, 1, period_end_s)]


def _attempt(
    rng: np.random.Generator,
    scheduler: _Scheduler,
    mix: Mix,
    shape: _Shape,
    job: Job,
    restart: int,
    period_end_s: int,
) -> Attempt:
    jitter = float(rng.normal(0.0, 0.2))
    length = int(np.clip(np.exp(shape.log_length + jitter), mix.shortest_s, mix.longest_s))
    start, slots = scheduler.place(job.submit_s, shape.kind, shape.per_node, shape.nodes, length)
    if start >= period_end_s:
        return Attempt(job, restart, None, (), shape.load)
    end = start + length
    if end <= period_end_s:
        state, exit_code, _ = ENDINGS[int(rng.choice(len(ENDINGS), p=[share for *_, share in ENDINGS]))]
    else:
        state, exit_code = "RUNNING", "0:0"
    nodes = list(dict.fromkeys(slot.node for slot in slots))
    cpus = sum(slot.node.cpus_per_slot if slot.gpu is None else slot.node.cpus_per_gpu for slot in slots)
    types: dict[str, int] = {}
    shards = 0
    for slot in slots:
        if isinstance(slot.part, Shard):
            shards += 1
        elif slot.gpu is not None:
            gres = f"{slot.gpu.gres_type}_{slot.kind}" if slot.part else slot.gpu.gres_type
            types[gres] = types.get(gres, 0) + 1
    job = replace(
        job,
        state=state,
        start_s=start,
        end_s=end if end <= period_end_s else None,
        nodes=tuple(node.name for node in nodes),
        cpus=cpus,
        memory_mb=4096.0 * cpus,
        gpus=sum(types.values()),
        gpu_types=types,
        shards=shards,
        exit_code=exit_code,
    )
    holds = tuple(Hold(slot.gpu, slot.part, start, end) for slot in slots if slot.gpu is not None)
    return Attempt(job, restart, end, holds, shape.load)
