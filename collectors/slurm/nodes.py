"""What a cluster's nodes are: as the site declares them, and as `scontrol show node` says where it does not.

Cores are those that Slurm can hand out (CPUEfctv: without those kept for the system), memory is RealMemory without
MemSpecLimit. It is what the nodes are now; what they were when an old window ran, nobody says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property

from accounting.model import Node
from accounting.sources import SourceError
from collectors.slurm import fields
from collectors.slurm.programs import Program
from site_config.host import Host, HostNode

_FIELD = re.compile(r"\b(NodeName|CPUTot|CPUEfctv|RealMemory|MemSpecLimit)=(\S+)")

TIMEOUT_S = 60.0


class ClusterNodes:
    """The nodes of one cluster; Slurm is asked once."""

    def __init__(self, cluster: str, host: Host, scontrol: str | None) -> None:
        """`scontrol`: the program, or None where there is no Slurm to be asked."""
        self._cluster = cluster
        self._host = host
        self._scontrol = scontrol

    def nodes(self) -> Mapping[str, Node]:
        """The nodes by name. SourceError where Slurm does not answer and is needed."""
        return self._nodes

    @cached_property
    def _nodes(self) -> dict[str, Node]:
        declared: dict[str, HostNode] = {}
        for names, node in self._host.nodes.items():
            try:
                declared |= dict.fromkeys(fields.nodes(names), node)
            except ValueError as error:
                raise SourceError(
                    f"clusters.{self._cluster}.host.nodes: {error}", "write a host list, such as n[1-16]"
                ) from None
        found: dict[str, tuple[int, float | None]] = {}
        complete = bool(declared) and all(node.cpus is not None for node in declared.values())
        if self._scontrol is not None and not complete:
            found = self._ask(self._scontrol)
        for name, node in declared.items():
            cpus, memory_mb = found.get(name, (node.cpus, None))
            if (cpus := node.cpus or cpus) is not None:
                found[name] = (cpus, node.memory_mb or memory_mb)
        idle_w = {name: node.idle_w for name, node in declared.items() if node.idle_w is not None}
        return {
            name: Node(name, cpus, memory_mb, idle_w.get(name, self._host.idle_w))
            for name, (cpus, memory_mb) in found.items()
        }

    def _ask(self, scontrol: str) -> dict[str, tuple[int, float | None]]:
        command = [scontrol, "--oneliner", f"--clusters={self._cluster}", "show", "node"]
        try:
            text = b"".join(Program(command, TIMEOUT_S, {}).output()).decode("utf-8", "replace")
        except SourceError as error:
            advice = (
                "make scontrol work here, or declare the nodes: host.nodes: {'n[1-16]': {cpus: 64, memory_mb: 512000}}"
            )
            raise SourceError(error.what, advice) from None
        return read_nodes(text)


def read_nodes(text: str) -> dict[str, tuple[int, float | None]]:
    """Cores and memory (MiB) of each node in the answer of `scontrol --oneliner show node`."""
    found: dict[str, tuple[int, float | None]] = {}
    for line in text.splitlines():
        words: dict[str, str] = dict(_FIELD.findall(line))
        cpus = words.get("CPUEfctv", words.get("CPUTot", ""))
        if "NodeName" in words and cpus.isdecimal() and int(cpus):
            memory_mb = float(words.get("RealMemory", 0)) - float(words.get("MemSpecLimit", 0))
            found[words["NodeName"]] = (int(cpus), memory_mb if memory_mb > 1 else None)  # 1 is Slurm's "not said"
    return found
