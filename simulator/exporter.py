"""A stand-in for dcgm-exporter on one node: the same page, from GPUs that are not there.

    python -m simulator.exporter --node n1 --port 9400 --mapping-dir DIR --load-dir DIR --truth FILE

The mapping folder is read on every scrape as dcgm-exporter reads it (`simulator.mapping`); power follows the loads
that jobs register (`simulator.load`), and the truth is written as it happens (`simulator.live`). Values are those of
the last collection, every `--collect-interval-ms`. Standard library only.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from simulator.hardware import MIG_SLICES, Gpu, make_node
from simulator.live import LiveNode
from simulator.mapping import read_mapping
from simulator.nvidia_proc import as_driver_shows

ENERGY = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"
POWER = "DCGM_FI_DEV_POWER_USAGE"
ACTIVITY = "DCGM_FI_PROF_GR_ENGINE_ACTIVE"
FAMILIES = (
    (POWER, "gauge", "Power draw (in W)."),
    (ENERGY, "counter", "Total energy consumption since boot (in mJ)."),
    (ACTIVITY, "gauge", "Ratio of time the graphics engine is active."),
)

#: How often loads and the mapping folder are looked at.
POLL_S = 0.02

#: How often the truth says that it is complete up to now.
TELL_S = 1.0

#: dcgm-exporter goes through its groups of entities (GPUs, CPUs) and reads the mapping folder for each of them.
ENTITY_GROUPS = 2


class PageError(Exception):
    """The whole page fails: the scrape is answered with 500."""


@dataclass(frozen=True, slots=True)
class Collected:
    """One GPU's values at the last collection; activity by MIG instance."""

    gpu: Gpu
    energy_mj: int
    power_w: float
    activity: Mapping[int, float]


class Exporter:
    """Collects a node's values in a loop of its own and renders the page from them."""

    def __init__(self, live: LiveNode, mapping_dir: Path | None, load_dir: Path, collect_s: float, hostname: bool):
        self._live = live
        self._mapping_dir = mapping_dir
        self._load_dir = load_dir
        self._collect_s = collect_s
        self._hostname = hostname
        # The counter counts since the driver was loaded, which was long before.
        self._before_mj = {gpu.gpu.uuid: 1_000_000_007 * (1 + gpu.gpu.index) for gpu in live.gpus}
        self._last: tuple[float, dict[tuple[str, int], float]] = (0.0, {})
        self._now_s = time.time()
        self._collected: tuple[Collected, ...] = ()
        self._look()
        self._collect()

    def run(self, stop: threading.Event) -> None:
        """Watch and collect until told to stop; then close the truth."""
        due = time.monotonic() + self._collect_s
        told_s = self._now_s
        while not stop.wait(POLL_S):
            self._look()
            if time.monotonic() >= due:
                due = max(due + self._collect_s, time.monotonic())
                self._collect()
            if self._now_s >= told_s + TELL_S:
                told_s = self._now_s
                self._live.seen(told_s)
        self._look()
        self._live.seen(self._now_s)

    def page(self) -> str:
        """The page. Raises PageError where dcgm-exporter would answer 500."""
        mapping: dict[str, list[str]] = {}
        try:
            for _ in range(ENTITY_GROUPS):
                mapping = read_mapping(self._mapping_dir) if self._mapping_dir else {}
        except OSError as error:
            raise PageError(str(error)) from error
        for name, jobs in mapping.items():
            if len(set(jobs)) < len(jobs):
                # Two equal series: releases before pull request 730 fail, later ones take the job once.
                raise PageError(f"{name}: a job is named twice")
        collected = self._collected
        lines: list[str] = []
        for family, kind, about in FAMILIES:
            series = [line for one in collected for line in self._series(family, one, mapping)]
            if series:
                lines += [f"# HELP {family} {about}", f"# TYPE {family} {kind}", *series]
        return "\n".join(lines) + "\n"

    def _series(self, family: str, one: Collected, mapping: Mapping[str, Sequence[str]]) -> Iterator[str]:
        gpu = one.gpu
        labels = (
            f'gpu="{gpu.index}",UUID="{gpu.uuid}",pci_bus_id="{gpu.pci_bus_id}",device="nvidia{gpu.index}",'
            f'modelName="{gpu.model}"'
        )
        host = f',Hostname="{gpu.node}"' if self._hostname else ""
        # A GPU that is cut up is exported as its instances, and each of them repeats the whole GPU's values.
        for part in gpu.instances or (None,):
            cut = f',GPU_I_PROFILE="{part.profile}",GPU_I_ID="{part.gi_id}"' if part else ""
            if family == POWER:
                value = f"{one.power_w:.6f}"
            elif family == ENERGY:
                value = str(one.energy_mj)
            elif part:
                value = f"{one.activity[part.gi_id]:.6f}"
            else:
                continue
            jobs = mapping.get(f"{gpu.index}.{part.gi_id}" if part else str(gpu.index))
            if not jobs:
                yield f"{family}{{{labels}{cut}{host}}} {value}"
            else:
                for job in jobs:
                    yield f'{family}{{{labels}{cut}{host},hpc_job="{job}"}} {value}'

    def _look(self) -> None:
        self._now_s = max(self._now_s, time.time())
        self._live.see_loads(self._load_dir, self._now_s)
        try:
            mapping = read_mapping(self._mapping_dir) if self._mapping_dir else {}
        except OSError:
            return  # a file is being exchanged: the next look sees it
        self._live.see_mapping(mapping, self._now_s)

    def _collect(self) -> None:
        now = self._now_s
        before, spent = self._last
        above: dict[tuple[str, int], float] = {}
        collected = []
        for live in self._live.gpus:
            gpu = live.gpu
            activity = {}
            for part in gpu.instances:
                key = (gpu.uuid, part.gi_id)
                above[key] = live.above_idle_j(part.gi_id, now)
                full_j = gpu.dynamic_w * part.slices / MIG_SLICES * (now - before)
                activity[part.gi_id] = min(1.0, (above[key] - spent[key]) / full_j) if key in spent and full_j else 0.0
            energy_mj = self._before_mj[gpu.uuid] + int(live.energy_j(now) * 1000.0)
            collected.append(Collected(gpu, energy_mj, live.power_w(now), activity))
        self._last = (now, above)
        self._collected = tuple(collected)


def serve(exporter: Exporter, host: str, port: int) -> ThreadingHTTPServer:
    """An HTTP server for the page, bound but not yet running."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.partition("?")[0] != "/metrics":
                return self._answer(404, "not found\n")
            try:
                return self._answer(200, exporter.page())
            except PageError as error:
                return self._answer(500, f"internal server error: {error}\n")

        def _answer(self, status: int, text: str) -> None:
            body = text.encode("utf-8", "surrogateescape")
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing for each request."""

    return ThreadingHTTPServer((host, port), Handler)


def main() -> int:
    """Run until SIGTERM or SIGINT."""
    options = _options()
    stop = threading.Event()
    for wanted in (signal.SIGTERM, signal.SIGINT):
        signal.signal(wanted, lambda *_: stop.set())
    try:
        _run(options, stop)
    except (OSError, ValueError) as error:
        print(f"simulator.exporter: {error}", file=sys.stderr)
        return 1
    return 0


def _run(options: argparse.Namespace, stop: threading.Event) -> None:
    rng = random.Random(f"{options.seed} {options.node}")  # the same UUIDs each time
    node = make_node(rng, options.node, len(options.minors), minors=options.minors, mig=dict(options.mig))
    if options.nvidia_proc:
        node = as_driver_shows(node, options.nvidia_proc)
    options.load_dir.mkdir(parents=True, exist_ok=True)
    if options.load_dir.stat().st_uid == os.getuid():
        options.load_dir.chmod(0o1777)  # jobs of every user write here, as in /tmp

    with options.truth.open("w", encoding="utf-8") as truth:
        live = LiveNode(node, time.time(), truth)
        exporter = Exporter(
            live, options.mapping_dir, options.load_dir, options.collect_interval_ms / 1000.0, not options.no_hostname
        )
        server = serve(exporter, options.host, options.port)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        if options.port_file:
            hidden = options.port_file.with_name(f".{options.port_file.name}")
            hidden.write_text(f"{server.server_address[1]}\n", encoding="utf-8")
            hidden.rename(options.port_file)
        exporter.run(stop)
        server.shutdown()
        server.server_close()


def minor_list(text: str) -> list[int]:
    """`3,2,1,0` as numbers."""
    return [int(minor) for minor in text.split(",")]


def index_and_profiles(text: str) -> tuple[int, tuple[str, ...]]:
    """`3=3g.20gb,2g.10gb`: a GPU's index, and the profiles into which it is cut."""
    index, _, profiles = text.partition("=")
    return int(index), tuple(profiles.split(","))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="simulator.exporter", description="A stand-in for dcgm-exporter on one node.")
    parser.add_argument("--node", required=True, help="Slurm's name of the node")
    minors = "each GPU's device minor, in DCGM's order (%(default)s)"
    parser.add_argument("--minors", type=minor_list, default="0,1,2,3", help=minors)
    parser.add_argument("--seed", type=int, default=0, help="other UUIDs and idle levels")
    cut = "a GPU that is cut up"
    parser.add_argument(
        "--mig", type=index_and_profiles, action="append", default=[], metavar="INDEX=PROFILE,…", help=cut
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9400, help="0: a free one, written to --port-file")
    parser.add_argument("--port-file", type=Path)
    parser.add_argument("--mapping-dir", type=Path, help="dcgm-exporter's --hpc-job-mapping-dir")
    parser.add_argument("--load-dir", type=Path, required=True, help="where jobs register their loads")
    parser.add_argument("--truth", type=Path, required=True, help="where the truth is written, JSON lines")
    parser.add_argument("--collect-interval-ms", type=int, default=100)
    parser.add_argument("--no-hostname", action="store_true")
    parser.add_argument(
        "--nvidia-proc",
        type=Path,
        metavar="DIR",
        help="a /proc/driver/nvidia/gpus: read, or written where there is none",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
