"""Slurm's JSON, version by version: the shapes that changed, and the values that stand for nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from accounting.model import Job, Reject
from collectors.slurm.answers import BrokenOffError, JobsDocument, errors_of
from collectors.slurm.documents import number, read_job
from collectors.slurm.fields import waiting_tasks
from tests.collectors.slurm import world
from tests.collectors.slurm.world import START_S, VERSIONS, Record


def job(document: dict[str, Any]) -> Job:
    read = read_job(document, "", "slurmrestd", "here", "alpha")
    assert isinstance(read, Job), read
    return read


@pytest.mark.parametrize("version", VERSIONS)
def test_the_shape_of_each_version(version: int | None) -> None:
    """The published differences, held against the documents that the contract runs on."""
    document = world.document(Record(1, 0, 10, 20, exit=(3, 0), array=(7, 0, "", 0), restarts=2, sluid="s1X"), version)
    at_40 = version is not None and version >= 40
    assert isinstance(document["state"]["current"], list if at_40 else str)
    assert isinstance(document["array"]["task_id"], int if version is None else dict)
    assert isinstance(document["exit_code"]["return_code"], dict if at_40 else int)
    assert ("restart_cnt" in document) == (version is not None and version >= 42)
    assert ("sluid" in document) == (version is not None and version >= 45)
    read = job(document)
    assert read.label == "7_0"
    assert read.exit_code == ("3:0" if at_40 else "0:0")
    assert read.restarts == (2 if "restart_cnt" in document else None)
    assert read.sluid == ("s1X" if "sluid" in document else None)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (None, None),
        (0, 0),
        (7, 7),
        ("7", 7),
        ("", None),
        ({"set": True, "infinite": False, "number": 7}, 7),
        ({"set": True, "infinite": False, "number": 0}, 0),
        ({"set": False, "infinite": False, "number": 0}, None),
        ({"set": False, "infinite": True, "number": 0}, None),
    ],
)
def test_a_number_that_may_be_absent(value: Any, wanted: int | None) -> None:
    assert number(value) == wanted


@pytest.mark.parametrize("value", [True, [7], "seven", {"set": True, "number": []}])
def test_what_is_no_number(value: Any) -> None:
    with pytest.raises(ValueError, match=r"number|invalid literal"):
        number(value)


@pytest.mark.parametrize("none", [0, None, 4294967294, 4294967295, {"set": False, "infinite": True, "number": 0}])
def test_instants_that_are_none(none: Any) -> None:
    document = world.document(Record(1, 0, 10, 20), 41)
    document["time"]["start"] = document["time"]["end"] = none
    assert (job(document).start_s, job(document).end_s) == (None, None)


@pytest.mark.parametrize(
    ("current", "state"),
    [
        ("RUNNING", "RUNNING"),
        (["RUNNING"], "RUNNING"),
        (["COMPLETED", "COMPLETING"], "COMPLETING"),  # as Slurm's text has it: flags before the base state
        (["PENDING", "REQUEUED"], "REQUEUED"),
        (["RUNNING", "RESIZING"], "RESIZING"),
        (["CANCELLED", "A_FLAG_TO_COME"], "CANCELLED"),
    ],
)
def test_states(current: Any, state: str) -> None:
    document = world.document(Record(1, 0, 10, 20), 41)
    document["state"]["current"] = current
    assert job(document).state == state


@pytest.mark.parametrize("count", [None, -2, 0, 18446744073709551614, {"set": False, "number": 0}])
def test_energy_that_nobody_measured(count: Any) -> None:
    document = world.document(Record(1, 0, 10, 20), 41)
    document["tres"]["allocated"] = [{"type": "energy", "name": "", "id": 3, "count": count}]
    assert job(document).consumed_energy_j is None


def test_energy_that_somebody_measured() -> None:
    document = world.document(Record(1, 0, 10, 20), 41)
    document["tres"]["allocated"] = [{"type": "energy", "name": "", "id": 3, "count": 5000}]
    assert job(document).consumed_energy_j == 5000.0


@pytest.mark.parametrize(
    ("user", "association", "wanted"),
    [
        ("ada", "ada", ("ada", None)),
        (None, "ada", ("ada", None)),
        ("", "", (None, None)),
        (4242, None, (None, 4242)),
        ("4242", None, (None, 4242)),
    ],
)
def test_users(user: Any, association: Any, wanted: tuple[str | None, int | None]) -> None:
    document = world.document(Record(1, 0, 10, 20), 41)
    document["user"], document["association"]["user"] = user, association
    assert (job(document).user, job(document).uid) == wanted


@pytest.mark.parametrize(
    ("tasks", "limit", "wanted"),
    [
        ("5-9", None, "5-9"),
        ("5-9", 2, "5-9%2"),
        ("5-9%2", 2, "5-9%2"),
        ("0x3E0", 0, "5-9"),  # bits 5 to 9
        ("0x100000003E2", 1, "1,5-9,40%1"),  # as seen with Slurm 22.05
        ("0x1", 0, "0"),
        ("0x3", 0, "0-1"),
        ("0x" + "5" * 8, 0, "0-30:2"),  # every other task: sacct writes the step
        ("0x15", 0, "0,2,4"),  # three at even distances: it does not
        ("0x41041", 0, "0,6,12,18"),
    ],
)
def test_tasks_that_wait(tasks: str, limit: int | None, wanted: str) -> None:
    assert waiting_tasks(tasks, limit) == wanted


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda document: document.pop("tres"), "has no 'tres'"),
        (lambda document: document["time"].pop("start"), "has no 'start'"),
        (lambda document: document["time"].update(submission=0), "no time of submission"),
        (lambda document: document.update(job_id=None), "no id"),
        (lambda document: document["time"].update(end=START_S), "ends (1790812800) before it starts (1790812810)"),
        (lambda document: document["state"].update(current=[]), "has no state"),
        (lambda document: document["state"].update(current="gone"), "State 'gone'"),
        (lambda document: document.update(nodes="n[1-"), "NodeList"),
        (lambda document: document.update(tres={"allocated": 5}), "not iterable"),
    ],
)
def test_a_document_that_cannot_be_understood(change: Any, reason: str) -> None:
    document = world.document(Record(1, 0, 10, 20), 41)
    change(document)
    text = json.dumps(document)
    reject = read_job(document, text, "slurmrestd", "here", "alpha")
    assert isinstance(reject, Reject)
    assert reason in reject.reason
    assert (reject.source, reject.where, reject.raw) == ("slurmrestd", "here", text)


def test_an_element_that_is_no_document() -> None:
    assert isinstance(read_job(5, "5", "slurmrestd", "here", "alpha"), Reject)


# --- an answer, piece by piece


def in_pieces(text: str, size: int) -> JobsDocument:
    data = text.encode()
    return JobsDocument(data[i : i + size] for i in range(0, len(data), size))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 100_000])
@pytest.mark.parametrize("indent", [None, 2])
def test_an_answer_is_the_same_wherever_its_pieces_end(size: int, indent: int | None) -> None:
    answer = world.answer(list(world.RECORDS[:4]), 41) | {"count": 12, "after": [1, {"jobs": 2}], "last": True}
    document = in_pieces(json.dumps(answer, indent=indent, ensure_ascii=False), size)
    read = list(document.jobs())
    assert [job for job, _ in read] == answer.pop("jobs")
    assert [json.loads(text) for _, text in read] == [job for job, _ in read]
    assert document.rest == answer
    assert document.has_jobs


@pytest.mark.parametrize(
    "text", ["", "{", '{"jobs"', '{"jobs": [', '{"jobs": [{"a": 1', '{"jobs": []', "nonsense", "[]"]
)
def test_an_answer_that_breaks_off_or_is_none(text: str) -> None:
    with pytest.raises(BrokenOffError):
        list(in_pieces(text, 5).jobs())


def test_errors_on_one_line() -> None:
    answer = {
        "errors": [
            {"error_number": 9003, "error": "Nothing found with query"},
            {"error": "Protocol authentication error", "source": "slurmdb_jobs_get", "description": ""},
            {"description": "Failed connecting to slurmdbd", "error": "Failed connecting to slurmdbd"},
            "something else",
        ]
    }
    assert errors_of(answer) == (
        "Protocol authentication error: slurmdb_jobs_get / Failed connecting to slurmdbd / something else"
    )
    assert errors_of({}) == errors_of({"errors": None}) == ""
