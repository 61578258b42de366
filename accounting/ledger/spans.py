"""How long attempts last, in classes: what makes the jobs of a window quick to find, however long the history is.

A job that overlaps [S, E) was submitted before E and had not ended at S. An index by submit time bounds it on one side
only. Once it is known that it lasted less than L from submit to end, it was submitted after S − L as well; and
with classes that grow by a factor of four, little more is looked at than is found.
"""

from __future__ import annotations

from collections.abc import Sequence

#: The bounds of the classes, s: an attempt of class k lasted less than the k-th. 1 h, 4 h, … 43 days.
LIMITS_S: Sequence[int] = tuple(3600 * 4**power for power in range(6))

#: The class of those that lasted longer, or have not ended.
LONG = len(LIMITS_S)


def span_of(submit_s: int, end_s: int | None) -> int:
    """The class of an attempt; `end_s` None: it has not ended."""
    if end_s is None:
        return LONG
    lasted_s = end_s - submit_s
    for span, limit_s in enumerate(LIMITS_S):
        if lasted_s < limit_s:
            return span
    return LONG
