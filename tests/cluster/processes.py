"""The processes of a cluster in the tests: started, waited for, and stopped again by process id, whatever happens.

Every process is a child of ours in a session of its own (Ctrl-C in the terminal reaches pytest alone, which then
stops them in order), gets SIGTERM when this process dies without a word, and is known by the cluster's folder: it has
it in its environment, and works inside it. What it starts in turn inherits one or the other (slurmstepd overwrites its
environment, and a job may go elsewhere), so that nothing can be left behind unseen.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

MARK = "SCARBON_TEST_CLUSTER"


class ClusterError(Exception):
    """A part of the cluster did not do what it must; the message holds its last output."""


@dataclass(frozen=True)
class Service:
    """A process that runs until it is stopped."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path


class Processes:
    """The services of one cluster, whose files are in `folder`, and the commands that are run against it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.logs = folder / "log"
        self.logs.mkdir(exist_ok=True)
        self.environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", MARK: str(folder)}
        self.services: list[Service] = []

    def start(
        self, name: str, command: Sequence[str | Path], *, user: str | None = None, env: Mapping[str, str] | None = None
    ) -> Service:
        """Start a service in the foreground, as `user`, with its output in `<name>.log`."""
        log = self.logs / f"{name}.log"
        become = [f"--reuid={user}", f"--regid={user}", "--init-groups"] if user else []
        with log.open("ab") as output:
            process = subprocess.Popen(
                ["setpriv", *become, "--pdeathsig=TERM", "--", *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.logs,
                env={**self.environment, **(env or {})},
                start_new_session=True,
            )
        service = Service(name, process, log)
        self.services.append(service)
        return service

    def stop(self, service: Service, patience_s: float = 10) -> None:
        """Stop one service, gently at first."""
        self.services.remove(service)
        service.process.terminate()
        try:
            service.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            os.killpg(service.process.pid, signal.SIGKILL)
            service.process.wait()

    def kill(self, service: Service) -> None:
        """End one service as a crash would."""
        self.services.remove(service)
        os.killpg(service.process.pid, signal.SIGKILL)
        service.process.wait()

    def stop_all(self) -> list[str]:
        """Stop every service, the last started first; the command lines of what had outlived them and was killed."""
        while self.services:
            self.stop(self.services[-1])
        left = self.ours()
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        deadline = time.monotonic() + 5
        while self.ours() and time.monotonic() < deadline:
            time.sleep(0.02)
        return list(left.values())

    def ours(self) -> dict[int, str]:
        """Every living process of this cluster: process id and command line."""
        mark = f"{MARK}={self.folder}".encode()
        found = {}
        for process in Path("/proc").glob("[0-9]*"):
            try:
                marked = mark in (process / "environ").read_bytes().split(b"\0")
                if marked or (process / "cwd").readlink().is_relative_to(self.folder):
                    command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    found[int(process.name)] = command.strip()
            except OSError:  # it ended meanwhile, or is none that may be asked
                continue
        return found

    def run(
        self,
        command: Sequence[str | Path],
        *,
        user: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        timeout_s: float = 60,
    ) -> str:
        """Run a command to its end and return its stdout; ClusterError with all its output where it fails."""
        words = [str(word) for word in command]
        try:
            done = subprocess.run(
                words,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                env={**self.environment, **(env or {})},
                cwd=cwd or self.logs,
                timeout=timeout_s,
                user=user,
                group=user,
                extra_groups=[] if user else None,
            )
        except subprocess.TimeoutExpired as late:
            raise ClusterError(f"{' '.join(words)}: no end after {timeout_s:g} s") from late
        if done.returncode:
            raise ClusterError(f"{' '.join(words)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def wait_until(self, condition: Callable[[], T], what: str, *, timeout_s: float = 60, every_s: float = 0.1) -> T:
        """Ask until the answer is true, and return it; ClusterError once a service has died or time is up."""
        deadline = time.monotonic() + timeout_s
        while True:
            if answer := condition():
                return answer
            for service in self.services:
                if service.process.poll() is not None:
                    raise ClusterError(f"{service.name} ended while waiting until {what}\n{self.last_words()}")
            if time.monotonic() > deadline:
                raise ClusterError(f"waited {timeout_s:g} s in vain until {what}\n{self.last_words()}")
            time.sleep(every_s)

    def last_words(self, lines: int = 8) -> str:
        """The end of every log, for an error message."""
        parts = []
        for log in sorted(self.logs.glob("*.log")):
            text = log.read_text(errors="replace").splitlines()[-lines:]
            parts.append("\n".join([f"--- {log.name}", *text]))
        return "\n".join(parts)


def free_port() -> int:
    """A free TCP port on 127.0.0.1, below the range from which the kernel takes ports for outgoing connections."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def listens(port: int) -> bool:
    """Whether somebody accepts connections there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
