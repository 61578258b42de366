"""Opening a ledger for writing: the connection, and the tables, made where there are none."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, NullPool, create_engine, event, insert, inspect, select, text

from accounting.ledger import schema
from accounting.ledger.address import Address
from accounting.ledger.drivers import connect_mariadb, connect_postgresql, connect_sqlite
from accounting.ledger.errors import REVISION, LedgerError, not_a_ledger, wrong_revision, wrong_zone
from accounting.ledger.filesystems import shared_filesystem
from accounting.ledger.locks import advisory_lock

#: Where Alembic keeps the schema's revision; a ledger is made whole, without the steps that led here.
VERSION_TABLE = "alembic_version"

_URLS = {"sqlite": "sqlite://", "postgresql": "postgresql+psycopg://", "mariadb": "mysql+pymysql://"}


def open_engine(address: Address) -> Engine:
    """An engine on the ledger's database. LedgerError where the file cannot be there."""
    if address.kind != "sqlite":
        connect = connect_postgresql if address.kind == "postgresql" else connect_mariadb
        return create_engine(_URLS[address.kind], creator=lambda: connect(address), poolclass=NullPool)
    folder = Path(address.path).parent
    if not folder.is_dir():
        raise LedgerError(f"the folder of the ledger, {folder}, does not exist", f"make it: mkdir -p {folder}")
    if shared := shared_filesystem(str(folder)):
        raise LedgerError(
            f"the ledger {address.path} would lie on {shared}, where SQLite's books can be damaged",
            "put it on a disk of this machine, or keep it in PostgreSQL or MariaDB (see docs/ledger.md)",
        )
    file = Path(address.path)
    if file.is_dir():
        raise LedgerError(f"the ledger {file} is a folder", "name a file in it: sqlite:///…/ledger.db")
    if not os.access(folder, os.W_OK) or (file.exists() and not os.access(file, os.W_OK)):
        raise LedgerError(
            f"no permission to write the ledger {file}, or beside it", "run it as the user who keeps the books"
        )
    engine = create_engine(_URLS["sqlite"], creator=lambda: connect_sqlite(address.path), poolclass=NullPool)

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.execute(text("BEGIN IMMEDIATE"))

    return engine


def make_or_check(connection: Connection, address: Address, zone: str) -> None:
    """Make the tables where there are none; LedgerError where what is there is no ledger of this version and zone."""
    with connection.begin():
        found = found_revision(connection, address)
    if found is None:
        with _alone(connection, address), connection.begin():
            found = found_revision(connection, address) or make_tables(connection, zone)
    if found != REVISION:
        raise wrong_revision(address.shown, found)
    with connection.begin():
        kept_by = connection.execute(select(schema.meta.c.value).where(schema.meta.c.name == "zone")).scalar()
    if kept_by != zone:
        raise wrong_zone(address.shown, str(kept_by), zone)
    if address.kind == "sqlite":  # said once, it stays with the file: readers never wait for a writer
        connection.connection.driver_connection.execute("PRAGMA journal_mode = WAL")  # type: ignore[union-attr]


def make_tables(connection: Connection, zone: str) -> str:
    """Make the tables. MariaDB commits each by itself: what a killed run left is gone on with here."""
    schema.metadata.create_all(connection)
    connection.execute(text(f"CREATE TABLE IF NOT EXISTS {VERSION_TABLE} (version_num VARCHAR(32) PRIMARY KEY)"))
    connection.execute(insert(schema.meta).values(name="zone", value=zone))
    connection.execute(text(f"INSERT INTO {VERSION_TABLE} (version_num) VALUES (:revision)"), {"revision": REVISION})
    return REVISION


def found_revision(connection: Connection, address: Address) -> str | None:
    """The schema's revision; None where no ledger has been made, or not to its end. LedgerError for other tables."""
    tables = set(inspect(connection).get_table_names())
    if VERSION_TABLE in tables and "meta" in tables:
        revision = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
        if revision is not None:
            return str(revision)
    if tables - set(schema.metadata.tables) - {VERSION_TABLE}:
        raise not_a_ledger(address.shown, "it is a database with other tables")
    return None


def _alone(connection: Connection, address: Address) -> AbstractContextManager[None]:
    """Nobody else makes the same tables meanwhile. SQLite's transactions see to that by themselves."""
    return nullcontext() if address.kind == "sqlite" else advisory_lock(connection, address)
