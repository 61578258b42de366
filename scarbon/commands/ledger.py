"""`scarbon ledger`: the books as a database."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from accounting.ledger.reading import Books
from scarbon.errors import WrongUseError
from scarbon.secrets import pseudonyms_of
from scarbon.site import open_books, open_ledger, site
from scarbon.times import midnight, window
from site_config.secrets import read_secret

if TYPE_CHECKING:
    from site_config.schema import Ledger

EXAMPLE = """\b
Examples:
  scarbon ledger upgrade --dry-run      what would be done, and the SQL
  scarbon ledger upgrade
"""


REBUILD = """\b
Examples:
  scarbon audit                         is there anything to mend?
  scarbon ledger rebuild
  scarbon ledger rebuild -S 2026-10-01 -E 2026-11-01
"""

BACKUP = """\b
Examples:
  scarbon ledger backup /backup/books-$(date +%F).db
  scarbon ledger backup --force /backup/books.db
"""

RESTORE = """\b
Examples:
  scarbon ledger restore /backup/books-2026-10-31.db
  scarbon ledger restore --force /backup/books-2026-10-31.db      in the place of the books that are there
"""

IMPORT = """\b
Examples, from the old ledger into the one of the configuration:
  scarbon ledger import sqlite:////var/lib/scarbon/ledger.db
  scarbon ledger import --password-file old.password postgresql+psycopg://scarbon@db/books
"""

PURGE = """\b
Examples:
  scarbon ledger backup /backup/books-before-purge.db
  scarbon ledger purge --before 2025-01-01 --dry-run
  scarbon ledger purge --before 2025-01-01
"""

ANONYMISE = """\b
Examples:
  (umask 077; head -c 32 /dev/urandom | base64 > /etc/scarbon/salt)      once, and keep it
  scarbon ledger anonymise --salt /etc/scarbon/salt published.db
  scarbon ledger anonymise --salt /etc/scarbon/salt --accounts published.db
"""


@click.group()
def ledger() -> None:
    """Look after the books as a database."""


@ledger.command(epilog=EXAMPLE)
@click.option("-n", "--dry-run", is_flag=True, help="Show the steps and the SQL, and change nothing.")
@click.pass_obj
def upgrade(config_option: str | None, /, dry_run: bool) -> None:
    """Bring a ledger of an older version to this version's schema. Keep a copy of it first.

    While it runs nobody else can write. Afterwards older versions of scarbon can no longer open the ledger: upgrade
    the program on every host that reads it.
    """
    from accounting.ledger.upgrading import plan_upgrade
    from accounting.ledger.upgrading import upgrade as upgrade_ledger

    kept = site(config_option).ledger
    act = plan_upgrade if dry_run else upgrade_ledger
    plan = act(kept.url, _password(kept))
    if not plan.steps:
        click.echo(f"The ledger has this version's schema ({plan.found}): nothing to do.", err=True)
    for step in plan.steps:
        click.echo(f"{'to do' if dry_run else 'done'}: {step.revision}  {step.what}", err=True)
    if dry_run:
        click.echo(plan.sql, nl=False)


@ledger.command(epilog=REBUILD)
@click.option("-S", "--starttime", metavar="TIME", help="The days from here on. [default: all]")
@click.option("-E", "--endtime", metavar="TIME", help="… up to here.")
@click.pass_obj
def rebuild(config_option: str | None, /, starttime: str | None, endtime: str | None) -> None:
    """Make the sums that reports read anew from the postings, where scarbon audit found them wrong.

    Postings are not touched. Readers see the old sums until all of the new ones are there.
    """
    from accounting.agreement import disagreements, kept_days
    from accounting.ledger.rebuilding import rebuild as rebuild_sums

    config = site(config_option)
    start_s, end_s = window(starttime, endtime, config.site.zone)
    with open_books(config) as books:
        wrong = sum(1 for _ in disagreements(books, start_s, end_s))
        days, purged_s = kept_days(books, config.site.zone, start_s, end_s), books.purged_before_s
    kept = open_ledger(config)
    try:
        rebuild_sums(kept, config.site.zone, days, purged_s)
    finally:
        kept.close()
    click.echo(f"{len(days)} days are summed anew; {wrong} figures or rows of them were wrong", err=True)


@ledger.command(epilog=BACKUP)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-f", "--force", is_flag=True, help="Replace the file, if it is there.")
@click.pass_obj
def backup(config_option: str | None, /, file: Path, force: bool) -> None:
    """Copy the books into FILE as they stand at this moment, while others read and write.

    FILE is an SQLite ledger, wherever the books are kept; it is checked, and there only when it is whole.
    """
    from accounting.ledger.backups import backup as copy_books

    kept = site(config_option).ledger
    copy_books(kept.url, _password(kept), file, force=force)
    click.echo(f"{file}: {file.stat().st_size / 1e6:.1f} MB", err=True)


@ledger.command(epilog=RESTORE)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-f", "--force", is_flag=True, help="Replace the books that are there.")
@click.pass_obj
def restore(config_option: str | None, /, file: Path, force: bool) -> None:
    """Put FILE, which scarbon ledger backup made, in the place of the books.

    It is checked first, and takes their place all at once: until then, readers see the books as they were.
    """
    from accounting.ledger.backups import restore as put_back

    config = site(config_option)
    put_back(file, config.ledger.url, config.site.timezone, _password(config.ledger), force=force)
    with open_books(config) as books:
        runs = books.rows("SELECT COUNT(*) AS runs FROM runs")[0]["runs"]
        click.echo(f"the books of {runs} runs are at {books.address.shown}", err=True)


@ledger.command("import", epilog=IMPORT)
@click.argument("from_url")
@click.option("--password-file", type=click.Path(path_type=Path), help="Where the password of FROM_URL stands.")
@click.option("--password-env", metavar="NAME", help="… or the variable of the environment that has it.")
@click.pass_obj
def import_(config_option: str | None, /, from_url: str, password_file: Path | None, password_env: str | None) -> None:
    """Copy the ledger at FROM_URL into the site's own, which must be empty: from SQLite to a server, or back.

    It arrives as a whole or not at all, and every row is read back and compared. FROM_URL is left as it is.
    """
    from accounting.ledger.backups import import_books

    if password_file is not None and password_env is not None:
        raise WrongUseError("--password-file and --password-env name two passwords", "use one of them")
    config = site(config_option)
    if from_url == config.ledger.url:
        raise WrongUseError("FROM_URL is the site's own ledger", "name the new one in `ledger:`")
    with Books(from_url, read_secret(password_file, password_env)) as source:
        counts = import_books(source, config.ledger.url, config.site.timezone, _password(config.ledger))
        click.echo(f"{sum(counts.values())} rows of {source.address.shown}, read back and compared", err=True)


def _asked_of_a_person() -> bool:
    return sys.stdin.isatty()


def _password(kept: Ledger) -> str | None:
    return read_secret(kept.password_file, kept.password_env)


@ledger.command(epilog=PURGE)
@click.option("--before", metavar="DATE", required=True, help="The first day whose hours are kept.")
@click.option("-n", "--dry-run", is_flag=True, help="Show what would be deleted, and delete nothing.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def purge(config_option: str | None, /, before: str, dry_run: bool, yes: bool) -> None:
    """Delete the hours of long ago, and keep the sums of each day, job and month.

    Reports and jobs of that time say what they said. It can no longer be restated, accounted or recomputed, nor
    shown as it stood at an earlier time. There is no way back but a backup.
    """
    from accounting.ledger.purging import plan_purge
    from accounting.ledger.purging import purge as purge_hours

    config = site(config_option)
    if not (dry_run or yes or _asked_of_a_person()):
        raise WrongUseError("there is nobody to be asked", "say --dry-run to look, or --yes to purge")
    with open_books(config) as books:
        plan = plan_purge(books, midnight(before, config.site.zone))
    span = "" if plan.first is None else f" from {plan.first} on"
    click.echo(
        f"Before {plan.before}{span}: {plan.postings:,} hours of jobs ({plan.superseded:,} superseded), "
        f"{plan.balances:,} of meters, {plan.factors:,} superseded factors. Sums by day and month stay.",
        err=True,
    )
    if dry_run or not plan.rows:
        return
    if not yes:
        click.confirm(f"Delete these {plan.rows:,} rows?", abort=True, err=True)
    kept = open_ledger(config)
    try:
        purge_hours(kept, plan)
    finally:
        kept.close()
    click.echo(f"All before {plan.before} has sums only.", err=True)


@ledger.command(epilog=ANONYMISE)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--salt", type=click.Path(path_type=Path), required=True, help="The file of the secret for pseudonyms.")
@click.option("--accounts", is_flag=True, help="Replace the names of accounts and WCKeys, too.")
@click.option("-f", "--force", is_flag=True, help="Replace the file, if it is there.")
@click.pass_obj
def anonymise(config_option: str | None, /, file: Path, salt: Path, accounts: bool, force: bool) -> None:
    """Copy the books into FILE for publication: users by pseudonyms, without names and comments of jobs.

    The same secret gives the same person the same pseudonym each time. FILE is an SQLite ledger; the books are left
    as they are. Clusters, partitions, nodes and times stay.
    """
    from accounting.ledger.anonymising import anonymise as copy_without_names

    pseudonyms = pseudonyms_of(salt, accounts=accounts)
    with open_books(site(config_option)) as books:
        counts = copy_without_names(books, file, pseudonyms, force=force)
    click.echo(f"{file}: {counts['attempts']} jobs of {counts['payers']} payers", err=True)
