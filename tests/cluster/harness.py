"""A whole cluster on this machine: Slurm with its books, GPU nodes with our hooks and exporters, and Prometheus.

`with running_cluster() as cluster:` starts it (some ten seconds) and stops it by process id, whatever happens
in between; all its files are in one folder.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.gpus import CHECKOUT, Exporter, GpuNode, make_node
from tests.cluster.processes import ClusterError, Processes
from tests.cluster.prometheus import Prometheus
from tests.cluster.services import start_mariadb, start_munge
from tests.cluster.slurm import Node, Slurm
from tests.cluster.users import add_users

#: The test users and the account of each. On the machine their names get a suffix.
ACCOUNTS = {"ada": "phys", "bob": "phys", "eve": "chem"}
#: The interpreter of the jobs: that of the tests may lie where other users cannot go.
JOB_PYTHON = "/usr/bin/python3"
#: Where clusters have their folders: paths are short (a socket's may have 108 bytes), and the test users may enter.
TEMP = Path("/tmp")
PREFIX = "scb-"
#: The file in a cluster's folder that names the process whose cluster it is.
OWNER = "owner"


@dataclass(frozen=True)
class Cluster:
    """A running cluster."""

    folder: Path
    processes: Processes
    slurm: Slurm
    nodes: dict[str, GpuNode]
    exporters: dict[str, Exporter]
    prometheus: Prometheus
    users: dict[str, str]  # the name in ACCOUNTS: the name on this machine
    journal_dir: Path
    home: Path  # where jobs write their output: every user may
    load_dir: Path

    def load(self, seconds: float, power_w: float) -> str:
        """A shell command for a job's script that makes the job's GPUs draw power."""
        load = self.folder / "lib" / "load.py"
        return f"{JOB_PYTHON} {load} --seconds {seconds:g} --power-w {power_w:g}"

    def submit(self, user: str, script: str, *options: str) -> int:
        """`sbatch` as one of the users of ACCOUNTS; the job's raw id (of an array: its first id)."""
        env = {"SCARBON_SIM_LOAD_DIR": str(self.load_dir)}
        return self.slurm.sbatch(script, *options, user=self.users[user], cwd=self.home, env=env)


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    """Start everything; stop everything. ClusterError where a part does not come up or something was left behind."""
    clear_away_dead_runs(TEMP)
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=TEMP))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o755)
        (folder / OWNER).write_text(str(os.getpid()))
        processes = Processes(folder)
        users = add_users(processes, list(ACCOUNTS), stack)
        stack.callback(_stop, processes)
        home, load_dir = folder / "home", folder / "load"
        for shared in (home, load_dir):
            shared.mkdir()
            shared.chmod(0o1777)
        (folder / "lib").mkdir()
        shutil.copy(CHECKOUT / "simulator" / "load.py", folder / "lib")

        journal_dir = folder / "journal"
        nodes = {name: make_node(folder / name, name, journal_dir) for name in ("n1", "n2")}
        exporters = {node.name: Exporter(processes, node, load_dir) for node in nodes.values()}
        for exporter in exporters.values():
            exporter.start()
        prometheus = Prometheus(processes, folder / "prometheus")
        prometheus.configure({name: exporter.port for name, exporter in exporters.items()})
        prometheus.start()

        munge_socket = start_munge(processes, folder / "munge")
        database = start_mariadb(processes, folder / "mariadb")
        slurm_nodes = [Node(node.name, node.device_files) for node in nodes.values()]
        slurm = Slurm(processes, folder / "slurm", slurm_nodes, munge_socket)
        slurm.configure(database, hook := _hook_of_the_node(folder), hook)
        stack.callback(slurm.cancel_all)
        slurm.start({users[name]: account for name, account in ACCOUNTS.items()})

        yield Cluster(
            folder, processes, slurm, nodes, exporters, prometheus, users, journal_dir, home=home, load_dir=load_dir
        )


def clear_away_dead_runs(temp: Path) -> None:
    """Remove what is left of runs that were killed before they could stop their clusters."""
    for owner in temp.glob(f"{PREFIX}*/{OWNER}"):
        if not Path("/proc", owner.read_text()).exists():
            Processes(owner.parent).stop_all()
            shutil.rmtree(owner.parent, ignore_errors=True)


def _hook_of_the_node(folder: Path) -> Path:
    """On one machine all nodes have the same path in `Prolog=`: this one goes on to the node's own hook."""
    path = folder / "hook"
    path.write_text(f'#!/bin/sh\nexec "{folder}/$SLURMD_NODENAME/hook.py"\n')
    path.chmod(0o755)
    return path


def _stop(processes: Processes) -> None:
    if left := processes.stop_all():
        raise ClusterError("processes outlived their services and were killed: " + "; ".join(left))
