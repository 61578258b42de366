"""The command as its own definitions describe it: what man pages and the reference in the documentation are made of.

`pages()` imports every verb and reads click's definitions; `scarbon.manual` writes the pages as roff and Markdown.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

import click

from scarbon.cli import VERBS, cli


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph; one that is `verbatim` keeps its lines."""

    text: str
    verbatim: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """What is said of one command."""

    words: tuple[str, ...]  # as it is typed: scarbon, hooks, install
    about: str  # in a line, without a full stop
    usage: str  # what follows the words
    text: tuple[Block, ...]
    options: tuple[tuple[str, str], ...]  # `-u, --user NAME,…`, and what it does
    verbs: tuple[tuple[str, str], ...]  # those below it, with a line each
    examples: tuple[Block, ...]

    @property
    def name(self) -> str:
        """The name of its man page: scarbon-hooks-install."""
        return "-".join(self.words)


def pages() -> Iterator[Page]:
    """Each command, one that has verbs before them, in the order in which `--help` lists them."""
    yield from _pages(cli, None, "scarbon")


def _pages(command: click.Command, parent: click.Context | None, name: str) -> Iterator[Page]:
    with click.Context(command, parent, name, **command.context_settings) as ctx:
        below = []
        if isinstance(command, click.Group):
            found = ((verb, command.get_command(ctx, verb)) for verb in command.list_commands(ctx))
            below = [(verb, one) for verb, one in found if one is not None and not one.hidden]
        yield _page(command, ctx, below)
        for verb, one in below:
            yield from _pages(one, ctx, verb)


def _page(command: click.Command, ctx: click.Context, below: list[tuple[str, click.Command]]) -> Page:
    words = tuple(ctx.command_path.split())
    records = [param.get_help_record(ctx) for param in command.get_params(ctx)]
    return Page(
        words=words,
        about=_about(words, command),
        usage=" ".join(command.collect_usage_pieces(ctx)),
        text=_blocks(command.help),
        options=tuple((names, " ".join(about.split())) for names, about in filter(None, records) if about),
        verbs=tuple((verb, _about((*words, verb), one)) for verb, one in below),
        examples=_blocks(command.epilog),
    )


def _about(words: tuple[str, ...], command: click.Command) -> str:
    """The line that `scarbon --help` has for a verb; of those below one, the first sentence of their own help."""
    line = VERBS[words[1]][1] if len(words) == 2 else command.get_short_help_str(limit=200)
    return line.removesuffix(".")


def _blocks(text: str | None) -> tuple[Block, ...]:
    r"""Paragraphs as click takes them: one that begins with a line of `\b` keeps its lines."""
    paragraphs = [part for part in inspect.cleandoc(text or "").split("\n\n") if part.strip()]
    return tuple(
        Block(textwrap.dedent(part.partition("\n")[2]), verbatim=True)
        if part.startswith("\b\n")
        else Block(" ".join(part.split()))
        for part in paragraphs
    )
