"""How the GPUs' meters are called: the exporters known by name, and what a site says of one of its own.

The presets stand in `tables/gpu_meters.csv`, a row for each metric and label, with where it is documented.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from site_config.errors import near
from site_config.section import Positive, Section, Share, Text, shown, wrong
from site_config.tables import rows

CUSTOM = "custom"

#: What a unit is in J, W or as a ratio; `1` is a ratio.
UNITS: Mapping[str, float] = MappingProxyType(
    {
        **{"uJ": 1e-6, "mJ": 1e-3, "J": 1.0, "kJ": 1e3, "Wh": 3.6e3, "kWh": 3.6e6},
        **{"mW": 1e-3, "W": 1.0, "kW": 1e3},
        **{"1": 1.0, "percent": 1e-2},
    }
)


@dataclass(frozen=True, slots=True)
class GpuMetric:
    """A quantity's series: metrics, of which the first that a GPU has counts, or PromQL, evaluated each `step_s`."""

    names: tuple[str, ...]
    scale: float  # to J, W or a ratio
    step_s: float | None = None


@dataclass(frozen=True, slots=True)
class GpuMeter:
    """What an exporter calls things. `energy` is a counter, `power` and `activity` (of MIG instances) are gauges.

    `labels` by what they tell (uuid, node, index, model, job, mig, profile): of several the first that a series has.
    """

    metrics: Mapping[str, GpuMetric]
    labels: Mapping[str, tuple[str, ...]]


@cache
def gpu_meters() -> Mapping[str, GpuMeter]:
    """The presets by name."""
    metrics: dict[str, dict[str, GpuMetric]] = defaultdict(dict)
    labels: dict[str, dict[str, tuple[str, ...]]] = defaultdict(dict)
    for row in rows("gpu_meters.csv"):
        names = tuple(row["names"].split("|"))
        what, _, is_label = row["what"].partition(" ")
        if is_label:
            labels[row["preset"]][what] = names
        else:
            metrics[row["preset"]][what] = GpuMetric(names, UNITS[row["unit"]])
    return MappingProxyType({name: GpuMeter(metrics[name], labels[name]) for name in metrics})


def _preset(value: str) -> str:
    known = (*gpu_meters(), CUSTOM)
    if value not in known:
        raise wrong(f"must be one of {', '.join(known)}, but is {shown(value)}{near(value, known)}")
    return value


Preset = Annotated[Text, AfterValidator(_preset)]


class _Metric(Section):
    """A metric by its name, or PromQL that gives a series for each GPU."""

    metric: Text | None = None
    query: Text | None = None
    step_s: Positive = 30.0  # how often a query is evaluated

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.metric is None) == (self.query is None):
            raise wrong("needs either metric, a name, or query, PromQL, and not both")
        return self

    def named(self, unit: str) -> GpuMetric:
        """As the collector wants it."""
        if self.query is not None:
            return GpuMetric((self.query,), UNITS[unit], self.step_s)
        assert self.metric is not None
        return GpuMetric((self.metric,), UNITS[unit])


class EnergyMetric(_Metric):
    """A counter of energy."""

    unit: Literal["uJ", "mJ", "J", "kJ", "Wh", "kWh"]


class PowerMetric(_Metric):
    """A gauge of power."""

    unit: Literal["mW", "W", "kW"]


class ActivityMetric(_Metric):
    """A gauge of how busy a MIG instance is."""

    unit: Literal["1", "percent"] = "1"


class GpuLabels(Section):
    """What the site's series call the labels that Scarbon reads. Without a UUID, node and index name a GPU."""

    uuid: Text | None = None
    node: Text = "instance"
    index: Text | None = None
    model: Text | None = None
    job: Text | None = None
    mig: Text | None = None
    profile: Text | None = None


class GpuMetrics(Section):
    """A site's own metrics, for `preset: custom`."""

    energy: EnergyMetric | None = None
    power: PowerMetric | None = None
    activity: ActivityMetric | None = None
    labels: GpuLabels = GpuLabels()

    @model_validator(mode="after")
    def _something_to_read(self) -> Self:
        if self.energy is None and self.power is None:
            raise wrong("needs energy, power, or both")
        if self.labels.uuid is None and self.labels.index is None:
            raise wrong("needs labels: {uuid: …}, or {index: …} to tell a node's GPUs apart")
        return self

    def meter(self) -> GpuMeter:
        """As the collector wants it."""
        given = {"energy": self.energy, "power": self.power, "activity": self.activity}
        metrics = {what: one.named(one.unit) for what, one in given.items() if one is not None}
        labels = {what: (name,) for what, name in self.labels.model_dump().items() if name is not None}
        return GpuMeter(metrics, labels)


class GpuModel(Section):
    """What a GPU that no sample tells of is taken to draw: a part of its rated power, marked as modelled."""

    load: Annotated[Share, Field(description="0 to 1")]
