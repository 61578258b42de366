"""A report as Markdown (GitHub's, for its tables): the words and figures of the page, for mail, wikis and tickets."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from accounting.document import Document
from scarbon.pages.look import Look
from scarbon.pages.page import Fact, Page
from scarbon.pages.tables import Table

#: What Markdown would take for its own, also inside a table's cell.
_SIGNS = re.compile(r"([\\`*_\[\]<>|#~])")


def render(document: Document, look: Look) -> str:
    """The document in the look's language; logo and template are for pages that can show them."""
    page = Page(document, look.language, look.footer)
    return "\n\n".join(_blocks(page)) + "\n"


def _blocks(page: Page) -> Iterator[str]:
    say = page.language.text
    yield f"# {_plain(page.title)}"
    yield f"**{_plain(page.site)}**, {_plain(page.period)}"
    yield _facts(page, page.scope)
    total = page.total
    said = _plain(page.language.labelled(total.label, total.value))
    yield f"**{said}**" + (f" ({_plain(total.note)})" if total.note else "")
    if page.equivalent:
        yield _plain(page.equivalent)
    if page.notices:
        yield "\n".join(f"> {_plain(notice)}  " for notice in page.notices)
    if page.comparisons:
        yield _facts(page, page.comparisons)
    if page.facts:
        yield _facts(page, page.facts)
    if page.budgets:
        yield f"## {say('Budgets')}"
        yield "\n".join(
            f"- {_plain(one.account)} – {_plain(one.text)}" + (f". {_plain(one.expected)}" if one.expected else "")
            for one in page.budgets
        )
    if not page.empty:
        yield f"## {say('Where it went')}"
        yield _table(page.where)
        if page.tree is not None:
            yield _table(page.tree)
        yield f"## {say('In detail')}"
        yield _table(page.detail)
    yield from _of_jobs(page)
    if page.reconciliation is not None:
        yield f"## {say('Reconciliation with the meters')}"
        yield _table(page.reconciliation)
        yield say("What the meters say and what none of them saw make jobs and idle time.")
    if page.methods:
        yield f"## {say('How these figures were found')}"
        yield _facts(page, page.methods)
    if page.sources:
        yield f"## {say('Sources')}"
        yield "\n".join(f"{one.number}. {_plain(page.language.labelled(one.label, one.text))}" for one in page.sources)
    yield _plain(page.made)
    if page.footer:
        yield _plain(page.footer)


def _of_jobs(page: Page) -> Iterator[str]:
    say = page.language.text
    if page.top_jobs is not None:
        yield f"## {say('Largest jobs')}"
        yield _table(page.top_jobs)
    if page.lost is not None or page.hardly_used:
        yield f"## {say('Runs that did not complete, and GPUs hardly used')}"
        if page.lost is not None:
            yield _table(page.lost)
        if page.hardly_used:
            yield _plain(page.hardly_used)


def _facts(page: Page, facts: Sequence[Fact]) -> str:
    return "\n".join(
        f"- {_plain(page.language.labelled(fact.label, fact.value))}" + (f" ({_plain(fact.note)})" if fact.note else "")
        for fact in facts
    )


def _table(table: Table) -> str:
    heads = [f"{one.label} ({one.unit})" if one.unit else one.label for one in table.headings]
    lines = [_row(heads), _row(["---:" if one.figures else ":---" for one in table.headings], plain=False)]
    for line in table.lines:
        cells = [_plain(cell) for cell in (line.name, *line.cells)]
        cells[0] = "&emsp;" * line.depth + cells[0]
        if line.kind == "total":
            cells = [f"**{cell}**" if cell else "" for cell in cells]
        lines.append(_row(cells, plain=False))
    return "\n".join(lines)


def _row(cells: Sequence[str], plain: bool = True) -> str:
    return f"| {' | '.join(_plain(cell) if plain else cell for cell in cells)} |"


def _plain(text: str) -> str:
    """Text in which Markdown sees no sign of its own, on one line."""
    return _SIGNS.sub(r"\\\1", text.replace("\n", " "))
