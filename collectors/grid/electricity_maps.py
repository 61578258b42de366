"""Grid intensity from Electricity Maps: hourly means of a zone, flow-traced, life cycle or direct."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from accounting.model import FactorSlot
from collectors.grid.http import Api, epoch, key, slots_of, utc, windows
from site_config.grid import ElectricityMapsGrid

_HOUR_S = 3600.0
_LONGEST_S = 10 * 86_400.0  # ten days of hours in a request


class ElectricityMaps:
    """One zone's past hours."""

    name = "electricity_maps"

    def __init__(self, declared: ElectricityMapsGrid) -> None:
        self._declared = declared

    def slots(self, start_s: float, end_s: float) -> Iterator[FactorSlot]:
        """Yield the hours that overlap [start_s, end_s). Raise `SourceError` where the service fails."""
        declared = self._declared
        token = key(declared.token_file, declared.token_env)
        api = Api(self.name, declared.url, declared.timeout_s, headers={"auth-token": token})
        basis = "life cycle" if declared.factors == "lifecycle" else "direct"
        source = f"Electricity Maps {declared.zone}, {basis}"
        for from_s, to_s in windows(start_s, end_s, _LONGEST_S, _HOUR_S):
            params = {
                "zone": declared.zone,
                "start": utc(from_s, "%Y-%m-%dT%H:%M:%SZ"),
                "end": utc(to_s, "%Y-%m-%dT%H:%M:%SZ"),
                "temporalGranularity": "hourly",
                "emissionFactorType": declared.factors,
            }
            answer = api.json("/v3/carbon-intensity/past-range", params)
            yield from api.read(lambda document: _slots(document, source, basis), answer)


def _slots(document: Any, source: str, basis: str) -> list[FactorSlot]:
    points = []
    for entry in document["data"]:
        start_s = epoch(entry["datetime"])
        points.append((start_s, start_s + _HOUR_S, entry["carbonIntensity"], bool(entry.get("isEstimated", False))))
    return slots_of(points, source, basis)
