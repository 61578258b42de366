"""Grid intensity from Ember: monthly means by country, life cycle."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from accounting.model import FactorSlot
from collectors.grid.http import Api, epoch, key, slots_of, utc
from site_config.grid import EmberGrid


class Ember:
    """One country's months."""

    name = "ember"

    def __init__(self, declared: EmberGrid, zone: str) -> None:
        self._declared = declared
        self._entity = declared.entity or zone

    def slots(self, start_s: float, end_s: float) -> Sequence[FactorSlot]:
        """Return the months (of UTC) that overlap [start_s, end_s). Raise `SourceError` where the service fails."""
        declared = self._declared
        api = Api(self.name, declared.url, declared.timeout_s)
        params = {
            "entity_code": self._entity,
            "start_date": utc(start_s, "%Y-%m"),
            "end_date": utc(end_s - 1, "%Y-%m"),
            "api_key": key(declared.token_file, declared.token_env),
        }
        answer = api.json("/v1/carbon-intensity/monthly", params)
        return api.read(lambda document: _slots(document, self._entity), answer)


def _slots(document: Any, entity: str) -> list[FactorSlot]:
    points = []
    for entry in document["data"]:
        if entry["entity_code"] == entity:
            start_s = epoch(entry["date"])
            points.append((start_s, _next_month_s(start_s), entry["emissions_intensity_gco2_per_kwh"], False))
    return slots_of(points, f"Ember {entity}, monthly mean", "life cycle")


def _next_month_s(start_s: float) -> float:
    first = datetime.fromtimestamp(start_s, UTC)
    return datetime(first.year + first.month // 12, first.month % 12 + 1, 1, tzinfo=UTC).timestamp()
