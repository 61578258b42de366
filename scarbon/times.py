"""Times as sacct's users type them, in the site's time zone, and months and days of reports."""

from __future__ import annotations

import re
import time
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from accounting.clock import day_of, day_start
from scarbon.errors import WrongUseError

_UNITS_S = {"": 1, "second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 7 * 86400}
#: Patterns are compiled when they are needed: a command that says `midnight` and `now` needs one of them.
_RELATIVE = r"now\s*(?:([+-])\s*(\d+)\s*(second|minute|hour|day|week)?s?)?"
#: sacct's words for an hour of today (`man sacct`, "Valid time formats", and Slurm's parse_time.c).
_WORDS = {"today": 0, "midnight": 0, "elevenses": 11, "noon": 12, "fika": 15, "teatime": 16}
_CLOCK = r"(\d{1,2}):(\d\d)(?::(\d\d))?\s*([AaPp][Mm])?"
_DATES = (
    r"(?P<year>\d{4})-(?P<month>\d{1,2})-(?P<day>\d{1,2})(?:[T -](?P<clock>.+))?",
    r"(?P<month>\d{1,2})[/.](?P<day>\d{1,2})(?:[/.](?P<year>\d\d|\d{4}))?(?:[T -](?P<clock>.+))?",
    r"(?P<month>\d\d)(?P<day>\d\d)(?P<year>\d\d)?(?:[T -](?P<clock>.+))?",
)


def parse_time(text: str, zone: ZoneInfo, now_s: float) -> float:
    """A time as sacct takes it, or ISO 8601 with `Z` or an offset, as UTC epoch seconds.

    Times without a zone are the site's. WrongUseError, with examples, for anything else.
    """
    given = text.strip()
    try:
        time_s = (
            _relative(match, now_s)
            if (match := re.fullmatch(_RELATIVE, given.lower()))
            else _absolute(given, datetime.fromtimestamp(now_s, zone)).timestamp()
        )
        datetime.fromtimestamp(time_s, zone)
    except (ValueError, OverflowError, OSError):  # no time, or one that no calendar has
        raise WrongUseError(
            f"cannot read the time {text!r}",
            "write for example 2026-10-01, 2026-10-01T08:30, 2026-10-01T08:30:00Z, now-7days, today or 08:30",
        ) from None
    return time_s


def window(start: str | None, end: str | None, zone: ZoneInfo) -> tuple[float | None, float | None]:
    """What -S and -E say, as `parse_time` does; None where they were left out. WrongUseError where it is no time."""
    now_s = time.time()
    start_s = None if start is None else parse_time(start, zone, now_s)
    end_s = None if end is None else parse_time(end, zone, now_s)
    if start_s is not None and end_s is not None and end_s <= start_s:
        raise WrongUseError("the window ends before it begins", "check -S and -E")
    return start_s, end_s


def midnight(text: str, zone: ZoneInfo) -> date:
    """The day that begins at a time; WrongUseError where none does."""
    time_s = parse_time(text, zone, time.time())
    day = day_of(zone, time_s)
    if day_start(zone, day) != time_s:
        raise WrongUseError(f"{text} is no midnight in {zone.key}", "whole days are asked for; name a date")
    return day


def _relative(match: re.Match[str], now_s: float) -> float:
    sign, count, unit = match.groups()
    return now_s + (-1 if sign == "-" else 1) * int(count or 0) * _UNITS_S[unit or ""]


def _absolute(text: str, now: datetime) -> datetime:
    # `fold` says which of two equal times the present is; it says nothing of another time.
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    word = text.lower()
    if word in _WORDS:
        return midnight.replace(hour=_WORDS[word])
    if word in ("tomorrow", "yesterday"):
        return midnight + timedelta(days=1 if word == "tomorrow" else -1)
    if re.fullmatch(r"\d{4}-\d\d-\d\d[T ].*(Z|z|[+-]\d\d:?\d\d)", text):
        return datetime.fromisoformat(text.replace("z", "Z"))
    if re.fullmatch(_CLOCK, text):
        return _at(midnight, text)
    for pattern in _DATES:
        if match := re.fullmatch(pattern, text):
            parts = match.groupdict()
            month = int(parts["month"])
            day = midnight.replace(year=_year(parts["year"], month, now), month=month, day=int(parts["day"]))
            return _at(day, parts["clock"]) if parts["clock"] else day
    raise ValueError(text)


def _year(text: str | None, month: int, now: datetime) -> int:
    """The year as written, in full or its last two digits; where none is, the last one that has come to the month."""
    if text is None:
        return now.year - 1 if month > now.month else now.year
    return int(text) + 2000 if len(text) == 2 else int(text)


def _at(day: datetime, clock: str) -> datetime:
    match = re.fullmatch(_CLOCK, clock)
    if match is None:
        raise ValueError(clock)
    hour, minute, second, half = match.groups()
    hours = int(hour)
    if half:
        if not 1 <= hours <= 12:
            raise ValueError(clock)
        hours = hours % 12 + (12 if half.lower() == "pm" else 0)
    return day.replace(hour=hours, minute=int(minute), second=int(second or 0))
