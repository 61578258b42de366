"""What is known of a GPU by its model's name alone: rated power, an idle level to assume, a MIG instance's size."""

from __future__ import annotations

import re
from functools import cache

from site_config.tables import accelerators

#: What a data-centre GPU draws idle, of its rated power: A100 50-60 W of 400 W, H100 70-80 W of 700 W, T4 10 W of 70 W.
IDLE_SHARE = 0.12

#: Compute slices of a GPU that can be cut into MIG instances: 7, and 4 of an A30 (NVIDIA's MIG user guide).
MIG_SLICES = 7
A30_SLICES = 4

#: `3g.20gb`; of a compute instance inside of one (`1c.3g.20gb`) its own slices count.
_SLICES = re.compile(r"(?:^|[^0-9a-z.])(?:(\d+)c\.)?(\d+)g\.\d+gb", re.IGNORECASE)


@cache
def rated_w(model: str | None) -> float | None:
    """The rated power (TDP, W) of a GPU, by its name as the driver has it; None where the tables do not know it."""
    name = _plain(model or "")
    for one in accelerators():
        if one.kind == "gpu" and name and name in map(_plain, (one.model, *one.aliases)):
            return one.tdp_w
    return None


def assumed_idle_w(model: str | None) -> float | None:
    """An idle level (W) for a GPU whose own was never seen; None where not even its rated power is known."""
    found = rated_w(model)
    return None if found is None else IDLE_SHARE * found


def mig_capacity(profile: str, model: str | None) -> float | None:
    """The share of the GPU's compute slices that a MIG profile has: `3g.20gb` of an A100 is 3/7.

    The name may stand in a longer one (Slurm's `a100_3g.20gb`). None where it is no profile.
    """
    found = _SLICES.search(profile)
    if found is None:
        return None
    slices = A30_SLICES if "a30" in _plain(model or "").split() else MIG_SLICES
    return min(int(found.group(1) or found.group(2)) / slices, 1.0)


def _plain(name: str) -> str:
    """A name without the maker, in small letters, with one kind of separator: `NVIDIA A100-SXM4-80GB` and its kin."""
    words = re.split(r"[\s\-_]+", name.lower())
    return " ".join(word for word in words if word not in ("nvidia", "tesla"))
