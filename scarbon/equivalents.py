"""What an amount of CO2e compares to, from the one table with its sources, for every verb that says it."""

from __future__ import annotations

from typing import Any


def equivalents_of(co2e_g: float) -> list[dict[str, Any]]:
    """Every equivalent of the table for JSON: its name, how much of it, of what, and who published it."""
    from accounting.calculator import compared

    return [
        {"name": same.name, "amount": amount, "per": same.per, "source": same.source}
        for amount, same in compared(co2e_g)
    ]
