"""Who belongs to whom: a cluster's accounts as a tree, with their members and coordinators.

Each `scarbon collect` writes what Slurm now says of it into the books (`accounting.ledger.accounts`), and here it is
read again, for sums by branch and for who may see what. An account that Slurm no longer has stays where it last stood,
since the jobs of old months are in it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from accounting.ledger.reading import Books


@dataclass(frozen=True, slots=True)
class Account:
    """An account of one cluster. User names are login names, in alphabetical order; None is unknown."""

    name: str
    parent: str | None  # None: the root of the tree
    organization: str | None = None
    description: str | None = None
    members: tuple[str, ...] = ()  # who may use it
    coordinators: tuple[str, ...] | None = None  # those of the accounts above it, too
    gone_s: float | None = None  # since when Slurm no longer has it; None: it has it


@dataclass(frozen=True)
class AccountTree:
    """The accounts of one cluster, by name. Each method raises KeyError where there is no such account."""

    cluster: str
    accounts: Mapping[str, Account]

    def children(self, name: str) -> tuple[str, ...]:
        """The accounts right below one, in alphabetical order."""
        return tuple(self._below.get(self.accounts[name].name, ()))

    def branch(self, name: str) -> tuple[str, ...]:
        """An account and all that are below it, parents before their children."""
        names = [self.accounts[name].name]
        for one in names:  # which grows meanwhile
            names += [child for child in self.children(one) if child not in names]
        return tuple(names)

    def path(self, name: str) -> tuple[str, ...]:
        """The accounts from the root down to one."""
        names = [self.accounts[name].name]
        while (parent := self.accounts[names[0]].parent) is not None and parent not in names:
            if parent not in self.accounts:
                break
            names.insert(0, parent)
        return tuple(names)

    def coordinated_by(self, user: str) -> frozenset[str]:
        """The accounts that somebody coordinates, those below them included."""
        return frozenset(one.name for one in self.accounts.values() if user in (one.coordinators or ()))

    @cached_property
    def _below(self) -> dict[str | None, list[str]]:
        below: dict[str | None, list[str]] = defaultdict(list)
        for name in sorted(self.accounts):
            below[self.accounts[name].parent].append(name)
        return below


def read_tree(books: Books, cluster: str) -> AccountTree:
    """The cluster's accounts as the last `scarbon collect` found them; an empty tree where none ever did."""
    chosen = {"cluster": cluster}
    people: dict[str, dict[str, list[str]]] = {"members": {}, "coordinators": {}}
    for table, names in people.items():
        sql = f"SELECT account, user_name FROM {table} WHERE cluster = :cluster AND gone_s IS NULL ORDER BY user_name"
        for row in books.rows(sql, chosen):
            names.setdefault(row["account"], []).append(row["user_name"])
    rows = books.rows("SELECT * FROM accounts WHERE cluster = :cluster ORDER BY account", chosen)
    accounts = [
        Account(
            name=row["account"],
            parent=row["parent"],
            organization=row["organization"],
            description=row["description"],
            members=tuple(people["members"].get(row["account"], ())),
            coordinators=tuple(people["coordinators"].get(row["account"], ())),
            gone_s=row["gone_s"],
        )
        for row in rows
    ]
    return AccountTree(cluster, {account.name: account for account in accounts})
