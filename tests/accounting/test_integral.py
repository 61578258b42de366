"""From joules to grams by hand: E × PUE × intensity, slot by slot, through a whole run into the books."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import date

import pytest

from accounting.clock import day_start
from accounting.model import FactorSlot, Node
from accounting.sources import Factors
from tests.accounting.oneday import (
    DAY,
    EMBODIED_G_PER_S,
    PARIS,
    PARTS,
    RULES,
    Accountant,
    Site,
    at,
    contracts_that_change_at_one,
    exactly,
    hourly,
    pue_that_changes_at_noon,
    the_day,
)


def test_a_job_across_noon(accountant: Accountant) -> None:
    """0.3 kW × (0.5 × 1.2 × 120 + 1 × 1.2 × 130 + 1 × 1.5 × 140 + 0.25 × 1.5 × 150) = 148.275 g; so with all others."""
    accountant.day(the_day())
    job = accountant.job()
    assert job.gpu_energy_j == exactly(0.3 * 2.75 * 3.6e6)
    assert job.host_energy_j == exactly(0.07 * 2.75 * 3.6e6)
    assert job.it_energy_j == exactly(0.37 * 2.75 * 3.6e6)
    assert job.facility_energy_j == exactly(0.37 * (0.6 + 1.2 + 1.5 + 0.375) * 3.6e6)
    assert job.co2e_location_g == exactly(148.275 + 34.5975)
    assert job.co2e_market_g == exactly(0.37 * (0.6 * 21.6 + 1.2 * 21.6 + 1.5 * 21.6 + 0.375 * 5.0))
    assert job.co2e_embodied_g == exactly(9900 * EMBODIED_G_PER_S)
    assert job.pue == exactly(3.675 / 2.75)
    assert job.intensity_g_per_kwh == exactly((148.275 + 34.5975) / (0.37 * 3.675))
    assert (job.coverage, job.method) == (1.0, "counter")


@pytest.mark.parametrize(("kind", "kilowatts"), [("gpu", 0.3), ("host", 0.07)])
def test_gpu_and_host_hour_by_hour(accountant: Accountant, kind: str, kilowatts: float) -> None:
    accountant.day(the_day())
    rows = accountant.used(kind, "energy_j", "facility_j", "location_g", "market_g")
    assert len(rows) == len(PARTS)
    for (energy_j, facility_j, location_g, market_g), (hours, pue, grid, contract) in zip(rows, PARTS, strict=True):
        kwh = kilowatts * hours
        assert energy_j == exactly(kwh * 3.6e6)
        assert facility_j == exactly(kwh * pue * 3.6e6)
        assert location_g == exactly(kwh * pue * grid)
        assert market_g == exactly(kwh * pue * contract)


def test_what_nobody_held_and_the_total(accountant: Accountant) -> None:
    """The GPU's other 21.25 h at 60 W are the site's idle line, by the same factors."""
    accountant.day(the_day())
    report = accountant.report()
    location_g = market_g = 0.0
    for hour in range(24):
        held = {10: 0.5, 11: 1.0, 12: 1.0, 13: 0.25}.get(hour, 0.0)
        facility_kwh = 0.06 * (1 - held) * (1.2 if hour < 12 else 1.5)
        location_g += facility_kwh * (20 + 10 * hour)
        market_g += facility_kwh * (21.6 if hour < 13 else 5.0)
    assert report.idle.gpu_energy_j == exactly(0.06 * 21.25 * 3.6e6)
    assert report.idle.co2e_location_g == exactly(location_g)
    assert report.idle.co2e_market_g == exactly(market_g)
    assert report.idle.co2e_embodied_g == exactly(21.25 * 3600 * EMBODIED_G_PER_S)
    job = accountant.job()
    assert job.co2e_location_g is not None
    assert report.total.co2e_location_g == exactly(location_g + job.co2e_location_g)
    assert report.total.co2e_embodied_g == exactly(86_400 * EMBODIED_G_PER_S)


def test_means_would_give_another_figure() -> None:
    """What the integral is for: the day's mean PUE and intensity are some per cent off."""
    by_means = 0.3 * 2.75 * (1.2 + 1.5) / 2 * (20 + 10 * 11.5)
    assert abs(by_means / 148.275 - 1) > 0.01


def test_factors_that_change_inside_an_hour(accountant: Accountant) -> None:
    """A grid in quarters of an hour: 300 W for 15 minutes each at 100, 200, 300 and 400 g/kWh, PUE 1."""
    start_s = day_start(PARIS, DAY)
    quarters = [FactorSlot(start_s + q * 900, start_s + (q + 1) * 900, 100.0 * (q % 4 + 1), "grid") for q in range(96)]
    site = the_day(location=quarters, pue=[FactorSlot(start_s, start_s + 86_400, 1.0, "site")])
    accountant.day(replace(site, start_s=at(DAY, "10:00"), end_s=at(DAY, "11:00")))
    ((location_g,),) = accountant.used("gpu", "location_g")
    assert location_g == exactly(0.3 * 0.25 * (100 + 200 + 300 + 400))


def test_a_day_of_23_hours(accountant: Accountant) -> None:
    """On 29 March 2026 Paris goes from 02:00 to 03:00. A job from 01:00 to 04:00 by the clock lasts two hours."""
    day = date(2026, 3, 29)
    grid = hourly(day, lambda hour: 100.0 + hour)
    assert len(grid) == 23
    site = Site(at(day, "01:00"), at(day, "04:00"), Factors(pue_that_changes_at_noon(day), grid, ()))
    accountant.day(site, day)
    job = accountant.job()
    assert job.gpu_seconds == exactly(7200.0)
    assert job.co2e_location_g == exactly(0.37 * 1.2 * (101.0 + 102.0))  # the hours 1 and 2 since midnight
    assert job.co2e_embodied_g == exactly(7200 * EMBODIED_G_PER_S)
    total = accountant.report(day).total
    assert total.gpu_seconds == exactly(23 * 3600.0)
    assert total.co2e_embodied_g == exactly(23 * 3600 * EMBODIED_G_PER_S)


def test_a_day_of_25_hours(accountant: Accountant) -> None:
    """On 25 October 2026 the hour from 02:00 to 03:00 is there twice. From 01:00 to 04:00 it is four hours."""
    day = date(2026, 10, 25)
    grid = hourly(day, lambda hour: 100.0 + hour)
    assert len(grid) == 25
    site = Site(at(day, "01:00"), at(day, "04:00"), Factors(pue_that_changes_at_noon(day), grid, ()))
    accountant.day(site, day)
    assert accountant.job().co2e_location_g == exactly(0.37 * 1.2 * (101.0 + 102.0 + 103.0 + 104.0))


def test_a_slot_that_nobody_knows(accountant: Accountant) -> None:
    """Without an intensity for 11:00 the job's CO2e is unknown, and so are the sums it is in; its energy is not."""
    accountant.day(the_day(location=hourly(DAY, lambda hour: 20.0 + 10.0 * hour, but=[11])))
    assert [known for (known,) in accountant.used("gpu", "location_g")] == [
        exactly(0.3 * 0.5 * 1.2 * 120), None, exactly(0.3 * 1.5 * 140), exactly(0.3 * 0.25 * 1.5 * 150)
    ]  # fmt: skip
    job = accountant.job()
    assert job.it_energy_j == exactly(0.37 * 2.75 * 3.6e6)
    assert job.facility_energy_j == exactly(0.37 * 3.675 * 3.6e6)
    assert (job.co2e_location_g, job.intensity_g_per_kwh) == (None, None)
    assert job.co2e_market_g == exactly(0.37 * (3.3 * 21.6 + 0.375 * 5.0))
    report = accountant.report()
    (group,) = report.groups
    assert (group.co2e_location_g, report.total.co2e_location_g) == (None, None)
    assert report.idle.co2e_location_g is not None  # nothing was idle in that hour
    assert report.total.facility_energy_j is not None


def test_a_pue_that_nobody_knows(accountant: Accountant) -> None:
    start_s = day_start(PARIS, DAY)
    accountant.day(the_day(pue=[FactorSlot(start_s, start_s + 12 * 3600, 1.2, "site")]))  # not known after noon
    job = accountant.job()
    assert job.it_energy_j == exactly(0.37 * 2.75 * 3.6e6)
    assert (job.facility_energy_j, job.co2e_location_g, job.co2e_market_g, job.pue) == (None, None, None, None)
    assert job.co2e_embodied_g == exactly(9900 * EMBODIED_G_PER_S)


def test_no_contract_is_no_market_based_figure(accountant: Accountant) -> None:
    accountant.day(the_day(market=()))
    job = accountant.job()
    assert job.co2e_market_g is None
    assert job.co2e_location_g == exactly(148.275 + 34.5975)


def test_a_contract_that_ends_leaves_the_rest_unknown(accountant: Accountant) -> None:
    accountant.day(the_day(market=contracts_that_change_at_one()[:1]))
    assert accountant.job().co2e_market_g is None
    assert [known for (known,) in accountant.used("host", "market_g")][:3] == [
        exactly(0.07 * 0.5 * 1.2 * 21.6), exactly(0.07 * 1.2 * 21.6), exactly(0.07 * 1.5 * 21.6)
    ]  # fmt: skip


def test_a_final_value_takes_the_place_of_an_estimate_and_the_books_keep_both(accountant: Accountant) -> None:
    """The grid first estimates 130 g/kWh for 11:00, and says 110 later: only that hour's postings are superseded."""
    site = the_day()
    guess = [replace(slot, estimated=slot.value == 130.0) for slot in site.factors.location]
    accountant.day(the_day(location=guess))
    final = [replace(slot, value=110.0) if slot.value == 130.0 else slot for slot in site.factors.location]
    again = accountant.day(the_day(location=final))
    # The hour's two postings of the job, and its factor; nothing was idle then, so the balance stays.
    assert (again.posted.posted, again.posted.superseded) == (3, 3)
    assert accountant.job().co2e_location_g == exactly(148.275 + 34.5975 - 0.37 * 1.2 * 20.0)
    with accountant.books as books:
        old = books.rows("SELECT value, estimated FROM factors WHERE superseded_by IS NOT NULL")
        assert [(row["value"], bool(row["estimated"])) for row in old] == [(130.0, True)]
        gone = books.rows("SELECT location_g FROM usage_slots WHERE superseded_by IS NOT NULL ORDER BY location_g")
        assert [row["location_g"] for row in gone] == [exactly(0.07 * 1.2 * 130), exactly(0.3 * 1.2 * 130)]
    assert accountant.day(the_day(location=final)).posted.posted == 0


def test_the_same_value_retrieved_later_says_nothing_new(accountant: Accountant) -> None:
    grid = the_day().factors.location
    accountant.day(the_day(location=[replace(slot, retrieved_s=1e9, basis="direct") for slot in grid]))
    later = accountant.day(the_day(location=[replace(slot, retrieved_s=2e9, basis="direct") for slot in grid]))
    assert (later.posted.posted, later.posted.superseded) == (0, 0)
    with accountant.books as books:
        rows = books.rows("SELECT DISTINCT retrieved_s, basis FROM factors WHERE kind = 'location'")
        assert [(row["retrieved_s"], row["basis"]) for row in rows] == [(1e9, "direct")]


def test_a_part_of_the_day_again_leaves_the_factors_of_the_rest(accountant: Accountant) -> None:
    """Each hour of the books has its factors, however the day is cut into windows."""
    site = the_day()
    accountant.day(site)
    accountant.run(site, at(DAY, "06:00"), at(DAY, "08:30"))
    with accountant.books as books:
        rows = books.rows(
            "SELECT kind, slot_s, start_s, end_s, value FROM factors WHERE superseded_by IS NULL ORDER BY kind, start_s"
        )
    for kind, value in (("location", 150.0), ("market", 5.0), ("pue", 1.5)):
        hours = [row for row in rows if row["kind"] == kind]
        assert [row["start_s"] for row in hours] == [at(DAY, "00:00") + hour * 3600 for hour in range(24)]
        assert all(row["slot_s"] == row["start_s"] == row["end_s"] - 3600 for row in hours)
        assert hours[13]["value"] == value


def test_the_warnings_of_the_sources_come_with_the_run(accountant: Accountant) -> None:
    assert "the grid is silent" in accountant.day(the_day(warnings=["the grid is silent"])).warnings


def test_what_the_run_wrote_down(accountant: Accountant) -> None:
    accountant.day(the_day())
    with accountant.books as books:
        (row,) = books.rows("SELECT summary FROM runs")
    # The job's 4 hours of GPU and of host, 24 balances, and 24 factors of each of three kinds.
    assert json.loads(row["summary"])["posted"] == 8 + 24 + 72


# --- the making of a node


class WithNodes(Site):
    """The site's one node has 32 cores and 200 GB; it is not metered."""

    def nodes(self) -> Mapping[str, Node]:
        return {"n1": Node("n1", 32, 190_734.86328125)}


#: 1,100 kg over five years.
NODE_G_PER_S = 1_100_000.0 / 157_788_000.0


def embodied_by_kind(accountant: Accountant) -> dict[str, float | None]:
    with accountant.books as books:
        rows = books.rows("SELECT kind, SUM(embodied_g) AS g FROM usage_days GROUP BY kind")
    return {row["kind"]: row["g"] for row in rows}


def test_a_job_owes_its_share_of_making_the_node(accountant: Accountant) -> None:
    """A quarter of the cores and half of the memory are half of the node, for 2.75 h: TE × TiR/EL × RR/ToR."""
    rules = replace(RULES, embodied_node_g=1_100_000.0)
    accountant.run(WithNodes(*day_and_job()), *whole_day(), rules)
    assert embodied_by_kind(accountant) == {
        "gpu": exactly(9900 * EMBODIED_G_PER_S),
        "host": exactly(9900 * NODE_G_PER_S / 2),
    }
    assert accountant.job().co2e_embodied_g == exactly(9900 * (EMBODIED_G_PER_S + NODE_G_PER_S / 2))


def test_of_a_node_whose_size_nobody_knows_the_share_is_unknown(accountant: Accountant) -> None:
    accountant.run(the_day(), *whole_day(), replace(RULES, embodied_node_g=1_100_000.0))
    assert embodied_by_kind(accountant) == {"gpu": exactly(9900 * EMBODIED_G_PER_S), "host": None}


def day_and_job() -> tuple[float, float, Factors]:
    site = the_day()
    return site.start_s, site.end_s, site.factors


def whole_day() -> tuple[int, int]:
    return day_start(PARIS, DAY), day_start(PARIS, DAY) + 86_400
