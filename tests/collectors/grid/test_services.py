"""Each service in the shapes that its public documentation gives, its troubles included."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from accounting.model import FactorSlot
from accounting.sources import IntensitySource, SourceError
from collectors.grid.chain import fill
from collectors.grid.registry import grid_source
from collectors.grid.static import StaticIntensity
from site_config import grid as declare
from site_config.server import PrometheusServer
from tests.collectors.grid.service import Answer, Service

KEY = "s3cret-key"
HOUR = 3600.0
MIDNIGHT = 1_790_812_800.0  # 2026-10-01T00:00:00Z


def entsoe_xml(*series: str) -> str:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<GL_MarketDocument xmlns="urn:iec62325.351:tc57wg16:451-6:generationloaddocument:3:0">'
        + "".join(series)
        + "</GL_MarketDocument>"
    )


def entsoe_series(kind: str, *megawatts: float | None, out: bool = False, curve: str = "A01") -> str:
    points = "".join(
        f"<Point><position>{position}</position><quantity>{value}</quantity></Point>"
        for position, value in enumerate(megawatts, 1)
        if value is not None
    )
    side = "outBiddingZone_Domain.mRID" if out else "inBiddingZone_Domain.mRID"
    return (
        f'<TimeSeries><{side} codingScheme="A01">10YNL----------L</{side}><curveType>{curve}</curveType>'
        f"<MktPSRType><psrType>{kind}</psrType></MktPSRType><Period>"
        "<timeInterval><start>2026-10-01T00:00Z</start>"
        f"<end>2026-10-01T{len(megawatts):02}:00Z</end></timeInterval><resolution>PT60M</resolution>"
        f"{points}</Period></TimeSeries>"
    )


@dataclass
class Case:
    """A service, an answer that gives `values` from midnight on, and how an answer with another value looks."""

    declared: Callable[[str, Path], declare.GridSource]
    answer: Callable[[Any], str]  # with this value in the first slot, and 90 in the second
    empty: str
    step_s: float
    source: str  # what the slots say of themselves
    basis: str | None = None
    estimated: bool = False
    has_key: bool = True
    reads_xml: bool = False


def electricity_maps(value: Any) -> str:
    entry = {"zone": "DE", "temporalGranularity": "hourly", "emissionFactorType": "lifecycle", "flowTraced": True}
    first = {**entry, "carbonIntensity": value, "datetime": "2026-10-01T00:00:00Z", "isEstimated": False}
    second = {**entry, "carbonIntensity": 90, "datetime": "2026-10-01T01:00:00Z", "isEstimated": False}
    return json.dumps({"zone": "DE", "temporalGranularity": "hourly", "data": [first, second]})


def neso(value: Any) -> str:
    return json.dumps(
        {
            "data": [
                {
                    "from": "2026-10-01T00:00Z",
                    "to": "2026-10-01T00:30Z",
                    "intensity": {"forecast": value, "actual": value, "index": "moderate"},
                },
                {
                    "from": "2026-10-01T00:30Z",
                    "to": "2026-10-01T01:00Z",
                    "intensity": {"forecast": 266, "actual": 90, "index": "moderate"},
                },
            ]
        }
    )


def neso_region(value: Any) -> str:
    entries = [
        {
            "from": "2026-10-01T00:00Z",
            "to": "2026-10-01T00:30Z",
            "intensity": {"forecast": value, "index": "low"},
            "generationmix": [{"fuel": "gas", "perc": 40.1}],
        },
        {
            "from": "2026-10-01T00:30Z",
            "to": "2026-10-01T01:00Z",
            "intensity": {"forecast": 90, "index": "low"},
            "generationmix": [],
        },
    ]
    return json.dumps({"data": {"regionid": 13, "shortname": "London", "data": entries}})


def rte(value: Any) -> str:
    results = [
        {"taux_co2": value, "date_heure": "2026-10-01T02:00:00+02:00"},
        {"taux_co2": 90, "date_heure": "2026-10-01T00:15:00+00:00"},
    ]
    return json.dumps({"total_count": 2, "results": results})


def energinet(value: Any) -> str:
    records = [
        {
            "Minutes5UTC": "2026-10-01T00:00:00",
            "Minutes5DK": "2026-10-01T02:00:00",
            "PriceArea": "DK1",
            "CO2Emission": value,
        },
        {
            "Minutes5UTC": "2026-10-01T00:05:00",
            "Minutes5DK": "2026-10-01T02:05:00",
            "PriceArea": "DK1",
            "CO2Emission": 90,
        },
    ]
    return json.dumps({"total": 2, "limit": 0, "dataset": "CO2Emis", "records": records})


def ember(value: Any) -> str:
    entry = {"entity": "Germany", "entity_code": "DEU", "is_aggregate_entity": False}
    data = [
        {**entry, "date": "2026-10-01", "emissions_intensity_gco2_per_kwh": value},
        {**entry, "date": "2026-11-01", "emissions_intensity_gco2_per_kwh": 90},
    ]
    return json.dumps({"stats": {}, "data": data})


def prometheus(value: Any) -> str:
    first = "NaN" if value is None else str(value) if isinstance(value, int | float) else value
    values = [[MIDNIGHT, first], [MIDNIGHT + 900, "90"]]
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": [{"values": values}]}})


def entsoe(value: Any) -> str:
    """Coal at 1000 g/kWh and wind at 0, as the case declares them: of 1000 MW, as much coal as g/kWh are wanted."""
    wind = [None if value is None else 1000 - value if isinstance(value, int | float) else 1000, 910]
    return entsoe_xml(entsoe_series("B05", value, 90), entsoe_series("B19", *wind))


CASES = {
    "electricity_maps": Case(
        lambda url, key: declare.ElectricityMapsGrid(source="electricity_maps", zone="DE", token_file=key, url=url),
        electricity_maps,
        '{"zone": "DE", "temporalGranularity": "hourly", "data": []}',
        HOUR,
        "Electricity Maps DE, life cycle",
        "life cycle",
    ),
    "neso": Case(
        lambda url, key: declare.NesoGrid(source="neso", url=url),
        neso,
        '{"data": []}',
        1800.0,
        "NESO Great Britain",
        "direct",
        has_key=False,
    ),
    "neso_region": Case(
        lambda url, key: declare.NesoGrid(source="neso", region=13, url=url),
        neso_region,
        '{"data": {"regionid": 13, "shortname": "London", "data": []}}',
        1800.0,
        "NESO region 13",
        "direct",
        estimated=True,
        has_key=False,
    ),
    "rte": Case(
        lambda url, key: declare.RteGrid(source="rte", url=url),
        rte,
        '{"total_count": 0, "results": []}',
        900.0,
        "RTE éCO2mix, direct, consolidated",
        "direct",
        has_key=False,
    ),
    "energinet": Case(
        lambda url, key: declare.EnerginetGrid(source="energinet", area="DK1", url=url),
        energinet,
        '{"total": 0, "limit": 0, "dataset": "CO2Emis", "records": []}',
        300.0,
        "Energinet DK1",
        "direct",
        has_key=False,
    ),
    "ember": Case(
        lambda url, key: declare.EmberGrid(source="ember", entity="DEU", token_file=key, url=url),
        ember,
        '{"stats": {}, "data": []}',
        31 * 24 * HOUR,
        "Ember DEU, monthly mean",
        "life cycle",
    ),
    "prometheus": Case(
        lambda url, key: declare.PrometheusGrid(
            source="prometheus", prometheus=PrometheusServer(url=url, token_file=key), query="grid", step_s=900.0
        ),
        prometheus,
        '{"status": "success", "data": {"resultType": "matrix", "result": []}}',
        900.0,
        "Prometheus grid",
    ),
    "entsoe": Case(
        lambda url, key: declare.EntsoeGrid(
            source="entsoe",
            zone="10YNL----------L",
            token_file=key,
            url=url,
            factors={"coal": 1000.0, "wind": 0.0},
        ),
        entsoe,
        "<Acknowledgement_MarketDocument><Reason><code>999</code><text>No matching data found for Data item"
        "</text></Reason></Acknowledgement_MarketDocument>",
        HOUR,
        "ENTSO-E 10YNL----------L, generation by fuel",
        reads_xml=True,
    ),
}


IN_PARTS = {name: case for name, case in CASES.items() if name != "ember"}  # who asks for a long window at once
KEYED = {name: case for name, case in CASES.items() if case.has_key}


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(KEY + "\n")
    return path


@pytest.fixture
def source(case: Case, service: Service, key_file: Path) -> IntensitySource:
    return grid_source(case.declared(service.url, key_file), "DEU")


def two_slots(case: Case, source: IntensitySource) -> list[FactorSlot]:
    return list(source.slots(MIDNIGHT, MIDNIGHT + 2 * case.step_s))


def test_an_answer(case: Case, service: Service, source: IntensitySource) -> None:
    service.answer(case.answer(475))
    first, second = two_slots(case, source)
    assert first == FactorSlot(MIDNIGHT, MIDNIGHT + case.step_s, 475.0, case.source, case.estimated, case.basis)
    assert (second.start_s, second.value) == (first.end_s, 90.0)


@pytest.mark.parametrize("case", KEYED.values(), ids=KEYED.keys())
def test_the_key_is_sent_and_never_shown(
    case: Case, service: Service, source: IntensitySource, waits: list[float]
) -> None:
    service.answer(Answer('{"error":"Invalid auth-token"}', 401))
    with pytest.raises(SourceError, match="refuses the key") as error:
        two_slots(case, source)
    sent = [*service.requests[0].headers.values(), *service.requests[0].query.values()]
    assert any(value.endswith(KEY) for value in sent)
    assert KEY not in error.value.what + error.value.advice
    assert len(service.requests) == 1  # a wrong key does not become right


@pytest.mark.parametrize("case", KEYED.values(), ids=KEYED.keys())
def test_a_key_that_is_not_there(case: Case, service: Service, source: IntensitySource, key_file: Path) -> None:
    key_file.unlink()
    with pytest.raises(SourceError, match="the key is missing"):
        two_slots(case, source)


def test_an_empty_answer_is_a_hole(case: Case, service: Service, source: IntensitySource) -> None:
    service.answer(case.empty)
    assert two_slots(case, source) == []


def test_null_is_a_hole_and_not_nought(case: Case, service: Service, source: IntensitySource) -> None:
    service.answer(case.answer(None))
    assert [slot.value for slot in two_slots(case, source)] == [90.0]


@pytest.mark.parametrize("value", [-5, 99_999], ids=["negative", "absurd"])
def test_a_value_that_cannot_be_is_left_to_the_next_source(
    case: Case, service: Service, source: IntensitySource, value: float
) -> None:
    service.answer(case.answer(value))
    slots, report = fill([source, StaticIntensity("DEU")], MIDNIGHT, MIDNIGHT + 1.5 * case.step_s)
    assert [slot.value for slot in slots] == [StaticIntensity("DEU").figure.gco2e_per_kwh, 90.0]
    assert report.seconds_by_source == {source.name: case.step_s / 2, "static": case.step_s}
    assert report.problems == (f"{source.name}: left out 1 slots with values that cannot be, such as {value} g/kWh",)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("<html>the page of a proxy</html>", "no JSON but '<html>the page of a proxy</html>'"),
        ('{"data": {"res', "no JSON"),
        ('{"something": "else"}', "a shape that is not known here"),
        ("[]", "a shape that is not known here"),
        (Answer("no such page", 404), r"refuses the request \(404: no such page\)"),
        (Answer("", 302, {"Location": "https://elsewhere.example"}), "redirects to another address"),
    ],
)
def test_an_answer_that_is_none(
    case: Case, service: Service, source: IntensitySource, answer: str | Answer, said: str
) -> None:
    service.answer(answer)
    if case.reads_xml and not isinstance(answer, Answer):
        said = "a shape that is not known here: (not XML|the XML is a html)"
    with pytest.raises(SourceError, match=said):
        two_slots(case, source)


@pytest.mark.parametrize("case", IN_PARTS.values(), ids=IN_PARTS.keys())
def test_what_came_before_a_failure_is_not_lost(
    case: Case, service: Service, source: IntensitySource, waits: list[float]
) -> None:
    """A long window is asked for in parts: where a later part fails, the slots of the earlier ones stay."""
    service.answer(case.answer(475), Answer("out of order", 500))
    found: list[FactorSlot] = []
    with pytest.raises(SourceError, match="out of order"):
        found.extend(source.slots(MIDNIGHT, MIDNIGHT + 400 * 24 * HOUR))
    assert [slot.value for slot in found] == [475.0, 90.0]


def test_a_number_that_is_text(case: Case, service: Service, source: IntensitySource) -> None:
    service.answer(case.answer("many"))
    with pytest.raises(SourceError, match="a shape that is not known here"):
        two_slots(case, source)


def test_asked_too_often_it_waits_as_told(
    case: Case, service: Service, source: IntensitySource, waits: list[float]
) -> None:
    service.answer(Answer("slow down", 429, {"Retry-After": "7"}), case.answer(475))
    assert [slot.value for slot in two_slots(case, source)] == [475.0, 90.0]
    assert waits == [7.0]


def test_it_does_not_wait_for_minutes(
    case: Case, service: Service, source: IntensitySource, waits: list[float]
) -> None:
    service.answer(Answer("slow down", 429, {"Retry-After": "300"}))
    with pytest.raises(SourceError, match="asked too often; it asks to wait 300 s"):
        two_slots(case, source)
    assert (waits, len(service.requests)) == ([], 1)


def test_a_servers_trouble_is_tried_again(
    case: Case, service: Service, source: IntensitySource, waits: list[float]
) -> None:
    service.answer(Answer("bad gateway", 502), Answer("bad gateway", 502), case.answer(475))
    assert [slot.value for slot in two_slots(case, source)] == [475.0, 90.0]
    assert waits == [1.0, 2.0]


def test_a_server_in_lasting_trouble(case: Case, service: Service, source: IntensitySource, waits: list[float]) -> None:
    service.answer(Answer("out of order", 503))
    with pytest.raises(SourceError, match=r"failed \(503: out of order\)"):
        two_slots(case, source)
    assert len(service.requests) == 3


def test_the_run_goes_on_with_the_next_source(
    case: Case, service: Service, source: IntensitySource, waits: list[float]
) -> None:
    service.answer(Answer("out of order", 503))
    slots, report = fill([source, StaticIntensity("DEU")], MIDNIGHT, MIDNIGHT + HOUR)
    assert [(slot.start_s, slot.end_s) for slot in slots] == [(MIDNIGHT, MIDNIGHT + HOUR)]
    assert report.problems == (f"{source.name}: failed (503: out of order) (try again later)",)


def test_nobody_there(case: Case, service: Service, key_file: Path, waits: list[float]) -> None:
    closed = Service()
    closed.close()
    source = grid_source(case.declared(closed.url, key_file), "DEU")
    with pytest.raises(SourceError, match=r"cannot be reached at 127\.0\.0\.1:\d+: no connection") as error:
        two_slots(case, source)
    assert KEY not in error.value.what


def test_a_time_out(case: Case, service: Service, key_file: Path, waits: list[float]) -> None:
    declared = case.declared(service.url, key_file)
    update: dict[str, Any] = {"timeout_s": 0.05}
    if isinstance(declared, declare.PrometheusGrid):
        update = {"prometheus": declared.prometheus.model_copy(update=update)}
    service.answer(Answer(hold=True))
    with pytest.raises(SourceError, match=r"did not answer within 0\.05 s"):
        two_slots(case, grid_source(declared.model_copy(update=update), "DEU"))


def test_electricity_maps_asks_for_ten_days_at_a_time(service: Service, key_file: Path) -> None:
    service.answer('{"data": []}')
    source = grid_source(CASES["electricity_maps"].declared(service.url, key_file), "DEU")
    assert list(source.slots(MIDNIGHT + 60, MIDNIGHT + 11 * 24 * HOUR)) == []
    assert [(request.query["start"], request.query["end"]) for request in service.requests] == [
        ("2026-10-01T00:00:00Z", "2026-10-11T00:00:00Z"),
        ("2026-10-11T00:00:00Z", "2026-10-12T00:00:00Z"),
    ]
    first = service.requests[0]
    assert first.path == "/v3/carbon-intensity/past-range"
    assert (first.query["zone"], first.query["temporalGranularity"], first.query["emissionFactorType"]) == (
        "DE",
        "hourly",
        "lifecycle",
    )
    assert first.headers["auth-token"] == KEY


def test_electricity_maps_marks_its_estimates(service: Service, key_file: Path) -> None:
    service.answer(electricity_maps(475).replace("false", "true"))
    source = grid_source(CASES["electricity_maps"].declared(service.url, key_file), "DEU")
    assert all(slot.estimated for slot in source.slots(MIDNIGHT, MIDNIGHT + HOUR))


def test_nesos_forecast_stands_in_for_an_actual_that_is_null(service: Service, key_file: Path) -> None:
    service.answer(neso(263).replace('"actual": 90', '"actual": null'))
    source = grid_source(CASES["neso"].declared(service.url, key_file), "GBR")
    assert [(slot.value, slot.estimated) for slot in source.slots(MIDNIGHT, MIDNIGHT + HOUR)] == [
        (263.0, False),
        (266.0, True),
    ]
    assert service.requests[0].path == "/intensity/2026-10-01T00:00Z/2026-10-01T01:00Z"


def test_rtes_real_time_follows_what_is_consolidated(service: Service, key_file: Path) -> None:
    real_time = {
        "results": [
            {"taux_co2": 99, "date_heure": "2026-10-01T00:15:00+00:00"},  # consolidated already
            {"taux_co2": 40, "date_heure": "2026-10-01T00:30:00+00:00"},
        ]
    }
    service.answer(rte(39), json.dumps(real_time))
    source = grid_source(CASES["rte"].declared(service.url, key_file), "FRA")
    slots = source.slots(MIDNIGHT, MIDNIGHT + 2700)
    assert [(slot.start_s - MIDNIGHT, slot.end_s - MIDNIGHT, slot.value, slot.estimated) for slot in slots] == [
        (0, 900, 39.0, False),
        (900, 1800, 90.0, False),
        (1800, 2700, 40.0, True),
    ]
    assert [request.path.split("/")[6] for request in service.requests] == [
        "eco2mix-national-cons-def",
        "eco2mix-national-tr",
    ]


def test_rte_is_read_page_by_page(service: Service, key_file: Path) -> None:
    full = [
        {"taux_co2": 50, "date_heure": datetime.fromtimestamp(MIDNIGHT + quarter * 900, UTC).isoformat()}
        for quarter in range(100)
    ]
    rest = {"results": [{"taux_co2": 60, "date_heure": "2026-10-02T01:00:00Z"}]}
    service.answer(json.dumps({"results": full}), json.dumps(rest))
    source = grid_source(CASES["rte"].declared(service.url, key_file), "FRA")
    slots = list(source.slots(MIDNIGHT, MIDNIGHT + 101 * 900))
    assert len(slots) == 101
    assert slots[-1].value == 60.0
    assert [request.query["offset"] for request in service.requests] == ["0", "100"]


def test_energinet_is_asked_in_utc(service: Service, key_file: Path) -> None:
    service.answer(energinet(75))
    list(grid_source(CASES["energinet"].declared(service.url, key_file), "DNK").slots(MIDNIGHT, MIDNIGHT + 600))
    assert service.requests[0].query == {
        "start": "2026-10-01T00:00",
        "end": "2026-10-01T00:10",
        "filter": '{"PriceArea": ["DK1"]}',
        "sort": "Minutes5UTC",
        "timezone": "UTC",
        "limit": "0",
    }


def test_several_series_are_refused(service: Service, key_file: Path) -> None:
    answer = json.loads(prometheus(50))
    answer["data"]["result"] *= 2
    service.answer(json.dumps(answer))
    with pytest.raises(SourceError, match="'grid' gives 2 series"):
        list(grid_source(CASES["prometheus"].declared(service.url, key_file), "DEU").slots(MIDNIGHT, MIDNIGHT + HOUR))


def entsoe_source(service: Service, key_file: Path, **factors: float) -> IntensitySource:
    return grid_source(
        declare.EntsoeGrid(
            source="entsoe", zone="10YNL----------L", token_file=key_file, url=service.url, factors=factors
        ),
        "NLD",
    )


def test_entsoe_weighs_factors_by_generation(service: Service, key_file: Path) -> None:
    service.answer(
        entsoe_xml(
            entsoe_series("B05", 100, 0),  # hard coal, 995 g/kWh
            entsoe_series("B04", 200, 100),  # gas, 743
            entsoe_series("B16", 100, 300),  # sun, 48
            entsoe_series("B10", 500, 500, out=True),  # water pumped up: consumption
        )
    )
    slots = entsoe_source(service, key_file).slots(MIDNIGHT, MIDNIGHT + 2 * HOUR)
    assert [slot.value for slot in slots] == pytest.approx(
        [(100 * 995 + 200 * 743 + 100 * 48) / 400, (100 * 743 + 300 * 48) / 400], rel=1e-12
    )
    assert service.requests[0].path == "/api"
    assert service.requests[0].query == {
        "securityToken": KEY,
        "documentType": "A75",
        "processType": "A16",
        "in_Domain": "10YNL----------L",
        "periodStart": "202610010000",
        "periodEnd": "202610010200",
    }


def test_entsoes_missing_point_is_a_hole_and_not_nought(service: Service, key_file: Path) -> None:
    service.answer(entsoe_xml(entsoe_series("B05", 100, None), entsoe_series("B16", 100, 100)))
    slots = entsoe_source(service, key_file).slots(MIDNIGHT, MIDNIGHT + 2 * HOUR)
    assert [(slot.start_s, slot.value) for slot in slots] == [(MIDNIGHT, (995 + 48) / 2)]


def test_entsoes_curve_of_changes_repeats_the_last_value(service: Service, key_file: Path) -> None:
    service.answer(entsoe_xml(entsoe_series("B05", 100, None, curve="A03"), entsoe_series("B16", 100, 300)))
    slots = entsoe_source(service, key_file).slots(MIDNIGHT, MIDNIGHT + 2 * HOUR)
    assert [slot.value for slot in slots] == [(995 + 48) / 2, (995 + 3 * 48) / 4]


def test_entsoes_generation_without_a_factor(service: Service, key_file: Path) -> None:
    """5 % of waste is left out of both sides and marked; 50 % makes the hour unknown, unless its factor is declared."""
    service.answer(entsoe_xml(entsoe_series("B16", 95, 50), entsoe_series("B17", 5, 50)))
    slots = entsoe_source(service, key_file).slots(MIDNIGHT, MIDNIGHT + 2 * HOUR)
    assert [(slot.start_s, slot.value, slot.estimated) for slot in slots] == [(MIDNIGHT, 48.0, True)]
    declared = entsoe_source(service, key_file, waste=700.0).slots(MIDNIGHT, MIDNIGHT + 2 * HOUR)
    assert [(slot.value, slot.estimated) for slot in declared] == [
        (pytest.approx(0.95 * 48 + 0.05 * 700), False),
        (pytest.approx((48 + 700) / 2), False),
    ]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("<html><body>maintenance</body></html>", "the XML is a html"),
        ("<GL_MarketDocument>", "not XML"),
        ('<!DOCTYPE x [<!ENTITY e "e">]><GL_MarketDocument>&e;</GL_MarketDocument>', "a document type in the XML"),
        (entsoe_xml(entsoe_series("B16", 1).replace("PT60M", "P1D")), "no 'P1D'"),
        (
            "<Acknowledgement_MarketDocument><Reason><code>999</code><text>The zone is unknown</text></Reason>"
            "</Acknowledgement_MarketDocument>",
            "says: The zone is unknown",
        ),
    ],
)
def test_entsoes_troubles(service: Service, key_file: Path, body: str, said: str) -> None:
    service.answer(body)
    with pytest.raises(SourceError, match=said):
        list(entsoe_source(service, key_file).slots(MIDNIGHT, MIDNIGHT + HOUR))


def test_entsoe_without_data(service: Service, key_file: Path) -> None:
    service.answer(
        "<Acknowledgement_MarketDocument><Reason><code>999</code>"
        "<text>No matching data found for Data item</text></Reason></Acknowledgement_MarketDocument>"
    )
    assert list(entsoe_source(service, key_file).slots(MIDNIGHT, MIDNIGHT + HOUR)) == []
