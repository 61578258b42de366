from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from accounting.model import FactorSlot
from accounting.sources import SourceError
from collectors.grid.chain import fill
from collectors.grid.static import StaticIntensity

HOUR = 3600.0
DAY = 24 * HOUR


class Given:
    """A source that knows these slots, and keeps what it was asked."""

    def __init__(self, name: str, *slots: tuple[float, float, float]) -> None:
        self.name = name
        self.known = [FactorSlot(start_s, end_s, value, name) for start_s, end_s, value in slots]
        self.asked: list[tuple[float, float]] = []

    def slots(self, start_s: float, end_s: float) -> Sequence[FactorSlot]:
        self.asked.append((start_s, end_s))
        return [slot for slot in self.known if slot.start_s < end_s and start_s < slot.end_s]


class Broken:
    name = "broken"

    def slots(self, start_s: float, end_s: float) -> Sequence[FactorSlot]:
        raise SourceError("out of order", "try later")


def spans(slots: Sequence[FactorSlot]) -> list[tuple[float, float, float]]:
    return [(slot.start_s, slot.end_s, slot.value) for slot in slots]


def test_a_hole_is_filled_by_the_next_source() -> None:
    first = Given("first", (0, HOUR, 50), (2 * HOUR, 3 * HOUR, 70))
    slots, report = fill([first, StaticIntensity("FRA")], 0, 3 * HOUR)
    assert spans(slots) == [(0, HOUR, 50), (HOUR, 2 * HOUR, 56), (2 * HOUR, 3 * HOUR, 70)]
    assert [slot.estimated for slot in slots] == [False, True, False]
    assert slots[1].source == "Ember and Our World in Data: France, mean of 2023"
    assert report.seconds_by_source == {"first": 2 * HOUR, "static": HOUR}
    assert (report.holes, report.problems) == ((), ())


def test_what_nobody_knows_is_listed() -> None:
    slots, report = fill([Given("first", (HOUR, 2 * HOUR, 50))], 0, 3 * HOUR)
    assert spans(slots) == [(HOUR, 2 * HOUR, 50)]
    assert report.holes == ((0, HOUR), (2 * HOUR, 3 * HOUR))


def test_slots_are_clipped_to_the_window_and_to_the_hole() -> None:
    first, second = Given("first", (HOUR, 2 * HOUR, 50)), Given("second", (-DAY, DAY, 60))
    slots, _ = fill([first, second], 1000, 3 * HOUR)
    assert spans(slots) == [(1000, HOUR, 60), (HOUR, 2 * HOUR, 50), (2 * HOUR, 3 * HOUR, 60)]


def test_a_source_that_fails_is_named_and_the_next_one_asked() -> None:
    slots, report = fill([Broken(), Given("second", (0, HOUR, 60))], 0, HOUR)
    assert spans(slots) == [(0, HOUR, 60)]
    assert report.problems == ("broken: out of order (try later)",)


def test_nobody_is_asked_for_what_is_known() -> None:
    second = Given("second", (0, DAY, 60))
    fill([Given("first", (0, HOUR, 50)), second], 0, HOUR)
    assert second.asked == []


def test_holes_far_apart_are_asked_for_one_by_one() -> None:
    first = Given("first", (HOUR, 2 * HOUR, 50), (3 * HOUR, 90 * DAY, 50))
    second = Given("second")
    fill([first, second], 0, 91 * DAY)
    assert second.asked == [(0, 3 * HOUR), (90 * DAY, 91 * DAY)]


def test_a_source_that_repeats_itself_is_counted_once() -> None:
    slots, report = fill([Given("twice", (0, HOUR, 50), (0, HOUR, 50), (HOUR / 2, 2 * HOUR, 60))], 0, 2 * HOUR)
    assert spans(slots) == [(0, HOUR, 50), (HOUR, 2 * HOUR, 60)]
    assert report.seconds_by_source == {"twice": 2 * HOUR}


def test_values_that_cannot_be_are_left_out() -> None:
    odd = Given("odd", (0, 1, -1), (1, 2, 5001), (2, 3, float("nan")), (3, 4, 5000), (4, 5, 0), (6, 6, 9))
    slots, report = fill([odd], 0, 7)
    assert spans(slots) == [(3, 4, 5000), (4, 5, 0)]
    assert report.holes == ((0, 3), (5, 7))
    assert report.problems == ("odd: left out 4 slots with values that cannot be, such as -1 g/kWh",)


def test_an_empty_window() -> None:
    slots, report = fill([StaticIntensity("FRA")], HOUR, HOUR)
    assert (slots, report.holes) == ((), ())


def test_a_year_of_hours() -> None:
    hours = [(hour * HOUR, (hour + 1) * HOUR, 50) for hour in range(8760) if hour % 100]
    slots, report = fill([Given("first", *hours), StaticIntensity("FRA")], 0, 8760 * HOUR)
    assert len(slots) == 8760
    assert report.seconds_by_source == {"first": 8672 * HOUR, "static": 88 * HOUR}


numbers = st.integers(min_value=-2, max_value=30)
sources = st.lists(st.lists(st.tuples(numbers, numbers), max_size=6), max_size=3)


@settings(deadline=None)
@given(sources)
def test_every_second_is_known_once_or_is_a_hole(known: list[list[tuple[int, int]]]) -> None:
    """Second by second: the first source that has it gives it; where none has, it is a hole."""
    given_sources = [
        Given(f"source {number}", *((start, end, number) for start, end in pairs if start < end))
        for number, pairs in enumerate(known)
    ]
    slots, report = fill(given_sources, 0, 25)
    for second in range(25):
        having = [number for number, pairs in enumerate(known) if any(start <= second < end for start, end in pairs)]
        found = [slot.value for slot in slots if slot.start_s <= second < slot.end_s]
        assert found == having[:1]
        assert any(start <= second < end for start, end in report.holes) == (not having)
    assert sum(report.seconds_by_source.values()) + sum(end - start for start, end in report.holes) == 25
