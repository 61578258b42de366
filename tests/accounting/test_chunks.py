"""Rules 2, 3 and 6 over random clusters in which everything goes wrong: chunks do not matter, again changes nothing,
nothing is negative, and the books balance in every slot.
"""

from __future__ import annotations

import math
import random
import tempfile
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simulator.cluster import Sampling, Troubles
from simulator.scenarios import random_cluster
from simulator.truth import truth_of
from tests.accounting.recorded import BALANCE, USAGE, Recorded, troubled

#: Joules that are nothing: a counter's steps are a thousandth of one.
NOTHING_J = 1e-6

#: Differences of nearly equal figures, of which less is left.
OF_SQUARES = ("edges_j2",)

seeds = st.integers(min_value=1, max_value=10**6)
many = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))


def keyed(rows: list[dict[str, Any]], keys: int) -> dict[tuple[Any, ...], dict[str, Any]]:
    return {tuple(row.values())[:keys]: row for row in rows}


def assert_same(one: dict[tuple[Any, ...], dict[str, Any]], other: dict[tuple[Any, ...], dict[str, Any]]) -> None:
    for key in one.keys() | other.keys():
        if key not in one or key not in other:
            # What takes no time may be left out: an edge a rounding error beside a slot's end.
            assert (one.get(key) or other[key])["known_s"] < NOTHING_J, key
            continue
        for name, value in one[key].items():
            found = other[key][name]
            if isinstance(value, float) and isinstance(found, float):
                relative = 1e-6 if name in OF_SQUARES else 1e-9
                assert math.isclose(value, found, rel_tol=relative, abs_tol=NOTHING_J), (key, name, value, found)
            else:
                assert value == found, (key, name)


@given(seed=seeds, chance=st.randoms(use_true_random=False))
@many
def test_chunks_in_any_order_give_the_same_books(seed: int, chance: random.Random) -> None:
    with tempfile.TemporaryDirectory() as made:
        recorded = Recorded.of(troubled(seed), Path(made))
        start_s, end_s = recorded.whole
        cuts = sorted({start_s, end_s, *(chance.randrange(int(start_s) + 1, int(end_s)) for _ in range(5))})
        chunks = list(pairwise(cuts))
        chance.shuffle(chunks)
        recorded.account("at_once", [recorded.whole])
        recorded.account("in_chunks", chunks)
        for sql, keys in ((USAGE, 5), (BALANCE, 3)):
            assert_same(keyed(recorded.rows("at_once", sql), keys), keyed(recorded.rows("in_chunks", sql), keys))


@given(seed=seeds)
@many
def test_the_books_balance_and_nothing_is_negative(seed: int) -> None:
    with tempfile.TemporaryDirectory() as made:
        recorded = Recorded.of(troubled(seed), Path(made))
        recorded.account("books", [recorded.whole])
        for row in recorded.rows("books", BALANCE):
            if row["known_s"] == 0:  # a meter that fell silent: its time is unknown, and nobody's
                assert row["metered_j"] is row["idle_j"] is None and row["attributed_j"] == 0, row
                continue
            assert row["attributed_j"] + row["idle_j"] == pytest.approx(row["metered_j"], rel=1e-9, abs=NOTHING_J), row
            assert row["idle_j"] >= -NOTHING_J and row["metered_j"] >= 0
        for row in recorded.rows("books", USAGE):
            assert all(value >= -NOTHING_J for value in row.values() if isinstance(value, float)), row
            assert row["measured_s"] <= row["known_s"] + 1e-6 <= row["held_s"] + 2e-6
            # Unknown is null, and only where nothing at all is known.
            assert (row["energy_j"] is None) == (row["known_s"] == 0) == (row["method"] == "none")


@given(seed=seeds)
@settings(many, max_examples=4)
def test_again_changes_nothing(seed: int) -> None:
    with tempfile.TemporaryDirectory() as made:
        recorded = Recorded.of(troubled(seed), Path(made))
        first = recorded.account("books", [recorded.whole])
        again = recorded.account("books", [recorded.whole])
        assert sum(one.posted for one in first) > 0
        assert [(one.posted, one.superseded) for one in again] == [(0, 0)] * len(again)


def test_the_books_have_what_the_devices_drew(tmp_path: Path) -> None:
    """A quiet cluster: device by device, what the simulated GPUs truly drew over the period."""
    cluster = random_cluster(2, sampling=Sampling(), troubles=Troubles(), mig=False, shards=False)
    recorded = Recorded.of(cluster, tmp_path)
    recorded.account("books", [recorded.whole])
    metered: dict[str, float] = defaultdict(float)
    for row in recorded.rows("books", BALANCE):
        metered[row["uuid"]] += row["metered_j"]
    devices = truth_of(cluster).devices
    assert metered.keys() == devices.keys()
    for uuid, device in devices.items():
        # Only the first and the last moment of the period lie between samples.
        assert metered[uuid] == pytest.approx(device.metered_j, rel=1e-4)
