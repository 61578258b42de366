import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from accounting.model import FactorSlot
from accounting.sources import SourceError
from collectors.grid.declared import market_slots, pue_slots
from collectors.grid.store import SlotStore
from site_config.factors import Contract, DatedContract, PuePeriod, PueQuery
from site_config.server import PrometheusServer
from tests.collectors.grid.service import Service

MIDNIGHT = datetime(2026, 10, 1, tzinfo=UTC)
NOON = MIDNIGHT + timedelta(hours=12)
START, HALF, END = MIDNIGHT.timestamp(), NOON.timestamp(), MIDNIGHT.timestamp() + 86_400


def test_a_constant_pue() -> None:
    assert pue_slots(1.2, START, END) == (FactorSlot(START, END, 1.2, "site.yaml"),)


def test_a_pue_that_changes_at_noon() -> None:
    periods = (
        PuePeriod(**{"from": MIDNIGHT - timedelta(days=9), "to": NOON}, value=1.2, category=2, source="meter"),
        PuePeriod(**{"from": NOON}, value=1.5),
    )
    assert pue_slots(periods, START, END) == (
        FactorSlot(START, HALF, 1.2, "meter, category 2"),
        FactorSlot(HALF, END, 1.5, "site.yaml"),
    )


def test_a_pue_that_is_not_known_yet_is_a_hole() -> None:
    periods = (PuePeriod(**{"from": NOON}, value=1.5),)
    assert pue_slots(periods, START, END) == (FactorSlot(HALF, END, 1.5, "site.yaml"),)


def queried(service: Service, *values: str) -> PueQuery:
    pairs = [[START + 900 * step, value] for step, value in enumerate(values)]
    service.answer(json.dumps({"status": "success", "data": {"result": [{"values": pairs}]}}))
    return PueQuery(prometheus=PrometheusServer(url=service.url), query="pue")


def test_a_live_pue(service: Service) -> None:
    assert pue_slots(queried(service, "1.25", "1.5"), START + 100, START + 1000) == (
        FactorSlot(START + 100, START + 900, 1.25, "Prometheus pue"),
        FactorSlot(START + 900, START + 1000, 1.5, "Prometheus pue"),
    )


def test_a_live_pue_is_kept_when_prometheus_has_forgotten_it(service: Service, tmp_path: Path) -> None:
    store = SlotStore(tmp_path / "grid.db")
    first = pue_slots(queried(service, "1.25", "1.5"), START, START + 1800, store)
    assert pue_slots(queried(service), START, START + 1800, store) == first
    assert [slot.value for slot in first] == [1.25, 1.5]


@pytest.mark.parametrize("value", ["0.9", "11", "-1"])
def test_a_live_pue_that_is_none(service: Service, value: str) -> None:
    with pytest.raises(SourceError, match=f"'pue' gives {value}, which is no PUE"):
        pue_slots(queried(service, value), START, END)


def test_the_market_based_factor_is_the_contracts_share_and_the_residual_mix() -> None:
    contract = Contract(factor_g_per_kwh=12, coverage=0.8, residual_mix_g_per_kwh=60)
    (slot,) = market_slots(contract, START, END)
    assert slot.value == pytest.approx(0.8 * 12 + 0.2 * 60, rel=1e-15)  # 21.6


def test_dated_contracts() -> None:
    contracts = (
        DatedContract(**{"from": MIDNIGHT, "to": NOON}, factor_g_per_kwh=0, source="wind farm"),
        DatedContract(**{"from": NOON}, factor_g_per_kwh=10),
    )
    assert market_slots(contracts, START, END) == (
        FactorSlot(START, HALF, 0.0, "wind farm"),
        FactorSlot(HALF, END, 10.0, "site.yaml"),
    )


def test_no_contract_is_no_factor() -> None:
    assert market_slots(None, START, END) == ()
