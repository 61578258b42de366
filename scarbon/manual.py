r"""Man pages (roff, the macros of man(7)) and the Markdown reference, from `scarbon.reference`.

Pages are ASCII, other characters being written as `\[uXXXX]`, so that every roff reads them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from scarbon import __version__
from scarbon.reference import Block, Page

EXIT_CODES = (
    ("0", "Done."),
    ("1", "Failed: one line on stderr says what is wrong, where, and what to do."),
    ("2", "Wrong use."),
    ("3", "Done, with new rows in quarantine that could not be understood."),
)
ENVIRONMENT = (
    ("SCARBON_CONFIG", "The site's configuration, where --config names none."),
    ("SLURM_TIME_FORMAT", "How times are written, as for sacct."),
    ("NO_COLOR", "Where it is set, nothing is coloured."),
)
FILES = (("/etc/scarbon/site.yaml", "The site's configuration, where neither names one."),)

GENERATED = "<!-- Made by `make docs` from the command's own definitions; a change here is lost. -->"


def man_page(page: Page, date: str) -> str:
    """A page of section 1; `date` as YYYY-MM-DD."""
    lines = [f'.TH "{_roff(page.name.upper())}" 1 "{date}" "scarbon {__version__}" "Scarbon"']
    lines += [".SH NAME", f"{_roff(page.name)} \\- {_roff(page.about)}"]
    lines += [".SH SYNOPSIS", f".B {_roff(' '.join(page.words))}", _roff(page.usage)]
    if page.text:
        lines += [".SH DESCRIPTION", *_paragraphs(page.text)]
    if page.verbs:
        lines += [".SH COMMANDS", *_terms((f"{page.name}-{verb}(1)", about + ".") for verb, about in page.verbs)]
    lines += [".SH OPTIONS", *_terms(page.options)]
    lines += [".SH EXIT STATUS", *_terms(EXIT_CODES)]
    lines += [".SH ENVIRONMENT", *_terms(ENVIRONMENT), ".SH FILES", *_terms(FILES)]
    if page.examples:
        lines += [".SH EXAMPLES", *_paragraphs(_without_heading(block) for block in page.examples)]
    if len(page.words) > 1:
        lines += [".SH SEE ALSO", f".BR {_roff('-'.join(page.words[:-1]))} (1)"]
    return "\n".join(lines) + "\n"


def markdown(pages: Iterable[Page]) -> str:
    """The whole reference."""
    return "\n".join(_markdown(list(pages)))


def _markdown(pages: list[Page]) -> Iterator[str]:
    yield from (
        GENERATED,
        "",
        "# The command line",
        "",
        "What `scarbon VERB --help` says, on one page. Data goes to stdout, messages go to stderr; the exit codes are "
        + "; ".join(f"{code}: {_lower(about)}" for code, about in EXIT_CODES)
        + ".",
    )
    for page in pages:
        yield from ("", f"{'#' * (len(page.words) + 1)} {' '.join(page.words)}", "")
        yield from ("```", f"{' '.join(page.words)} {page.usage}", "```")
        for block in (*page.text, *page.examples):
            yield ""
            yield from ("```", block.text, "```") if block.verbatim else (_plain(block.text),)
        if page.verbs:
            yield from ("", "| verb | |", "| --- | --- |")
            yield from (f"| [{verb}](#{page.name}-{verb}) | {_cell(about)} |" for verb, about in page.verbs)
        yield from ("", "| option | |", "| --- | --- |")
        yield from (f"| {_code(names)} | {_cell(about)} |" for names, about in page.options)
    yield ""


def _lower(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:].removesuffix(".")


def _plain(text: str) -> str:
    """Text for Markdown, in which backticks and whole words with `_` stay as they are."""
    return re.sub(r"([\\*<])", r"\\\1", text)


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|")


def _code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|")


def _without_heading(block: Block) -> Block:
    """Its section has the heading."""
    return Block(block.text.removeprefix("Examples:\n").removeprefix("Example:\n"), block.verbatim)


def _paragraphs(blocks: Iterable[Block]) -> Iterator[str]:
    for place, block in enumerate(blocks):
        if place:  # the first follows a heading
            yield ".PP"
        if block.verbatim:
            yield from (".nf", ".ft CW", *(_line(line) for line in block.text.split("\n")), ".ft", ".fi")
        else:
            yield _line(block.text)


def _terms(terms: Iterable[tuple[str, str]]) -> Iterator[str]:
    for term, about in terms:
        yield from (".TP", f".B {_roff(term)}", _line(about))


def _line(text: str) -> str:
    """A line of text, which must not be taken for a request."""
    text = _roff(text)
    return f"\\&{text}" if text.startswith((".", "'")) else text


def _roff(text: str) -> str:
    r"""Text in which no character means anything to roff; a hyphen stays one that can be copied."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq").replace("'", "\\(aq")
    text = text.replace("`", "\\(ga").replace("^", "\\(ha").replace("~", "\\(ti")
    return "".join(char if char.isascii() else f"\\[u{ord(char):04X}]" for char in text)
