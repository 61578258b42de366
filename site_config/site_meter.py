"""The meter of the whole site, against which the books are held: the section `site_meter`, if there is one."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from site_config.section import FilePath, Positive, Section, Text, wrong, wrong_at
from site_config.server import PrometheusServer


class SiteMeter(Section):
    """What the facility draws, cooling and losses included: a CSV file, or a query on a Prometheus."""

    csv: FilePath | None = None  # start,end,kwh
    prometheus: PrometheusServer | None = None
    query: Text | None = None  # PromQL that gives one series
    # Of the query: a power, or an energy that counts up.
    unit: Literal["mW", "W", "kW", "mJ", "J", "kJ", "Wh", "kWh"] | None = None
    step_s: Positive = 300.0  # how often the query is evaluated
    max_gap_s: Positive = 3600.0  # over a longer gap between samples nothing is compared

    @model_validator(mode="after")
    def _one_way_to_read_it(self) -> Self:
        if (self.csv is None) == (self.prometheus is None):
            raise wrong("needs either csv, a file start,end,kwh, or prometheus with query and unit")
        if self.csv is not None and (self.query is not None or self.unit is not None):
            raise wrong("query and unit go with prometheus; the figures of a file are in kWh")
        if self.prometheus is not None and (self.query is None or self.unit is None):
            raise wrong("needs query, PromQL that gives one series, and its unit (W, kW, J, kWh …)")
        if self.max_gap_s < self.step_s:
            raise wrong_at(("max_gap_s",), "must be at least step_s")
        return self
