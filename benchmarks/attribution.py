"""How long it takes to attribute a month of a large cluster's GPU energy, against one plain pass over the samples.

A thousand GPUs, each with an energy counter sampled every 30 s for 30 days (86 million samples in all) and a thousand
holds. Timed is what accounting does with them: `curve_from_samples` and `attribute`, with an hourly intensity. Beside
it, on the same arrays: `np.diff` and `np.cumsum` of times and counters, which is the least that can be done by
anything that looks at every sample.

The arrays are made batch by batch, outside the clock, so many that no cache holds a batch. In several rounds over all
GPUs the two take turns, and the shortest round of each GPU counts, by processor time: what else the machine does makes
rounds longer and none shorter.

Goals: at most 3 times the plain pass, at most 4 GiB, and at most 2.1 times as long for twice the GPUs.

    python -m benchmarks.attribution [--gpus 1000] [--days 30] [--holds 1000] [--rounds 10] [--quick]
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from accounting.attribution import Balance, Holds, Usage, attribute
from accounting.energy import curve_from_samples
from accounting.model import Device, FactorSlot, GpuSamples
from accounting.timeline import Timeline, build_timeline

GOAL = 3.0
MEMORY_GOAL_MB = 4096
TWICE_GOAL = 2.1

START_S = 1_790_000_000 // 3600 * 3600
STEP_S = 30.0
MAX_GAP_S = 600.0
SEED = 20261001
BATCH = 40  # GPUs whose arrays are there at once: more than any cache holds


@dataclass(frozen=True)
class Gpu:
    """What is known of one GPU, as accounting gets it."""

    samples: GpuSamples
    holds: Holds

    def fresh_holds(self) -> Holds:
        """The holds without what an earlier round found out about them."""
        return replace(self.holds)


def make_timeline(days: int) -> Timeline:
    """Hours, each with an intensity of its own."""
    edges = [START_S + 3600 * hour for hour in range(24 * days + 1)]
    intensity = [FactorSlot(a, a + 3600, 50.0 + a // 3600 % 24, "benchmark") for a in edges[:-1]]
    whole = (START_S, edges[-1])
    pue = [FactorSlot(*whole, 1.2, "benchmark")]
    return build_timeline(edges, [whole], pue, intensity, intensity)


def make_gpu(chance: np.random.Generator, days: int, holds: int) -> Gpu:
    """A GPU that idles at 60 W between jobs of 100 to 400 W; a fifth of the jobs follow the one before at once."""
    length_s = 86400.0 * days
    edges_s = np.sort(chance.uniform(START_S, START_S + length_s, 2 * holds))
    at_once = chance.random(holds - 1) < 0.2
    edges_s[1:-1:2][at_once] = edges_s[2::2][at_once]
    level_w = np.full(2 * holds + 1, 60.0)
    level_w[1::2] = chance.uniform(100.0, 400.0, holds)
    # A scrape has a phase of its own and comes within some milliseconds of it.
    samples = int(length_s / STEP_S) + 1
    time_s = START_S + chance.uniform(0, STEP_S) + STEP_S * np.arange(samples) + chance.uniform(0, 0.02, samples)
    power_w = level_w[np.searchsorted(edges_s, time_s)] * chance.normal(1.0, 0.05, samples)
    energy_j = 1e8 + np.cumsum(power_w * STEP_S)
    nothing = np.zeros(0)
    device = Device("alpha", "GPU-0", "n1")
    attempt = chance.permutation(holds).astype(np.intp)
    return Gpu(
        GpuSamples(device, time_s, energy_j, nothing, nothing),
        Holds(attempt, edges_s[0::2].copy(), edges_s[1::2].copy(), np.ones(holds)),
    )


def plain(gpu: Gpu) -> None:
    """The least that can be done with every sample."""
    for values in (gpu.samples.energy_time_s, gpu.samples.energy_j):
        np.diff(values)
        np.cumsum(values)


def account(gpu: Gpu, timeline: Timeline) -> tuple[Usage, Balance]:
    """What accounting does."""
    return attribute(curve_from_samples(gpu.samples, MAX_GAP_S), gpu.fresh_holds(), timeline, None)


def out_of_balance(usage: Usage, balance: Balance) -> float:
    """By how much a device's books are off, of what was metered."""
    metered_j = float(np.sum(balance.metered_j))
    return abs(metered_j - float(np.nansum(usage.energy_j)) - float(np.sum(balance.idle_j))) / metered_j


def clocked(work: Callable[[Gpu], object], batch: list[Gpu]) -> list[float]:
    """Seconds of processor time for each GPU."""
    clock = [time.process_time()]
    for gpu in batch:
        work(gpu)
        clock.append(time.process_time())
    return np.diff(clock).tolist()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=int, default=1000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--holds", type=int, default=1000, help="of each GPU")
    parser.add_argument("--rounds", type=int, default=10, help="over all GPUs")
    parser.add_argument("--quick", action="store_true", help="80 GPUs, twice, and no verdict: shows that it runs")
    options = parser.parse_args()
    gpus, rounds = (80, 2) if options.quick else (options.gpus, options.rounds)
    timeline = make_timeline(options.days)
    worst = 0.0
    seconds = np.zeros((rounds, 2, gpus))  # the plain pass, and ours
    for each in range(rounds):
        for first in range(0, gpus, BATCH):
            numbers = range(first, min(first + BATCH, gpus))
            batch = [make_gpu(np.random.default_rng((SEED, one)), options.days, options.holds) for one in numbers]
            seconds[each, 0, numbers] = clocked(plain, batch)
            seconds[each, 1, numbers] = clocked(partial(account, timeline=timeline), batch)
            if each == 0:
                worst = max(worst, *(out_of_balance(*account(gpu, timeline)) for gpu in batch))
    samples = gpus * (int(86400 * options.days / STEP_S) + 1)
    memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    shortest, median = seconds.min(axis=0), np.median(seconds, axis=0)
    plain_s, ours_s = shortest.sum(axis=1)
    ratio, by_median = ours_s / plain_s, np.divide(*median.sum(axis=1)[::-1])
    twice = ours_s / shortest[1, : gpus // 2].sum()
    print(f"{gpus:,} GPUs, {options.days} days, {samples / 1e6:.1f} million samples, {gpus * options.holds:,} holds")
    print(f"{'plain numpy pass':24} {plain_s:8.2f} s")
    print(f"{'curves and attribution':24} {ours_s:8.2f} s  {ratio:6.2f} times  (goal: at most {GOAL:g})")
    print(f"{'by the median round':24} {median[1].sum():8.2f} s  {by_median:6.2f} times")
    print(f"{'twice the GPUs':24} {'':8}    {twice:6.2f} times  (goal: at most {TWICE_GOAL:g})")
    print(f"{'most memory':24} {memory_mb:8.0f} MB                (goal: at most {MEMORY_GOAL_MB})")
    print(f"{'out of balance':24} {worst:8.0e} of what was metered, on the worst device")
    if options.quick:
        return 0
    met = ratio <= GOAL and memory_mb <= MEMORY_GOAL_MB and twice <= TWICE_GOAL and worst < 1e-9
    print("goals met" if met else "GOALS NOT MET")
    return 0 if met else 1


if __name__ == "__main__":
    raise SystemExit(main())
