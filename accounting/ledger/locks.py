"""One writer at a time: who comes second is told who was first, and changes nothing.

SQLite has a lock file beside the ledger; PostgreSQL and MariaDB have advisory locks that belong to a session, so that
they are free again when the process that holds them is gone, however it went.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy import Connection, delete, insert, select, text
from sqlalchemy.exc import DBAPIError

from accounting.ledger import schema
from accounting.ledger.address import Address
from accounting.ledger.errors import LedgerError

#: PostgreSQL's advisory locks are numbers, of a database; this one is ASCII for SCARBON.
_NUMBER = 0x53434152424F4E
_TAKE = {
    "postgresql": f"SELECT pg_try_advisory_lock({_NUMBER})",
    # MariaDB's are names of at most 64 characters, of the whole server.
    "mariadb": "SELECT GET_LOCK(CONCAT('scarbon.', MD5(DATABASE())), 0)",
}
_LEAVE = {
    "postgresql": f"SELECT pg_advisory_unlock({_NUMBER})",
    "mariadb": "SELECT RELEASE_LOCK(CONCAT('scarbon.', MD5(DATABASE())))",
}
_WRITER = schema.meta.c.name == "writer"


@contextmanager
def file_lock(address: Address) -> Iterator[None]:
    """Hold SQLite's books for writing; LedgerError, naming who holds them, when another process does."""
    with Path(f"{address.path}.lock").open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise _held(address, file.read().strip()) from None
        file.truncate(0)
        file.write(f"{_name()}\n")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


@contextmanager
def server_lock(connection: Connection, address: Address) -> Iterator[None]:
    """Hold a server's books for writing, by the session that writes; LedgerError as above."""
    with advisory_lock(connection, address):
        with connection.begin():
            connection.execute(delete(schema.meta).where(_WRITER))  # of one that was killed
            connection.execute(insert(schema.meta).values(name="writer", value=_name()))
        try:
            yield
        finally:
            with suppress(DBAPIError), connection.begin():
                connection.execute(delete(schema.meta).where(_WRITER))


@contextmanager
def advisory_lock(connection: Connection, address: Address) -> Iterator[None]:
    """The lock alone, without a name: for a database that has no tables yet."""
    with connection.begin():
        taken = connection.execute(text(_TAKE[address.kind])).scalar()
    if not taken:
        with suppress(DBAPIError), connection.begin():
            raise _held(address, str(connection.execute(select(schema.meta.c.value).where(_WRITER)).scalar() or ""))
        raise _held(address, "")
    try:
        yield
    finally:
        # A session that is broken has no lock any more.
        with suppress(DBAPIError), connection.begin():
            connection.execute(text(_LEAVE[address.kind]))


def _name() -> str:
    return f"process {os.getpid()} on {os.uname().nodename} since {time.strftime('%Y-%m-%dT%H:%M:%S%z')}"


def _held(address: Address, holder: str) -> LedgerError:
    return LedgerError(
        f"another run is writing to {address.shown}: {holder or 'its holder is unknown'}",
        "let it end; nothing was changed by this one",
    )
