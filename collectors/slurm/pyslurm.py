"""Jobs from Slurm's accounting through pyslurm, where the site has built one that says enough.

pyslurm is bound to the Slurm release it was built for, and ends the whole process when it finds no slurm.conf: so it
is looked at in a child process first, and only then imported here.

`pyslurm.db` keeps one record for each job id, the newest. An earlier run of a requeued job, and the earlier size of a
resized one, are asked for apart: those runs that were submitted before the one that is known. That a job has such
runs is known from `requeue_count`, and from totals that count more than the jobs that came. Versions before 25.11.1
have neither that nor a job's TRES: they are refused, by the names of what they lack.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import Any

from accounting.model import Job, Reject
from accounting.sources import SourceError
from collectors.slurm import fields
from collectors.slurm.programs import utc
from collectors.slurm.tres import allocation
from collectors.slurm.windows import in_calls

#: What the books need, and the attribute of `pyslurm.db.Job` that has it.
_NEEDED = {
    "what was allocated (GPUs)": "allocated_tres",
    "the earlier runs of requeued jobs": "requeue_count",
    "the parts of heterogeneous jobs": "heterogeneous_id",
}

_PROBE = """
import json, pyslurm
job = getattr(getattr(pyslurm, "db", None), "Job", None)
print(json.dumps({"version": pyslurm.__version__, "job": None if job is None else dir(job)}))
"""


@dataclass(frozen=True, slots=True)
class Found:
    """What there is of pyslurm on this host."""

    version: str | None  # None: it cannot be imported
    lacks: tuple[str, ...] = ()  # of what the books need, by name
    problem: str = ""  # why it cannot be imported

    @property
    def usable(self) -> bool:
        """Whether jobs can be read with it."""
        return self.version is not None and not self.lacks

    def __str__(self) -> str:
        if self.version is None:
            return f"pyslurm cannot be imported: {self.problem}"
        if self.lacks:
            return f"pyslurm {self.version} does not say: {', '.join(self.lacks)}"
        return f"pyslurm {self.version}"


def probe(timeout_s: float = 60.0) -> Found:
    """Import pyslurm in a child process, which it may end, and see what it has."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROBE],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired:
        return Found(None, problem=f"no answer within {timeout_s:g} s")
    try:
        said = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None
    except (ValueError, IndexError):
        said = None
    if not isinstance(said, dict):
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        return Found(None, problem=lines[-1] if lines else f"it ended the process (exit {done.returncode})")
    has = said["job"]
    lacks = ["pyslurm.db"] if has is None else [name for name, attribute in _NEEDED.items() if attribute not in has]
    return Found(str(said["version"]), tuple(lacks))


class PyslurmSource:
    """The attempts of one cluster that slurmdbd knows of, through `pyslurm.db`."""

    name = "pyslurm"

    def __init__(self, cluster: str, days_a_call: float = 1.0) -> None:
        """Read jobs of `cluster`. `days_a_call`: longer windows are asked for in several calls, since pyslurm loads
        all the jobs of a call, and all their steps, into memory.
        """
        self.cluster = cluster
        self.days_a_call = days_a_call

    def jobs(self, start_s: float, end_s: float) -> Iterator[Job | Reject]:
        """Yield each attempt that was there at some time in [start_s, end_s), once.

        SourceError when pyslurm is not there, lacks what the books need, or cannot ask slurmdbd.
        """
        if not self.found.usable:
            raise SourceError(str(self.found), "use jobs.source: sacct (or auto)")
        return in_calls(self._call, start_s, end_s, self.days_a_call)

    @cached_property
    def found(self) -> Found:
        """What there is of pyslurm on this host; asked once."""
        return probe()

    def _call(self, start_s: float, end_s: float) -> Iterator[Job | Reject]:
        where = f"pyslurm {utc(start_s)} to {utc(end_s)} UTC"
        jobs, hidden = self._load(start_time=int(start_s), end_time=int(-(-end_s // 1)))
        waiting = [job for job in jobs if job.requeue_count or (hidden and job.start_time == job.submit_time)]
        yield from self._read(jobs, where, start_s, end_s)
        while waiting:
            by_submit: dict[int, list[int]] = {}
            for job in waiting:
                if job.submit_time > start_s:
                    by_submit.setdefault(job.submit_time, []).append(job.id)
            waiting = []
            for submit, ids in by_submit.items():
                # Of each id the newest run that was submitted before `submit` (exclusive).
                earlier, _ = self._load(ids=ids, start_time=int(start_s), end_time=submit)
                yield from self._read(earlier, where, start_s, end_s)
                waiting += earlier

    def _load(self, **conditions: Any) -> tuple[list[Any], bool]:
        """Jobs that fulfil the conditions, and whether there were more, of the same ids."""
        pyslurm: Any = import_module("pyslurm")
        try:
            with contextlib.redirect_stdout(sys.stderr):  # stdout is for data, and pyslurm prints there
                found = pyslurm.db.Jobs.load(pyslurm.db.JobFilter(clusters=[self.cluster], **conditions))
        except pyslurm.PyslurmError as error:
            raise SourceError(
                f"pyslurm could not read the jobs: {error}", "is slurmdbd up? `sacctmgr show cluster` asks it as well"
            ) from None
        jobs = list(found.values())
        return jobs, found.cpus != sum(job.cpus for job in jobs)

    def _read(self, jobs: Iterable[Any], where: str, start_s: float, end_s: float) -> Iterator[Job | Reject]:
        for record in jobs:
            try:
                with contextlib.redirect_stdout(sys.stderr):
                    job = _job(record, self.cluster)
            except (ValueError, TypeError) as error:
                raw = json.dumps(record.to_dict(), default=str)
                yield Reject(self.name, where, raw, str(error))
                continue
            if fields.overlaps(job, start_s, end_s):
                yield job


def _job(record: Any, cluster: str) -> Job:
    if record.submit_time is None:
        raise ValueError("the job has no time of submission: its runs cannot be told apart")
    if record.start_time is not None and record.end_time is not None and record.end_time < record.start_time:
        raise ValueError(f"the job ends ({record.end_time}) before it starts ({record.start_time})")
    tres = record.allocated_tres
    pairs: list[tuple[str, float | None]] = []
    if tres is not None:
        pairs = [(name, entry.count) for name in ("cpu", "mem", "energy") if (entry := getattr(tres, name)) is not None]
        pairs += [(f"gres/{name}", entry.count) for name, entry in tres.gres.items()]
    allocated = allocation(pairs)
    user = record.user_name
    return Job(
        cluster=cluster,
        job_id=record.id,
        submit_s=record.submit_time,
        label=_label(record),
        state=fields.state(record.state),
        start_s=record.start_time,
        end_s=record.end_time,
        user=None if user is None or user == str(record.user_id) else user,  # the uid stands for an unknown user
        uid=record.user_id,
        account=record.account or None,
        partition=record.partition or None,
        qos=record.qos or None,
        wckey=(record.wckey or "").removeprefix("*") or None,
        name=record.name or None,
        nodes=fields.nodes(record.nodelist or ""),
        cpus=allocated.cpus,
        memory_mb=allocated.memory_mb,
        gpus=allocated.gpus,
        gpu_types=allocated.gpu_types,
        shards=allocated.shards,
        mps_percent=allocated.mps_percent,
        exit_code=f"{record.exit_code or 0}:{record.exit_code_signal or 0}",
        suspended_s=record.suspended_time or 0,
        restarts=record.requeue_count,
        consumed_energy_j=allocated.energy_j,
        comment=record.comment or None,
    )


def _label(record: Any) -> str:
    """The job's id as sacct writes it. pyslurm has None for the task 0 of an array, as for a job that is in none."""
    if record.array_id is not None:
        if tasks := record.array_tasks_waiting:
            return f"{record.array_id}_[{fields.waiting_tasks(tasks, record.array_tasks_parallel)}]"
        return f"{record.array_id}_{record.array_task_id or 0}"
    if record.heterogeneous_id:
        return f"{record.heterogeneous_id}+{record.heterogeneous_offset or 0}"
    return str(record.id)
