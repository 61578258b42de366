"""`scarbon ledger`: the books as a database."""

from __future__ import annotations

import click

from scarbon.site import open_books, open_ledger, site
from scarbon.times import window
from site_config.secrets import read_secret

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
    plan = act(kept.url, read_secret(kept.password_file, kept.password_env))
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
