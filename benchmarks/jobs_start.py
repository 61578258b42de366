"""How long `scarbon jobs` takes from the return key to its answer, beside a bare interpreter that imports click.

Side by side, turn by turn, on a small ledger (the demo's month, made for this): `python -c "import click"`, a user's
day, everybody's day, and `scarbon --version`. Goal: the first two at most 3 times the bare start; medians are compared.

    python benchmarks/jobs_start.py [--rounds 30] [--folder DIR]
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
GOAL = 3.0


def main() -> int:
    """Measure; 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--folder", type=Path, help="where the demo is, or is made; a temporary one else")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.folder or Path(scratch, "demo")
        env = {**os.environ, "PYTHONPATH": str(CHECKOUT), "XDG_CACHE_HOME": str(Path(scratch, "cache"))}
        if not (folder / "site.yaml").exists():
            command = [sys.executable, "-m", "scarbon", "demo", "--folder", str(folder), "--month", "2026-10"]
            subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        scarbon = [sys.executable, "-m", "scarbon", "--config", str(folder / "site.yaml")]
        day = ["-S", "2026-10-10", "-E", "2026-10-11"]
        commands = {
            "import click": [sys.executable, "-c", "import click"],
            "a user's day": [*scarbon, "jobs", "-u", "ada", *day],
            "everybody's day": [*scarbon, "jobs", "-a", *day],
            "scarbon --version": [*scarbon, "--version"],
        }
        took_s: dict[str, list[float]] = {name: [] for name in commands}
        for turn in range(args.rounds + 1):
            for name, command in commands.items():
                began_s = time.perf_counter()
                subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)
                if turn:  # the first fills caches: that of the configuration, and compiled modules
                    took_s[name].append(time.perf_counter() - began_s)
    bare_s = statistics.median(took_s["import click"])
    missed = False
    for name, times_s in took_s.items():
        ratio = statistics.median(times_s) / bare_s
        missed |= name.endswith("day") and ratio > GOAL
        print(f"{name:<20} {statistics.median(times_s) * 1000:7.1f} ms  {ratio:5.2f} times the bare start")
    print(f"goal: {GOAL:g} times; {'missed' if missed else 'met'}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
