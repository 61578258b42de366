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
        for from_s, to_s in windows(start_s, end_s, _LONGEST_S, _HALF_HOUR_S):
            yield from self._asked(f"{_time(from_s)}/{_time(to_s)}")

    def forecast(self, start_s: float, end_s: float) -> Iterator[FactorSlot]:
        """Yield what is expected of the half hours in [start_s, end_s), two days from start_s on at most.

        Raise `SourceError` where the service fails.
        """
        expected = self._asked(f"{_time(start_s)}/fw48h")
        yield from (slot for slot in expected if slot.start_s < end_s and start_s < slot.end_s)

    def _asked(self, span: str) -> list[FactorSlot]:
        region = self._declared.region
        api = Api(self.name, self._declared.url, self._declared.timeout_s)
        where = "Great Britain" if region is None else f"region {region}"
        path = f"/intensity/{span}" if region is None else f"/regional/intensity/{span}/regionid/{region}"
        return api.read(lambda document: _slots(document, region is not None, f"NESO {where}"), api.json(path))


def _time(time_s: float) -> str:
    return utc(time_s, "%Y-%m-%dT%H:%MZ")


def _slots(document: Any, regional: bool, source: str) -> list[FactorSlot]:
    entries = document["data"]["data"] if regional else document["data"]
    points = []
    for entry in entries:
        actual, forecast = entry["intensity"].get("actual"), entry["intensity"]["forecast"]
        value = forecast if actual is None else actual
        points.append((epoch(entry["from"]), epoch(entry["to"]), value, actual is None))
    return slots_of(points, source, "direct")
