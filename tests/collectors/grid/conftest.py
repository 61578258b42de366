from collections.abc import Iterator

import pytest

from tests.collectors.grid.service import Service


@pytest.fixture
def service() -> Iterator[Service]:
    server = Service()
    yield server
    server.close()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the client would have slept, instead of sleeping."""
    slept: list[float] = []
    monkeypatch.setattr("collectors.grid.http.sleep", slept.append)
    return slept
