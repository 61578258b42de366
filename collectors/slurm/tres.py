"""What Slurm says was allocated: `billing=2,cpu=2,gres/gpu:a100=2,mem=4.50G,node=1`, as numbers.

The text of `AllocTRES` and the list `tres.allocated[]` of the JSON documents both end here, so that a typed GPU,
a MIG profile or a shard counts the same whichever way the job was read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

#: Memory suffixes, in MiB. Slurm's own unit is MiB, and a number without a suffix is in it.
_MIB = {"K": 1 / 1024, "M": 1.0, "G": 1024.0, "T": 1024.0**2, "P": 1024.0**3, "E": 1024.0**4}


@dataclass(frozen=True, slots=True)
class Allocation:
    """What an attempt was given. Counts are 0 where Slurm names none; memory and energy are None where unknown."""

    cpus: int = 0
    memory_mb: float | None = None  # MiB
    gpus: int = 0
    gpu_types: Mapping[str, int] = field(default_factory=dict)
    shards: int = 0
    mps_percent: int = 0
    energy_j: float | None = None


def parse_tres(text: str) -> Allocation:
    """Read a TRES string. ValueError says which part of it cannot be understood."""
    pairs = []
    for part in text.split(","):
        if not part:
            continue
        name, equals, value = part.rpartition("=")
        if not equals or not name:
            raise ValueError(f"TRES {part!r} is not NAME=COUNT")
        pairs.append((name, value))
    return allocation(pairs)


def allocation(pairs: Iterable[tuple[str, str]]) -> Allocation:
    """Sum up (TRES name, count) pairs; names are as sacct writes them: `cpu`, `mem`, `gres/gpu:a100`.

    Slurm names a GPU as `gres/gpu`, as `gres/gpu:TYPE`, or as both at once: then the first is the total of the
    others, and they are not added to it.
    """
    cpus = 0
    memory_mb: float | None = None
    energy_j: float | None = None
    totals = {"gpu": 0, "shard": 0, "mps": 0}
    typed: dict[str, dict[str, int]] = {"gpu": {}, "shard": {}, "mps": {}}
    for name, value in pairs:
        if name == "cpu":
            cpus = _count(name, value)
        elif name == "mem":
            memory_mb = _memory_mb(value)
        elif name == "energy":
            energy_j = float(_count(name, value)) or None
        elif name.startswith("gres/"):
            gres, _, kind = name[5:].partition(":")
            if gres not in totals:
                continue
            if kind:
                typed[gres][kind] = typed[gres].get(kind, 0) + _count(name, value)
            else:
                totals[gres] += _count(name, value)
    for gres, kinds in typed.items():
        totals[gres] = max(totals[gres], sum(kinds.values()))
    return Allocation(
        cpus=cpus,
        memory_mb=memory_mb,
        gpus=totals["gpu"],
        gpu_types=typed["gpu"],
        shards=totals["shard"],
        mps_percent=totals["mps"],
        energy_j=energy_j,
    )


def _count(name: str, value: str) -> int:
    if not value.isdecimal():
        raise ValueError(f"TRES {name}={value}: the count is not a whole number")
    return int(value)


def _memory_mb(value: str) -> float:
    number, unit = (value[:-1], value[-1:].upper()) if value[-1:].isalpha() else (value, "M")
    try:
        return float(number) * _MIB[unit]
    except (ValueError, KeyError):
        raise ValueError(f"TRES mem={value}: not an amount of memory such as 100M, 4.50G or 1.5T") from None
