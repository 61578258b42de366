"""Slurm's values, one at a time: states, instants, durations, node lists.

Whatever way a job was read, its values end here, so that they come out the same.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from accounting.model import Job

#: How Slurm writes an instant that it does not have: as text, as 0, and as its NO_VAL and INFINITE.
_NEVER = frozenset({"", "0", "Unknown", "None", "N/A", "Infinite", "4294967294", "4294967295"})

_NO_NODES = frozenset({"", "None assigned", "(null)", "None"})

#: An instant from text: epoch seconds, None where Slurm has none, ValueError where it is no time.
Clock = Callable[[str], int | None]


def epoch_s(text: str) -> int | None:
    """An instant as `SLURM_TIME_FORMAT=%s` writes it; None where Slurm has none."""
    return None if text in _NEVER else int(text)


def local_clock(zone: ZoneInfo | None) -> Clock:
    """A clock for dumps whose times are ISO 8601; one without an offset is read as local time in `zone`.

    In the hour that comes twice when summer time ends, it is the first that is meant.
    """

    @lru_cache(maxsize=4096)
    def hour(text: str) -> int:
        instant = datetime.fromisoformat(text)
        if instant.tzinfo is None:
            if zone is None:
                raise ValueError(f"{text}… has no zone")
            instant = instant.replace(tzinfo=zone)
        return int(instant.timestamp())

    def clock(text: str) -> int | None:
        if len(text) == 19 and text[10] == "T":  # 2026-10-01T12:34:56, which is what sacct writes
            return hour(text[:13] + ":00") + int(text[14:16]) * 60 + int(text[17:])
        if text in _NEVER:
            return None
        return int(text) if text.isdecimal() else hour(text)

    return clock


@lru_cache(maxsize=4096)
def state(text: str) -> str:
    """Slurm's word alone: `CANCELLED by 1001` and a cut-off `CANCELLED+` are CANCELLED."""
    word = text.partition(" ")[0].rstrip("+")
    if not re.fullmatch("[A-Z][A-Z_]+", word):
        raise ValueError(f"State {text!r} is none that Slurm has")
    return word


@lru_cache(maxsize=4096)
def nodes(text: str) -> tuple[str, ...]:
    """The names in a node list: `n[1-2],m7` is n1, n2, m7."""
    if text in _NO_NODES:
        return ()
    if "[" not in text and "," not in text:
        return (sys.intern(text),)
    from ClusterShell.NodeSet import RESOLVER_NOGROUP, NodeSet, NodeSetException

    try:
        return tuple(map(sys.intern, NodeSet(text, resolver=RESOLVER_NOGROUP)))
    except NodeSetException as error:
        raise ValueError(f"NodeList {text!r}: {error}") from None


def waiting_tasks(tasks: str, limit: int | None) -> str:
    """The waiting tasks of an array, as sacct writes them: `1,5-9`, and `%4` behind where no more may run at once.

    They come written out, or as the bitmap in hexadecimal in which Slurm keeps them.
    """
    ranges = _ranges(int(tasks, 16)) if tasks.startswith("0x") else tasks
    return f"{ranges}%{limit}" if limit and "%" not in ranges else ranges


def _ranges(bitmap: int) -> str:
    """`1,5-9` or, where they are more than five at even distances, `0-1000:2`."""
    tasks = [task for task in range(bitmap.bit_length()) if bitmap >> task & 1]
    if len(tasks) > 5 and tasks[-1] - tasks[0] > 10 and tasks[1] > tasks[0] + 1:
        step = tasks[1] - tasks[0]
        if tasks == list(range(tasks[0], tasks[-1] + 1, step)):
            return f"{tasks[0]}-{tasks[-1]}:{step}"
    parts: list[list[int]] = []
    for task in tasks:
        if parts and task == parts[-1][-1] + 1:
            parts[-1][1:] = [task]
        else:
            parts.append([task])
    return ",".join("-".join(map(str, part)) for part in parts)


@lru_cache(maxsize=4096)
def duration_s(text: str) -> int:
    """`D-HH:MM:SS`, `MM:SS.mmm` or seconds, to whole seconds; 0 for nothing."""
    if not text:
        return 0
    found = re.fullmatch(r"(?:(\d+)-)?(?:(?:(\d+):)?(\d+):)?(\d+)(?:\.\d+)?", text)
    if not found:
        raise ValueError(f"Suspended {text!r} is not a duration")
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return int(timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds).total_seconds())


def overlaps(job: Job, start_s: float, end_s: float) -> bool:
    """Whether an attempt was there at some time in [start_s, end_s).

    One that never started is there from its submission until it was given up; one that took no time at all is there
    at its start.
    """
    begin = job.submit_s if job.start_s is None else job.start_s
    return begin < end_s and (job.end_s is None or job.end_s > start_s or begin >= start_s)
