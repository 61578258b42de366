"""What the arithmetic asks of numpy more than once, and the types of its arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


def sum_by(group: Indices, values: Floats, groups: int) -> Floats:
    """The sum of `values` in each of `groups` groups; `group` says to which each value belongs."""
    return np.bincount(group, weights=values, minlength=groups).astype(np.float64, copy=False)


def sorted_unique(values: Floats) -> Floats:
    """The distinct values in order; `np.unique` takes several times as long for stretches that are in order already."""
    ordered = np.sort(values, kind="stable")
    again = np.diff(ordered) == 0
    return ordered[np.append(True, ~again)] if again.any() else ordered
