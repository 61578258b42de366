"""How long `scarbon collect` takes with a real Prometheus, against fetching and parsing the same answers alone.

A cluster is simulated, its recording put into a Prometheus of its own (promtool), and the whole period accounted, as
a site does it: one process from its start to its end, with the jobs, the attribution and the ledger. Prometheus writes
down what it was asked. The same questions are then asked again by a process that does nothing but `requests.get` and
`.json()`. Both take turns and are timed from outside, with their own start. The goal: at most twice the time.

    python benchmarks/collect.py [--nodes 8] [--days 7] [--turns 3] [--quick]
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from simulator.cluster import make_cluster
from simulator.hardware import make_node
from simulator.recording import write_recording
from simulator.workload import Mix
from tests.collectors.real_prometheus import MISSING, RealPrometheus

GOAL = 2.0
START_S = int(datetime(2026, 9, 1, tzinfo=UTC).timestamp())

SITE = """\
site: {{name: Benchmark, timezone: UTC}}
ledger: sqlite:///ledger.db
clusters:
  alpha:
    jobs: {{source: file, path: jobs.sacct}}
    gpu:
      prometheus: {{url: {url}}}
      match: {{job: dcgm}}
      holders: [journal]
      journal: journal
    host: {{method: model, cpu_w_per_core: 4.0}}
pue: 1.2
grid: {{zone: FRA, location: [{{source: file, path: intensity.csv}}]}}
"""

#: What is compared with: the same answers, read and parsed, and nothing else.
ALONE = """\
import json, sys
import requests
session = requests.Session()
samples = size = 0
for url in json.load(open(sys.argv[1])):
    answer = session.get(url)
    size += len(answer.content)
    for series in answer.json()["data"]["result"]:
        samples += len(series["values"])
print(json.dumps({"samples": samples, "size": size}))
"""


def record(folder: Path, nodes: int, gpus: int, days: int) -> None:
    """A cluster of whole GPUs, a job or two on each of them an hour."""
    rng = random.Random(1)
    made = [make_node(rng, f"n{number}", gpus) for number in range(1, nodes + 1)]
    mix = Mix(submissions=nodes * gpus * days * 8, longest_s=6 * 3600.0)
    cluster = make_cluster("alpha", 1, START_S, START_S + 86400 * days, made, mix)
    write_recording(cluster, folder, labels={"job": "dcgm"})


def asked(log: Path, url: str) -> list[str]:
    """The questions in Prometheus's query log, as the URLs that ask them again."""
    questions = []
    for line in log.read_text().splitlines():
        parameters = json.loads(line)["params"]
        at_s = datetime.fromisoformat(parameters["end"].replace("Z", "+00:00")).timestamp()
        query = requests_quote(parameters["query"])
        questions.append(f"{url}/api/v1/query?query={query}&time={at_s:.3f}")
    return questions


def requests_quote(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")


def clocked(run: Callable[[], None]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=8)
    parser.add_argument("--gpus", type=int, default=8, help="of each node")
    parser.add_argument("--days", type=int, default=7)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one node, one day, once, and no verdict")
    options = parser.parse_args()
    if MISSING:
        raise SystemExit(f"no {' and no '.join(MISSING)} here: apt-get install prometheus")
    if options.quick:
        options.nodes, options.gpus, options.days, options.turns = 1, 4, 1, 1

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        record(folder, options.nodes, options.gpus, options.days)
        log, urls = folder / "queries.log", folder / "urls.json"
        config = json.dumps({"global": {"query_log_file": str(log)}})
        with RealPrometheus(folder, folder / "dcgm.om", config) as prometheus:
            (folder / "site.yaml").write_text(SITE.format(url=prometheus.url))
            window = [datetime.fromtimestamp(START_S + 86400 * day, UTC).date() for day in (0, options.days)]
            collect = [
                sys.executable, "-m", "scarbon", "--config", folder / "site.yaml", "collect", "-q",
                "-S", window[0].isoformat(), "-E", window[1].isoformat(),
            ]  # fmt: skip
            (folder / "alone.py").write_text(ALONE)
            alone = [sys.executable, folder / "alone.py", urls]

            def run_collect() -> None:
                subprocess.run(collect, check=True, cwd=Path(__file__).parents[1])

            def fresh_ledger() -> None:
                for file in folder.glob("ledger.db*"):
                    file.unlink()

            run_collect()  # warms the server's caches, and says what is asked
            urls.write_text(json.dumps(asked(log, prometheus.url)))
            counted = json.loads(subprocess.run(alone, check=True, capture_output=True).stdout)
            ours, theirs = [], []
            for _ in range(options.turns):
                theirs.append(clocked(lambda: subprocess.run(alone, check=True, capture_output=True)))
                fresh_ledger()
                ours.append(clocked(run_collect))

    gpus = options.nodes * options.gpus
    print(
        f"{gpus} GPUs, {options.days} days: {counted['samples']:,} samples, {counted['size'] / 1e6:.0f} MB of answers"
    )
    ours_s, theirs_s = statistics.median(ours), statistics.median(theirs)
    print(f"{'fetching and parsing alone':28} {theirs_s:7.2f} s")
    print(f"{'scarbon collect':28} {ours_s:7.2f} s  {ours_s / theirs_s:5.2f} times  (goal: at most {GOAL:g})")
    if options.quick:
        return 0
    print("goal met" if ours_s <= GOAL * theirs_s else "GOAL NOT MET")
    return 0 if ours_s <= GOAL * theirs_s else 1


if __name__ == "__main__":
    raise SystemExit(main())
