"""The GPUs of a node that has none: device files for Slurm, the driver's /proc pages, our hook, and the exporter.

Slurm counts GPUs by device minor, the driver's pages tell minor, UUID and PCI bus, and DCGM counts in the order of the
bus. On the second node the two orders differ, as they do on some real boards, so that whoever takes one for the other
bills the wrong GPU.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
import urllib.error
import urllib.request
import uuid
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.processes import Processes, Service

CHECKOUT = Path(__file__).resolve().parents[2]
MODEL = "NVIDIA A100-SXM4-80GB"
#: Device minor of each GPU, in the order of the PCI bus, by node.
MINORS = {"n1": (0, 1, 2, 3), "n2": (1, 3, 0, 2)}


@dataclass(frozen=True)
class Gpu:
    """A GPU: `index` is DCGM's, `minor` is the device file's, by which Slurm counts."""

    node: str
    index: int
    minor: int
    uuid: str


@dataclass(frozen=True)
class GpuNode:
    """A node's GPUs and the folders around them."""

    name: str
    folder: Path
    gpus: tuple[Gpu, ...]

    @property
    def device_files(self) -> tuple[Path, ...]:
        """The device files, in the order of their minors."""
        return tuple(self.folder / f"nvidia{minor}" for minor in sorted(gpu.minor for gpu in self.gpus))

    @property
    def mapping_dir(self) -> Path:
        """The folder that tells dcgm-exporter which job holds which GPU."""
        return self.folder / "mapping"

    @property
    def nvidia_proc(self) -> Path:
        """What /proc/driver/nvidia/gpus is on a real node."""
        return self.folder / "proc"

    @property
    def hook(self) -> Path:
        """This node's installation of our Prolog and Epilog."""
        return self.folder / "hook.py"

    @property
    def truth(self) -> Path:
        """Where the exporter writes what the GPUs really drew."""
        return self.folder / "truth.jsonl"

    def by_minor(self, minor: int) -> Gpu:
        """The GPU that Slurm calls by this index."""
        return next(gpu for gpu in self.gpus if gpu.minor == minor)


def make_node(folder: Path, name: str, journal_dir: Path) -> GpuNode:
    """Make the files of a node with four GPUs, and install the hook with the node's own configuration beside it."""
    folder.mkdir(mode=0o755, parents=True)
    gpus = tuple(
        Gpu(name, index, minor, f"GPU-{uuid.uuid5(uuid.NAMESPACE_DNS, f'{name}-{index}')}")
        for index, minor in enumerate(MINORS[name])
    )
    node = GpuNode(name, folder, gpus)
    for file in node.device_files:
        os.mknod(file, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    for gpu in gpus:
        bus = f"0000:{7 + 8 * gpu.index:02x}:00.0"
        page = node.nvidia_proc / bus / "information"
        page.parent.mkdir(parents=True)
        page.write_text(
            f"Model: \t\t {MODEL}\nIRQ:   \t\t 16\nGPU UUID: \t {gpu.uuid}\nBus Type: \t PCIe\n"
            f"Bus Location: \t {bus}\nDevice Minor: \t {gpu.minor}\n"
        )
    node.mapping_dir.mkdir()
    shutil.copy(CHECKOUT / "slurm_plugin" / "hook.py", node.hook)
    node.hook.chmod(0o755)
    (folder / "hook.conf").write_text(
        f"journal_dir = {journal_dir}\nmapping_dir = {node.mapping_dir}\nnvidia_proc = {node.nvidia_proc}\n"
    )
    return node


class Exporter:
    """The stand-in for dcgm-exporter on one node."""

    def __init__(self, processes: Processes, node: GpuNode, load_dir: Path) -> None:
        self.processes = processes
        self.node = node
        self.load_dir = load_dir
        self.port = 0
        self.service: Service | None = None

    def start(self) -> None:
        """Start it on a port of its choice and wait for its first page."""
        port_file = self.node.folder / "port"
        options: dict[str, object] = {
            "--node": self.node.name,
            "--port": self.port,
            "--port-file": port_file,
            "--mapping-dir": self.node.mapping_dir,
            "--load-dir": self.load_dir,
            "--truth": self.node.truth,
            "--collect-interval-ms": 100,
            "--nvidia-proc": self.node.nvidia_proc,
        }
        words = [str(word) for option in options.items() for word in option]
        self.service = self.processes.start(
            f"exporter-{self.node.name}",
            [sys.executable, "-m", "simulator.exporter", *words],
            env={"PYTHONPATH": str(CHECKOUT)},
        )
        self.processes.wait_until(
            lambda: port_file.exists() and port_file.read_text().strip(), f"the exporter of {self.node.name} listens"
        )
        self.port = int(port_file.read_text())

    def stop(self) -> None:
        """Stop it; it writes the rest of its truth first."""
        assert self.service is not None
        self.processes.stop(self.service)

    def page_status(self) -> int:
        """Ask for the page; the HTTP status of the answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
