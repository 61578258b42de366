"""How near our figures come to the truth, beside those of simpler methods on the same data.

Clusters are simulated, so what each job really used is known exactly. Each is written as a recording (the exporter's
samples, the hooks' journal, sacct's dump) and accounted as a site would, into a ledger; the other methods get the same
samples, and the true start and end of each job:

* `TDP x time`: the GPU's rated power over the job's time, its share of a MIG GPU;
* `mean power x time`: the mean of the power samples within the job's time (the nearest one where there is none);
* `rectangles`: each power sample within the job's time, times the scrape interval, as recording rules do it; like the
  one before, it takes the power that a MIG instance shows, which is the whole GPU's, once for each instance;
* `interpolation`: the energy counter, linear between its samples, a shared GPU by capacity.

    python -m benchmarks.accuracy [--quick] [--seeds 6]

Errors are relative to the truth, without a sign: median, 90th and 99th percentile over the jobs of each class of
length; `total` is the error of the sum over all jobs, with its sign.

The last table gives each GPU's sensor an error of its own (a factor, normally distributed with a standard deviation of
2.5 %), which no method can see, and shows for how many jobs the truth lies inside of the 95 % interval that goes
with the figure.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from accounting.booking import account
from accounting.clock import split_by_day
from accounting.energy import curve_from_samples
from accounting.ledger.reading import Books
from accounting.ledger.store import Ledger
from accounting.model import AttemptKey
from accounting.uncertainty import NORMAL_95, Accuracy, EnergyDoubt, energy_parts
from scarbon.wiring import rules, sources
from simulator.cluster import Cluster, Sampling, Troubles, make_cluster
from simulator.hardware import A100, H100, Node, make_node
from simulator.meters import SENTINELS, Readings, gpu_samples, read_all
from simulator.recording import write_recording
from simulator.truth import truth_of
from simulator.workload import Attempt, Hold, Mix
from site_config.load import load

SITE = """\
site: {{name: Accuracy, timezone: UTC}}
ledger: sqlite:///ledger.db
clusters:
  alpha:
    jobs: {{source: file, path: jobs.sacct}}
    gpu:
      openmetrics: {{path: dcgm.om}}
      holders: [{holders}]
      journal: journal
pue: 1.2
grid: {{zone: FRA}}
"""

#: The classes of jobs, by their length in seconds.
CLASSES = (("< 2 min", 0.0, 120.0), ("2-10 min", 120.0, 600.0), ("> 10 min", 600.0, np.inf))

DAY_S = 86400
START_S = 1_790_000_000 // DAY_S * DAY_S

#: The relative error of sensors in the table of intervals, as a standard deviation.
GAIN_SIGMA = 0.025

Figures = Mapping[AttemptKey, float]


@dataclass(frozen=True, slots=True)
class Variant:
    """A kind of cluster: what is asked of it, and the troubles it has."""

    title: str
    short: str
    troubles: Troubles = field(default_factory=Troubles)
    mig: bool = False
    shards: bool = False
    holders: str = "journal, hpc_job"
    sampling: Sampling = field(default_factory=Sampling)


EVERYTHING = Troubles(
    driver_reloads=4,
    outages=6,
    outage_s=(120.0, 3600.0),
    sentinel_rate=0.01,
    missed_prolog_rate=0.02,
    missed_epilog_rate=0.02,
    hook_lag_s=0.4,
    unprofiled_rate=0.02,
    cooling=0.03,
)

VARIANTS = (
    Variant("plain GPUs, journal", "plain"),
    Variant("GPUs that stay warm after a job (cooling 3 %)", "warm", Troubles(cooling=0.03)),
    Variant("no journal, only the label hpc_job", "hpc_job only", holders="hpc_job"),
    Variant("MIG GPUs, each instance profiled at each sample", "MIG", mig=True),
    Variant(
        "every trouble: reloads, outages, blanks, missed hooks, cooling, MIG, shards, collected apart from scrapes",
        "every trouble",
        EVERYTHING,
        mig=True,
        shards=True,
        sampling=Sampling(collect_interval_s=30.0, scrape_interval_s=15.0, jitter_s=0.05),
    ),
)


def simulate(variant: Variant, seed: int, days: float, gain_sigma: float = 0.0) -> Cluster:
    """Eight GPUs; in a variant with MIG three of them are cut up, with shards one is shared.

    `gain_sigma` is the relative error of each GPU's sensor, as a standard deviation.
    """
    rng = random.Random(seed)
    profiles = {0: ("3g.20gb", "3g.20gb"), 1: ("3g.20gb", "2g.10gb", "1g.5gb"), 2: ("4g.20gb", "2g.10gb")}
    nodes: list[Node] = [
        make_node(rng, "n1", 4, A100, mig=profiles if variant.mig else None, gain_sigma=gain_sigma),
        make_node(rng, "n2", 4, H100, shards={0: 4} if variant.shards else None, gain_sigma=gain_sigma),
    ]
    mix = Mix(submissions=int(86 * days), longest_s=DAY_S, back_to_back=0.15, requeues=0.04)
    end_s = START_S + int(days * DAY_S)
    return make_cluster("alpha", seed, START_S, end_s, nodes, mix, variant.sampling, variant.troubles)


def ours(cluster: Cluster, holders: str) -> dict[AttemptKey, tuple[float, EnergyDoubt]]:
    """What the books say after the cluster's recording was accounted, day by day."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        write_recording(cluster, folder)
        (folder / "site.yaml").write_text(SITE.format(holders=holders), encoding="utf-8")
        config = load(folder / "site.yaml")
        ledger = Ledger(config.ledger.url, config.site.timezone)
        read, declared = sources(config, "alpha"), rules(config, "alpha")
        for start_s, end_s in split_by_day(config.site.zone, cluster.start_s, cluster.end_s):
            account("alpha", read, declared, ledger, start_s, end_s, version="", config_digest="")
        ledger.close()
        rows = Books(config.ledger.url).rows(
            "SELECT job_id, submit_s, SUM(energy_j) AS energy_j, SUM(sensor_j) AS sensor_j, "
            "SUM(edges_j2) AS edges_j2, SUM(sharing_j) AS sharing_j "
            "FROM usage_days JOIN attempts ON attempts.attempt_id = usage_days.attempt_id "
            "WHERE kind = 'gpu' AND energy_j IS NOT NULL GROUP BY job_id, submit_s"
        )
    return {
        AttemptKey("alpha", row["job_id"], row["submit_s"]): (
            row["energy_j"],
            EnergyDoubt(row["sensor_j"], row["edges_j2"], row["sharing_j"], 0.0),
        )
        for row in rows
    }


def tdp(readings: Readings, hold: Hold, start_s: float, end_s: float) -> float:
    """Rated power over the job's time."""
    return readings.gpu.tdp_w * hold.share * (end_s - start_s)


def mean_power(readings: Readings, hold: Hold, start_s: float, end_s: float) -> float:
    """The mean of the job's power samples, or the nearest sample, over its time."""
    time_s, power_w = _power(readings)
    inside = (time_s >= start_s) & (time_s < end_s)
    mean_w = power_w[inside].mean() if inside.any() else power_w[np.argmin(np.abs(time_s - start_s))]
    return float(mean_w) * (end_s - start_s)


def rectangles(readings: Readings, hold: Hold, start_s: float, end_s: float) -> float:
    """Each of the job's power samples for one scrape interval."""
    time_s, power_w = _power(readings)
    inside = (time_s >= start_s) & (time_s < end_s)
    return float(power_w[inside].sum()) * float(np.median(np.diff(time_s)))


def _power(readings: Readings) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    assert readings.power_w is not None
    good = readings.power_w < SENTINELS[0]
    return readings.time_s[good], readings.power_w[good]


def by_hold(cluster: Cluster, method: Callable[[Readings, Hold, float, float], float]) -> Figures:
    """A method that takes one hold after the other, with the true start and end of each."""
    readings = {one.gpu.uuid: one for one in read_all(cluster)}
    return {
        attempt.job.key: sum(
            method(readings[hold.gpu.uuid], hold, hold.start_s, min(hold.end_s, cluster.end_s))
            for hold in attempt.holds
        )
        for attempt in _accounted(cluster)
    }


def interpolation(cluster: Cluster) -> Figures:
    """The counter, linear between its samples; a part of a GPU by its share of the capacity."""
    curves = {one.device.uuid: curve_from_samples(one, np.inf) for one in gpu_samples(cluster)}

    def energy_j(hold: Hold) -> float:
        start_j, end_j = curves[hold.gpu.uuid].energy_at(
            np.array([hold.start_s, min(hold.end_s, cluster.end_s)], float)
        )
        return hold.share * float(end_j - start_j)

    return {attempt.job.key: sum(map(energy_j, attempt.holds)) for attempt in _accounted(cluster)}


def _accounted(cluster: Cluster) -> Iterator[Attempt]:
    for attempt in cluster.attempts:
        if attempt.holds and attempt.holds[0].start_s < cluster.end_s:
            yield attempt


METHODS: Mapping[str, Callable[[Cluster], Figures]] = {
    "TDP x time": lambda cluster: by_hold(cluster, tdp),
    "mean power x time": lambda cluster: by_hold(cluster, mean_power),
    "rectangles": lambda cluster: by_hold(cluster, rectangles),
    "interpolation": interpolation,
}


@dataclass(slots=True)
class Errors:
    """What one method got, over all seeds of a variant: jobs as (length, shared, figure, truth)."""

    length_s: list[float]
    shared: list[bool]
    figure_j: list[float]
    truth_j: list[float]

    def row(self, only_shared: bool | None) -> str:
        """The table's figures, of all jobs or only of those that held a part of a GPU."""
        length_s, figure_j, truth_j = np.array(self.length_s), np.array(self.figure_j), np.array(self.truth_j)
        chosen = np.ones(length_s.size, bool) if only_shared is None else np.array(self.shared) == only_shared
        cells = []
        for _, shortest_s, longest_s in CLASSES:
            inside = chosen & (length_s >= shortest_s) & (length_s < longest_s)
            relative = np.abs(figure_j[inside] / truth_j[inside] - 1)
            cells.append(" ".join(f"{100 * np.quantile(relative, q):9.4f}" for q in (0.5, 0.9, 0.99)))
        total = figure_j[chosen].sum() / truth_j[chosen].sum() - 1
        return " | ".join([*cells, f"{100 * total:+9.4f}"])


def measure(variant: Variant, seeds: int, days: float) -> dict[str, Errors]:
    """All methods on the variant's clusters."""
    found = {name: Errors([], [], [], []) for name in ("ours", *METHODS)}
    for seed in range(1, seeds + 1):
        cluster = simulate(variant, seed, days)
        truth = truth_of(cluster)
        figures = {"ours": {key: energy_j for key, (energy_j, _) in ours(cluster, variant.holders).items()}}
        figures |= {name: method(cluster) for name, method in METHODS.items()}
        for attempt in _accounted(cluster):
            one = truth.attempts[attempt.job.key]
            for name, errors in found.items():
                errors.length_s.append(min(attempt.holds[0].end_s, cluster.end_s) - attempt.holds[0].start_s)
                errors.shared.append(attempt.holds[0].part is not None)
                errors.figure_j.append(figures[name].get(attempt.job.key, 0.0))
                errors.truth_j.append(one.energy_j)
    return found


def inside(variant: Variant, seeds: int) -> Iterator[tuple[float, bool, bool]]:
    """Of each job that has a figure: its length, whether it was shared, whether the truth lies in the interval."""
    for seed in range(1, seeds + 1):
        cluster = simulate(variant, seed, 1.0, GAIN_SIGMA)
        truth = truth_of(cluster)
        found = ours(cluster, variant.holders)
        for attempt in _accounted(cluster):
            if attempt.job.key not in found:
                continue
            energy_j, doubt = found[attempt.job.key]
            accuracy = Accuracy(sensor=NORMAL_95 * GAIN_SIGMA)
            low_j, high_j = energy_parts(energy_j, doubt, accuracy).interval(energy_j)
            length_s = min(attempt.holds[0].end_s, cluster.end_s) - attempt.holds[0].start_s
            true_j = truth.attempts[attempt.job.key].energy_j
            yield length_s, attempt.holds[0].part is not None, low_j <= true_j <= high_j


def report_intervals(seeds: int) -> None:
    """Print for how many jobs the truth lies in the interval."""
    clusters = f"{seeds} clusters of 8 GPUs x 1 day, sensors off by 2.5 %"
    print(f"\nThe truth inside of the 95 % interval, % of jobs ({clusters})\n")
    head = " | ".join(f"{name:^9}" for name, *_ in CLASSES)
    print(f"{'':<28} | {head} | {'all':^15}")
    for variant in VARIANTS:
        rows = list(inside(variant, seeds))
        groups = (("", (False, True)),) if not any(row[1] for row in rows) else (
            (", whole GPU", (False,)), (", part of one", (True,))
        )  # fmt: skip
        for label, kinds in groups:
            cells = []
            for _, low_s, high_s in (*CLASSES, ("all", 0.0, np.inf)):
                hits = [hit for length_s, shared, hit in rows if low_s <= length_s < high_s and shared in kinds]
                cells.append(f"{100 * np.mean(hits):9.1f}")
            print(f"{variant.short + label:<28} | {' | '.join(cells)} of {len(hits)}")


def report(variant: Variant, found: Mapping[str, Errors]) -> None:
    """Print the variant's table."""
    some = found["ours"]
    counts = [sum(low <= length < high for length in some.length_s) for _, low, high in CLASSES]
    print(f"\n{variant.title}\n")
    head = " | ".join(f"{f'{name} ({count})':^29}" for (name, *_), count in zip(CLASSES, counts, strict=True))
    print(f"{'error in %':<30} | {head} |   total")
    print(f"{'':<30} | " + " | ".join([f"{'median':>9} {'p90':>9} {'p99':>9}"] * len(CLASSES)) + " |")
    groups = (("", None),) if not any(some.shared) else ((", whole GPU", False), (", part of one", True))
    for name, errors in found.items():
        for label, only_shared in groups:
            print(f"{name + label:<30} | {errors.row(only_shared)}")


def main() -> None:
    """Measure every variant and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one seed of two days each")
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--days", type=float, default=7.0)
    options = parser.parse_args()
    seeds, days = (1, 2.0) if options.quick else (options.seeds, options.days)
    print(f"{seeds} clusters of 8 GPUs x {days:g} days for each table")
    for variant in VARIANTS:
        report(variant, measure(variant, seeds, days))
    report_intervals(2 if options.quick else 5 * seeds)


if __name__ == "__main__":
    main()
