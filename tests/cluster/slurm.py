"""A real Slurm on this machine: slurmdbd, slurmctld and one slurmd for each node, with the commands to ask them.

Several slurmd run on one host as `slurmd -N NAME`, each with a spool folder and a port of its own. Times come from
Slurm as UTC epoch seconds (SLURM_TIME_FORMAT=%s).
"""

from __future__ import annotations

import os
import re
import shutil
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.processes import ClusterError, Processes, Service, free_port, listens
from tests.cluster.services import Database

CLUSTER = "alpha"
PARTITION = "gpu"
CPUS_PER_NODE = 16
CREDENTIAL_S = 15
SHARDS_PER_GPU = 4


@dataclass(frozen=True)
class Node:
    """A node of the cluster and its GPUs' device files, in the order of their minors."""

    name: str
    gpu_files: tuple[Path, ...]

    @property
    def shards(self) -> int:
        """How many shards its GPUs have in all."""
        return SHARDS_PER_GPU * len(self.gpu_files)


class Slurm:
    """The three daemons and what a user or an administrator says to them."""

    def __init__(self, processes: Processes, folder: Path, nodes: Sequence[Node], munge_socket: Path) -> None:
        self.processes = processes
        self.folder = folder
        self.nodes = tuple(nodes)
        self.munge_socket = munge_socket
        self.env = {"SLURM_CONF": str(folder / "slurm.conf"), "SLURM_TIME_FORMAT": "%s"}
        self.daemons: dict[str, Service] = {}

    # --- the daemons

    def configure(self, database: Database, prolog: Path, epilog: Path, extra: str = "") -> None:
        """Write slurm.conf, gres.conf and slurmdbd.conf."""
        self.folder.mkdir(mode=0o755)
        (self.folder / "state").mkdir()
        for node in self.nodes:
            (self.folder / f"spool-{node.name}").mkdir()
        host = socket.gethostname().partition(".")[0]
        # A requeued job waits until its first credential has expired: for two minutes, by default.
        auth = f"AuthType=auth/munge\nAuthInfo=socket={self.munge_socket},cred_expire={CREDENTIAL_S}\n"
        # For whoever comes over HTTP, with a token.
        key = self.folder / "jwt.key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(32))
        auth += f"AuthAltTypes=auth/jwt\nAuthAltParameters=jwt_key={key}\n"
        dbd_port = free_port()

        dbd = self.folder / "slurmdbd.conf"
        dbd.touch(mode=0o600)
        dbd.write_text(
            f"{auth}DbdHost=localhost\nDbdPort={dbd_port}\nSlurmUser=root\n"
            f"StorageType=accounting_storage/mysql\nStorageHost=127.0.0.1\nStoragePort={database.port}\n"
            f"StorageUser={database.user}\nStoragePass={database.password}\nStorageLoc={database.name}\n"
            f"PidFile={self.folder}/slurmdbd.pid\n"
        )

        gres = [
            f"NodeName={node.name} Name=gpu Type=a100 File={file}\n" for node in self.nodes for file in node.gpu_files
        ]
        gres += [f"NodeName={node.name} Name=shard Count={node.shards}\n" for node in self.nodes]
        (self.folder / "gres.conf").write_text("".join(gres))

        names = ",".join(node.name for node in self.nodes)
        node_lines = "".join(
            f"NodeName={node.name} NodeHostname={host} NodeAddr=127.0.0.1 Port={free_port()} CPUs={CPUS_PER_NODE} "
            f"RealMemory=8000 Gres=gpu:a100:{len(node.gpu_files)},shard:{node.shards}\n"
            for node in self.nodes
        )
        (self.folder / "slurm.conf").write_text(
            f"ClusterName={CLUSTER}\nSlurmctldHost={host}(127.0.0.1)\nSlurmctldPort={free_port()}\n{auth}"
            f"SlurmUser=root\nSlurmdUser=root\nStateSaveLocation={self.folder}/state\n"
            f"SlurmctldPidFile={self.folder}/slurmctld.pid\nSlurmdPidFile={self.folder}/slurmd-%n.pid\n"
            f"SlurmdSpoolDir={self.folder}/spool-%n\n"
            f"ProctrackType=proctrack/linuxproc\nTaskPlugin=task/none\n"
            f"JobAcctGatherType=jobacct_gather/linux\nJobAcctGatherFrequency=5\n"
            f"SelectType=select/cons_tres\nSelectTypeParameters=CR_Core_Memory\nDefMemPerCPU=100\n"
            f"GresTypes=gpu,shard\nAccountingStorageTRES=gres/gpu,gres/shard\nAccountingStoreFlags=job_comment\n"
            f"AccountingStorageType=accounting_storage/slurmdbd\nAccountingStorageHost=127.0.0.1\n"
            # Towards slurmdbd this, and not AuthInfo, names the munge socket.
            f"AccountingStoragePort={dbd_port}\nAccountingStoragePass={self.munge_socket}\n"
            f"AccountingStorageEnforce=associations\n"
            f"PrologFlags=Alloc\nProlog={prolog}\nEpilog={epilog}\n"
            # The nodes claim more cores than this machine has.
            f"SlurmdParameters=config_overrides\nReturnToService=2\n"
            # Nobody waits for a person here: cancel fast, schedule at once, forget no job while the tests run.
            f"KillWait=1\nMinJobAge=3600\nSchedulerParameters=batch_sched_delay=0,bf_interval=1\n"
            f"{node_lines}PartitionName={PARTITION} Nodes={names} Default=YES MaxTime=INFINITE State=UP\n"
            f"{extra}"
        )

    def start(self, users: Mapping[str, str]) -> None:
        """Start the daemons, register the cluster and its `users` (name: account), and wait for idle nodes."""
        self.start_daemon("slurmdbd")
        self.processes.wait_until(lambda: self.answers("sacctmgr", "-n", "show", "cluster"), "slurmdbd answers")
        self.sacctmgr("add", "cluster", CLUSTER)
        for account in sorted(set(users.values())):
            self.sacctmgr("add", "account", account)
        for user, account in users.items():
            self.sacctmgr("add", "user", user, f"account={account}")
        self.start_daemon("slurmctld")
        for node in self.nodes:
            self.start_daemon(f"slurmd-{node.name}")
        self.processes.wait_until(self.all_idle, "all nodes are idle")

    def start_daemon(self, name: str) -> None:
        """Start (again) `slurmdbd`, `slurmctld` or `slurmd-NODE`."""
        daemon, _, node = name.partition("-")
        command = [daemon, "-D", *(["-N", node] if node else [])]
        self.daemons[name] = self.processes.start(name, command, env=self.env)

    def stop_daemon(self, name: str) -> None:
        """Stop one daemon; `start_daemon` brings it back."""
        self.processes.stop(self.daemons.pop(name))

    def start_rest_socket(self, folder: Path, user: str) -> Path:
        """Start slurmrestd on a Unix socket in a new folder; munge says who is asking. It refuses to run as root."""
        folder.mkdir()
        shutil.chown(folder, user, user)
        path = folder / "socket"
        command = ["slurmrestd", "-a", "rest_auth/local", f"unix:{path}"]
        self.processes.start("slurmrestd-socket", command, user=user, env=self.env)
        self.processes.wait_until(path.exists, "slurmrestd has its socket")
        return path

    def start_rest_http(self, user: str) -> int:
        """Start slurmrestd on a port, for those who have a token; one slurmrestd cannot serve both."""
        port = free_port()
        command = ["slurmrestd", "-a", "rest_auth/jwt", f"127.0.0.1:{port}"]
        self.processes.start("slurmrestd-http", command, user=user, env={**self.env, "SLURM_JWT": "daemon"})
        self.processes.wait_until(lambda: listens(port), "slurmrestd listens")
        return port

    def token(self, user: str, seconds: int = 3600) -> str:
        """A token for slurmrestd in the user's name."""
        return self.run("scontrol", "token", f"username={user}", f"lifespan={seconds}").strip().partition("=")[2]

    def all_idle(self) -> bool:
        """Whether every node is idle, and the controller answers."""
        if not self.answers("scontrol", "ping"):
            return False
        return set(self.node_states().values()) == {"idle"}

    def cancel_all(self) -> None:
        """Cancel every job and wait until the last slurmstepd has gone: stopping slurmd alone would leave it."""
        if not self.answers("scontrol", "ping"):
            return
        self.run("scancel", "--full", f"--partition={PARTITION}")

        def gone() -> bool:
            return not self.queue() and not any("slurmstepd" in command for command in self.processes.ours().values())

        self.processes.wait_until(gone, "the last job and its slurmstepd have gone", timeout_s=30)

    # --- what people say to it

    def run(self, *command: str | Path, user: str | None = None, cwd: Path | None = None) -> str:
        """Run one of Slurm's commands; its stdout."""
        return self.processes.run(command, env=self.env, user=user, cwd=cwd)

    def answers(self, *command: str) -> bool:
        """Whether a command ends well."""
        try:
            self.run(*command)
        except ClusterError:
            return False
        return True

    def sacctmgr(self, *words: str) -> None:
        """Change the accounts, without being asked whether it is meant."""
        self.run("sacctmgr", "-i", *words)

    def node_states(self) -> dict[str, str]:
        """`sinfo`'s word for each node: idle, mixed, allocated, drained, …"""
        rows = self.run("sinfo", "-h", "-N", "-o", "%N %T").split("\n")
        return dict(row.split() for row in rows if row)

    def sbatch(
        self, script: str, *options: str, user: str, cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> int:
        """Submit a script as `user`; the job's raw id (of an array: its first id)."""
        out = self.processes.run(
            ["sbatch", "--parsable", *options, f"--wrap={script}"],
            env={**self.env, **(env or {})},
            user=user,
            cwd=cwd,
        )
        return int(out.strip().partition(";")[0])

    def sacct(self, fields: str, *options: str) -> list[dict[str, str]]:
        """Rows of `sacct -P -a -D -X`, of every attempt of every job, as dictionaries."""
        out = self.run("sacct", "-P", "-a", "-D", "-X", "-S", "1970-01-02", "-o", fields, *options)
        header, *rows = out.splitlines()
        names = header.split("|")
        return [dict(zip(names, row.split("|"), strict=True)) for row in rows]

    def queue(self) -> dict[str, str]:
        """The state of each job that has not ended, as the controller has it, by job id (`7_0` for a task)."""
        rows = self.run("squeue", "-h", "-r", "-o", "%i %T").splitlines()
        return dict(row.split() for row in rows)

    def wait_for_all(self, timeout_s: float = 120) -> None:
        """Wait until no job is left and slurmdbd knows the end of each."""
        self.processes.wait_until(lambda: not self.queue(), "the queue is empty", timeout_s=timeout_s, every_s=0.5)
        self.wait_for_books()

    def wait_for_books(self) -> None:
        """Wait until slurmdbd has every end that the controller knows; it is told, and writes, with a delay."""

        def written() -> bool:
            ends = {(row["JobIDRaw"], row["End"]) for row in self.sacct("JobIDRaw,End")}
            blocks = self.run("scontrol", "--oneliner", "show", "job").splitlines()
            jobs = [dict(re.findall(r"(\w+)=(\S+)", block)) for block in blocks]
            return ends >= {(job["JobId"], job["EndTime"]) for job in jobs if "JobId" in job}

        self.processes.wait_until(written, "slurmdbd knows every end", every_s=0.5)

    def show_job(self, job_id: int) -> dict[str, str]:
        """What the controller knows of a job: `scontrol show job -d`, its `key=value` words (the first of a name)."""
        fields: dict[str, str] = {}
        for word in self.run("scontrol", "show", "job", "-d", str(job_id)).split():
            key, equals, value = word.partition("=")
            if equals:
                fields.setdefault(key, value)
        return fields

    def running_gpus(self) -> dict[tuple[int, int], dict[str, list[int]]]:
        """The controller's own record of the GPUs that each running job holds, by Slurm's index on each node.

        By (raw job id, restart count). Jobs without a GPU are there too, with no node.
        """
        running = {}
        for block in self.run("scontrol", "show", "job", "-d").split("\n\n"):
            fields = dict(re.findall(r"(\w+)=(\S+)", block))
            if fields.get("JobState") == "RUNNING":
                held = re.findall(r"^\s+Nodes=(\S+) .*GRES=(?:gpu|shard):[^(\s]*\(IDX:([^)]*)\)", block, re.MULTILINE)
                running[int(fields["JobId"]), int(fields["Restarts"])] = {
                    node: expand_indices(indices) for nodes, indices in held for node in self.expand_nodes(nodes)
                }
        return running

    def cancel(self, job_id: int) -> None:
        """Cancel a job, as its administrator."""
        self.run("scancel", str(job_id))

    def requeue(self, job_id: int) -> None:
        """Requeue a running job, as its administrator; it starts again some seconds after its credential's end.

        Slurm itself may start it in the very second in which the credential ends, and slurmd (22.05) looks for old ones
        only every other second: then the second attempt gets no Prolog, only an Epilog.
        """
        self.run("scontrol", "requeue", str(job_id))
        self.processes.wait_until(lambda: self.queue().get(str(job_id)) == "PENDING", f"job {job_id} waits again")
        self.run("scontrol", "update", f"JobId={job_id}", f"StartTime=now+{CREDENTIAL_S + 5}")

    def expand_nodes(self, nodes: str) -> list[str]:
        """`n[1-2]` → n1, n2. Our names need no more than that."""
        if "[" not in nodes:
            return nodes.split(",")
        return self.run("scontrol", "show", "hostnames", nodes).split()


def expand_indices(text: str) -> list[int]:
    """`0-2,5` → [0, 1, 2, 5]."""
    indices = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        indices += range(int(first), int(last or first) + 1)
    return indices
