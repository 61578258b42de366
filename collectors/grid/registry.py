"""Which object reads which `source` of `grid.location`; a site brings its own through an entry point.

The entry point's group is `scarbon.grid`. Its name is what stands under `name` in `{source: plugin, name: …,
options: {…}}`; it loads a callable `(zone, options) -> IntensitySource`.
"""

from __future__ import annotations

from accounting.sources import ForecastSource, IntensitySource, SourceError
from collectors.grid.chain import MAX_G_PER_KWH
from collectors.grid.kept import Ask, KeptSource, asked
from collectors.grid.store import SlotStore
from site_config import grid as declare
from site_config.errors import near
from site_config.factors import Grid

ENTRY_POINT_GROUP = "scarbon.grid"


def grid_sources(grid: Grid, store: SlotStore | None = None, ask: Ask = "new") -> tuple[IntensitySource, ...]:
    """Return the sources of `grid.location` in its order; what services answer is kept in `store`, where one is given.

    Raise `SourceError` where one cannot be made.
    """
    return tuple(kept(grid_source(declared, grid.zone), declared, grid.zone, store, ask) for declared in grid.location)


def kept(
    source: IntensitySource, declared: declare.GridSource, zone: str, store: SlotStore | None, ask: Ask
) -> IntensitySource:
    """Return the source with its answers kept, where it is asked over the network."""
    if store is None or isinstance(declared, declare.FileGrid | declare.StaticGrid):
        return source
    by_zone = isinstance(declared, declare.EmberGrid | declare.PluginGrid)
    return KeptSource(source, store, asked(declared, zone if by_zone else ""), 0.0, MAX_G_PER_KWH, ask)


def grid_source(declared: declare.GridSource, zone: str) -> IntensitySource:
    """Return the object that reads one source; a provider's module is imported only where it is used."""
    match declared:
        case declare.FileGrid():
            from collectors.grid.file import FileIntensity

            return FileIntensity(declared.path)
        case declare.StaticGrid():
            from collectors.grid.static import StaticIntensity

            return StaticIntensity(zone)
        case declare.PrometheusGrid():
            from collectors.grid.prometheus import PrometheusFactor

            return PrometheusFactor(declared.prometheus, declared.query, declared.step_s)
        case declare.ElectricityMapsGrid():
            from collectors.grid.electricity_maps import ElectricityMaps

            return ElectricityMaps(declared)
        case declare.NesoGrid():
            from collectors.grid.neso import Neso

            return Neso(declared)
        case declare.RteGrid():
            from collectors.grid.rte import Rte

            return Rte(declared)
        case declare.EnerginetGrid():
            from collectors.grid.energinet import Energinet

            return Energinet(declared)
        case declare.EntsoeGrid():
            from collectors.grid.entsoe import Entsoe

            return Entsoe(declared)
        case declare.EmberGrid():
            from collectors.grid.ember import Ember

            return Ember(declared, zone)
        case declare.PluginGrid():
            return _plugin(declared, zone)


def forecast_source(declared: declare.AdviceSource) -> ForecastSource:
    """Return the object that reads forecasts, for advice on when to run."""
    match declared:
        case declare.WattTime():
            from collectors.grid.watttime import WattTime

            return WattTime(declared)
        case declare.ElectricityMapsGrid():
            from collectors.grid.electricity_maps import ElectricityMaps

            return ElectricityMaps(declared)
        case declare.NesoGrid():
            from collectors.grid.neso import Neso

            return Neso(declared)


def _plugin(declared: declare.PluginGrid, zone: str) -> IntensitySource:
    from importlib.metadata import entry_points

    plugins = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    if declared.name not in plugins:
        guess = near(declared.name, plugins)
        raise SourceError(f"no plugin {declared.name!r} of the group {ENTRY_POINT_GROUP} is installed{guess}")
    source: IntensitySource = plugins[declared.name].load()(zone, declared.options)
    return source
