"""What a run hands to the ledger: the rows of one window, as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from accounting.model import AttemptKey, FactorSlot, Job, Method, Reject


class MeterKey(NamedTuple):
    """What energy is read from. `kind` is gpu or host; a node's host part has the node's name for a UUID.

    An empty UUID is a gpu that no source can name, or the host parts of all nodes, where a model knows no nodes.
    """

    kind: str
    uuid: str


@dataclass(frozen=True, slots=True)
class Meter:
    """A meter and where it stands."""

    key: MeterKey
    node: str
    model: str


class UsageRow(NamedTuple):
    """What an attempt used of a meter in a slot; the columns of `schema.usage_slots`."""

    attempt: AttemptKey
    meter: MeterKey
    slot_s: int
    method: Method
    holder: str
    held_s: float
    known_s: float
    measured_s: float
    energy_j: float | None
    facility_j: float | None
    location_g: float | None
    market_g: float | None
    embodied_g: float | None
    edges_j2: float = 0.0  # variance of the energy by what was divided at edges of holds, in gaps and at restarts
    sharing_j: float = 0.0  # standard deviation by the division of a shared device


class BalanceRow(NamedTuple):
    """What a meter metered in a slot, and what of it nobody held; the columns of `schema.balance`.

    A meter that was silent for the whole slot has energies of None: the time passed, and what it drew is unknown.
    """

    meter: MeterKey
    slot_s: int
    method: Method
    known_s: float
    measured_s: float
    metered_j: float | None
    idle_s: float
    idle_j: float | None
    idle_facility_j: float | None
    idle_location_g: float | None
    idle_market_g: float | None
    idle_embodied_g: float | None
    overheld_s: float = 0.0  # held by several who have more than all of it together
    assumed_s: float = 0.0  # shared on an idle level that was assumed
    lower_bound_s: float = 0.0  # with energy that is a lower bound, because of a restart
    restarts: int = 0  # of the counter
    gauge_j: float | None = None  # what the power gauge says was metered


@dataclass(frozen=True, slots=True)
class Window:
    """Everything that one run says of one window of one cluster.

    `slots_s` are the starts of the slots it touches: for these it replaces all that the books said of the cluster.
    `booked` is what the books hold after it.
    """

    cluster: str
    start_s: float
    end_s: float
    booked: Sequence[tuple[float, float]]
    slots_s: Sequence[int]
    days: Sequence[tuple[str, int, int]]  # the calendar days touched: ISO date, start, end
    jobs: Sequence[Job]
    meters: Sequence[Meter]
    usage: Sequence[UsageRow]
    balance: Sequence[BalanceRow]
    factors: Sequence[tuple[str, FactorSlot]]
    rejects: Sequence[Reject]
    silent_since_s: Mapping[MeterKey, float | None]  # meters whose silence at the end of the books is to be noted


@dataclass(frozen=True, slots=True)
class Posted:
    """What a window changed in the books."""

    posted: int
    superseded: int
    unchanged: int
    quarantined: int  # rows that are new in quarantine
    understood: int = 0  # rows that left it
