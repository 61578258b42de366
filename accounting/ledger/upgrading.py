"""Upgrading a ledger to this version's schema, by the migrations in `accounting/ledger/migrations`.

It is asked for (`scarbon ledger upgrade`) and not done in passing: a ledger on a server is read by several hosts, and
those with an older version could no longer read it. The plan can be shown without being run.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import DBAPIError

from accounting.ledger.address import Address, parse_address
from accounting.ledger.errors import REVISION, LedgerError, NoLedgerError, wrong_revision
from accounting.ledger.locks import file_lock, server_lock
from accounting.ledger.opening import found_revision, open_engine

MIGRATIONS = Path(__file__).with_name("migrations")

_DIALECTS = {"sqlite": "sqlite", "postgresql": "postgresql", "mariadb": "mysql"}


@dataclass(frozen=True, slots=True)
class Step:
    """One migration: the revision it leads to, and what it does."""

    revision: str
    what: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What an upgrade does to a ledger: nothing where there are no steps. `sql` is what the database is told."""

    found: str
    steps: Sequence[Step]
    sql: str


def plan_upgrade(url: str, password: str | None = None) -> Plan:
    """What `upgrade` would do. LedgerError where there is no ledger, or one that this version does not know."""
    address = parse_address(url, password)
    with _opened(address) as connection, connection.begin():
        return _plan(connection, address)


def upgrade(url: str, password: str | None = None) -> Plan:
    """Bring the ledger to this version's schema; what was done. LedgerError as above, or where somebody writes to it.

    On SQLite and PostgreSQL it is done whole or not at all. MariaDB cannot change tables inside a transaction: there,
    a copy is the way back from an upgrade that was interrupted.
    """
    address = parse_address(url, password)
    with _opened(address) as connection:
        with connection.begin():
            plan = _plan(connection, address)
        lock = file_lock(address) if address.kind == "sqlite" else server_lock(connection, address)
        if plan.steps:
            with lock, connection.begin():
                _migrate(connection, address)
    return plan


def _migrate(connection: Connection, address: Address) -> None:
    try:
        command.upgrade(_config(connection=connection), "head")
    except DBAPIError as error:
        why = str(error.orig).splitlines()[0]
        raise LedgerError(
            f"the ledger {address.shown} could not be upgraded: {why}",
            "restore the copy and ask for help with this line",
        ) from error
    # Where the database did not see to it itself: whether every reference still leads somewhere.
    if address.kind == "sqlite" and (lost := connection.execute(text("PRAGMA foreign_key_check")).first()):
        raise LedgerError(
            f"the ledger {address.shown} could not be upgraded: rows of {lost[0]} refer to nothing in {lost[2]}",
            "it is as it was; ask for help with this line",
        )


def _plan(connection: Connection, address: Address) -> Plan:
    found = found_revision(connection, address)
    if found is None:
        raise NoLedgerError(address)
    script = ScriptDirectory(str(MIGRATIONS))
    known = [revision.revision for revision in script.walk_revisions()]
    if found not in known:
        raise wrong_revision(address.shown, found)
    if found == REVISION:
        return Plan(found, [], "")
    steps = [Step(one.revision, one.doc) for one in script.iterate_revisions(REVISION, found)]
    sql = io.StringIO()
    command.upgrade(_config(dialect=_DIALECTS[address.kind], output=sql), f"{found}:{REVISION}", sql=True)
    return Plan(found, steps[::-1], sql.getvalue())


def _config(*, output: io.StringIO | None = None, **attributes: Any) -> Config:
    config = Config(output_buffer=output, stdout=io.StringIO(), attributes=attributes)
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


def _opened(address: Address) -> Connection:
    """A connection on which SQLite lets tables be made anew that others refer to."""
    if address.kind == "sqlite" and not Path(address.path).is_file():
        raise NoLedgerError(address)
    engine = open_engine(address)
    if address.kind == "sqlite":

        @event.listens_for(engine, "connect")
        def _loose(connection: Any, _record: object) -> None:
            connection.execute("PRAGMA foreign_keys = OFF")

    return engine.connect()
