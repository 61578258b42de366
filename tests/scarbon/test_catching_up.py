"""Slurm's accounting is told late, and changed afterwards: the books follow, and end as if they had known at once."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.accounting.test_booking import same_books
from tests.site import Site, change, iso, query

HOUR_S = 3600.0
WHO = "SELECT job_id, submit_s, state, start_s, end_s, account, nodes, gpus, comment FROM attempts ORDER BY 1, 2"
PAYERS = """
SELECT account, tags, day, kind, SUM(energy_j) FROM payer_days JOIN payers USING (payer_id)
GROUP BY account, tags, day, kind ORDER BY account, tags, day, kind
"""

Row = dict[str, str]


class Dump:
    """A site's dump of sacct, as rows that can be shown otherwise than they are."""

    def __init__(self, site: Site) -> None:
        self.path = site.folder / "jobs.sacct"
        header, *lines = self.path.read_text().splitlines()
        self.columns = [*header.split("|"), "Comment"]
        self.rows = [dict(zip(self.columns, [*line.split("|"), ""], strict=True)) for line in lines]

    def show(self, seen: Callable[[Row], Row | None] = lambda row: row) -> None:
        """Write the rows as `seen` has them; None: not at all."""
        shown = [found for row in self.rows if (found := seen(dict(row))) is not None]
        lines = ["|".join(self.columns), *("|".join(row[name] for name in self.columns) for row in shown)]
        self.path.write_text("".join(f"{line}\n" for line in lines))


def not_ended(row: Row) -> Row:
    return {**row, "State": "RUNNING", "End": "Unknown"}


def same(site: Site, other: Site) -> None:
    """The books of both say the same of all jobs and meters."""
    same_books(site.ledger, other.ledger)
    assert query(site.ledger, WHO) == query(other.ledger, WHO)
    for mine, true in zip(query(site.ledger, PAYERS), query(other.ledger, PAYERS), strict=True):
        assert mine == (*true[:4], pytest.approx(true[4], rel=1e-9))


@pytest.fixture(scope="module")
def true(recorded: Site, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The books of the recording, whose dump has comments, accounted when all was known."""
    site = recorded.copy(tmp_path_factory.mktemp("true") / "site")
    Dump(site).show()
    site.collect()
    return site


@pytest.mark.parametrize("seed", range(3))
def test_whatever_slurm_says_late_or_otherwise_the_books_end_the_same(fresh: Site, true: Site, seed: int) -> None:
    """Hour by hour; at each, of the jobs so far some are unknown, some not known to have ended, some another's."""
    chance = random.Random(seed)
    dump = Dump(fresh)

    def seen(now_s: float) -> Callable[[Row], Row | None]:
        def one(row: Row) -> Row | None:
            if float(row["Submit"]) >= now_s or chance.random() < 0.2:
                return None
            if row["End"] != "Unknown" and (float(row["End"]) >= now_s or chance.random() < 0.3):
                row = not_ended(row)
            if chance.random() < 0.2:
                row |= {"Account": "other", "Comment": "scarbon:project=x"}
            if chance.random() < 0.1:
                row |= {"AllocTRES": row["AllocTRES"].replace("cpu=12", "cpu=6")}
            return row

        return one

    for hour in range(1, 4):
        now_s = fresh.start_s + hour * HOUR_S
        dump.show(seen(now_s))
        words = ["-S", iso(fresh.start_s)] if hour == 1 else []
        assert fresh.scarbon("collect", "-q", *words, "-E", iso(int(now_s))).code in (0, 3)
    assert query(fresh.ledger, WHO) != query(true.ledger, WHO)
    dump.show()
    done = fresh.good("collect", "--again", "1", "-E", iso(fresh.end_s))
    assert "changed in Slurm's accounting since; the books follow" in done.err
    same(fresh, true)
    assert fresh.good("collect", "--again", "1", "-E", iso(fresh.end_s)).err == ""


def test_each_run_looks_back_without_being_asked(fresh: Site, true: Site) -> None:
    dump = Dump(fresh)
    middle_s = int(fresh.start_s + 2 * HOUR_S)
    dump.show(lambda row: None if float(row["Submit"]) >= middle_s else not_ended(row))
    fresh.collect("-S", iso(fresh.start_s), "-E", iso(middle_s))
    dump.show()
    fresh.collect("-E", iso(fresh.end_s))
    same(fresh, true)


def test_hours_in_which_nothing_comes_late_are_accounted_once_and_without_a_word(fresh: Site, true: Site) -> None:
    dump = Dump(fresh)

    def so_far(now_s: float) -> Callable[[Row], Row | None]:
        def one(row: Row) -> Row | None:
            if float(row["Submit"]) >= now_s:
                return None
            if row["End"] == "Unknown" or float(row["End"]) < now_s:
                return row
            if row["Start"] == "Unknown" or float(row["Start"]) >= now_s:
                return {**row, "State": "PENDING", "Start": "Unknown", "End": "Unknown"}
            return not_ended(row)

        return one

    for hour in range(1, 4):
        now_s = int(fresh.start_s + hour * HOUR_S)
        dump.show(so_far(now_s + 60) if hour < 3 else lambda row: row)
        words = ["-S", iso(fresh.start_s)] if hour == 1 else []
        said = fresh.good("collect", *words, "-E", iso(now_s)).err.splitlines()
        assert len(said) == 1 and "accounted" in said[0], said
    assert query(fresh.ledger, "SELECT COUNT(*) FROM runs") == [(3,)]
    same(fresh, true)


def test_a_window_that_is_named_is_accounted_and_nothing_else(fresh: Site) -> None:
    dump = Dump(fresh)
    middle_s = int(fresh.start_s + 2 * HOUR_S)
    dump.show(lambda row: None if float(row["Submit"]) >= middle_s else not_ended(row))
    fresh.collect("-S", iso(fresh.start_s), "-E", iso(middle_s))
    dump.show()
    done = fresh.collect("-S", iso(middle_s), "-E", iso(fresh.end_s))
    assert done.err == ""
    assert query(fresh.ledger, "SELECT COUNT(*) FROM runs") == [(2,)]


def test_a_job_that_slurm_no_longer_has(fresh: Site) -> None:
    """It ran by the books, and slurmdbd has no record of it: it does not run for ever, and is said once."""
    dump = Dump(fresh)
    middle_s = int(fresh.start_s + 2 * HOUR_S)
    lost = next(row for row in dump.rows if float(row["Start"]) > fresh.start_s + HOUR_S)
    dump.show(lambda row: None if float(row["Submit"]) >= middle_s else not_ended(row) if row == lost else row)
    fresh.collect("-S", iso(fresh.start_s), "-E", iso(middle_s))
    dump.show(lambda row: None if row == lost else row)
    done = fresh.collect("-E", iso(fresh.end_s), code=3)  # the hook's word of a job that Slurm does not have
    assert f"{fresh.cluster}: warning: 1 job that ran by the books, Slurm no longer has (state LOST)" in done.err
    found = f"SELECT state, end_s FROM attempts WHERE job_id = {lost['JobIDRaw']} AND submit_s = {lost['Submit']}"
    assert query(fresh.ledger, found) == [("LOST", None)]
    assert "LOST" not in fresh.collect("--again", "1", "-E", iso(fresh.end_s)).err
    dump.show()  # Slurm has it again
    fresh.collect("--again", "1", "-E", iso(fresh.end_s))
    assert query(fresh.ledger, found) == [(lost["State"], int(lost["End"]))]
    assert query(fresh.ledger, "SELECT COUNT(*) FROM quarantine") == [(0,)]


def test_what_was_measured_is_not_given_up_for_samples_that_are_gone(fresh: Site) -> None:
    """A job's end comes late, when the store has forgotten the samples: its record follows, its figures stay."""
    dump = Dump(fresh)
    late = next(row for row in dump.rows if "gres/gpu" in row["AllocTRES"] and row["State"] == "COMPLETED")
    dump.show(lambda row: not_ended(row) if row == late else row)
    fresh.collect()
    before = fresh.tables(but=("runs", "attempts"))
    samples: Path = fresh.folder / "dcgm.om"
    samples.write_text("# EOF\n")
    dump.show()
    done = fresh.collect("--again", "1", "-E", iso(fresh.end_s))
    assert "stays as it was accounted: samples that it was made of are gone from their source" in done.err
    assert fresh.tables(but=("runs", "attempts")) == before


# --- quarantine


@pytest.mark.parametrize("what", ["configuration", "version"])
def test_a_row_that_was_not_understood_is_tried_again(
    fresh: Site, true: Site, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """By a program or a configuration that can read it, whatever window is asked for: and all of its job is booked.

    Here the row is mended in its source meanwhile.
    """
    dump = Dump(fresh)
    middle_s = fresh.start_s + 2 * HOUR_S
    across = next(row for row in dump.rows if float(row["Start"]) < middle_s < float(row["End"]))
    dump.show(lambda row: {**row, "Submit": "when?"} if row == across else row)
    fresh.collect("-S", iso(fresh.start_s), "-E", iso(int(middle_s)), code=3)
    assert "when?" in query(fresh.ledger, "SELECT raw FROM quarantine WHERE source = 'file'")[0][0]
    fresh.collect("-S", iso(int(middle_s)), "-E", iso(fresh.end_s))  # it is no longer new
    dump.show()
    last = ("-S", iso(fresh.end_s - 60), "-E", iso(fresh.end_s))
    assert "quarantine" not in fresh.collect(*last).err  # nothing has changed that is ours
    if what == "version":
        monkeypatch.setattr("scarbon.commands.collect.__version__", "99")
    else:
        fresh.config.write_text(fresh.config.read_text() + "collect: {again_days: 0}\n")
    assert "of the quarantine understood, and booked" in fresh.good("collect", *last).err
    assert query(fresh.ledger, "SELECT COUNT(*) FROM quarantine") == [(0,)]
    same(fresh, true)


def test_what_was_purged_is_not_tried_again(days: Site, tmp_path: Path) -> None:
    site = days.copy(tmp_path / "site")
    with (site.folder / "journal" / "n1.jsonl").open("a") as journal:
        journal.write("not json\n")
    second_day_s = site.start_s + 25 * 3600  # the first has 25 hours
    site.collect("-S", iso(site.start_s), "-E", iso(second_day_s), code=3)
    site.collect("-S", iso(second_day_s), "-E", iso(second_day_s + 3600))
    change(site.ledger, "INSERT INTO meta VALUES ('purged_before_s', ?)", str(second_day_s))
    site.config.write_text(site.config.read_text() + "collect: {again_days: 9}\n")
    site.collect("-E", iso(second_day_s + 7200))
    assert query(site.ledger, "SELECT COUNT(*) FROM quarantine") == [(1,)]


def test_a_row_that_is_still_not_understood_is_tried_once_and_not_told_again(fresh: Site) -> None:
    with (fresh.folder / "journal" / "n1.jsonl").open("a") as journal:
        journal.write("not json\n")
    fresh.collect(code=3)
    fresh.config.write_text(fresh.config.read_text() + "collect: {again_days: 0}\n")
    last = ("-S", iso(fresh.end_s - 60), "-E", iso(fresh.end_s))
    runs = []
    for _ in range(2):
        assert fresh.collect(*last).err == ""
        runs.append(query(fresh.ledger, "SELECT COUNT(*) FROM runs")[0][0])
    assert runs[1] - runs[0] == 1  # the window that was asked for, and no other
    (row,) = query(fresh.ledger, "SELECT raw, config_digest FROM quarantine")
    (newest,) = query(fresh.ledger, "SELECT config_digest FROM runs ORDER BY run_id DESC LIMIT 1")
    assert row == ("not json", newest[0])
