"""Hold the methods against a real GPU's recording, as `record_gpu.py` writes it.

The counter of the recording, read every 100 ms, is what each job used. Of it every n-th second is kept, as a Prometheus
would have it, for each moment at which the scrapes could have begun; and each job's energy is worked out from that, by
linear interpolation, with divided edges, and from the power gauge alone.

    python -m benchmarks.recorded_gpu GPU.csv [--step 30]

Prints for each job the median and the largest error in %, over all beginnings.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from accounting.arrays import Floats
from accounting.attribution import Holds
from accounting.energy import curve_from_samples
from accounting.model import HostReadings


def read(path: Path) -> tuple[list[tuple[str, float, float]], Floats]:
    """The jobs (name, start, end in s) and the samples (s, J, W, W) of a recording."""
    jobs = []
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("# job "):
                name, start, end = line.removeprefix("# job ").rsplit(",", 2)
                jobs.append((name, float(start), float(end)))
    samples = np.loadtxt(path, delimiter=",", comments=("#", "t")) * (1.0, 1e-3, 1e-3, 1e-3)
    return jobs, samples


def figures(jobs: list[tuple[str, float, float]], samples: Floats, step_s: float, since_s: float) -> Floats:
    """What each of three methods makes of each job, from one sample every `step_s`: jobs × methods, in J."""
    wanted = np.arange(since_s, samples[-1, 0], step_s)
    kept = samples[np.minimum(np.searchsorted(samples[:, 0], wanted), len(samples) - 1)]
    nothing = np.zeros(0)
    counter = curve_from_samples(HostReadings(kept[:, 0], kept[:, 1], kept[:, 0], kept[:, 2]), np.inf)
    gauge = curve_from_samples(HostReadings(nothing, nothing, kept[:, 0], kept[:, 2]), np.inf)
    start_s, end_s = (np.array([job[place] for job in jobs]) for place in (1, 2))
    stretches = Holds(np.arange(len(jobs)), start_s, end_s, np.ones(len(jobs))).stretches
    curves = (counter, counter.refine(stretches), gauge.refine(stretches))
    return np.stack([curve.energy_at(end_s) - curve.energy_at(start_s) for curve in curves], axis=1)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("recording", type=Path)
    parser.add_argument("--step", type=float, default=30.0, help="seconds between samples")
    options = parser.parse_args()
    jobs, samples = read(options.recording)
    true_j = np.array([np.diff(np.interp(job[1:], samples[:, 0], samples[:, 1]))[0] for job in jobs])
    beginnings = np.arange(samples[0, 0], samples[0, 0] + options.step, 1.0)
    every = np.stack([figures(jobs, samples, options.step, since_s) for since_s in beginnings])
    error = 100 * np.abs(every / true_j[:, None] - 1)
    print(
        f"{'job':<12} {'s':>6} {'J':>9} | " + " | ".join(f"{name:^17}" for name in ("interpolated", "edges", "gauge"))
    )
    for place, (name, start_s, end_s) in enumerate(jobs):
        cells = [
            f"{np.median(error[:, place, method]):8.3f} {error[:, place, method].max():8.3f}" for method in range(3)
        ]
        print(f"{name:<12} {end_s - start_s:6.1f} {true_j[place]:9.0f} | {' | '.join(cells)}")


if __name__ == "__main__":
    main()
