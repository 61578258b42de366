"""Which object reads which `source` of `grid.location`; a site brings its own through an entry point.

The entry point's group is `scarbon.grid`. Its name is what stands under `name` in `{source: plugin, name: …,
options: {…}}`; it loads a callable `(zone, options) -> IntensitySource`.
"""

from __future__ import annotations

from accounting.sources import IntensitySource, SourceError
from collectors.grid.file import FileIntensity
from collectors.grid.static import StaticIntensity
from site_config.errors import near
from site_config.factors import FileGrid, Grid, GridSource, PluginGrid, StaticGrid

ENTRY_POINT_GROUP = "scarbon.grid"


def grid_sources(grid: Grid) -> tuple[IntensitySource, ...]:
    """Return the sources of `grid.location` in its order. Raise `SourceError` where one cannot be made."""
    return tuple(_source(declared, grid.zone) for declared in grid.location)


def _source(declared: GridSource, zone: str) -> IntensitySource:
    match declared:
        case FileGrid():
            return FileIntensity(declared.path)
        case StaticGrid():
            return StaticIntensity(zone)
        case PluginGrid():
            return _plugin(declared, zone)


def _plugin(declared: PluginGrid, zone: str) -> IntensitySource:
    from importlib.metadata import entry_points

    plugins = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    if declared.name not in plugins:
        guess = near(declared.name, plugins)
        raise SourceError(f"no plugin {declared.name!r} of the group {ENTRY_POINT_GROUP} is installed{guess}")
    source: IntensitySource = plugins[declared.name].load()(zone, declared.options)
    return source
