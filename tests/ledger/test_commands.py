"""The command on each database: the same recording, the same answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.ledger.servers import Place
from tests.site import Site, environment, start

QUESTIONS = (
    ["jobs", "-a", "-S", "2020-01-01", "-D", "--json"],
    ["report", "-S", "2026-09-01", "-E", "2026-12-01", "--by", "account", "--format", "json"],
    ["report", "-S", "2026-09-01", "-E", "2026-12-01", "--by", "gpu-model", "--format", "json"],
    ["audit", "--json"],
)


@pytest.fixture
def moved(recorded: Site, place: Place, tmp_path: Path) -> Site:
    """The recording, with its ledger on a server or in a file."""
    site = recorded.copy(tmp_path / "site")
    if place.password is not None:
        (site.folder / "secret").write_text(f"{place.password}\n")
        site.change("ledger: sqlite:///ledger.db", f'ledger: {{url: "{place.url}", password_file: secret}}')
    return site


#: What goes with the clock on the wall, and not with the books.
PASSING = ("made_s", "elapsed_s")


def close(found: Any, expected: Any) -> bool:
    """The same document; figures that a database added up in another order may differ in their last digits."""
    if isinstance(expected, dict):
        kept = [key for key in expected if key not in PASSING]
        return found.keys() == expected.keys() and all(close(found[key], expected[key]) for key in kept)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(close, found, expected))
    if isinstance(expected, float):
        return isinstance(found, float) and found == pytest.approx(expected, rel=1e-9, abs=1e-6)
    return type(found) is type(expected) and bool(found == expected)


def test_every_answer_is_that_of_sqlite(moved: Site, booked: Site) -> None:
    moved.collect()
    assert "0 postings, 0 superseded" in moved.good("collect", *moved.window).err
    for words in QUESTIONS:
        expected = booked.good(*words).json
        assert len(json.dumps(expected)) > 100, words
        assert close(moved.good(*words).json, expected), words


def test_as_processes_of_their_own_with_warnings_as_errors(moved: Site) -> None:
    """A connection that is left open would be told of at the end."""
    for words in (["collect", "-q", *moved.window], QUESTIONS[0], ["doctor"]):
        process = start("--config", moved.config, *words, env=environment(XDG_CACHE_HOME=str(moved.folder / "cache")))
        out, err = process.communicate(timeout=60)
        assert "Warning" not in err + out, (words, err)
        assert "Traceback" not in err, (words, err)
        if words[0] != "doctor":  # which finds that there is no Slurm here
            assert process.returncode == 0, (words, err)
        else:
            assert "is accounted up to" in out, out


def test_a_password_may_stand_in_the_environment(moved: Site, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    if place.password is None:
        pytest.skip("a file has none")
    moved.change("password_file: secret", "password_env: BOOKS_PASSWORD")
    assert "BOOKS_PASSWORD" in moved.scarbon("jobs").refused()
    monkeypatch.setenv("BOOKS_PASSWORD", "wrong")
    told = moved.scarbon("jobs").refused()
    assert "cannot be opened" in told
    monkeypatch.setenv("BOOKS_PASSWORD", place.password)
    assert "there is no ledger" in moved.scarbon("jobs").refused()
