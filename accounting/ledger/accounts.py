"""Keeping a cluster's tree of accounts in the books: what Slurm no longer has stays, and is marked as gone."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Table, insert, select, update

from accounting.accounts import AccountTree
from accounting.ledger import schema
from accounting.ledger.registers import storable

#: What is told: values by key, without the cluster that each key begins with.
Rows = dict[tuple[str, ...], dict[str, Any]]


def keep_accounts(connection: Connection, tree: AccountTree, now_s: float) -> None:
    """Write what Slurm says of the accounts at `now_s` (UTC epoch s); what it does not say of them stays."""
    accounts = tree.accounts.values()
    told: Rows = {
        (one.name,): {
            "parent": one.parent,
            "organization": storable(one.organization),
            "description": storable(one.description),
        }
        for one in accounts
    }
    _keep(connection, schema.accounts, tree.cluster, told, now_s)
    members: Rows = {(one.name, user): {} for one in accounts for user in one.members}
    _keep(connection, schema.members, tree.cluster, members, now_s)
    if any(one.coordinators is not None for one in accounts):
        coordinators: Rows = {(one.name, user): {} for one in accounts for user in one.coordinators or ()}
        _keep(connection, schema.coordinators, tree.cluster, coordinators, now_s)


def _keep(connection: Connection, table: Table, cluster: str, told: Rows, now_s: float) -> None:
    """Bring a table to what is `told`."""
    keys = [column for column in table.primary_key.columns if column.name != "cluster"]
    rows = connection.execute(select(table).where(table.c.cluster == cluster)).mappings().all()
    known = {tuple(row[column.name] for column in keys): row for row in rows}

    def change(key: tuple[str, ...], values: dict[str, Any]) -> None:
        this = [column == value for column, value in zip(keys, key, strict=True)]
        connection.execute(update(table).where(table.c.cluster == cluster, *this).values(values))

    fresh = []
    for key, values in told.items():
        row = known.get(key)
        there = {**values, "gone_s": None}
        if row is None:
            fresh.append({"cluster": cluster, **{c.name: value for c, value in zip(keys, key, strict=True)}, **there})
        elif any(row[name] != value for name, value in there.items()):
            change(key, there)
    if fresh:
        connection.execute(insert(table), fresh)
    for key in known.keys() - told.keys():
        if known[key]["gone_s"] is None:
            change(key, {"gone_s": now_s})
