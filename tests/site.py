"""A site in a folder: its configuration, what it reads, its ledger; and `scarbon` run on it as people run it."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Collection
from contextlib import closing, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest import mock
from zoneinfo import ZoneInfo

from scarbon.cli import main
from simulator.cluster import Cluster, Sampling, Troubles, make_cluster
from simulator.hardware import make_node
from simulator.recording import write_recording
from simulator.workload import Mix

CHECKOUT = Path(__file__).resolve().parents[1]

SITE = """\
site: {{name: Test site, timezone: {zone}}}
ledger: sqlite:///ledger.db
clusters:
  {cluster}:
    jobs: {{source: file, path: jobs.sacct}}
    gpu:
      {samples}
      holders: [journal, hpc_job, whole_node]
      journal: journal
    host: {{method: model, cpu_w_per_core: 4.0, memory_w_per_gb: 0.3725}}
    embodied: {{gpu_kgco2e: {{low: 128, best: 273, high: 318}}, lifetime_years: 5}}
pue: 1.2
grid:
  zone: FRA
  location: [{{source: file, path: intensity.csv}}, {{source: static}}]
  market: {{factor_g_per_kwh: 12, coverage: 0.8, residual_mix_g_per_kwh: 60}}
"""


@dataclass(frozen=True)
class Done:
    """A command that ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, as JSON."""
        return json.loads(self.out)

    def refused(self, code: int = 1) -> str:
        """The one clear line that a person gets, with the exit code and nothing on stdout."""
        assert self.code == code, self
        assert self.out == "", self
        assert "Traceback" not in self.err
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].strip(), self
        return lines[0]


def scarbon(*words: str | Path, stdin: str = "") -> Done:
    """Run the command in this process; an error that nobody explains comes out as itself."""
    out, err = io.StringIO(), io.StringIO()
    argv = ["scarbon", *map(str, words)]
    with (
        mock.patch.object(sys, "argv", argv),
        mock.patch.object(sys, "stdin", io.StringIO(stdin)),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as stop:
            assert isinstance(stop.code, int)
            return Done(stop.code, out.getvalue(), err.getvalue())


def start(*words: str | Path, **options: Any) -> subprocess.Popen[str]:
    """Start the command as a process of its own, with warnings as errors."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "scarbon", *map(str, words)],
        cwd=CHECKOUT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_heeds_ctrl_c,
        **options,
    )


def _heeds_ctrl_c() -> None:
    """A run of the tests in the background ignores Ctrl-C, and its children would too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@dataclass(frozen=True)
class Site:
    """A site's folder; `start_s` and `end_s` are the period of its recording, UTC epoch s."""

    folder: Path
    cluster: str
    zone: ZoneInfo
    start_s: int
    end_s: int

    @property
    def config(self) -> Path:
        """Its configuration."""
        return self.folder / "site.yaml"

    @property
    def ledger(self) -> Path:
        """Its books."""
        return self.folder / "ledger.db"

    @property
    def url(self) -> str:
        """Its books' URL."""
        return f"sqlite:///{self.ledger}"

    @property
    def window(self) -> list[str]:
        """-S and -E for all of its recording."""
        return ["-S", iso(self.start_s), "-E", iso(self.end_s)]

    def scarbon(self, *words: str | Path, stdin: str = "") -> Done:
        """Run the command with its configuration, in this process."""
        return scarbon("--config", self.config, *words, stdin=stdin)

    def good(self, *words: str | Path) -> Done:
        """Run the command, and expect that all is well."""
        done = self.scarbon(*words)
        assert done.code == 0, done
        return done

    def collect(self, *words: str, code: int = 0) -> Done:
        """Account all of its recording, or what `words` say."""
        done = self.scarbon("collect", "-q", *(words or self.window))
        assert done.code == code, done
        return done

    def change(self, old: str, new: str) -> None:
        """Change a piece of the configuration."""
        text = self.config.read_text()
        assert text.count(old) == 1, old
        self.config.write_text(text.replace(old, new))

    def copy(self, folder: Path) -> Site:
        """The same site somewhere else, ledger and all."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        return Site(folder, self.cluster, self.zone, self.start_s, self.end_s)

    def tables(self, but: Collection[str] = ()) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of every table of the ledger; {} where there is no ledger."""
        return tables(self.ledger, but)


def tables(path: Path, but: Collection[str] = ()) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table of a ledger in the order in which they lie there; {} where there is none."""
    if not path.exists():
        return {}
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as ledger:
        names = [name for (name,) in ledger.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: ledger.execute(f'SELECT * FROM "{name}"').fetchall() for name in names if name not in but}


def query(path: Path, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    """Ask a ledger, past the program."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as ledger:
        return ledger.execute(sql, values).fetchall()


def change(path: Path, sql: str, *values: Any) -> int:
    """Change a ledger, past the program; how many rows."""
    with closing(sqlite3.connect(path)) as ledger, ledger:
        return ledger.execute(sql, values).rowcount


def make_site(folder: Path, cluster: Cluster, zone: str, samples: str = "openmetrics: {path: dcgm.om}") -> Site:
    """Write a cluster's recording and the configuration that reads it into a folder."""
    folder.mkdir(exist_ok=True)
    write_recording(cluster, folder, labels={"job": "dcgm", "instance": "n:9400"})
    config = SITE.format(zone=zone, cluster=cluster.name, samples=samples)
    (folder / "site.yaml").write_text(config)
    return Site(folder, cluster.name, ZoneInfo(zone), cluster.start_s, cluster.end_s)


def days_cluster() -> Cluster:
    """Four days of two nodes with three GPUs around the end of October 2026 in Paris: the first has 25 hours."""
    import random

    rng = random.Random(3)
    start, end = (
        int(datetime(2026, *day, tzinfo=ZoneInfo("Europe/Paris")).timestamp()) for day in ((10, 25), (10, 29))
    )
    return make_cluster(
        "gamma",
        3,
        start,
        end,
        [make_node(rng, "n1", 2), make_node(rng, "n2", 1)],
        Mix(submissions=40, longest_s=30 * 3600.0, requeues=0.1),
        Sampling(scrape_interval_s=60.0, power=False),
        Troubles(outages=1, outage_s=(3600.0, 7200.0)),
    )


def iso(time_s: float) -> str:
    """A whole second as ISO 8601 in UTC, as every command takes it."""
    return datetime.fromtimestamp(time_s, ZoneInfo("UTC")).strftime("%Y-%m-%dT%H:%M:%SZ")


def environment(**changes: str) -> dict[str, str]:
    """This process's environment without what would change the command's mind, and with changes."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SCARBON", "SLURM"))}
    return {**kept, **changes}
