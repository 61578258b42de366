"""What nodes are: as the site says, and as scontrol (Slurm 22.05.8's own answer) where it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from accounting.model import Node
from accounting.sources import SourceError
from collectors.slurm.nodes import ClusterNodes, read_nodes
from site_config.host import Host

ANSWER = """\
NodeName=n1 Arch=x86_64 CoresPerSocket=1  CPUAlloc=0 CPUEfctv=14 CPUTot=16 CPULoad=9.74 AvailableFeatures=(null) \
ActiveFeatures=(null) Gres=gpu:a100:4 NodeAddr=127.0.0.1 NodeHostName=vm Port=25469 Version=22.05.8 \
OS=Linux 6.1 #1 SMP PREEMPT_DYNAMIC @0  RealMemory=8000 AllocMem=0 FreeMem=22503 Sockets=16 Boards=1 CoreSpecCount=2 \
MemSpecLimit=500 State=IDLE ThreadsPerCore=1 TmpDisk=0 Weight=1 Owner=N/A MCS_label=N/A Partitions=gpu  \
CfgTRES=cpu=14,mem=8000M,billing=14,gres/gpu=4,gres/gpu:a100=4 AllocTRES= CapWatts=n/a CurrentWatts=0
NodeName=n2 Arch=x86_64 CoresPerSocket=1  CPUAlloc=0 CPUTot=16 CPULoad=9.74 Gres=(null) NodeHostName=vm \
OS=Linux 6.1 RealMemory=1 AllocMem=0 State=IDLE CfgTRES=cpu=16,mem=1M,billing=16
"""


@pytest.fixture
def scontrol(tmp_path: Path) -> Path:
    """A stand-in that answers the one question, counts how often it is asked, and refuses every other."""
    (tmp_path / "answer").write_text(ANSWER)
    program = tmp_path / "scontrol"
    program.write_text(
        "#!/bin/sh\n"
        f'echo x >> "{tmp_path}/asked"\n'
        'if [ "$*" = "--oneliner --clusters=alpha show node" ]; then\n'
        f'  cat "{tmp_path}/answer"\n'
        'else echo "scontrol: error: unknown: $*" >&2; exit 1; fi\n'
    )
    program.chmod(0o755)
    return program


def host(**section: Any) -> Host:
    return Host.model_validate(section)


def test_slurm_says_what_nodes_are(scontrol: Path) -> None:
    """Cores without those kept for the system, memory likewise; RealMemory=1 is Slurm's way to say nothing."""
    nodes = ClusterNodes("alpha", host(idle_w=90.0), str(scontrol)).nodes()
    assert nodes == {"n1": Node("n1", 14, 7500.0, 90.0), "n2": Node("n2", 16, None, 90.0)}


def test_slurm_is_asked_once(scontrol: Path) -> None:
    source = ClusterNodes("alpha", host(), str(scontrol))
    assert source.nodes() == source.nodes()
    assert (scontrol.parent / "asked").read_text() == "x\n"


def test_the_site_has_the_last_word(scontrol: Path) -> None:
    declared = {"n[2-3]": {"cpus": 32, "idle_w": 150.0}, "n1": {"memory_mb": 4000.0}}
    nodes = ClusterNodes("alpha", host(nodes=declared, idle_w=90.0), str(scontrol)).nodes()
    assert nodes == {
        "n1": Node("n1", 14, 4000.0, 90.0),
        "n2": Node("n2", 32, None, 150.0),
        "n3": Node("n3", 32, None, 150.0),
    }


def test_nobody_is_asked_where_the_site_says_all() -> None:
    declared = {"n[1-2]": {"cpus": 64, "memory_mb": 512000.0}}
    nodes = ClusterNodes("alpha", host(nodes=declared), "/no/such/scontrol").nodes()
    assert nodes == {name: Node(name, 64, 512000.0) for name in ("n1", "n2")}


def test_without_slurm_a_node_of_unknown_size_is_unknown() -> None:
    assert ClusterNodes("alpha", host(nodes={"n1": {"idle_w": 90.0}}), None).nodes() == {}


def test_a_scontrol_that_does_not_answer_is_quoted(scontrol: Path) -> None:
    with pytest.raises(SourceError) as refused:
        ClusterNodes("beta", host(), str(scontrol)).nodes()
    assert "scontrol: error: unknown: --oneliner --clusters=beta show node" in refused.value.what
    assert "host.nodes" in refused.value.advice


def test_a_host_list_that_is_none() -> None:
    with pytest.raises(SourceError, match=r"clusters\.alpha\.host\.nodes: NodeList 'n\[1-'"):
        ClusterNodes("alpha", host(nodes={"n[1-": {"cpus": 1}}), None).nodes()


def test_what_is_no_node_is_passed_over() -> None:
    assert read_nodes("CLUSTER: alpha\n\nNodeName=n1 CPUTot=0 RealMemory=1\n") == {}
