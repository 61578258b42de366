"""Who belongs to whom, from Slurm: a cluster's accounts with their members and coordinators, as `sacctmgr` has them.

One question, or a dump of its answer where Slurm is not at hand. Both of them go into the books at each collect.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from accounting.accounts import Account, AccountTree
from accounting.sources import SourceError
from collectors.slurm.programs import Program

#: What is asked for. The description comes last, since it may hold any text, `|` included.
FIELDS = ("Cluster", "Account", "ParentName", "User", "Coordinators", "Organization", "Description")
QUESTION = ("show", "account", "withassoc", "withcoord")
#: How the heads of these columns begin: `Coord Accounts`, `Org`, `Descr`. (`Par` alone would be `Partition`, too.)
_HEADS = ("cluster", "account", "parent", "user", "coord", "org", "descr")

TIMEOUT_S = 120.0


def ask_accounts(cluster: str, sacctmgr: str = "sacctmgr") -> AccountTree:
    """Ask `sacctmgr` for a cluster's accounts. SourceError, with its own message, where it fails."""
    command = [sacctmgr, "--noheader", "--parsable2", *QUESTION, f"cluster={cluster}", f"format={','.join(FIELDS)}"]
    text = b"".join(Program(command, TIMEOUT_S, {}).output()).decode("utf-8", "backslashreplace")
    tree = _tree(cluster, FIELDS, text.splitlines())
    if not tree.accounts:
        raise SourceError(f"{sacctmgr} names no account of the cluster {cluster}", "is that Slurm's ClusterName?")
    return tree


def read_dump(cluster: str, path: Path) -> AccountTree:
    """A cluster's accounts in a dump that `sacctmgr -P show account withassoc withcoord` or `show assoc` wrote.

    SourceError where it cannot be read, or lacks a column that the tree needs.
    """
    advice = f"write it with: sacctmgr -P {' '.join(QUESTION)} format={','.join(FIELDS)}"
    try:
        header, *lines = path.read_bytes().decode("utf-8", "backslashreplace").splitlines() or [""]
    except OSError as error:
        raise SourceError(f"the accounts' dump {path} cannot be read: {error.strerror}", advice) from None
    fields = [_field(head) for head in header.split("|")]
    for needed in ("Account", "ParentName", "User"):
        if needed not in fields:
            raise SourceError(f"the accounts' dump {path} has no column {needed}", advice)
    tree = _tree(cluster, fields, lines)
    if not tree.accounts:
        raise SourceError(f"the accounts' dump {path} has no account of the cluster {cluster}", advice)
    return tree


def _field(head: str) -> str:
    """The field that a column of a dump is, by its head; "" for one that is not needed."""
    for field, begins in zip(FIELDS, _HEADS, strict=True):
        if head.strip().casefold().startswith(begins):
            return field
    return ""


def _tree(cluster: str, fields: Sequence[str], lines: Sequence[str]) -> AccountTree:
    """Rows of accounts and of their members; a member comes once for each partition that it is limited to."""
    accounts: dict[str, dict[str, str]] = {}
    members: dict[str, set[str]] = {}
    for line in filter(None, lines):
        row = dict(zip(fields, line.split("|", len(fields) - 1), strict=False))
        name = row.get("Account", "").strip()  # a tree is shown by blanks
        if row.get("Cluster", cluster) != cluster or not name:
            continue
        if row.get("User"):
            members.setdefault(name, set()).add(row["User"])
        else:
            accounts[name] = row
    said = "Coordinators" in fields
    return AccountTree(
        cluster,
        {
            name: Account(
                name=name,
                parent=row.get("ParentName") or None,
                organization=row.get("Organization") or None,
                description=row.get("Description") or None,
                members=tuple(sorted(members.get(name, ()))),
                coordinators=tuple(sorted(filter(None, row.get("Coordinators", "").split(",")))) if said else None,
            )
            for name, row in accounts.items()
        },
    )
