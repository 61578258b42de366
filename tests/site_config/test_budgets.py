"""What a site may declare as a budget, and what it is told where that cannot be meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from site_config.kept import load_kept
from tests.site_config.conftest import DESIGN, Problems, Read


def budgets(*lines: str) -> str:
    return DESIGN + "budgets:\n" + "".join(f"  - {{{line}}}\n" for line in lines)


def test_each_way_to_count_has_its_figure_in_base_units(read: Read) -> None:
    found = read(
        budgets(
            "account: phys, period: year, kgco2e: 1200",
            "account: phys, period: month, kgco2e: 90, basis: market, cluster: alpha",
            "account: phys, period: month, kwh: 500",
            "account: phys, period: month, kwh: 400, energy: it, warn_at: 0.5",
        )
    ).budgets
    assert [(one.measure, one.limit) for one in found] == [
        ("co2e_location_g", 1_200_000.0),
        ("co2e_market_g", 90_000.0),
        ("facility_energy_j", 1.8e9),
        ("it_energy_j", 1.44e9),
    ]
    assert [(one.cluster, one.warn_at) for one in found] == [(None, 0.8), ("alpha", 0.8), (None, 0.8), (None, 0.5)]


def test_budgets_may_follow_each_other(read: Read) -> None:
    first, then = read(
        budgets(
            "account: phys, period: year, kgco2e: 1200, to: 2027-01-01",
            "account: phys, period: year, kgco2e: 900, from: 2027-01-01",
        )
    ).budgets
    assert (first.first_month, first.end_month) == (None, "2027-01")
    assert (then.first_month, then.end_month) == ("2027-01", None)


def test_an_accounts_month_and_year_and_clusters_do_not_meet(read: Read) -> None:
    lines = [
        f"account: phys, period: {period}, {figure}: 5" for period in ("month", "year") for figure in ("kwh", "kgco2e")
    ]
    assert len(read(budgets(*lines, "account: phys, period: month, kwh: 5, cluster: alpha")).budgets) == 5


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("acount: phys, period: year, kwh: 5", "acount: unknown key; did you mean 'account'?"),
        ("account: phys, period: yaer, kwh: 5", "period: must be one of month, year, but is 'yaer'; did you"),
        ("account: phys, kwh: 5", "period: missing (month or year)"),
        ("account: phys, period: year", "needs either kgco2e or kwh, and not both"),
        ("account: phys, period: year, kwh: 5, kgco2e: 5", "needs either kgco2e or kwh, and not both"),
        ("account: phys, period: year, kwh: 0", "kwh: must be more than 0, but is 0"),
        ("account: phys, period: year, kwh: 5, basis: market", "basis: goes with kgco2e"),
        ("account: phys, period: year, kgco2e: 5, energy: it", "energy: goes with kwh"),
        ("account: phys, period: year, kwh: 5, cluster: alpah", "cluster: no cluster 'alpah'; did you mean 'alpha'?"),
        ("account: phys, period: year, kwh: 5, warn_at: 80", "warn_at: must be at most 1, but is 80"),
        ("account: phys, period: month, kwh: 5, from: 2026-10-02", "from: must be the first of a month"),
        ("account: phys, period: month, kwh: 5, from: 2026-10-01, to: 2026-10-01", "to: must be later than from"),
        (
            "account: phys, period: year, kwh: 5, from: 2026-09-01, to: 2027-01-01",
            "to: cuts a year in two; the budget's years begin on 09-01",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_meant(problems: Problems, line: str, said: str) -> None:
    found = problems(budgets(line))
    assert any(f"budgets[0].{said}" in one or f"budgets[0]: {said}" in one for one in found), found


def test_two_for_the_same_time_are_a_mistake_of_the_second(problems: Problems) -> None:
    (found,) = problems(
        budgets(
            "account: phys, period: year, kgco2e: 1200",
            "account: bio, period: year, kgco2e: 1200",
            "account: phys, period: year, kgco2e: 900, from: 2027-01-01",
        )
    )
    assert "budgets[2]: is a second year's budget of phys at the same time" in found


def test_what_is_kept_is_what_the_file_says(read: Read, tmp_path: Path) -> None:
    text = budgets("account: phys, period: month, kwh: 500, cluster: alpha, from: 2026-10-01, warn_at: 0.5")
    (real,) = read(text).budgets
    for _ in range(2):  # read by the schema, and from what was kept
        (kept,) = load_kept(tmp_path / "site.yaml").budgets
        assert all(getattr(real, name) == value for name, value in vars(kept).items())
        assert vars(kept)["limit"] == 1.8e9
