"""The section `site_meter`."""

from __future__ import annotations

import pytest

from tests.site_config.conftest import DESIGN, Problems, Read


def test_a_site_needs_none(read: Read) -> None:
    assert read(DESIGN).site_meter is None


def test_a_file_is_relative_to_the_configuration(read: Read) -> None:
    meter = read(DESIGN + "site_meter: {csv: readings/meter.csv}\n").site_meter
    assert meter is not None
    assert meter.csv is not None
    assert meter.csv.is_absolute()
    assert meter.csv.parts[-2:] == ("readings", "meter.csv")


def test_a_query(read: Read) -> None:
    section = "site_meter: {prometheus: {url: http://prometheus:9090}, query: sum(site_watts), unit: W}\n"
    meter = read(DESIGN + section).site_meter
    assert meter is not None
    assert (meter.query, meter.unit, meter.step_s, meter.max_gap_s) == ("sum(site_watts)", "W", 300.0, 3600.0)


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ("{}", "needs either csv, a file start,end,kwh, or prometheus with query and unit"),
        ("{csv: a.csv, unit: kWh}", "query and unit go with prometheus"),
        ("{prometheus: {url: 'http://p:9090'}, query: x}", "needs query, PromQL that gives one series, and its unit"),
        ("{prometheus: {url: 'http://p:9090'}, query: x, unit: MW}", "must be one of mW, W, kW"),
        ("{csv: a.csv, step_s: 7200}", "max_gap_s: must be at least step_s"),
        ("{file: a.csv}", "unknown key"),
    ],
)
def test_what_cannot_be_meant(problems: Problems, section: str, says: str) -> None:
    (problem,) = problems(DESIGN + f"site_meter: {section}\n")
    assert says in problem
