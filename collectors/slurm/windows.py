"""A long window asked for in several calls, each attempt handed on once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from accounting.model import AttemptKey, Job, Reject

_DAY_S = 86400


def in_calls(
    call: Callable[[float, float], Iterator[Job | Reject]], start_s: float, end_s: float, days: float
) -> Iterator[Job | Reject]:
    """Ask `call` for [start_s, end_s), `days` at a time; it yields the attempts that were there in its part.

    An attempt that is still there where one part ends comes again in the next, and is left out there. No more keys
    than that are held.
    """
    alive: set[AttemptKey] = set()
    call_start_s = start_s
    while call_start_s < end_s:
        call_end_s = min(end_s, call_start_s + days * _DAY_S)
        seen, alive = alive, set()
        for job in call(call_start_s, call_end_s):
            if isinstance(job, Reject):
                yield job
                continue
            if job.end_s is None or job.end_s > call_end_s:
                alive.add(job.key)
            if job.key not in seen:
                yield job
        call_start_s = call_end_s
