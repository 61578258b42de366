"""`scarbon report`: a period by account or another group, with the idle line and the total, in many formats."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from accounting.document import Period, make_document
from accounting.ledger.reading import Books
from accounting.report import GROUPINGS, Chosen
from accounting.tags import split_tags
from scarbon.errors import FAILED, WrongUseError
from scarbon.past import as_of_option, report_then
from scarbon.periods import chosen_period, period_options, refuse_empty
from scarbon.reports import FORMATS, render
from scarbon.site import chosen_clusters, known_site, names, open_books, site
from site_config.errors import near
from site_config.kept import KnownSite

EXAMPLE = """\b
Examples:
  scarbon report --month 2026-10 --by account
  scarbon report --quarter last --by user --format json
  scarbon report --month last -A physics --by user --format html -o physics.html
  scarbon report -S 2026-10-01 -E 2026-10-08 --by tag:project
  scarbon report --month last --each account --mail
"""

#: The formats that are told of single jobs unless it is said otherwise: a glance at the terminal is to be quick.
PAGES = ("md", "json", "html", "pdf")
TOP = 10
#: The formats that have words of a language.
SPOKEN = ("md", "html", "pdf")


def _grouping(context: click.Context, parameter: click.Parameter, by: str) -> str:
    kind, _, label = by.partition(":")
    if by in GROUPINGS or (kind == "tag" and label):
        return by
    hint = near(by, GROUPINGS)
    raise WrongUseError(f"no grouping {by!r}{hint}", "" if hint else f"group by {', '.join(GROUPINGS)} or tag:KEY")


@click.command(epilog=EXAMPLE)
@period_options
@click.option(
    "--by",
    metavar="GROUP",
    default="account",
    show_default=True,
    callback=_grouping,
    help=f"The groups: {', '.join(GROUPINGS)}, or tag:KEY for one label's values.",
)
@click.option("-A", "--accounts", metavar="NAME,…", help="Only these accounts.")
@click.option("-u", "--user", metavar="NAME,…", help="Only these users.")
@click.option("-M", "--clusters", metavar="NAME,…", help="Only these clusters. [default: all]")
@click.option("--tree", is_flag=True, help="Accounts as a tree, each with what is below it; with -A: their branches.")
@click.option(
    "--top",
    type=click.IntRange(0, 1000),
    metavar="N",
    help=f"How many of the largest jobs to name. [default: {TOP}; table and csv: none]",
)
@click.option("--format", "as_", type=click.Choice(list(FORMATS)), default="table", show_default=True)
@click.option("--language", metavar="CODE", help="The language of md, html and pdf. [default: the site's, else en]")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Into this file; --dry-run: into this folder.")
@click.option(
    "--each", type=click.Choice(["account"]), help="With --mail: a page for each account. [default --by: user]"
)
@as_of_option
@click.option("--mail", is_flag=True, help="Send each page to those who coordinate its account (docs/mail.md).")
@click.option("--again", is_flag=True, help="With --mail: to those who have it already, too.")
@click.option("--dry-run", is_flag=True, help="With --mail: send nothing, write the messages into the folder -o.")
@click.pass_context
def report(
    ctx: click.Context,
    /,
    by: str,
    accounts: str | None,
    user: str | None,
    clusters: str | None,
    tree: bool,
    top: int | None,
    as_: str,
    language: str | None,
    output: Path | None,
    as_of: str | None,
    each: str | None,
    mail: bool,
    again: bool,
    dry_run: bool,
    **options: Any,
) -> None:
    """Sum a period, clipped to the site's calendar: a job that crosses its end counts with what it used inside.

    Groups and idle add up to the total, also as they are printed. Idle time is the site's: a report on some accounts or
    users has none.
    """
    config, now_s = known_site(ctx.obj), time.time()
    period = chosen_period(config, options, now_s)
    if mail or each or again or dry_run:
        _refuse_with_mail(ctx, mail, each, dry_run, output)
        _mail(ctx, config, period, by, accounts, top, language, again, output if dry_run else None)
        return
    if output is not None and output.is_dir():
        raise WrongUseError(f"{output} is a folder", "name a file in it")
    if tree and by != "account":
        raise WrongUseError("only accounts have a tree", "use --tree with --by account")
    if language is not None and as_ not in SPOKEN:
        raise WrongUseError(f"--format {as_} has no language", f"--language is for {', '.join(SPOKEN)}")
    chosen_names = chosen_clusters(config, clusters)
    books = open_books(config)
    present = chosen_names or list(config.clusters)
    chosen = Chosen(
        clusters=chosen_names,
        accounts=_accounts(books, present, names(accounts), tree),
        users=_known(names(user), _people(books), "user"),
    )
    refuse_empty(books, config, period, present)
    if by.startswith("tag:"):
        _known([by.removeprefix("tag:")], _labels(books), "label")
    if top is None and as_ in PAGES:
        top = TOP
    as_of_s = report_then(config, books, as_of, period, now_s)
    document = make_document(books, config, period, by, chosen, now_s=now_s, top=top, tree=tree)
    document = replace(document, as_of_s=as_of_s)
    if as_ not in SPOKEN:
        made = render(document, as_)
    else:
        from scarbon.pages.look import look

        made = render(document, as_, look(config.report, language))
    _put(made, output)


def _refuse_with_mail(ctx: click.Context, mail: bool, each: str | None, dry_run: bool, output: Path | None) -> None:
    """WrongUseError for options that do not go together where pages are sent."""
    if not (mail and each):
        raise WrongUseError("--mail and --each go together", "write for example --month last --each account --mail")
    for name in ("user", "clusters", "tree", "as_", "as_of"):
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            (option,) = (param.opts[-1] for param in ctx.command.params if param.name == name)
            raise WrongUseError(f"{option} does not go with --mail", "a page is the whole of an account, as mail")
    if dry_run != (output is not None):
        raise WrongUseError("--dry-run and -o, the folder for its messages, go together with --mail", "give both")
    if output is not None and output.exists() and not output.is_dir():
        raise WrongUseError(f"{output} is a file", "-o is the folder for the messages of --dry-run")


def _mail(
    ctx: click.Context,
    config: KnownSite,
    period: Period,
    by: str,
    accounts: str | None,
    top: int | None,
    language: str | None,
    again: bool,
    folder: Path | None,
) -> None:
    """Send the pages, and say what became of each."""
    from scarbon.mailing import Asked, mail_pages
    from scarbon.pages.look import look

    books = open_books(config)
    asked = Asked(
        period=period,
        by=by if ctx.get_parameter_source("by") is ParameterSource.COMMANDLINE else "user",
        accounts=_accounts(books, list(config.clusters), names(accounts), tree=False),
        top=TOP if top is None else top,
        again=again,
    )
    outcome = mail_pages(site(ctx.obj), config, books, look(config.report, language), asked, folder)
    for line in outcome.said:
        click.echo(line)
    for line in (*outcome.nobody, *outcome.failed):
        click.echo(f"scarbon: {line}", err=True)
    if outcome.failed:
        ctx.exit(FAILED)


def _put(made: str | bytes, output: Path | None) -> None:
    if output is None:
        if isinstance(made, bytes) and sys.stdout.isatty():
            raise WrongUseError("a terminal cannot show this format", "write it into a file with -o")
        click.echo(made, nl=False)
    elif isinstance(made, str):
        output.write_text(made, encoding="utf-8")
    else:
        output.write_bytes(made)


def _accounts(books: Books, clusters: Sequence[str], wanted: list[str] | None, tree: bool) -> list[str] | None:
    """The accounts that were named; with their branches where a tree is asked for."""
    from accounting.accounts import read_tree

    trees = [read_tree(books, cluster) for cluster in clusters] if wanted else []
    known = {row["account"] for row in books.rows("SELECT DISTINCT account FROM payers") if row["account"]}
    found = _known(wanted, known.union(*(one.accounts for one in trees)), "account")
    if found is None or not tree:
        return found
    branches = [name for one in trees for account in found if account in one.accounts for name in one.branch(account)]
    return list(dict.fromkeys([*found, *branches]))


def _people(books: Books) -> set[str]:
    """Those who have jobs in the books, and those who belong to an account."""
    rows = books.rows("SELECT DISTINCT user_name FROM payers UNION SELECT DISTINCT user_name FROM members")
    return {row["user_name"] for row in rows if row["user_name"]}


def _labels(books: Books) -> set[str]:
    rows = books.rows("SELECT DISTINCT tags FROM payers WHERE tags IS NOT NULL")
    return {key for row in rows for key in split_tags(row["tags"])}


def _known(wanted: list[str] | None, known: Iterable[str], what: str) -> list[str] | None:
    """The names that were asked for; WrongUseError, with the near one, for one that the books do not know."""
    known = set(known)
    for name in wanted or ():
        if name not in known:
            hint = near(name, known)
            raise WrongUseError(f"no {what} {name!r} in the books{hint}", "" if hint else _some(known, what))
    return wanted


def _some(known: set[str], what: str) -> str:
    if not known:
        return f"they know no {what} yet"
    shown = sorted(known)[:8]
    return f"they have {', '.join(shown)}{', …' if len(known) > len(shown) else ''}"
