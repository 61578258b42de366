"""The factors that turn energy into emissions, as a site declares them: PUE, grid, contracts.

Each may be dated; what is dated is in order of time and does not overlap by the time it stands here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Self, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, model_validator

from site_config.errors import near
from site_config.grid import AdviceSource, GridSource, StaticGrid, read_advice, read_sources
from site_config.section import FilePath, NotNegative, Positive, Section, Share, Text, each, shown, wrong, wrong_at
from site_config.server import PrometheusServer
from site_config.tables import grid_intensity


class Dated(Section):
    """Something that holds from a date on, to a later one (not included) or for good."""

    from_: datetime = Field(alias="from")
    to: datetime | None = None

    @model_validator(mode="after")
    def _in_order_of_time(self) -> Self:
        if self.to is not None and self.to <= self.from_:
            raise wrong_at(("to",), "must be later than from")
        return self

    @property
    def start_s(self) -> float:
        """The beginning, UTC epoch seconds."""
        return self.from_.timestamp()

    @property
    def end_s(self) -> float:
        """The end, UTC epoch seconds, not included; infinity where it is open."""
        return self.to.timestamp() if self.to else math.inf


D = TypeVar("D", bound=Dated)


def _in_time(values: object, read: Callable[[Any], D]) -> tuple[D, ...]:
    """Read a list of dated entries into order of time; of two that hold at once, the later line is the mistake."""
    entries = each(values, read)
    if not entries:
        raise wrong("must not be an empty list")
    for position, entry in enumerate(entries):
        if any(entry.start_s < earlier.end_s and earlier.start_s < entry.end_s for earlier in entries[:position]):
            raise wrong_at((position,), "overlaps an earlier entry; give both with `to` (not included)")
    return tuple(sorted(entries, key=lambda entry: entry.start_s))


PueRatio = Annotated[float, Field(ge=1, le=10)]


class PuePeriod(Dated):
    """The PUE over a period, and how it was measured (category 1, 2 or 3 of ISO/IEC 30134-2)."""

    value: PueRatio
    category: Annotated[int, Field(ge=1, le=3)] | None = None
    source: Text | None = None


class PueQuery(Section):
    """A live PUE: PromQL that gives one series."""

    prometheus: PrometheusServer
    query: Text
    step_s: Positive = 900.0  # how long a value holds


def _pue(value: Any, info: ValidationInfo) -> Any:
    """Choose by its shape what `pue` is, so that an error speaks of that shape alone."""
    if isinstance(value, dict):
        return PueQuery.model_validate(value, context=info.context)
    if isinstance(value, tuple):
        return _in_time(value, lambda entry: PuePeriod.model_validate(entry, context=info.context))
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong(f"must be a number, a list of {{from, to, value}} or {{prometheus, query}}, but is {shown(value)}")
    if not 1 <= value <= 10:
        raise wrong(f"must be from 1 to 10 (facility energy over IT energy), but is {shown(value)}")
    return float(value)


Pue = Annotated[float | tuple[PuePeriod, ...] | PueQuery, BeforeValidator(_pue)]


class Contract(Section):
    """What the site's contracts say of its electricity, for the market-based figure."""

    factor_g_per_kwh: NotNegative
    coverage: Share = 1.0  # of the consumption, by the contract
    residual_mix_g_per_kwh: NotNegative | None = None  # for the rest
    source: Text | None = None

    @model_validator(mode="after")
    def _rest_is_known(self) -> Self:
        if self.coverage < 1 and self.residual_mix_g_per_kwh is None:
            raise wrong("needs residual_mix_g_per_kwh for what the coverage leaves")
        return self

    @property
    def market_g_per_kwh(self) -> float:
        """The market-based factor in gCO2e/kWh: the contract's for its share, the residual mix for the rest."""
        if self.residual_mix_g_per_kwh is None:
            return self.factor_g_per_kwh
        return self.factor_g_per_kwh * self.coverage + self.residual_mix_g_per_kwh * (1 - self.coverage)


class DatedContract(Dated, Contract):
    """A contract over a period."""


def _market(value: Any, info: ValidationInfo) -> Any:
    """Take one contract that always holds, or a list of dated ones."""
    if isinstance(value, tuple):
        return _in_time(value, lambda entry: DatedContract.model_validate(entry, context=info.context))
    return Contract.model_validate(value, context=info.context)


def _zone(value: str) -> str:
    zones = grid_intensity()
    if value in zones:
        return value
    by_name = {figure.name.lower(): zone for zone, figure in zones.items()}
    meant = value.upper() if value.upper() in zones else by_name.get(value.lower())
    guess = f"; did you mean '{meant}'?" if meant else near(value, zones)
    raise wrong(f"unknown zone {shown(value)}: use the country's three letters (ISO 3166-1), as FRA{guess}")


class Grid(Section):
    """The electricity grid that feeds the site."""

    zone: Annotated[Text, AfterValidator(_zone)] = Field(description="the country's three letters, for example FRA")
    location: Annotated[tuple[GridSource, ...], BeforeValidator(read_sources)] = (StaticGrid(),)
    market: Annotated[Contract | tuple[DatedContract, ...], BeforeValidator(_market)] | None = None
    cache: FilePath | None = None  # what services answered; absent: grid.db beside a ledger that is a file
    advice: Annotated[AdviceSource, BeforeValidator(read_advice)] | None = None  # forecasts, for `scarbon advice` alone
