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
    """One zone's hours, past and expected."""

    name = "electricity_maps"

    def __init__(self, declared: ElectricityMapsGrid) -> None:
        self._declared = declared
        self._basis = "life cycle" if declared.factors == "lifecycle" else "direct"

    def slots(self, start_s: float, end_s: float) -> Iterator[FactorSlot]:
        """Yield the hours that overlap [start_s, end_s). Raise `SourceError` where the service fails."""
        api = self._api()
        source = f"Electricity Maps {self._declared.zone}, {self._basis}"
        for from_s, to_s in windows(start_s, end_s, _LONGEST_S, _HOUR_S):
            params = {
                "zone": self._declared.zone,
                "start": utc(from_s, "%Y-%m-%dT%H:%M:%SZ"),
                "end": utc(to_s, "%Y-%m-%dT%H:%M:%SZ"),
                "temporalGranularity": "hourly",
                "emissionFactorType": self._declared.factors,
            }
            answer = api.json("/v3/carbon-intensity/past-range", params)
            yield from api.read(lambda document: _slots(document["data"], source, self._basis), answer)

    def forecast(self, start_s: float, end_s: float) -> Iterator[FactorSlot]:
        """Yield what is expected of the hours in [start_s, end_s), from now on and two days ahead at most.

        Raise `SourceError` where the service fails.
        """
        api = self._api()
        params = {"zone": self._declared.zone, "emissionFactorType": self._declared.factors, "horizonHours": "48"}
        answer = api.json("/v3/carbon-intensity/forecast", params)
        source = f"Electricity Maps {self._declared.zone}, {self._basis}, forecast"
        hours = api.read(lambda document: _slots(document["forecast"], source, self._basis, forecast=True), answer)
        yield from (slot for slot in hours if slot.start_s < end_s and start_s < slot.end_s)

    def _api(self) -> Api:
        declared = self._declared
        token = key(declared.token_file, declared.token_env)
        return Api(self.name, declared.url, declared.timeout_s, headers={"auth-token": token})


def _slots(entries: Any, source: str, basis: str, forecast: bool = False) -> list[FactorSlot]:
    points = []
    for entry in entries:
        start_s = epoch(entry["datetime"])
        estimated = forecast or bool(entry.get("isEstimated", False))
        points.append((start_s, start_s + _HOUR_S, entry["carbonIntensity"], estimated))
    return slots_of(points, source, basis)
