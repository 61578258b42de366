"""Roll-ups and reports agree with the postings in force, whatever was posted in which order, on every database."""

from __future__ import annotations

from dataclasses import replace

import pytest

from accounting.ledger.reading import Books
from accounting.ledger.store import Ledger
from accounting.report import GROUPINGS, Chosen, make_report
from tests.ledger import oracle
from tests.ledger.servers import Place
from tests.ledger.windows import GPU, HOST, RUN, history, job, usage, window

#: The day or the days of a period in these histories, and what lies before them.
PERIODS = [
    ("2026-10-30", "2026-11-02"), ("2026-10-31", "2026-10-31"), ("2026-11-01", "2026-11-30"),
    ("2026-10-01", "2026-10-31"), ("2026-10-01", "2026-11-30"), ("2026-10-02", "2026-10-31"),
    ("2025-12-31", "2026-11-01"), ("2027-01-01", "2027-01-31"),
]  # fmt: skip

#: What the books call the labels of a comment.
LABELS = {
    None: None, "scarbon:project=x": "project=x", "scarbon:project=y,phase=train": "phase=train project=y",
}  # fmt: skip

GROUP_OF = {
    "account": lambda row: row["account"],
    "user": lambda row: row["user_name"],
    "partition": lambda row: row["partition_name"],
    "qos": lambda row: row["qos"],
    "wckey": lambda row: row["wckey"],
    "tag": lambda row: LABELS[row["comment"]],
    "tag:phase": lambda row: "train" if row["comment"] and "train" in row["comment"] else None,
    "cluster": lambda row: row["cluster"],
    "gpu-model": lambda row: row["model"] if row["kind"] == "gpu" else "(host)",
}


@pytest.fixture(params=[1, 2])
def kept(request: pytest.FixtureRequest, place: Place) -> Place:
    """Books with a random history in them."""
    ledger = Ledger(place.url, "UTC", place.password)
    for one in history(request.param):
        ledger.post(one, RUN)
    ledger.close()
    return place


def test_a_random_history_has_what_the_rules_are_about(kept: Place) -> None:
    with Books(kept.url, kept.password) as books:
        rows = oracle.used(books)
        assert books.rows("SELECT 1 AS x FROM usage_slots WHERE superseded_by IS NOT NULL")
        assert len({row["account"] for row in rows}) > 2
        assert any(row["energy_j"] is None for row in rows)
        assert any(row["energy_j"] is not None and row["location_g"] is None for row in rows)


def test_the_days_of_attempts_are_the_sums_of_their_slots(kept: Place) -> None:
    with Books(kept.url, kept.password) as books:
        expected = oracle.usage_days(oracle.used(books))
        found = {
            (row["attempt_id"], row["day"], row["kind"], row["model"]): row
            for row in books.rows("SELECT * FROM usage_days")
        }
    assert found.keys() == expected.keys()
    for key, columns in expected.items():
        for column, value in columns.items():
            assert found[key][column] == (pytest.approx(value, rel=1e-12) if isinstance(value, float) else value)


def test_reports_are_the_sums_of_their_period(kept: Place) -> None:
    assert GROUP_OF.keys() == {*GROUPINGS, "tag:phase"}
    with Books(kept.url, kept.password) as books:
        rows = oracle.used(books)
        for period in PERIODS:
            for grouping, group_of in GROUP_OF.items():
                expected = oracle.report(rows, *period, group_of)
                found = {sums.key: sums for sums in make_report(books, *period, grouping, None).groups}
                assert found.keys() == expected.keys(), grouping
                for key, columns in expected.items():
                    for column, value in columns.items():
                        got = getattr(found[key], column)
                        assert type(got) is type(value), (grouping, key, column)
                        assert got == (pytest.approx(value, rel=1e-12) if isinstance(value, float) else value), column
            whole = oracle.report(rows, *period, lambda row: None)
            made = make_report(books, *period, "account", None).total
            assert made.jobs == (whole[None]["jobs"] if whole else 0)
            assert made.jobs_unknown == (whole[None]["jobs_unknown"] if whole else 0)


def test_a_job_that_pauses_for_a_day_is_one_job_of_the_period(place: Place) -> None:
    """One job on the first and the third day: one job of all three, one of each of the two, none of the second."""
    ledger = Ledger(place.url, "UTC", place.password)
    one = job(1, end_s=None)
    for day in (0, 2):
        ledger.post(
            window(day * 24, day * 24 + 24, [one], [usage(one, day * 24), usage(one, day * 24, meter=HOST)]), RUN
        )
    ledger.close()
    with Books(place.url, place.password) as books:
        counted = {
            period: make_report(books, *period, "account", None).total.jobs
            for period in [
                ("2026-10-30", "2026-11-01"),
                ("2026-10-30", "2026-10-30"),
                ("2026-10-31", "2026-10-31"),
                ("2026-11-01", "2026-11-01"),
                ("2026-10-31", "2026-11-01"),
            ]
        }
    assert list(counted.values()) == [1, 1, 0, 1, 1]


def test_a_day_in_between_that_is_accounted_later_joins_the_job_up(place: Place) -> None:
    ledger = Ledger(place.url, "UTC", place.password)
    one = job(1, end_s=None)
    for day in (0, 2, 1):
        ledger.post(window(day * 24, day * 24 + 24, [one], [usage(one, day * 24)]), RUN)
    with Books(place.url, place.password) as books:
        chain = books.rows("SELECT day, previous_day FROM payer_jobs WHERE kind = '' ORDER BY day")
        assert [tuple(row.values()) if isinstance(row, dict) else tuple(row) for row in chain] == [
            ("2026-10-30", ""), ("2026-10-31", "2026-10-30"), ("2026-11-01", "2026-10-31"),
        ]  # fmt: skip
    ledger.post(window(24, 48, [one], []), RUN)  # it turns out not to have used anything on that day
    ledger.close()
    with Books(place.url, place.password) as books:
        row = books.rows("SELECT previous_day FROM payer_jobs WHERE kind = '' AND day = '2026-11-01'")[0]
        assert row["previous_day"] == "2026-10-30"
        assert make_report(books, "2026-10-30", "2026-11-01", "account", None).total.jobs == 1


def test_an_account_that_changes_takes_all_days_of_the_job_with_it(place: Place) -> None:
    """Slurm knows one account of a job: after a change in its books, ours follow, also for days long past."""
    ledger = Ledger(place.url, "UTC", place.password)
    one = job(1, end_s=None)
    ledger.post(window(0, 24, [one], [usage(one, 1)]), RUN)
    moved = job(1, end_s=None, account="chem")
    ledger.post(window(24, 48, [moved], [usage(moved, 25)]), RUN)
    ledger.close()
    with Books(place.url, place.password) as books:
        groups = make_report(books, "2026-10-30", "2026-10-30", "account", None).groups
    assert [(group.key, group.jobs, group.gpu_energy_j) for group in groups] == [("chem", 1, 3600.0)]


def counted(place: Place, last: str = "2026-11-01") -> dict[str | None, int]:
    """How many jobs each account has from the first day on."""
    with Books(place.url, place.password) as books:
        return {group.key: group.jobs for group in make_report(books, "2026-10-30", last, "account").groups}


def test_a_requeued_job_is_one_job_on_one_day_and_over_days(place: Place) -> None:
    """Two runs on the first day, and one on the third, which is accounted before they are."""
    ledger = Ledger(place.url, "UTC", place.password)
    first, second, third = (
        replace(job(1, end_s=None), submit_s=job(1).submit_s + later) for later in (0, 7200, 172800)
    )
    ledger.post(window(48, 72, [third], [usage(third, 49)]), RUN)
    ledger.post(window(0, 24, [first, second], [usage(first, 1), usage(second, 3)]), RUN)
    ledger.close()
    assert counted(place, "2026-10-30") == {"phys": 1}
    assert counted(place) == {"phys": 1}


def test_a_run_that_moves_to_another_account_leaves_the_others_where_they_are(place: Place) -> None:
    ledger = Ledger(place.url, "UTC", place.password)
    first, third = (replace(job(1, end_s=None), submit_s=job(1).submit_s + later) for later in (0, 172800))
    ledger.post(window(0, 24, [first], [usage(first, 1)]), RUN)
    ledger.post(window(48, 72, [third], [usage(third, 49)]), RUN)
    moved = replace(first, account="chem")
    ledger.post(window(0, 24, [moved], [usage(moved, 1)], booked=(0, 72)), RUN)
    ledger.close()
    assert counted(place) == {"phys": 1, "chem": 1}


def test_clusters_are_kept_apart(place: Place) -> None:
    ledger = Ledger(place.url, "UTC", place.password)
    for cluster in ("alpha", "beta"):
        one = job(1, cluster=cluster)
        ledger.post(window(0, 24, [one], [usage(one, 1)], cluster=cluster), RUN)
    one = job(1, cluster="beta")
    ledger.post(window(0, 24, [one], [usage(one, 1, 7200.0)], cluster="beta"), RUN)
    ledger.close()
    with Books(place.url, place.password) as books:
        groups = make_report(books, "2026-10-30", "2026-10-30", "cluster", None).groups
        assert {group.key: group.gpu_energy_j for group in groups} == {"alpha": 3600.0, "beta": 7200.0}
        only = make_report(books, "2026-10-30", "2026-10-30", "account", Chosen(["beta"]))
        assert [group.gpu_energy_j for group in only.groups] == [7200.0]
        assert only.total.jobs == 1


def test_names_that_differ_in_case_or_blanks_are_different(place: Place) -> None:
    """MariaDB's own collations would take them for the same, in keys and in filters."""
    from accounting.jobs import JobFilter, list_jobs

    ledger = Ledger(place.url, "UTC", place.password)
    jobs = [job(number, user=user) for number, user in enumerate(["ada", "Ada", "ada ", "äda"], 1)]
    ledger.post(window(0, 24, jobs, [usage(one, 1, 1000.0 * one.job_id) for one in jobs]), RUN)
    ledger.close()
    with Books(place.url, place.password) as books:
        groups = make_report(books, "2026-10-30", "2026-10-30", "user", None).groups
        assert {group.key: group.gpu_energy_j for group in groups} == {
            "ada": 1000.0, "Ada": 2000.0, "ada ": 3000.0, "äda": 4000.0,
        }  # fmt: skip
        assert [found.job_id for found in list_jobs(books, JobFilter(users=["ada"]))] == ["1"]


def test_meters_of_one_model_are_one_group(place: Place) -> None:
    """A job on two GPUs of a model is one job of it, and its energy the sum."""
    ledger = Ledger(place.url, "UTC", place.password)
    one = job(1, gpus=2)
    ledger.post(window(0, 24, [one], [usage(one, 0), usage(one, 1, meter=GPU), usage(one, 1, meter=HOST)]), RUN)
    ledger.close()
    with Books(place.url, place.password) as books:
        groups = make_report(books, "2026-10-30", "2026-10-30", "gpu-model", None).groups
    assert {(group.key, group.jobs, group.it_energy_j) for group in groups} == {
        ("A100", 1, 7200.0),
        ("(host)", 1, 3600.0),
    }
