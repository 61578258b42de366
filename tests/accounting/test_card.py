"""Sums of a card by hand, and when a GPU counts as left idle."""

from __future__ import annotations

from dataclasses import fields, replace
from math import hypot

import pytest

from accounting.card import Card, Held, totals
from accounting.jobs import JobUsage
from accounting.uncertainty import NORMAL_95, Parts

PARTS = Parts(sensor=0.02, edges=0.03, sharing=0.0, model=0.04, pue=0.025, intensity=0.05)


def job(**known: object) -> JobUsage:
    plain = {field.name: None for field in fields(JobUsage)}
    words = {"start": 0, "end": 3600, "method": "counter", "gpu_seconds": 0.0, "gpus": 1, **known}
    return JobUsage(**{**plain, **words})  # type: ignore[arg-type]


FIRST = job(gpu_seconds=3600.0, it_energy_j=1e6, co2e_location_g=100.0, co2e_low_g=0.0, coverage=1.0, uncertainty=PARTS)
SECOND = replace(FIRST, gpu_seconds=1200.0, it_energy_j=3e6, co2e_location_g=300.0, coverage=0.5, method="power")


def test_edges_average_out_in_a_sum_and_the_others_do_not() -> None:
    """Of 400 g: the edges are the root of 3² + 9² g, all else stays what it is of each."""
    summed = totals([FIRST, SECOND])
    assert summed.co2e_location_g == 400
    assert summed.uncertainty is not None
    assert summed.uncertainty.edges == pytest.approx(hypot(3, 9) / 400)
    for name in ("sensor", "sharing", "model", "pue", "intensity"):
        assert getattr(summed.uncertainty, name) == pytest.approx(getattr(PARTS, name)), name
    whole = hypot(0.02, hypot(3, 9) / 400, 0.04, 0.025, 0.05)
    assert summed.co2e_high_g == pytest.approx(400 * (1 + NORMAL_95 * whole))


def test_coverage_is_weighted_by_gpu_time() -> None:
    """3600 s wholly and 1200 s by half are 4200 of 4800 s."""
    assert totals([FIRST, SECOND]).coverage == pytest.approx(4200 / 4800)


def test_methods_the_most_exact_first() -> None:
    assert totals([SECOND, FIRST, replace(FIRST, method="none")]).methods == ["counter", "power", "none"]


def test_a_part_of_unknown_energy_makes_the_sum_unknown() -> None:
    unknown = replace(SECOND, it_energy_j=None, co2e_location_g=None, uncertainty=None)
    summed = totals([FIRST, unknown])
    assert (summed.it_energy_j, summed.co2e_location_g, summed.uncertainty, summed.co2e_low_g) == (None,) * 4


def test_what_never_began_is_in_no_sum() -> None:
    waiting = job(start=None, end=None, method="none")
    assert totals([FIRST, waiting]) == totals([FIRST])
    assert totals([waiting]).it_energy_j is None
    card = Card([waiting], totals([waiting]), (), (), None, None)
    assert (card.start_s, card.end_s(1e9)) == (None, None)


HELD = Held(
    ("alpha", 1, 0), "GPU-1", "n1", "A100", "journal", 0.0, 3600.0, held_s=3600.0, known_s=3600.0,
    energy_j=3600 * 89.9, method="counter", idle_w=60.0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "idle"),
    [
        ({}, True),  # 89.9 W, of 1.5 times 60 W
        ({"energy_j": 3600 * 90.1}, False),
        ({"known_s": 599.0, "energy_j": 599 * 60.0}, False),  # too short to say
        ({"idle_w": None}, False),
        ({"energy_j": None}, False),
        ({"method": "model"}, False),  # nobody looked
    ],
)
def test_left_idle(changes: dict[str, object], idle: bool) -> None:
    assert replace(HELD, **changes).left_idle is idle  # type: ignore[arg-type]
