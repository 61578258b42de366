"""Upgrades: from every released schema with data in it, by the plan that was shown, whole or not at all."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect

from accounting.ledger import errors, opening, upgrading
from accounting.ledger.address import parse_address
from accounting.ledger.errors import LedgerError, NoLedgerError
from accounting.ledger.opening import open_engine
from accounting.ledger.reading import Books
from accounting.ledger.schema import metadata
from accounting.ledger.store import Ledger
from tests.ledger.servers import Place
from tests.ledger.windows import RUN, balance, job, usage, window
from tests.site import Site

NEXT = '''
"""Where each job ran, and why it ended.

Longer words, which the plan leaves out.
"""

import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "{head}"


def upgrade() -> None:
    op.add_column("attempts", sa.Column("reason", sa.String(20)))
    op.execute("UPDATE attempts SET reason = 'because'")
    {then}
'''


@pytest.fixture
def filled(place: Place) -> Place:
    """A ledger with a job in it."""
    ledger = Ledger(place.url, "UTC", place.password)
    one = job(1)
    ledger.post(window(0, 24, [one], [usage(one, 1)], [balance(1, 4000.0, 400.0)]), RUN)
    ledger.close()
    return place


@pytest.fixture
def later(filled: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest) -> Place:
    """That ledger, and now a version of scarbon with one migration more."""
    folder = tmp_path / "migrations"
    shutil.copytree(upgrading.MIGRATIONS, folder)
    then = getattr(request, "param", "pass")
    (folder / "versions" / "9999_next.py").write_text(NEXT.format(head=errors.REVISION, then=then))
    monkeypatch.setattr(upgrading, "MIGRATIONS", folder)
    monkeypatch.setattr(errors, "OLDER", (*errors.OLDER, errors.REVISION))
    for module in (errors, opening, upgrading):
        monkeypatch.setattr(module, "REVISION", "9999")
    monkeypatch.setattr("accounting.ledger.reading.REVISION", "9999")
    return filled


def test_the_revisions_are_those_that_the_program_names() -> None:
    script = ScriptDirectory(str(upgrading.MIGRATIONS))
    assert [one.revision for one in script.walk_revisions()] == [*reversed((*errors.OLDER, errors.REVISION))]


def test_migrations_lead_to_the_schema_that_new_ledgers_have(place: Place) -> None:
    """Where this fails, `schema.py` was changed without a migration, or the other way round."""
    address = parse_address(place.url, place.password)
    with open_engine(address).connect() as connection, connection.begin():
        command.upgrade(upgrading._config(connection=connection), "head")
        found = _described(connection)
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    made = Place(place.kind, place.url.replace("ledger.db", "made.db"), place.password)
    if place.kind == "sqlite":  # what a comparison of tables does not look at: WITHOUT ROWID
        Ledger(made.url, "UTC").close()
        with open_engine(parse_address(made.url)).connect() as connection, connection.begin():
            assert _described(connection) == found


def _described(connection: Any) -> Any:
    if connection.dialect.name != "sqlite":
        return None
    rows = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE name <> 'alembic_version'")
    return {name: sorted(re.split(r"[,()\s]+", sql or "")) for name, sql in rows if "alembic" not in name}


def test_a_ledger_of_this_version_needs_nothing(filled: Place) -> None:
    plan = upgrading.plan_upgrade(filled.url, filled.password)
    assert (plan.found, plan.steps, plan.sql) == (errors.REVISION, [], "")
    assert upgrading.upgrade(filled.url, filled.password).steps == []


def test_an_older_ledger_is_refused_until_it_is_upgraded(later: Place) -> None:
    for opened in (Books, lambda url, password: Ledger(url, "UTC", password)):
        with pytest.raises(LedgerError, match="was made by an older version") as caught:
            opened(later.url, later.password)
        assert "scarbon ledger upgrade" in caught.value.advice
    plan = upgrading.plan_upgrade(later.url, later.password)
    assert [(step.revision, step.what) for step in plan.steps] == [("9999", "Where each job ran, and why it ended.")]
    assert "ALTER TABLE attempts ADD COLUMN reason VARCHAR(20)" in plan.sql
    assert "reason" not in _columns(later), "a plan changes nothing"

    assert upgrading.upgrade(later.url, later.password).steps == plan.steps

    with Books(later.url, later.password) as books:
        assert [row["reason"] for row in books.rows("SELECT reason FROM attempts")] == ["because"]
        assert [row["metered_j"] for row in books.rows("SELECT metered_j FROM balance")] == [4000.0]
    Ledger(later.url, "UTC", later.password).close()


@pytest.mark.parametrize("later", ["op.execute('SELECT nonsense FROM attempts')"], indirect=True)
def test_an_upgrade_that_fails_leaves_the_ledger_as_it_was(later: Place) -> None:
    with pytest.raises(LedgerError, match=r"could not be upgraded: .*nonsense"):
        upgrading.upgrade(later.url, later.password)
    if later.kind != "mariadb":  # which commits each change of a table by itself
        assert "reason" not in _columns(later)
    with pytest.raises(LedgerError, match="was made by an older version"):
        Books(later.url, later.password)


@pytest.mark.parametrize("later", ["op.execute('DELETE FROM runs')"], indirect=True)
def test_an_upgrade_that_loses_what_others_refer_to_is_undone(later: Place) -> None:
    """SQLite does not look after references while tables are made anew; so they are looked at before the end."""
    with pytest.raises(LedgerError, match="could not be upgraded: "):
        upgrading.upgrade(later.url, later.password)
    if later.kind != "mariadb":
        assert "reason" not in _columns(later)


def test_nobody_writes_while_a_ledger_is_upgraded(later: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as older:
        older.setattr(opening, "REVISION", errors.OLDER[-1])
        ledger = Ledger(later.url, "UTC", later.password)
    with ledger.lock(), pytest.raises(LedgerError, match="another run is writing"):
        upgrading.upgrade(later.url, later.password)
    ledger.close()
    assert "reason" not in _columns(later)


def test_a_ledger_of_a_later_version_is_not_touched(filled: Place) -> None:
    with open_engine(parse_address(filled.url, filled.password)).connect() as connection, connection.begin():
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    for tried in (
        Books,
        lambda url, password: Ledger(url, "UTC", password),
        upgrading.plan_upgrade,
        upgrading.upgrade,
    ):
        with pytest.raises(LedgerError, match="has schema 9999, which this version does not know"):
            tried(filled.url, filled.password)


def test_there_is_nothing_to_upgrade_where_there_is_no_ledger(place: Place) -> None:
    for tried in (upgrading.plan_upgrade, upgrading.upgrade):
        with pytest.raises(NoLedgerError, match="there is no ledger at"):
            tried(place.url, place.password)


def _columns(place: Place) -> set[str]:
    with open_engine(parse_address(place.url, place.password)).connect() as connection, connection.begin():
        return {column["name"] for column in inspect(connection).get_columns("attempts")}


def test_the_command_says_what_was_done_and_what_would_be(mine: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    done = mine.good("ledger", "upgrade")
    assert (done.out, done.err) == ("", f"The ledger has this version's schema ({errors.REVISION}): nothing to do.\n")
    plan = upgrading.Plan("0001", [upgrading.Step("0002", "What is new.")], "ALTER TABLE x;\n")
    for name in ("plan_upgrade", "upgrade"):
        monkeypatch.setattr(upgrading, name, lambda url, password: plan)
    done = mine.good("ledger", "upgrade", "--dry-run")
    assert (done.out, done.err) == ("ALTER TABLE x;\n", "to do: 0002  What is new.\n")
    done = mine.good("ledger", "upgrade")
    assert (done.out, done.err) == ("", "done: 0002  What is new.\n")


def test_the_command_needs_a_ledger(fresh: Site) -> None:
    assert "there is no ledger at" in fresh.scarbon("ledger", "upgrade").refused()
