"""The tree of accounts, from what sacctmgr writes (as seen with Slurm 22.05)."""

from __future__ import annotations

from pathlib import Path

import pytest

from accounting.accounts import Account
from accounting.sources import SourceError
from collectors.slurm.accounts import ask_accounts, read_dump
from tests.collectors.slurm.conftest import FakeSlurm

HEADER = "Cluster|Account|ParentName|User|Coord Accounts|Org|Descr\n"
ROWS = (
    "alpha|dept|root||bob,ada|faculty of x|a dept|with a pipe\n"
    "alpha|phys|root||||\nalpha|phys||root|||\n"
    "alpha|root||||root|default root account\nalpha|root||root||root|default root account\n"
    "alpha|team|dept||ada,bob,eve|dept|team\n"
    "alpha|team||eve|ada,bob,eve|dept|team\nalpha|team||ada|ada,bob,eve|dept|team\n"
    "alpha|team||ada|ada,bob,eve|dept|team\n"  # limited to two partitions
)
QUESTION = (
    "--noheader --parsable2 show account withassoc withcoord cluster={} "
    "format=Cluster,Account,ParentName,User,Coordinators,Organization,Description"
)
TREE = {
    "root": Account("root", None, "root", "default root account", ("root",), ()),
    "dept": Account("dept", "root", "faculty of x", "a dept|with a pipe", (), ("ada", "bob")),
    "team": Account("team", "dept", "dept", "team", ("ada", "eve"), ("ada", "bob", "eve")),
    "phys": Account("phys", "root", None, None, ("root",), ()),
}


def test_sacctmgr_is_asked_once(fake_slurm: FakeSlurm) -> None:
    fake_slurm.set(sacctmgr={QUESTION.format("alpha"): ROWS})
    tree = ask_accounts("alpha", fake_slurm.sacctmgr)
    assert tree.cluster == "alpha"
    assert tree.accounts == TREE
    assert len(fake_slurm.calls()) == 1


def test_a_dump_says_the_same(tmp_path: Path) -> None:
    path = tmp_path / "accounts"
    path.write_text(HEADER + ROWS + "beta|chem|root||zoe|chem|chem\n")
    assert read_dump("alpha", path).accounts == TREE
    assert list(read_dump("beta", path).accounts) == ["chem"]


def test_a_dump_of_the_associations_as_a_tree_knows_no_coordinators(tmp_path: Path) -> None:
    """`sacctmgr -P show assoc tree format=Cluster,Account,Partition,ParentName,User`."""
    path = tmp_path / "accounts"
    path.write_text(
        "Cluster|Account|Partition|ParentName|User\nalpha|root|||\nalpha| root|||root\nalpha| dept||root|\n"
        "alpha|  team||dept|\nalpha|   team|gpu||ada\n"
    )
    assert read_dump("alpha", path).accounts == {
        "root": Account("root", None, members=("root",)),
        "dept": Account("dept", "root"),
        "team": Account("team", "dept", members=("ada",)),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read: No such file"),
        ("", "has no column Account"),
        ("Cluster|Account|Partition|User\nalpha|root||\n", "has no column ParentName"),
        (HEADER + "beta|chem|root||zoe|chem|chem\n", "has no account of the cluster alpha"),
        (HEADER + "rubbish\n\n|||\n", "has no account of the cluster alpha"),
    ],
)
def test_a_dump_that_is_none(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "accounts"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SourceError, match=message) as error:
        read_dump("alpha", path)
    assert "sacctmgr -P show account withassoc withcoord format=Cluster," in error.value.advice


def test_sacctmgr_fails(fake_slurm: FakeSlurm) -> None:
    fake_slurm.set(sacctmgr={})
    with pytest.raises(SourceError, match=r"sacctmgr failed \(exit 1\): sacctmgr: error: Unknown option"):
        ask_accounts("alpha", fake_slurm.sacctmgr)


def test_a_cluster_that_slurmdbd_does_not_know(fake_slurm: FakeSlurm) -> None:
    """It answers with nothing, and no error: that is not to be taken for a cluster whose accounts are all gone."""
    fake_slurm.set(sacctmgr={QUESTION.format("alpa"): ""})
    with pytest.raises(SourceError, match="names no account of the cluster alpa"):
        ask_accounts("alpa", fake_slurm.sacctmgr)


def test_no_sacctmgr() -> None:
    with pytest.raises(SourceError, match="cannot be run: No such file or directory"):
        ask_accounts("alpha", "/nowhere/sacctmgr")
