"""A real Prometheus that scrapes the exporters every second, and the few questions that the tests ask it."""

from __future__ import annotations

import json
import signal
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.processes import Processes, Service, free_port


@dataclass(frozen=True)
class Series:
    """One series as Prometheus stores it: its labels and its raw samples (UTC epoch s, value)."""

    labels: Mapping[str, str]
    samples: tuple[tuple[float, float], ...]


class Prometheus:
    """Prometheus with its data in a folder of its own."""

    def __init__(self, processes: Processes, folder: Path) -> None:
        self.processes = processes
        self.folder = folder
        self.port = free_port()
        self.service: Service | None = None

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def configure(self, targets: Mapping[str, int]) -> None:
        """Scrape the exporter of each node at its port, every second."""
        self.folder.mkdir(exist_ok=True)
        static = [{"targets": [f"127.0.0.1:{port}"], "labels": {"node": node}} for node, port in targets.items()]
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
            "scrape_configs": [{"job_name": "dcgm", "static_configs": static}],
        }
        (self.folder / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML

    def start(self) -> None:
        """Start it (again, on the same data) and wait until it has scraped every target."""
        self.service = self.processes.start(
            "prometheus",
            [
                "prometheus",
                f"--config.file={self.folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={self.folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
                "--log.level=warn",
            ],
        )
        self.processes.wait_until(self._scrapes, "Prometheus has scraped every exporter")

    def stop(self) -> None:
        """Stop it; `start` brings it back with its data."""
        assert self.service is not None
        self.processes.stop(self.service)

    def kill(self) -> None:
        """End it as a crash would."""
        assert self.service is not None
        self.processes.kill(self.service)

    @contextmanager
    def not_scraping(self) -> Iterator[None]:
        """For a while, no samples are added to those that there are."""
        config = self.folder / "prometheus.yml"
        before = config.read_text()
        self.configure({})
        self._reload(lambda: not self._targets(), "Prometheus has stopped scraping")
        try:
            yield
        finally:
            config.write_text(before)
            self._reload(self._scrapes, "Prometheus scrapes again")

    def query(self, expression: str, at_s: float) -> list[dict[str, Any]]:
        """The result of an instant query."""
        words = urllib.parse.urlencode({"query": expression, "time": f"{at_s:.3f}"})
        with urllib.request.urlopen(f"{self.url}/api/v1/query?{words}", timeout=10) as answer:
            result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
            return result

    def raw(self, selector: str, start_s: float, end_s: float) -> list[Series]:
        """The stored samples of every series that matches, in [start, end], without interpolation."""
        length_ms = round((end_s - start_s) * 1000)
        return [
            Series(row["metric"], tuple((float(time), float(value)) for time, value in row["values"]))
            for row in self.query(f"{selector}[{length_ms}ms]", end_s)
        ]

    def _reload(self, done: Callable[[], bool], what: str) -> None:
        assert self.service is not None
        self.service.process.send_signal(signal.SIGHUP)
        self.processes.wait_until(done, what)

    def _scrapes(self) -> bool:
        try:
            targets = self._targets()
        except (urllib.error.URLError, ConnectionError):
            return False
        return bool(targets) and all(target["health"] == "up" for target in targets)

    def _targets(self) -> list[dict[str, Any]]:
        with urllib.request.urlopen(f"{self.url}/api/v1/targets", timeout=10) as answer:
            targets: list[dict[str, Any]] = json.load(answer)["data"]["activeTargets"]
            return targets
