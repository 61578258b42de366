"""Labels that users give their jobs, at submission and from inside, on a real Slurm and into the books."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cluster.books import iso, open_books
from tests.cluster.gpus import CHECKOUT
from tests.cluster.harness import Cluster

pytestmark = pytest.mark.cluster


def tag(cluster: Cluster, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`scarbon tag`, where Slurm's commands find the cluster."""
    return subprocess.run(
        [sys.executable, "-m", "scarbon", "tag", *words],
        cwd=CHECKOUT,
        env={**os.environ, "SLURM_CONF": cluster.slurm.env["SLURM_CONF"], **environment},
        capture_output=True,
        text=True,
    )


def test_labels_reach_the_books(cluster: Cluster, tmp_path: Path) -> None:
    start_s = int(time.time()) - 1
    go = cluster.home / "go"
    wait = f"until [ -e {shlex.quote(str(go))} ]; do sleep 0.2; done"
    labelled = cluster.submit("ada", wait, "--comment=my words scarbon:project=x")
    array = cluster.submit("ada", wait, "--array=0-1")
    plain = cluster.submit("eve", "true")
    cluster.processes.wait_until(lambda: cluster.slurm.queue().get(f"{array}_1") == "RUNNING", "the array's tasks run")
    # As in the jobs' own environment.
    assert tag(cluster, "phase=train", SLURM_JOB_ID=str(labelled)).returncode == 0
    in_task = {"SLURM_JOB_ID": str(array), "SLURM_ARRAY_JOB_ID": str(array), "SLURM_ARRAY_TASK_ID": "1"}
    assert tag(cluster, "project=x", **in_task).returncode == 0
    shown = tag(cluster, SLURM_JOB_ID=str(labelled))
    assert (shown.returncode, shown.stdout) == (0, "project=x,phase=train\n")
    go.touch()
    cluster.slurm.wait_for_all()
    late = tag(cluster, "-j", str(labelled), "project=y")
    assert late.returncode == 1
    assert late.stderr.startswith("scarbon: scontrol refused: ")
    assert "already finished" in late.stderr

    books = open_books(tmp_path, cluster, holders="[hpc_job]")
    books.scarbon("collect", "--quiet", "-S", iso(start_s), "-E", iso(int(time.time())))
    rows = books.json("jobs", "-a", "-S", iso(start_s))["jobs"]
    ours = {str(labelled), f"{array}_0", f"{array}_1", str(plain)}
    tags = {row["job_id"]: row["tags"] for row in rows if row["job_id"] in ours}
    assert tags == {
        str(labelled): {"project": "x", "phase": "train"},
        f"{array}_0": {},
        f"{array}_1": {"project": "x"},
        str(plain): {},
    }
    chosen = books.scarbon("jobs", "-a", "-n", "-P", "-o", "JobID,Tags", "--tag", "project=x", "-S", iso(start_s))
    assert sorted(chosen.splitlines()) == sorted([f"{labelled}|project=x,phase=train", f"{array}_1|project=x"])
