"""Two collectors at once: one works, the other is told who does; readers never wait."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import ExitStack

import pytest
from sqlalchemy import text

from accounting.ledger.errors import LedgerError
from accounting.ledger.reading import Books
from accounting.ledger.store import Ledger
from tests.ledger.servers import Place
from tests.ledger.windows import RUN, job, usage, window
from tests.site import CHECKOUT

HOLDER = """
import sys
from accounting.ledger.store import Ledger
url, password = sys.argv[1:]
ledger = Ledger(url, "UTC", password or None)
with ledger.lock():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(place: Place) -> subprocess.Popen[str]:
    """Another process that has the books for writing."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, place.url, place.password or ""],
        cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def end(process: subprocess.Popen[str], *, kill: bool = False) -> None:
    assert process.stdin is not None and process.stdout is not None
    if kill:
        process.kill()
    process.stdin.close()
    process.stdout.close()
    process.wait()


def test_the_second_is_told_who_the_first_is(place: Place, holder: subprocess.Popen[str]) -> None:
    ledger = Ledger(place.url, "UTC", place.password)
    with pytest.raises(LedgerError) as caught, ledger.lock():
        pass
    told = rf"another run is writing to .*: process {holder.pid} on {re.escape(os.uname().nodename)} since 20\d\d-"
    assert re.match(told, caught.value.what), caught.value.what
    assert place.password is None or place.password not in caught.value.what
    assert "nothing was changed" in caught.value.advice
    with Books(place.url, place.password) as books:
        assert books.clusters() == []
    end(holder)
    one = job(1)
    with ledger.lock():
        ledger.post(window(0, 24, [one], [usage(one, 1)]), RUN)
    ledger.close()


def test_a_killed_holder_holds_nothing(place: Place, holder: subprocess.Popen[str]) -> None:
    end(holder, kill=True)
    ledger = Ledger(place.url, "UTC", place.password)
    with ExitStack() as stack:
        for tries in range(200):  # a server notices the broken connection in a moment
            try:
                stack.enter_context(ledger.lock())
                break
            except LedgerError:
                assert tries < 199
        if place.kind != "sqlite":
            with ledger._connection.begin():
                writer = ledger._connection.execute(text("SELECT value FROM meta WHERE name = 'writer'")).scalar()
            assert f"process {os.getpid()} on" in str(writer), "the name of the killed one is gone"
    ledger.close()


def test_the_lock_leaves_nothing_behind(place: Place) -> None:
    ledger = Ledger(place.url, "UTC", place.password)
    for _ in range(2):
        with ledger.lock():
            pass
        with pytest.raises(ZeroDivisionError), ledger.lock():
            raise ZeroDivisionError
    ledger.close()
    with Books(place.url, place.password) as books:
        assert [row["name"] for row in books.rows("SELECT name FROM meta")] == ["zone"]


def test_ledgers_of_one_server_do_not_hinder_each_other(place: Place, request: pytest.FixtureRequest) -> None:
    if place.kind == "sqlite":
        other = Place("sqlite", place.url.replace("ledger.db", "other.db"))
    else:
        server = request.getfixturevalue("servers")[place.kind]
        other = server.database()
        request.addfinalizer(lambda: server.drop(other))
    first, second = Ledger(place.url, "UTC", place.password), Ledger(other.url, "UTC", other.password)
    with first.lock(), second.lock():
        pass
    first.close()
    second.close()


def test_a_session_that_is_cut_off_books_nothing_more(place: Place, request: pytest.FixtureRequest) -> None:
    """With the session goes the lock: who writes on without noticing would write beside the next one."""
    if place.kind == "sqlite":
        pytest.skip("has no sessions")
    server = request.getfixturevalue("servers")[place.kind]
    ledger = Ledger(place.url, "UTC", place.password)
    one = job(1)
    with pytest.raises(LedgerError, match="cannot be written"), ledger.lock():
        if place.kind == "postgresql":
            server.make("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'scarbon'")
        else:
            server.make("KILL USER scarbon@'127.0.0.1'")
        ledger.post(window(0, 24, [one], [usage(one, 1)]), RUN)
    ledger.close()
    with Books(place.url, place.password) as books:
        assert books.clusters() == []
