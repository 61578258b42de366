"""A ledger on each of the databases: every test that asks for a `place` runs on all three."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.ledger.servers import Place, Server, missing, running_servers

#: Why the servers could not be started, where that is so.
SERVERS_SKIPPED = pytest.StashKey[str]()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say it so that nobody takes a green run for a complete one."""
    if reason := config.stash.get(SERVERS_SKIPPED, None):
        terminalreporter.section("THE LEDGER WAS NOT TESTED ON SERVERS", sep="!", red=True, bold=True)
        terminalreporter.line(f"THE LEDGER WAS TESTED ON SQLITE ONLY: {reason}", red=True, bold=True)


@pytest.fixture(scope="session")
def servers(request: pytest.FixtureRequest) -> Iterator[dict[str, Server]]:
    """PostgreSQL and MariaDB, running; where this machine cannot have them, the tests are skipped."""
    if reason := missing():
        request.config.stash[SERVERS_SKIPPED] = reason
        pytest.skip(reason)
    with ExitStack() as stack:
        yield stack.enter_context(running_servers())


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Where a ledger can be, on each database; nothing is there yet."""
    if request.param == "sqlite":
        yield Place("sqlite", f"sqlite:///{tmp_path / 'ledger.db'}")
        return
    server: Server = request.getfixturevalue("servers")[request.param]
    place = server.database()
    yield place
    server.drop(place)
