"""Where a ledger may be, and what is said of a place where it may not."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import pytest

from accounting.ledger import filesystems, opening
from accounting.ledger.address import parse_address
from accounting.ledger.errors import LedgerError
from accounting.ledger.filesystems import filesystem_type, shared_filesystem
from accounting.ledger.reading import Books
from accounting.ledger.store import Ledger

EXT4, TMPFS, NFS, LUSTRE, CIFS = 0xEF53, 0x01021994, 0x6969, 0x0BD00BD0, 0xFF534D42


@pytest.mark.parametrize(
    ("url", "shown", "database", "host", "port", "user"),
    [
        ("postgresql+psycopg://ada@db:5433/books", "books on db:5433", "books", "db", 5433, "ada"),
        ("mysql+pymysql://db.example/my%20books", "my books on db.example", "my books", "db.example", None, None),
        ("postgresql+psycopg:///books?host=/run/postgresql", "books on /run/postgresql", "books", None, None, None),
        ("mysql+pymysql://a%40b@[::1]/books", "books on ::1", "books", "::1", None, "a@b"),
        ("postgresql+psycopg:///books", "books on this machine", "books", None, None, None),
    ],
)  # fmt: skip
def test_a_servers_url_is_taken_apart(
    url: str, shown: str, database: str, host: str | None, port: int | None, user: str | None
) -> None:
    address = parse_address(url, "secret")
    assert (address.shown, address.database) == (shown, database)
    assert (address.host, address.port, address.user, address.password) == (host, port, user, "secret")
    assert "secret" not in repr(address)


def test_a_file_is_relative_or_absolute() -> None:
    assert parse_address("sqlite:///ledger.db").path == "ledger.db"
    assert parse_address("sqlite:////var/lib/scarbon/ledger.db").path == "/var/lib/scarbon/ledger.db"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("oracle://db/books", "oracle:// names no ledger"),
        ("sqlite://", "sqlite:// names no ledger"),
        ("sqlite:///", "sqlite:// names no ledger"),
        ("ledger.db", "ledger.db:// names no ledger"),
        ("mysql+pymysql://db", "names no database: mysql\\+pymysql://db"),
        ("postgresql+psycopg://db:port/books", "cannot be read: Port could not be cast"),
    ],
)
def test_another_url_is_refused(url: str, told: str) -> None:
    with pytest.raises(LedgerError, match=told) as caught:
        parse_address(url)
    assert caught.value.advice


@pytest.mark.parametrize("scheme", ["postgresql+psycopg", "mysql+pymysql"])
def test_a_server_that_does_not_answer_is_told_in_a_line(scheme: str) -> None:
    for opened in (Books, lambda url, password: Ledger(url, "UTC", password)):
        with pytest.raises(LedgerError, match=r"the ledger books on 127.0.0.1:1 cannot be opened: .*refused") as caught:
            opened(f"{scheme}://ada@127.0.0.1:1/books", "secret")
        assert "\n" not in caught.value.what
        assert "secret" not in caught.value.what


def test_a_wrong_password_and_a_database_that_is_not_there(servers: Any) -> None:
    for server in servers.values():
        place = server.database()
        with pytest.raises(LedgerError, match=r"cannot be opened: .*(authentication failed|denied)"):
            Books(place.url, "wrong")
        with pytest.raises(LedgerError, match=r"cannot be opened: .*(does not exist|Unknown database)"):
            Books(f"{place.url}x", place.password)
        server.drop(place)


def test_an_option_that_the_driver_does_not_know() -> None:
    with pytest.raises(LedgerError, match="has \\?sslmode=, which is no option of MariaDB here") as caught:
        Books("mysql+pymysql://127.0.0.1:1/books?sslmode=require")
    assert "ssl_ca" in caught.value.advice
    with pytest.raises(LedgerError, match='invalid connection option "nonsense"'):
        Books("postgresql+psycopg://127.0.0.1:1/books?nonsense=1")


@pytest.mark.parametrize(
    ("url", "module", "extra"),
    [("postgresql+psycopg://db/books", "psycopg", "postgres"), ("mysql+pymysql://db/books", "pymysql", "mysql")],
)
def test_a_driver_that_is_not_installed_is_named(
    url: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == module:
            raise ImportError(f"No module named '{module}'")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(LedgerError, match=f"No module named '{module}'") as caught:
        Books(url)
    assert f"pip install 'scarbon[{extra}]'" in caught.value.advice


@pytest.mark.parametrize(("kind", "name"), [(NFS, "NFS"), (LUSTRE, "Lustre"), (CIFS, "CIFS")])
def test_sqlite_on_a_shared_file_system_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: int, name: str
) -> None:
    asked: list[str] = []

    def statfs(path: str) -> int:
        asked.append(path)
        return kind

    monkeypatch.setattr(filesystems, "filesystem_type", statfs)
    with pytest.raises(LedgerError, match=f"would lie on {name}, where SQLite's books can be damaged") as caught:
        Ledger(f"sqlite:///{tmp_path}/ledger.db", "UTC")
    assert "a disk of this machine, or keep it in PostgreSQL or MariaDB" in caught.value.advice
    assert asked == [str(tmp_path)]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", [EXT4, TMPFS, 0])
def test_sqlite_on_a_disk_of_the_machine_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: int) -> None:
    monkeypatch.setattr(filesystems, "filesystem_type", lambda path: kind)
    assert shared_filesystem(str(tmp_path)) is None
    Ledger(f"sqlite:///{tmp_path}/ledger.db", "UTC").close()


def test_the_type_of_a_file_system_is_what_the_system_says(tmp_path: Path) -> None:
    """As coreutils' stat(1) has it."""
    import subprocess

    for path in (str(tmp_path), "/proc", "/dev/shm", f"{tmp_path}/none"):
        said = subprocess.run(["stat", "-f", "-c", "%t", path], capture_output=True, text=True, check=False).stdout
        assert filesystem_type(path) == int(said or "0", 16), path


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="does not exist") as caught:
        opening.open_engine(parse_address(f"sqlite:///{tmp_path}/none/ledger.db"))
    assert f"mkdir -p {tmp_path}/none" in caught.value.advice
