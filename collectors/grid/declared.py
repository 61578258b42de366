"""PUE and contracts, as the configuration declares them, as slots for the books."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from accounting.model import FactorSlot
from accounting.sources import IntensitySource, SourceError
from collectors.grid.kept import Ask, KeptSource, asked
from collectors.grid.spans import apart, take
from collectors.grid.store import SlotStore
from site_config.factors import Contract, Dated, DatedContract, Pue, PuePeriod, PueQuery

D = TypeVar("D", bound=Dated)

#: What a PUE can be: the building draws no less than the equipment in it, and no ten times as much.
PUE_RANGE = (1.0, 10.0)


def pue_slots(
    pue: Pue, start_s: float, end_s: float, store: SlotStore | None = None, ask: Ask = "new"
) -> tuple[FactorSlot, ...]:
    """Return the PUE over [start_s, end_s): a constant, the dated values that overlap, or what the query gives.

    What the query gave is kept in `store`, where one is given: Prometheus forgets it after some weeks. Raise
    `SourceError` where the query fails, or gives what no PUE can be.
    """
    if isinstance(pue, float):
        return (FactorSlot(start_s, end_s, pue, "site.yaml"),)
    if isinstance(pue, PueQuery):
        return _queried(pue, start_s, end_s, store, ask)
    return tuple(FactorSlot(*span, period.value, _pue_source(period)) for period, span in _clipped(pue, start_s, end_s))


def _queried(pue: PueQuery, start_s: float, end_s: float, store: SlotStore | None, ask: Ask) -> tuple[FactorSlot, ...]:
    from collectors.grid.prometheus import PrometheusFactor

    source: IntensitySource = PrometheusFactor(pue.prometheus, pue.query, pue.step_s)
    if store is not None:
        source = KeptSource(source, store, asked(pue), *PUE_RANGE, ask)
    slots = apart(source.slots(start_s, end_s))
    for slot in slots:
        if not PUE_RANGE[0] <= slot.value <= PUE_RANGE[1]:
            raise SourceError(f"{pue.query!r} gives {slot.value:g}, which is no PUE", "correct pue.query")
    return tuple(take(slots, [(start_s, end_s)])[0])


def market_slots(
    market: Contract | Sequence[DatedContract] | None, start_s: float, end_s: float
) -> tuple[FactorSlot, ...]:
    """Return the market-based factor in gCO2e/kWh over [start_s, end_s); nothing where no contract is declared."""
    if market is None:
        return ()
    if isinstance(market, Contract):
        return (FactorSlot(start_s, end_s, market.market_g_per_kwh, market.source or "site.yaml"),)
    return tuple(
        FactorSlot(*span, contract.market_g_per_kwh, contract.source or "site.yaml")
        for contract, span in _clipped(market, start_s, end_s)
    )


def _clipped(entries: Iterable[D], start_s: float, end_s: float) -> Iterator[tuple[D, tuple[float, float]]]:
    for entry in entries:
        span = max(entry.start_s, start_s), min(entry.end_s, end_s)
        if span[0] < span[1]:
            yield entry, span


def _pue_source(period: PuePeriod) -> str:
    category = f", category {period.category}" if period.category else ""
    return f"{period.source or 'site.yaml'}{category}"
