"""What accounting asks of the outside: small protocols, which `collectors` implement.

A source that cannot be reached raises `SourceError`; a row that cannot be understood is yielded as a `Reject`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from accounting.model import FactorSlot, GpuSamples, HostSamples, Job, Node, Reject, SiteReading, Tag


class SourceError(Exception):
    """A source could not be read: `what` failed, and `advice` says what to do. Nothing of its window is booked."""

    def __init__(self, what: str, advice: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.advice = advice


class JobSource(Protocol):
    """Every attempt that held resources at some time in [start_s, end_s)."""

    name: str

    def jobs(self, start_s: float, end_s: float) -> Iterator[Job | Reject]:
        """Yield each attempt that overlaps the window, once."""
        ...


class GpuEnergySource(Protocol):
    """Samples of each GPU's energy counter and power."""

    name: str

    def samples(
        self, start_s: float, end_s: float, uuids: Collection[str] | None = None
    ) -> Iterator[GpuSamples | Reject]:
        """Yield the samples in [start_s, end_s] of each GPU, or of those named, once for each physical GPU."""
        ...


class HostEnergySource(Protocol):
    """Samples of the nodes' own meters."""

    name: str

    def samples(
        self, start_s: float, end_s: float, nodes: Collection[str] | None = None
    ) -> Iterator[HostSamples | Reject]:
        """Yield the samples in [start_s, end_s] of each node, or of those named, once for each."""
        ...


class NodeSource(Protocol):
    """What the cluster's nodes are."""

    def nodes(self) -> Mapping[str, Node]:
        """The cluster's nodes by name, as they are now."""
        ...


class HolderSource(Protocol):
    """Who held which GPU."""

    name: str

    def tags(
        self, start_s: float, end_s: float, jobs: Sequence[Job], samples: Sequence[GpuSamples]
    ) -> Iterator[Tag | Reject]:
        """Yield what is known of holds that overlap [start_s, end_s).

        `jobs` and `samples` are what was read for the same window, for sources that derive holds from them.
        """
        ...


@dataclass(frozen=True, slots=True)
class Factors:
    """What turns energy into emissions over a window; each in order, without overlap, holes left out."""

    pue: Sequence[FactorSlot]
    location: Sequence[FactorSlot]  # gCO2e/kWh
    market: Sequence[FactorSlot]  # gCO2e/kWh; empty where the site states no market-based figure
    warnings: Sequence[str] = ()  # a source that failed and was stood in for, a hole that is left


class FactorSource(Protocol):
    """The site's PUE, its grid and its contracts."""

    def __call__(self, start_s: float, end_s: float) -> Factors:
        """The factors over [start_s, end_s)."""
        ...


class IntensitySource(Protocol):
    """The grid's carbon intensity."""

    name: str

    def slots(self, start_s: float, end_s: float) -> Iterable[FactorSlot]:
        """The slots known in [start_s, end_s), holes left out.

        A source that fails half way gives what it has before it raises `SourceError`.
        """
        ...


class ForecastSource(Protocol):
    """What is expected of the grid: for advice on when to run, never for totals."""

    name: str

    def forecast(self, start_s: float, end_s: float) -> Iterable[FactorSlot]:
        """The slots expected in [start_s, end_s), in gCO2e/kWh, as far as the source looks ahead."""
        ...


class SiteMeterSource(Protocol):
    """Where the meter of the whole site is read."""

    def stretches(self, start_s: float, end_s: float) -> Iterable[SiteReading]:
        """What was metered, by stretches that overlap [start_s, end_s) and not each other, in order."""
