"""A copy of the books for publication: the figures stay, persons do not.

Users become pseudonyms (`accounting.pseudonyms`), accounts and WCKeys where it is asked. Names, comments and labels of
jobs, numbers of users and what lies in quarantine are left out, and so is who closed a month or restated one, and why.
Tables that are not named here are empty in the copy. Clusters, partitions, nodes and times stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accounting.ledger import schema
from accounting.ledger.backups import new_file, write_file
from accounting.ledger.copying import Change
from accounting.ledger.reading import Books
from accounting.pseudonyms import Pseudonyms

#: The tables that the copy has; every other one is empty in it.
KEPT = (
    schema.meta, schema.runs, schema.booked, schema.payers, schema.attempts, schema.moves, schema.meters,
    schema.usage_slots, schema.balance, schema.factors, schema.periods, schema.adjustments, schema.usage_days,
    schema.idle_days, schema.payer_days, schema.payer_months, schema.payer_jobs,
)  # fmt: skip

#: Of `meta`, what is kept.
_META = ("zone", "purged_before_s")


def anonymise(books: Books, path: Path, pseudonyms: Pseudonyms, *, force: bool) -> dict[str, int]:
    """Write the copy into the file `path`, an SQLite ledger; the rows of each table.

    LedgerError where the file is there already and `force` is not given, or it cannot be written.
    """
    with new_file(path, books.address, force=force) as partial:
        tables = [table for table in schema.metadata.sorted_tables if table in KEPT]
        return write_file(books, partial, _changes(pseudonyms), tables)


def _changes(pseudonyms: Pseudonyms) -> Mapping[str, Change]:
    def payer(row: dict[str, Any]) -> dict[str, Any]:
        named = {
            "user_name": pseudonyms.user(row["user_name"]),
            "account": pseudonyms.account(row["account"]),
            "wckey": pseudonyms.wckey(row["wckey"]),
        }
        return {**row, **named}

    return {
        "meta": lambda row: row if row["name"] in _META else None,
        "runs": lambda row: {**row, "restatement_id": None, "summary": "{}"},
        "payers": lambda row: {**payer(row), "tags": None},
        "attempts": lambda row: {**payer(row), "uid": None, "name": None, "comment": None},
        "periods": lambda row: {**row, "who": "", "host": "", "why": None},
    }
