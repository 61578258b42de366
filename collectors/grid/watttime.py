"""WattTime's marginal signal: which hours are better to run in.

It is no grid intensity: what one more kilowatt-hour would emit says nothing of what the grid emits for all of them. So
this class has no `slots`, cannot stand among the sources of totals, and serves advice only.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from accounting.model import FactorSlot
from collectors.grid.http import Api, epoch, key, slots_of, utc, windows
from site_config.grid import WattTime as WattTimeConfig

_STEP_S = 300.0
_LONGEST_S = 31 * 86_400.0
_G_PER_KWH = 0.45359237  # of one lb/MWh


class WattTime:
    """One region's marginal operating emissions."""

    name = "watttime"

    def __init__(self, declared: WattTimeConfig) -> None:
        self._declared = declared

    def past(self, start_s: float, end_s: float) -> Iterator[FactorSlot]:
        """Yield the marginal rate in gCO2/kWh over [start_s, end_s). Raise `SourceError` where the service fails."""
        api = self._api()
        for from_s, to_s in windows(start_s, end_s, _LONGEST_S, _STEP_S):
            span = {"start": utc(from_s, "%Y-%m-%dT%H:%M:%SZ"), "end": utc(to_s, "%Y-%m-%dT%H:%M:%SZ")}
            yield from api.read(_slots, api.json("/v3/historical", {**self._signal(), **span}))

    def forecast(self, start_s: float, end_s: float) -> Iterator[FactorSlot]:
        """Yield the marginal rate that is expected in [start_s, end_s), from now on and two days ahead at most.

        Raise `SourceError` where the service fails.
        """
        api = self._api()
        answer = api.json("/v3/forecast", {**self._signal(), "horizon_hours": "48"})
        expected = api.read(lambda document: _slots(document, forecast=True), answer)
        yield from (slot for slot in expected if slot.start_s < end_s and start_s < slot.end_s)

    def _signal(self) -> dict[str, str]:
        return {"region": self._declared.region, "signal_type": "co2_moer"}

    def _api(self) -> Api:
        """Sign in; what that gives is good for half an hour."""
        declared = self._declared
        login = Api(
            self.name,
            declared.url,
            declared.timeout_s,
            basic=(declared.username, key(declared.password_file, None)),
            key_advice="check username and password_file under grid.advice",
        )
        token = login.read(lambda document: str(document["token"]), login.json("/login"))
        return Api(self.name, declared.url, declared.timeout_s, headers={"Authorization": f"Bearer {token}"})


def _slots(document: Any, forecast: bool = False) -> list[FactorSlot]:
    units = document["meta"]["units"]
    if units != "lbs_co2_per_mwh":
        raise ValueError(f"units are {units!r}, not lbs_co2_per_mwh")
    source = f"WattTime {document['meta']['region']}, marginal{', forecast' if forecast else ''}"
    readings = [(epoch(entry["point_time"]), entry["value"]) for entry in document["data"]]
    points = []
    for (start_s, value), (next_s, _) in pairwise([*sorted(readings), (float("inf"), None)]):
        rate = value * _G_PER_KWH if value is not None else None
        points.append((start_s, min(next_s, start_s + _STEP_S), rate, forecast))
    return slots_of(points, source, "marginal")
