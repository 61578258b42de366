"""Grid intensity from ENTSO-E's Transparency Platform: what each kind of plant generated, times a factor by fuel.

The XML is read here, with the standard library: entsoe-py would bring pandas and BeautifulSoup along, and its frames
hide which points were missing. Imports and exports are not traced: this is the zone's own generation.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Iterator, Mapping

from accounting.model import FactorSlot
from accounting.sources import SourceError
from collectors.grid.http import Api, epoch, key, slots_of, utc, windows
from site_config.grid import EntsoeGrid
from site_config.tables import fuel_factors

_HOUR_S = 3600.0
_DAY_S = 86_400.0
_LONGEST_S = 365 * _DAY_S
_STEPS_S = {"PT15M": 900.0, "PT30M": 1800.0, "PT60M": 3600.0}

#: Generation without a known factor (waste, other) may be this share of a slot; with more, the slot is unknown.
MOST_UNKNOWN = 0.1

_FUELS = {
    "B01": "biomass",
    "B02": "coal",  # lignite
    "B03": "coal",  # gas made from coal
    "B04": "gas",
    "B05": "coal",
    "B06": "petroleum",
    "B07": "petroleum",  # oil shale
    "B08": "coal",  # peat
    "B09": "geothermal",
    "B10": "hydro",  # pumped storage
    "B11": "hydro",
    "B12": "hydro",
    "B13": "marine",
    "B14": "nuclear",
    "B15": "other renewable",
    "B16": "solar",
    "B17": "waste",
    "B18": "wind",
    "B19": "wind",
    "B20": "other",
}

#: By slot (start, end), by kind of plant: megawatts.
Generation = dict[tuple[float, float], dict[str, float]]


class Entsoe:
    """One bidding zone."""

    name = "entsoe"

    def __init__(self, declared: EntsoeGrid) -> None:
        self._declared = declared

    def slots(self, start_s: float, end_s: float) -> Iterator[FactorSlot]:
        """Yield the slots that overlap [start_s, end_s). Raise `SourceError` where the service fails."""
        declared = self._declared
        token = key(declared.token_file, declared.token_env)
        api = Api(self.name, declared.url, declared.timeout_s)
        factors = {**fuel_factors(), **declared.factors}
        basis = None if declared.factors else "life cycle"  # that of the table; the site may have others
        source = f"ENTSO-E {declared.zone}, generation by fuel"
        for from_s, to_s in windows(start_s, end_s, _LONGEST_S, _HOUR_S):
            params = {
                "securityToken": token,
                "documentType": "A75",  # actual generation by type
                "processType": "A16",  # realised
                "in_Domain": declared.zone,
                "periodStart": utc(from_s, "%Y%m%d%H%M"),
                "periodEnd": utc(to_s, "%Y%m%d%H%M"),
            }
            generation = api.read(_generation, api.body("/api", params))
            yield from slots_of(_intensity(generation, factors), source, basis)


def _generation(body: bytes) -> Generation:
    if b"<!DOCTYPE" in body:  # the service sends none, and an entity in one could expand without end
        raise ValueError("a document type in the XML")
    try:
        root = ET.fromstring(body)
    except ET.ParseError as error:
        raise ValueError(f"not XML: {error}") from None
    if _name(root) == "Acknowledgement_MarketDocument":
        reason = _text(root, "text")
        if "No matching data" in reason:
            return {}
        raise SourceError(f"says: {reason}", "check the keys of entsoe under grid.location")
    if _name(root) != "GL_MarketDocument":
        raise ValueError(f"the XML is a {_name(root)}")
    generation: Generation = defaultdict(lambda: defaultdict(float))
    for series in _all(root, "TimeSeries"):
        if _all(series, "outBiddingZone_Domain.mRID"):
            continue  # consumption, of pumped storage for instance
        kind = _text(series, "psrType")
        for period in _all(series, "Period"):
            for start_s, end_s, megawatts in _points(period, repeats=_curve(series) == "A03"):
                generation[start_s, end_s][kind] += megawatts
    return generation


def _points(period: ET.Element, repeats: bool) -> Iterator[tuple[float, float, float]]:
    """Yield a period's values. On curve A03 a position that is left out repeats the one before it."""
    start_s, end_s = epoch(_text(period, "start")), epoch(_text(period, "end"))
    step_s = _STEPS_S[_text(period, "resolution")]
    values = {int(_text(point, "position")): float(_text(point, "quantity")) for point in _all(period, "Point")}
    last: float | None = None
    for position in range(1, round((end_s - start_s) / step_s) + 1):
        value = values.get(position, last if repeats else None)
        last = value
        if value is not None:
            yield start_s + (position - 1) * step_s, start_s + position * step_s, value


def _intensity(
    generation: Generation, factors: Mapping[str, float]
) -> Iterator[tuple[float, float, float | None, bool]]:
    """Divide emissions by generation, slot by slot; a slot without a kind of plant that its day has is unknown."""
    kinds: dict[float, set[str]] = defaultdict(set)
    for (start_s, _), megawatts in generation.items():
        kinds[start_s // _DAY_S].update(megawatts)
    for (start_s, end_s), megawatts in generation.items():
        total = sum(megawatts.values())
        by_factor = [(factors.get(_FUELS.get(kind, kind)), amount) for kind, amount in megawatts.items()]
        known = sum(amount for factor, amount in by_factor if factor is not None)
        if len(megawatts) < len(kinds[start_s // _DAY_S]) or known <= 0 or known < (1 - MOST_UNKNOWN) * total:
            yield start_s, end_s, None, True
        else:
            emitted = sum(factor * amount for factor, amount in by_factor if factor is not None)
            yield start_s, end_s, emitted / known, known < total


def _name(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


def _all(element: ET.Element, name: str) -> list[ET.Element]:
    return [child for child in element.iter() if _name(child) == name]


def _text(element: ET.Element, name: str) -> str:
    for child in _all(element, name):
        if child.text and child.text.strip():
            return child.text.strip()
    raise KeyError(name)


def _curve(series: ET.Element) -> str:
    found = _all(series, "curveType")
    return (found[0].text or "") if found else ""
