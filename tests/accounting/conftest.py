"""What the tests of accounting share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from accounting.ledger.store import Ledger
from tests.accounting.oneday import Accountant


@pytest.fixture
def accountant(tmp_path: Path) -> Iterator[Accountant]:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    ledger = Ledger(url, "Europe/Paris")
    yield Accountant(url, ledger)
    ledger.close()
