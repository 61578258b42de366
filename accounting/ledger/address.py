"""Where a ledger is kept: the URL of `ledger:` taken apart.

SQLite is a file of this machine; PostgreSQL and MariaDB are servers that several machines may reach. What is shown to
people never has the password in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from accounting.ledger.errors import LedgerError

Kind = Literal["sqlite", "postgresql", "mariadb"]

#: The schemes of ledgers' URLs, as SQLAlchemy writes them.
SCHEMES: Mapping[str, Kind] = {"sqlite": "sqlite", "postgresql+psycopg": "postgresql", "mysql+pymysql": "mariadb"}


@dataclass(frozen=True, slots=True)
class Address:
    """A ledger's place. `path` is SQLite's file; the rest is a server's."""

    kind: Kind
    shown: str  # for people
    path: str = ""
    host: str | None = None
    port: int | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    database: str = ""
    options: Mapping[str, str] = field(default_factory=dict)  # the part of the URL behind `?`, for the driver


def parse_address(url: str, password: str | None = None) -> Address:
    """The address of `sqlite:///FILE`, `postgresql+psycopg://…` or `mysql+pymysql://…`; LedgerError for another."""
    scheme, _, rest = url.partition("://")
    kind = SCHEMES.get(scheme)
    if kind == "sqlite" and len(rest) > 1 and rest.startswith("/"):
        return Address(kind, shown=rest[1:], path=rest[1:])
    if kind is None or kind == "sqlite":
        raise LedgerError(
            f"{scheme}:// names no ledger", f"write one of {', '.join(f'{name}:///…' for name in SCHEMES)} in `ledger:`"
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise LedgerError(f"the ledger's URL cannot be read: {error}", "mend `ledger:` in the configuration") from None
    database = unquote(parts.path.lstrip("/"))
    if not database:
        raise LedgerError(f"the ledger's URL names no database: {scheme}://{parts.hostname or ''}", "add /DATABASE")
    options = dict(parse_qsl(parts.query))
    where = parts.hostname or options.get("host") or options.get("unix_socket") or "this machine"
    return Address(
        kind,
        shown=f"{database} on {where}{f':{port}' if port else ''}",
        host=parts.hostname,
        port=port,
        user=None if parts.username is None else unquote(parts.username),
        password=password,
        database=database,
        options=options,
    )
