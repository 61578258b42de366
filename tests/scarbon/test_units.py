"""Quantities as people read them; each expected text is worked out by hand."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scarbon import units

IN_J = {"mWh": 3.6, "Wh": 3.6e3, "kWh": 3.6e6, "MWh": 3.6e9, "GWh": 3.6e12, "TWh": 3.6e15}
IN_G = {"mg": 1e-3, "g": 1.0, "kg": 1e3, "t": 1e6, "kt": 1e9, "Mt": 1e12}


@pytest.mark.parametrize(
    ("grams", "text"),
    [
        (0, "0 g"),
        (-0.000004, "0 g"),
        (0.0004, "0.40 mg"),
        (0.0123, "12.3 mg"),
        (0.9994, "999 mg"),
        (0.9996, "1.00 g"),
        (1, "1.00 g"),
        (9.994, "9.99 g"),
        (9.996, "10.0 g"),
        (99.94, "99.9 g"),
        (99.96, "100 g"),
        (999.4, "999 g"),
        (999.95, "1.00 kg"),
        (1000, "1.00 kg"),
        (1234.5, "1.23 kg"),
        (999_499, "999 kg"),
        (999_501, "1.00 t"),
        (12_345_678, "12.3 t"),
        (999.6e6, "1.00 kt"),
        (12.3e9, "12.3 kt"),
        (-42.0, "-42.0 g"),  # an adjustment
        (None, ""),
    ],
)
def test_mass(grams: float | None, text: str) -> None:
    assert units.mass(grams) == text


@pytest.mark.parametrize(
    ("joules", "text"),
    [
        (0, "0 Wh"),
        (3.6, "1.00 mWh"),
        (576, "160 mWh"),
        (3_599, "1.00 Wh"),
        (3_600, "1.00 Wh"),
        (3.6e6, "1.00 kWh"),
        (3.5975e6, "999 Wh"),
        (3.5999e6, "1.00 kWh"),
        (4.2e9, "1.17 MWh"),
        (3.6e12, "1.00 GWh"),
        (None, ""),
    ],
)
def test_energy(joules: float | None, text: str) -> None:
    assert units.energy(joules) == text


@pytest.mark.parametrize(
    ("joules", "prefix", "text"),
    [
        (3.6e6, "K", "1.00 kWh"),
        (0, "K", "0 kWh"),
        (3.6, "K", "0.00000100 kWh"),
        (45e9, "K", "12500 kWh"),
        (45e9, "M", "12.5 MWh"),
        (3.5999e6, "K", "1.00 kWh"),
        (3.5963e6, "K", "0.999 kWh"),
        (3.6e12, "G", "1.00 GWh"),
        (-1.8e6, "K", "-0.500 kWh"),
    ],
)
def test_energy_in_the_unit_that_was_asked_for(joules: float, prefix: str, text: str) -> None:
    assert units.energy(joules, prefix=prefix) == text


def test_what_is_unknown_is_named_as_the_caller_says() -> None:
    assert units.energy(None, "?") == units.mass(None, "?") == units.share(None, "?") == "?"


@pytest.mark.parametrize(
    ("ratio", "text"),
    [
        (0, "0%"),
        (0.00001, "0.1%"),  # not 0%: some of it was measured
        (0.001, "0.1%"),
        (0.5, "50%"),
        (0.937, "93.7%"),
        (0.9994, "99.9%"),
        (0.99999, "99.9%"),  # not 100%: not all of it was measured
        (1, "100%"),
        (1 - 1e-13, "100%"),  # floating point
        (-0.0988, "-9.9%"),  # less than nothing, after an adjustment
        (-0.00001, "-0.1%"),
    ],
)
def test_share(ratio: float, text: str) -> None:
    assert units.share(ratio) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "00:00:00"),
        (59.9, "00:00:59"),
        (3_661, "01:01:01"),
        (86_399, "23:59:59"),
        (86_400, "1-00:00:00"),
        (10 * 86_400 + 5, "10-00:00:05"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert units.duration(seconds) == text


def read_back(text: str, sizes: dict[str, float]) -> float:
    match = re.fullmatch(r"(-?\d+(?:\.\d+)?) (\w+)", text)
    assert match, text
    return float(match[1]) * sizes[match[2]]


@given(st.floats(3.6, 1e16))
def test_energy_reads_back_within_half_a_per_cent(joules: float) -> None:
    text = units.energy(joules)
    assert read_back(text, IN_J) == pytest.approx(joules, rel=0.005)
    assert len(text.partition(" ")[0]) <= 5


@given(st.floats(1e-3, 1e13))
def test_mass_reads_back_within_half_a_per_cent(grams: float) -> None:
    assert read_back(units.mass(grams), IN_G) == pytest.approx(grams, rel=0.005)


@given(st.floats(3.6, 1e15), st.floats(1.01, 1000))
def test_more_is_never_shown_as_less(joules: float, factor: float) -> None:
    less, more = units.energy(joules), units.energy(joules * factor)
    assert read_back(less, IN_J) <= read_back(more, IN_J)


@given(st.floats(0, 1))
def test_only_nothing_is_0_per_cent_and_only_all_is_100(ratio: float) -> None:
    text = units.share(ratio)
    assert (text == "0%") == (ratio == 0)
    assert (text == "100%") == (ratio > 1 - 1e-11)
