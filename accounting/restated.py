"""What a restatement says: the figures before and after by account, the factors, who did it and why.

`accounting.restate` makes these; those of the past are read from the books (`past`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from accounting.ledger.reading import Books, one_of


@dataclass(frozen=True, slots=True)
class Amounts:
    """Sums of what is known; J and g."""

    it_energy_j: float = 0.0
    facility_energy_j: float = 0.0
    co2e_location_g: float = 0.0
    co2e_market_g: float = 0.0
    co2e_embodied_g: float = 0.0

    @property
    def values(self) -> tuple[float, ...]:
        """The figures in this order."""
        return (
            self.it_energy_j, self.facility_energy_j, self.co2e_location_g, self.co2e_market_g, self.co2e_embodied_g,
        )  # fmt: skip

    def __sub__(self, other: Amounts) -> Amounts:
        return Amounts(*(a - b for a, b in zip(self.values, other.values, strict=True)))


@dataclass(frozen=True, slots=True)
class Line:
    """What was and what is said of an account (None: jobs without one), or of what nobody held (`idle`)."""

    account: str | None
    idle: bool
    old: Amounts
    new: Amounts

    @property
    def difference(self) -> Amounts:
        """New less old."""
        return self.new - self.old


@dataclass(frozen=True, slots=True)
class FactorUse:
    """A source of factors of one kind: the mean of its values, and its seconds, over the restated slots."""

    kind: str  # pue (a ratio), location or market (gCO2e/kWh)
    source: str
    mean: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Restated:
    """What a restatement of one cluster changes, or changed. Its slots are those that [start_s, end_s) touches."""

    cluster: str
    start_s: float
    end_s: float
    rule: str  # factors | attribution
    lines: Sequence[Line]  # the largest difference first, idle last; they add up to the total
    total: Line
    posted: int  # postings that took the place of others, those of factors included
    adjusted: int  # adjustments to closed months
    closed: Sequence[str]  # the closed months in it
    old_factors: Sequence[FactorUse]
    new_factors: Sequence[FactorUse]
    warnings: Sequence[str]
    restatement_id: int | None = None  # None: nothing was written
    reopened: Sequence[str] = ()  # the months in it that were closed once: what was adjusted then is taken back

    @property
    def changes(self) -> bool:
        """Whether anything in the books differs."""
        return bool(self.posted or self.adjusted)


@dataclass(frozen=True, slots=True)
class Past:
    """A restatement that is in the books; `old` and `new`: factors, and sums by account, as JSON has them."""

    restatement_id: int
    cluster: str
    start_s: float
    end_s: float
    rule: str
    at_s: float
    who: str
    host: str
    why: str
    old: Mapping[str, Any]
    new: Mapping[str, Any]


def past(books: Books, clusters: Sequence[str] | None = None) -> list[Past]:
    """The restatements in the books, in the order in which they were made."""
    values: dict[str, Any] = {}
    where = "" if clusters is None else f" WHERE {one_of('cluster', clusters, values)}"
    rows = books.rows(
        f"SELECT restatement_id, cluster, start_s, end_s, rule, at_s, who, host, why, old, new "
        f"FROM restatements{where} ORDER BY restatement_id",
        values,
    )
    return [Past(**{**dict(row), "old": json.loads(row["old"]), "new": json.loads(row["new"])}) for row in rows]


def lines_of(sums: Mapping[tuple[str | None, bool], tuple[Amounts, Amounts]]) -> list[Line]:
    """The lines by account and whether idle, in the order in which people look for them."""
    lines = [Line(account, idle, *amounts) for (account, idle), amounts in sums.items()]
    return sorted(lines, key=lambda line: (line.idle, -abs(line.difference.co2e_location_g), line.account or ""))


def side(lines: Iterable[Line], total: Line, factors: Iterable[FactorUse], which: str) -> str:
    """One side, `old` or `new`, as the books keep it: JSON."""
    return json.dumps(
        {
            "factors": [asdict(one) for one in factors],
            "accounts": [
                {"account": line.account, "idle": line.idle, **asdict(getattr(line, which))} for line in lines
            ],
            "total": asdict(getattr(total, which)),
        },
        ensure_ascii=False,
    )
