from collections.abc import Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from accounting.model import FactorSlot
from accounting.sources import SourceError
from collectors.grid.registry import grid_sources
from site_config.factors import Grid


class OwnMeter:
    name = "own-meter"

    def __init__(self, zone: str, options: dict[str, Any]) -> None:
        self.zone, self.options = zone, options

    def slots(self, start_s: float, end_s: float) -> Sequence[FactorSlot]:
        return [FactorSlot(start_s, end_s, float(self.options["value"]), self.name)]


def test_the_sources_stand_in_the_order_of_the_configuration(tmp_path: Path) -> None:
    declared = ({"source": "file", "path": str(tmp_path / "a.csv")}, {"source": "static"})
    file, static = grid_sources(Grid(zone="FRA", location=declared))
    assert (file.name, static.name) == ("file", "static")


def plugin(name: str) -> Grid:
    return Grid(zone="FRA", location=({"source": "plugin", "name": name, "options": {"value": 33}},))


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("own-meter", f"{__name__}:OwnMeter", "scarbon.grid")
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [point] if group == "scarbon.grid" else [])
    monkeypatch.setattr(EntryPoint, "load", lambda self: OwnMeter)


@pytest.mark.usefixtures("installed")
def test_a_sites_own_source() -> None:
    (source,) = grid_sources(plugin("own-meter"))
    assert source.slots(0, 10) == [FactorSlot(0, 10, 33.0, "own-meter")]


@pytest.mark.usefixtures("installed")
def test_a_source_that_is_not_installed() -> None:
    with pytest.raises(SourceError, match=r"no plugin 'own_meter' .* did you mean 'own-meter'\?"):
        grid_sources(plugin("own_meter"))
