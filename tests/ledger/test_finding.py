"""The jobs of a window are found by queries that an index answers, and they are those that a plain look finds."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import pytest

from accounting.jobs import JobFilter, list_jobs
from accounting.ledger.reading import Books
from accounting.ledger.spans import LIMITS_S, LONG, span_of
from accounting.ledger.store import Ledger
from accounting.model import Job
from tests.ledger.servers import Place
from tests.ledger.windows import HOUR_S, RUN, START_S, job, window


@pytest.mark.parametrize(
    ("lasted_s", "span"),
    [
        (-5, 0),
        (0, 0),
        (3599, 0),
        (3600, 1),
        (4 * 3600 - 1, 1),
        (4 * 3600, 2),
        (1024 * 3600 - 1, 5),
        (1024 * 3600, LONG),
    ],
)
def test_attempts_are_classed_by_how_long_they_were_there(lasted_s: int, span: int) -> None:
    assert span_of(START_S, START_S + lasted_s) == span


def test_what_has_not_ended_is_among_the_longest() -> None:
    assert span_of(START_S, None) == LONG == len(LIMITS_S)


def _jobs() -> list[Job]:
    """Jobs of every length around every bound, waiting and running, of a few users and accounts."""
    chance = random.Random(7)
    lengths = [0, 10, *(limit_s + by for limit_s in LIMITS_S for by in (-1, 0, 1)), 10**7, None]
    made = []
    for number, (length_s, user, before_h) in enumerate(
        itertools.product(lengths, ["ada", "bob"], [0, 1, 5, 30, 200, 2000]), 1
    ):
        submit_s = START_S - before_h * HOUR_S + chance.randrange(-2, 3)
        end_s = None if length_s is None else submit_s + length_s
        account = chance.choice(["phys", "chem", None])
        made.append(job(number, submit_s=submit_s, start_s=submit_s, end_s=end_s, user=user, account=account, gpus=0))
    return made


JOBS = _jobs()
WINDOWS = [
    (START_S, START_S + 24 * HOUR_S), (START_S, START_S), (START_S - 1, START_S + 1), (START_S + 10**6, None),
    (START_S - 10**6, START_S - 5 * 10**5), (None, START_S - 100), (None, None), (START_S + 10.5, START_S + 20.25),
]  # fmt: skip


@pytest.fixture
def books(place: Place) -> Books:
    ledger = Ledger(place.url, "UTC", place.password)
    ledger.post(window(0, 24, JOBS), RUN)
    ledger.close()
    return Books(place.url, place.password)


def test_windows_users_and_accounts_choose_the_jobs_that_they_say(books: Books) -> None:
    with books:
        for (start_s, end_s), users, accounts in itertools.product(
            WINDOWS, (None, ["ada"], ["ada", "bob"], ["eve"]), (None, ["phys"], ["phys", "chem"])
        ):
            expected = [
                str(one.job_id)
                for one in sorted(JOBS, key=lambda one: (one.submit_s, one.job_id))
                if (end_s is None or one.submit_s < end_s)
                and (start_s is None or one.end_s is None or one.end_s >= start_s)
                and (users is None or one.user in users)
                and (accounts is None or one.account in accounts)
            ]
            found = [one.job_id for one in list_jobs(books, JobFilter(start_s, end_s, users=users, accounts=accounts))]
            assert found == expected, (start_s, end_s, users, accounts)


LABELS = ["42", "42_1", "42_12", "42_[3-9]", "42+0", "42+1", "420", "420_1", "4", "142", "43", "43_2", "7"]


@pytest.fixture
def labelled(place: Place) -> Callable[..., list[str]]:
    ledger = Ledger(place.url, "UTC", place.password)
    jobs = [job(1000 + number, label=label) for number, label in enumerate(LABELS)]
    ledger.post(window(0, 24, [*jobs, job(42, cluster="alpha", label="99_1")]), RUN)
    ledger.close()

    def ask(*typed: str) -> list[str]:
        with Books(place.url, place.password) as books:
            return sorted(one.job_id for one in list_jobs(books, JobFilter(jobs=typed)))

    return ask


def test_a_number_is_a_job_with_all_its_tasks_and_parts_or_the_raw_number_of_a_task(
    labelled: Callable[..., list[str]],
) -> None:
    assert labelled("42") == sorted(["42", "42_1", "42_12", "42_[3-9]", "42+0", "42+1", "99_1"])
    assert labelled("4") == ["4"]
    assert labelled("42_1") == ["42_1"]
    assert labelled("42+1", "7") == ["42+1", "7"]
    assert labelled("8", "9" * 30) == []


def test_many_jobs_may_be_named(labelled: Callable[..., list[str]]) -> None:
    everything = sorted(LABELS)
    assert labelled(*(str(number) for number in range(900, 3000))) == everything, "by their raw numbers"
    assert labelled(*(str(number) for number in range(100, 500))) == ["142", "420", "420_1"]


def test_no_question_goes_through_all_jobs(tmp_path: object) -> None:
    """What SQLite's planner says: it searches an index for each part, and scans nothing."""
    from accounting import jobs as asking

    url = f"sqlite:///{tmp_path}/ledger.db"
    Ledger(url, "UTC").close()
    day = {"start_s": float(START_S), "end_s": float(START_S + 86400)}
    with Books(url) as books:
        for chosen in (
            JobFilter(**day), JobFilter(**day, users=["ada"]), JobFilter(**day, accounts=["phys"]),
            JobFilter(jobs=["42"]), JobFilter(jobs=["42_1"]),
            JobFilter(start_s=0.0, users=["ada"], clusters=["alpha"], states=["RUNNING"]),
        ):  # fmt: skip
            values: dict[str, object] = {}
            sql = asking._SELECT.format(where=asking._where(chosen, values), near=asking._near(chosen, values))
            steps = [row["detail"] for row in books.rows(f"EXPLAIN QUERY PLAN {sql}", values)]
            assert [step for step in steps if step.startswith("SCAN") and step != "SCAN near"] == [], chosen
            assert not any(step.endswith("(user_name=?)") or step.endswith("(account=?)") for step in steps), steps
