"""Every way to choose jobs, and a job's card, on each database: the answers are SQLite's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.ledger.servers import Place
from tests.site import Site

EVER = ["-S", "2020-01-01", "-E", "now"]
ROWS = ["jobs", "-n", "-P", "--noconvert", "-o", "JobID,Submit,State,GpuEnergy,CO2e,CO2eLow,Method"]
WORDS = (
    ["-a", *EVER],
    ["-a", "-D", "-s", "CD,F", *EVER],
    ["-a", "-s", "R,PD,S", "-S", "2026-09-22T00:30", "-E", "2026-09-22T01:00"],
    ["-a", "-s", "R,PD"],
    ["-u", "ada", "-u", "1002", *EVER],
    ["-A", "PHYS", "--name", "MD,train", "-r", "gpu", "-q", "normal", *EVER],
    ["-N", "n1", "-i", "1-2", "-I", "1-64", *EVER],
    ["-j", "1001,1004", "--whole-hetjob"],
)


@pytest.fixture
def moved(recorded: Site, place: Place, tmp_path: Path) -> Site:
    """The recording, accounted, with its ledger on a server or in a file."""
    site = recorded.copy(tmp_path / "site")
    if place.password is not None:
        (site.folder / "secret").write_text(f"{place.password}\n")
        site.change("ledger: sqlite:///ledger.db", f'ledger: {{url: "{place.url}", password_file: secret}}')
    site.collect()
    return site


def test_the_same_jobs_and_cards(moved: Site, booked: Site) -> None:
    listed = set()
    for words in WORDS:
        expected = booked.good(*ROWS, *words).out
        listed.add(expected)
        for ours, theirs in zip(moved.good(*ROWS, *words).out.splitlines(), expected.splitlines(), strict=True):
            assert ours.split("|")[:3] == theirs.split("|")[:3], words
            assert [float(one or "nan") for one in ours.split("|")[3:6]] == pytest.approx(
                [float(one or "nan") for one in theirs.split("|")[3:6]], rel=1e-9, abs=2e-6, nan_ok=True
            ), words
    assert len(listed) == len(WORDS)  # each chose otherwise
    labels = [line.partition("|")[0] for line in booked.good(*ROWS, "-a", "-s", "CD", *EVER).out.splitlines()]
    expected = booked.good("show", "--json", "--no-plot", *labels[:6]).json
    assert len(json.dumps(expected)) > 1000
    assert close(moved.good("show", "--json", "--no-plot", *labels[:6]).json["cards"], expected["cards"])


def close(found: Any, expected: Any) -> bool:
    """The same document, but for the last digits of sums."""
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(close(found[key], expected[key]) for key in expected)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(close, found, expected))
    if isinstance(expected, float):
        return bool(found == pytest.approx(expected, rel=1e-9, abs=1e-6))
    return type(found) is type(expected) and bool(found == expected)
