"""How the host part of a cluster's energy is found: the section `host` of a cluster, and the meters known by name.

The presets stand in `tables/host_meters.csv`, a row each, with where the metric is documented.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from site_config.errors import near
from site_config.section import NotNegative, Positive, Section, Text, shown, wrong, wrong_at
from site_config.server import Labels, PrometheusServer
from site_config.tables import rows

#: What a unit is in W (a power, so the query gives a gauge) or in J (an energy: the query gives a counter).
POWER_UNITS: Mapping[str, float] = MappingProxyType({"mW": 1e-3, "W": 1.0, "kW": 1e3})
ENERGY_UNITS: Mapping[str, float] = MappingProxyType({"mJ": 1e-3, "J": 1.0, "kJ": 1e3, "Wh": 3.6e3, "kWh": 3.6e6})


@dataclass(frozen=True, slots=True)
class HostMeter:
    """A way to ask Prometheus for the power or the energy of nodes.

    `query` is PromQL in which `$match` stands for label matchers of the site. Series of one node whose labels `adds_up`
    differ are parts of it.
    """

    query: str
    unit: str
    node_label: str
    adds_up: tuple[str, ...]
    includes_gpus: bool
    reference: str


@cache
def host_meters() -> Mapping[str, HostMeter]:
    """The presets by name."""
    return MappingProxyType(
        {
            row["preset"]: HostMeter(
                query=row["query"],
                unit=row["unit"],
                node_label=row["node_label"],
                adds_up=tuple(name for name in row["adds_up"].split("|") if name),
                includes_gpus=row["includes_gpus"] == "yes",
                reference=row["reference"],
            )
            for row in rows("host_meters.csv")
        }
    )


def _preset(value: str) -> str:
    if value not in host_meters():
        raise wrong(f"must be one of {', '.join(host_meters())}, but is {shown(value)}{near(value, host_meters())}")
    return value


def _pattern(value: str) -> str:
    try:
        groups = re.compile(value).groups
    except re.error as error:
        raise wrong(f"is no regular expression: {error}") from None
    if groups != 1:
        raise wrong("must have one group (…), which is the node's name in Slurm")
    return value


class HostNode(Section):
    """What some nodes are, where it is not asked of Slurm."""

    cpus: Annotated[int, Field(gt=0)] | None = None  # as Slurm counts them; None: Slurm is asked
    memory_mb: Positive | None = None  # Slurm's RealMemory, MiB
    idle_w: NotNegative | None = None  # what a node draws with no job on it, without its GPUs


class Host(Section):
    """How the energy of a node's CPUs, memory and the rest is found."""

    method: Literal["model", "prometheus", "slurm", "none"] = "none"
    cpu_w_per_core: NotNegative | None = None
    memory_w_per_gb: NotNegative = 0.3725  # Green Algorithms
    prometheus: PrometheusServer | None = None  # absent: the one of `gpu`
    preset: Annotated[Text, AfterValidator(_preset)] | None = None
    match: Labels = Field(default_factory=dict)  # label matchers added to a preset's query
    query: Text | None = None  # PromQL of the site's own: each node's power or energy
    unit: Literal["mW", "W", "kW", "mJ", "J", "kJ", "Wh", "kWh"] | None = None  # of the query; absent: W
    node_label: Text | None = None  # the label that names the node; absent: the preset's, else instance
    node_pattern: Annotated[Text, AfterValidator(_pattern)] | None = None  # its group is the node's name in that label
    includes_gpus: bool | None = None  # whether the node's meter has its GPUs, too; absent: the preset's
    step_s: Positive = 30.0  # how often a query that is no plain metric is evaluated
    max_gap_s: Positive = 600.0  # a longer gap between samples is counted as interpolated
    nodes: dict[Text, HostNode] = Field(default_factory=dict)  # by Slurm's host lists: n[1-16]
    idle_w: NotNegative | None = None  # of every node that has no figure of its own

    @model_validator(mode="after")
    def _method_has_its_figures(self) -> Self:
        if self.method == "model" and self.cpu_w_per_core is None:
            raise wrong("method: model needs cpu_w_per_core, a core's share of the CPU's TDP in watts")
        if self.method == "prometheus":
            if (self.query is None) == (self.preset is None):
                raise wrong(
                    f"method: prometheus needs either preset ({', '.join(host_meters())}) or query, "
                    "PromQL that gives each node's power or energy"
                )
            if self.query is not None and self.match:
                raise wrong_at(("match",), "goes with a preset; write the matchers into the query")
            if self.preset is not None and self.unit is not None:
                raise wrong_at(("unit",), "goes with a query; a preset has its own")
        return self

    @property
    def meter(self) -> HostMeter | None:
        """What Prometheus is asked: the preset, or the site's own query, with the label and the rest as declared."""
        if self.method != "prometheus":
            return None
        preset = None if self.preset is None else host_meters()[self.preset]
        query, unit = (self.query or "", self.unit or "W") if preset is None else (preset.query, preset.unit)
        includes = self.includes_gpus if preset is None or self.includes_gpus is not None else preset.includes_gpus
        return HostMeter(
            query=query,
            unit=unit,
            node_label=self.node_label or ("instance" if preset is None else preset.node_label),
            adds_up=() if preset is None else preset.adds_up,
            includes_gpus=bool(includes),
            reference="site.yaml" if preset is None else preset.reference,
        )
