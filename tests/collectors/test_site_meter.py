"""The meter of the whole site from a file and from a query's answers, by hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from accounting.model import SiteReading
from accounting.sources import SourceError
from collectors.prometheus import Series
from collectors.site_meter import FileSiteMeter, PrometheusSiteMeter

HEAD = "start,end,kwh\n"


def file(tmp_path: Path, text: str) -> FileSiteMeter:
    path = tmp_path / "meter.csv"
    path.write_text(text)
    return FileSiteMeter(path)


def test_a_files_readings_in_order_of_time(tmp_path: Path) -> None:
    meter = file(
        tmp_path,
        HEAD + "1970-01-01T02:00:00+01:00,1970-01-01T02:00:00Z,3\n1970-01-01T00:00:00Z,1970-01-01T01:00:00Z,0.5\n",
    )
    assert list(meter.stretches(0, 7200)) == [SiteReading(0, 3600, 1.8e6), SiteReading(3600, 7200, 1.08e7)]
    assert list(meter.stretches(3600, 7200)) == [SiteReading(3600, 7200, 1.08e7)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("start,end,mwh\n", "meter.csv:1: the header must be start,end,kwh, not 'start,end,mwh'"),
        (HEAD + "1970-01-01T00:00:00,1970-01-01T01:00:00Z,1\n", "has no time zone"),
        (HEAD + "1970-01-01T00:00:00Z,1970-01-01T00:00:00Z,1\n", "not after its start"),
        (HEAD + "1970-01-01T00:00:00Z,1970-01-01T01:00:00Z,-1\n", "-1 kWh is not between 0 and"),
        (HEAD + "1970-01-01T00:00:00Z,1970-01-01T01:00:00Z,nan\n", "nan kWh is not between 0 and"),
        (
            HEAD + "1970-01-01T00:00:00Z,1970-01-01T02:00:00Z,1\n1970-01-01T01:00:00Z,1970-01-01T03:00:00Z,1\n",
            "overlap",
        ),
    ],
)
def test_a_file_with_a_mistake_is_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(SourceError) as caught:
        list(file(tmp_path, text).stretches(0, 1e9))
    assert says in caught.value.what


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"none\.csv: no such file") as caught:
        list(FileSiteMeter(tmp_path / "none.csv").stretches(0, 1))
    assert caught.value.advice == "check `csv` under site_meter"


class Answers:
    """What a Prometheus answers, in pieces."""

    def __init__(self, *pieces: Sequence[tuple[float, float]], labels: Sequence[dict[str, str]] = ()) -> None:
        self._pieces = pieces
        self._labels = labels or [{}] * len(pieces)
        self.asked: tuple[Any, ...] = ()

    def over(self, query: str, start_s: float, end_s: float, step_s: float) -> Iterator[Series]:
        self.asked = (query, start_s, end_s, step_s)
        for piece, labels in zip(self._pieces, self._labels, strict=True):
            yield Series(
                labels, np.array([at for at, _ in piece], float), np.array([value for _, value in piece], float)
            )


def readings(answers: Answers, unit: str) -> list[SiteReading]:
    meter = PrometheusSiteMeter(answers, "site", unit, 300.0, 600.0)  # type: ignore[arg-type]
    return list(meter.stretches(1000, 2000))


def test_power_by_trapezoids() -> None:
    """2 kW and 4 kW, 300 s apart: 900 kJ. A sample on the edge of two pieces comes twice, and counts once."""
    answers = Answers([(900, 2), (1200, 4)], [(1200, 4), (1500, 4)])
    assert readings(answers, "kW") == [SiteReading(900, 1200, 9e5), SiteReading(1200, 1500, 1.2e6)]
    assert answers.asked == ("site", 700.0, 2300.0, 300.0)


def test_a_counter_by_its_differences() -> None:
    """In kWh; it fell at 1500, and what it had by then is not known."""
    answers = Answers([(900, 10.0), (1200, 10.5), (1500, 0.1), (1800, 0.2)])
    assert [(one.start_s, one.energy_j) for one in readings(answers, "kWh")] == [
        (900, pytest.approx(1.8e6)), (1500, pytest.approx(3.6e5)),
    ]  # fmt: skip


def test_a_long_gap_says_nothing() -> None:
    assert [one.start_s for one in readings(Answers([(900, 1), (1500, 1), (2101, 1), (2200, 1)]), "W")] == [900, 2101]


def test_what_is_no_number_is_no_sample() -> None:
    assert readings(Answers([(900, 1), (1200, float("nan")), (1500, 1)]), "W") == [SiteReading(900, 1500, 600.0)]


def test_several_series_are_refused() -> None:
    answers = Answers([(900, 1)], [(900, 1)], labels=[{"meter": "a"}, {"meter": "b"}])
    with pytest.raises(SourceError, match="gives several series") as caught:
        readings(answers, "W")
    assert caught.value.advice == "make it one, for instance sum(…)"
