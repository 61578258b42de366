"""WattTime's marginal signal: which hours are better to run in.

It is no grid intensity: what one more kilowatt-hour would emit says nothing of what the grid emits for all of them. So
this class has no `slots`, cannot stand among the sources of totals, and serves advice only.
"""

from __future__ import annotations

from collections.abc import Sequence
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

    def marginal(self, start_s: float, end_s: float) -> Sequence[FactorSlot]:
        """Return the marginal rate in gCO2/kWh over [start_s, end_s). Raise `SourceError` where the service fails."""
        declared = self._declared
        login = Api(
            self.name,
            declared.url,
            declared.timeout_s,
            basic=(declared.username, key(declared.password_file, None)),
            key_advice="check username and password_file under grid.advice",
        )
        token = login.read(lambda document: str(document["token"]), login.json("/login"))
        api = Api(self.name, declared.url, declared.timeout_s, headers={"Authorization": f"Bearer {token}"})
        slots: list[FactorSlot] = []
        for from_s, to_s in windows(start_s, end_s, _LONGEST_S, _STEP_S):
            params = {
                "region": declared.region,
                "start": utc(from_s, "%Y-%m-%dT%H:%M:%SZ"),
                "end": utc(to_s, "%Y-%m-%dT%H:%M:%SZ"),
                "signal_type": "co2_moer",
            }
            slots += api.read(_slots, api.json("/v3/historical", params))
        return slots


def _slots(document: Any) -> list[FactorSlot]:
    units = document["meta"]["units"]
    if units != "lbs_co2_per_mwh":
        raise ValueError(f"units are {units!r}, not lbs_co2_per_mwh")
    source = f"WattTime {document['meta']['region']}, marginal"
    readings = [(epoch(entry["point_time"]), entry["value"]) for entry in document["data"]]
    points = []
    for (start_s, value), (next_s, _) in pairwise([*sorted(readings), (float("inf"), None)]):
        rate = value * _G_PER_KWH if value is not None else None
        points.append((start_s, min(next_s, start_s + _STEP_S), rate, False))
    return slots_of(points, source)
