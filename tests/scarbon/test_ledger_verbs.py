"""`scarbon ledger` as people run it: backup, restore, import, purge, anonymise, and what each says of bad input."""

from __future__ import annotations

import hashlib
import hmac
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from accounting.ledger import anonymising, schema
from tests.ledger.servers import Place
from tests.ledger.test_commands import close
from tests.site import Site, change, query, tables

REPORT = ["report", "-S", "2026-09-01", "-E", "2026-12-01", "--by", "account", "--format", "json"]
JOBS = ["jobs", "-a", "-D", "-S", "2020-01-01", "--json"]
SALT = b"0123456789abcdef"


def answers(site: Site) -> list[Any]:
    """A report and all jobs, without what goes with the clock on the wall."""
    report, jobs = (site.good(*words).json for words in (REPORT, JOBS))
    return [{**report, "meta": None}, {"jobs": [{**job, "elapsed_s": None} for job in jobs["jobs"]]}]


def on(site: Site, place: Place) -> Site:
    """The site with its ledger elsewhere."""
    (site.folder / "secret").write_text(f"{place.password}\n")
    site.change("ledger: sqlite:///ledger.db", f'ledger: {{url: "{place.url}", password_file: secret}}')
    return site


@pytest.fixture
def placed(mine: Site, place: Place) -> Site:
    """A site whose books were moved to each database."""
    if place.password is None:
        return mine
    on(mine, place)
    assert "read back and compared" in mine.good("ledger", "import", f"sqlite:///{mine.ledger}").err
    return mine


def test_moved_saved_and_put_back_the_books_say_the_same(placed: Site, booked: Site, tmp_path: Path) -> None:
    said = answers(booked)
    assert all(map(close, answers(placed), said))
    copy = tmp_path / "copy.db"
    assert placed.good("ledger", "backup", copy).err.startswith(f"{copy}: ")
    placed.collect("-S", "2026-09-21", "-E", "2026-09-21T06:00")  # before the recording: nothing was there
    assert "replace them with --force" in (told := placed.scarbon("ledger", "restore", copy).refused()) or (
        "restore --force" in told
    )
    placed.good("ledger", "restore", "--force", copy)
    assert all(map(close, answers(placed), said))
    assert placed.good("audit", "--json").json["balanced"]
    assert "0 postings, 0 superseded" in placed.good("collect", *placed.window).err


def test_a_site_begins_anew_from_a_backup(booked: Site, tmp_path: Path) -> None:
    booked.good("ledger", "backup", tmp_path / "copy.db")
    site = booked.copy(tmp_path / "site")
    for path in site.folder.glob("ledger.db*"):
        path.unlink()
    assert "the books of " in site.good("ledger", "restore", tmp_path / "copy.db").err
    assert answers(site) == answers(booked)
    assert site.tables() == booked.tables()


def test_back_from_a_server(servers: Any, mine: Site, booked: Site) -> None:
    place = servers["postgresql"].database()
    on(mine, place)
    mine.good("ledger", "import", f"sqlite:///{booked.ledger}")
    mine.change(f'ledger: {{url: "{place.url}", password_file: secret}}', "ledger: sqlite:///back.db")
    assert "password" in mine.scarbon("ledger", "import", place.url).refused()
    mine.good("ledger", "import", place.url, "--password-file", mine.folder / "secret")
    assert answers(mine) == answers(booked)
    servers["postgresql"].drop(place)


# --- purge


@pytest.fixture
def years(days: Site, tmp_path: Path) -> Site:
    """The four days, in books that have gone on for a month."""
    site = days.copy(tmp_path / "site")
    site.collect()
    assert change(site.ledger, "UPDATE booked SET end_s = end_s + 2678400") == 1
    return site


def test_reports_statements_and_exports_after_a_purge(years: Site, tmp_path: Path) -> None:
    said = answers(years)
    stated = years.good("statement", "-a", "-S", "2020-01-01", "--format", "json").json
    years.good("export", "-o", tmp_path / "before")
    shown = years.good("ledger", "purge", "--before", "2026-10-28", "--dry-run").err
    assert shown.startswith("Before 2026-10-28 from 2026-10-25 on: ")
    assert answers(years) == said
    years.good("ledger", "purge", "--before", "2026-10-28", "--yes")
    assert query(years.ledger, "SELECT MIN(slot_s) FROM usage_slots") >= [(1_793_142_000,)]  # 2026-10-28T00:00+01:00
    assert answers(years) == said
    after = years.good("statement", "-a", "-S", "2020-01-01", "--format", "json").json
    same_statement(after, stated)
    years.good("export", "-o", tmp_path / "after")
    for name in ("jobs", "adjustments"):
        assert (tmp_path / "after" / f"{name}.csv").read_text() == (tmp_path / "before" / f"{name}.csv").read_text()
    audit = years.good("audit").out
    assert "Before 2026-10-28 there are roll-ups only" in audit
    told = years.scarbon("collect", "-q", "-S", "2026-10-26", "-E", "2026-10-27").refused()
    assert told.startswith(
        "scarbon: gamma: the hours before 2026-10-28 were purged, and cannot be accounted anew; begin"
    )
    told = years.scarbon("restate", "-S", "2026-10-26", "-E", "2026-10-27", "--why", "x", "--dry-run").refused()
    assert "purged" in told
    told = years.scarbon("report", "--as-of", "now", "-S", "2026-10-26", "-E", "2026-10-27").refused()
    assert "purged" in told
    years.good("ledger", "purge", "--before", "2026-10-29", "--yes")
    assert query(years.ledger, "SELECT COUNT(*) FROM usage_slots") == [(0,)]
    assert answers(years) == said
    same_statement(years.good("statement", "-a", "-S", "2020-01-01", "--format", "json").json, stated)


def same_statement(found: Any, expected: Any) -> None:
    """All figures, but for the interval: by which meters is gone, so it is wider; and the same sources."""
    for name, value in expected.items():
        if name in ("co2e_low_g", "co2e_high_g"):
            assert found[name] == pytest.approx(value, rel=0.05)
            assert (found[name] <= value) if name == "co2e_low_g" else (found[name] >= value)
        elif name == "sources":
            assert [one["source"] for one in found[name]] == [one["source"] for one in value]
            for one, other in zip(found[name], value, strict=True):
                assert one["share"] == pytest.approx(other["share"], abs=0.05)
        elif isinstance(value, dict) and name != "meta":
            same_statement(found[name], value)
        elif name != "meta":
            assert close(found[name], value), name


def test_a_purge_asks_first(years: Site) -> None:
    before = years.tables()
    assert "there is nobody to be asked" in years.scarbon("ledger", "purge", "--before", "2026-10-28").refused(2)
    with mock.patch("scarbon.commands.ledger._asked_of_a_person", return_value=True):
        done = years.scarbon("ledger", "purge", "--before", "2026-10-28", stdin="n\n")
        assert (done.code, done.out) == (1, "")
        assert "rows? [y/N]" in done.err
        assert years.tables() == before
        assert years.scarbon("ledger", "purge", "--before", "2026-10-28", stdin="y\n").code == 0
    assert years.tables() != before


# --- anonymise


@pytest.fixture
def salt(tmp_path: Path) -> Path:
    path = tmp_path / "salt"
    path.write_bytes(SALT + b"\n")
    path.chmod(0o600)
    return path


def pseudonym(kind: str, name: str) -> str:
    digest = hmac.new(SALT, kind.encode() + b"\0" + name.encode(), hashlib.sha256).hexdigest()
    return f"{kind}-{digest[:16]}"


def test_nothing_of_a_person_is_left_in_the_copy(placed: Site, booked: Site, salt: Path, tmp_path: Path) -> None:
    out = tmp_path / "published.db"
    placed.good("ledger", "anonymise", "--salt", salt, "--accounts", out)
    names = {
        name
        for row in query(booked.ledger, "SELECT user_name, account, wckey, name FROM attempts")
        for name in row
        if name is not None
    }
    users = {name for (name,) in query(booked.ledger, "SELECT DISTINCT user_name FROM attempts")}
    assert len({name for name in users if len(name) > 3}) > 1
    content = out.read_bytes()
    for name in names:
        assert all(name not in map(str, row) for rows in tables(out).values() for row in rows), name
    for name in users:
        # Three letters turn up by chance, among numbers and in digests.
        assert len(name) < 4 or name.encode() not in content, name
    found = query(out, "SELECT DISTINCT user_name FROM attempts")
    assert {name for (name,) in found} == {pseudonym("u", user) for user in users}
    assert query(out, "SELECT DISTINCT uid, name, comment FROM attempts") == [(None, None, None)]


def test_the_figures_of_the_copy_are_those_of_the_books(booked: Site, salt: Path, tmp_path: Path) -> None:
    site = booked.copy(tmp_path / "site")
    booked.good("ledger", "anonymise", "--salt", salt, tmp_path / "published.db")
    site.change("ledger: sqlite:///ledger.db", f"ledger: sqlite:///{tmp_path}/published.db")
    found, said = answers(site), answers(booked)
    assert close(found[0]["total"], said[0]["total"])
    assert close(found[0]["groups"], said[0]["groups"])
    for job, was in zip(found[1]["jobs"], said[1]["jobs"], strict=True):
        changed = {name for name in was if job[name] != was[name]}
        assert changed <= {"user", "uid", "name", "tags"}
        assert job["user"] == pseudonym("u", was["user"])
    assert site.good("audit", "--json").json["balanced"]


#: Every column of text that goes into the copy, and was looked at for what it may say of a person.
JUDGED = {
    "booked": {"cluster"},
    "meta": {"name", "value"},
    "meters": {"cluster", "kind", "uuid", "node", "model"},
    "payers": {"cluster", "user_name", "account", "partition_name", "qos", "wckey", "tags"},
    "periods": {"month", "who", "host", "why"},
    "attempts": {
        "cluster", "label", "state", "user_name", "account", "partition_name", "qos", "wckey", "name", "nodes",
        "exit_code", "sluid", "comment",
    },
    "runs": {"cluster", "version", "config_digest", "summary"},
    "moves": set(),
    "adjustments": {"posted_day", "for_day"},
    "balance": {"method"},
    "factors": {"cluster", "kind", "source", "basis"},
    "usage_slots": {"method", "holder"},
    "usage_days": {"day", "kind", "model", "method"},
    "idle_days": {"day"},
    "payer_days": {"month", "kind", "model", "day"},
    "payer_months": {"month", "kind", "model"},
    "payer_jobs": {"month", "kind", "model", "day", "previous_day"},
}  # fmt: skip


def test_every_text_in_the_copy_was_judged() -> None:
    """A new column of text fails here, until somebody has said what an anonymised copy does with it."""
    found = {
        table.name: {column.name for column in table.columns if column.type.python_type is str}
        for table in anonymising.KEPT
    }
    assert found == JUDGED
    assert set(schema.metadata.tables) - set(found) == {
        "accounts", "members", "coordinators", "restatements", "quarantine", "mailings",
    }  # fmt: skip


# --- what cannot be


def test_bad_input_is_one_line(booked: Site, salt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.db").write_text("Not a database, and longer than the header of one.\n" * 10)
    with closing(sqlite3.connect(tmp_path / "orders.db")) as other:
        other.execute("CREATE TABLE orders (number INTEGER)")
    before = {path.name for path in tmp_path.iterdir()}
    for code, says, *words in (
        (1, "text.db is there already; name another file, or replace it with --force", "backup", "text.db"),
        (1, "none/copy.db cannot be written", "backup", "none/copy.db"),
        (1, "there is no file none.db; name one that scarbon ledger backup made", "restore", "none.db"),
        (1, "text.db is not a ledger of scarbon", "restore", "text.db"),
        (1, "orders.db is not a ledger of scarbon", "restore", "orders.db"),
        (1, "there is no ledger at none.db yet", "import", "sqlite:///none.db"),
        (1, "mongodb:// names no ledger", "import", "mongodb://x/y"),
        (2, "FROM_URL is the site's own ledger", "import", booked.url),
        (2, "name two passwords", "import", "sqlite:///x.db", "--password-file", "a", "--password-env", "B"),
        (1, "cannot be opened", "import", "postgresql+psycopg://scarbon@127.0.0.1:1/books"),
        (2, "Missing option '--before'", "purge"),
        (2, "cannot read the time 'whenever'", "purge", "--before", "whenever", "--yes"),
        (2, "is no midnight in Europe/Paris", "purge", "--before", "2026-09-22T08:00", "--yes"),
        (1, "may still be accounted anew, and cannot be purged", "purge", "--before", "2026-09-22", "--yes"),
        (2, "Missing option '--salt'", "anonymise", "out.db"),
        (1, "the secret for pseudonyms, none, cannot be read", "anonymise", "out.db", "--salt", "none"),
        (1, "text.db is there already", "anonymise", "text.db", "--salt", str(salt)),
    ):  # fmt: skip
        assert says in booked.scarbon("ledger", *words).refused(code), words
    assert {path.name for path in tmp_path.iterdir()} == before


def test_a_ledger_that_is_not_empty_takes_no_other(mine: Site, booked: Site, tmp_path: Path) -> None:
    before = mine.tables()
    booked.good("ledger", "backup", tmp_path / "copy.db")
    told = mine.scarbon("ledger", "import", f"sqlite:///{tmp_path}/copy.db").refused()
    assert "is not empty" in told
    assert mine.tables() == before
