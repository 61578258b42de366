"""The domain's types: what a source hands to accounting, and what accounting hands to the ledger.

All records are frozen. Units are in the names: `_s` seconds (or UTC epoch seconds for an instant), `_j` joules,
`_w` watts, `_g` grams of CO2e, `_g_per_kwh` grams of CO2e a kilowatt-hour. Unknown is `None`, never 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from accounting.arrays import Floats

#: How an energy was found, best first: DCGM's counter, integrated power, Slurm's ConsumedEnergy, a model;
#: `none` means that the energy is unknown (null), not that it is 0.
Method = Literal["counter", "power", "slurm", "model", "none"]


@dataclass(frozen=True, slots=True, order=True)
class AttemptKey:
    """One run of a job. A requeue keeps the job id and gets a new submit time; job ids start again at MaxJobId."""

    cluster: str
    job_id: int
    submit_s: int


@dataclass(frozen=True, slots=True)
class Job:
    """One attempt of a job, as Slurm's accounting has it.

    `job_id` is Slurm's raw id (JobIDRaw, what the hooks see as SLURM_JOB_ID); `label` is how sacct writes it
    (`42`, `42_3` for an array task, `42+1` for a part of a heterogeneous job).
    """

    cluster: str
    job_id: int
    submit_s: int
    label: str
    state: str  # Slurm's word, without "by UID": RUNNING, COMPLETED, CANCELLED, …
    start_s: int | None = None  # None: never started
    end_s: int | None = None  # None: has not ended
    user: str | None = None
    uid: int | None = None
    account: str | None = None
    partition: str | None = None
    qos: str | None = None
    wckey: str | None = None
    name: str | None = None
    nodes: tuple[str, ...] = ()  # node names, expanded
    cpus: int = 0  # allocated
    memory_mb: float | None = None  # allocated, MiB
    gpus: int = 0  # allocated whole GPUs or MIG instances; 0 = the job has none
    gpu_types: Mapping[str, int] = field(default_factory=dict)  # by GRES type, as far as Slurm says
    shards: int = 0  # gres/shard allocated
    mps_percent: int = 0  # gres/mps allocated
    exit_code: str | None = None  # as sacct writes it: "0:0"
    suspended_s: int = 0
    restarts: int | None = None  # None where the source does not say
    sluid: str | None = None  # Slurm 25.11 and later
    consumed_energy_j: float | None = None  # ConsumedEnergyRaw; None where Slurm has none
    comment: str | None = None

    @property
    def key(self) -> AttemptKey:
        """What tells this attempt from every other one."""
        return AttemptKey(self.cluster, self.job_id, self.submit_s)


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that could not be understood: kept as it came, with the reason. It goes to quarantine."""

    source: str  # "sacct", "journal", …
    where: str  # file and line, or the window that was asked for
    raw: str  # the row as it came
    reason: str  # what is wrong with it, for a person


@dataclass(frozen=True, slots=True)
class Tag:
    """What one source says of a job on a device, before it is known which attempt of the job it was.

    `uuid` may be unknown where the hook could not resolve it; then (`node`, `index`) names the device.
    `exact` tells whether `start_s` and `end_s` are when the hold began and ended (a hook saw it), or only when
    it was seen (a label of a sample): then Slurm's own start and end of the job bound the hold.
    """

    cluster: str
    job_id: int
    node: str
    uuid: str | None
    index: int | None
    start_s: float
    end_s: float | None  # None: still held, as far as the source knows
    source: str  # journal | hpc_job | gres_index | whole_node
    exact: bool = True
    restart: int | None = None
    mig: str | None = None  # MIG instance: its GPU_I_ID or MIG UUID
    share: float | None = None  # of the device's capacity; None: the whole of it, or unknown
    epilog_only: bool = False  # a hook saw the end and missed the beginning: both times are when it ended


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU, known by its UUID."""

    cluster: str
    uuid: str
    node: str
    model: str | None = None
    index: int | None = None  # DCGM's index on the node


@dataclass(frozen=True, slots=True)
class LabelSpan:
    """A stretch over which the samples of a device, or of one of its MIG instances, carried a job's label."""

    job_id: int
    first_s: float
    last_s: float
    mig: str | None = None


@dataclass(frozen=True, slots=True)
class MigInstance:
    """A MIG instance of a GPU, by its GPU_I_ID, and how busy it was.

    A value of `activity` (0 to 1) is a mean over the time since the sample before. Both arrays are empty where it
    is not profiled.
    """

    name: str
    profile: str | None  # `3g.20gb`
    activity_time_s: Floats
    activity: Floats


@dataclass(frozen=True, slots=True)
class GpuSamples:
    """The raw samples of one physical GPU, each series at its own time stamps, in order (UTC epoch s).

    `energy_j` is the cumulative counter since the driver was loaded, in joules: a fall is a restart.
    `power_w` is the gauge. Either may be empty; an empty one means that nothing is known, not 0.
    """

    device: Device
    energy_time_s: Floats
    energy_j: Floats
    power_time_s: Floats
    power_w: Floats
    labels: tuple[LabelSpan, ...] = ()  # who held it, as the exporter's job mapping says
    instances: tuple[MigInstance, ...] = ()  # into which it is cut

    @property
    def meter(self) -> str:
        """What the meter is known by."""
        return self.device.uuid

    @property
    def first_s(self) -> float:
        """When its first sample was taken; infinity where there is none."""
        return min((float(times[0]) for times in (self.energy_time_s, self.power_time_s) if times.size), default=inf)

    @property
    def last_s(self) -> float:
        """When its last sample was taken; minus infinity where there is none."""
        return max((float(times[-1]) for times in (self.energy_time_s, self.power_time_s) if times.size), default=-inf)


class Readings(Protocol):
    """What a meter showed: an energy counter, a power gauge, or both, each at its own time stamps (UTC epoch s)."""

    @property
    def energy_time_s(self) -> Floats:
        """When the counter was read."""
        ...

    @property
    def energy_j(self) -> Floats:
        """The cumulative counter."""
        ...

    @property
    def power_time_s(self) -> Floats:
        """When the gauge was read."""
        ...

    @property
    def power_w(self) -> Floats:
        """The gauge."""
        ...


@dataclass(frozen=True, slots=True)
class HostReadings:
    """The raw samples of one meter of a node, in order; what a meter does not have is empty."""

    energy_time_s: Floats
    energy_j: Floats
    power_time_s: Floats
    power_w: Floats

    @property
    def first_s(self) -> float:
        """When its first sample was taken; infinity where there is none."""
        return min((float(times[0]) for times in (self.energy_time_s, self.power_time_s) if times.size), default=inf)

    @property
    def last_s(self) -> float:
        """When its last sample was taken; minus infinity where there is none."""
        return max((float(times[-1]) for times in (self.energy_time_s, self.power_time_s) if times.size), default=-inf)


@dataclass(frozen=True, slots=True)
class HostSamples:
    """What a node's own meters showed. `parts` by name: where there are several (sockets, memory), they add up."""

    node: str
    parts: Mapping[str, HostReadings]

    @property
    def meter(self) -> str:
        """What the meter is known by."""
        return self.node

    @property
    def first_s(self) -> float:
        """From when on all of its parts are known."""
        return max((part.first_s for part in self.parts.values()), default=inf)

    @property
    def last_s(self) -> float:
        """Up to when all of its parts are known."""
        return min((part.last_s for part in self.parts.values()), default=-inf)


@dataclass(frozen=True, slots=True)
class Node:
    """What of a node Slurm hands out, and what it draws without its GPUs while no job is on it."""

    name: str
    cpus: int  # as Slurm counts them, those kept back for the system not included
    memory_mb: float | None = None  # MiB
    idle_w: float | None = None


@dataclass(frozen=True, slots=True)
class FactorSlot:
    """A factor that holds over [start_s, end_s): grid intensity in g/kWh, or PUE as a ratio."""

    start_s: float
    end_s: float
    value: float
    source: str  # who published it, and for which year or file
    estimated: bool = False
    basis: str | None = None  # of an intensity: life cycle (with fuel and plant), direct, marginal; None: not said
    retrieved_s: float | None = None  # when it was asked for over the network; None: it came with the site's files


@dataclass(frozen=True, slots=True)
class SiteReading:
    """What the meter of the whole site says of [start_s, end_s)."""

    start_s: float
    end_s: float
    energy_j: float
