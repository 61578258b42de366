"""Grid intensity from the bundled table of yearly means: the last resort, because a mean knows no hours."""

from __future__ import annotations

from collections.abc import Sequence

from accounting.model import FactorSlot
from accounting.sources import SourceError
from site_config.errors import near
from site_config.tables import grid_intensity


class StaticIntensity:
    """One zone's yearly mean, for any time."""

    name = "static"

    def __init__(self, zone: str) -> None:
        figures = grid_intensity()
        if zone not in figures:
            raise SourceError(
                f"no yearly figure for the zone {zone!r}{near(zone, figures)}", "choose another grid.zone"
            )
        self.figure = figures[zone]

    def slots(self, start_s: float, end_s: float) -> Sequence[FactorSlot]:
        """Return one slot over [start_s, end_s); its source names publisher and year."""
        source = f"{self.figure.source}: {self.figure.name}, mean of {self.figure.year}"
        return [FactorSlot(start_s, end_s, self.figure.gco2e_per_kwh, source, True, self.figure.basis)]
