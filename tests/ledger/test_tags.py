"""Payers are apart by the labels in jobs' comments, so that roll-ups answer for a project or a phase."""

from __future__ import annotations

from accounting.ledger.reading import Books
from accounting.ledger.store import Ledger
from tests.ledger.servers import Place
from tests.ledger.windows import RUN, job, usage, window

SUMS = """
SELECT p.tags, SUM(m.energy_j) AS energy_j, COUNT(*) AS rows_of FROM payer_months m JOIN payers p
ON p.payer_id = m.payer_id WHERE m.month = '2026-10' GROUP BY p.tags ORDER BY p.tags
"""


def sums(place: Place) -> dict[str | None, tuple[float, int]]:
    with Books(place.url, place.password) as books:
        return {row["tags"]: (row["energy_j"], row["rows_of"]) for row in books.rows(SUMS)}


def test_roll_ups_are_apart_by_tags(place: Place) -> None:
    ledger = Ledger(place.url, "UTC", place.password)
    comments = (
        None, "no words of ours", "scarbon:project=x,phase=train", "more words; scarbon:phase=train,project=x",
        "scarbon:project=X", "scarbon:project=größe\udce9\0",
    )  # fmt: skip
    jobs = [job(number, comment=comment) for number, comment in enumerate(comments, 1)]
    ledger.post(window(0, 24, jobs, [usage(one, 1, 1000.0 * one.job_id) for one in jobs]), RUN)
    ledger.close()
    assert sums(place) == {
        None: (3000.0, 1),
        "phase=train project=x": (7000.0, 1),
        "project=X": (5000.0, 1),
        "project=größe\\udce9\\x00": (6000.0, 1),
    }


def test_a_label_that_comes_late_takes_all_days_of_the_job_with_it(place: Place) -> None:
    ledger = Ledger(place.url, "UTC", place.password)
    one = job(1, end_s=None)
    ledger.post(window(0, 24, [one], [usage(one, 1)]), RUN)
    tagged = job(1, end_s=None, comment="scarbon:project=x")
    ledger.post(window(24, 48, [tagged], [usage(tagged, 25)]), RUN)
    assert sums(place) == {"project=x": (7200.0, 1)}
    ledger.post(window(24, 48, [one], [usage(one, 25)]), RUN)
    ledger.close()
    assert sums(place) == {None: (7200.0, 1)}
