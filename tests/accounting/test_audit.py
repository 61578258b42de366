"""The balance of the books, by hand; and that no fault in it goes unseen."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from accounting.audit import TOLERANCE, Audit, audit, quarantined
from accounting.ledger.postings import BalanceRow, UsageRow
from accounting.ledger.store import Ledger
from accounting.model import Reject
from tests.ledger.servers import Place, books_of
from tests.ledger.windows import HOST, HOUR_S, OTHER, RUN, START_S, UNNAMED, balance, job, usage, window

ADA, BOB = job(1), job(2)


@pytest.fixture
def ledger(place: Place) -> Iterator[Ledger]:
    made = Ledger(place.url, "UTC", place.password)
    yield made
    made.close()


def audited(
    ledger: Ledger, rows: list[UsageRow], balances: list[BalanceRow], hours: tuple[int, int] | None = None
) -> Audit:
    ledger.post(window(0, 4, [ADA, BOB], rows, balances), RUN)
    with books_of(ledger) as books:
        if hours is None:
            return audit(books, None, None)
        return audit(books, START_S + hours[0] * HOUR_S, START_S + hours[1] * HOUR_S)


def test_a_balance_by_hand(ledger: Ledger) -> None:
    found = audited(
        ledger,
        [usage(ADA, 0, 100.0), usage(BOB, 0, 50.0), usage(ADA, 1, 70.0), usage(BOB, 0, 30.0, OTHER)],
        [balance(0, 175.0, 25.0), balance(1, 70.0, 0.0), balance(2, 5.0, 5.0), balance(0, 30.0, 0.0, OTHER)],
    )
    assert found.balanced
    assert {line.uuid: (line.metered_j, line.attributed_j, line.idle_j) for line in found.devices} == {
        "GPU-1": (250.0, 220.0, 30.0), "GPU-2": (30.0, 30.0, 0.0),
    }  # fmt: skip
    (cluster,) = found.clusters
    assert (cluster.cluster, cluster.metered_j, cluster.attributed_j, cluster.idle_j) == ("alpha", 280.0, 250.0, 30.0)
    assert cluster.difference_j == 0


def test_a_window_has_the_hours_that_begin_in_it(ledger: Ledger) -> None:
    rows, balances = [usage(ADA, hour, 10.0) for hour in range(4)], [balance(hour, 10.0, 0.0) for hour in range(4)]
    assert audited(ledger, rows, balances, (1, 3)).clusters[0].metered_j == 20.0
    assert audited(ledger, rows, balances, (4, 9)).clusters == []


@pytest.mark.parametrize("off_j", [1e-3, -1e-3, 1e3])
def test_a_difference_in_one_slot_is_found(ledger: Ledger, off_j: float) -> None:
    found = audited(ledger, [usage(ADA, 0, 2e5 + off_j)], [balance(0, 3e5, 1e5)])
    assert not found.balanced
    assert found.devices[0].difference_j == pytest.approx(-off_j, abs=1e-9)


def test_what_floating_point_explains_is_no_difference(ledger: Ledger) -> None:
    assert audited(ledger, [usage(ADA, 0, 2e5 * (1 + TOLERANCE / 4))], [balance(0, 3e5, 1e5)]).balanced


def test_differences_that_cancel_are_found(ledger: Ledger) -> None:
    found = audited(
        ledger, [usage(ADA, 0, 101.0), usage(ADA, 1, 99.0)], [balance(0, 100.0, 0.0), balance(1, 100.0, 0.0)]
    )
    assert found.devices[0].difference_j == 0
    assert not found.balanced


def test_a_small_fault_in_one_of_many_slots_is_found(ledger: Ledger) -> None:
    """0.6 mJ are 3e-9 of their hour's 200 kJ, and less than a billionth of all four hours."""
    balances = [*(balance(hour, 2e5, 2e5) for hour in (0, 2, 3)), balance(1, 2e5, 0.0)]
    assert not audited(ledger, [usage(ADA, 1, 2e5 + 0.6e-3)], balances).balanced


def test_measured_energy_without_a_balance_is_found(ledger: Ledger) -> None:
    found = audited(ledger, [usage(ADA, 0, 100.0), usage(ADA, 1, 70.0)], [balance(0, 100.0, 0.0)])
    assert not found.balanced
    assert found.devices[0].difference_j == -70.0


def test_a_device_that_no_balance_names_at_all_is_found(ledger: Ledger) -> None:
    found = audited(ledger, [usage(ADA, 0, 100.0), usage(ADA, 0, 9.0, OTHER)], [balance(0, 100.0, 0.0)])
    assert [line.balanced for line in found.devices] == [True, False]


def test_what_no_meter_measured_needs_no_balance(ledger: Ledger) -> None:
    """A model's host energy, and GPUs of which nothing is known."""
    rows = [usage(ADA, 0, 100.0), usage(ADA, 0, 9.0, HOST, method="model"), usage(BOB, 0, None, UNNAMED)]
    found = audited(ledger, rows, [balance(0, 100.0, 0.0)])
    assert found.balanced
    assert found.jobs_unknown == 1


def test_what_was_superseded_does_not_count(ledger: Ledger) -> None:
    audited(ledger, [usage(ADA, 0, 100.0)], [balance(0, 110.0, 10.0)])
    found = audited(ledger, [usage(ADA, 0, 90.0)], [balance(0, 95.0, 5.0)])
    assert found.balanced
    assert (found.devices[0].metered_j, found.devices[0].attributed_j, found.devices[0].idle_j) == (95.0, 90.0, 5.0)


def test_a_job_is_unknown_where_none_of_its_gpus_is_known(ledger: Ledger) -> None:
    rows = [usage(ADA, 0, None), usage(ADA, 0, 5.0, OTHER), usage(BOB, 0, None), usage(BOB, 1, None, UNNAMED)]
    assert audited(ledger, rows, [balance(0, 5.0, 0.0, OTHER)]).jobs_unknown == 1


def test_quarantine_by_source(ledger: Ledger) -> None:
    rejects = [
        Reject("journal", "n1:7", "{", "torn"),
        Reject("journal", "n1:9", "[", "torn"),
        Reject("sacct", "1", "|", "x"),
    ]
    ledger.post(window(0, 1, rejects=rejects), RUN)
    with books_of(ledger) as books:
        assert audit(books, None, None).quarantine == {"journal": 2, "sacct": 1}
        assert [(row["source"], row["location"], row["raw"]) for row in quarantined(books)] == [
            ("journal", "n1:7", "{"), ("journal", "n1:9", "["), ("sacct", "1", "|"),
        ]  # fmt: skip


def test_empty_books_balance(ledger: Ledger) -> None:
    found = audited(ledger, [], [])
    assert found.balanced
    assert (found.clusters, found.devices, found.jobs_unknown) == ([], [], 0)
