"""`scarbon ledger`: the books as a database."""

from __future__ import annotations

import click

from scarbon.site import site
from site_config.secrets import read_secret

EXAMPLE = """\b
Examples:
  scarbon ledger upgrade --dry-run      what would be done, and the SQL
  scarbon ledger upgrade
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
