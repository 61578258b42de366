"""`scarbon`, run as people run it, against a running cluster."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.cluster.gpus import CHECKOUT, MINORS
from tests.cluster.harness import Cluster

SITE = """\
site: {{name: Test site, timezone: UTC}}
ledger: sqlite:///ledger.db
clusters:
  alpha:
    jobs: {{source: sacct}}
    gpu:
      prometheus: {{url: "{prometheus}"}}
      match: {{job: dcgm}}
      holders: {holders}
      journal: {journal}
      gres_minors: {minors}
pue: 1.25
grid:
  zone: FRA
  location: [{{source: static}}]
"""


@dataclass(frozen=True)
class Books:
    """A site's configuration and ledger in a folder."""

    folder: Path
    cluster: Cluster

    @property
    def config(self) -> Path:
        """The site's configuration."""
        return self.folder / "site.yaml"

    def scarbon(self, *words: str, expect: int = 0) -> str:
        """Run the command; its stdout. AssertionError with all it said where the exit code is another one."""
        done = subprocess.run(
            [sys.executable, "-m", "scarbon", "--config", str(self.config), *words],
            cwd=CHECKOUT,
            env={**os.environ, "SLURM_CONF": self.cluster.slurm.env["SLURM_CONF"], "TZ": "UTC"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == expect, (
            f"scarbon {' '.join(words)}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        )
        return done.stdout

    def json(self, *words: str) -> Any:
        """What a command prints with `--json`."""
        return json.loads(self.scarbon(*words, "--json"))

    def tables(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of every table of the ledger, in the order in which they lie there."""
        with sqlite3.connect(f"file:{self.folder / 'ledger.db'}?mode=ro", uri=True) as ledger:
            names = [name for (name,) in ledger.execute("select name from sqlite_master where type = 'table'")]
            return {name: ledger.execute(f'select * from "{name}"').fetchall() for name in names}


def open_books(folder: Path, cluster: Cluster, holders: str = "[journal, hpc_job]") -> Books:
    """Write a site's configuration for the cluster into a folder."""
    books = Books(folder, cluster)
    books.config.write_text(
        SITE.format(
            prometheus=cluster.prometheus.url,
            journal=cluster.journal_dir,
            holders=holders,
            minors={node: list(minors) for node, minors in MINORS.items()},
        )
    )
    return books


def iso(time_s: float) -> str:
    """A whole second as ISO 8601 in UTC, as every command takes it."""
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
