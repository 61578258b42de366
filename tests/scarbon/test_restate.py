"""`scarbon restate` as people run it: the difference first, then the books, and what is kept of it."""

from __future__ import annotations

import pytest

from tests.site import Site

WHY = "final values"


def restate(site: Site, *words: str, why: str = WHY) -> list[str]:
    return ["restate", *site.window, "--why", why, *words]


def totals(site: Site) -> dict[str, float]:
    month = site.good("report", "-S", "2026-01-01", "-E", "2027-01-01", "--format", "json").json["total"]
    return {name: month[name] for name in month if name.startswith(("co2e", "facility", "it_"))}


def test_a_larger_pue_makes_all_that_it_is_a_factor_of_larger_by_as_much(mine: Site) -> None:
    before = totals(mine)
    mine.change("pue: 1.2", "pue: 1.5")
    found = mine.good(*restate(mine, "--yes", "--format", "json")).json["restatements"][0]
    after = totals(mine)
    for name in ("facility_energy_j", "co2e_location_g", "co2e_market_g"):
        assert after[name] == pytest.approx(before[name] * 1.5 / 1.2, rel=1e-9)
        assert found["total"]["difference"][name] == pytest.approx(before[name] * 0.25, rel=1e-9)
        by_account = sum(line["difference"][name] for line in found["accounts"])
        assert by_account == pytest.approx(found["total"]["difference"][name], rel=1e-9)
    assert after["it_energy_j"] == before["it_energy_j"]
    assert after["co2e_embodied_g"] == before["co2e_embodied_g"]
