"""One accounting run: a window of one cluster, from its sources to the books.

Reads every source once for the window and its margins, settles who held what, attributes energy, applies the
factors, and hands the ledger one `Window`. Nothing is posted unless all of it could be read.
"""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from itertools import pairwise
from typing import Any, Protocol, TypeVar
from zoneinfo import ZoneInfo

import numpy as np

from accounting.arrays import Floats
from accounting.attribution import Balance, Holds, Usage, attribute, divided, spread
from accounting.clock import day_of, day_start, slot_edges, union
from accounting.energy import EnergyCurve
from accounting.gpus import Gpu, GpuReader, Gpus
from accounting.host import (
    NO_HOLDS,
    HostBySlurm,
    HostMetered,
    HostModel,
    HostRule,
    Hosts,
    host_curve,
    host_warnings,
    mean_power_w,
    node_holds,
    nodes_held,
    read_hosts,
)
from accounting.ledger.postings import BalanceRow, Meter, MeterKey, Posted, UsageRow, Window
from accounting.model import AttemptKey, FactorSlot, HostSamples, Job, Method, Node, Reject
from accounting.modelled import unmeasured_usage
from accounting.reading import LOOK_OUT_S
from accounting.sources import (
    Factors,
    FactorSource,
    GpuEnergySource,
    HolderSource,
    HostEnergySource,
    JobSource,
    NodeSource,
)
from accounting.timeline import Timeline, build_timeline

SECONDS_PER_YEAR = 365.25 * 86400

T = TypeVar("T")

#: The host part of a modelled cluster is one meter: a model knows no nodes.
HOST = Meter(MeterKey("host", ""), node="", model="")
#: Stands for GPUs that Slurm says a job held and no source can name, and for what is modelled of GPUs that have a name:
#: against a meter only what was measured counts.
UNNAMED_GPUS = Meter(MeterKey("gpu", ""), node="", model="")


#: Of what was measured, how much may be missing when a window is accounted again: its ends may be cut otherwise.
SAME_SAMPLES = 0.01


class SamplesGoneError(Exception):
    """What was measured of a window has left its source meanwhile."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where a cluster's numbers come from. `gpu` is None for a cluster without GPUs."""

    jobs: JobSource
    gpu: GpuEnergySource | None
    holders: Sequence[HolderSource]  # in the order of trust
    host: HostEnergySource | None  # where nodes are metered
    nodes: NodeSource
    factors: FactorSource


@dataclass(frozen=True, slots=True)
class Rules:
    """What the site declares for a cluster's accounting."""

    zone: ZoneInfo
    max_gap_s: float
    host: HostRule | None
    embodied_gpu_g: float | None  # making one GPU emitted, g, where its model has no figure of its own
    embodied_gpu_model_g: Mapping[str, float]
    lifetime_years: float
    embodied_node_g: float | None = None  # making one node emitted, g, without its GPUs
    gpu_load: float | None = None  # of its rated power, where nothing of a GPU was measured; None: it is unknown

    def embodied_g_per_s(self, meter: Meter) -> float | None:
        """The embodied emissions of a second of a GPU, or of a whole node: TE / EL of the SCI's formula."""
        total_g = self.embodied_node_g
        if meter.key.kind == "gpu":
            total_g = self.embodied_gpu_model_g.get(meter.model, self.embodied_gpu_g)
        return None if total_g is None else total_g / (self.lifetime_years * SECONDS_PER_YEAR)


@dataclass(frozen=True, slots=True)
class Accounted:
    """What a run did, and what it found: meters that were silent when earlier windows were accounted, and since when.

    Those windows (`again`) are to be accounted anew, now that the other side of the silence is known.
    """

    posted: Posted
    heard_again: Mapping[MeterKey, float]
    warnings: Sequence[str]  # what did not stop the run and should be known, a line each


class Keeper(Protocol):
    """What a run needs of the books: the ledger, or somebody who only looks at what would be posted."""

    def booked(self, cluster: str) -> list[tuple[float, float]]:
        """The stretches of the cluster's time that the books hold, in order."""

    def silent_since(self, cluster: str) -> dict[MeterKey, float | None]:
        """The cluster's GPUs and metered nodes, and since when each is silent at the end of the books, if it is."""

    def post(self, window: Window, run: Mapping[str, Any], found: Mapping[str, Any] | None = None) -> Posted:
        """Take what the window says."""


def account(
    cluster: str,
    sources: Sources,
    rules: Rules,
    ledger: Keeper,
    start_s: float,
    end_s: float,
    *,
    version: str,
    config_digest: str,
    also: Collection[Job] = (),
    measured_before: Callable[[str, Sequence[int]], float] | None = None,
) -> Accounted:
    """Account the cluster's time in [start_s, end_s), which lies within one calendar day of the site.

    SourceError when a source cannot be read: then the books are as they were. The slots at the ends are accounted as
    far as the books hold them after this run, so that they come out the same however the day is cut into windows.

    `also` are jobs of other times, of which the books are to take note. `measured_before` says for how long meters
    measured in slots, by the books; with it, SamplesGoneError where the sources now have less: the books stay as they
    are then, too.
    """
    started_s = time.time()
    edges = slot_edges(rules.zone, start_s, end_s)
    booked = union([*ledger.booked(cluster), (start_s, end_s)])
    stretches = [(max(a, edges[0]), min(b, edges[-1])) for a, b in booked if b > edges[0] and a < edges[-1]]
    factors = sources.factors(edges[0], edges[-1])
    timeline = build_timeline(edges, stretches, factors.pue, factors.location, factors.market)
    books = _Books(cluster, rules, timeline)
    period = (timeline.start_s, timeline.end_s)
    silent_since = ledger.silent_since(cluster)
    hosts = Hosts((), {}, ())
    if sources.host is not None:
        hosts = read_hosts(sources.host, {key.uuid for key in silent_since if key.kind == "host"}, period)
        books.rejects += hosts.rejects
    reach = hosts.reach_of_all(period)
    gpus = None
    if sources.gpu is not None:
        known = {key.uuid for key in silent_since if key.kind == "gpu"}
        reader = GpuReader(sources.gpu, sources.holders, sources.jobs.jobs, rules.max_gap_s, period, reach)
        # A node's GPUs are taken off its meter window by window, so they are needed as far as its windows reach.
        taken_off = isinstance(rules.host, HostMetered) and rules.host.includes_gpus
        gpus = reader.read(known, lambda one: hosts.reach.get(one.device.node, period) if taken_off else period)
        books.rejects += gpus.rejects
        books.take_jobs(gpus.jobs)
    else:
        books.take_jobs(books.keep(sources.jobs.jobs(*reach)))
    curves = books.book_gpus(gpus)
    if isinstance(rules.host, HostMetered):
        books.book_nodes(hosts.samples, curves, sources.nodes.nodes(), reach[1])
    elif rules.host is not None:
        sizes_count = isinstance(rules.host, HostBySlurm) or rules.embodied_node_g is not None
        books.book_host(rules.host, sources.nodes.nodes() if sizes_count else {})
    measured_s = sum(row.measured_s for row in books.balance)
    if measured_before is not None and measured_s < (1 - SAME_SAMPLES) * measured_before(cluster, edges[:-1]):
        raise SamplesGoneError
    last_s = {MeterKey("host", one.meter): one.last_s for one in hosts.samples}
    for gpu in gpus.devices if gpus is not None else ():
        if not gpu.curve.empty:
            last_s[MeterKey("gpu", gpu.samples.meter)] = gpu.last_s
    heard_again = {
        key: since_s
        for key, heard_s in last_s.items()
        if (since_s := silent_since.get(key)) is not None and since_s < timeline.start_s and heard_s > since_s
    }
    window = Window(
        cluster=cluster,
        start_s=start_s,
        end_s=end_s,
        booked=booked,
        slots_s=edges[:-1],
        days=_days(rules.zone, edges),
        jobs=list({job.key: job for job in (*also, *books.jobs_of(start_s, end_s))}.values()),
        meters=list(books.meters.values()),
        usage=books.usage,
        balance=books.balance,
        factors=_factors(timeline, factors),
        rejects=books.rejects,
        silent_since_s={} if end_s < booked[-1][1] else _silences(last_s, timeline, set(heard_again)),
    )
    run = {"started_s": started_s, "version": version, "config_digest": config_digest}
    posted = ledger.post(window, run, {} if gpus is None else {"holders": asdict(gpus.disagreements)})
    return Accounted(posted, heard_again, [*factors.warnings, *books.warnings, *_no_samples(books, gpus, period)])


def _no_samples(books: _Books, gpus: Gpus | None, period: tuple[float, float]) -> Iterator[str]:
    """What was silent, in words: a window without samples is not one in which nothing was drawn."""
    if gpus is not None and not any(gpu.samples.first_s < period[1] and gpu.last_s > period[0] for gpu in gpus.devices):
        yield "no GPU sent a sample: is the exporter scraped, and does gpu.match fit its series?"
    elif books.silent:
        shown = ", ".join(sorted(key.uuid for key in books.silent)[:3])
        yield f"{len(books.silent)} meters were silent for hours: {shown}{', …' if len(books.silent) > 3 else ''}"


def again(
    ledger: Keeper, cluster: str, heard_again: Mapping[MeterKey, float], before_s: float
) -> list[tuple[float, float]]:
    """What the books hold before `before_s` and since the silences began, as far back as samples are looked for."""
    if not heard_again:
        return []
    since_s = max(min(heard_again.values()), before_s - LOOK_OUT_S[-1])
    return [(max(a, since_s), min(b, before_s)) for a, b in ledger.booked(cluster) if a < before_s and b > since_s]


class _Books:
    """The rows of one window as they come together."""

    def __init__(self, cluster: str, rules: Rules, timeline: Timeline) -> None:
        self.cluster = cluster
        self.rules = rules
        self.timeline = timeline
        self.jobs: list[Job] = []
        self.rejects: list[Reject] = []
        self.meters: dict[MeterKey, Meter] = {}
        self.usage: list[UsageRow] = []
        self.balance: list[BalanceRow] = []
        self.used: set[AttemptKey] = set()
        self.warnings: list[str] = []
        self.silent: set[MeterKey] = set()
        self._index: dict[AttemptKey, int] = {}

    def keep(self, rows: Iterable[T | Reject]) -> Iterator[T]:
        """Pass rows on, and put those aside that could not be understood."""
        for row in rows:
            if isinstance(row, Reject):
                self.rejects.append(row)
            else:
                yield row

    def take_jobs(self, jobs: Iterable[Job]) -> None:
        """Take the window's jobs; an attempt that a source names twice is taken once, as it said last."""
        by_key = {job.key: job for job in jobs}
        self.jobs = list(by_key.values())
        self._index = {key: place for place, key in enumerate(by_key)}

    def jobs_of(self, start_s: float, end_s: float) -> Iterator[Job]:
        """Those of the jobs that were there in the window, or are booked in its slots."""
        return (job for job in self.jobs if _in_window(job, start_s, end_s) or job.key in self.used)

    def book_gpus(self, gpus: Gpus | None) -> dict[str, list[EnergyCurve]]:
        """Attribute each device's energy, those included that somebody held and nobody sampled.

        Returns the curves of each node's GPUs.
        """
        curves: dict[str, list[EnergyCurve]] = defaultdict(list)
        devices = () if gpus is None else gpus.devices
        for gpu in devices:
            curves[gpu.samples.device.node].append(self._book_device(gpu))
        unmeasured = unmeasured_usage(devices, self.jobs, self._index, self.timeline, self.rules.gpu_load)
        self._add_usage(UNNAMED_GPUS, "model", "slurm", unmeasured)
        return curves

    def book_nodes(
        self,
        hosts: Sequence[HostSamples],
        gpus: Mapping[str, Sequence[EnergyCurve]],
        nodes: Mapping[str, Node],
        until_s: float,
    ) -> None:
        """Attribute each metered node's energy without its GPUs, and note the time of jobs on nodes without a meter.

        What still runs holds its nodes until `until_s`.
        """
        assert isinstance(self.rules.host, HostMetered)
        holds = node_holds(self.jobs, self._index, nodes, until_s)
        overdrawn: dict[str, int] = {}
        strangers: list[str] = []
        for one in hosts:
            if nodes and one.node not in nodes:
                strangers.append(one.node)
                continue
            on_it = gpus.get(one.node, ()) if self.rules.host.includes_gpus else ()
            found = host_curve(one, on_it, self.rules.host.max_gap_s)
            self._book_node(one.node, found.curve, holds.pop(one.node, NO_HOLDS), nodes)
            inside = (found.overdrawn_s >= self.timeline.start_s) & (found.overdrawn_s < self.timeline.end_s)
            if inside.any():
                overdrawn[one.node] = int(np.count_nonzero(inside))
        for node, held in holds.items():
            self._book_node(node, EnergyCurve.unknown(), held, nodes)
        self.warnings += host_warnings(overdrawn, strangers, holds)

    def _book_node(self, node: str, curve: EnergyCurve, holds: Holds, nodes: Mapping[str, Node]) -> None:
        meter = Meter(MeterKey("host", node), node, "")
        usage, balance = attribute(curve, holds, self.timeline, nodes[node].idle_w if node in nodes else None)
        self._add_usage(meter, curve.method, "slurm", usage)
        self._add_balance(meter, curve, balance)

    def book_host(self, rule: HostModel | HostBySlurm, nodes: Mapping[str, Node]) -> None:
        """The energy of each job's cores and memory, by a model or as Slurm has it."""
        started = [job for job in self.jobs if job.start_s is not None]
        power_w, refused = mean_power_w(rule, started, nodes)
        usage = spread(*self._spans(started), power_w, self.timeline)
        held = {self._index[job.key]: nodes_held(job, nodes) for job in started}
        self._add_usage(HOST, "model" if isinstance(rule, HostModel) else "slurm", "slurm", usage, held)
        self.warnings += [f"host: {count} jobs {reason}" for reason, count in refused.items()]
        unknown = sum(share is None for share in held.values())
        if unknown and self.rules.embodied_node_g is not None:
            self.warnings.append(f"host: {unknown} jobs on nodes of unknown size: no share of making those is booked")

    def _book_device(self, gpu: Gpu) -> EnergyCurve:
        """Attribute a device's energy; returns its curve, divided at the edges of holds."""
        device = gpu.samples.device
        meter = Meter(MeterKey("gpu", device.uuid), device.node, device.model or "")
        holds = gpu.arrays(self._index)
        idle = gpu.idle(holds)
        curve = divided(gpu.curve, holds, idle.assumed_w)
        usage, balance = attribute(curve, holds, self.timeline, idle)
        holder_of = {self._index[hold.attempt]: hold.source for hold in gpu.holds}
        self._add_usage(meter, curve.method, holder_of, usage)
        self._add_balance(meter, curve, balance)
        return curve

    def _spans(self, jobs: Sequence[Job]) -> tuple[np.ndarray[tuple[int], np.dtype[np.intp]], Floats, Floats]:
        index = np.array([self._index[job.key] for job in jobs], dtype=np.intp)
        start_s = np.array([job.start_s for job in jobs], dtype=float)
        end_s = np.array([self.timeline.end_s if job.end_s is None else job.end_s for job in jobs], dtype=float)
        return index, start_s, end_s

    def _add_usage(
        self,
        meter: Meter,
        method: Method,
        holder: str | dict[int, str],
        usage: Usage,
        pieces: Mapping[int, float | None] | None = None,
    ) -> None:
        """Note what attempts used of a meter; `pieces` of hardware are behind a held second of each, None: unknown.

        Without it, a held second is one of the GPU or node itself.
        """
        if not usage.attempt.size:
            return
        self.meters[meter.key] = meter
        rate = self.rules.embodied_g_per_s(meter)
        slot_s = self.timeline.slot_start_s[usage.slot].tolist()
        columns = (
            usage.attempt.tolist(), slot_s, usage.held_s.tolist(), usage.known_s.tolist(), usage.measured_s.tolist(),
            _nulls(usage.energy_j), _nulls(usage.facility_j), _nulls(usage.location_g), _nulls(usage.market_g),
            usage.edges_j2.tolist(), usage.sharing_j.tolist(),
        )  # fmt: skip
        for attempt, slot, held_s, known_s, *figures, edges_j2, sharing_j in zip(*columns, strict=True):
            key = self.jobs[attempt].key
            self.used.add(key)
            found_by = method if known_s > 0 else "none"
            named_by = holder if isinstance(holder, str) else holder[attempt]
            many = 1.0 if pieces is None else pieces[attempt]
            embodied_g = None if rate is None or many is None else held_s * rate * many
            before = (key, meter.key, slot, found_by, named_by, held_s, known_s)
            self.usage.append(UsageRow._make((*before, *figures, embodied_g, edges_j2, sharing_j)))

    def _add_balance(self, meter: Meter, curve: EnergyCurve, balance: Balance) -> None:
        """The meter's balance by slot, its silence included: time whose energy is unknown.

        A meter is silent for as long as samples are looked for after its last one; then it is gone. What lies before
        its first sample is not its time.
        """
        if curve.empty:
            return
        last_s = float(curve.time_s[-1])
        rate = self.rules.embodied_g_per_s(meter)
        columns = (
            self.timeline.slot_start_s[balance.slot].tolist(), balance.known_s.tolist(), balance.measured_s.tolist(),
            balance.metered_j.tolist(), balance.idle_s.tolist(), balance.idle_j.tolist(),
            _nulls(balance.idle_facility_j), _nulls(balance.idle_location_g), _nulls(balance.idle_market_g),
            balance.overheld_s.tolist(), balance.assumed_s.tolist(), balance.lower_bound_s.tolist(),
            balance.restarts.astype(int).tolist(), _nulls(balance.gauge_j),
        )  # fmt: skip
        for slot, known_s, *figures in zip(*columns, strict=True):
            if known_s == 0:
                if not 0 <= slot - last_s <= LOOK_OUT_S[-1]:
                    continue
                figures[1:7] = [None, figures[2], None, None, None, None]
                self.silent.add(meter.key)
            self.meters[meter.key] = meter
            embodied_g = None if rate is None else figures[2] * rate
            self.balance.append(
                BalanceRow._make(
                    (
                        meter.key,
                        slot,
                        curve.method if known_s else "none",
                        known_s,
                        *figures[:7],
                        embodied_g,
                        *figures[7:],
                    )
                )
            )


def _nulls(values: Floats) -> list[float | None]:
    """NaN as None, as the ledger has it."""
    return [None if value != value else value for value in values.tolist()]


def _silences(last_s: Mapping[MeterKey, float], timeline: Timeline, but: set[MeterKey]) -> dict[MeterKey, float | None]:
    """Since when each meter is silent at the end of the period; None for one that is not."""
    return {key: None if heard_s >= timeline.end_s else heard_s for key, heard_s in last_s.items() if key not in but}


def _in_window(job: Job, start_s: float, end_s: float) -> bool:
    """Whether sacct would list the job for the window: it was there, pending or running, at some time in it."""
    return job.submit_s < end_s and (job.end_s is None or job.end_s >= start_s)


def _days(zone: ZoneInfo, edges: Sequence[int]) -> list[tuple[str, int, int]]:
    day = day_of(zone, edges[0])
    days = []
    while day_start(zone, day) < edges[-1]:
        following = day + timedelta(days=1)
        days.append((day.isoformat(), day_start(zone, day), day_start(zone, following)))
        day = following
    return days


def _factors(timeline: Timeline, factors: Factors) -> list[tuple[str, FactorSlot]]:
    """The factors that were applied, cut at the run's period and at slots, so that each slot has its own."""
    cuts = [timeline.start_s, *timeline.slot_start_s[1:].tolist(), timeline.end_s]
    applied = []
    for kind in ("pue", "location", "market"):
        for slot in getattr(factors, kind):
            first = max(bisect_right(cuts, slot.start_s) - 1, 0)
            for from_s, to_s in pairwise(cuts[first : bisect_left(cuts, slot.end_s) + 1]):
                start_s, end_s = max(slot.start_s, from_s), min(slot.end_s, to_s)
                applied.append((kind, replace(slot, start_s=start_s, end_s=end_s)))
    return applied
