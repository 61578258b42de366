"""A report's formats: a document of `accounting.document` in, text or bytes out.

A format is one module with a function `render(document, language)`, and one line here; it is imported only when it is
asked for. A module may have a `problem()`, which says what has to be installed first.
"""

from __future__ import annotations

from importlib import import_module

from accounting.document import Document

#: Format: the module that makes it.
FORMATS = {
    "table": "scarbon.reports.table",
    "md": "scarbon.reports.markdown",
    "csv": "scarbon.reports.commas",
    "json": "scarbon.reports.plain",
    "html": "scarbon.pages.html",
    "pdf": "scarbon.pages.pdf",
}


def render(document: Document, format_: str, language: str = "en") -> str | bytes:
    """The document in one of `FORMATS`; bytes only where the format is no text."""
    made: str | bytes = import_module(FORMATS[format_]).render(document, language)
    return made
