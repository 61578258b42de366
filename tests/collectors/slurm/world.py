"""A small cluster's accounting, as slurmdbd has it, and how each of Slurm's ways out writes it.

`RECORDS` are rows of slurmdbd's job table; `EXPECTED` is what must come of them, written by hand. The writers follow
Slurm's sources and published schemas: `sacct_fields` the text of sacct 22.05, `document` the JSON of 22.05 and of
data_parser v0.0.39 to .45.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from accounting.model import Job

#: 2026-10-01 00:00:00 UTC, and the end of that day.
START_S, END_S = 1790812800, 1790899200

NO_VAL = 0xFFFFFFFE

#: The interface's versions: None is the unversioned JSON of Slurm 22.05.
VERSIONS = (None, 39, 40, 41, 42, 43, 44, 45)


@dataclass(frozen=True)
class Record:
    """A row of slurmdbd's job table. Times are seconds after START_S; 0 where slurmdbd has 0."""

    id: int
    submit: int
    start: int = 0  # None: cancelled before it started (NO_VAL)
    end: int = 0
    state: str = "COMPLETED"
    by: int | None = None  # CANCELLED by
    eligible: int | None = None  # None: when submitted
    cluster: str = "alpha"
    user: str | None = "ada"
    uid: int = 1000
    account: str = "phys"
    partition: str = "gpu"
    qos: str = "normal"
    wckey: str = ""
    name: str = "train"
    comment: str | None = None
    nodes: str = "n1"
    tres: tuple[tuple[str, int], ...] = (("cpu", 4), ("mem", 8000), ("node", 1), ("billing", 4))
    array: tuple[int, int | None, str, int] = (0, None, "", 0)  # array id, task, waiting tasks, limit
    het: tuple[int, int | None] = (0, None)
    exit: tuple[int, int] = (0, 0)
    suspended: int = 0
    restarts: int = 0
    sluid: str = ""
    steps: list[Any] = field(default_factory=list)


def gpus(count: int, *kinds: tuple[str, int], cpus: int = 4) -> tuple[tuple[str, int], ...]:
    total = (("gres/gpu", count),) if count else ()
    return (("cpu", cpus), ("mem", 8000), ("node", 1), ("billing", cpus), *total, *kinds)


A100 = (("gres/gpu:a100", 2),)
HOUR = 3600

#: Odd name and comment: separators, newlines, quotes, UTF-8.
ODD = "a|b\n\"c\" 'd' é 日本\x1f"

RECORDS = (
    Record(101, 0, 10, 600, tres=gpus(2, ("gres/gpu:a100", 2))),
    Record(102, 5, 20, 700, tres=gpus(0, ("gres/gpu:a100", 2)), comment="typed only"),
    Record(103, 5, 20, 700, tres=gpus(2), name=ODD, comment=ODD),
    Record(104, 10, 30, 800, tres=gpus(1, ("gres/gpu:a100_1g.5gb", 1)), user="bob", uid=1001, wckey="*w1"),
    Record(105, 10, 30, 800, tres=gpus(0, ("gres/shard", 3)), wckey="w1"),
    Record(106, 11, 40, 900, nodes="n[1-2,07]", tres=(("cpu", 12), ("mem", 24000), ("node", 3), ("billing", 12))),
    # An array: task 0, task 3, and the tasks that wait, of which two may run at once.
    Record(201, 100, 200, 260, array=(203, 0, "", 2), tres=gpus(1)),
    Record(202, 100, 260, 320, array=(203, 3, "", 2), tres=gpus(1), exit=(0, 9), state="FAILED"),
    Record(203, 100, state="PENDING", nodes="None assigned", tres=(), array=(203, None, "5-9", 2)),
    # The two parts of a heterogeneous job.
    Record(301, 150, 160, 400, het=(301, 0), tres=gpus(1)),
    Record(302, 150, 160, 400, het=(301, 1)),
    # Two runs of a requeued job, and three of another; the last still runs.
    Record(401, 1000, 1010, 2000, state="REQUEUED", tres=gpus(1)),
    Record(401, 2000, 2120, 3000, restarts=1, tres=gpus(1)),
    Record(402, 1000, 1010, 1500, state="NODE_FAIL", tres=gpus(1)),
    Record(402, 1500, 1620, 1700, state="PREEMPTED", restarts=1, tres=gpus(1)),
    Record(402, 1700, 1820, 0, state="RUNNING", restarts=2, tres=gpus(1)),
    # A job that was made smaller: one record for each size, and the later one begins where the size changed.
    Record(501, 500, 500, 1500, state="RESIZING", nodes="n[1-2]", tres=gpus(2, cpus=8)),
    Record(501, 1500, 1500, 2500, eligible=1500, tres=gpus(1)),
    # Ends and beginnings.
    Record(601, 50, 60, 0, state="SUSPENDED", suspended=90061, tres=gpus(1)),
    Record(602, 50, NO_VAL, 300, state="CANCELLED", by=1000, nodes="None assigned", tres=()),
    Record(603, 50, 60, 90, state="TIMEOUT"),
    Record(604, 50, 60, 61, state="OUT_OF_MEMORY", exit=(0, 125), user=None, uid=4242, account="gone"),
    Record(605, -90000, -86400, 10, tres=gpus(1)),  # since yesterday
    Record(606, 86390, 86395, 90000, tres=gpus(1)),  # into tomorrow
    Record(607, 0, 5, 5),  # no time at all
    # Not of this day, not of this cluster.
    Record(701, -9000, -8000, -10),
    Record(702, 86400, 86400, 86500),
    Record(101, 0, 10, 600, cluster="beta", user="eve", tres=gpus(8)),
)


def _job(job_id: int, submit: int, start: int | None, end: int | None, state: str, **more: Any) -> Job:
    at = {"start_s": start, "end_s": end}
    usual: dict[str, Any] = {
        "label": str(job_id),
        "user": "ada",
        "uid": 1000,
        "account": "phys",
        "partition": "gpu",
        "qos": "normal",
        "name": "train",
        "nodes": ("n1",),
        "cpus": 4,
        "memory_mb": 8000.0,
        "exit_code": "0:0",
    }
    return Job(
        "alpha",
        job_id,
        START_S + submit,
        state=state,
        **{key: None if value is None else START_S + value for key, value in at.items()},
        **{**usual, **more},
    )


_WAITS: dict[str, Any] = {"nodes": (), "cpus": 0, "memory_mb": None}

EXPECTED = (
    _job(101, 0, 10, 600, "COMPLETED", gpus=2, gpu_types={"a100": 2}),
    _job(102, 5, 20, 700, "COMPLETED", gpus=2, gpu_types={"a100": 2}, comment="typed only"),
    _job(103, 5, 20, 700, "COMPLETED", gpus=2, name=ODD, comment=ODD),
    _job(104, 10, 30, 800, "COMPLETED", gpus=1, gpu_types={"a100_1g.5gb": 1}, user="bob", uid=1001, wckey="w1"),
    _job(105, 10, 30, 800, "COMPLETED", shards=3, wckey="w1"),
    _job(106, 11, 40, 900, "COMPLETED", nodes=("n1", "n2", "n07"), cpus=12, memory_mb=24000.0),
    _job(201, 100, 200, 260, "COMPLETED", gpus=1, label="203_0"),
    _job(202, 100, 260, 320, "FAILED", gpus=1, label="203_3", exit_code="0:9"),
    _job(203, 100, None, None, "PENDING", label="203_[5-9%2]", **_WAITS),
    _job(301, 150, 160, 400, "COMPLETED", gpus=1, label="301+0"),
    _job(302, 150, 160, 400, "COMPLETED", label="301+1"),
    _job(401, 1000, 1010, 2000, "REQUEUED", gpus=1),
    _job(401, 2000, 2120, 3000, "COMPLETED", gpus=1, restarts=1),
    _job(402, 1000, 1010, 1500, "NODE_FAIL", gpus=1),
    _job(402, 1500, 1620, 1700, "PREEMPTED", gpus=1, restarts=1),
    _job(402, 1700, 1820, None, "RUNNING", gpus=1, restarts=2),
    _job(501, 500, 500, 1500, "RESIZING", gpus=2, cpus=8, nodes=("n1", "n2")),
    _job(501, 1500, 1500, 2500, "COMPLETED", gpus=1),
    _job(601, 50, 60, None, "SUSPENDED", gpus=1, suspended_s=90061),
    _job(602, 50, None, 300, "CANCELLED", **_WAITS),
    _job(603, 50, 60, 90, "TIMEOUT"),
    _job(604, 50, 60, 61, "OUT_OF_MEMORY", exit_code="0:125", user=None, uid=4242, account="gone"),
    _job(605, -90000, -86400, 10, "COMPLETED", gpus=1),
    _job(606, 86390, 86395, 90000, "COMPLETED", gpus=1),
    _job(607, 0, 5, 5, "COMPLETED"),
)


def expected(
    *, restarts: bool = True, uid: bool = True, exit_code: bool = True, comment: bool = True
) -> dict[tuple[int, int], Job]:
    """What must come out, by job id and submit time; without what a way out does not say.

    Slurm's `restart_cnt` counts from 0, and is None where it is not said; JSON has no uid; the exit code in JSON up to
    v0.0.39 is 0 for every job that ended by itself.
    """
    jobs = {}
    for job in EXPECTED:
        said = job
        said = dataclasses.replace(said, restarts=(job.restarts or 0) if restarts else None)
        if not uid:
            said = dataclasses.replace(said, uid=None)
        if (
            not exit_code
            and job.exit_code == "0:0"
            and job.state not in ("PENDING", "RUNNING", "SUSPENDED", "COMPLETED")
        ):
            said = dataclasses.replace(said, exit_code=None)
        if not comment:
            said = dataclasses.replace(said, comment=None)
        jobs[job.job_id, job.submit_s] = said
    return jobs


# --- how Slurm writes it


def at(offset: int) -> int:
    """An instant as slurmdbd has it."""
    return offset if offset in (0, NO_VAL) else START_S + offset


def submit_of(record: Record) -> int:
    return START_S + record.submit


def start_of(record: Record) -> int:
    """A start of 0 s after START_S is not a start that slurmdbd does not have."""
    return 0 if record.state == "PENDING" else at(record.start)


def matches(record: Record, start_s: int, end_s: int) -> bool:
    """Slurmdbd's condition for a window, without a list of states."""
    eligible = START_S + (record.submit if record.eligible is None else record.eligible)
    return eligible < end_s and (record.end == 0 or at(record.end) >= start_s)


def tres_text(record: Record) -> str:
    """`AllocTRES` as sacct --noconvert writes it: by name, in alphabetical order."""
    return ",".join(f"{name}={count}{'M' if name == 'mem' else ''}" for name, count in sorted(record.tres))


def sacct_fields(record: Record) -> dict[str, str]:
    """A row of sacct by column; instants as epoch seconds."""

    def instant(value: int) -> str:
        return {0: "Unknown", NO_VAL: "None"}.get(value, str(value))

    array_id, task, waiting, limit = record.array
    if waiting:
        label = f"{array_id}_[{waiting}%{limit}]"
    elif task is not None:
        label = f"{array_id}_{task}"
    elif record.het[0]:
        label = f"{record.het[0]}+{record.het[1]}"
    else:
        label = str(record.id)
    days, rest = divmod(record.suspended, 86400)
    clock = f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
    return {
        "JobIDRaw": str(record.id),
        "JobID": label,
        "Submit": str(submit_of(record)),
        "Start": instant(start_of(record)),
        "End": instant(at(record.end)),
        "NodeList": record.nodes,
        "AllocTRES": tres_text(record),
        "State": record.state if record.by is None else f"{record.state} by {record.by}",
        "ExitCode": f"{record.exit[0]}:{record.exit[1]}",
        "Suspended": f"{days}-{clock}" if days else clock,
        "Restarts": str(record.restarts),
        "Cluster": record.cluster,
        "User": record.user or "",
        "UID": str(record.uid),
        "Account": record.account,
        "Partition": record.partition,
        "QOS": record.qos,
        "WCKey": record.wckey,
        "SLUID": record.sluid,
        "ConsumedEnergyRaw": "",
        "JobName": record.name,
        "Comment": record.comment or "",
    }


#: TRES ids, as slurmdbd numbers them.
TRES_IDS = {"cpu": 1, "mem": 2, "energy": 3, "node": 4, "billing": 5}

#: State flags, which stand beside a base state in lists.
_FLAGGED = {"REQUEUED": ["PENDING", "REQUEUED"], "RESIZING": ["RUNNING", "RESIZING"]}


def document(record: Record, version: int | None) -> dict[str, Any]:
    """One element of `jobs[]`, in the shape of a version of the interface."""

    def number(value: int | None) -> Any:
        if version is None:
            return value
        return {"set": value is not None, "infinite": False, "number": value or 0}

    nothing = None if version is None else ""
    returned, signal = record.exit
    if version is None or version == 39:
        # The wrong way round in Slurm's sources up to here: 0 for whatever ended by itself.
        code: dict[str, Any] = {"status": "SUCCESS", "return_code": 0}
        if signal:
            name = "Killed" if signal == 9 else f"Unknown signal {signal}"
            code = {"status": "SIGNALED", "return_code": None, "signal": {"signal_id": signal, "name": name}}
    else:
        code = {
            "status": ["SIGNALED"] if signal else ["SUCCESS"] if returned == 0 else ["ERROR"],
            "return_code": number(None if signal else returned),
            "signal": {"id": number(signal or None), "name": "KILL" if signal == 9 else ""},
        }
    array_id, task, waiting, limit = record.array
    if waiting and version is None:
        waiting = "0x3E0"  # 5-9 as a bitmap
    allocated = [("energy", None), *record.tres] if record.tres else []  # energy that nobody measured
    tres = []
    for name, count in allocated:
        kind, _, rest = name.partition("/")
        tres.append({"type": kind, "name": rest or nothing, "id": TRES_IDS.get(name, 1001), "count": count})
        if count is None and version is not None:
            tres[-1]["count"] = -2
    wckey: Any = {"wckey": record.wckey.removeprefix("*"), "flags": ["ASSIGNED_DEFAULT"] * record.wckey.startswith("*")}
    if not record.wckey and version is None:
        wckey = None
    made = {
        "account": record.account,
        "allocation_nodes": 1,
        "array": {
            "job_id": array_id,
            "limits": {"max": {"running": {"tasks": limit}}},
            "task_id": number(task),
            "task": waiting or nothing,
        },
        "association": {"account": record.account, "cluster": record.cluster, "partition": None, "user": record.user},
        "cluster": record.cluster,
        "comment": {"administrator": nothing, "job": record.comment or nothing, "system": nothing},
        "exit_code": code,
        "group": "users",
        "het": {"job_id": record.het[0], "job_offset": number(record.het[1])},
        "job_id": record.id,
        "name": record.name,
        "nodes": record.nodes,
        "partition": record.partition,
        "qos": record.qos,
        "state": {"current": record.state, "reason": "None"},
        "steps": record.steps,
        "time": {
            "elapsed": 0,
            "eligible": submit_of(record),
            "end": at(record.end),
            "start": start_of(record),
            "submission": submit_of(record),
            "suspended": record.suspended,
        },
        "tres": {"allocated": tres, "requested": []},
        "user": record.user,
        "wckey": wckey,
    }
    if version is not None and version >= 40:
        made["state"]["current"] = _FLAGGED.get(record.state, [record.state])
    if version is not None and version >= 42:
        made["restart_cnt"] = record.restarts
    if version is not None and version >= 45:
        made["sluid"] = record.sluid
    return made


def answer(records: list[Record], version: int | None) -> dict[str, Any]:
    """A whole answer of slurmrestd, or of `sacct --json`."""
    meta: dict[str, Any] = {"plugin": {"type": "openapi/dbv0.0.38", "name": "Slurm OpenAPI DB v0.0.38"}}
    if version is not None:
        meta = {"plugin": {"type": "openapi/slurmdbd", "data_parser": f"data_parser/v0.0.{version}"}}
    jobs = [document(record, version) for record in records]
    if version is None:
        return {"meta": meta, "errors": [], "jobs": jobs}
    return {"jobs": jobs, "meta": meta, "errors": [], "warnings": []}


#: What the stand-in for pyslurm answers from: `records`, `error`; it notes its `calls`.
PYSLURM: dict[str, Any] = {}
