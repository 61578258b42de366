"""The sources of grid intensity that `grid.location` may name, and what each needs to know.

Hosts have their public address as a default and can be replaced, by a proxy of the site's own for instance.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, TypeVar, get_args

from pydantic import Field, ValidationInfo, model_validator

from site_config.errors import near
from site_config.section import FilePath, HttpUrl, NotNegative, Positive, Section, Text, each, shown, wrong, wrong_at
from site_config.server import PrometheusServer


class FileGrid(Section):
    """A CSV file: start,end,gco2e_per_kwh[,estimated]."""

    source: Literal["file"]
    path: FilePath


class StaticGrid(Section):
    """The bundled table of yearly means."""

    source: Literal["static"] = "static"


class PrometheusGrid(Section):
    """PromQL that gives one series in gCO2e/kWh; each value holds for a step."""

    source: Literal["prometheus"]
    prometheus: PrometheusServer
    query: Text
    step_s: Positive = 900.0


class _Service(Section):
    """A service on the network."""

    timeout_s: Positive = 30.0


class _KeyService(_Service):
    """A service that wants a key."""

    token_file: FilePath | None = None
    token_env: Text | None = None

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        if (self.token_file is None) == (self.token_env is None):
            raise wrong("needs its key, as token_file or token_env (one of them)")
        return self


class ElectricityMapsGrid(_KeyService):
    """Electricity Maps: hourly, flow-traced."""

    source: Literal["electricity_maps"]
    zone: Text = Field(description="as Electricity Maps calls it, for example FR")
    factors: Literal["lifecycle", "direct"] = "lifecycle"
    url: HttpUrl = "https://api.electricitymaps.com"


class NesoGrid(_Service):
    """NESO's Carbon Intensity API: Great Britain, or one of its regions (forecasts only)."""

    source: Literal["neso"]
    region: Annotated[int, Field(ge=1, le=17)] | None = None
    url: HttpUrl = "https://api.carbonintensity.org.uk"


class RteGrid(_Service):
    """RTE's éCO2mix: France; consolidated where published, real time before."""

    source: Literal["rte"]
    url: HttpUrl = "https://odre.opendatasoft.com"


class EnerginetGrid(_Service):
    """Energinet: the two areas of Denmark."""

    source: Literal["energinet"]
    area: Literal["DK1", "DK2"]
    url: HttpUrl = "https://api.energidataservice.dk"


class EntsoeGrid(_KeyService):
    """ENTSO-E's Transparency Platform: Europe; generation by fuel, times a factor for each fuel."""

    source: Literal["entsoe"]
    zone: Text = Field(description="the bidding zone's EIC code, for example 10YNL----------L")
    factors: dict[Text, NotNegative] = Field(default_factory=dict)  # gCO2e/kWh by fuel, over those of the table
    url: HttpUrl = "https://web-api.tp.entsoe.eu"


class EmberGrid(_KeyService):
    """Ember: monthly means by country."""

    source: Literal["ember"]
    entity: Text | None = None  # absent: grid.zone
    url: HttpUrl = "https://api.ember-energy.org"


class PluginGrid(Section):
    """A source of the site's own, through the entry point `scarbon.grid`."""

    source: Literal["plugin"]
    name: Text
    options: dict[str, Any] = Field(default_factory=dict)


class WattTime(_Service):
    """WattTime's marginal signal: for advice on when to run, never for totals."""

    source: Literal["watttime"]
    region: Text
    username: Text
    password_file: FilePath
    url: HttpUrl = "https://api.watttime.org"


AdviceSource = WattTime | ElectricityMapsGrid | NesoGrid

GridSource = (
    FileGrid
    | StaticGrid
    | PrometheusGrid
    | ElectricityMapsGrid
    | NesoGrid
    | RteGrid
    | EnerginetGrid
    | EntsoeGrid
    | EmberGrid
    | PluginGrid
)

S = TypeVar("S", bound=Section)


def _by_name(union: Any) -> dict[str, Any]:
    """The sections of a union by what stands under `source`."""
    return {name: kind for kind in get_args(union) for name in get_args(kind.model_fields["source"].annotation)}


_SOURCES: dict[str, type[GridSource]] = _by_name(GridSource)
_ADVICE: dict[str, type[AdviceSource]] = _by_name(AdviceSource)


def _read(entry: Any, kinds: dict[str, type[S]], example: str, info: ValidationInfo) -> S:
    """Read a source by its name, so that an error speaks of that source's keys alone."""
    name = entry.get("source") if isinstance(entry, dict) else None
    if not isinstance(name, str):
        raise wrong(f"must be a mapping such as {example}; the sources are {', '.join(kinds)}")
    if name not in kinds:
        if name == "watttime":
            raise wrong_at(("source",), "watttime gives marginal intensities, which never make totals; see grid.advice")
        raise wrong_at(("source",), f"must be one of {', '.join(kinds)}, but is {shown(name)}{near(name, kinds)}")
    return kinds[name].model_validate(entry, context=info.context)


def read_sources(value: Any, info: ValidationInfo) -> tuple[GridSource, ...]:
    """Read the sources of totals, in their order."""
    sources = each(value, lambda entry: _read(entry, _SOURCES, "{source: static}", info))
    if not sources:
        raise wrong("must name at least one source, for example [{source: static}]")
    return sources


def read_advice(value: Any, info: ValidationInfo) -> AdviceSource:
    """Read the source of forecasts."""
    return _read(value, _ADVICE, "{source: neso}", info)
