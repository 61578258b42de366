"""`scarbon restate` as people run it: the difference first, then the books, and what is kept of it."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from tests.site import CHECKOUT, Site, query

WHY = "final values"


def iso_s(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).isoformat()


def restate(site: Site, *words: str, why: str = WHY) -> list[str]:
    return ["restate", *site.window, "--why", why, *words]


def totals(site: Site) -> dict[str, float]:
    month = site.good("report", "-S", "2026-01-01", "-E", "2027-01-01", "--format", "json").json["total"]
    return {name: month[name] for name in month if name.startswith(("co2e", "facility", "it_"))}


def test_a_larger_pue_makes_all_that_it_is_a_factor_of_larger_by_as_much(mine: Site) -> None:
    before = totals(mine)
    mine.change("pue: 1.2", "pue: 1.5")
    found = mine.good(*restate(mine, "--yes", "--format", "json")).json["restatements"][0]
    after = totals(mine)
    for name in ("facility_energy_j", "co2e_location_g", "co2e_market_g"):
        assert after[name] == pytest.approx(before[name] * 1.5 / 1.2, rel=1e-9)
        assert found["total"]["difference"][name] == pytest.approx(before[name] * 0.25, rel=1e-9)
        by_account = sum(line["difference"][name] for line in found["accounts"])
        assert by_account == pytest.approx(found["total"]["difference"][name], rel=1e-9)
    assert after["it_energy_j"] == before["it_energy_j"]
    assert after["co2e_embodied_g"] == before["co2e_embodied_g"]


def test_the_difference_is_shown_first_and_a_dry_run_changes_nothing(mine: Site) -> None:
    mine.change("pue: 1.2", "pue: 1.5")
    before = mine.tables()
    shown = mine.good(*restate(mine, "--dry-run"))
    shown = mine.good("restate", *mine.window, "--dry-run")
    mine.good(*restate(mine, "--dry-run", "--yes"))
    assert mine.tables() == before
    assert "factors, as means over time:" in shown.out
    assert "pue       before        1.2        site.yaml" in shown.out
    assert "pue       now           1.5        site.yaml" in shown.out
    assert "would be superseded" in shown.out
    found = mine.good(*restate(mine, "--dry-run", "--format", "json")).json
    assert found["meta"]["dry_run"]
    (one,) = found["restatements"]
    assert one["changes"] and one["restatement_id"] is None
    done = mine.good(*restate(mine, "--yes", "--format", "json")).json["restatements"][0]
    assert done["accounts"] == one["accounts"]
    assert done["posted"] == one["posted"]
    assert mine.tables() != before


def test_the_same_factors_change_nothing_and_leave_no_trace(mine: Site) -> None:
    before = mine.tables()
    assert "nothing differs; the books are as they were" in mine.good(*restate(mine, "--yes")).out
    assert mine.tables() == before
    mine.change("pue: 1.2", "pue: 1.5")
    mine.good(*restate(mine, "--yes"))
    once = mine.tables()
    assert "nothing differs" in mine.good(*restate(mine, "--yes")).out
    assert mine.tables() == once


def test_what_was_said_before_stays_and_who_restated_it_when_and_why(mine: Site) -> None:
    postings = query(mine.ledger, "SELECT COUNT(*) FROM usage_slots")[0][0]
    audited = mine.good("audit", "--json").json
    assert any(audited["holders"].values())
    mine.change("pue: 1.2", "pue: 1.5")
    mine.good(*restate(mine, "--yes"))
    assert mine.good("audit", "--json").json == audited, "restating factors changes neither balance nor holders"
    assert query(mine.ledger, "SELECT COUNT(*) FROM usage_slots WHERE superseded_by IS NOT NULL")[0][0] <= postings
    kept = "SELECT facility_j / energy_j FROM usage_slots WHERE energy_j > 0 AND superseded_by IS"
    assert {round(pue, 9) for (pue,) in query(mine.ledger, f"{kept} NOT NULL")} == {1.2}
    assert {round(pue, 9) for (pue,) in query(mine.ledger, f"{kept} NULL")} == {1.5}
    (one,) = mine.good("restate", "--list", "--format", "json").json["restatements"]
    assert (one["why"], one["rule"], one["cluster"]) == (WHY, "factors", "beta")
    assert one["who"] and one["host"] and one["at"]
    assert [factor["mean"] for factor in one["old"]["factors"] if factor["kind"] == "pue"] == [pytest.approx(1.2)]
    assert [factor["mean"] for factor in one["new"]["factors"] if factor["kind"] == "pue"] == [pytest.approx(1.5)]
    table = mine.good("restate", "--list").out
    assert WHY in table and "factors" in table


def test_the_table_says_each_account_and_adds_up(mine: Site) -> None:
    mine.change("pue: 1.2", "pue: 1.5")
    lines = mine.good(*restate(mine, "--dry-run")).out.splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith("facility energy"))
    block = lines[start + 1 : lines.index("", start)]
    figures = [[float(figure.replace(",", "")) for figure in line.split()[-3:]] for line in block]
    for column in zip(*figures, strict=True):
        assert sum(column[:-1]) == pytest.approx(column[-1], abs=1e-9)
    assert block[-2].startswith("idle") and block[-1].startswith("total")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["restate"], "a restatement needs -S, -E, --why; see scarbon restate --help"),
        (["restate", "-S", "2026-09-01", "-E", "2026-10-01", "--why", " "], "a restatement needs --why; see"),
        (["restate", "-S", "2026-09-01", "--dry-run"], "a restatement needs -E; see"),
        (["restate", "-S", "foo", "-E", "bar", "--why", "x"], "cannot read the time 'foo'"),
        (["restate", "-S", "2026-09-23", "-E", "2026-09-22", "--why", "x"], "ends before it begins"),
        (["restate", "-S", "2026-09-22", "-E", "2026-09-23", "--why", "x"], "nobody to be asked; say --dry-run"),
        (["restate", "-S", "2026-09-23", "-E", "2026-09-22", "--why", "x", "-y"], "ends before it begins"),
        (["restate", "-S", "2026-09-22", "-E", "2026-09-23", "--why", "x", "-y", "-M", "x"], "no cluster 'x'"),
        (["period", "reopen", "2026-09", "--why", ""], "--why says nothing"),
        (["period", "close", "2026-13"], "there is no month 2026-13"),
        (["report", "--month", "2026-09", "--as-of", "2999-01-01"], "--as-of 2999-01-01 lies in the future"),
        (["jobs", "--as-of", "2999-01-01"], "--as-of 2999-01-01 lies in the future"),
    ],
)
def test_what_cannot_be_meant_is_wrong_use(booked: Site, words: list[str], line: str) -> None:
    assert line in booked.scarbon(*words).refused(2)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["restate", "-S", "2020-01-01", "-E", "2020-01-02", "--why", "x", "-y"],
            "the books hold nothing of that period",
        ),
        (
            ["period", "close", "2026-09"],
            "2026-09 cannot be closed: beta is not accounted from 2026-09-01 00:00 to 2026-",
        ),
        (["period", "close", "2026-08", "--force"], "2026-08 cannot be closed: the books hold nothing of 2026-08"),
        (["period", "reopen", "2026-09", "--why", "x"], "2026-09 is not closed"),
        (["report", "--month", "2026-09", "--as-of", "2020-01-01"], "there were no books at 2020-01-01 00:00"),
    ],
)
def test_what_cannot_be_done_is_told_in_a_line(booked: Site, words: list[str], line: str) -> None:
    assert line in booked.scarbon(*words).refused(1)


def test_there_are_no_books_to_restate(fresh: Site) -> None:
    assert "there is no ledger" in fresh.scarbon(*restate(fresh, "--yes")).refused(1)
    assert not fresh.ledger.exists()


def test_attribution_reads_the_sources_again(mine: Site) -> None:
    """The journal is not asked any more: what it alone knew is booked to others, or to nobody."""
    before = totals(mine)
    mine.change("holders: [journal, hpc_job, whole_node]", "holders: [hpc_job, whole_node]")
    found = mine.good(*restate(mine, "--attribution", "--dry-run", "--format", "json")).json["restatements"][0]
    assert found["changes"] and found["rule"] == "attribution"
    assert totals(mine) == before
    done = mine.good(*restate(mine, "--attribution", "--yes", "--format", "json")).json["restatements"][0]
    after = totals(mine)
    for name, difference in done["total"]["difference"].items():
        assert after[name] - before[name] == pytest.approx(difference, rel=1e-6, abs=1e-3)
        by_account = sum(line["difference"][name] for line in done["accounts"])
        assert by_account == pytest.approx(difference, abs=1e-9 * abs(done["total"]["new"][name]))
    runs = query(mine.ledger, "SELECT COUNT(*) FROM runs WHERE restatement_id = ?", done["restatement_id"])
    assert runs == [(1,)]
    again = mine.good(*restate(mine, "--attribution", "--yes"))
    assert "nothing differs" in again.out


def test_attribution_does_not_turn_what_was_measured_into_silence(mine: Site) -> None:
    """The samples have left their source, or the jobs have."""
    before = mine.tables()
    samples = mine.folder / "dcgm.om"
    text = samples.read_text()
    samples.write_text("# EOF\n")
    line = mine.scarbon(*restate(mine, "--attribution", "--yes")).refused(1)
    assert "are gone from their source" in line and "leave --attribution out" in line
    samples.write_text(text)
    jobs = mine.folder / "jobs.sacct"
    head, *rows = jobs.read_text().splitlines()
    jobs.write_text("\n".join([head, *rows[: len(rows) // 2]]) + "\n")
    assert "has no longer" in mine.scarbon(*restate(mine, "--attribution", "--yes")).refused(1)
    assert mine.tables() == before


def test_a_month_is_closed_restated_and_asked_as_of_before(mine: Site) -> None:
    """All of a sustainability officer's way: the closed month stays, the difference is in this month's total."""
    month = ["report", "--month", "2026-09", "--format", "json"]
    before = mine.good(*month).json["total"]
    jobs_before = mine.good("jobs", "-a", "-S", "2026-09-01", "--json").json["jobs"]
    mine.good("period", "close", "2026-09", "--force", "--why", "audited")
    time_s = query(mine.ledger, "SELECT MAX(at_s) FROM periods")[0][0] + 0.001
    mine.change("pue: 1.2", "pue: 1.5")
    done = mine.good(*restate(mine, "--yes", "--format", "json")).json["restatements"][0]
    assert done["posted"] == 0 and done["adjusted"] > 0 and done["closed"] == ["2026-09"]
    after = mine.good(*month).json
    for name in ("it_energy_j", "facility_energy_j", "co2e_location_g", "jobs"):
        assert after["total"][name] == before[name]
    (period,) = mine.good("period", "list", "--format", "json").json["periods"]
    assert period["closed"] and period["events"][0]["why"] == "audited"
    (adjusted,) = period["adjustments"]
    assert adjusted["reason"] == WHY
    assert adjusted["co2e_location_g"] == pytest.approx(before["co2e_location_g"] * 0.25, rel=1e-9)
    assert "closed" in mine.good("period", "list").out
    this = mine.good("report", "--format", "json").json
    assert this["total"]["co2e_location_g"] == pytest.approx(adjusted["co2e_location_g"])
    assert [(one["of"], one["reason"]) for one in this["adjustments"]] == [("2026-09", WHY)]
    assert [one["reason"] for one in after["adjusted_later"]] == [WHY]
    mine.good("period", "reopen", "2026-09", "--why", "a wrong PUE")
    done = mine.good(*restate(mine, "--yes")).out
    assert "to take back earlier ones, because 2026-09 is open again (restatement 2)" in done
    assert mine.good(*month).json["total"]["facility_energy_j"] == pytest.approx(before["facility_energy_j"] * 1.25)
    then = mine.good(*month, "--as-of", iso_s(time_s)).json
    assert then["total"]["facility_energy_j"] == pytest.approx(before["facility_energy_j"], rel=1e-9)
    assert then["meta"]["as_of_s"] == pytest.approx(time_s, abs=1.0)
    listed = mine.good("jobs", "-a", "-S", "2026-09-01", "--json", "--as-of", iso_s(time_s)).json
    assert listed["meta"]["as_of"] == pytest.approx(time_s, abs=1e-3)
    then_j, before_j = ([job["facility_energy_j"] or 0.0 for job in jobs] for jobs in (listed["jobs"], jobs_before))
    assert any(before_j)
    assert then_j == pytest.approx(before_j, rel=1e-9)


@pytest.mark.parametrize(("answer", "restated"), [("y", True), ("n", False), ("", False)])
def test_on_a_terminal_it_is_asked(mine: Site, answer: str, restated: bool) -> None:
    mine.change("pue: 1.2", "pue: 1.5")
    before = mine.tables()
    master, slave = os.openpty()
    command = [sys.executable, "-W", "error", "-m", "scarbon", "--config", str(mine.config), *restate(mine)]
    os.write(master, f"{answer}\n".encode())
    done = subprocess.run(command, stdin=slave, capture_output=True, text=True, cwd=CHECKOUT, timeout=100, check=False)
    os.close(master)
    os.close(slave)
    assert done.returncode == 0, done
    assert "would be superseded" in done.stdout
    assert ("were superseded" in done.stdout) == restated
    assert ("the books are as they were" in done.stderr) != restated
    assert (mine.tables() == before) != restated


def test_a_cluster_of_which_nothing_is_booked_then_is_left_out(mine: Site) -> None:
    mine.change("clusters:\n", "clusters:\n  new: {jobs: {source: file, path: jobs.sacct}}\n")
    mine.change("pue: 1.2", "pue: 1.5")
    found = mine.good(*restate(mine, "--dry-run", "--format", "json")).json["restatements"]
    assert [one["cluster"] for one in found] == ["beta"]
    assert "new: the books hold nothing" in mine.scarbon(*restate(mine, "--dry-run", "-M", "new")).refused(1)
