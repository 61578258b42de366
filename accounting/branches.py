"""The tree of accounts in a report: each account with its own sums, and those of its whole branch.

An account's jobs are in its own sums and in those of every account above it; the branches at the top, and the jobs
without an account, add up to what the groups add up to.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from accounting.accounts import read_tree
from accounting.ledger.reading import Books
from accounting.report import Sums, largest_first


@dataclass(frozen=True, slots=True)
class Branch:
    """An account of the tree: `depth` 0 is the top; `own` is None where no job ran in it itself."""

    account: str | None
    depth: int
    own: Sums | None
    sums: Sums  # its own and those of all accounts below it


def parents_of(books: Books, clusters: Sequence[str]) -> dict[str, str | None]:
    """Each account's parent; of an account that is on several clusters, the first cluster's. Slurm's root is left out.

    Every account is below `root`: as a line of its own it would be the total once more.
    """
    parents: dict[str, str | None] = {}
    for cluster in clusters:
        for account in read_tree(books, cluster).accounts.values():
            parents.setdefault(account.name, account.parent)
    roots = {name for name, parent in parents.items() if parent is None and name == "root"}
    return {name: None if parent in roots else parent for name, parent in parents.items() if name not in roots}


def branches(groups: Sequence[Sums], parents: Mapping[str, str | None]) -> tuple[Branch, ...]:
    """The tree over the groups' accounts, parents before their children; an account that is in no tree stands alone.

    Accounts of whose branch no job ran are left out.
    """
    own = {group.key: group for group in groups}
    parents = {name: parent for name, parent in parents.items() if _ends(name, parents)}
    below: dict[str | None, list[str | None]] = defaultdict(list)
    seen: set[str | None] = set()
    for key in own:
        name: str | None = key
        while name not in seen:
            seen.add(name)
            above = parents.get(name) if name is not None else None
            below[above].append(name)
            if above is None:
                break
            name = above
    return tuple(_walk(below, own, None, 0))


def _ends(name: str | None, parents: Mapping[str, str | None]) -> bool:
    """Whether the way up from an account ends: clusters that disagree might send it round in a circle."""
    way: list[str] = []
    while name is not None and name not in way:
        way.append(name)
        name = parents.get(name)
    return name is None


def _walk(
    below: Mapping[str | None, Sequence[str | None]], own: Mapping[str | None, Sums], above: str | None, depth: int
) -> Iterator[Branch]:
    """The branches below an account, in the order of groups."""
    found = []
    for name in below.get(above, ()):
        inside = list(_walk(below, own, name, depth + 1)) if name is not None else []
        parts = [one.sums for one in inside if one.depth == depth + 1]
        parts += [own[name]] if name in own else []
        found.append([Branch(name, depth, own.get(name), replace(together(parts), key=name)), *inside])
    order = largest_first([one[0].sums for one in found])
    for one in sorted(found, key=lambda one: order(one[0].sums)):
        yield from one


def together(parts: Sequence[Sums]) -> Sums:
    """Several groups as one, without the interval; a figure of emissions is unknown where one of theirs is."""
    if len(parts) == 1:
        return parts[0]
    summed: dict[str, Any] = {}
    for name in ("jobs", "jobs_unknown", "gpu_seconds"):
        summed[name] = sum(getattr(part, name) for part in parts)
    for name in ("gpu_energy_j", "host_energy_j", "it_energy_j", "co2e_embodied_g", "modelled_j"):
        known = [value for part in parts if (value := getattr(part, name)) is not None]
        summed[name] = sum(known) if known else None
    for name in ("facility_energy_j", "co2e_location_g", "co2e_market_g"):
        values = [getattr(part, name) for part in parts if part.it_energy_j]
        summed[name] = None if None in values or not values else sum(values)
    held_s = summed["gpu_seconds"]
    measured_s = sum((part.coverage or 0.0) * part.gpu_seconds for part in parts)
    return Sums(key=None, coverage=measured_s / held_s if held_s else None, **summed)
