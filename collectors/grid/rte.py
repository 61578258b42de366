"""Grid intensity from RTE's éCO2mix: France, direct emissions, in quarters of an hour.

The consolidated data set is asked first; what it has not yet is taken from the real-time one, as estimated.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from accounting.model import FactorSlot
from accounting.sources import SourceError
from collectors.grid.http import Api, epoch, slots_of, utc, windows
from site_config.grid import RteGrid

_STEP_S = 900.0
_COARSE_STEP_S = 1800.0  # older records hold for half an hour
_PAGE = 100
_LONGEST_S = 90 * 86_400.0  # the service pages through 10,000 records and no more
_CONSOLIDATED, _REAL_TIME = "eco2mix-national-cons-def", "eco2mix-national-tr"


class Rte:
    """France."""

    name = "rte"

    def __init__(self, declared: RteGrid) -> None:
        self._declared = declared

    def slots(self, start_s: float, end_s: float) -> Iterator[FactorSlot]:
        """Yield the slots that overlap [start_s, end_s). Raise `SourceError` where the service fails."""
        api = Api(self.name, self._declared.url, self._declared.timeout_s)
        known_until_s = start_s
        for slot in self._dataset(api, _CONSOLIDATED, start_s, end_s):
            known_until_s = slot.end_s
            yield slot
        if known_until_s < end_s:
            recent = self._dataset(api, _REAL_TIME, known_until_s, end_s)
            yield from (slot for slot in recent if slot.start_s >= known_until_s)

    def _dataset(self, api: Api, dataset: str, start_s: float, end_s: float) -> Iterator[FactorSlot]:
        estimated = dataset == _REAL_TIME
        source = f"RTE éCO2mix, direct, {'real time' if estimated else 'consolidated'}"
        records: list[tuple[float, object]] = []
        trouble: SourceError | None = None
        try:
            for page in self._pages(api, dataset, start_s, end_s):
                records += page
        except SourceError as error:
            trouble = error
        yield from api.read(lambda found: _slots(found, source, estimated, end_s), records)
        if trouble is not None:
            raise trouble

    def _pages(self, api: Api, dataset: str, start_s: float, end_s: float) -> Iterator[list[tuple[float, object]]]:
        path = f"/api/explore/v2.1/catalog/datasets/{dataset}/records"
        for from_s, to_s in windows(start_s, end_s, _LONGEST_S, _STEP_S):
            span = " TO ".join(f"date'{utc(at_s, '%Y-%m-%dT%H:%M:%SZ')}'" for at_s in (from_s, to_s))
            offset = 0
            while True:
                params = {
                    "select": "taux_co2,date_heure",
                    "where": f"date_heure in [{span}] and taux_co2 is not null",
                    "order_by": "date_heure",
                    "limit": str(_PAGE),
                    "offset": str(offset),
                }
                page = api.read(_records, api.json(path, params))
                yield page
                offset += _PAGE
                if len(page) < _PAGE:
                    break


def _records(document: Any) -> list[tuple[float, object]]:
    return [(epoch(entry["date_heure"]), entry["taux_co2"]) for entry in document["results"]]


def _slots(records: list[tuple[float, object]], source: str, estimated: bool, end_s: float) -> list[FactorSlot]:
    """A record holds until the next one where that is near, else for a step."""
    points = []
    for (start_s, value), (next_s, _) in pairwise([*records, (float("inf"), None)]):
        until_s = next_s if next_s - start_s <= _COARSE_STEP_S else start_s + _STEP_S
        if start_s < end_s and start_s < until_s:
            points.append((start_s, until_s, value, estimated))
    return slots_of(points, source, "direct")
