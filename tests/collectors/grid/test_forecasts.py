"""What advice is made from, forecasts of the grid and marginal rates: each service in its shape and its troubles."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from accounting.model import FactorSlot
from accounting.sources import ForecastSource, SourceError
from collectors.grid.registry import forecast_source
from collectors.grid.watttime import WattTime
from site_config import grid as declare
from tests.collectors.grid.service import Answer, Service

KEY = "s3cret-key"
HOUR = 3600.0
MIDNIGHT = 1_790_812_800.0  # 2026-10-01T00:00:00Z
G_PER_LB_PER_MWH = 0.45359237  # a pound is 453.59237 g, by definition


@dataclass
class Case:
    """A service, its answer with this value in the first slot from midnight on and 90 in the second."""

    declared: Callable[[str, Path], declare.AdviceSource]
    answer: Callable[[Any], str]
    empty: str
    step_s: float
    slot: FactorSlot  # what it makes of 475
    second: float
    login: str | None = None  # what it answers before


def electricity_maps(value: Any) -> str:
    hours = [
        {"carbonIntensity": value, "datetime": "2026-10-01T00:00:00.000Z"},
        {"carbonIntensity": 90, "datetime": "2026-10-01T01:00:00.000Z"},
    ]
    return json.dumps({"zone": "DE", "forecast": hours, "updatedAt": "2026-09-30T23:57:00.000Z"})


def neso(value: Any) -> str:
    halves = [("00:00", "00:30", value), ("00:30", "01:00", 90)]
    return json.dumps(
        {
            "data": [
                {
                    "from": f"2026-10-01T{start}Z",
                    "to": f"2026-10-01T{end}Z",
                    "intensity": {"forecast": number, "actual": None, "index": "low"},
                }
                for start, end, number in halves
            ]
        }
    )


def watttime(value: Any) -> str:
    points = [{"point_time": "2026-10-01T00:00:00+00:00", "value": value}]
    points += [{"point_time": "2026-10-01T00:05:00+00:00", "value": 90}]
    return json.dumps({"data": points, "meta": {"region": "CAISO_NORTH", "units": "lbs_co2_per_mwh"}})


CASES = {
    "electricity_maps": Case(
        lambda url, key: declare.ElectricityMapsGrid(source="electricity_maps", zone="DE", token_file=key, url=url),
        electricity_maps,
        '{"zone": "DE", "forecast": []}',
        HOUR,
        FactorSlot(MIDNIGHT, MIDNIGHT + HOUR, 475.0, "Electricity Maps DE, life cycle, forecast", True, "life cycle"),
        90.0,
    ),
    "neso": Case(
        lambda url, key: declare.NesoGrid(source="neso", url=url),
        neso,
        '{"data": []}',
        1800.0,
        FactorSlot(MIDNIGHT, MIDNIGHT + 1800, 475.0, "NESO Great Britain", True, "direct"),
        90.0,
    ),
    "watttime": Case(
        lambda url, key: declare.WattTime(
            source="watttime", region="CAISO_NORTH", username="ada", password_file=key, url=url
        ),
        watttime,
        '{"data": [], "meta": {"region": "CAISO_NORTH", "units": "lbs_co2_per_mwh"}}',
        300.0,
        FactorSlot(
            MIDNIGHT,
            MIDNIGHT + 300,
            475 * G_PER_LB_PER_MWH,
            "WattTime CAISO_NORTH, marginal, forecast",
            True,
            "marginal",
        ),
        90 * G_PER_LB_PER_MWH,
        login='{"token": "t0ken"}',
    ),
}


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
def source(case: Case, service: Service, key_file: Path) -> ForecastSource:
    return forecast_source(case.declared(service.url, key_file))


def answer(case: Case, service: Service, *bodies: str | Answer) -> None:
    service.answer(*([case.login] if case.login else []), *bodies)


def two_slots(case: Case, source: ForecastSource) -> list[FactorSlot]:
    return list(source.forecast(MIDNIGHT, MIDNIGHT + 2 * case.step_s))


def test_an_answer(case: Case, service: Service, source: ForecastSource) -> None:
    answer(case, service, case.answer(475))
    first, second = two_slots(case, source)
    assert first == case.slot
    assert (second.start_s, second.value) == (first.end_s, case.second)


def test_only_what_was_asked_for(case: Case, service: Service, source: ForecastSource) -> None:
    answer(case, service, case.answer(475))
    assert list(source.forecast(MIDNIGHT, MIDNIGHT + case.step_s)) == [case.slot]


def test_an_empty_answer(case: Case, service: Service, source: ForecastSource) -> None:
    answer(case, service, case.empty)
    assert two_slots(case, source) == []


def test_null_is_a_hole_and_not_nought(case: Case, service: Service, source: ForecastSource) -> None:
    answer(case, service, case.answer(None))
    assert [slot.value for slot in two_slots(case, source)] == [case.second]


def test_the_key_is_never_shown(case: Case, service: Service, source: ForecastSource, waits: list[float]) -> None:
    service.answer(Answer("Invalid", 401))
    with pytest.raises(SourceError, match="refuses the key") as error:
        two_slots(case, source)
    assert KEY not in error.value.what + error.value.advice
    assert len(service.requests) == 1


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("<html>the page of a proxy</html>", "no JSON"),
        ('{"something": "else"}', "a shape that is not known here"),
        ("[]", "a shape that is not known here"),
        (Answer("no such page", 404), "refuses the request"),
    ],
)
def test_an_answer_that_is_none(
    case: Case, service: Service, source: ForecastSource, body: str | Answer, said: str
) -> None:
    answer(case, service, body)
    with pytest.raises(SourceError, match=said):
        two_slots(case, source)


def test_a_number_that_is_text(case: Case, service: Service, source: ForecastSource) -> None:
    answer(case, service, case.answer("many"))
    with pytest.raises(SourceError, match="a shape that is not known here"):
        two_slots(case, source)


def test_asked_too_often_it_waits_as_told(
    case: Case, service: Service, source: ForecastSource, waits: list[float]
) -> None:
    answer(case, service, Answer("slow down", 429, {"Retry-After": "7"}), case.answer(475))
    assert len(two_slots(case, source)) == 2
    assert waits == [7.0]


def test_a_time_out(case: Case, service: Service, key_file: Path, waits: list[float]) -> None:
    declared = case.declared(service.url, key_file).model_copy(update={"timeout_s": 0.05})
    service.answer(Answer(hold=True))
    with pytest.raises(SourceError, match=r"did not answer within 0\.05 s"):
        two_slots(case, forecast_source(declared))


def test_what_each_is_asked(service: Service, key_file: Path) -> None:
    for case in CASES.values():
        answer(case, service, case.answer(475))
        two_slots(case, forecast_source(case.declared(service.url, key_file)))
        asked = service.requests[-1]
        if case is CASES["electricity_maps"]:
            assert asked.path == "/v3/carbon-intensity/forecast"
            assert asked.query == {"zone": "DE", "emissionFactorType": "lifecycle", "horizonHours": "48"}
            assert asked.headers["auth-token"] == KEY
        elif case is CASES["neso"]:
            assert asked.path == "/intensity/2026-10-01T00:00Z/fw48h"
        else:
            assert asked.path == "/v3/forecast"
            assert asked.query == {"region": "CAISO_NORTH", "signal_type": "co2_moer", "horizon_hours": "48"}
            assert asked.headers["Authorization"] == "Bearer t0ken"
            login = service.requests[0]
            assert (login.path, login.headers["Authorization"].split()[0]) == ("/login", "Basic")


def test_nesos_forecast_of_a_region(service: Service, key_file: Path) -> None:
    entry = {"from": "2026-10-01T00:00Z", "to": "2026-10-01T00:30Z", "intensity": {"forecast": 266, "index": "low"}}
    service.answer(json.dumps({"data": {"regionid": 13, "shortname": "London", "data": [entry]}}))
    source = forecast_source(declare.NesoGrid(source="neso", region=13, url=service.url))
    assert [slot.value for slot in source.forecast(MIDNIGHT, MIDNIGHT + HOUR)] == [266.0]
    assert service.requests[0].path == "/regional/intensity/2026-10-01T00:00Z/fw48h/regionid/13"


# --- WattTime's past, for what moving jobs would have saved


@pytest.fixture
def marginal(service: Service, key_file: Path) -> WattTime:
    return WattTime(
        declare.WattTime(
            source="watttime", region="CAISO_NORTH", username="ada", password_file=key_file, url=service.url
        )
    )


def test_watttimes_past(service: Service, marginal: WattTime) -> None:
    service.answer('{"token": "t0ken"}', watttime(412.5).replace("90", "null"))
    (slot,) = marginal.past(MIDNIGHT, MIDNIGHT + HOUR)
    assert (slot.start_s, slot.end_s) == (MIDNIGHT, MIDNIGHT + 300)
    assert slot.value == pytest.approx(412.5 * G_PER_LB_PER_MWH)
    assert (slot.source, slot.basis) == ("WattTime CAISO_NORTH, marginal", "marginal")
    _, history = service.requests
    assert (history.path, history.headers["Authorization"]) == ("/v3/historical", "Bearer t0ken")


def test_watttime_in_other_units_is_refused(service: Service, marginal: WattTime) -> None:
    service.answer('{"token": "t0ken"}', watttime(1).replace("lbs_co2_per_mwh", "lbs_health_damage"))
    with pytest.raises(SourceError, match="units are 'lbs_health_damage'"):
        list(marginal.past(MIDNIGHT, MIDNIGHT + HOUR))


def test_watttimes_login_without_a_token(service: Service, marginal: WattTime) -> None:
    service.answer("{}")
    with pytest.raises(SourceError, match="no 'token'"):
        list(marginal.past(MIDNIGHT, MIDNIGHT + HOUR))


def test_watttime_cannot_stand_among_the_sources_of_totals() -> None:
    assert not hasattr(WattTime, "slots")
