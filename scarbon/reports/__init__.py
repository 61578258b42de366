"""A report's formats: a document of `accounting.document` in, text or bytes out.

A format is one module with a function `render(document, look)`, and one line here; it is imported only when it is asked
for. Formats for people take words, numbers and dates from `look.language`; programs' formats have no use for it.
A module may have a `problem()`, which says what has to be installed first.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from accounting.document import Document

if TYPE_CHECKING:
    from scarbon.pages.look import Look

#: Format: the module that makes it.
FORMATS = {
    "table": "scarbon.reports.table",
    "md": "scarbon.reports.markdown",
    "csv": "scarbon.reports.commas",
    "json": "scarbon.reports.plain",
    "html": "scarbon.pages.html",
    "pdf": "scarbon.pages.pdf",
}


def render(document: Document, format_: str, look: Look | None = None) -> str | bytes:
    """The document in one of `FORMATS`, as `scarbon.pages.look.look` says; bytes only where the format is no text.

    Without a look only those can be made that have no language: table, csv and json.
    """
    made: str | bytes = import_module(FORMATS[format_]).render(document, look)
    return made
