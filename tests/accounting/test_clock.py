"""Slots, days and months, held against the calendar of the tz database in zones with odd clocks.

Expected times are written in UTC, worked out by hand from the zones' published offsets.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounting.clock import (
    day_of,
    day_start,
    gaps,
    month_bounds,
    months_between,
    months_on,
    slot_edges,
    slot_floor,
    split_by_day,
)

ZONES = (
    "UTC", "Europe/Paris", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe",
    "America/St_Johns", "Pacific/Chatham", "America/Havana", "Asia/Beirut", "Africa/Casablanca", "Pacific/Apia",
)  # fmt: skip

#: Any second of 2000 to 2035.
TIMES = st.integers(946_684_800, 2_082_758_400)


def utc(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def hours_of_day(zone: str, day: date) -> float:
    place = ZoneInfo(zone)
    return (day_start(place, day + timedelta(days=1)) - day_start(place, day)) / 3600


# --- days


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Paris", date(2026, 3, 29), 23),
        ("Europe/Paris", date(2026, 10, 25), 25),
        ("Europe/Paris", date(2026, 10, 26), 24),
        ("America/New_York", date(2026, 3, 8), 23),
        ("America/New_York", date(2026, 11, 1), 25),
        ("Australia/Lord_Howe", date(2026, 4, 5), 24.5),  # half an hour of summer time
        ("Australia/Lord_Howe", date(2026, 10, 4), 23.5),
        ("Asia/Kolkata", date(2026, 10, 25), 24),
        ("America/Havana", date(2026, 3, 8), 23),  # begins at 01:00: midnight does not exist
        ("America/Havana", date(2026, 11, 1), 25),  # has midnight twice
    ],
)
def test_a_day_is_as_long_as_it_was(zone: str, day: date, hours: float) -> None:
    assert hours_of_day(zone, day) == hours


@pytest.mark.parametrize(
    ("zone", "day", "begins"),
    [
        ("UTC", date(2026, 10, 1), "2026-10-01T00:00"),
        ("Europe/Paris", date(2026, 10, 25), "2026-10-24T22:00"),
        ("Europe/Paris", date(2026, 10, 26), "2026-10-25T23:00"),
        ("Asia/Kolkata", date(2026, 10, 1), "2026-09-30T18:30"),  # UTC+5:30
        ("Asia/Kathmandu", date(2026, 10, 1), "2026-09-30T18:15"),  # UTC+5:45
        ("America/Havana", date(2026, 3, 8), "2026-03-08T05:00"),  # 00:00 at UTC-5 is 01:00 at UTC-4
        ("America/Havana", date(2026, 11, 1), "2026-11-01T04:00"),  # the first of the two midnights, at UTC-4
    ],
)
def test_a_day_begins_at_local_midnight(zone: str, day: date, begins: str) -> None:
    assert day_start(ZoneInfo(zone), day) == utc(begins)


@given(zone=st.sampled_from(ZONES), time_s=TIMES)
def test_an_instant_lies_in_its_day(zone: str, time_s: int) -> None:
    place = ZoneInfo(zone)
    day = day_of(place, time_s)
    assert day_start(place, day) <= time_s < day_start(place, day + timedelta(days=1))


# --- months


@pytest.mark.parametrize(
    ("zone", "year", "month", "start", "end"),
    [
        ("UTC", 2026, 2, "2026-02-01T00:00", "2026-03-01T00:00"),
        ("Europe/Paris", 2026, 10, "2026-09-30T22:00", "2026-10-31T23:00"),  # an hour longer than 31 days
        ("Europe/Paris", 2026, 12, "2026-11-30T23:00", "2026-12-31T23:00"),
        ("Asia/Kathmandu", 2028, 2, "2028-01-31T18:15", "2028-02-29T18:15"),  # a leap year
    ],
)
def test_the_bounds_of_a_month(zone: str, year: int, month: int, start: str, end: str) -> None:
    assert month_bounds(ZoneInfo(zone), year, month) == (utc(start), utc(end))


@given(zone=st.sampled_from(ZONES), year=st.integers(2000, 2035), month=st.integers(1, 12))
def test_months_meet(zone: str, year: int, month: int) -> None:
    place = ZoneInfo(zone)
    following = (year + 1, 1) if month == 12 else (year, month + 1)
    assert month_bounds(place, year, month)[1] == month_bounds(place, *following)[0]


# --- slots


@pytest.mark.parametrize(
    ("zone", "at", "begins"),
    [
        ("UTC", "2026-10-01T12:34:56", "2026-10-01T12:00"),
        ("Asia/Kolkata", "2026-10-01T12:34:56", "2026-10-01T12:30"),
        ("Asia/Kolkata", "2026-10-01T12:29:59", "2026-10-01T11:30"),
        ("Asia/Kathmandu", "2026-10-01T12:14:59", "2026-10-01T11:15"),
        ("Asia/Kathmandu", "2026-10-01T12:15:00", "2026-10-01T12:15"),
        # 02:00 of summer time is 01:30: the clock shows 01:45 twice, and no new hour begins with the second.
        ("Australia/Lord_Howe", "2026-04-04T15:10", "2026-04-04T14:00"),
        # 02:00 becomes 02:30, so that the next full hour is 03:00, half an hour later.
        ("Australia/Lord_Howe", "2026-10-03T15:45", "2026-10-03T14:30"),
    ],
)
def test_a_slot_begins_with_an_hour_of_the_sites_clock(zone: str, at: str, begins: str) -> None:
    assert slot_floor(ZoneInfo(zone), utc(at)) == utc(begins)


def test_the_hour_that_comes_twice_is_two_slots() -> None:
    edges = slot_edges(ZoneInfo("Europe/Paris"), utc("2026-10-25T00:00"), utc("2026-10-25T03:00"))
    assert edges == [utc(f"2026-10-25T0{hour}:00") for hour in range(4)]  # 02:00 at UTC+2, 02:00 at UTC+1, 03:00, 04:00


def test_an_empty_window_still_has_its_slot() -> None:
    at = utc("2026-10-01T12:34")
    assert slot_edges(ZoneInfo("UTC"), at, at) == [utc("2026-10-01T12:00"), utc("2026-10-01T13:00")]


def test_a_window_that_ends_on_the_hour_ends_there() -> None:
    start, end = utc("2026-10-01T12:00"), utc("2026-10-01T14:00")
    assert slot_edges(ZoneInfo("UTC"), start, end) == [start, start + 3600, end]


@given(zone=st.sampled_from(ZONES), start_s=TIMES, length_s=st.integers(0, 4 * 86400))
def test_slots_tile_the_window_and_never_straddle_a_day(zone: str, start_s: int, length_s: int) -> None:
    place = ZoneInfo(zone)
    edges = slot_edges(place, start_s, start_s + length_s)
    assert edges[0] <= start_s < edges[1]
    assert edges[-2] < max(start_s + length_s, start_s + 1) <= edges[-1]
    for a, b in pairwise(edges):
        assert 900 <= b - a <= 7200
        assert day_of(place, a) == day_of(place, b - 1)
        assert slot_floor(place, (a + b) / 2) == a


@given(zone=st.sampled_from(ZONES), start_s=TIMES, length_s=st.integers(1, 40 * 86400))
def test_days_are_cut_at_midnights_and_nowhere_else(zone: str, start_s: int, length_s: int) -> None:
    place = ZoneInfo(zone)
    parts = split_by_day(place, start_s, start_s + length_s)
    assert (parts[0][0], parts[-1][1]) == (start_s, start_s + length_s)
    for (_, a), (b, _) in pairwise(parts):
        assert a == b == day_start(place, day_of(place, a))
    for a, b in parts:
        assert a < b
        assert day_of(place, a) == day_of(place, b - 1)


def test_a_day_that_the_calendar_left_out_has_no_part() -> None:
    samoa = ZoneInfo("Pacific/Apia")  # went from 29 to 31 December 2011 at 10:00 UTC
    start_s, midnight, end_s = utc("2011-12-29T22:00"), utc("2011-12-30T10:00"), utc("2011-12-30T22:00")
    assert split_by_day(samoa, start_s, end_s) == [(start_s, midnight), (midnight, end_s)]


def test_months_by_the_calendar() -> None:
    assert months_on(date(2026, 11, 30), 1) == date(2026, 12, 1)
    assert months_on(date(2026, 11, 1), 2) == date(2027, 1, 1)
    assert months_on(date(2026, 1, 31), -1) == date(2025, 12, 1)
    assert list(months_between(date(2025, 12, 31), date(2026, 2, 1))) == [
        date(2025, 12, 1), date(2026, 1, 1), date(2026, 2, 1)
    ]  # fmt: skip


def test_what_lies_in_no_stretch() -> None:
    assert list(gaps([(2, 4), (6, 9)], 1, 8)) == [(1, 2), (4, 6)]
    assert list(gaps([(2, 4)], 3, 8)) == [(4, 8)]
    assert list(gaps([(20, 40)], 0, 8)) == [(0, 8)]
    assert list(gaps([(0, 9)], 1, 8)) == []
    assert list(gaps([], 0, 1)) == [(0, 1)]
