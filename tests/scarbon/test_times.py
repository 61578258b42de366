"""Times as people type them at sacct: each form of `man sacct` ("Valid time formats"), in the site's zone.

The present is Thursday 2026-02-05 at 14:30:15 in Paris, 13:30:15 UTC.
"""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scarbon.errors import WrongUseError
from scarbon.times import parse_time

PARIS = ZoneInfo("Europe/Paris")
NOW_S = datetime(2026, 2, 5, 13, 30, 15, tzinfo=UTC).timestamp()


def in_paris(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=PARIS).timestamp()


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        # HH:MM[:SS][AM|PM]
        ("08:30", "2026-02-05T08:30:00"),
        ("8:30", "2026-02-05T08:30:00"),
        ("23:59:59", "2026-02-05T23:59:59"),
        ("08:30PM", "2026-02-05T20:30:00"),
        ("08:30:01 am", "2026-02-05T08:30:01"),
        ("12:00AM", "2026-02-05T00:00:00"),
        ("12:30PM", "2026-02-05T12:30:00"),
        # MMDD[YY][-HH:MM[:SS]]
        ("0102", "2026-01-02T00:00:00"),
        ("010225", "2025-01-02T00:00:00"),
        ("0102-08:30", "2026-01-02T08:30:00"),
        ("010225-08:30:15", "2025-01-02T08:30:15"),
        # MM.DD[.YY][-HH:MM[:SS]]
        ("01.02", "2026-01-02T00:00:00"),
        ("1.2.25", "2025-01-02T00:00:00"),
        ("01.02.25-08:30", "2025-01-02T08:30:00"),
        # MM/DD[/YY][-HH:MM[:SS]]
        ("01/02", "2026-01-02T00:00:00"),
        ("01/02/25", "2025-01-02T00:00:00"),
        ("1/2/25-08:30:15", "2025-01-02T08:30:15"),
        # Without a year: the last one that has come to that month, as sacct looks into the past.
        ("12/24", "2025-12-24T00:00:00"),
        ("0301-08:30", "2025-03-01T08:30:00"),
        ("02/28", "2026-02-28T00:00:00"),
        # YYYY-MM-DD[THH:MM[:SS]]
        ("2025-10-01", "2025-10-01T00:00:00"),
        ("2025-10-01T08:30", "2025-10-01T08:30:00"),
        ("2025-10-01T08:30:15", "2025-10-01T08:30:15"),
        ("2025-10-01 08:30", "2025-10-01T08:30:00"),
        ("2025-7-1", "2025-07-01T00:00:00"),
        # Words for hours and days.
        ("today", "2026-02-05T00:00:00"),
        ("midnight", "2026-02-05T00:00:00"),
        ("elevenses", "2026-02-05T11:00:00"),
        ("noon", "2026-02-05T12:00:00"),
        ("fika", "2026-02-05T15:00:00"),
        ("teatime", "2026-02-05T16:00:00"),
        ("tomorrow", "2026-02-06T00:00:00"),
        ("TODAY", "2026-02-05T00:00:00"),
        # now[{+|-}count[seconds(default)|minutes|hours|days|weeks]]
        ("now", "2026-02-05T14:30:15"),
        ("now-15", "2026-02-05T14:30:00"),
        ("now-15seconds", "2026-02-05T14:30:00"),
        ("now-30minutes", "2026-02-05T14:00:15"),
        ("now-1hour", "2026-02-05T13:30:15"),
        ("now-2hours", "2026-02-05T12:30:15"),
        ("now-7days", "2026-01-29T14:30:15"),
        ("now-2weeks", "2026-01-22T14:30:15"),
        ("now+1day", "2026-02-06T14:30:15"),
        ("Now - 7 days", "2026-01-29T14:30:15"),
    ],
)  # fmt: skip
def test_every_form_that_sacct_takes(text: str, meant: str) -> None:
    assert parse_time(text, PARIS, NOW_S) == in_paris(meant)


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-10-01T08:30:00Z", "2026-10-01T08:30:00"),
        ("2026-10-01T08:30Z", "2026-10-01T08:30:00"),
        ("2026-10-01T08:30:00z", "2026-10-01T08:30:00"),
        ("2026-10-01T08:30:00+05:45", "2026-10-01T02:45:00"),
        ("2026-10-01T08:30:00-0500", "2026-10-01T13:30:00"),
        ("2026-10-01 08:30:00+00:00", "2026-10-01T08:30:00"),
    ],
)
def test_iso_8601_with_a_zone(text: str, utc: str) -> None:
    assert parse_time(text, PARIS, NOW_S) == datetime.fromisoformat(utc).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("zone", "text", "utc"),
    [
        ("Asia/Kolkata", "2026-10-01", "2026-09-30T18:30:00"),
        ("Asia/Kathmandu", "2026-10-01T08:30", "2026-10-01T02:45:00"),
        ("Australia/Lord_Howe", "2026-10-01", "2026-09-30T13:30:00"),
        ("Europe/Paris", "2026-10-26", "2026-10-25T23:00:00"),
        ("Europe/Paris", "2026-10-25T02:30", "2026-10-25T00:30:00"),  # the first of the two
    ],
)
def test_times_without_a_zone_are_the_sites(zone: str, text: str, utc: str) -> None:
    meant = datetime.fromisoformat(utc).replace(tzinfo=UTC).timestamp()
    assert parse_time(text, ZoneInfo(zone), NOW_S) == meant


def test_the_hour_that_comes_twice_does_not_change_other_times() -> None:
    """In Havana midnight came twice on 2026-11-01; `today` is the first, also while the second hour runs."""
    havana = ZoneInfo("America/Havana")
    second_half_past = datetime(2026, 11, 1, 5, 30, tzinfo=UTC).timestamp()
    assert parse_time("today", havana, second_half_past) == datetime(2026, 11, 1, 4, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    "text",
    [
        "", "yesterdays", "2026-13-01", "2026-02-30", "25:00", "13:00PM", "0:00AM", "08:60", "7days", "now-",
        "now-7fortnights", "2026-10-01T", "2026-10-01T08", "2026-10-01T08:30:00X", "1790000000", "0230", "9999999999",
        "0001-01-01T00:00", "now-99999999999999999999days", "now+9999999weeks", "now-" + "9" * 5000,
    ],
)  # fmt: skip
def test_what_is_no_time_is_refused_with_examples(text: str) -> None:
    with pytest.raises(WrongUseError) as refused:
        parse_time(text, PARIS, NOW_S)
    assert repr(text) in refused.value.what
    assert "now-7days" in refused.value.advice


@given(text=st.text(max_size=30) | st.from_regex(r"[0-9./:T +-]{1,20}", fullmatch=True))
def test_anything_is_a_time_or_refused(text: str) -> None:
    try:
        time_s = parse_time(text, PARIS, NOW_S)
    except WrongUseError:
        return
    assert datetime.fromtimestamp(time_s, PARIS)


@given(st.datetimes(datetime(1990, 1, 1), datetime(2037, 1, 1)))
def test_what_sacct_would_print_is_read_back(when: datetime) -> None:
    text = when.strftime("%Y-%m-%dT%H:%M:%S")
    assert parse_time(text, ZoneInfo("Asia/Kathmandu"), NOW_S) == in_kathmandu(text)


def in_kathmandu(text: str) -> float:
    return datetime.fromisoformat(f"{text}+05:45").timestamp()
