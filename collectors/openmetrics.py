"""GPU energy from a recording: OpenMetrics text with time stamps, as `promtool tsdb dump-openmetrics` writes it.

For the demo, for tests, and for sites that keep their samples in files. The file is read once, the first time
that it is asked for samples.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import get_args

import numpy as np
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from accounting.model import GpuSamples, Reject
from accounting.sources import SourceError
from collectors.dcgm import DCGM, GpuSeries, Quantity, gather
from site_config.gpu import GpuMeter


class OpenMetricsSource:
    """The GPUs of a cluster, from a file."""

    name = "openmetrics"

    def __init__(self, cluster: str, path: Path, meter: GpuMeter = DCGM) -> None:
        self.cluster = cluster
        self._path = path
        self._meter = meter

    def samples(
        self, start_s: float, end_s: float, uuids: Collection[str] | None = None
    ) -> Iterator[GpuSamples | Reject]:
        """Yield the samples in [start_s, end_s] of each GPU. SourceError where the file is not what it should be."""
        for one in gather(self.cluster, self._between(start_s, end_s), self._meter):
            if uuids is None or (isinstance(one, GpuSamples) and one.device.uuid in uuids):
                yield one

    def _between(self, start_s: float, end_s: float) -> Iterator[GpuSeries]:
        for series in self._series:
            span = slice(
                int(np.searchsorted(series.time_s, start_s, side="left")),
                int(np.searchsorted(series.time_s, end_s, side="right")),
            )
            if span.stop > span.start:
                yield replace(series, time_s=series.time_s[span], value=series.value[span])

    @cached_property
    def _series(self) -> list[GpuSeries]:
        """Every series of the file. Its labels are parsed once for each series, not once for each sample."""
        times: dict[str, list[float]] = defaultdict(list)
        values: dict[str, list[float]] = defaultdict(list)
        ended = False
        try:
            with self._path.open(encoding="utf-8") as lines:
                for number, line in enumerate(lines, 1):
                    if line.startswith("#"):
                        ended = line.startswith("# EOF")
                        continue
                    try:
                        name, value, time = line.rsplit(" ", 2)
                        times[name].append(float(time))
                        values[name].append(float(value))
                    except ValueError:
                        raise self._error(f"line {number} is not `series value time`: {line.strip()[:80]!r}") from None
        except (OSError, UnicodeDecodeError) as error:
            raise self._error(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
        if not ended:
            raise self._error("does not end with `# EOF`: it was cut short")
        return [series for name in times if (series := self._one(name, times[name], values[name])) is not None]

    def _one(self, name: str, times: list[float], values: list[float]) -> GpuSeries | None:
        known = self._quantities.get(name.partition("{")[0])
        if known is None:
            return None
        quantity, scale, rank = known
        try:
            families = list(text_string_to_metric_families(f"{name} 0\n# EOF\n"))  # type: ignore[no-untyped-call]
        except ValueError as error:
            raise self._error(f"has a series that is not OpenMetrics: {name[:80]!r}: {error}") from None
        time_s, value = np.array(times), np.array(values)
        order = np.argsort(time_s, kind="stable")
        return GpuSeries(quantity, families[0].samples[0].labels, time_s[order], value[order] * scale, rank)

    @cached_property
    def _quantities(self) -> dict[str, tuple[Quantity, float, int]]:
        """By metric: what it is, in which unit, and its place among those for the same quantity."""
        return {
            name: (quantity, metric.scale, rank)
            for quantity in get_args(Quantity)
            if (metric := self._meter.metrics.get(quantity)) is not None
            for rank, name in enumerate(metric.names)
        }

    def _error(self, what: str) -> SourceError:
        return SourceError(f"the recording {self._path} {what}", "check gpu.openmetrics.path in the configuration")
