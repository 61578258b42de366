"""Dumps: what is put together again, what is rejected, and what stops a run with one clear line."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from accounting.model import Job, Reject
from accounting.sources import SourceError
from collectors.slurm.file import FileSource
from collectors.slurm.rows import NEEDED, RowReader
from tests.collectors.slurm import world
from tests.collectors.slurm.test_odd_rows import ORDINARY

COLUMNS = "JobIDRaw|JobID|Submit|Start|End|NodeList|AllocTRES|State|User|Account|Partition|JobName"


def line(job_id: int, name: str = "train", **changed: str) -> str:
    row = ORDINARY | {"JobIDRaw": str(job_id), "JobID": str(job_id), "JobName": name} | changed
    return "|".join(row[column] for column in COLUMNS.split("|")) + "\n"


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    return tmp_path / "sacct.txt"


def read(path: Path, since_s: float = 0, until_s: float = 2**33) -> list[Job | Reject]:
    return list(FileSource("alpha", path).jobs(since_s, until_s))


def names(path: Path) -> list[tuple[int, str | None] | str]:
    """Ids and names of the jobs, and the raw text of what was rejected."""
    return [row.raw if isinstance(row, Reject) else (row.job_id, row.name) for row in read(path)]


# --- what a dump may look like


def test_a_header_alone_has_no_jobs(dump: Path) -> None:
    dump.write_text(COLUMNS + "\n")
    assert read(dump) == []


@pytest.mark.parametrize(
    ("separator", "end"), [("|", ""), ("|", "|"), ("\t", ""), ("\x1f", "\x1f"), ("||", ""), ("¦¦", "¦¦")]
)
def test_any_separator_and_both_of_saccts_ways_to_end_a_row(dump: Path, separator: str, end: str) -> None:
    text = COLUMNS + "\n" + line(42, NodeList="n1") + line(43, AllocTRES="gres/gpu=1")
    dump.write_text("".join(row.replace("|", separator) + end + "\n" for row in text.splitlines()))
    assert [(job.job_id, job.gpus) for job in read(dump) if isinstance(job, Job)] == [
        (42, 2),
        (43, 1),
    ] or separator == ","
    assert [job.job_id for job in read(dump) if isinstance(job, Job)][-1] == 43


def test_lines_that_passed_through_windows(dump: Path) -> None:
    text = COLUMNS.replace("|JobName", "") + "\n" + line(42).replace("|train", "")
    dump.write_bytes(text.replace("\n", "\r\n").encode())
    (job,) = read(dump)
    assert isinstance(job, Job)
    assert job.partition == "gpu"


def test_columns_in_any_order_any_case_and_with_others_between(dump: Path) -> None:
    dump.write_text(
        "JobName|jobidraw|Elapsed|STATE|User|AllocTRES|Account|JobID|Partition|End|MaxRSS|Start|NodeList|Submit\n"
        "a|42|00:10:00|FAILED|ada|gres/gpu=1|phys|42|gpu|1790813410|1G|1790812810|n7|1790812800\n"
    )
    (job,) = read(dump)
    assert isinstance(job, Job)
    assert (job.job_id, job.state, job.gpus, job.nodes, job.name) == (42, "FAILED", 1, ("n7",), "a")
    assert (job.uid, job.qos, job.exit_code, job.restarts) == (None, None, None, None)  # not said


def test_steps_are_left_out(dump: Path) -> None:
    step = line(42).replace("42|42", "42.batch|42.batch")
    dump.write_text(COLUMNS + "\n" + line(42) + step + line(43) + step.replace("batch", "0"))
    assert names(dump) == [(42, "train"), (43, "train")]


@pytest.mark.parametrize("met", [False, True], ids=["alone", "among others like it"])
def test_only_what_was_there_in_the_window(dump: Path, met: bool) -> None:
    """[since, until): a job that ends when the window begins is not in it, nor one that begins when it ends."""
    other = line(9, Start="1790812810", End="1790812820") * met

    def there(since_s: float, until_s: float) -> bool:
        return any(isinstance(job, Job) and job.job_id == 1 for job in read(dump, since_s, until_s))

    dump.write_text(COLUMNS + "\n" + other + line(1, Start="1790812900", End="1790813000") + other)
    assert [there(*window) for window in ((0, 1790812900), (1790813000, 2**33))] == [False, False]
    assert [there(*window) for window in ((0, 1790812901), (1790812999, 2**33))] == [True, True]
    dump.write_text(COLUMNS + "\n" + other + line(1, Start="1790813000", End="1790813000") + other)  # no time at all
    assert [there(*window) for window in ((1790812900, 1790813000), (1790813000, 1790813001))] == [False, True]


# --- names that break rows


def test_a_name_with_the_separator(dump: Path) -> None:
    dump.write_text(COLUMNS + "\n" + line(42, "a|b||c") + line(43))
    assert names(dump) == [(42, "a|b||c"), (43, "train")]


def test_a_name_with_the_separator_in_the_middle_of_the_columns(dump: Path) -> None:
    dump.write_text("JobName|" + COLUMNS.removesuffix("|JobName") + "\na|b|" + line(42).removesuffix("|train\n") + "\n")
    assert names(dump) == [(42, "a|b")]


def test_a_name_with_newlines_in_the_last_column(dump: Path) -> None:
    dump.write_text(COLUMNS + "\n" + line(41) + line(42, "two\nlines") + line(43, "and\n\nthree") + line(44, "x\ny"))
    assert names(dump) == [(41, "train"), (42, "two\nlines"), (43, "and\n\nthree"), (44, "x\ny")]


def test_the_rest_of_a_name_belongs_to_its_row_also_where_that_is_outside_the_window(dump: Path) -> None:
    dump.write_text(COLUMNS + "\n" + line(42, "two\nlines", End="1790812811") + line(43))
    assert [job.job_id for job in read(dump, 1790813000, 2**33) if isinstance(job, Job)] == [43]
    assert len(read(dump, 1790813000, 2**33)) == 1


def test_a_name_with_newlines_in_the_middle_of_the_columns(dump: Path) -> None:
    header = "JobIDRaw|JobName|" + COLUMNS.removeprefix("JobIDRaw|").removesuffix("|JobName")
    rest = line(42).removeprefix("42|").removesuffix("|train\n")
    dump.write_text(f"{header}\n41|plain|{rest}\n42|two\nor\nmore|{rest}\n43|plain|{rest}\n")
    assert names(dump) == [(41, "plain"), (42, "two\nor\nmore"), (43, "plain")]


def test_a_broken_row_does_not_take_the_next_with_it(dump: Path) -> None:
    broken = line(42)[:40]
    dump.write_text(COLUMNS + "\n" + line(41) + broken + "\n" + line(43) + line(44) + "49|x\n" + line(45))
    assert {name for name in names(dump) if isinstance(name, tuple)} == {(id, "train") for id in (41, 43, 44, 45)}
    assert [name for name in names(dump) if isinstance(name, str)] == [broken, "49|x"]
    rejects = [row for row in read(dump) if isinstance(row, Reject)]
    assert [reject.where for reject in rejects] == [f"{dump}:3", f"{dump}:6"]
    assert all("fewer than the 12 fields" in reject.reason for reject in rejects)


def test_two_broken_rows_apart_are_two(dump: Path) -> None:
    """What is left of one is not put together with what is left of the other, many rows later."""
    left, right = line(42)[:60], line(42)[60:].removesuffix("\n")
    between = "".join(line(job_id) for job_id in range(100, 105))
    dump.write_text(COLUMNS + "\n" + left + "\n" + between + right + "\n" + between)
    rows = read(dump)
    assert len([row for row in rows if isinstance(row, Job)]) == 10
    assert 42 not in {row.job_id for row in rows if isinstance(row, Job)}


def test_a_row_that_never_ends_is_given_up(dump: Path) -> None:
    dump.write_text("JobName|" + COLUMNS.removesuffix("|JobName") + "\n" + "x\n" * 20_000 + "y|" + line(7)[:-7] + "\n")
    rows = read(dump)
    assert isinstance(rows[0], Reject)
    assert len(rows[0].raw) < 20_000


def test_bad_rows_are_kept_with_their_line(dump: Path) -> None:
    dump.write_text(COLUMNS + "\n" + line(41) + line(42, AllocTRES="gres/gpu=two") + line(43))
    reject = next(row for row in read(dump) if isinstance(row, Reject))
    assert reject.source == "file"
    assert reject.where == f"{dump}:3"
    assert reject.raw == line(42, AllocTRES="gres/gpu=two").removesuffix("\n")
    assert "gres/gpu=two" in reject.reason


# --- what stops a run


def failure(path: Path) -> SourceError:
    with pytest.raises(SourceError) as caught:
        read(path)
    assert caught.value.advice
    assert "\n" not in caught.value.what
    assert str(path) in caught.value.what
    return caught.value


def test_no_such_file(dump: Path) -> None:
    assert "cannot be read: No such file or directory" in failure(dump).what


def test_a_folder(tmp_path: Path) -> None:
    assert "cannot be read: Is a directory" in failure(tmp_path).what


@pytest.mark.parametrize("text", ["", "\n"])
def test_an_empty_file(dump: Path, text: str) -> None:
    dump.write_text(text)
    assert "is empty, without even a header line" in failure(dump).what


def test_a_column_that_is_missing(dump: Path) -> None:
    dump.write_text(COLUMNS.replace("|AllocTRES", "") + "\n")
    error = failure(dump)
    assert "has no column AllocTRES" in error.what
    assert "AllocTRES" in error.advice


def test_a_dump_without_its_header(dump: Path) -> None:
    dump.write_text(line(42) + line(43))
    assert "has no column JobIDRaw" in failure(dump).what


@pytest.mark.parametrize("cut", [3, 30, 60, len(line(43)) - 1])
def test_a_dump_that_was_cut_short(dump: Path, cut: int) -> None:
    """Also where the cut leaves all fields: a count may have lost its last digits."""
    dump.write_text(COLUMNS + "\n" + line(42) + line(43)[:cut])
    assert "ends in the middle of a line" in failure(dump).what


def test_a_header_that_was_cut_short(dump: Path) -> None:
    dump.write_text(COLUMNS)
    assert "ends in the middle of a line" in failure(dump).what


# --- JSON


def write_json(path: Path, answer: Any) -> None:
    path.write_text(answer if isinstance(answer, str) else json.dumps(answer))


def test_json_that_was_cut_short(dump: Path) -> None:
    whole = json.dumps(world.answer(list(world.RECORDS), None))
    for cut in (1, 50, len(whole) // 2, len(whole) - 1):
        write_json(dump, whole[:cut])
        assert "is no whole JSON document" in failure(dump).what


@pytest.mark.parametrize("text", ["{]", "{1: 2}", '{"jobs": 5}', '{"jobs": [}', '{"jobs": [1 2}', "{,}"])
def test_json_that_is_none(dump: Path, text: str) -> None:
    write_json(dump, text)
    failure(dump)


def test_json_with_slurms_error(dump: Path) -> None:
    error = {"error_number": 1007, "error": "Protocol authentication error", "source": "slurmdb_jobs_get"}
    write_json(dump, {"meta": {}, "errors": [error], "jobs": []})
    assert "holds an error of Slurm's: Protocol authentication error: slurmdb_jobs_get" in failure(dump).what


def test_json_without_jobs(dump: Path) -> None:
    write_json(dump, {"meta": {}, "errors": []})
    assert "has no `jobs` in it" in failure(dump).what


def test_json_with_nothing_found(dump: Path) -> None:
    """Slurm 22.05 calls that an error."""
    write_json(dump, {"errors": [{"error_number": 9003, "error": "Nothing found with query"}], "jobs": []})
    assert read(dump) == []


def test_a_job_in_json_that_cannot_be_understood_is_kept_as_it_came(dump: Path) -> None:
    documents = [world.document(record, 41) for record in world.RECORDS[:3]]
    del documents[0]["time"]["submission"]
    documents[1]["tres"]["allocated"][0]["count"] = "many"
    write_json(dump, {"jobs": documents, "errors": []})
    first, second, third = read(dump)
    assert isinstance(first, Reject)
    assert first.where == f"{dump}, job 1"
    assert json.loads(first.raw) == documents[0]
    assert "submission" in first.reason
    assert isinstance(second, Reject)
    assert isinstance(third, Job)


# --- memory


@pytest.mark.parametrize("kind", ["text", "json"])
def test_a_large_dump_is_not_held_in_memory(dump: Path, kind: str) -> None:
    """Some 4 MB of either, in less than 1 MB."""
    count = {"text": 30_000, "json": 3_000}[kind]
    if kind == "text":
        with dump.open("w") as out:
            out.write(COLUMNS + "\n")
            out.writelines(line(job_id, f"name {job_id}") for job_id in range(1, count + 1))
    else:
        document = json.dumps(world.document(world.RECORDS[0], 41))
        dump.write_text('{"jobs": [' + ", ".join([document] * count) + "]}")
    assert dump.stat().st_size > 3.5e6
    source = FileSource("alpha", dump)
    next(source.jobs(0, 2**33))  # so that what is imported late is not counted
    tracemalloc.start()
    try:
        jobs = sum(1 for _ in source.jobs(0, 2**33))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert jobs == count
    assert peak < 1e6


# --- the documentation


def test_the_dump_of_the_documentation_is_read_at_full_speed() -> None:
    text = (Path(__file__).parents[3] / "docs" / "slurm-sources.md").read_text(encoding="utf-8")
    columns = next(line.strip(" \\") for line in text.splitlines() if line.startswith("  JobIDRaw,")).split(",")
    reader = RowReader("file", "here", "alpha", columns, "¦")
    assert reader._tail_width == 3
    needed = next(line for line in text.splitlines() if line.startswith("- Needed columns")).split("`")[1]
    assert set(needed.split()) == set(NEEDED)
