"""Restating what is in the books, by hand and against plain sums, on every database."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from accounting import restate as restate_module
from accounting.ledger.closing import By, close_month
from accounting.ledger.errors import LedgerError
from accounting.ledger.reading import Books
from accounting.ledger.store import Ledger
from accounting.model import FactorSlot, Node
from accounting.periods import adjustments_to
from accounting.report import make_report
from accounting.restated import Restated, past
from accounting.sources import Factors
from tests.ledger import oracle
from tests.ledger.restating import RULES, Clock, flat, restate
from tests.ledger.servers import Place
from tests.ledger.windows import GPU, HOST, HOUR_S, OTHER, RUN, START_S, balance, history, job, usage, window

OCTOBER = ("2026-10-01", "2026-10-31")
FIGURES = ("facility_energy_j", "co2e_location_g", "co2e_market_g", "co2e_embodied_g")


def open_ledger(place: Place) -> Ledger:
    return Ledger(place.url, "UTC", place.password)


def rows(place: Place, sql: str) -> list[dict[str, Any]]:
    with Books(place.url, place.password) as books:
        return [dict(row) for row in books.rows(sql)]


def assert_adds_up(found: Restated) -> None:
    for name in FIGURES:
        by_account = math.fsum(getattr(line.difference, name) for line in found.lines)
        scale = max(abs(getattr(found.total.old, name)), abs(getattr(found.total.new, name)))
        assert math.isclose(by_account, getattr(found.total.difference, name), rel_tol=1e-9, abs_tol=1e-9 * scale)


def test_new_factors_by_hand(place: Place) -> None:
    """3,600 J of a job and 900 J that nobody held were × 1.2 × 100 g/kWh; now they are × 1.5 × 40 g/kWh."""
    one = job(1)
    ledger = open_ledger(place)
    ledger.post(window(0, 24, [one], [usage(one, 1)], [balance(1, 4500.0, 900.0)]), RUN)
    found = restate(ledger, flat(1.5, 40.0, 10.0))
    assert_adds_up(found)
    lines = {(line.account, line.idle): line for line in found.lines}
    assert lines["phys", False].old.facility_energy_j == pytest.approx(4320.0)
    assert lines["phys", False].new.facility_energy_j == pytest.approx(5400.0)
    assert lines["phys", False].difference.co2e_location_g == pytest.approx((5400 * 40 - 4320 * 100) / 3.6e6)
    assert lines[None, True].new.co2e_location_g == pytest.approx(900 * 1.5 * 40 / 3.6e6)
    assert found.total.difference.co2e_market_g == pytest.approx(4500 * 1.5 * 10 / 3.6e6)
    with Books(place.url, place.password) as books:
        made = make_report(books, *OCTOBER, "account")
        assert made.total.co2e_location_g == pytest.approx(4500 * 1.5 * 40 / 3.6e6)
        assert made.groups[0].co2e_market_g == pytest.approx(3600 * 1.5 * 10 / 3.6e6)
        (kept,) = past(books)
    assert (kept.restatement_id, kept.who, kept.why) == (1, "ada", "final values")
    assert kept.old["total"]["facility_energy_j"] == pytest.approx(5400.0)
    assert kept.new["total"]["facility_energy_j"] == pytest.approx(6750.0)
    assert kept.old["factors"] == [{"kind": "pue", "source": "test", "mean": 1.2, "seconds": 3600.0}]
    assert {(one["kind"], one["mean"]) for one in kept.new["factors"]} == {
        ("pue", 1.5), ("location", 40.0), ("market", 10.0),
    }  # fmt: skip
    superseded = rows(place, "SELECT facility_j, run_id, superseded_by FROM usage_slots ORDER BY usage_id")
    assert [tuple(row.values()) for row in superseded] == [(4320.0, 1, 2), (5400.0, 2, None)]
    assert rows(place, "SELECT restatement_id FROM runs ORDER BY run_id") == [
        {"restatement_id": None}, {"restatement_id": 1},
    ]  # fmt: skip
    ledger.close()


def test_again_changes_nothing_and_leaves_no_trace(place: Place) -> None:
    one = job(1)
    ledger = open_ledger(place)
    ledger.post(window(0, 24, [one], [usage(one, 1)], [balance(1, 4500.0, 900.0)]), RUN)
    restate(ledger, flat(1.5, 40.0))
    tables = ("runs", "restatements", "usage_slots", "balance", "factors", "usage_days", "payer_months")
    before = {table: rows(place, f"SELECT * FROM {table}") for table in tables}
    for dry_run in (True, False):
        found = restate(ledger, flat(1.5, 40.0), dry_run=dry_run)
        assert not found.changes
        assert found.restatement_id is None
    assert restate(ledger, flat(1.6, 40.0), dry_run=True).changes
    assert {table: rows(place, f"SELECT * FROM {table}") for table in tables} == before
    ledger.close()


def test_what_is_not_known_now_takes_nothing_back(place: Place) -> None:
    """The grid's source is silent: its intensity stays, on the PUE of now."""
    one = job(1)
    made = window(0, 24, [one], [usage(one, 0)])
    known = [("pue", FactorSlot(START_S, START_S + HOUR_S, 1.2, "test"))]
    known.append(("location", FactorSlot(START_S, START_S + HOUR_S, 100.0, "grid")))
    ledger = open_ledger(place)
    ledger.post(replace(made, factors=known), RUN)
    found = restate(ledger, flat(1.5, None))
    assert found.total.new.co2e_location_g == pytest.approx(3600 * 1.5 * 100 / 3.6e6)
    assert any("the grid's intensity in 1 of 24 hours" in warning for warning in found.warnings)
    nothing = restate(ledger, Factors([], [], []))
    assert not nothing.changes
    ledger.close()


@pytest.mark.parametrize("seed", [2, 5])
def test_roll_ups_are_the_sums_of_what_is_in_force_after_any_restatement(place: Place, seed: int) -> None:
    ledger = open_ledger(place)
    for number, one in enumerate(history(seed, days=2, jobs=8)):
        ledger.post(one, RUN)
        if number % 2:
            end = int(one.end_s - START_S) // HOUR_S
            assert_adds_up(restate(ledger, flat(1.0 + number / 10, 20.0 * number, 5.0), max(0, end - 20), end))
    ledger.close()
    with Books(place.url, place.password) as books:
        used = oracle.used(books)
        expected = oracle.usage_days(used)
        found = {
            (row["attempt_id"], row["day"], row["kind"], row["model"]): row
            for row in books.rows("SELECT * FROM usage_days")
        }
        assert found.keys() == expected.keys()
        for key, columns in expected.items():
            for column, value in columns.items():
                assert found[key][column] == (pytest.approx(value, rel=1e-12) if isinstance(value, float) else value)
        whole = oracle.report(used, *OCTOBER, lambda row: row["account"])
        for group in make_report(books, *OCTOBER, "account").groups:
            assert group.facility_energy_j == pytest.approx(whole[group.key]["facility_energy_j"])
            assert group.co2e_location_g == pytest.approx(whole[group.key]["co2e_location_g"])


def test_a_closed_month_is_restated_by_adjustments_each_to_what_was_said_before(place: Place) -> None:
    """3,600 J: 4,320 J of facility energy as closed, then 5,400 J, 4,680 J, and 4,320 J again."""
    one = job(1)
    with Clock().running():
        ledger = open_ledger(place)
        ledger.post(window(0, 24, [one], [usage(one, 1)]), RUN)
        close_month(ledger, "2026-10", By("ada", "login1", None))
        before = rows(place, "SELECT * FROM usage_slots"), rows(place, "SELECT * FROM payer_months")
        for pue, sum_j in ((1.5, 1080.0), (1.3, 360.0), (1.2, 0.0)):
            found = restate(ledger, flat(pue, 100.0))
            assert (found.posted, found.adjusted, found.closed) == (0, 1, ["2026-10"])
            assert found.total.new.facility_energy_j == pytest.approx(3600 * pue)
            assert_adds_up(found)
            with Books(place.url, place.password) as books:
                adjusted = adjustments_to(books, *OCTOBER)
                assert sum(entry.total.facility_energy_j or 0.0 for entry in adjusted) == pytest.approx(sum_j, abs=1e-9)
            assert not restate(ledger, flat(pue, 100.0)).changes
        assert {entry.reason for entry in adjusted} == {"final values"}
        # What was accounted again in between counts with the factors of now, too.
        ledger.post(window(0, 24, [one], [usage(one, 1, 4800.0)]), RUN)
        found = restate(ledger, flat(1.5, 100.0))
        assert found.total.old.facility_energy_j == pytest.approx(4800 * 1.2)
        assert found.total.new.facility_energy_j == pytest.approx(4800 * 1.5)
        assert not restate(ledger, flat(1.5, 100.0)).changes
        ledger.close()
    assert (rows(place, "SELECT * FROM usage_slots"), rows(place, "SELECT * FROM payer_months")) == before


def test_embodied_figures_of_now_by_hand(place: Place) -> None:
    """Ten kilograms over a year for an A100, twenty for any other GPU; a node of 16 cores had 8 of them held."""
    one = job(1, gpus=2)
    year_s = 365.25 * 86400
    rules = replace(
        RULES, embodied_gpu_g=20_000.0, embodied_gpu_model_g={"A100": 10_000.0}, lifetime_years=1.0,
        embodied_node_g=8_000.0,
    )  # fmt: skip
    used = [usage(one, 1), usage(one, 1, meter=OTHER), usage(one, 1, meter=HOST, embodied_g=None)]
    ledger = open_ledger(place)
    ledger.post(window(0, 24, [one], used, [balance(1, 4500.0, 900.0)]), RUN)

    class Nodes:
        def nodes(self) -> dict[str, Node]:
            return {"n1": Node("n1", 16)}

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("tests.ledger.restating.NoNodes", Nodes)
        found = restate(ledger, flat(1.2, 100.0), rules=rules)
    ledger.close()
    lines = {line.idle: line for line in found.lines}
    assert lines[False].new.co2e_embodied_g == pytest.approx(3600 / year_s * (10_000 + 20_000 + 8_000 / 2))
    assert lines[True].new.co2e_embodied_g == pytest.approx(1800 / year_s * 10_000)
    assert lines[False].old.co2e_embodied_g == 3.0
    assert GPU.model == "A100"


def test_clusters_are_restated_apart(place: Place) -> None:
    ledger = open_ledger(place)
    for cluster in ("alpha", "beta"):
        one = job(1, cluster=cluster)
        ledger.post(window(0, 24, [one], [usage(one, 1)], cluster=cluster), RUN)
    restate(ledger, flat(1.5, 100.0), cluster="beta")
    ledger.close()
    with Books(place.url, place.password) as books:
        groups = make_report(books, *OCTOBER, "cluster").groups
    assert {group.key: group.facility_energy_j for group in groups} == {"alpha": 4320.0, "beta": 5400.0}


def test_a_restatement_that_fails_at_its_end_leaves_no_trace(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    one = job(1)
    ledger = open_ledger(place)
    ledger.post(window(0, 24, [one], [usage(one, 1)]), RUN)
    tables = ("runs", "restatements", "usage_slots", "factors", "usage_days", "payer_days")
    before = {table: rows(place, f"SELECT * FROM {table}") for table in tables}

    def fails(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(restate_module._Work, "roll_up", fails)
        with pytest.raises(KeyboardInterrupt):
            restate(ledger, flat(1.5, 100.0))
    assert {table: rows(place, f"SELECT * FROM {table}") for table in tables} == before
    assert restate(ledger, flat(1.5, 100.0)).changes
    ledger.close()


def test_hours_that_were_purged_are_not_restated(place: Place) -> None:
    one = job(1)
    ledger = open_ledger(place)
    ledger.post(window(0, 24, [one], [usage(one, 1)]), RUN)
    with ledger.transaction() as connection:
        connection.execute(text(f"INSERT INTO meta (name, value) VALUES ('purged_before_s', '{START_S + 1}')"))
    with pytest.raises(LedgerError, match="only sums are left"):
        restate(ledger, flat(1.5, 100.0))
    restate(ledger, flat(1.5, 100.0), first=1)
    ledger.close()
