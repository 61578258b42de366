"""A collector that is killed at any moment, and started again, leaves the books of one that never was.

Every run is a process of its own (`zygote`), killed with SIGKILL at a random moment of the time that a whole run takes.
Once a run comes to its end by itself, the books must be those that a run never killed leaves behind; then they are
thrown away and the next ones begun, until there were enough kills.

SCARBON_TEST_KILLS says how many on each database.
"""

from __future__ import annotations

import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from accounting.ledger.errors import NoLedgerError
from accounting.ledger.reading import Books
from accounting.ledger.schema import metadata
from tests.ledger.servers import Place, Server
from tests.site import CHECKOUT, Site

KILLS = int(os.environ.get("SCARBON_TEST_KILLS", "25"))
PATIENCE_S = 240.0


class Collectors:
    """Runs of `scarbon collect`, each in a process that can be killed."""

    def __init__(self, site: Site) -> None:
        self.log = site.folder / "collector.log"
        self.killed = 0
        self._zygote = subprocess.Popen(
            [sys.executable, "-m", "tests.ledger.zygote", "--config", site.config, "collect", "-q", *site.window],
            cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, site: Site, after_s: float | None = None) -> int:
        """Collect all of the recording; killed `after_s` seconds from now, if it still runs then. The exit code."""
        stdin, stdout = self._zygote.stdin, self._zygote.stdout
        assert stdin is not None and stdout is not None
        words = ["--config", str(site.config), "collect", "-q", *site.window]
        stdin.write(json.dumps([words, str(self.log), after_s]) + "\n")
        stdin.flush()
        code = int(stdout.readline())
        self.killed += code == -signal.SIGKILL
        return code

    def to_its_end(self, site: Site, place: Place, after_s: Callable[[], float | None]) -> None:
        """Collect again and again until a run comes to its end; the books are read after each that did not."""
        deadline = time.monotonic() + PATIENCE_S
        while code := self.run(site, after_s()):
            said = self.log.read_text()
            # A server may need a moment to notice that the one who was killed is gone.
            assert code == -signal.SIGKILL or "another run is writing" in said, said
            assert time.monotonic() < deadline, said
            assert_readable(place, site)

    def close(self) -> None:
        """End the zygote."""
        assert self._zygote.stdin is not None and self._zygote.stdout is not None
        self._zygote.stdin.close()
        self._zygote.stdout.close()
        assert self._zygote.wait() == 0


@pytest.fixture
def collectors(days: Site, tmp_path: Path) -> Iterator[Collectors]:
    collectors = Collectors(days.copy(tmp_path / "warm"))
    yield collectors
    collectors.close()


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def new_site(request: pytest.FixtureRequest, days: Site, tmp_path: Path) -> Callable[[], tuple[Site, Place]]:
    """The same four days again and again, each time with books of their own."""
    server: Server | None = None if request.param == "sqlite" else request.getfixturevalue("servers")[request.param]
    numbers = iter(range(10**6))

    def make() -> tuple[Site, Place]:
        site = days.copy(tmp_path / f"site{next(numbers)}")
        place = Place("sqlite", site.url) if server is None else server.database()
        if place.password is not None:
            (site.folder / "secret").write_text(place.password)
            site.change("ledger: sqlite:///ledger.db", f'ledger: {{url: "{place.url}", password_file: secret}}')
        return site, place

    return make


def contents(place: Place) -> dict[str, list[tuple[Any, ...]]]:
    """Every table but the runs, in the order of its key; a run is named by its window."""
    with Books(place.url, place.password) as books:
        windows = {row["run_id"]: (row["start_s"], row["end_s"]) for row in books.rows("SELECT * FROM runs")}
        found = {}
        for table in metadata.sorted_tables:
            if table.name == "runs":
                continue
            keys = ", ".join(column.name for column in table.primary_key)
            found[table.name] = [
                tuple(
                    windows.get(row[name]) if name in ("run_id", "superseded_by") else row[name]
                    for name in (column.name for column in table.columns)
                )
                for row in books.rows(f"SELECT * FROM {table.name} ORDER BY {keys}")
            ]
        return found


def assert_same(found: dict[str, list[tuple[Any, ...]]], expected: dict[str, list[tuple[Any, ...]]]) -> None:
    """The same rows; sums of the database's own may have been taken in another order."""
    assert found.keys() == expected.keys()
    for table, rows in expected.items():
        assert len(found[table]) == len(rows), table
        for got, wanted in zip(found[table], rows, strict=True):
            for one, other in zip(got, wanted, strict=True):
                close = isinstance(other, float) and isinstance(one, float) and math.isclose(one, other, rel_tol=1e-12)
                assert close or one == other, (table, got, wanted)


def test_kills_at_random_moments_leave_the_books_of_a_run_that_never_was_killed(
    new_site: Callable[[], tuple[Site, Place]], collectors: Collectors
) -> None:
    """First the recording, then the same again with another PUE, which supersedes every posting."""
    chance = random.Random(KILLS)
    site, place = new_site()
    collectors.run(site)
    first = contents(place)
    site.change("pue: 1.2", "pue: 1.3")
    started = time.monotonic()
    collectors.run(site)
    takes_s = time.monotonic() - started
    second = contents(place)
    assert len(second["usage_slots"]) > len(first["usage_slots"]) > 100

    def at_random() -> float | None:
        return None if collectors.killed == KILLS else chance.random() * takes_s

    while collectors.killed < KILLS:
        site, place = new_site()
        collectors.to_its_end(site, place, at_random)
        assert_same(contents(place), first)
        site.change("pue: 1.2", "pue: 1.3")
        collectors.to_its_end(site, place, at_random)
        assert_same(contents(place), second)


def assert_readable(place: Place, site: Site) -> None:
    """Whatever was killed: what is there is a whole number of days, or no ledger yet."""
    try:
        with Books(place.url, place.password) as books:
            booked = books.booked(site.cluster)
            days = {row["end_s"] for row in books.rows("SELECT end_s FROM runs")}
    except NoLedgerError:
        return
    assert booked == ([] if not days else [(float(site.start_s), max(days))])
