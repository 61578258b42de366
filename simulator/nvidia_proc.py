"""What NVIDIA's driver shows of a node's GPUs under /proc/driver/nvidia/gpus: hooks find the UUID of a minor there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from simulator.hardware import Node


def as_driver_shows(node: Node, folder: Path) -> Node:
    """Make the node and the folder's pages agree.

    GPUs that have pages are these, in the order of the bus, with the pages' UUIDs and minors; for a folder without
    pages they are written. Raises ValueError where the pages are not as many as the node's GPUs.
    """
    pages = sorted(folder.glob("*/information"))
    if not pages:
        _write(node, folder)
        return node
    if len(pages) != len(node.gpus):
        raise ValueError(f"{folder}: {len(pages)} GPUs have a page, and the node has {len(node.gpus)}")
    gpus = []
    for gpu, page in zip(node.gpus, pages, strict=True):
        rows = (line.partition(":") for line in page.read_text(encoding="utf-8").splitlines())
        facts = {name.strip(): value.strip() for name, _, value in rows}
        bus = f"0000{facts['Bus Location'].upper()}"
        gpus.append(replace(gpu, uuid=facts["GPU UUID"], minor=int(facts["Device Minor"]), pci_bus_id=bus))
    return replace(node, gpus=tuple(gpus))


def _write(node: Node, folder: Path) -> None:
    for gpu in node.gpus:
        bus = gpu.pci_bus_id[4:].lower()  # the driver writes a domain of four digits, DCGM one of eight
        rows = (
            f"Model: \t\t {gpu.model}",
            f"IRQ:   \t\t {120 + gpu.index}",
            f"GPU UUID: \t {gpu.uuid}",
            "Video BIOS: \t 92.00.45.00.06",
            "Bus Type: \t PCIe",
            f"Bus Location: \t {bus}",
            f"Device Minor: \t {gpu.minor}",
        )
        page = folder / bus / "information"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text("\n".join(rows) + "\n", encoding="utf-8")
