"""What all tests share: the loud word at the end when the tests on a real cluster did not run."""

from __future__ import annotations

import pytest

#: Why no cluster could be started, where that is so.
CLUSTER_SKIPPED = pytest.StashKey[str]()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say it so that nobody takes a green run for a complete one."""
    if reason := config.stash.get(CLUSTER_SKIPPED, None):
        terminalreporter.section("CLUSTER TESTS DID NOT RUN", sep="!", red=True, bold=True)
        terminalreporter.line(f"CLUSTER TESTS DID NOT RUN: {reason}", red=True, bold=True)
