"""What of an account's budget is used, and what its pace leads to by the end of the period.

A budget counts what the jobs of its account used in the period, and those of the accounts below it in the books' tree:
the sums that a report by account has. It reads the months' roll-up, so that a budget costs next to nothing to look at.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

from accounting.accounts import AccountTree, read_tree
from accounting.clock import day_of, day_start
from accounting.ledger.reading import Books, one_of
from site_config.kept import KnownBudget

#: `passed`: more than the limit is used; `near`: as much as the site wants to be warned of; `unknown`: energy is
#: known of which a factor is not, and what is known is within the limit; `empty`: nothing of the period is booked yet,
#: and nothing of closed months was adjusted in it.
Status = Literal["within", "near", "passed", "unknown", "empty"]

#: The roll-up's column of each measure.
_COLUMNS = {
    "co2e_location_g": "location_g",
    "co2e_market_g": "market_g",
    "facility_energy_j": "facility_j",
    "it_energy_j": "energy_j",
}


@dataclass(frozen=True, slots=True)
class Period:
    """Whole calendar months, by their names (YYYY-MM), in order."""

    months: tuple[str, ...]

    @property
    def name(self) -> str:
        """As people write it: 2026-10, 2026, or 2026-09 to 2027-08."""
        first, last = self.months[0], self.months[-1]
        if first == last:
            return first
        return first[:4] if first.endswith("-01") else f"{first} to {last}"

    @property
    def first_day(self) -> date:
        """Its first day."""
        return date.fromisoformat(f"{self.months[0]}-01")

    @property
    def last_day(self) -> date:
        """Its last day."""
        return date.fromisoformat(f"{_month(_number(self.months[-1]) + 1)}-01") - timedelta(days=1)

    def bounds(self, zone: ZoneInfo) -> tuple[int, int]:
        """[start, end) in UTC epoch s."""
        return day_start(zone, self.first_day), day_start(zone, self.last_day + timedelta(days=1))


@dataclass(frozen=True, slots=True)
class Standing:
    """How a budget stands in one period; figures in the unit of its measure (g or J), None is unknown.

    `expected` is what the period will have used in the end if what is left of it goes on as what of it is booked:
    use over booked time, by cluster; None where nothing of it is booked. `passed_on` is the day on which that line
    crosses the limit.
    """

    budget: KnownBudget
    period: Period
    accounts: tuple[str, ...]  # those counted: the account and those below it
    used: float | None
    known: float  # the part of it that is known: at least that much is used
    expected: float | None
    passed_on: date | None
    booked_s: float  # of the period; of several clusters, the least
    period_s: float
    coverage: float | None  # the share of the GPU time in it that was measured

    @property
    def share(self) -> float | None:
        """What is used, as a share of the limit."""
        return None if self.used is None else self.used / self.budget.limit

    @property
    def status(self) -> Status:
        """Where it stands now."""
        if self.known > self.budget.limit:
            return "passed"
        if not self.booked_s and not self.known:
            return "empty"
        if self.used is None:
            return "unknown"
        return "near" if self.used >= self.budget.warn_at * self.budget.limit else "within"

    @property
    def will_pass(self) -> bool:
        """Whether its pace leads past the limit, or it is passed already."""
        return self.status == "passed" or (self.expected is not None and self.expected > self.budget.limit)


def period_of(budget: KnownBudget, month: str) -> Period | None:
    """The period of a budget in which a month (YYYY-MM) lies; None where the budget does not hold then."""
    length = 12 if budget.period == "year" else 1
    begins = _number(budget.first_month) if budget.first_month else 0
    first = _number(month) - (_number(month) - begins) % length
    period = Period(tuple(_month(number) for number in range(first, first + length)))
    holds = (budget.first_month or "") <= period.months[0] and period.months[-1] < (budget.end_month or "9999")
    return period if holds else None


def standings(
    books: Books,
    asked: Iterable[tuple[KnownBudget, Period]],
    zone: ZoneInfo,
    clusters: Collection[str],
) -> list[Standing]:
    """How budgets stand in periods, in the order asked.

    `clusters` are those that the site still has: what is left of a period is expected of them alone.
    """
    wanted = list(asked)
    booked = {cluster: books.booked(cluster) for cluster in books.clusters()}
    trees = _Branches(books)
    scopes = [
        {name: trees.of(name, budget.account) for name in booked if budget.cluster in (None, name)}
        for budget, _ in wanted
    ]
    months = {month for _, period in wanted for month in period.months}
    accounts = {account for scope in scopes for accounts in scope.values() for account in accounts}
    used, adjusted = (_sums(books, sql, months, accounts) for sql in (_USED, _ADJUSTED))
    return [
        _standing(
            budget,
            period,
            scope,
            _of(used, period, scope),
            _of(adjusted, period, scope),
            {name: booked[name] for name in scope},
            zone,
            clusters,
        )
        for (budget, period), scope in zip(wanted, scopes, strict=True)
    ]


def counts_to(books: Books, budgets: Iterable[KnownBudget]) -> dict[KnownBudget, set[str]]:
    """The accounts whose use counts to each budget, on any of its clusters."""
    trees, clusters = _Branches(books), books.clusters()
    return {
        budget: {
            budget.account,
            *(one for name in clusters if budget.cluster in (None, name) for one in trees.of(name, budget.account)),
        }
        for budget in budgets
    }


def known_accounts(books: Books) -> list[str]:
    """The accounts that jobs were in, and those that Slurm has or had."""
    rows = books.rows("SELECT account FROM payers WHERE account IS NOT NULL UNION SELECT account FROM accounts")
    return sorted(row["account"] for row in rows)


class _Branches:
    """An account and those below it, on each cluster; each tree is read once."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._trees: dict[str, AccountTree] = {}

    def of(self, cluster: str, account: str) -> tuple[str, ...]:
        if cluster not in self._trees:
            self._trees[cluster] = read_tree(self._books, cluster)
        tree = self._trees[cluster]
        return tree.branch(account) if account in tree.accounts else (account,)


@dataclass(frozen=True, slots=True)
class _Pace:
    """What one cluster goes on with: use for each second of what is booked, from there to the period's end."""

    rate: float
    from_s: float
    to_s: float

    @property
    def rest(self) -> float:
        return self.rate * (self.to_s - self.from_s)


def _standing(
    budget: KnownBudget,
    period: Period,
    scope: Mapping[str, Sequence[str]],
    rows: Sequence[Mapping[str, Any]],
    adjustments: Sequence[Mapping[str, Any]],
    booked: Mapping[str, Sequence[tuple[float, float]]],
    zone: ZoneInfo,
    clusters: Collection[str],
) -> Standing:
    start_s, end_s = period.bounds(zone)
    column = _COLUMNS[budget.measure]
    known = {name: sum((row[column] or 0.0 for row in rows if row["cluster"] == name), 0.0) for name in scope}
    within = {
        name: [(max(a, start_s), min(b, end_s)) for a, b in spans if a < end_s and b > start_s]
        for name, spans in booked.items()
    }
    seconds = {name: sum(b - a for a, b in spans) for name, spans in within.items()}
    going_on = [
        _Pace(known[name] / seconds[name], spans[-1][1], end_s)
        for name, spans in within.items()
        if spans and name in clusters
    ]
    lasting = [seconds[name] for name in within if name in clusters] or list(seconds.values())
    is_booked = any(seconds.values())
    is_known = (is_booked or bool(adjustments)) and not any(row[f"{column}_unknown"] for row in rows)
    total = sum(known.values(), 0.0) + sum(row[column] for row in adjustments)
    if abs(total) < _ROUNDING * budget.limit:
        total = 0.0
    used = total if is_known else None
    held_s = sum(row["held_s"] for row in rows)
    return Standing(
        budget=budget,
        period=period,
        accounts=tuple(dict.fromkeys(account for accounts in scope.values() for account in accounts)),
        used=used,
        known=total,
        expected=used + sum(pace.rest for pace in going_on) if used is not None and is_booked else None,
        passed_on=None if used is None else _crossing(used, budget.limit, going_on, zone),
        booked_s=min(lasting, default=0.0),
        period_s=end_s - start_s,
        coverage=sum(row["measured_s"] for row in rows) / held_s if held_s else None,
    )


def _crossing(used: float, limit: float, going_on: Sequence[_Pace], zone: ZoneInfo) -> date | None:
    """The day on which the pace crosses a limit that is not passed yet; None where it does not."""
    if used > limit or used + sum(pace.rest for pace in going_on) <= limit:
        return None
    from_s = max(pace.from_s for pace in going_on)
    there = used + sum(pace.rate * (from_s - pace.from_s) for pace in going_on)
    rate = sum(pace.rate for pace in going_on)
    return day_of(zone, from_s + max(limit - there, 0.0) / rate)


#: Of a limit: so little is what the rounding of differences that cancel out leaves, and no use.
_ROUNDING = 1e-9

#: More accounts than this are not named one by one: all are read.
_MANY = 500


def _of(
    rows: Sequence[Mapping[str, Any]], period: Period, scope: Mapping[str, Sequence[str]]
) -> list[Mapping[str, Any]]:
    """The rows of a period's months and a scope's accounts."""
    return [row for row in rows if row["month"] in period.months and row["account"] in scope.get(row["cluster"], ())]


def _sums(books: Books, sql: str, months: Collection[str], accounts: Collection[str]) -> list[Mapping[str, Any]]:
    """The months' sums by cluster and account."""
    if not months or not accounts:
        return []
    values: dict[str, Any] = {"first_day": f"{min(months)}-01", "last_day": f"{max(months)}-31"}
    where = one_of("m.month", sorted(months), values)
    if len(accounts) <= _MANY:
        where += f" AND {one_of('p.account', sorted(accounts), values)}"
    return [dict(row) for row in books.rows(sql.format(where=where), values)]


_COLUMN_SUMS = ", ".join(f"SUM(m.{one}) AS {one}" for one in _COLUMNS.values())
_UNKNOWN = ", ".join(
    f"COUNT(CASE WHEN m.energy_j <> 0 AND m.{one} IS NULL THEN 1 END) AS {one}_unknown" for one in _COLUMNS.values()
)
_USED = f"""
SELECT m.month, p.cluster, p.account,
       SUM(CASE WHEN m.kind = 'gpu' THEN m.held_s ELSE 0 END) AS held_s,
       SUM(CASE WHEN m.kind = 'gpu' THEN m.measured_s ELSE 0 END) AS measured_s,
       {_COLUMN_SUMS}, {_UNKNOWN}
FROM payer_months m JOIN payers p ON p.payer_id = m.payer_id
WHERE {{where}}
GROUP BY m.month, p.cluster, p.account
"""

# What was found out in a month about closed ones before it is in that month's total, as in its report.
_ADJUSTED = f"""
SELECT m.month, p.cluster, p.account, {_COLUMN_SUMS}
FROM (
  SELECT SUBSTR(posted_day, 1, 7) AS month, payer_id, {", ".join(_COLUMNS.values())}
  FROM adjustments WHERE posted_day >= :first_day AND posted_day <= :last_day
) m
JOIN payers p ON p.payer_id = m.payer_id
WHERE {{where}}
GROUP BY m.month, p.cluster, p.account
"""


def _number(month: str) -> int:
    return int(month[:4]) * 12 + int(month[5:]) - 1


def _month(number: int) -> str:
    return f"{number // 12:04}-{number % 12 + 1:02}"
