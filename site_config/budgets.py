"""The budgets that a site gives to accounts: how much they may use or emit in a month or a year.

A budget goes by calendar months of the site: its period is a month, or twelve months from January on, or from the month
on with which it begins (`from`). `accounting.budgets` says what of it is used.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from site_config.section import Positive, Section, Text, wrong, wrong_at

WarnAt = Annotated[float, Field(gt=0, le=1)]


class Budget(Section):
    """What an account, and those below it, may emit (`kgco2e`) or use (`kwh`) in each period."""

    account: Text = Field(description="Slurm's account; those below it count, too")
    cluster: Text | None = None  # None: on all of them together
    period: Literal["month", "year"] = Field(description="month or year")
    kgco2e: Positive | None = None
    basis: Literal["location", "market"] = "location"  # of kgco2e: by the grid, or by the site's contracts
    kwh: Positive | None = None
    energy: Literal["facility", "it"] = "facility"  # of kwh: with or without what the PUE adds
    from_: datetime | None = Field(default=None, alias="from")
    to: datetime | None = None  # not included
    warn_at: WarnAt = 0.8  # the share of it from which on it is said to run out

    @model_validator(mode="after")
    def _one_measure(self) -> Self:
        if (self.kgco2e is None) == (self.kwh is None):
            raise wrong("needs either kgco2e or kwh, and not both; for both write two budgets")
        if self.kgco2e is None and "basis" in self.model_fields_set:
            raise wrong_at(("basis",), "goes with kgco2e; what kwh counts is said by energy: facility or it")
        if self.kwh is None and "energy" in self.model_fields_set:
            raise wrong_at(("energy",), "goes with kwh; what kgco2e counts is said by basis: location or market")
        return self

    @model_validator(mode="after")
    def _whole_periods(self) -> Self:
        for name, time in (("from", self.from_), ("to", self.to)):
            if time is not None and (time.day, time.hour, time.minute, time.second) != (1, 0, 0, 0):
                raise wrong_at((name,), f"must be the first of a month, for example {time:%Y-%m}-01")
        first, end = self.first_month, self.end_month
        if first is not None and end is not None and end <= first:
            raise wrong_at(("to",), "must be later than from")
        if self.period == "year" and end is not None and end[5:] != (first or "0000-01")[5:]:
            raise wrong_at(("to",), f"cuts a year in two; the budget's years begin on {(first or '0000-01')[5:]}-01")
        return self

    @property
    def first_month(self) -> str | None:
        """The month (YYYY-MM) with which it begins to hold; None: it always did."""
        return None if self.from_ is None else f"{self.from_:%Y-%m}"

    @property
    def end_month(self) -> str | None:
        """The month in which it holds no more; None: it is open."""
        return None if self.to is None else f"{self.to:%Y-%m}"

    @property
    def measure(self) -> Literal["co2e_location_g", "co2e_market_g", "facility_energy_j", "it_energy_j"]:
        """What is counted, by its name in every report."""
        if self.kgco2e is not None:
            return "co2e_location_g" if self.basis == "location" else "co2e_market_g"
        return "facility_energy_j" if self.energy == "facility" else "it_energy_j"

    @property
    def limit(self) -> float:
        """The budget of a period, in g or J."""
        return self.kgco2e * 1000 if self.kgco2e is not None else (self.kwh or 0.0) * 3.6e6


def _apart(budgets: tuple[Budget, ...]) -> tuple[Budget, ...]:
    """Of two budgets that say the same of the same time, the later line is the mistake."""

    def same(one: Budget, other: Budget) -> bool:
        names = ("account", "cluster", "period", "measure")
        return all(getattr(one, name) == getattr(other, name) for name in names)

    def meet(one: Budget, other: Budget) -> bool:
        return (one.first_month or "") < (other.end_month or "9999") and (other.first_month or "") < (
            one.end_month or "9999"
        )

    for position, budget in enumerate(budgets):
        if any(same(budget, earlier) and meet(budget, earlier) for earlier in budgets[:position]):
            raise wrong_at(
                (position,), f"is a second {budget.period}'s budget of {budget.account} at the same time; date both"
            )
    return budgets


Budgets = Annotated[tuple[Budget, ...], AfterValidator(_apart)]
