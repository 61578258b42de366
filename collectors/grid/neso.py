"""Grid intensity from NESO's Carbon Intensity API: Great Britain and its regions, in half hours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from accounting.model import FactorSlot
from collectors.grid.http import Api, epoch, slots_of, utc, windows
from site_config.grid import NesoGrid

_HALF_HOUR_S = 1800.0
_LONGEST_S = 14 * 86_400.0


class Neso:
    """Great Britain, or one region. A region has forecasts only, which are marked as estimated."""

    name = "neso"

    def __init__(self, declared: NesoGrid) -> None:
        self._declared = declared

    def slots(self, start_s: float, end_s: float) -> Iterator[FactorSlot]:
        """Yield the half hours that overlap [start_s, end_s). Raise `SourceError` where the service fails."""
        region = self._declared.region
        api = Api(self.name, self._declared.url, self._declared.timeout_s)
        where = "Great Britain" if region is None else f"region {region}"
        for from_s, to_s in windows(start_s, end_s, _LONGEST_S, _HALF_HOUR_S):
            span = f"{utc(from_s, '%Y-%m-%dT%H:%MZ')}/{utc(to_s, '%Y-%m-%dT%H:%MZ')}"
            path = f"/intensity/{span}" if region is None else f"/regional/intensity/{span}/regionid/{region}"
            answer = api.json(path)
            yield from api.read(lambda document: _slots(document, region is not None, f"NESO {where}"), answer)


def _slots(document: Any, regional: bool, source: str) -> list[FactorSlot]:
    entries = document["data"]["data"] if regional else document["data"]
    points = []
    for entry in entries:
        actual, forecast = entry["intensity"].get("actual"), entry["intensity"]["forecast"]
        value = forecast if actual is None else actual
        points.append((epoch(entry["from"]), epoch(entry["to"]), value, actual is None))
    return slots_of(points, source, "direct")
