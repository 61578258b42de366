"""The types of the ledger's columns, the same on every database; `schema` and the migrations share them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Integer, String, Text
from sqlalchemy.dialects.mysql import MEDIUMTEXT
from sqlalchemy.types import TypeEngine

#: SQLite's integers have 64 bits whatever they are called, and only `INTEGER` may be its row's number.
Big = BigInteger().with_variant(Integer, "sqlite")

#: MariaDB's own TEXT ends at 64 KiB, less than the node list of a large job.
LongText = Text().with_variant(Text(collation="C"), "postgresql").with_variant(MEDIUMTEXT(), "mysql")

#: In MariaDB's own collations, text that differs in case or in blanks at its end would be the same text.
MARIADB: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_nopad_bin",
}


def Name(length: int) -> TypeEngine[str]:  # noqa: N802 (reads as a type)
    """Text of at most `length` characters, ordered by its bytes."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")
