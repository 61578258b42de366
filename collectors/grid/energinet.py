"""Grid intensity from Energinet: the two areas of Denmark, in five minutes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from accounting.model import FactorSlot
from collectors.grid.http import Api, epoch, slots_of, utc, windows
from site_config.grid import EnerginetGrid

_STEP_S = 300.0
_LONGEST_S = 31 * 86_400.0


class Energinet:
    """One of the areas DK1 (west) and DK2 (east)."""

    name = "energinet"

    def __init__(self, declared: EnerginetGrid) -> None:
        self._declared = declared

    def slots(self, start_s: float, end_s: float) -> Iterator[FactorSlot]:
        """Yield the slots that overlap [start_s, end_s). Raise `SourceError` where the service fails."""
        declared = self._declared
        api = Api(self.name, declared.url, declared.timeout_s)
        for from_s, to_s in windows(start_s, end_s, _LONGEST_S, _STEP_S):
            params = {
                "start": utc(from_s, "%Y-%m-%dT%H:%M"),
                "end": utc(to_s, "%Y-%m-%dT%H:%M"),
                "filter": json.dumps({"PriceArea": [declared.area]}),
                "sort": "Minutes5UTC",
                "timezone": "UTC",  # for start and end, which are Danish time without it
                "limit": "0",
            }
            answer = api.json("/dataset/CO2Emis", params)
            yield from api.read(lambda document: _slots(document, declared.area), answer)


def _slots(document: Any, area: str) -> list[FactorSlot]:
    points = []
    for record in document["records"]:
        if record["PriceArea"] == area:
            start_s = epoch(record["Minutes5UTC"])
            points.append((start_s, start_s + _STEP_S, record["CO2Emission"], False))
    return slots_of(points, f"Energinet {area}", "direct")
