"""How long it takes to read a `sacct -P` dump of a million rows into jobs, against polars on the same file.

polars reads the file as text columns and stops there; we go on to what the text means, and hand out a `Job` for each
row. Each reading is done once in a fresh process, as `scarbon collect` does it, in turns. The goal, at most 3 times
polars' time, is held against processor time: polars spreads its work over all the cores that there are, and how many
there are says nothing of how much work it is. Wall time is shown beside it, and the most memory that we held.

    python -m benchmarks.sacct_read [--rows 1000000] [--turns 3]
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from collectors.slurm.file import FileSource
from collectors.slurm.rows import HEAD, TAIL

GOAL = 3.0
MEMORY_GOAL_MB = 300

COLUMNS = (*HEAD, "State", "ExitCode", "Suspended", "Cluster", "User", "UID", "Account", "Partition", "QOS", "WCKey")
COLUMNS += tuple(name for name in TAIL if name != "SLUID")


def write_dump(path: Path, rows: int) -> None:
    """A cluster of 500 users and 1000 nodes; each user has a few shapes of job, and every row its own times."""
    chance = random.Random(20261001)
    shapes = {}
    for user in range(500):
        for shape in range(4):
            cpus, gpus, nodes = 2 ** chance.randrange(7), chance.choice([0, 0, 1, 2, 4, 8]), chance.choice([1, 1, 1, 2])
            gres = f"gres/gpu:a100={gpus},gres/gpu={gpus}," if gpus else ""
            shapes[user, shape] = (f"billing={cpus},cpu={cpus},{gres}mem={cpus * 4000}M,node={nodes}", nodes)
    with path.open("w") as dump:
        dump.write("|".join(COLUMNS) + "\n")
        start = 1790000000
        for job_id in range(1, rows + 1):
            user = int(chance.paretovariate(0.6)) % 500
            tres, nodes = shapes[user, chance.randrange(4)]
            first = chance.randrange(1, 1000)
            node_list = f"n{first:04}" if nodes == 1 else f"n[{first:04}-{first + 1:04}]"
            start += chance.randrange(6)
            state, code = chance.choice(
                [("COMPLETED", "0:0")] * 8 + [("FAILED", "1:0"), (f"CANCELLED by {user}", "0:0")]
            )
            dump.write(
                f"{job_id}|{job_id}|{start - chance.randrange(7200)}|{start}|{start + chance.randrange(1, 86400)}|"
                f"{node_list}|{tres}|{state}|{code}|00:00:00|alpha|user{user}|{1000 + user}|account{user % 60}|gpu|"
                f"normal|||train-{chance.randrange(1000)}|\n"
            )


def read_with_polars(path: Path) -> int:
    import polars

    started = time.perf_counter(), time.process_time()
    rows = len(polars.read_csv(path, separator="|", infer_schema=False, quote_char=None))
    report(started, rows)
    return rows


def read_with_us(path: Path) -> int:
    import ClusterShell.NodeSet  # noqa: F401 (imported before the clock starts, as polars is)

    started = time.perf_counter(), time.process_time()
    rows = 0
    for job in FileSource("alpha", path).jobs(0, 2**33):  # noqa: B007 (the last one is looked at)
        rows += 1
    assert getattr(job, "gpus", None) is not None, job
    report(started, rows)
    return rows


READERS = {"polars": read_with_polars, "scarbon": read_with_us}


def report(started: tuple[float, float], rows: int) -> None:
    wall_s, cpu_s = time.perf_counter() - started[0], time.process_time() - started[1]
    memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    json.dump({"wall_s": wall_s, "cpu_s": cpu_s, "memory_mb": memory_mb, "rows": rows}, sys.stdout)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--read", choices=READERS, help=argparse.SUPPRESS)
    parser.add_argument("--path", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        READERS[options.read](options.path)
        return 0

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "sacct.txt")
        write_dump(path, options.rows)
        print(f"{options.rows:,} rows, {path.stat().st_size / 1e6:.0f} MB, {len(COLUMNS)} columns")
        seen: dict[str, list[dict[str, float]]] = {reader: [] for reader in READERS}
        for _ in range(options.turns):
            for reader, results in seen.items():
                command = [sys.executable, "-m", "benchmarks.sacct_read", "--read", reader, "--path", str(path)]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                results.append(json.loads(done.stdout))
    medians = {
        reader: {key: statistics.median(result[key] for result in results) for key in results[0]}
        for reader, results in seen.items()
    }
    for reader, median in medians.items():
        print(
            f"{reader:8} processor {median['cpu_s']:.2f} s, wall {median['wall_s']:.2f} s, "
            f"memory {median['memory_mb']:.0f} MB, {median['rows']:,.0f} rows"
        )
    ours, theirs = medians["scarbon"], medians["polars"]
    ratio = ours["cpu_s"] / theirs["cpu_s"]
    good = ratio <= GOAL and ours["memory_mb"] <= MEMORY_GOAL_MB and ours["rows"] == options.rows
    print(
        f"processor time: {ratio:.1f} times polars (goal: at most {GOAL:g}); "
        f"wall: {ours['wall_s'] / theirs['wall_s']:.1f}"
    )
    print(f"memory: {ours['memory_mb']:.0f} MB (goal: at most {MEMORY_GOAL_MB}); {'met' if good else 'NOT MET'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
