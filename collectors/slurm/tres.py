"""What Slurm says was allocated: `billing=2,cpu=2,gres/gpu:a100=2,mem=4.50G,node=1`, as numbers.

The text of `AllocTRES` and the list `tres.allocated[]` of the JSON documents both end here, so that a typed GPU,
a MIG profile or a shard counts the same whichever way the job was read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

#: Memory suffixes, in MiB. Slurm's own unit is MiB, and a number without a suffix is in it.
_MIB = {"K": 1 / 1024, "M": 1.0, "G": 1024.0, "T": 1024.0**2, "P": 1024.0**3, "E": 1024.0**4}

#: From here on a count is Slurm's NO_VAL64 or INFINITE64, for none.
_NO_COUNT = 0xFFFFFFFFFFFFFFFD

#: The TRES besides gres that mean something to us; a count of another that is no whole number is let pass.
_COUNTED = frozenset({"cpu", "energy"})


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


@lru_cache(maxsize=4096)
def parse_tres(text: str) -> Allocation:
    """Read a TRES string. ValueError says which part of it cannot be understood."""
    return allocation(_pairs(text))


def _pairs(text: str) -> Iterator[tuple[str, float]]:
    for part in text.split(","):
        if not part:
            continue
        name, equals, value = part.rpartition("=")
        if not equals or not name:
            raise ValueError(f"TRES {part!r} is not NAME=COUNT")
        if name == "mem":
            yield name, _memory_mb(value)
        elif value.isdecimal():
            yield name, int(value)
        elif name in _COUNTED or name.startswith("gres/"):
            raise ValueError(f"TRES {part}: the count is not a whole number")


def allocation(pairs: Iterable[tuple[str, float | None]]) -> Allocation:
    """Sum up (TRES name, count) pairs; names are as sacct writes them: `cpu`, `mem` (MiB), `gres/gpu:a100`.

    Slurm names a GPU as `gres/gpu`, as `gres/gpu:TYPE`, or as both at once: then the first is the total of the
    others, and they are not added to it.
    """
    cpus = 0
    memory_mb: float | None = None
    energy_j: float | None = None
    totals = {"gpu": 0, "shard": 0, "mps": 0}
    typed: dict[str, dict[str, int]] = {"gpu": {}, "shard": {}, "mps": {}}
    for name, count in pairs:
        if count is None or not 0 <= count < _NO_COUNT:
            continue
        if name == "cpu":
            cpus = int(count)
        elif name == "mem":
            memory_mb = float(count)
        elif name == "energy":
            energy_j = float(count) or None  # 0 is written where nothing measures it
        elif name.startswith("gres/"):
            gres, _, kind = name[5:].partition(":")
            if gres not in totals:
                continue
            if kind:
                typed[gres][kind] = typed[gres].get(kind, 0) + int(count)
            else:
                totals[gres] += int(count)
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


def _memory_mb(value: str) -> float:
    number, unit = (value[:-1], value[-1:].upper()) if value[-1:].isalpha() else (value, "M")
    try:
        return float(number) * _MIB[unit]
    except (ValueError, KeyError):
        raise ValueError(f"TRES mem={value}: not an amount of memory such as 100M, 4.50G or 1.5T") from None
