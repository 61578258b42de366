"""What all tests share: sites that were recorded and accounted once, and the loud word at the end when the tests on a
real cluster, or others whose reason for being skipped says NOT TESTED, did not run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from simulator.scenarios import random_cluster
from tests.ledger.servers import Place, Server, missing, running_servers
from tests.site import Site, days_cluster, make_site

#: Why no cluster could be started, where that is so.
CLUSTER_SKIPPED = pytest.StashKey[str]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """A golden file is made anew only when it is asked for, and looked at by whoever asks."""
    parser.addoption("--update-golden", action="store_true", help="write the golden files anew instead of comparing")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[Path, str], None]:
    """Compare a text with a golden file; one that is missing is a failure."""

    def compare(path: Path, made: str) -> None:
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(made, encoding="utf-8")
        assert path.is_file(), f"{path} is missing; --update-golden makes it"
        assert made == path.read_text(encoding="utf-8")

    return compare


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say it so that nobody takes a green run for a complete one."""
    reasons = {str(report.longrepr[2]) for report in terminalreporter.stats.get("skipped", ())}
    for reason in sorted(reason for reason in reasons if "NOT TESTED" in reason):
        terminalreporter.section(reason.removeprefix("Skipped: "), sep="!", red=True, bold=True)
    if reason := config.stash.get(CLUSTER_SKIPPED, None):
        terminalreporter.section("CLUSTER TESTS DID NOT RUN", sep="!", red=True, bold=True)
        terminalreporter.line(f"CLUSTER TESTS DID NOT RUN: {reason}", red=True, bold=True)


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """What stands in the environment of whoever runs the tests is not theirs to find, nor their home to write to."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    for name in ("SCARBON_CONFIG", "SLURM_TIME_FORMAT", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Three hours of two nodes with every trouble, not accounted yet; not to be written to."""
    return make_site(tmp_path_factory.mktemp("recorded"), random_cluster(4), "Europe/Paris")


@pytest.fixture(scope="session")
def booked(recorded: Site, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The same, accounted; not to be written to."""
    site = recorded.copy(tmp_path_factory.mktemp("booked"))
    site.collect()
    return site


@pytest.fixture(scope="session")
def days(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Four days in Paris, the first of 25 hours, not accounted yet; not to be written to."""
    return make_site(tmp_path_factory.mktemp("days"), days_cluster(), "Europe/Paris")


@pytest.fixture
def fresh(recorded: Site, tmp_path: Path) -> Site:
    """A copy of `recorded` that the test may change."""
    return recorded.copy(tmp_path / "site")


@pytest.fixture
def mine(booked: Site, tmp_path: Path) -> Site:
    """A copy of `booked` that the test may change."""
    return booked.copy(tmp_path / "site")


@pytest.fixture(scope="session")
def servers() -> Iterator[dict[str, Server]]:
    """PostgreSQL and MariaDB, running; where this machine cannot have them, the tests are skipped."""
    if reason := missing():
        pytest.skip(f"THE LEDGER WAS NOT TESTED ON SERVERS: {reason}")
    with running_servers() as servers:
        yield servers


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Where a ledger can be, on each database: every test that asks for it runs on all three. Nothing is there yet."""
    if request.param == "sqlite":
        yield Place("sqlite", f"sqlite:///{tmp_path / 'ledger.db'}")
        return
    server: Server = request.getfixturevalue("servers")[request.param]
    place = server.database()
    yield place
    server.drop(place)
