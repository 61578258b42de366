"""The terminal's table on any figures, as printed: rows and idle are the total, a branch is what stands below it."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from accounting.branches import branches, together
from accounting.document import Document, Period
from accounting.report import Chosen, Sums
from scarbon.reports import table

NAMES = "abcdefgh"
AMOUNT = st.one_of(st.none(), st.floats(0, 1e13), st.floats(0, 10.0))
#: The columns after the name and the number of jobs, but for the coverage, which is no sum.
FIGURES = slice(2, -1)


@st.composite
def sums(draw: st.DrawFn) -> Sums:
    """A group's figures; emissions may be unknown, and so may energy."""
    gpu_j, host_j, embodied_g = (draw(AMOUNT) for _ in range(3))
    nothing = gpu_j is None and host_j is None
    energy_j = None if nothing else (gpu_j or 0.0) + (host_j or 0.0)
    factor = draw(st.one_of(st.none(), st.floats(0, 1e-3)))
    grams = None if energy_j is None or factor is None else energy_j * factor
    return Sums(
        None, draw(st.integers(0, 10**6)), 0, draw(st.floats(0, 1e9)), gpu_j, host_j, energy_j, energy_j,
        grams, None, embodied_g, 0.5,
    )  # fmt: skip


def document(groups: list[Sums], idle: Sums, parents: dict[str, str | None] | None = None) -> Document:
    return Document(
        site="x", timezone="UTC", clusters=("alpha",), period=Period.of("month", date(2026, 10, 1)), by="account",
        chosen=Chosen(), made_s=1.8e9, groups=tuple(groups), idle=idle, total=together([*groups, idle]),
        adjustments=(), adjusted_later=(), before=None, year_before=None, modelled_share=None, reconciliation=(),
        not_accounted=(), quarantined=0, factors=(), wue_l_per_kwh=0.4, budgets=(),
        tree=() if parents is None else branches(groups, parents),
    )  # fmt: skip


def rows(text: str) -> list[tuple[str, list[Decimal | None]]]:
    """Each row's name, indented as it is, and its figures."""
    lines = text.splitlines()[2:]
    ends = [
        place for place in range(1, len(lines[0])) if lines[0][place - 1] != " " and lines[0][place : place + 2] == "  "
    ]
    starts = [0, *ends]
    found = []
    for line in lines[2:]:
        if not line:
            break
        if set(line) != {"-"}:
            cells = [line[a:b].strip() for a, b in zip(starts, [*ends, len(lines[0])], strict=True)]
            cells = [*line[: ends[1]].rsplit("  ", 1), *cells[2:]]
            found.append((cells[0], [figure(cell) for cell in cells[FIGURES]]))
    return found


def figure(cell: str) -> Decimal | None:
    return None if cell == table.UNKNOWN else Decimal(cell.replace(",", ""))


def added(parts: list[list[Decimal | None]]) -> list[Decimal]:
    return [sum((one for one in column if one is not None), Decimal(0)) for column in zip(*parts, strict=True)]


def agree(parts: list[list[Decimal | None]], whole: list[Decimal | None]) -> None:
    """What is known of the whole is the sum of its parts."""
    for part, of_whole in zip(added(parts), whole, strict=True):
        assert of_whole is None or part == of_whole


@settings(max_examples=40, deadline=None)
@given(st.lists(sums(), min_size=1, max_size=8), sums())
def test_rows_and_idle_are_the_total(groups: list[Sums], idle: Sums) -> None:
    named = [replace(group, key=name) for group, name in zip(groups, NAMES, strict=False)]
    *parts, (name, total) = rows(table.render(document(named, idle)))
    assert name.strip() == "total"
    assert len(parts) == len(groups) + 1
    agree([figures for _, figures in parts], total)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(sums(), min_size=1, max_size=8),
    sums(),
    st.dictionaries(st.sampled_from(NAMES), st.one_of(st.none(), st.sampled_from(NAMES))),
)
def test_a_branch_is_what_stands_below_it(groups: list[Sums], idle: Sums, parents: dict[str, str | None]) -> None:
    named = [replace(group, key=name) for group, name in zip(groups, NAMES, strict=False)]
    *parts, (_, total) = rows(table.render(document(named, idle, parents)))
    depths = [(len(name) - len(name.lstrip())) // 2 for name, _ in parts]
    agree([figures for (_, figures), depth in zip(parts, depths, strict=True) if depth == 0], total)
    for place, (_, figures) in enumerate(parts):
        below = []
        for (_, other), depth in zip(parts[place + 1 :], depths[place + 1 :], strict=True):
            if depth <= depths[place]:
                break
            if depth == depths[place] + 1:
                below.append(other)
        if below:
            agree(below, figures)
