"""Budgets in words: one line for each, as `scarbon budget` prints it and `scarbon jobs` below its table."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from accounting.budgets import Standing, counts_to, period_of, standings
from accounting.clock import day_of
from accounting.ledger.reading import Books
from scarbon import units
from site_config.kept import KnownBudget, KnownSite

#: What is counted, for people.
MEASURES = {
    "co2e_location_g": "CO2e",
    "co2e_market_g": "CO2e, market-based",
    "facility_energy_j": "energy",
    "it_energy_j": "IT energy",
}

DAY_S = 86_400.0


def lines_for(config: KnownSite, books: Books, accounts: Collection[str], now_s: float) -> list[str]:
    """A line for each budget to which one of the accounts counts, in the month or year that now is."""
    month = f"{day_of(config.site.zone, now_s):%Y-%m}"
    asked = [
        (budget, period)
        for budget, counted in counts_to(books, config.budgets).items()
        if not counted.isdisjoint(accounts) and (period := period_of(budget, month)) is not None
    ]
    return [line(one) for one in standings(books, asked, config.site.zone, config.clusters)]


def quantity(budget: KnownBudget, value: float | None) -> str:
    """A figure of a budget's measure in the unit that fits it."""
    show = units.mass if budget.measure.startswith("co2e") else units.energy
    return show(value, "unknown")


def name(budget: KnownBudget) -> str:
    """Whose budget it is."""
    return budget.account if budget.cluster is None else f"{budget.account} on {budget.cluster}"


def rests_on(standing: Standing) -> str:
    """How much of the period the pace rests on."""
    return f"{standing.booked_s / DAY_S:.1f} of {standing.period_s / DAY_S:.0f} days"


def plain(standing: Standing) -> dict[str, Any]:
    """One budget for programs, in the units of its measure (g or J); docs/budgets.md has the keys."""
    return {
        "account": standing.budget.account,
        "cluster": standing.budget.cluster,
        "accounts": standing.accounts,
        "period": standing.period.name,
        "first_day": standing.period.first_day.isoformat(),
        "last_day": standing.period.last_day.isoformat(),
        "measure": standing.budget.measure,
        "limit": standing.budget.limit,
        "used": standing.used,
        "used_at_least": standing.known,
        "share": standing.share,
        "expected": standing.expected,
        "passed_on": None if standing.passed_on is None else standing.passed_on.isoformat(),
        "booked_s": standing.booked_s,
        "period_s": standing.period_s,
        "coverage": standing.coverage,
        "warn_at": standing.budget.warn_at,
        "status": standing.status,
        "will_pass": standing.will_pass,
    }


def verdict(standing: Standing) -> str:
    """What is to be said of it in a few words; nothing where all is well."""
    if standing.status == "empty":
        return "nothing is booked yet"
    if standing.status == "passed":
        return "exceeded"
    if standing.status == "unknown":
        return f"unknown: a factor is missing; at least {quantity(standing.budget, standing.known)}"
    if standing.will_pass:
        return f"will be exceeded about {standing.passed_on}"
    return f"above {units.share(standing.budget.warn_at)}" if standing.status == "near" else ""


def line(standing: Standing) -> str:
    """One budget in one line."""
    budget = standing.budget
    said = f"budget of {name(budget)}, {standing.period.name}: "
    if standing.used is not None:
        said += f"{quantity(budget, standing.used)} of "
    said += f"{quantity(budget, budget.limit)} {MEASURES[budget.measure]}"
    if standing.share is not None:
        said += f" ({units.share(standing.share)})"
    if standing.expected not in (None, standing.used):  # where something of the period is left
        said += f", at this pace {quantity(budget, standing.expected)} by its end"
    return said + (f": {verdict(standing)}" if verdict(standing) else "")
