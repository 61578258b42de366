"""Rows of sacct's text, one by one, to jobs: the common half of the `sacct` and `file` sources.

A row is a list of strings in the order of a header. A row that is an attempt becomes a `Job`, one that cannot be
understood a `Reject` with its reason, and one that is not an attempt of this cluster (a step, another cluster's job)
becomes None.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from accounting.model import Job, Reject
from collectors.slurm.tres import Allocation, parse_tres

#: Without these columns a row cannot be booked: which attempt it is, when, whose, where and with what.
NEEDED = (
    "JobIDRaw", "JobID", "Submit", "Start", "End", "State", "User", "Account", "Partition", "NodeList", "AllocTRES",
)  # fmt: skip

#: These are used where they are there.
OPTIONAL = (
    "Cluster", "UID", "QOS", "WCKey", "NCPUS", "ExitCode", "Suspended", "ConsumedEnergyRaw", "Restarts", "SLUID",
    "JobName", "Comment",
)  # fmt: skip

#: How sacct writes an instant that it does not have.
_NEVER = frozenset({"", "0", "Unknown", "None", "N/A", "Infinite"})

#: A uid that stands for "no such user" (-1, and Slurm's NO_VAL as an unsigned number).
_NO_UID = frozenset({"", "4294967295", "4294967294"})

_NO_NODES = frozenset({"", "None assigned", "(null)"})


def epoch_s(text: str) -> int | None:
    """An instant as `SLURM_TIME_FORMAT=%s` writes it; None where Slurm has none."""
    if text in _NEVER:
        return None
    return int(text)


def overlaps(job: Job, start_s: float, end_s: float) -> bool:
    """Whether an attempt was there at some time in [start_s, end_s).

    One that never started is there from its submission until it was given up; one that took no time at all is there
    at its start.
    """
    begin = job.submit_s if job.start_s is None else job.start_s
    return begin < end_s and (job.end_s is None or job.end_s > start_s or begin >= start_s)


class RowReader:
    """Reads the rows under one header; what it has understood of TRES, node lists and states it remembers."""

    def __init__(
        self, source: str, cluster: str, columns: Sequence[str], clock: Callable[[str], int | None] = epoch_s
    ) -> None:
        """Read rows of `columns` as attempts of `cluster`; `clock` turns sacct's times to epoch seconds.

        KeyError names the first needed column that is missing.
        """
        self.source = source
        self.cluster = cluster
        self.columns = tuple(columns)
        self._clock = clock
        place = {name.casefold(): i for i, name in enumerate(columns)}
        if "alloccpus" in place:
            place.setdefault("ncpus", place["alloccpus"])
        for name in NEEDED:
            if name.casefold() not in place:
                raise KeyError(name)
        self._needed = [place[name.casefold()] for name in NEEDED]
        # An index past the row's end stands for a column that is not there: it reads as the empty string.
        self._optional = [place.get(name.casefold(), len(columns)) for name in OPTIONAL]

    def read(self, values: Sequence[str], where: str) -> Job | Reject | None:
        """One row. `where` says where it came from, for the Reject."""
        try:
            return self._job(values)
        except ValueError as error:
            return Reject(self.source, where, "|".join(values), str(error))

    def _job(self, values: Sequence[str]) -> Job | None:
        padded = [*values, ""]
        raw_id, label, submit, start, end, state, user, account, partition, nodes, tres = (
            padded[i] for i in self._needed
        )
        cluster, uid, qos, wckey, ncpus, exit_code, suspended, energy, restarts, sluid, name, comment = (
            padded[i] for i in self._optional
        )
        if cluster and cluster != self.cluster:
            return None
        if not raw_id.isdecimal():
            if "." in raw_id and raw_id.partition(".")[0].isdecimal():
                return None  # a step
            raise ValueError(f"JobIDRaw {raw_id!r} is not a number")
        submit_s = self._time("Submit", submit)
        if submit_s is None:
            raise ValueError(f"Submit is {submit!r}, and without it one run of a job cannot be told from another")
        word = _state(state)
        start_s = None if word == "PENDING" else self._time("Start", start)
        end_s = self._time("End", end)
        if start_s is not None and end_s is not None and end_s < start_s:
            raise ValueError(f"the job ends ({end}) before it starts ({start})")
        allocated = _allocation(tres)
        return Job(
            cluster=self.cluster,
            job_id=int(raw_id),
            submit_s=submit_s,
            label=label or raw_id,
            state=word,
            start_s=start_s,
            end_s=end_s,
            user=user or None,
            uid=None if uid in _NO_UID else _number("UID", uid),
            account=account or None,
            partition=partition or None,
            qos=qos or None,
            wckey=wckey.removeprefix("*") or None,  # a star marks a default key that the user did not ask for
            name=name or None,
            nodes=_nodes(nodes),
            cpus=allocated.cpus or (_number("NCPUS", ncpus) if ncpus else 0),
            memory_mb=allocated.memory_mb,
            gpus=allocated.gpus,
            gpu_types=allocated.gpu_types,
            shards=allocated.shards,
            mps_percent=allocated.mps_percent,
            exit_code=exit_code or None,
            suspended_s=_duration_s(suspended),
            restarts=_number("Restarts", restarts) if restarts else None,
            sluid=sluid or None,
            consumed_energy_j=_energy_j(energy, allocated),
            comment=comment or None,
        )

    def _time(self, column: str, text: str) -> int | None:
        try:
            return self._clock(text)
        except ValueError:
            raise ValueError(f"{column} {text!r} is not a time") from None


@lru_cache(maxsize=65536)
def _allocation(text: str) -> Allocation:
    return parse_tres(text)


@lru_cache(maxsize=65536)
def _nodes(text: str) -> tuple[str, ...]:
    if text in _NO_NODES:
        return ()
    from ClusterShell.NodeSet import NodeSet, NodeSetException

    try:
        return tuple(NodeSet(text))
    except NodeSetException as error:
        raise ValueError(f"NodeList {text!r}: {error}") from None


@lru_cache(maxsize=4096)
def _state(text: str) -> str:
    word = text.partition(" ")[0].rstrip("+")  # "CANCELLED by 1001"
    if not word or not word.replace("_", "").isalpha() or word != word.upper():
        raise ValueError(f"State {text!r} is none that Slurm has")
    return word


@lru_cache(maxsize=65536)
def _duration_s(text: str) -> int:
    """`D-HH:MM:SS`, or seconds."""
    if not text:
        return 0
    days, dash, clock = text.rpartition("-")
    try:
        seconds = 0
        for part in clock.partition(".")[0].split(":"):
            seconds = seconds * 60 + int(part)
        return seconds + (int(days) * 86400 if dash else 0)
    except ValueError:
        raise ValueError(f"Suspended {text!r} is not a duration") from None


def _number(column: str, text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"{column} {text!r} is not a number")
    return int(text)


def _energy_j(text: str, allocated: Allocation) -> float | None:
    """Slurm writes 0 or nothing where no plugin measures energy: both mean unknown."""
    if not text:
        return allocated.energy_j
    return float(_number("ConsumedEnergyRaw", text)) or allocated.energy_j
