"""Who belongs to whom: a cluster's accounts as a tree, with their users and coordinators, from `sacctmgr`.

For reports by branch of the tree and, later, for who may see what. Accounts that were deleted are not in it, and a
job of such an account is in no branch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from collectors.slurm.programs import Program


@dataclass(frozen=True, slots=True)
class Account:
    """An account of one cluster. Slurm's user names are login names."""

    name: str
    parent: str | None  # None: the root of the tree
    users: tuple[str, ...] = ()  # those with an association of their own in it, in alphabetical order
    coordinators: tuple[str, ...] = ()  # those of the accounts above it, too


@dataclass(frozen=True, slots=True)
class AccountTree:
    """The accounts of one cluster, by name."""

    cluster: str
    accounts: Mapping[str, Account]

    def branch(self, name: str) -> frozenset[str]:
        """The names of an account and of all that are below it. KeyError where there is no such account."""
        names = {self.accounts[name].name}
        while below := {account.name for account in self.accounts.values() if account.parent in names} - names:
            names |= below
        return frozenset(names)

    def path(self, name: str) -> tuple[str, ...]:
        """The names from the root down to an account. KeyError where there is no such account."""
        names = [name]
        while (parent := self.accounts[names[0]].parent) is not None and parent not in names:
            names.insert(0, parent)
        return tuple(names)


def read_accounts(cluster: str, sacctmgr: str = "sacctmgr", timeout_s: float = 120.0) -> AccountTree:
    """Ask `sacctmgr` for a cluster's accounts. SourceError, with its own message, where it fails."""

    def ask(*words: str) -> list[list[str]]:
        command = [sacctmgr, "--noheader", "--parsable2", "show", *words]
        text = b"".join(Program(command, timeout_s, {}).output()).decode("utf-8", "backslashreplace")
        return [line.split("|") for line in text.splitlines() if line]

    coordinators = {
        name: tuple(sorted(filter(None, names.split(","))))
        for name, names in ask("account", "withcoord", "format=Account,Coordinators")
    }
    parents: dict[str, str | None] = {}
    users: dict[str, set[str]] = {}
    for name, parent, user in ask("associations", f"cluster={cluster}", "format=Account,ParentName,User"):
        if user:
            users.setdefault(name, set()).add(user)  # once for each partition it is limited to
        else:
            parents[name] = parent or None
    return AccountTree(
        cluster,
        {
            name: Account(name, parent, tuple(sorted(users.get(name, ()))), coordinators.get(name, ()))
            for name, parent in parents.items()
        },
    )
