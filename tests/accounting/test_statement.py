"""What a statement says, against the day that is worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import fields, replace

import pytest

from accounting.factors import SourceShare, shares_of_energy, shares_of_time
from accounting.jobs import JobFilter, list_jobs
from accounting.model import FactorSlot, GpuSamples, Job, Tag
from accounting.statement import Hardware, MethodShare, Statement, state_jobs, water_l
from accounting.uncertainty import Accuracy
from tests.accounting.oneday import DAY, EMBODIED_G_PER_S, Accountant, Site, at, exactly, hourly, the_day

#: The job of the day: kWh at 0.37 kW, and what it emitted (see test_integral).
IT_KWH = 0.37 * 2.75
LOCATION_G = 148.275 + 34.5975


def stated(accountant: Accountant, site: Site, wue_l_per_kwh: float | None = None) -> Statement:
    accountant.day(site)
    with accountant.books as books:
        return state_jobs(books, list(list_jobs(books, JobFilter())), wue_l_per_kwh)


def unnamed(job_id: int = 8) -> Job:
    """A job of two hours whose GPU nothing can name: its energy is unknown."""
    start = int(at(DAY, "15:00"))
    return Job(
        "alpha", job_id, start - 60, str(job_id), "COMPLETED", start, start + 7200, user="ada", account="phys",
        nodes=("n2",), cpus=4, memory_mb=1000.0, gpus=1,
    )  # fmt: skip


def test_one_job(accountant: Accountant) -> None:
    found = stated(accountant, the_day(), wue_l_per_kwh=1.8)
    assert (found.jobs, found.jobs_unknown, found.clusters) == (1, 0, ["alpha"])
    assert (found.start_s, found.end_s) == (at(DAY, "10:30"), at(DAY, "13:15"))
    assert found.hardware == [Hardware("A100", 1, 9900.0, exactly(0.3 * 2.75 * 3.6e6))]
    assert found.it_energy_j == exactly(IT_KWH * 3.6e6)
    assert found.co2e_location_g == exactly(LOCATION_G)
    assert found.co2e_market_g == exactly(0.37 * (3.3 * 21.6 + 0.375 * 5.0))
    assert found.co2e_embodied_g == exactly(9900 * EMBODIED_G_PER_S)
    assert found.pue == exactly(3.675 / 2.75)
    assert found.intensity_g_per_kwh == exactly(LOCATION_G / (0.37 * 3.675))
    assert found.coverage == 1.0
    assert found.methods == [MethodShare("gpu", "counter", 1.0), MethodShare("host", "model", 1.0)]


def test_the_interval_of_one_job(accountant: Accountant) -> None:
    """Of one job it is the job's own."""
    found = stated(accountant, the_day())
    job = accountant.job()
    assert (found.co2e_low_g, found.co2e_high_g) == (exactly(job.co2e_low_g), exactly(job.co2e_high_g))
    assert found.co2e_low_g < LOCATION_G < found.co2e_high_g


def test_what_all_jobs_share_does_not_average_out(accountant: Accountant) -> None:
    """Two jobs, one after the other on one GPU: its sensor, the host's model, PUE and intensity are off for both alike.

    So the whole is as uncertain, relatively, as its parts: by hand, the sensor's 5 % of 0.3 kW, the model's 50 % of
    0.07 kW, of 0.37 kW together, and 3 % and 4 % of the factors, in squares.
    """
    site = replace(the_day(), start_s=at(DAY, "10:00"), end_s=at(DAY, "12:00"))
    second = replace(next(iter(site.jobs(0, 2e9))), job_id=9, label="9", start_s=int(at(DAY, "12:00")))
    second = replace(second, end_s=int(at(DAY, "14:00")))
    site = replace(site, end_s=at(DAY, "14:00"), others=[second])
    accountant.day(TwoJobs(**{field.name: getattr(site, field.name) for field in fields(site)}))
    with accountant.books as books:
        found = state_jobs(
            books, list(list_jobs(books, JobFilter())), None, Accuracy(sensor=0.05, model=0.5, pue=0.03, intensity=0.04)
        )
    assert found.jobs == 2
    whole = math.hypot(0.05 * 0.3 / 0.37, 0.5 * 0.07 / 0.37, 0.03, 0.04)
    assert found.co2e_location_g is not None
    assert found.co2e_high_g == pytest.approx(found.co2e_location_g * (1 + whole), rel=1e-6)
    assert found.co2e_low_g == pytest.approx(found.co2e_location_g * (1 - whole), rel=1e-6)


class TwoJobs(Site):
    """The day's job until noon, and another one on the same GPU after it."""

    def jobs(self, start_s: float, end_s: float) -> Iterator[Job]:
        (second,) = self.others
        for job in super().jobs(start_s, end_s):
            yield replace(job, end_s=second.start_s) if job.job_id == 7 else job

    def tags(self, start_s: float, end_s: float, jobs: Sequence[Job], samples: Sequence[GpuSamples]) -> Iterator[Tag]:
        for job in jobs:
            assert job.start_s is not None
            yield Tag("alpha", job.job_id, "n1", "GPU-1", 0, job.start_s, job.end_s, "journal")


def test_the_software_carbon_intensity(accountant: Accountant) -> None:
    """(E × I + M) per R: 182.8725 g and the GPU's share, per job and per each of its 2.75 GPU-hours."""
    found = stated(accountant, the_day())
    whole_g = LOCATION_G + 9900 * 273_000 / 157_788_000
    assert found.sci_g_per_job == exactly(whole_g)
    assert found.sci_g_per_gpu_hour == exactly(whole_g / 2.75)


def test_without_an_embodied_figure_there_is_no_sci(accountant: Accountant) -> None:
    found = replace(stated(accountant, the_day()), co2e_embodied_g=None)
    assert (found.sci_g_per_job, found.sci_g_per_gpu_hour) == (None, None)


def test_water_is_on_it_energy(accountant: Accountant) -> None:
    """1.8 L for a kWh that the equipment drew, whatever the building drew beside it."""
    assert stated(accountant, the_day(), wue_l_per_kwh=1.8).water_l == exactly(1.8 * IT_KWH)
    assert water_l(3.6e6, None) is None
    assert water_l(None, 1.8) is None


def test_a_job_of_unknown_energy_is_counted_and_in_no_sum(accountant: Accountant) -> None:
    found = stated(accountant, replace(the_day(), others=[unnamed()]))
    assert (found.jobs, found.jobs_unknown) == (2, 1)
    assert found.co2e_location_g == exactly(LOCATION_G)
    assert found.end_s == at(DAY, "13:15")
    assert found.sci_g_per_job == exactly(LOCATION_G + 9900 * EMBODIED_G_PER_S)


def test_a_figure_that_one_job_lacks_is_unknown_of_all(accountant: Accountant) -> None:
    grid = hourly(DAY, lambda hour: 20.0 + 10.0 * hour, but=[11])
    found = stated(accountant, the_day(location=grid))
    assert found.it_energy_j == exactly(IT_KWH * 3.6e6)
    assert (found.co2e_location_g, found.intensity_g_per_kwh, found.sci_g_per_job) == (None, None, None)


def test_nothing_is_known(accountant: Accountant) -> None:
    accountant.day(replace(the_day(), others=[unnamed()]))
    with accountant.books as books:
        found = state_jobs(books, list(list_jobs(books, JobFilter(jobs=["8"]))))
    assert (found.jobs, found.jobs_unknown, found.hardware) == (1, 1, [])
    assert (found.it_energy_j, found.co2e_location_g, found.co2e_embodied_g) == (None, None, None)
    assert (found.coverage, found.pue, found.sci_g_per_job) == (None, None, None)


def test_no_contract_is_no_market_based_figure(accountant: Accountant) -> None:
    found = stated(accountant, the_day(market=()))
    assert found.co2e_market_g is None
    assert {one.kind for one in found.sources} == {"location", "pue"}


def test_who_gave_how_much_of_the_factors(accountant: Accountant) -> None:
    """The job's IT energy hour by hour: 0.5, 1, 1 and 0.25 of 2.75 h. The second of them is from another source."""
    grid = [
        replace(slot, source="estimates", estimated=True, basis="direct", retrieved_s=5e8)
        if slot.start_s == at(DAY, "11:00")
        else replace(slot, basis="direct", retrieved_s=6e8)
        for slot in the_day().factors.location
    ]
    accountant.day(the_day(location=grid))
    with accountant.books as books:
        by_energy = shares_of_energy(books, list(list_jobs(books, JobFilter())))
        by_time = shares_of_time(books, at(DAY, "00:00"), at(DAY, "00:00") + 86_400, ["alpha"])
        assert shares_of_time(books, at(DAY, "00:00"), at(DAY, "00:00") + 86_400, ["beta"]) == []
    assert [one for one in by_energy if one.kind == "location"] == [
        SourceShare("location", "meter of the grid", "direct", exactly(1.75 / 2.75), 0.0, 6e8),
        SourceShare("location", "estimates", "direct", exactly(1 / 2.75), 1.0, 5e8),
    ]
    assert [one.share for one in by_energy if one.kind in ("market", "pue")] == [1.0, 1.0]
    assert [one.share for one in by_time if one.kind == "location"] == [exactly(23 / 24), exactly(1 / 24)]


def test_two_sources_inside_one_slot_share_its_energy(accountant: Accountant) -> None:
    """A job of one hour; the first quarter of it from one source, the rest from another."""
    start_s = at(DAY, "10:00")
    grid = [
        FactorSlot(start_s, start_s + 900, 100.0, "first"),
        FactorSlot(start_s + 900, start_s + 3600, 100.0, "second", estimated=True),
    ]
    site = replace(the_day(location=grid), start_s=start_s, end_s=start_s + 3600)
    found = [one for one in stated(accountant, site).sources if one.kind == "location"]
    assert [(one.source, one.share, one.estimated_share) for one in found] == [
        ("second", pytest.approx(0.75), 1.0),
        ("first", pytest.approx(0.25), 0.0),
    ]


def test_two_gpus_sensors_average_out(accountant: Accountant) -> None:
    """Two GPUs of one energy in one job: their sensors' 5 % become 5 % / √2 of the GPUs' part; all else is exact."""
    accountant.day(TwoGpus(**{field.name: getattr(the_day(), field.name) for field in fields(the_day())}))
    exact = Accuracy(sensor=0.05, model=0.0, pue=0.0, intensity=0.0)
    with accountant.books as books:
        found = state_jobs(books, list(list_jobs(books, JobFilter())), None, exact)
    assert found.gpu_energy_j == exactly(2 * 0.3 * 2.75 * 3.6e6)
    assert found.co2e_location_g is not None
    share = 0.05 / math.sqrt(2) * 0.6 / 0.67
    assert found.co2e_high_g == pytest.approx(found.co2e_location_g * (1 + share), rel=1e-6)


class TwoGpus(Site):
    """The day's job holds a second GPU like the first."""

    def jobs(self, start_s: float, end_s: float) -> Iterator[Job]:
        for job in super().jobs(start_s, end_s):
            yield replace(job, gpus=2)

    def samples(self, start_s: float, end_s: float, uuids: Collection[str] | None = None) -> Iterator[GpuSamples]:
        for one in super().samples(start_s, end_s, uuids):
            yield one
            yield replace(one, device=replace(one.device, uuid="GPU-2", index=1))

    def tags(self, start_s: float, end_s: float, jobs: Sequence[Job], samples: Sequence[GpuSamples]) -> Iterator[Tag]:
        for tag in super().tags(start_s, end_s, jobs, samples):
            yield tag
            yield replace(tag, uuid="GPU-2", index=1)


def test_factors_that_were_superseded_count_no_more(accountant: Accountant) -> None:
    grid = [replace(slot, source="first estimate", value=1.0) for slot in the_day().factors.location]
    accountant.day(the_day(location=grid))
    accountant.day(the_day())
    with accountant.books as books:
        jobs = list(list_jobs(books, JobFilter()))
        by_energy = shares_of_energy(books, jobs)
        by_time = shares_of_time(books, at(DAY, "00:00"), at(DAY, "00:00") + 86_400, None)
    for found in (by_energy, by_time):
        assert [(one.source, one.share) for one in found if one.kind == "location"] == [("meter of the grid", 1.0)]


def test_another_attempt_of_the_same_job_is_another_job(accountant: Accountant) -> None:
    accountant.day(the_day())
    with accountant.books as books:
        (job,) = list_jobs(books, JobFilter())
        assert shares_of_energy(books, [replace(job, submit=job.submit - 1)]) == []
        assert state_jobs(books, [replace(job, submit=job.submit - 1)]).hardware == []
