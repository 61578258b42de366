"""A node for the hook to run on: folders, a fake /proc/driver/nvidia, a syslog socket, and Slurm's bare environment."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

HOOK = Path(__file__).parents[2] / "slurm_plugin" / "hook.py"

#: How a test interferes: the hook is loaded under another name, `posix` in it is replaced by what the test says.
DRIVER = """
import importlib.machinery, importlib.util, posix, sys
path, code, arguments = sys.argv[1], sys.argv[2], sys.argv[3:]
loader = importlib.machinery.SourceFileLoader("hook", path)
hook = importlib.util.module_from_spec(importlib.util.spec_from_loader("hook", loader))
loader.exec_module(hook)

class Posix:
    def __getattr__(self, name):
        return getattr(posix, name)

hook.posix = fake = Posix()
exec(code)
hook.main(arguments)
"""


def python_versions() -> list[str]:
    """Every Python 3.6 or later that this machine has, oldest first; the one that runs the tests among them."""
    found = {}
    pyenv = sorted((Path.home() / ".pyenv" / "versions").glob("3*/bin/python3"))
    for path in [sys.executable, *map(str, pyenv), *(f"/usr/bin/python3.{minor}" for minor in range(6, 16))]:
        if not os.access(path, os.X_OK):
            continue
        done = subprocess.run(
            [path, "-ISc", "import sys; print(sys.version_info[:2])"], capture_output=True, text=True, check=True
        )
        version = tuple(json.loads(done.stdout.replace("(", "[").replace(")", "]")))
        if version >= (3, 6):
            found.setdefault(version, path)
    return [found[version] for version in sorted(found)]


class Node:
    """One node: what the hook may touch is under `home`, and Slurm's environment is `env`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.journal_dir = home / "spool"
        self.mapping_dir = home / "mapping"
        self.config = home / "etc" / "hook.conf"
        self.config.parent.mkdir(parents=True)
        self.syslog_path = home / "log"
        self.syslog = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.syslog.bind(str(self.syslog_path))
        self.syslog.setblocking(False)
        self.settings: dict[str, object] = {
            "journal_dir": self.journal_dir,
            "mapping_dir": self.mapping_dir,
            "nvidia_proc": home / "proc" / "gpus",
            "amd_sys": home / "drm",
            "syslog": self.syslog_path,
            "budget_s": 30,
        }
        self.configure()

    def configure(self, **settings: object) -> None:
        self.settings.update(settings)
        self.config.write_text("".join(f"{key} = {value}\n" for key, value in self.settings.items()))

    def add_gpu(self, bus: str, minor: int, uuid: str) -> None:
        """A GPU as the NVIDIA driver shows it."""
        folder = self.home / "proc" / "gpus" / bus
        folder.mkdir(parents=True)
        folder.joinpath("information").write_text(
            f"Model: \t\t NVIDIA A100-SXM4-80GB\nIRQ:   \t\t 193\nGPU UUID: \t {uuid}\nVideo BIOS: \t 92.00.45.00.05\n"
            f"Bus Type: \t PCIe\nDMA Size: \t 47 bits\nBus Location: \t {bus}\nDevice Minor: \t {minor}\n"
            "GPU Excluded:\t No\n"
        )

    def add_mig(self, minor: int, instance: int) -> None:
        """A MIG instance as the NVIDIA driver shows it."""
        folder = self.home / "proc" / "capabilities" / f"gpu{minor}" / "mig" / f"gi{instance}"
        folder.mkdir(parents=True)
        folder.joinpath("access").write_text("DeviceFileMinor: 66\nDeviceFileMode: 292\nDeviceFileModify: 1\n")

    def env(self, context: str, job: object = 42, **more: str) -> dict[str, str]:
        """What Slurm gives a Prolog or an Epilog: no PATH, nothing of ours."""
        return {
            "SLURM_SCRIPT_CONTEXT": f"{context}_slurmd",
            "SLURM_JOB_ID": str(job),
            "SLURM_JOB_UID": "1000",
            "SLURM_JOB_USER": "ada",
            "SLURM_JOB_ACCOUNT": "phys",
            "SLURM_JOB_RESTART_COUNT": "0",
            "SLURM_CLUSTER_NAME": "alpha",
            "SLURMD_NODENAME": "n1",
            **more,
        }

    def command(self, *arguments: str, python: str = sys.executable, fault: str = "") -> list[str]:
        if fault:
            return [python, "-I", "-S", "-c", DRIVER, str(HOOK), fault, "--config", str(self.config), *arguments]
        return [python, "-I", "-S", str(HOOK), "--config", str(self.config), *arguments]

    def run(
        self, context: str, job: object = 42, *, python: str = sys.executable, fault: str = "", **more: str
    ) -> None:
        """Run the hook as slurmd does; it must exit 0 and say nothing."""
        done = subprocess.run(
            self.command(python=python, fault=fault),
            env=self.env(context, job, **more),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=120,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")

    def prolog(self, job: object = 42, gpus: str = "0", **more: str) -> None:
        self.run("prolog", job, **{"SLURM_JOB_GPUS": gpus, "CUDA_VISIBLE_DEVICES": gpus, **more})

    def epilog(self, job: object = 42, gpus: str = "0", **more: str) -> None:
        self.run("epilog", job, **{"SLURM_JOB_GPUS": gpus, "CUDA_VISIBLE_DEVICES": gpus, **more})

    def journal(self, name: str = "n1.jsonl") -> list[dict]:
        """The journal's lines, each of which must be JSON by itself."""
        path = self.journal_dir / name
        return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []

    def holds(self) -> list[tuple]:
        return [(line["event"], line["job_id"]) for line in self.journal() if line["event"] != "error"]

    def errors(self) -> list[str]:
        return [line["message"] for line in self.journal() if line["event"] == "error"]

    def mapping(self) -> dict[str, list[str]]:
        """The folder as dcgm-exporter reads it: by file, the lines as they stand. Names with a dot first are ours."""
        return {
            path.name: path.read_text().splitlines()
            for path in sorted(self.mapping_dir.iterdir())
            if not path.name.startswith(".")
        }

    def said(self) -> list[str]:
        """What reached syslog since the last time."""
        lines = []
        while True:
            try:
                lines.append(self.syslog.recv(4096).decode())
            except BlockingIOError:
                return lines

    def close(self) -> None:
        self.syslog.close()


@pytest.fixture
def make_node(tmp_path):
    """Make a node by name; all are closed at the end."""
    with contextlib.ExitStack() as stack:

        def make(name: str) -> Node:
            made = Node(tmp_path / name)
            stack.callback(made.close)
            return made

        yield make


@pytest.fixture
def node(make_node):
    return make_node("node")


@pytest.fixture(params=python_versions(), ids=lambda path: path)
def python(request):
    """Each interpreter that this machine has."""
    return request.param
