"""Reports from the books: groups, the idle line and the total, clipped to days; and what is unknown in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from accounting.ledger.store import Ledger
from accounting.report import Chosen, Report, Sums, make_report
from tests.ledger.servers import Place, books_of
from tests.ledger.windows import HOST, OTHER, RUN, UNNAMED, balance, job, usage, window

ADA = job(1)
BOB = job(2, user="bob", account="chem", partition="long", qos="high", wckey="w1")
NOBODY = job(3, user=None, account=None)

FIRST, SECOND = "2026-10-30", "2026-10-31"  # the days of hours 0 to 23 and 24 to 47


@pytest.fixture
def ledger(place: Place) -> Iterator[Ledger]:
    made = Ledger(place.url, "UTC", place.password)
    made.post(
        window(
            0, 24, [ADA, BOB, NOBODY],
            [
                usage(ADA, 22, 3.6e6), usage(ADA, 23, 3.6e6), usage(ADA, 22, 0.36e6, HOST, method="model"),
                usage(BOB, 23, 1.8e6, OTHER), usage(NOBODY, 3, 0.9e6, OTHER),
            ],
            [balance(22, 4.6e6, 1.0e6), balance(23, 5.6e6, 2.0e6)],
        ),
        RUN,
    )  # fmt: skip
    made.post(
        window(24, 48, [ADA], [usage(ADA, 24, 7.2e6)], [balance(24, 7.7e6, 0.5e6)], booked=(0, 48)), RUN
    )  # fmt: skip
    yield made
    made.close()


def report(
    ledger: Ledger, by: str = "account", first: str = FIRST, last: str = SECOND, clusters: list[str] | None = None
) -> Report:
    with books_of(ledger) as books:
        return make_report(books, first, last, by, Chosen(clusters))


def groups(made: Report) -> dict[str | None, Sums]:
    return {group.key: group for group in made.groups}


def test_a_group_by_hand(ledger: Ledger) -> None:
    """Ada: 1 + 1 + 2 kWh on the GPU and 0.1 kWh of host; × 1.2 at 100 g."""
    phys = groups(report(ledger))["phys"]
    assert (phys.jobs, phys.jobs_unknown) == (1, 0)
    assert phys.gpu_seconds == 3 * 3600
    assert phys.gpu_energy_j == pytest.approx(14.4e6, rel=1e-12)
    assert phys.host_energy_j == pytest.approx(0.36e6, rel=1e-12)
    assert phys.it_energy_j == pytest.approx(14.76e6, rel=1e-12)
    assert phys.facility_energy_j == pytest.approx(17.712e6, rel=1e-12)
    assert phys.co2e_location_g == pytest.approx(492, rel=1e-12)
    assert phys.co2e_market_g is None
    assert phys.coverage == pytest.approx(3500 / 3600, rel=1e-12)


def test_the_idle_line_and_the_total(ledger: Ledger) -> None:
    made = report(ledger)
    assert made.idle.gpu_energy_j == pytest.approx(3.5e6, rel=1e-12)
    assert made.idle.gpu_seconds == 3 * 1800
    assert made.idle.jobs == 0
    assert made.total.gpu_energy_j == pytest.approx((14.4 + 1.8 + 0.9 + 3.5) * 1e6, rel=1e-12)
    assert made.total.host_energy_j == pytest.approx(0.36e6, rel=1e-12)
    assert made.total.jobs == 3
    assert made.gpu_metered_j == pytest.approx((4.6 + 5.6 + 7.7) * 1e6, rel=1e-12)


def test_a_day_has_its_part_of_a_job_and_counts_it(ledger: Ledger) -> None:
    first, second = report(ledger, last=FIRST), report(ledger, first=SECOND)
    assert groups(first)["phys"].gpu_energy_j == pytest.approx(7.2e6, rel=1e-12)
    assert groups(second)["phys"].gpu_energy_j == pytest.approx(7.2e6, rel=1e-12)
    assert (groups(first)["phys"].jobs, groups(second)["phys"].jobs) == (1, 1)
    assert list(groups(second)) == ["phys"]
    assert second.idle.gpu_energy_j == pytest.approx(0.5e6, rel=1e-12)


def test_the_most_emissions_come_first(ledger: Ledger) -> None:
    assert [group.key for group in report(ledger).groups] == ["phys", "chem", None]


@pytest.mark.parametrize(
    ("by", "keys"),
    [
        ("account", {"phys", "chem", None}),
        ("user", {"ada", "bob", None}),
        ("partition", {"gpu", "long"}),
        ("qos", {"normal", "high"}),
        ("wckey", {None, "w1"}),
        ("cluster", {"alpha"}),
        ("gpu-model", {"A100", "H100", "(host)"}),
    ],
)
def test_every_grouping_adds_up(ledger: Ledger, by: str, keys: set[str | None]) -> None:
    made = report(ledger, by)
    assert set(groups(made)) == keys
    for name in ("gpu_energy_j", "host_energy_j", "facility_energy_j", "co2e_location_g", "co2e_embodied_g"):
        parts = sum(getattr(one, name) or 0 for one in (*made.groups, made.idle))
        assert parts == pytest.approx(getattr(made.total, name), rel=1e-12), name


def test_clusters_are_told_apart(ledger: Ledger) -> None:
    there = replace(ADA, cluster="beta")
    ledger.post(window(0, 24, [there], [usage(there, 0, 1.0)], [balance(0, 2.0, 1.0)], cluster="beta"), RUN)
    assert report(ledger, clusters=["beta"]).total.gpu_energy_j == pytest.approx(2.0)
    both = report(ledger).total.gpu_energy_j
    assert report(ledger, clusters=["alpha"]).total.gpu_energy_j == pytest.approx((both or 0) - 2.0)
    assert report(ledger, clusters=["alpha", "beta"]).total.gpu_energy_j == pytest.approx(both)


def test_jobs_of_unknown_energy_are_counted_and_in_no_sum(ledger: Ledger) -> None:
    lost = job(4)
    half = job(5, gpus=2)
    rows = [usage(lost, 30, None), usage(half, 30, 3.6e6, OTHER), usage(half, 30, None, UNNAMED)]
    ledger.post(window(24, 48, [lost, half], rows, booked=(0, 48)), RUN)
    made = report(ledger, first=SECOND)
    assert (made.total.jobs, made.total.jobs_unknown) == (2, 1)
    assert made.total.gpu_energy_j == pytest.approx(3.6e6)
    assert made.total.coverage == pytest.approx(3500 / (3 * 3600))


def test_an_intensity_that_is_unknown_for_an_hour_makes_the_sum_unknown(ledger: Ledger) -> None:
    ledger.post(
        window(24, 48, [ADA, BOB], [usage(ADA, 24, location_g=None), usage(BOB, 24)], booked=(0, 48)), RUN
    )  # fmt: skip
    made = report(ledger)
    assert groups(made)["phys"].co2e_location_g is None
    assert groups(made)["phys"].facility_energy_j is not None
    assert groups(made)["chem"].co2e_location_g is not None
    assert made.total.co2e_location_g is None


def test_an_empty_period_is_unknown_and_not_0(ledger: Ledger) -> None:
    made = report(ledger, first="2026-09-01", last="2026-09-30")
    assert made.groups == []
    for sums in (made.idle, made.total):
        assert (sums.jobs, sums.gpu_seconds) == (0, 0)
        assert (sums.gpu_energy_j, sums.it_energy_j, sums.co2e_location_g, sums.coverage) == (None, None, None, None)
    assert made.gpu_metered_j is None
