"""What services answered and is kept: who is asked again, for what, and what takes the place of what."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accounting.model import FactorSlot
from accounting.sources import SourceError
from collectors.grid.chain import fill
from collectors.grid.kept import KeptSource, asked
from collectors.grid.store import SlotStore
from site_config import grid as declare
from site_config.factors import PueQuery
from site_config.server import PrometheusServer

HOUR = 3600.0
LATER = 1e9  # long after every slot of these tests


class Clock:
    now_s = LATER


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("collectors.grid.kept.time", SimpleNamespace(time=lambda: made.now_s))
    return made


class Service:
    """A service that knows `known`, fails at the end of it where it is told to, and notes what it was asked."""

    name = "service"

    def __init__(self, *known: FactorSlot) -> None:
        self.known: Sequence[FactorSlot] = known
        self.fails = False
        self.asked: list[tuple[float, float]] = []

    def slots(self, start_s: float, end_s: float) -> Iterator[FactorSlot]:
        self.asked.append((start_s, end_s))
        yield from (slot for slot in self.known if slot.start_s < end_s and start_s < slot.end_s)
        if self.fails:
            raise SourceError("out of order")


def hour(number: int, value: float, estimated: bool = False) -> FactorSlot:
    return FactorSlot(number * HOUR, (number + 1) * HOUR, value, "said", estimated, "direct")


def values(slots: Sequence[FactorSlot]) -> list[tuple[float, float]]:
    return [(slot.start_s / HOUR, slot.value) for slot in slots]


@pytest.fixture
def store(tmp_path: Path) -> SlotStore:
    return SlotStore(tmp_path / "grid.db")


def kept(service: Service, store: SlotStore, ask: str = "new") -> KeptSource:
    return KeptSource(service, store, "service of this test", 0.0, 5000.0, ask)  # type: ignore[arg-type]


def test_what_is_final_is_asked_for_once(store: SlotStore) -> None:
    service = Service(hour(0, 50), hour(1, 60))
    first = list(kept(service, store).slots(0, 2 * HOUR))
    again = list(kept(service, store).slots(0, 2 * HOUR))
    assert first == again == [replace(slot, retrieved_s=LATER) for slot in service.known]
    assert service.asked == [(0, 2 * HOUR)]


def test_what_is_not_kept_yet_is_asked_for(store: SlotStore) -> None:
    service = Service(*(hour(number, 50 + number) for number in range(4)))
    list(kept(service, store).slots(HOUR, 2 * HOUR))
    assert values(list(kept(service, store).slots(0, 4 * HOUR))) == [(1, 51), (0, 50), (2, 52), (3, 53)]
    assert service.asked == [(HOUR, 2 * HOUR), (0, 4 * HOUR)]  # one request for two holes with an hour between them


def test_an_estimate_is_asked_for_again_and_gives_way_to_the_final_value(store: SlotStore) -> None:
    service = Service(hour(0, 50), hour(1, 60, estimated=True))
    list(kept(service, store).slots(0, 2 * HOUR))
    service.known = [hour(1, 66)]
    assert values(list(kept(service, store).slots(0, 2 * HOUR))) == [(0, 50), (1, 66)]
    assert values(list(kept(service, store).slots(0, 2 * HOUR))) == [(0, 50), (1, 66)]
    assert service.asked == [(0, 2 * HOUR), (HOUR, 2 * HOUR)]


def test_a_final_value_does_not_give_way_to_an_estimate(store: SlotStore) -> None:
    kept_before = Service(hour(0, 50))
    list(kept(kept_before, store).slots(0, HOUR))
    list(kept(Service(hour(0, 99, estimated=True)), store, "all").slots(0, HOUR))
    assert values(list(kept(Service(), store).slots(0, HOUR))) == [(0, 50)]


def test_a_value_retrieved_before_its_time_was_over_is_not_final(store: SlotStore, clock: Clock) -> None:
    clock.now_s = 1.5 * HOUR
    service = Service(hour(0, 50), hour(1, 60))
    list(kept(service, store).slots(0, 2 * HOUR))
    clock.now_s = 2 * HOUR
    list(kept(service, store).slots(0, 2 * HOUR))
    list(kept(service, store).slots(0, 2 * HOUR))
    assert service.asked == [(0, 2 * HOUR), (HOUR, 2 * HOUR)]


def test_the_time_of_the_first_retrieval_stays_while_nothing_new_is_said(store: SlotStore, clock: Clock) -> None:
    service = Service(hour(0, 50, estimated=True))
    list(kept(service, store).slots(0, HOUR))
    clock.now_s = LATER + 1
    list(kept(service, store).slots(0, HOUR))
    (slot,) = kept(service, store, "nothing").slots(0, HOUR)
    assert slot.retrieved_s == LATER


def test_where_the_service_fails_what_is_kept_stands_in(store: SlotStore) -> None:
    service = Service(hour(0, 50), hour(1, 60, estimated=True))
    list(kept(service, store).slots(0, 2 * HOUR))
    service.known, service.fails = [], True
    slots, report = fill([kept(service, store)], 0, 3 * HOUR)
    assert values(slots) == [(0, 50), (1, 60)]
    assert report.problems == ("service: out of order",)
    assert report.holes == ((2 * HOUR, 3 * HOUR),)


def test_what_it_gave_before_it_failed_is_kept(store: SlotStore) -> None:
    service = Service(hour(0, 50))
    service.fails = True
    slots, report = fill([kept(service, store)], 0, 2 * HOUR)
    assert (values(slots), report.problems) == ([(0, 50)], ("service: out of order",))
    service.fails = False
    list(kept(service, store).slots(0, 2 * HOUR))
    assert service.asked == [(0, 2 * HOUR), (HOUR, 2 * HOUR)]


@pytest.mark.parametrize("value", [-1.0, 5001.0, float("nan")])
def test_a_value_that_cannot_be_is_told_and_not_kept(store: SlotStore, value: float) -> None:
    service = Service(hour(0, value))
    _, report = fill([kept(service, store)], 0, HOUR)
    assert report.problems[0].startswith("service: left out 1 slots")
    assert store.summary("service of this test") is None


def test_asked_for_nothing_it_tells_what_is_kept(store: SlotStore) -> None:
    service = Service(hour(0, 50), hour(1, 60, estimated=True), hour(2, 70))
    list(kept(service, store).slots(0, 2 * HOUR))
    service.asked.clear()
    assert values(list(kept(service, store, "nothing").slots(0, 3 * HOUR))) == [(0, 50), (1, 60)]
    assert service.asked == []


def test_asked_for_all_it_asks_the_service_whatever_is_kept(store: SlotStore) -> None:
    service = Service(hour(0, 50))
    list(kept(service, store).slots(0, HOUR))
    service.known = [hour(0, 51)]
    assert values(list(kept(service, store, "all").slots(0, HOUR))) == [(0, 51)]
    assert values(list(kept(service, store).slots(0, HOUR))) == [(0, 51)]


def test_slots_of_another_length_take_the_place_of_what_they_overlap(store: SlotStore) -> None:
    half = replace(hour(0, 40), end_s=HOUR / 2)
    service = Service(hour(0, 50, estimated=True))
    list(kept(service, store).slots(0, HOUR))
    service.known = [half]
    assert [(slot.end_s, slot.value) for slot in kept(service, store).slots(0, HOUR)] == [(HOUR / 2, 40), (HOUR, 50)]
    service.known = [half, replace(half, start_s=HOUR / 2, end_s=HOUR)]
    assert [(slot.end_s, slot.value) for slot in kept(service, store).slots(0, HOUR)] == [(HOUR / 2, 40), (HOUR, 40)]


def test_a_file_that_is_something_else_costs_nothing_but_asking_again(tmp_path: Path) -> None:
    path = tmp_path / "grid.db"
    path.write_text("shopping list")
    slots, report = fill([kept(Service(hour(0, 50)), SlotStore(path))], 0, HOUR)
    assert values(slots) == [(0, 50)]
    (problem,) = report.problems
    assert problem.startswith(f"service: what was retrieved cannot be kept in {path}: file is not a database")
    assert path.read_text() == "shopping list"


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    store = SlotStore(tmp_path / "nowhere" / "grid.db")
    slots, report = fill([kept(Service(hour(0, 50)), store)], 0, HOUR)
    assert values(slots) == [(0, 50)]
    assert "cannot be kept" in report.problems[0]
    assert "grid.cache" in report.problems[0]


def test_what_is_kept_of_a_source(store: SlotStore) -> None:
    list(kept(Service(hour(0, 50), hour(3, 60, estimated=True)), store).slots(0, 4 * HOUR))
    found = store.summary("service of this test")
    assert found is not None
    assert (found.slots, found.estimated, found.start_s, found.end_s, found.retrieved_s) == (2, 1, 0, 4 * HOUR, LATER)
    assert store.summary("another") is None


def test_sources_are_told_apart_by_what_they_are_asked_and_not_by_their_keys() -> None:
    def electricity_maps(zone: str, key: str, factors: str = "lifecycle") -> str:
        return asked(
            declare.ElectricityMapsGrid.model_validate(
                {"source": "electricity_maps", "zone": zone, "token_env": key, "factors": factors}
            )
        )

    assert electricity_maps("FR", "A") == electricity_maps("FR", "B")
    assert electricity_maps("FR", "A") != electricity_maps("DE", "A")
    assert electricity_maps("FR", "A") != electricity_maps("FR", "A", "direct")
    plugin = declare.PluginGrid(source="plugin", name="own")
    assert asked(plugin, "FRA") != asked(plugin, "DEU")


def test_a_pue_and_an_intensity_by_the_same_query_are_two_things() -> None:
    server = PrometheusServer(url="http://prometheus:9090", username="ada", password_file=Path("/secret"))
    pue = asked(PueQuery(prometheus=server, query="x"))
    grid = asked(declare.PrometheusGrid(source="prometheus", prometheus=server, query="x"))
    assert pue != grid
    assert "ada" not in pue
    assert "secret" not in pue


hours = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 500), st.booleans()), max_size=10, unique_by=lambda h: h[0]
)
spans = st.tuples(st.integers(0, 9), st.integers(1, 10)).filter(lambda span: span[0] < span[1])


@settings(deadline=None)
@given(hours, st.lists(spans, min_size=1, max_size=4))
def test_kept_or_not_the_answers_are_the_same(
    tmp_path_factory: pytest.TempPathFactory, known: list[tuple[int, int, bool]], windows: list[tuple[int, int]]
) -> None:
    service = Service(*(hour(*one) for one in sorted(known)))
    store = SlotStore(tmp_path_factory.mktemp("kept") / "grid.db")
    for first, last in windows:
        direct, _ = fill([service], first * HOUR, last * HOUR)
        through, _ = fill([kept(service, store)], first * HOUR, last * HOUR)
        assert [replace(slot, retrieved_s=None) for slot in through] == list(direct)
