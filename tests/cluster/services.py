"""The services under Slurm: munge, which says who is asking, and MariaDB, which keeps slurmdbd's books.

Both are the cluster's own (key, socket, port and data in its folder); a munge or MariaDB of the machine is not touched.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.processes import ClusterError, Processes, free_port


def start_munge(processes: Processes, folder: Path) -> Path:
    """Start munged; returns its socket."""
    folder.mkdir(mode=0o755)
    key = folder / "key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    socket = folder / "socket"
    # --force: munged would rather not have its key below /tmp.
    command = ["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={socket}"]
    command += [f"--pid-file={folder / 'pid'}", f"--log-file={folder / 'log'}", f"--seed-file={folder / 'seed'}"]
    processes.start("munged", command)
    processes.wait_until(socket.exists, "munged has its socket")
    return socket


@dataclass(frozen=True)
class Database:
    """Where slurmdbd finds its database."""

    port: int
    socket: Path
    name: str = "slurm_acct_db"
    user: str = "slurm"
    password: str = "slurm"


def start_mariadb(processes: Processes, folder: Path) -> Database:
    """Make a fresh data folder, start MariaDB on it and create the empty database with its user."""
    folder.mkdir()
    shutil.chown(folder, "mysql", "mysql")
    data, temporary = folder / "data", folder / "tmp"
    temporary.mkdir()
    shutil.chown(temporary, "mysql", "mysql")
    # A server that starts clears the temporary tables away that it finds: in /tmp those of another one, too.
    own = [f"--datadir={data}", f"--tmpdir={temporary}"]
    options = ["--user=mysql", "--skip-test-db", "--auth-root-authentication-method=normal"]
    processes.run(["mariadb-install-db", "--no-defaults", *own, *options])
    database = Database(free_port(), folder / "socket")
    command = ["mariadbd", "--no-defaults", *own, f"--socket={database.socket}"]
    command += ["--bind-address=127.0.0.1", f"--port={database.port}", f"--pid-file={folder / 'pid'}"]
    command += ["--skip-name-resolve"]  # 127.0.0.1 stays what it is, whatever /etc/hosts calls it
    # The books of a test need not survive a power cut.
    command += ["--innodb-flush-method=nosync", "--innodb-flush-log-at-trx-commit=0"]
    command += ["--innodb-buffer-pool-size=64M", "--innodb-lock-wait-timeout=900"]
    processes.start("mariadbd", command, user="mysql")

    client = ["mariadb", "--no-defaults", f"--socket={database.socket}", "--user=root", "--batch", "--execute"]

    def answers() -> bool:
        try:
            return bool(processes.run([*client, "select 1"]))
        except ClusterError:
            return False

    processes.wait_until(answers, "MariaDB answers")
    account = f"'{database.user}'@'127.0.0.1'"
    for statement in (
        f"create database {database.name}",
        f"create user {account} identified by '{database.password}'",
        f"grant all on {database.name}.* to {account}",
    ):
        processes.run([*client, statement])
    return database
