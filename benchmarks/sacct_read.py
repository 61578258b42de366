"""How long it takes to read a `sacct -P` dump of a million rows into jobs, against polars and pyarrow on the same file.

They read the file as text columns and stop there; we go on to what the text means, and hand out a `Job` for each
row. Each reading is done once in a fresh process, as `scarbon collect` does it, in turns, and each on one core: with
more of them the libraries spread their work, which makes it no less. The goal is at most 3 times the time of polars. Of
several turns the shortest counts, for each of them: what else the machine does only ever adds.

    python -m benchmarks.sacct_read [--rows 1000000] [--turns 3]
"""

from __future__ import annotations

import argparse
import json
import os
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


def read_with_pyarrow(path: Path) -> int:
    import pyarrow
    from pyarrow import csv

    started = time.perf_counter(), time.process_time()
    parsing = csv.ParseOptions(delimiter="|", quote_char=False)
    as_text = csv.ConvertOptions(column_types=dict.fromkeys(COLUMNS, pyarrow.string()))
    rows: int = csv.read_csv(path, parse_options=parsing, convert_options=as_text).num_rows
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


READERS = {"polars": read_with_polars, "pyarrow": read_with_pyarrow, "scarbon": read_with_us}


def report(started: tuple[float, float], rows: int) -> None:
    wall_s, cpu_s = time.perf_counter() - started[0], time.process_time() - started[1]
    memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    json.dump({"wall_s": wall_s, "cpu_s": cpu_s, "memory_mb": memory_mb, "rows": rows}, sys.stdout)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--read", choices=READERS, help=argparse.SUPPRESS)
    parser.add_argument("--path", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
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
    shortest = {
        reader: {key: min(result[key] for result in results) for key in ("cpu_s", "wall_s")}
        for reader, results in seen.items()
    }
    memory_mb = {reader: max(result["memory_mb"] for result in results) for reader, results in seen.items()}
    for reader, least in shortest.items():
        print(
            f"{reader:8} processor {least['cpu_s']:.2f} s, wall {least['wall_s']:.2f} s, "
            f"memory {memory_mb[reader]:.0f} MB, {seen[reader][0]['rows']:,.0f} rows"
        )
    medians = {reader: statistics.median(result["wall_s"] for result in results) for reader, results in seen.items()}
    ratios = {}
    for library in ("polars", "pyarrow"):
        ratios[library] = shortest["scarbon"]["wall_s"] / shortest[library]["wall_s"]
        print(
            f"{ratios[library]:.2f} times the time of {library} (by the medians "
            f"{medians['scarbon'] / medians[library]:.2f}), "
            f"{shortest['scarbon']['cpu_s'] / shortest[library]['cpu_s']:.2f} times its processor's time"
        )
    whole = all(result["rows"] == options.rows for result in seen["scarbon"])
    good = ratios["polars"] <= GOAL and memory_mb["scarbon"] <= MEMORY_GOAL_MB and whole
    print(f"goals: at most {GOAL:g} times polars, at most {MEMORY_GOAL_MB} MB: {'met' if good else 'NOT MET'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
