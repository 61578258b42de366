"""What a person's jobs say, on jobs and intensities that are worked out by hand."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import fields, replace
from typing import Any

import pytest

from accounting.advice import Lost, Moved, best_start, hardly_used, idle_levels, lost, moved, usual_length_s
from accounting.jobs import JobUsage
from accounting.model import FactorSlot, GpuSamples
from accounting.statement import Used
from tests.accounting.oneday import DAY, Accountant, Site, at, exactly, the_day

HOUR = 3600


def job(
    number: int = 1, state: str = "COMPLETED", start: int | None = 0, end: int | None = HOUR, **changes: Any
) -> JobUsage:
    """A job that drew 1 kWh at the facility, at 100 g/kWh."""
    known: dict[str, Any] = {
        "cluster": "alpha", "job_id": str(number), "job_id_raw": number, "submit": 0, "start": start, "end": end,
        "state": state, "user": "ada", "gpus": 1, "gpu_seconds": 3600.0, "it_energy_j": 3.0e6,
        "facility_energy_j": 3.6e6, "co2e_location_g": 100.0, "coverage": 1.0, "method": "counter",
    }  # fmt: skip
    plain = JobUsage(**{field.name: None for field in fields(JobUsage)} | known)
    return replace(plain, **changes)


def hours(*values: float, first: int = 0) -> list[FactorSlot]:
    return [
        FactorSlot((first + number) * HOUR, (first + number + 1) * HOUR, value, "grid")
        for number, value in enumerate(values)
    ]


# --- what came to nothing


def test_jobs_that_came_to_nothing_by_state() -> None:
    jobs = [
        job(1, "FAILED"),
        job(2, "FAILED", it_energy_j=5.0e6, co2e_location_g=250.0),
        job(3, "TIMEOUT", it_energy_j=9.0e6, co2e_location_g=None),
        job(4),
        job(5, "CANCELLED", it_energy_j=None),
        job(6, "RUNNING"),
    ]
    assert lost(jobs) == [
        Lost("TIMEOUT", 1, 3600.0, 9.0e6, None),
        Lost("FAILED", 2, 7200.0, 8.0e6, 350.0),
    ]
    assert lost([job(4)]) == []


# --- GPUs held and hardly used


def used(number: int, model: str, energy_j: float | None, known_s: float, **changes: Any) -> Used:
    plain = Used(("alpha", number, 0), "gpu", model, "counter", known_s, known_s, energy_j, None, 0.0, 0.0, 0.0)
    return replace(plain, **changes)


def test_a_gpu_that_draws_little_more_than_an_idle_one() -> None:
    """Idle at 60 W; 89 W for an hour is less than half again as much, 90 W is not."""
    rows = [used(1, "A100", 89.0 * HOUR, HOUR), used(2, "A100", 90.0 * HOUR, HOUR)]
    (found,) = hardly_used([job(1), job(2)], rows, {"A100": 60.0})
    assert (found.job.job_id, found.mean_w, found.idle_w, found.gpu_seconds) == ("1", pytest.approx(89.0), 60.0, HOUR)


def test_its_days_are_taken_together_and_its_models_apart() -> None:
    rows = [
        used(1, "A100", 60.0 * HOUR, HOUR),
        used(1, "A100", 300.0 * HOUR, HOUR),  # another day: 180 W on the whole
        used(1, "T4", 10.0 * HOUR, HOUR),
    ]
    assert [one.model for one in hardly_used([job(1)], rows, {"A100": 60.0, "T4": 9.0})] == ["T4"]


@pytest.mark.parametrize(
    "row",
    [
        used(1, "A100", 1.0, 599.0),  # too short to tell
        used(1, "A100", None, 0.0),  # unknown is not nought
        used(1, "A100", 1.0, HOUR, method="model"),  # a model knows nothing of use
        used(1, "", 1.0, HOUR, kind="host"),
        used(1, "Abacus", 1.0, HOUR),  # whose idle level nobody knows
        used(9, "A100", 1.0, HOUR),  # somebody else's
    ],
)
def test_of_which_nothing_can_be_said(row: Used) -> None:
    assert hardly_used([job(1)], [row], {"A100": 60.0}) == []


def test_an_idle_level_that_was_never_seen_is_assumed_from_the_rated_power() -> None:
    (found,) = hardly_used([job(1)], [used(1, "NVIDIA A100-SXM4-80GB", 50.0 * HOUR, HOUR)], {})
    assert found.idle_w == pytest.approx(0.12 * 400)


def test_the_idle_level_is_read_from_the_books(accountant: Accountant) -> None:
    """The GPU of the day that is worked out by hand draws 60 W while nobody holds it."""
    accountant.day(the_day())
    with accountant.books as books:
        assert idle_levels(books, *the_days_ends()) == {"A100": exactly(60.0)}
        assert idle_levels(books, at(DAY, "11:00"), at(DAY, "13:00")) == {}  # held all the time


def test_a_gpu_that_was_never_idle_has_no_idle_level(accountant: Accountant) -> None:
    accountant.day(replace(the_day(), start_s=at(DAY, "00:00"), end_s=at(DAY, "00:00") + 86_400))
    with accountant.books as books:
        assert idle_levels(books, *the_days_ends()) == {}


def the_days_ends() -> tuple[float, float]:
    return at(DAY, "00:00"), at(DAY, "00:00") + 86_400


def test_an_hour_of_which_a_part_is_unknown_tells_no_idle_level(accountant: Accountant) -> None:
    """Nobody held the GPU from 06:00 to 07:00, and it was measured in the second half only: 30 W would be wrong."""
    accountant.day(Silent(**{field.name: getattr(the_day(), field.name) for field in fields(the_day())}))
    with accountant.books as books:
        assert idle_levels(books, at(DAY, "06:00"), at(DAY, "07:00")) == {}
        assert idle_levels(books, at(DAY, "06:00"), at(DAY, "08:00")) == {"A100": exactly(60.0)}


class Silent(Site):
    """The GPU's exporter is new: it has samples from half past six in the morning on."""

    def samples(self, start_s: float, end_s: float, uuids: Collection[str] | None = None) -> Iterator[GpuSamples]:
        for one in super().samples(start_s, end_s, uuids):
            there = one.energy_time_s >= at(DAY, "06:30")
            yield replace(one, energy_time_s=one.energy_time_s[there], energy_j=one.energy_j[there])


# --- when to run


def test_the_greenest_start() -> None:
    """Two hours: at once (90 + 80) / 2; best from 3 on, (20 + 30) / 2."""
    found = best_start(hours(90, 80, 70, 20, 30, 60), 0.0, 2 * HOUR)
    assert found is not None
    assert (found.start_s, found.g_per_kwh, found.now_g_per_kwh) == (3 * HOUR, 25.0, 85.0)


def test_by_the_half_hour() -> None:
    halves = [FactorSlot(n * 1800.0, (n + 1) * 1800.0, value, "grid") for n, value in enumerate([90, 80, 20, 20, 90])]
    found = best_start(halves, 600.0, HOUR)
    assert found is not None
    assert (found.start_s, found.g_per_kwh) == (3600.0, 20.0)
    # From 10 past: 20 minutes at 90, 30 at 80, 10 at 20.
    assert found.now_g_per_kwh == pytest.approx((20 * 90 + 30 * 80 + 10 * 20) / 60)


def test_now_is_best() -> None:
    found = best_start(hours(10, 80, 70), 0.0, HOUR)
    assert found is not None
    assert (found.start_s, found.g_per_kwh) == (0.0, 10.0)


def test_what_the_forecast_does_not_reach() -> None:
    assert best_start([], 0.0, HOUR) is None
    assert best_start(hours(10, 20), 0.0, 3 * HOUR) is None
    assert best_start(hours(10, 20, first=1), 0.0, HOUR) is None  # nothing is known of now


def test_a_hole_in_the_forecast_is_not_green() -> None:
    found = best_start([*hours(50, 60), *hours(55, 70, first=3)], 0.0, HOUR)
    assert found is not None
    assert found.start_s == 0.0


def test_how_long_a_job_usually_runs() -> None:
    jobs = [job(1, end=600), job(2, end=2 * HOUR + 100), job(3, end=9 * HOUR), job(4, end=None)]
    assert usual_length_s(jobs) == 2 * HOUR
    assert usual_length_s([job(1, end=60)]) == HOUR
    assert usual_length_s([job(1, end=None)]) is None


# --- what moving would have saved


def test_starting_later_at_the_greenest_hour() -> None:
    """One kWh in the first hour at 100 g; within a day the seventh hour has 40: 60 g less."""
    day = hours(*[100.0] * 6, 40.0, *[100.0] * 18)
    assert moved([job(1)], day) == Moved(1, pytest.approx(100.0), pytest.approx(60.0))


def test_a_long_job_is_moved_whole() -> None:
    """Two hours, 2 kWh: at once (100 + 50) / 2, best (20 + 60) / 2 = 40."""
    day = hours(100.0, 50.0, 90.0, 20.0, 60.0, *[90.0] * 21)
    assert moved([job(1, end=2 * HOUR, facility_energy_j=7.2e6)], day) == Moved(
        1, pytest.approx(150.0), pytest.approx(2 * (75.0 - 40.0))
    )


def test_a_job_at_the_greenest_hour_saves_nothing() -> None:
    assert moved([job(1)], hours(10.0, *[100.0] * 24)) == Moved(1, pytest.approx(10.0), 0.0)


@pytest.mark.parametrize(
    "one",
    [
        job(1, end=None),
        job(1, start=None, end=None),
        job(1, end=0),
        job(1, facility_energy_j=None),
        job(1, start=10 * HOUR, end=11 * HOUR),  # the day after it is not known to its end
    ],
)
def test_jobs_that_cannot_be_moved(one: JobUsage) -> None:
    assert moved([one], hours(*[100.0] * 25)) == Moved(0, 0.0, 0.0)
