"""Rows of sacct's text to jobs: the common half of the `sacct` and `file` sources.

A row that is an attempt becomes a `Job`, one that cannot be understood a `Reject` with its reason, and one that is
not an attempt of this cluster (a step, another cluster's job) None. There are two ways through: `read` takes one row
with care, whatever it holds; `jobs` takes rows at speed, as long as what they hold has been met before.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

from accounting.model import Job, Reject
from collectors.slurm import fields
from collectors.slurm.fields import overlaps
from collectors.slurm.tres import Allocation, parse_tres

#: The order in which rows are read fastest: what is each row's own, then what many rows share, then each row's own.
HEAD = ("JobIDRaw", "JobID", "Submit", "Start", "End", "NodeList", "AllocTRES")
SHARED = (
    "State", "ExitCode", "Suspended", "Restarts", "Cluster", "User", "UID", "Account", "Partition", "QOS", "WCKey",
)  # fmt: skip
TAIL = ("SLUID", "ConsumedEnergyRaw", "JobName", "Comment")

#: Without these columns a row cannot be booked: which attempt it is, when, whose, where and with what.
NEEDED = (*HEAD, "State", "User", "Account", "Partition")

#: The columns that may hold any text at all, and the fields of a Job that they fill.
FREE_TEXT = {"jobname": "name", "comment": "comment"}

#: A uid that stands for "no such user": -1, and Slurm's NO_VAL.
_NO_UID = frozenset({"", "4294967295", "4294967294"})

#: Slurm's NO_VAL: from here on a number is no instant.
_NO_VAL = 0xFFFFFFFE

#: Slurm's NO_VAL64 has twenty digits; it stands for an energy that nobody measured.
_NO_VAL64_DIGITS = 20

#: Distinct texts remembered before they are forgotten and met anew.
_REMEMBERED = 100_000

#: Node names in the node lists that are remembered: a list of a large job has thousands.
_REMEMBERED_NAMES = 1_000_000


def cut_records(pieces: Iterable[bytes], end: str, broken_off: Callable[[], Exception]) -> Iterator[list[str]]:
    """Cut a text that comes piece by piece into records, each of which ends with `end`.

    What is no UTF-8 (names given under another locale) is kept as `\\xe9`. `broken_off` makes the error for a text that
    does not end where a record does.
    """
    decode = codecs.getincrementaldecoder("utf-8")("backslashreplace").decode
    rest = ""
    for piece in pieces:
        records = (rest + decode(piece)).split(end)
        rest = records.pop()
        yield records
    if rest + decode(b"", final=True):
        raise broken_off()


class _Draft(Job):
    """A job that can still be written to.

    A frozen dataclass sets each of its fields through `object.__setattr__`, 3 µs a job, which is more than all the
    rest of reading a row. A draft is written to as any object, and becomes a Job by its class once it is complete.
    """

    __slots__ = ()
    __init__ = object.__init__
    __setattr__ = object.__setattr__
    __delattr__ = object.__delattr__


class RowReader:
    """Reads the rows under one header; what it has understood it remembers, text by text."""

    def __init__(
        self,
        source: str,
        where: str,
        cluster: str,
        columns: Sequence[str],
        separator: str,
        clock: fields.Clock | None = None,
    ) -> None:
        """Read rows of `columns` as attempts of `cluster`; `clock` (None: epoch seconds) reads their times.

        `source` and `where` say where the rows come from, for a Reject.

        KeyError names the first needed column that is missing.
        """
        self.source = source
        self.where = where
        self.cluster = cluster
        self.columns = tuple(columns)
        self.separator = separator
        self._clock = clock
        place = {name.casefold(): i for i, name in enumerate(columns)}
        for name in NEEDED:
            if name.casefold() not in place:
                raise KeyError(name)
        self._has_sluid = "sluid" in place
        self._tail_width = _tail_width(columns)

        def picker(*names: str) -> Any:
            """Takes these columns out of a row; one that is not there reads what stands behind the last."""
            return itemgetter(*(place.get(name.casefold(), len(columns)) for name in names))

        self._pick, self._pick_head = picker(*HEAD, *SHARED, *TAIL), picker(*HEAD)
        self._pick_shared, self._pick_tail = picker(*SHARED), picker(*TAIL)
        # What `jobs` has met: the values of the shared columns, of TRES texts and of node lists.
        self._shared: dict[Any, tuple[Any, ...]] = {}
        self._tres: dict[str, tuple[Any, ...]] = {}
        self._nodes: dict[str, tuple[str, ...]] = {}
        self._names = 0  # in all those node lists

    def read(self, values: Sequence[str], where: str) -> Job | Reject | None:
        """One row. `where` says where it came from, for the Reject."""
        if len(values) != len(self.columns):
            reason = f"the row has {len(values)} fields under a header of {len(self.columns)}"
            return Reject(self.source, where, self.separator.join(values), reason)
        try:
            return self._job(values)
        except ValueError as error:
            return Reject(self.source, where, "|".join(values), str(error))

    def _job(self, values: Sequence[str]) -> Job | None:
        (
            raw_id, label, submit, start, end, node_list, tres,
            state, exit_code, suspended, restarts, cluster, user, uid, account, partition, qos, wckey,
            sluid, energy, name, comment,
        ) = self._pick([*values, ""])  # fmt: skip
        if cluster not in ("", self.cluster):
            return None
        number, dot, _ = raw_id.partition(".")
        if not number.isdecimal():
            raise ValueError(f"JobIDRaw {raw_id!r} is not a number")
        if dot:
            return None  # a step

        word = fields.state(state)
        submit_s, start_s, end_s = self._time("Submit", submit), self._time("Start", start), self._time("End", end)
        if submit_s is None:
            raise ValueError(f"Submit is {submit!r}, and without it one run of a job cannot be told from another")
        if start_s is not None and end_s is not None and end_s < start_s:
            raise ValueError(f"the job ends ({end}) before it starts ({start})")
        nodes, allocated = fields.nodes(node_list), parse_tres(tres)
        job = Job(
            cluster=self.cluster,
            job_id=int(number),
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
            # A star marks a default key that the user did not ask for.
            wckey=wckey.removeprefix("*") or None,
            name=name or None,
            nodes=nodes,
            cpus=allocated.cpus,
            memory_mb=allocated.memory_mb,
            gpus=allocated.gpus,
            gpu_types=allocated.gpu_types,
            shards=allocated.shards,
            mps_percent=allocated.mps_percent,
            exit_code=exit_code or None,
            suspended_s=fields.duration_s(suspended),
            restarts=_number("Restarts", restarts) if restarts else None,
            sluid=sluid or None,
            consumed_energy_j=_measured_j(energy, allocated.energy_j) if energy else allocated.energy_j,
            comment=comment or None,
        )
        self._remember(job, values, node_list, tres, allocated)
        return job

    def _time(self, column: str, text: str) -> int | None:
        try:
            return (self._clock or fields.epoch_s)(text)
        except ValueError:
            raise ValueError(f"{column} {text!r} is not a time") from None

    # --- at speed

    def jobs(self, batches: Iterable[Iterable[str]], since_s: float, until_s: float) -> Iterator[Job | Reject]:
        """Each attempt among the records that was there at some time in [since_s, until_s), and each bad row.

        Ordinary rows are done at speed. A row with anything not met before, and any odd one, goes through `odd`, which
        takes note of what it meets. A job is handed on only when the next row is known to be one, too.
        """
        return chain.from_iterable(self.batches(batches, since_s, until_s))

    def batches(
        self, batches: Iterable[Iterable[str]], since_s: float, until_s: float
    ) -> Iterator[Iterable[Job | Reject]]:
        """The same, batch by batch: a generator that is resumed for each job would be a tenth of all the time."""
        separator, cluster = self.separator, self.cluster
        shared, tres, nodes = self._shared, self._tres, self._nodes
        head_width, tail_width = len(HEAD), self._tail_width
        has_sluid, width = self._has_sluid, len(self.columns)
        pick_head, pick_shared, pick_tail = self._pick_head, self._pick_shared, self._pick_tail
        clock: Any = self._clock or int
        no_val = _NO_VAL
        key: Any
        sluid: str | None
        held: Job | None = None  # the last job
        wanted = False  # whether it was there in the window
        number = 1
        for records in batches:
            done: list[Job | Reject] = []
            for number, record in enumerate(records, start=number + 1):  # noqa: B020
                try:
                    if tail_width:
                        raw_id, label, submit, start, end, node_list, tres_text, rest = record.split(
                            separator, head_width
                        )
                        if has_sluid:
                            key, sluid, energy, name, comment = rest.rsplit(separator, tail_width)
                        else:
                            key, energy, name, comment = rest.rsplit(separator, tail_width)
                            sluid = None
                    else:
                        values = record.split(separator)
                        if len(values) != width:
                            raise ValueError
                        values.append("")  # what the pickers find for a column that is not there
                        raw_id, label, submit, start, end, node_list, tres_text = pick_head(values)
                        key = pick_shared(values)
                        sluid, energy, name, comment = pick_tail(values)
                    submit_s, start_s, end_s = clock(submit), clock(start), clock(end)
                    # As it is nearly always. `isdecimal`, since int() takes the label 40_2 for 402.
                    if not (submit_s <= start_s <= end_s < no_val and submit_s and raw_id.isdecimal()):
                        raise ValueError
                    job: Any = _Draft()
                    (
                        job.state, job.exit_code, job.suspended_s, job.restarts, job.user, job.uid, job.account,
                        job.partition, job.qos, job.wckey,
                    ) = shared[key]  # fmt: skip
                    (
                        job.cpus, job.memory_mb, job.gpus, job.gpu_types, job.shards, job.mps_percent, energy_j,
                    ) = tres[tres_text]  # fmt: skip
                    job.nodes = nodes[node_list]
                    job.submit_s = submit_s
                    job.job_id = int(raw_id)
                    if energy:
                        energy_j = _measured_j(energy, energy_j)
                    job.consumed_energy_j = energy_j
                except (KeyError, ValueError, TypeError):
                    ready, held = self.odd(record, number, held)
                    done += [row for row in ready if isinstance(row, Reject) or overlaps(row, since_s, until_s)]
                    wanted = held is not None and overlaps(held, since_s, until_s)
                    continue
                job.cluster = cluster
                job.label = label or raw_id
                job.start_s = start_s
                job.end_s = end_s
                job.sluid = sluid or None
                job.name = name or None
                job.comment = comment or None
                job.__class__ = Job
                if wanted:
                    done.append(held)  # type: ignore[arg-type]
                held = job
                wanted = start_s < until_s and (end_s > since_s or start_s >= since_s)
            yield done
        yield [row for row in self.rest(held) if isinstance(row, Reject) or overlaps(row, since_s, until_s)]

    def odd(self, record: str, number: int, held: Job | None) -> tuple[list[Job | Reject], Job | None]:
        """A record that `jobs` does not do by itself; `held` is the job before it.

        Returns what can be handed on, and the job to hold from here.
        """
        row = self.read(record.split(self.separator), self.where)
        ready = self.rest(held)
        if isinstance(row, Reject):
            return [*ready, row], None
        return ready, row

    def rest(self, held: Job | None) -> list[Job | Reject]:
        """What was held back, once nothing more can belong to it."""
        return [held] if held is not None else []

    def _remember(self, job: Job, values: Sequence[str], node_list: str, tres: str, allocated: Allocation) -> None:
        """Keep what `jobs` needs to do such a row by itself the next time."""
        for memory in (self._shared, self._tres):
            if len(memory) >= _REMEMBERED:
                memory.clear()
        if self._names >= _REMEMBERED_NAMES:
            self._nodes.clear()
            self._names = 0
        if self._tail_width:
            key: Any = self.separator.join(values[len(HEAD) : -self._tail_width])
        else:
            key = self._pick_shared([*values, ""])
        self._shared[key] = (
            job.state, job.exit_code, job.suspended_s, job.restarts, job.user, job.uid, job.account,
            job.partition, job.qos, job.wckey,
        )  # fmt: skip
        self._tres[tres] = (
            job.cpus, job.memory_mb, job.gpus, job.gpu_types, job.shards, job.mps_percent, allocated.energy_j,
        )  # fmt: skip
        self._nodes[node_list] = job.nodes
        self._names += len(job.nodes)


def _tail_width(columns: Sequence[str]) -> int:
    """How many columns the tail has, where the columns are in the order that is read fastest; else 0."""
    folded = [name.casefold() for name in columns]
    head, shared, tail = ([name.casefold() for name in names] for names in (HEAD, SHARED, TAIL))
    for width in (len(tail), len(tail) - 1):  # with and without SLUID
        middle = folded[len(head) : -width]
        if folded[: len(head)] == head and folded[-width:] == tail[-width:] and set(middle) <= set(shared):
            return width
    return 0


def _number(column: str, text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"{column} {text!r} is not a number")
    return int(text)


def _measured_j(text: str, otherwise_j: float | None) -> float | None:
    """`ConsumedEnergyRaw`: 0 is written where nothing measures it, and NO_VAL64 where it is not known."""
    return float(_number("ConsumedEnergyRaw", text)) or None if len(text) < _NO_VAL64_DIGITS else otherwise_j
