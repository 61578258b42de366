"""What the simulated cluster is made of: nodes, GPUs and MIG instances, with the names that the real ones have.

Standard library only: the stand-in exporter starts quickly with it.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

#: Compute slices of a GPU that can be cut into MIG instances (A100, H100).
MIG_SLICES = 7

#: Compute slices of each profile (facts: a `3g.20gb` instance has 3 of 7).
PROFILE_SLICES = {"1g.5gb": 1, "2g.10gb": 2, "3g.20gb": 3, "4g.20gb": 4, "7g.40gb": 7}


@dataclass(frozen=True, slots=True)
class MigInstance:
    """A part of a GPU: `gi_id` is DCGM's GPU_I_ID."""

    profile: str
    gi_id: int
    uuid: str

    @property
    def slices(self) -> int:
        """Compute slices, out of the GPU's seven."""
        return PROFILE_SLICES[self.profile]

    @property
    def share(self) -> float:
        """Of the GPU's capacity."""
        return self.slices / MIG_SLICES


@dataclass(frozen=True, slots=True)
class Shard:
    """One of the equal parts in which Slurm hands out a whole GPU to several jobs (gres/shard)."""

    number: int
    share: float


#: What can be held of a GPU; None is the whole of it.
Part = MigInstance | Shard | None


@dataclass(frozen=True, slots=True)
class Gpu:
    """A physical GPU. `index` is DCGM's, in the order of the PCI bus; `minor` is the device's, which Slurm counts."""

    node: str
    index: int
    minor: int
    uuid: str
    pci_bus_id: str
    model: str
    gres_type: str
    idle_w: float
    tdp_w: float
    gain: float = 1.0  # what its sensor shows, over the truth
    instances: tuple[MigInstance, ...] = ()
    shards: tuple[Shard, ...] = ()

    @property
    def parts(self) -> tuple[Part, ...]:
        """What jobs can hold of it, one job each."""
        return self.instances or self.shards or (None,)

    @property
    def dynamic_w(self) -> float:
        """What all of the GPU at full load draws above its idle level."""
        return self.tdp_w - self.idle_w


@dataclass(frozen=True, slots=True)
class Node:
    """A node. Cores that GPU jobs do not need are given to CPU-only jobs in `cpu_slots` parts."""

    name: str
    gpus: tuple[Gpu, ...]
    cpus_per_gpu: int = 12
    cpu_slots: int = 2
    cpus_per_slot: int = 8

    @property
    def cpus(self) -> int:
        """All of its cores."""
        return len(self.gpus) * self.cpus_per_gpu + self.cpu_slots * self.cpus_per_slot


@dataclass(frozen=True, slots=True)
class GpuModel:
    """A model of GPU, as DCGM and Slurm name it."""

    name: str
    gres_type: str
    idle_w: float
    tdp_w: float


A100 = GpuModel("NVIDIA A100-SXM4-80GB", "a100", 55.0, 400.0)
H100 = GpuModel("NVIDIA H100 80GB HBM3", "h100", 75.0, 700.0)


def uuid_of(rng: random.Random, prefix: str) -> str:
    """A UUID as the driver writes it: `GPU-604ac76c-d9cf-fef3-62e9-d92044ab6e52`."""
    digits = rng.randbytes(16).hex()
    return f"{prefix}-{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def make_node(
    rng: random.Random,
    name: str,
    gpus: int,
    model: GpuModel = A100,
    *,
    minors: Sequence[int] | None = None,
    gain_sigma: float = 0.0,
    mig: Mapping[int, tuple[str, ...]] | None = None,
    shards: Mapping[int, int] | None = None,
) -> Node:
    """Build a node. By index, `mig` gives the profiles of GPUs that are cut up, `shards` the parts of shared ones.

    `minors` are the device minors in DCGM's order (the PCI bus's), where they differ, as they do on some real boards.
    """
    unknown = {profile for profiles in (mig or {}).values() for profile in profiles} - set(PROFILE_SLICES)
    if unknown:
        raise ValueError(f"no such MIG profile: {', '.join(sorted(unknown))} (there are {', '.join(PROFILE_SLICES)})")
    made = []
    for index in range(gpus):
        profiles = (mig or {}).get(index, ())
        parts = (shards or {}).get(index, 0)
        instances = tuple(
            MigInstance(profile, gi_id, uuid_of(rng, "MIG")) for gi_id, profile in enumerate(profiles, start=1)
        )
        made.append(
            Gpu(
                node=name,
                index=index,
                minor=minors[index] if minors else index,
                uuid=uuid_of(rng, "GPU"),
                pci_bus_id=f"00000000:{0x07 + 8 * index:02X}:00.0",
                model=model.name,
                gres_type=model.gres_type,
                idle_w=model.idle_w * rng.uniform(0.92, 1.08),
                tdp_w=model.tdp_w,
                gain=1.0 + gain_sigma * rng.gauss(0.0, 1.0),
                instances=instances,
                shards=tuple(Shard(number, 1.0 / parts) for number in range(parts)),
            )
        )
    return Node(name, tuple(made))
