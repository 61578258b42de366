"""The tree of accounts, from what sacctmgr writes (as seen with Slurm 22.05)."""

from __future__ import annotations

import pytest

from accounting.sources import SourceError
from collectors.slurm.accounts import Account, read_accounts
from tests.collectors.slurm.conftest import FakeSlurm

SAID = {
    "--noheader --parsable2 show account withcoord format=Account,Coordinators": (
        "dept|bob,ada\nphys|\nroot|\nteam|ada,bob,eve\nelsewhere|zoe\n"
    ),
    "--noheader --parsable2 show associations cluster=alpha format=Account,ParentName,User": (
        "root||\nroot||root\ndept|root|\nteam|dept|\nteam||eve\nteam||ada\nteam||ada\nphys|root|\nphys||root\n"
    ),
}


def test_the_tree(fake_slurm: FakeSlurm) -> None:
    fake_slurm.set(sacctmgr=SAID)
    tree = read_accounts("alpha", fake_slurm.sacctmgr)
    assert tree.cluster == "alpha"
    assert tree.accounts == {
        "root": Account("root", None, ("root",), ()),
        "dept": Account("dept", "root", (), ("ada", "bob")),
        "team": Account("team", "dept", ("ada", "eve"), ("ada", "bob", "eve")),
        "phys": Account("phys", "root", ("root",), ()),
    }
    assert tree.branch("dept") == {"dept", "team"}
    assert tree.branch("root") == {"root", "dept", "team", "phys"}
    assert tree.branch("team") == {"team"}
    assert tree.path("team") == ("root", "dept", "team")
    assert tree.path("root") == ("root",)
    for asked in (tree.branch, tree.path):
        with pytest.raises(KeyError):
            asked("gone")


def test_sacctmgr_fails(fake_slurm: FakeSlurm) -> None:
    fake_slurm.set(sacctmgr={})
    with pytest.raises(SourceError, match=r"sacctmgr failed \(exit 1\): sacctmgr: error: Unknown option"):
        read_accounts("alpha", fake_slurm.sacctmgr)


def test_no_sacctmgr() -> None:
    with pytest.raises(SourceError, match="cannot be run: No such file or directory"):
        read_accounts("alpha", "/nowhere/sacctmgr")
