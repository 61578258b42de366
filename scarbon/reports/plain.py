"""A report as JSON: everything that its document says, in base units; docs/reports.md names the keys."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from accounting.document import Comparison, Document, Period
from accounting.report import Sums
from accounting.statement import water_l
from scarbon import __version__, budgets


def render(document: Document, look: object = None) -> str:
    """The document as JSON; it has no words in it that a language could change."""
    return json.dumps(as_json(document), indent=1, ensure_ascii=False, default=_day) + "\n"


def as_json(document: Document) -> dict[str, Any]:
    """The document as an object for JSON. What was not asked for is null; what is not known is null, too."""
    nothing = Sums(None, 0, 0, 0.0, *[None] * 8)  # idle time is in no report on some payers only
    return {
        "meta": _meta(document),
        "groups": [figures(document, group) for group in document.groups],
        "idle": figures(document, document.idle or nothing),
        "adjusted_later": [{**asdict(one), "sums": figures(document, one.sums)} for one in document.adjusted_later],
        "adjustments": [{**asdict(one), "sums": figures(document, one.sums)} for one in document.adjustments],
        "total": figures(document, document.total),
        "tree": [
            {
                "account": branch.account,
                "depth": branch.depth,
                "own": branch.own and figures(document, branch.own),
                "sums": figures(document, branch.sums),
            }
            for branch in document.tree
        ],
        "period_before": _comparison(document, document.before),
        "year_before": _comparison(document, document.year_before),
        "points": _list(document.points),
        "top_jobs": _list(document.top_jobs),
        "waste": document.waste and asdict(document.waste),
        "methods": _list(document.methods),
        "reconciliation": [{**asdict(one), "unmetered_j": one.unmetered_j} for one in document.reconciliation],
        "budgets": [budgets.plain(standing) for standing in document.budgets],
    }


def figures(document: Document, sums: Sums) -> dict[str, Any]:
    """A group's figures, and the litres of water by the site's WUE; null where none is declared."""
    return {**asdict(sums), "water_l": water_l(sums.it_energy_j, document.wue_l_per_kwh)}


def not_accounted(document: Document) -> list[str]:
    """What of the period the books do not hold, a line for each stretch."""
    zone = ZoneInfo(document.timezone)

    def moment(time_s: float) -> str:
        return datetime.fromtimestamp(time_s, zone).strftime("%Y-%m-%d %H:%M")

    return [
        f"{gap.cluster}: {moment(gap.start_s)} to {moment(gap.end_s)} is not accounted"
        for gap in document.not_accounted
    ]


def _meta(document: Document) -> dict[str, Any]:
    metered_j = {one.kind: one.metered_j for one in document.reconciliation}
    return {
        "version": __version__,
        "site": document.site,
        "timezone": document.timezone,
        "made_s": document.made_s,
        "period": document.period.kind,
        "period_name": document.period.name,
        "first_day": document.period.first_day.isoformat(),
        "last_day": document.period.last_day.isoformat(),
        "by": document.by,
        "clusters": document.clusters,
        "accounts": document.chosen.accounts,
        "users": document.chosen.users,
        "accounted": document.accounted,
        "closed_s": document.closed_s,
        "as_of_s": document.as_of_s,
        "not_accounted": not_accounted(document),
        "quarantined": document.quarantined,
        "modelled_share": document.modelled_share,
        "gpu_metered_j": metered_j.get("gpu"),
        "host_metered_j": metered_j.get("host"),
        "pue": document.pue,
        "intensity_g_per_kwh": document.intensity_g_per_kwh,
        "market_g_per_kwh": document.market_g_per_kwh,
        "idle_host_missing": document.idle_host_missing,
        "silent_gpus": document.silent_gpus,
        "wue_l_per_kwh": document.wue_l_per_kwh,
        "step": document.step,
        "factors": [asdict(one) for one in document.factors],
    }


def _comparison(document: Document, comparison: Comparison | None) -> dict[str, Any] | None:
    if comparison is None:
        return None
    return {
        **_period(comparison.period),
        "accounted": comparison.accounted,
        "total": figures(document, comparison.total),
    }


def _period(period: Period) -> dict[str, Any]:
    return {"period_name": period.name, "first_day": period.first_day, "last_day": period.last_day}


def _list(found: Any) -> list[dict[str, Any]] | None:
    return None if found is None else [asdict(one) for one in found]


def _day(value: object) -> str:
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(value)
