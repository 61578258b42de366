"""The quick way through rows and the careful one come to the same, for any rows and any order of columns."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accounting.model import Job, Reject
from collectors.slurm.fields import local_clock, overlaps
from collectors.slurm.rows import HEAD, NEEDED, SHARED, TAIL, RowReader, cut_records
from tests.collectors.slurm.test_odd_rows import ORDINARY, ROWS

#: Every text that a column has in the table of odd rows.
TEXTS = {
    column: sorted({ORDINARY[column], *(changed[column] for _, changed, _ in ROWS if column in changed)})
    for column in ORDINARY
}

rows_of_any_kind = st.fixed_dictionaries({column: st.sampled_from(texts) for column, texts in TEXTS.items()})
rows_with_one_oddity = st.sampled_from([ORDINARY | changed for _, changed, _ in ROWS])
columns_in_any_order = st.permutations([*HEAD, *SHARED, *TAIL])


def careful(row: dict[str, str], columns: list[str], since_s: float, until_s: float) -> list[Any]:
    """One row by the careful way, by a reader that has met nothing."""
    job = RowReader("file", "here", "alpha", columns, "¦").read([row[column] for column in columns], "here")
    if job is None or (isinstance(job, Job) and not overlaps(job, since_s, until_s)):
        return []
    return [job]


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(st.one_of(rows_with_one_oddity, rows_of_any_kind), max_size=12),
    columns=st.one_of(st.just([*HEAD, *SHARED, *TAIL]), st.just([*HEAD, *SHARED, *TAIL[1:]]), columns_in_any_order),
    since_s=st.integers(1790812000, 1790814000),
    length_s=st.integers(1, 2000),
)
def test_quick_and_careful_agree(rows: list[dict[str, str]], columns: list[str], since_s: int, length_s: int) -> None:
    reader = RowReader("file", "here", "alpha", columns, "¦")
    records = ["¦".join(row[column] for column in columns) for row in rows]
    twice = [*records, *records]  # what is met again goes the quick way
    wanted = [job for row in rows for job in careful(row, columns, since_s, since_s + length_s)]
    assert list(reader.jobs([twice[:3], [], twice[3:]], since_s, since_s + length_s)) == wanted * 2


def test_a_job_from_the_quick_way_is_a_job_in_every_field() -> None:
    """It is built without Job's own constructor, which would take no field for granted."""
    columns = [*HEAD, *SHARED, *TAIL]
    record = "¦".join(ORDINARY[column] for column in columns)
    first, second = RowReader("file", "here", "alpha", columns, "¦").jobs([[record, record]], 0, 2**33)
    assert type(second) is Job
    assert repr(second) == repr(first)
    with pytest.raises(AttributeError):
        second.gpus = 7  # type: ignore[misc]


def test_memory_of_texts_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """With more distinct users than are remembered, all are still read right."""
    monkeypatch.setattr("collectors.slurm.rows._REMEMBERED", 10)
    columns = [*HEAD, *SHARED, *TAIL]
    reader = RowReader("file", "here", "alpha", columns, "¦")
    users = [f"user{i % 25}" for i in range(100)]
    records = ["¦".join((ORDINARY | {"User": user})[column] for column in columns) for user in users]
    assert [job.user for job in reader.jobs([records], 0, 2**33) if isinstance(job, Job)] == users
    assert len(reader._shared) <= 10


def test_memory_of_node_lists_is_bounded_by_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collectors.slurm.rows._REMEMBERED_NAMES", 500)
    columns = [*HEAD, *SHARED, *TAIL]
    reader = RowReader("file", "here", "alpha", columns, "¦")
    lists = [f"n[{first}-{first + 99}]" for first in range(1, 1001, 7)]
    records = ["¦".join((ORDINARY | {"NodeList": nodes})[column] for column in columns) for nodes in lists]
    jobs = [job for job in reader.jobs([records], 0, 2**33) if isinstance(job, Job)]
    assert [(job.nodes[0], len(job.nodes)) for job in jobs] == [(f"n{first}", 100) for first in range(1, 1001, 7)]
    assert sum(map(len, reader._nodes.values())) <= 600


@pytest.mark.parametrize("missing", NEEDED)
def test_a_needed_column_that_is_missing_is_named(missing: str) -> None:
    columns = [column for column in (*HEAD, *SHARED, *TAIL) if column != missing]
    with pytest.raises(KeyError, match=missing):
        RowReader("file", "here", "alpha", columns, "|")


def test_a_row_with_a_field_too_few_or_too_many_is_rejected() -> None:
    columns = [*HEAD, *SHARED, *TAIL]
    reader = RowReader("file", "here", "alpha", columns, "|")
    record = "|".join(ORDINARY[column] for column in columns)
    few, many = reader.jobs([[record.rpartition("|")[0], record + "|x"]], 0, 2**33)
    assert isinstance(few, Reject)
    assert few.reason == "the row has 21 fields under a header of 22"
    assert isinstance(many, Reject)
    assert many.raw == record + "|x"


@given(texts=st.lists(st.text(alphabet="aé日|\n\x1f", max_size=5), max_size=6), size=st.integers(1, 7))
def test_records_are_cut_the_same_wherever_the_pieces_end(texts: list[str], size: int) -> None:
    end = "\x1fzz\x1f\n"
    whole = "".join(text + end for text in texts).encode()
    pieces = [whole[i : i + size] for i in range(0, len(whole), size)]
    assert [record for records in cut_records(pieces, end, AssertionError) for record in records] == texts


def test_a_text_that_breaks_off_says_so() -> None:
    with pytest.raises(EOFError):
        list(cut_records([b"a|\nb|"], "|\n", EOFError))


def test_bytes_that_are_no_utf_8_are_kept_as_escapes() -> None:
    assert list(cut_records([b"caf\xe9\n"], "\n", AssertionError)) == [["caf\\xe9"]]


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-10-01T00:00:00", 1790805600),  # UTC+2
        ("2026-12-01T00:00:00", 1796079600),  # UTC+1
        ("2026-10-25T02:30:00", 1792888200),  # comes twice: the first is meant, still UTC+2
        ("2026-10-25T03:00:00", 1792893600),  # UTC+1
        ("2026-10-01T00:00:00Z", 1790812800),
        ("2026-10-01T00:00:00-05:00", 1790830800),
        ("1790812800", 1790812800),
        ("Unknown", None),
        ("None", None),
    ],
)
def test_local_times(text: str, instant: int | None) -> None:
    """Instants from `date -u -d '2026-10-01' +%s` and hand calculation."""
    from zoneinfo import ZoneInfo

    assert local_clock(ZoneInfo("Europe/Paris"))(text) == instant


def test_a_local_time_needs_a_zone() -> None:
    with pytest.raises(ValueError, match="has no zone"):
        local_clock(None)("2026-10-01T00:00:00")
