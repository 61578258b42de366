"""Restating books of windows: factors, rules and a clock of the test's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from unittest import mock
from zoneinfo import ZoneInfo

from accounting.booking import Rules
from accounting.ledger.closing import By
from accounting.ledger.recording import Program
from accounting.ledger.store import Ledger
from accounting.model import FactorSlot, Node
from accounting.restate import period_of, restate_factors
from accounting.restated import Restated
from accounting.sources import Factors
from tests.ledger.windows import DAY_S, HOUR_S, START_S

BY = By("ada", "login1", "final values")
PROGRAM = Program("0", "0")
RULES = Rules(
    zone=ZoneInfo("UTC"), max_gap_s=600.0, host=None, embodied_gpu_g=None, embodied_gpu_model_g={}, lifetime_years=5.0
)
#: Long after the books of the windows: adjustments are posted there.
LATER_S = START_S + 60 * DAY_S


class NoNodes:
    """No node is known."""

    def nodes(self) -> Mapping[str, Node]:
        return {}


class Clock:
    """A clock that goes on by a second whenever somebody looks."""

    def __init__(self, start_s: float = LATER_S) -> None:
        self.now_s = start_s

    def __call__(self) -> float:
        self.now_s += 1.0
        return self.now_s

    @contextmanager
    def running(self) -> Iterator[Clock]:
        """For all of the program."""
        with mock.patch("time.time", self):
            yield self


def flat(pue: float | None, location: float | None, market: float | None = None) -> Factors:
    """One value for all time; None: not known."""

    def slots(value: float | None) -> list[FactorSlot]:
        return [] if value is None else [FactorSlot(0.0, 1e12, value, "flat")]

    return Factors(slots(pue), slots(location), slots(market))


def restate(
    ledger: Ledger,
    factors: Factors,
    first: int = 0,
    beyond: int = 24,
    rules: Rules = RULES,
    cluster: str = "alpha",
    dry_run: bool = False,
) -> Restated:
    """Restate the hours [first, beyond), by their number."""
    period = period_of(ledger, cluster, START_S + first * HOUR_S, START_S + beyond * HOUR_S)
    return restate_factors(
        ledger, period, rules, lambda start_s, end_s: factors, NoNodes(), BY, PROGRAM, dry_run=dry_run
    )
