"""PostgreSQL and MariaDB for the tests: Debian's programs with data folders and ports of their own, stopped by pid."""

from __future__ import annotations

import itertools
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from accounting.ledger.reading import Books
from accounting.ledger.store import Ledger
from tests.cluster.harness import OWNER, PREFIX, clear_away_dead_runs
from tests.cluster.processes import ClusterError, Processes, free_port
from tests.cluster.services import start_mariadb

PASSWORD = "pass%word/with:marks@"  # as awkward as a URL may have it

_number = itertools.count(1)


@dataclass(frozen=True)
class Place:
    """Where a ledger can be: its URL, and the password that a configuration would keep in a file."""

    kind: str  # sqlite | postgresql | mariadb
    url: str
    password: str | None = None


def books_of(ledger: Ledger) -> Books:
    """The books that the ledger writes, for reading."""
    address = ledger.address
    if address.kind == "sqlite":
        return Books(f"sqlite:///{address.path}")
    server = f"{address.user}@{address.host}:{address.port}"
    return Books(f"{_SCHEMES[address.kind]}://{server}/{address.database}", address.password)


@dataclass(frozen=True)
class Server:
    """A running server; `make` runs a statement as its master."""

    kind: str
    port: int
    make: Callable[[str], str]

    def database(self) -> Place:
        """A database that is empty."""
        name = f"books_{next(_number)}"
        self.make(f"CREATE DATABASE {name}{_OPTIONS[self.kind]}")
        return Place(self.kind, f"{_SCHEMES[self.kind]}://scarbon@127.0.0.1:{self.port}/{name}", PASSWORD)

    def drop(self, place: Place) -> None:
        """Remove the database."""
        force = " WITH (FORCE)" if self.kind == "postgresql" else ""
        self.make(f"DROP DATABASE {place.url.rpartition('/')[2]}{force}")


_SCHEMES = {"postgresql": "postgresql+psycopg", "mariadb": "mysql+pymysql"}
#: An encoding and a collation as a site may have them: what the ledger needs it must say itself.
_OPTIONS = {"postgresql": " OWNER scarbon", "mariadb": " CHARACTER SET latin1"}


def missing() -> str | None:
    """Why the servers cannot be started here; None where they can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "not root on Linux: the servers are started as their own users"
    absent = [
        package
        for package, found in (
            ("postgresql", _postgresql_programs()),
            ("mariadb-server", shutil.which("mariadbd", path="/usr/sbin:/usr/bin")),
            ("mariadb-client", shutil.which("mariadb", path="/usr/sbin:/usr/bin")),
            ("util-linux", shutil.which("setpriv", path="/usr/sbin:/usr/bin")),
        )
        if not found
    ]
    return f"Debian packages are missing: {' '.join(absent)}" if absent else None


@contextmanager
def running_servers(*, in_memory: bool = True) -> Iterator[dict[str, Server]]:
    """Start both, stop both. Their data is in memory where there is room, or on disk."""
    temp = (in_memory and _memory()) or Path("/tmp")
    clear_away_dead_runs(temp)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=temp))
    folder.chmod(0o755)
    (folder / OWNER).write_text(str(os.getpid()))
    processes = Processes(folder)
    try:
        yield {
            "postgresql": _start_postgresql(processes, folder / "postgresql"),
            "mariadb": _start_mariadb(processes, folder / "mariadb"),
        }
    finally:
        processes.stop_all()
        shutil.rmtree(folder)


def _memory() -> Path | None:
    """A folder in memory with room for both: a database made for each test is mostly waiting for the disk."""
    memory = Path("/dev/shm")
    return memory if memory.is_dir() and shutil.disk_usage(memory).free > 4e9 else None


def _start_postgresql(processes: Processes, folder: Path) -> Server:
    programs = _postgresql_programs()
    assert programs is not None
    folder.mkdir()
    shutil.chown(folder, "postgres", "postgres")
    data, port = folder / "data", free_port()
    # Its order of text is not that of bytes, as in most clusters that sites have.
    initdb = [programs / "initdb", "--no-sync", "--username=master", "--encoding=UTF8", "--locale=C.UTF-8"]
    initdb += ["--locale-provider=icu", "--icu-locale=en-US"]
    processes.run([*initdb, "--auth-local=trust", "--auth-host=scram-sha-256", f"--pgdata={data}"], user="postgres")
    command = [programs / "postgres", "-D", data, "-p", str(port), "-k", folder, "-c", "listen_addresses=127.0.0.1"]
    # The books of a test need not survive a power cut.
    command += ["-c", "fsync=off", "-c", "full_page_writes=off"]
    processes.start("postgres", command, user="postgres")
    client = ["psql", f"--host={folder}", f"--port={port}", "--username=master", "--dbname=postgres", "--no-psqlrc"]

    def make(statement: str) -> str:
        return processes.run([*client, "--tuples-only", "--no-align", f"--command={statement}"])

    processes.wait_until(_answers(lambda: make("SELECT 1")), "PostgreSQL answers")
    make(f"CREATE ROLE scarbon LOGIN PASSWORD '{PASSWORD}'")
    return Server("postgresql", port, make)


def _start_mariadb(processes: Processes, folder: Path) -> Server:
    database = start_mariadb(processes, folder)
    client = [
        "mariadb",
        "--no-defaults",
        f"--socket={database.socket}",
        "--user=root",
        "--batch",
        "--skip-column-names",
    ]

    def make(statement: str) -> str:
        return processes.run([*client, f"--execute={statement}"])

    make(f"CREATE USER scarbon@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'")
    make("GRANT ALL ON `books_%`.* TO scarbon@'127.0.0.1'")
    return Server("mariadb", database.port, make)


def _answers(ask: Callable[[], str]) -> Callable[[], bool]:
    def answers() -> bool:
        try:
            return bool(ask())
        except ClusterError:
            return False

    return answers


def _postgresql_programs() -> Path | None:
    """The newest of Debian's versions."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    return found[-1].parent if found else None
