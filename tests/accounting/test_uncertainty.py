"""The interval of a figure: each part by hand, and whether the simulator's truth lies in it as often as it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from accounting.jobs import JobFilter, list_jobs
from accounting.ledger.reading import Books
from accounting.report import make_report
from accounting.uncertainty import NORMAL_95, Accuracy, EnergyDoubt, Parts, emission_parts, energy_parts
from simulator.cluster import Sampling, Troubles
from simulator.scenarios import random_cluster
from simulator.truth import truth_of
from tests.accounting.recorded import Recorded

CERTAIN = Accuracy(0.0, 0.0, 0.0, 0.0)


def test_one_gpus_sensor_is_the_whole_of_its_error() -> None:
    """1 kWh of one GPU with a sensor within ±5 %: 0.95 to 1.05."""
    parts = energy_parts(3.6e6, EnergyDoubt(3.6e6, 0.0, 0.0, 0.0), Accuracy())
    assert parts.interval(1.0) == pytest.approx((0.95, 1.05))


def test_four_gpus_sensors_average_out_to_half() -> None:
    """Four GPUs, 1 kWh each: √4 × 5 % of 1 kWh, of 4 kWh."""
    parts = energy_parts(4.0, EnergyDoubt((4 * 1.0**2) ** 0.5, 0.0, 0.0, 0.0), Accuracy())
    assert parts.interval(4.0) == pytest.approx((3.9, 4.1))


def test_each_part_alone() -> None:
    doubt = EnergyDoubt(sensor_j=100.0, edges_j2=9.0, sharing_j=4.0, modelled_j=50.0)
    parts = energy_parts(100.0, doubt, Accuracy(sensor=0.1, model=0.4))
    assert parts.sensor == pytest.approx(0.1 / NORMAL_95)
    assert parts.edges == pytest.approx(0.03) and parts.sharing == pytest.approx(0.04)
    assert parts.model == pytest.approx(0.4 * 0.5 / NORMAL_95)
    assert parts.whole**2 == pytest.approx(sum(part**2 for part in (parts.sensor, 0.03, 0.04, parts.model)))


def test_pue_and_intensity_are_of_emissions_alone() -> None:
    doubt = EnergyDoubt(0.0, 0.0, 0.0, 0.0)
    factors = Accuracy(0.0, 0.0, pue=0.06, intensity=0.08)
    assert energy_parts(10.0, doubt, factors).whole == 0
    assert emission_parts(10.0, doubt, factors).interval(200.0) == pytest.approx((180.0, 220.0))


def test_no_interval_reaches_below_nothing() -> None:
    assert Parts(0.0, 0.9, 0.0, 0.0).interval(10.0) == pytest.approx((0.0, 10.0 + NORMAL_95 * 9.0))


def test_nothing_is_certain_to_be_nothing() -> None:
    assert emission_parts(0.0, EnergyDoubt(0.0, 4.0, 0.0, 0.0), CERTAIN).interval(0.0) == (0.0, 0.0)


def test_the_truth_lies_in_the_interval_as_often_as_it_says(tmp_path: Path) -> None:
    """Nearly a thousand jobs of 60 clusters, 8 s to 90 min, on sensors that are off by 2.5 % (standard deviation)."""
    sigma = 0.025
    hits = []
    for seed in range(60):
        troubles = Troubles(gain_sigma=sigma, cooling=0.03)
        cluster = random_cluster(
            seed, hours=3.0, jobs=14, mig=False, shards=False, sampling=Sampling(), troubles=troubles
        )  # fmt: skip
        (folder := tmp_path / str(seed)).mkdir()
        recorded = Recorded.of(cluster, folder)
        recorded.account("books", [recorded.whole])
        truth = {(key.job_id, key.submit_s): one.energy_j for key, one in truth_of(cluster).attempts.items()}
        for row in recorded.rows("books", SUMS):
            doubt = EnergyDoubt(row["sensor_j"], row["edges_j2"], row["sharing_j"], 0.0)
            parts = energy_parts(row["energy_j"], doubt, Accuracy(sensor=NORMAL_95 * sigma))
            low_j, high_j = parts.interval(row["energy_j"])
            hits.append(low_j <= truth[row["job_id"], row["submit_s"]] <= high_j)
    assert len(hits) > 900
    assert 0.93 <= sum(hits) / len(hits) <= 0.97


SUMS = """
SELECT job_id, submit_s, SUM(energy_j) AS energy_j, SUM(sensor_j) AS sensor_j, SUM(edges_j2) AS edges_j2,
       SUM(sharing_j) AS sharing_j
FROM usage_days u JOIN attempts a ON a.attempt_id = u.attempt_id
WHERE kind = 'gpu' AND energy_j IS NOT NULL
GROUP BY job_id, submit_s
"""


def test_a_reports_sums_have_intervals_too(tmp_path: Path) -> None:
    """One job of one GPU in a day: its group's interval is the job's, and the idle line's is ±5 % of the sensor."""
    cluster = random_cluster(4, mig=False, shards=False, sampling=Sampling(), troubles=Troubles())
    recorded = Recorded.of(cluster, tmp_path)
    recorded.account("books", [recorded.whole])
    books = Books(f"sqlite:///{tmp_path / 'books.db'}")
    (first,), (last,) = (recorded.rows("books", f"SELECT {of}(day) AS d FROM idle_days")[0].values() for of in EDGES)
    sensor = Accuracy(sensor=0.05, model=0.0, pue=0.0, intensity=0.0)
    report = make_report(books, first, last, "user", None, sensor)
    idle_g = report.idle.co2e_location_g
    assert idle_g is not None
    assert (report.idle.co2e_low_g, report.idle.co2e_high_g) == pytest.approx((0.95 * idle_g, 1.05 * idle_g))
    jobs = list(list_jobs(books, JobFilter(duplicates=True), sensor))
    for group in report.groups:
        (mine, *more) = [job for job in jobs if job.user == group.key and job.gpu_energy_j]
        low_g, high_g, figure_g = group.co2e_low_g, group.co2e_high_g, group.co2e_location_g
        assert low_g is not None and high_g is not None and figure_g is not None
        if not more:
            assert (low_g, high_g) == pytest.approx((mine.co2e_low_g, mine.co2e_high_g))
        # Sensors alone, none of which is more than 5 % off: no sum is more than that off, but for the edges.
        assert 0.9 * figure_g < low_g < figure_g < high_g < 1.1 * figure_g
    total_g = report.total.co2e_location_g
    assert total_g is not None and report.total.co2e_high_g == pytest.approx(1.05 * total_g, rel=0.01)


EDGES = ("MIN", "MAX")
