"""A real Prometheus on 127.0.0.1 that has a recording: Debian's package, filled by promtool, stopped by its pid."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

PROGRAMS = ("prometheus", "promtool")

#: Debian's package of them is `prometheus`.
MISSING = [program for program in PROGRAMS if shutil.which(program) is None]


class RealPrometheus:
    """Prometheus with the samples of an OpenMetrics file and nothing else, while the context lasts."""

    def __init__(self, folder: Path, openmetrics: Path, config: str = "{}") -> None:
        self._data = folder / "data"
        self._config = folder / "prometheus.yml"
        self._log = folder / "prometheus.log"
        subprocess.run(
            [
                "promtool", "tsdb", "create-blocks-from", "--max-block-duration=744h", "--quiet", "openmetrics",
                openmetrics, self._data,
            ],
            check=True,
            capture_output=True,
        )  # fmt: skip
        self._config.write_text(config)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    "prometheus", f"--config.file={self._config}", f"--storage.tsdb.path={self._data}",
                    f"--web.listen-address=127.0.0.1:{self.port}", "--storage.tsdb.retention.time=100y",
                ],
                stdout=log, stderr=log,
            )  # fmt: skip
        deadline = time.monotonic() + 60
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._stop()
                raise RuntimeError(f"Prometheus did not start:\n{self._log.read_text()[-2000:]}")
            time.sleep(0.05)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop()

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=5) as answer:
                return answer.status == 200
        except (urllib.error.URLError, ConnectionError):
            return False

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
