"""The meter of the whole site, from a CSV file or a Prometheus: stretches of time with the energy of each."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np

from accounting.arrays import Floats
from accounting.model import SiteReading
from accounting.sources import SourceError
from collectors.prometheus import Prometheus
from collectors.spans import SpansFile
from site_config.host import ENERGY_UNITS, POWER_UNITS

J_PER_KWH = 3.6e6

#: No machine draws as much: a thousand terawatt hours.
MOST_KWH = 1e15


class FileSiteMeter:
    """Readings that somebody wrote down, or a building's system exported: `start,end,kwh`."""

    def __init__(self, path: Path) -> None:
        self._file = SpansFile(path, "kwh", "kWh", MOST_KWH, "`csv` under site_meter")

    def stretches(self, start_s: float, end_s: float) -> Iterator[SiteReading]:
        """What was metered, by the file's stretches that overlap [start_s, end_s). SourceError on a bad file."""
        for span in self._file.read():
            if span.start_s < end_s and span.end_s > start_s:
                yield SiteReading(span.start_s, span.end_s, span.value * J_PER_KWH)


class PrometheusSiteMeter:
    """A query that gives the site's power, or its energy as a counter."""

    def __init__(self, prometheus: Prometheus, query: str, unit: str, step_s: float, max_gap_s: float) -> None:
        self._prometheus = prometheus
        self._query = query
        self._unit = unit
        self._step_s = step_s
        self._max_gap_s = max_gap_s

    def stretches(self, start_s: float, end_s: float) -> Iterator[SiteReading]:
        """What was metered between each two samples, as long as they are not too far apart.

        Power: trapezoids. A counter that falls began anew, and what lies across its fall is not known. SourceError
        where the server or the query fails.
        """
        time_s, value = self._samples(start_s, end_s)
        power = self._unit in POWER_UNITS
        scale = (POWER_UNITS if power else ENERGY_UNITS)[self._unit]
        samples = zip(time_s.tolist(), (value * scale).tolist(), strict=True)
        for (a, before), (b, after) in pairwise(samples):
            energy_j = (before + after) / 2 * (b - a) if power else after - before
            if b - a <= self._max_gap_s and energy_j >= 0:
                yield SiteReading(a, b, energy_j)

    def _samples(self, start_s: float, end_s: float) -> tuple[Floats, Floats]:
        """The series in order of time, each sample once; those that are no number are none."""
        time_s, value = np.zeros(0), np.zeros(0)
        labels = None
        for series in self._prometheus.over(self._query, start_s - self._step_s, end_s + self._step_s, self._step_s):
            if labels is not None and dict(series.labels) != labels:
                raise SourceError(f"site_meter: {self._query} gives several series", "make it one, for instance sum(…)")
            labels = dict(series.labels)
            sound = np.isfinite(series.value)
            time_s = np.concatenate([time_s, series.time_s[sound]])
            value = np.concatenate([value, series.value[sound]])
        time_s, first = np.unique(time_s, return_index=True)
        return time_s, value[first]
