"""Jobs from the books: what is summed, what is unknown, and which are chosen. What must come out is by hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from accounting.jobs import JobFilter, JobUsage, list_jobs
from accounting.ledger.postings import UsageRow
from accounting.ledger.store import Ledger
from accounting.model import Job
from tests.ledger.servers import Place, books_of
from tests.ledger.windows import DAY_S, HOST, HOUR_S, OTHER, RUN, START_S, UNNAMED, job, usage, window

ALL = JobFilter(duplicates=True)


@pytest.fixture
def ledger(place: Place) -> Iterator[Ledger]:
    made = Ledger(place.url, "UTC", place.password)
    yield made
    made.close()


def booked(ledger: Ledger, jobs: Sequence[Job], rows: Sequence[UsageRow] = ()) -> Ledger:
    """The ledger with these jobs and what they used, day by day."""
    days = sorted({(row.slot_s - START_S) // DAY_S for row in rows} or {0})
    for day in days:
        of_day = [row for row in rows if (row.slot_s - START_S) // DAY_S == day]
        ledger.post(window(day * 24, day * 24 + 24, jobs, of_day, booked=(0, days[-1] * 24 + 24)), RUN)
    return ledger


def found(ledger: Ledger, chosen: JobFilter = ALL) -> list[JobUsage]:
    with books_of(ledger) as books:
        return list(list_jobs(books, chosen))


def ids(ledger: Ledger, **words: object) -> list[str]:
    return [one.job_id for one in found(ledger, JobFilter(**words))]  # type: ignore[arg-type]


def only(ledger: Ledger, *rows: UsageRow, of: Job | None = None) -> JobUsage:
    """The one job, with what it used."""
    (one,) = found(booked(ledger, [of or job(1)], rows))
    return one


# --- sums


def test_a_job_is_the_sum_of_its_hours_and_meters(ledger: Ledger) -> None:
    ada = job(1, gpus=2)
    one = only(
        ledger,
        usage(ada, 22, 3.6e6),
        usage(ada, 22, 7.2e6, OTHER),
        usage(ada, 25, 1.8e6),  # the next day
        usage(ada, 22, 0.9e6, HOST, method="model", embodied_g=None),
        of=ada,
    )
    assert one.gpu_energy_j == pytest.approx(12.6e6, rel=1e-12)
    assert one.host_energy_j == pytest.approx(0.9e6, rel=1e-12)
    assert one.it_energy_j == pytest.approx(13.5e6, rel=1e-12)
    assert one.facility_energy_j == pytest.approx(16.2e6, rel=1e-12)  # × 1.2
    assert one.co2e_location_g == pytest.approx(450, rel=1e-12)  # 4.5 kWh at 100 g
    assert one.intensity_g_per_kwh == pytest.approx(100, rel=1e-12)
    assert one.pue == pytest.approx(1.2, rel=1e-12)
    assert one.co2e_embodied_g == pytest.approx(4.5, rel=1e-12)  # 1.5 g for each of three GPU-hours
    assert one.gpu_seconds == 3 * 3600
    assert one.coverage == pytest.approx(3500 / 3600, rel=1e-12)
    assert one.method == "counter"


def test_the_method_is_the_least_exact_that_gave_any_of_it(ledger: Ledger) -> None:
    ada = job(1)
    assert only(ledger, usage(ada, 0), usage(ada, 1, method="power"), of=ada).method == "power"


def test_the_method_of_the_host_is_not_the_jobs(ledger: Ledger) -> None:
    ada = job(1)
    assert only(ledger, usage(ada, 0), usage(ada, 0, meter=HOST, method="model"), of=ada).method == "counter"


# --- unknown


def test_a_job_whose_gpus_nothing_is_known_of(ledger: Ledger) -> None:
    ada = job(1)
    one = only(ledger, usage(ada, 0, None), usage(ada, 0, 0.9e6, HOST, method="model"), of=ada)
    assert (one.gpu_energy_j, one.it_energy_j, one.facility_energy_j, one.co2e_location_g) == (None, None, None, None)
    assert (one.intensity_g_per_kwh, one.pue, one.co2e_low_g, one.co2e_high_g) == (None, None, None, None)
    assert one.host_energy_j == pytest.approx(0.9e6)
    assert (one.gpu_seconds, one.coverage, one.method) == (3600, 0, "none")


def test_a_job_with_a_gpu_that_no_source_can_name(ledger: Ledger) -> None:
    """One of its two GPUs was measured: the sum has that one's, and coverage says that it is not all."""
    ada = job(1, gpus=2)
    one = only(ledger, usage(ada, 0, 3.6e6), usage(ada, 0, None, UNNAMED), of=ada)
    assert one.gpu_energy_j == pytest.approx(3.6e6)
    assert (one.gpu_seconds, one.method) == (7200, "counter")
    assert one.coverage == pytest.approx(3500 / 7200)


def test_a_day_whose_intensity_is_unknown_makes_the_emissions_unknown(ledger: Ledger) -> None:
    ada = job(1)
    one = only(ledger, usage(ada, 0), usage(ada, 25, location_g=None), of=ada)
    assert one.facility_energy_j == pytest.approx(2 * 3600 * 1.2)
    assert (one.co2e_location_g, one.intensity_g_per_kwh, one.co2e_market_g) == (None, None, None)


def test_a_job_that_waits(ledger: Ledger) -> None:
    waiting = job(1, state="PENDING", start_s=None, end_s=None, nodes=(), gpus=0)
    (one,) = found(booked(ledger, [waiting]))
    assert (one.state, one.start, one.end, one.nodes) == ("PENDING", None, None, "")
    assert (one.gpu_energy_j, one.host_energy_j, one.it_energy_j, one.coverage) == (None, None, None, None)
    assert (one.gpu_seconds, one.method) == (0, "none")


def test_a_job_without_gpus_has_0_j_of_gpus_and_no_coverage(ledger: Ledger) -> None:
    cpu = job(1, gpus=0)
    one = only(ledger, usage(cpu, 0, 0.9e6, HOST, method="model"), of=cpu)
    assert (one.gpu_energy_j, one.coverage, one.method) == (0, None, "model")
    assert one.it_energy_j == pytest.approx(0.9e6)


def test_a_job_without_gpus_on_a_node_with_a_meter_has_the_coverage_of_that(ledger: Ledger) -> None:
    """Each hour is measured for 3500 s; of the second hour nothing is known."""
    cpu = job(1, gpus=0)
    one = only(ledger, usage(cpu, 0, 0.9e6, HOST), usage(cpu, 1, None, HOST), of=cpu)
    assert (one.host_energy_j, one.method) == (pytest.approx(0.9e6), "counter")
    assert one.coverage == pytest.approx(3500 / 7200)


def test_a_job_without_gpus_where_no_host_is_accounted_is_unknown(ledger: Ledger) -> None:
    (one,) = found(booked(ledger, [job(1, gpus=0)]))
    assert (one.it_energy_j, one.co2e_location_g, one.method) == (None, None, "none")


# --- which


def named(number: int, label: str, **changes: object) -> Job:
    return replace(job(number), label=label, **changes)  # type: ignore[arg-type]


ARRAY = [named(10, "8_2"), named(9, "8_1"), named(8, "8_0"), named(80, "80"), named(81, "80_1"), named(7, "7+0")]


@pytest.mark.parametrize(
    ("typed", "labels"),
    [
        (["8"], ["8_0", "8_1", "8_2"]),
        (["8_1"], ["8_1"]),
        (["9"], ["8_1"]),  # Slurm's own number of a task
        (["80"], ["80", "80_1"]),
        (["7"], ["7+0"]),
        (["7+0"], ["7+0"]),
        (["8_9"], []),
        (["8", "7+0", "8_1"], ["7+0", "8_0", "8_1", "8_2"]),
        (["99999999999999999999999"], []),
    ],
)
def test_a_job_by_what_was_typed(ledger: Ledger, typed: list[str], labels: list[str]) -> None:
    assert ids(booked(ledger, ARRAY), jobs=typed) == labels


def test_the_order_is_that_of_sacct(ledger: Ledger) -> None:
    assert ids(booked(ledger, ARRAY)) == ["7+0", "80", "8_0", "8_1", "8_2", "80_1"]


@pytest.mark.parametrize(
    ("start_h", "end_h", "there"),
    [(0, 1, True), (-5, 0, False), (-5, 1, True), (2, 5, True), (3, 5, False), (-9, 99, True)],
)
def test_a_window_takes_what_was_there_at_some_time_in_it(
    ledger: Ledger, start_h: int, end_h: int, there: bool
) -> None:
    """Submitted at 0 h, ended at 2 h; sacct lists a job that ended in the second in which the window begins."""
    window_s = {"start_s": START_S + start_h * HOUR_S, "end_s": START_S + end_h * HOUR_S}
    assert ids(booked(ledger, [job(1)]), **window_s) == (["1"] if there else [])


@pytest.mark.parametrize("lasts_s", [0, 1, HOUR_S - 1, HOUR_S, 5 * HOUR_S, 20 * DAY_S, 400 * DAY_S, None])
def test_jobs_of_any_length_are_found(ledger: Ledger, lasts_s: int | None) -> None:
    end_s = None if lasts_s is None else START_S + lasts_s
    booked(ledger, [job(1, end_s=end_s)])
    assert ids(ledger, start_s=START_S - 10, end_s=START_S + 10) == ["1"]
    late_s = START_S + (lasts_s or 0)
    assert ids(ledger, start_s=late_s, end_s=late_s + 10) == ["1"]
    assert ids(ledger, start_s=late_s + 1, end_s=late_s + 10) == ([] if lasts_s is not None else ["1"])


def test_earlier_attempts_and_numbers_that_were_given_again(ledger: Ledger) -> None:
    booked(ledger, [job(1, state="NODE_FAIL"), job(1, submit_s=START_S + 50)])
    assert [one.state for one in found(ledger, JobFilter())] == ["COMPLETED"]
    assert [one.state for one in found(ledger, JobFilter(duplicates=True))] == ["NODE_FAIL", "COMPLETED"]


def test_names_that_sql_would_read_otherwise(ledger: Ledger) -> None:
    strange = "o'hara; DROP TABLE attempts --%_"
    booked(ledger, [job(1, user=strange, account='"x"'), job(2)])
    assert ids(ledger, users=[strange]) == ["1"]
    assert ids(ledger, accounts=['"x"', "nobody"]) == ["1"]
    assert ids(ledger, users=["o_hara%"]) == []
    assert ids(ledger, states=["COMPLETED"], users=["ada"]) == ["2"]
    assert ids(ledger, users=["Ada"]) == []  # names differ in case, as on the host
