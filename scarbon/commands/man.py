"""`scarbon man`: man pages and the Markdown reference, from the command's own definitions."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path

import click

from scarbon.errors import WrongUseError

EXAMPLE = """\b
Examples:
  scarbon man -o /usr/local/share/man/man1     every page, for man(1) to find
  scarbon man jobs | man -l -                  one page, as it is
"""


@click.command(epilog=EXAMPLE)
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write every page into this folder.",
)
@click.option("--markdown", "as_markdown", is_flag=True, help="Print the reference of the documentation, as Markdown.")
@click.argument("verb", nargs=-1)
def man(output: Path | None, as_markdown: bool, verb: tuple[str, ...]) -> None:
    """Make man pages from what the command says of itself.

    Without -o, the page of VERB (of scarbon itself without one) is printed.
    """
    from scarbon.manual import man_page, markdown
    from scarbon.reference import pages

    found = {page.name: page for page in pages()}
    if as_markdown:
        click.echo(markdown(found.values()), nl=False)
        return
    # A build that is to give the same bytes each time says when it was (https://reproducible-builds.org/specs/).
    made = datetime.fromtimestamp(float(os.environ.get("SOURCE_DATE_EPOCH") or time.time()), UTC)
    if output is None:
        name = "-".join(("scarbon", *verb))
        if name not in found:
            close = get_close_matches(name, found, n=1)
            hint = f"did you mean {close[0].replace('-', ' ')}?" if close else "see scarbon --help"
            raise WrongUseError(f"there is no {name.replace('-', ' ')}", hint)
        click.echo(man_page(found[name], f"{made:%Y-%m-%d}"), nl=False)
        return
    output.mkdir(parents=True, exist_ok=True)
    for name, page in found.items():
        (output / f"{name}.1").write_text(man_page(page, f"{made:%Y-%m-%d}"), encoding="ascii")
    click.echo(f"{len(found)} pages in {output}", err=True)
