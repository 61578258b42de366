"""Jobs as Slurm writes them in JSON: `sacct --json` and slurmrestd, from Slurm 22.05 on.

The two write the same documents. What changed between versions (22.05 has none, then data_parser v0.0.39 to .45):

- a number that may be absent is plain or null, or `{"set", "infinite", "number"}`;
- `state.current` is a word up to .39, and a list of the base state and its flags from .40;
- up to .39 the exit code of a job that ended by itself is always written as 0;
- a pending array's tasks are a bitmap in hexadecimal, or written out;
- `restart_cnt` is there from .42, `sluid` from .45.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from accounting.model import Job, Reject
from collectors.slurm import fields
from collectors.slurm.tres import allocation

#: Flags of a job's state, in the order in which Slurm's text prefers them to the base state.
_STATE_FLAGS = (
    "COMPLETING", "STAGE_OUT", "CONFIGURING", "RESIZING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT",
    "STOPPED", "REVOKED", "RESV_DEL_HOLD", "SIGNALING",
)  # fmt: skip

#: From here on a 32-bit number is Slurm's NO_VAL or INFINITE.
_NO_VAL = 0xFFFFFFFE


def read_job(document: Any, text: str, source: str, where: str, cluster: str) -> Job | Reject | None:
    """One element of `jobs[]`; None for another cluster's."""
    try:
        return _job(document, cluster)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        reason = f"the job's document has no {error}" if isinstance(error, KeyError) else str(error)
        return Reject(source, where, text, reason)


def _job(document: Mapping[str, Any], cluster: str) -> Job | None:
    if (document.get("cluster") or cluster) != cluster:
        return None
    time = document["time"]
    job_id = number(document["job_id"])
    submit_s = _instant(time["submission"])
    if job_id is None or submit_s is None:
        raise ValueError("the job has no id, or no time of submission: its runs cannot be told apart")
    state = _state(document["state"]["current"])
    start_s, end_s = _instant(time["start"]), _instant(time["end"])
    if start_s is not None and end_s is not None and end_s < start_s:
        raise ValueError(f"the job ends ({end_s}) before it starts ({start_s})")
    allocated = allocation(
        (entry["type"] + (f"/{entry['name']}" if entry.get("name") else ""), number(entry["count"]))
        for entry in document["tres"]["allocated"]
    )
    user, uid = _user(document)
    restarts = document.get("restart_cnt")
    return Job(
        cluster=cluster,
        job_id=job_id,
        submit_s=submit_s,
        label=_label(document, job_id),
        state=state,
        start_s=start_s,
        end_s=end_s,
        user=user,
        uid=uid,
        account=document.get("account") or None,
        partition=document.get("partition") or None,
        qos=document.get("qos") or None,
        wckey=((document.get("wckey") or {}).get("wckey") or "").removeprefix("*") or None,
        name=document.get("name") or None,
        nodes=fields.nodes(document.get("nodes") or ""),
        cpus=allocated.cpus,
        memory_mb=allocated.memory_mb,
        gpus=allocated.gpus,
        gpu_types=allocated.gpu_types,
        shards=allocated.shards,
        mps_percent=allocated.mps_percent,
        exit_code=_exit_code(document.get("exit_code"), state),
        suspended_s=number(time.get("suspended")) or 0,
        restarts=None if restarts is None else number(restarts),
        sluid=document.get("sluid") or None,
        consumed_energy_j=allocated.energy_j,
        comment=(document.get("comment") or {}).get("job") or None,
    )


def number(value: Any) -> int | None:
    """A number in any of the ways in which Slurm writes one that may be absent."""
    if isinstance(value, dict):
        value = value.get("number") if value.get("set") else None
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{value!r} is not a number")
    return int(value)


def _instant(value: Any) -> int | None:
    instant = number(value)
    return None if instant is None or not 0 < instant < _NO_VAL else instant


def _state(current: Any) -> str:
    words = [current] if isinstance(current, str) else list(current)
    if not words:
        raise ValueError("the job has no state")
    return fields.state(next((flag for flag in _STATE_FLAGS if flag in words), words[0]))


def _user(document: Mapping[str, Any]) -> tuple[str | None, int | None]:
    """The user's name; where Slurm's host does not know it, the uid that may stand there instead."""
    user = document.get("user") or (document.get("association") or {}).get("user")
    if isinstance(user, int) or (isinstance(user, str) and user.isdecimal()):
        return None, int(user)
    return user or None, None


def _label(document: Mapping[str, Any], job_id: int) -> str:
    """The job's id as sacct writes it."""
    array, het = document.get("array") or {}, document.get("het") or {}
    array_id, het_id = number(array.get("job_id")), number(het.get("job_id"))
    if array_id:
        task, tasks = number(array.get("task_id")), array.get("task") or ""
        if tasks:
            limits = ((array.get("limits") or {}).get("max") or {}).get("running") or {}
            return f"{array_id}_[{fields.waiting_tasks(tasks, number(limits.get('tasks')))}]"
        if task is not None:
            return f"{array_id}_{task}"
    if het_id:
        return f"{het_id}+{number(het.get('job_offset')) or 0}"
    return str(job_id)


def _exit_code(code: Any, state: str) -> str | None:
    """`return code:signal`, as sacct writes it; None where the document does not tell."""
    if not isinstance(code, dict):
        return None
    signal = code.get("signal") or {}
    signal_number = number(signal.get("id", signal.get("signal_id"))) or 0
    returned = code.get("return_code")
    if isinstance(returned, dict) or signal_number:
        return f"{number(returned) or 0}:{signal_number}"
    if number(returned):
        return f"{number(returned)}:0"
    # Up to v0.0.39 a job that failed by itself has 0 here as well.
    return "0:0" if state in ("PENDING", "RUNNING", "SUSPENDED", "COMPLETED") else None
