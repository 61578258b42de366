"""A report as PDF: the HTML page on A4, tagged for screen readers, by WeasyPrint (the extra `pdf`)."""

from __future__ import annotations

from accounting.document import Document
from scarbon.errors import UserError
from scarbon.pages.html import page_of
from scarbon.pages.look import Look


def problem() -> str | None:
    """What has to be installed first; None: nothing."""
    try:
        import weasyprint  # noqa: F401
    except ImportError:
        return "PDF needs WeasyPrint: pip install 'scarbon[pdf]'"
    except OSError:  # it is there, and Pango is not
        return "PDF needs Pango: on Debian apt-get install libpango-1.0-0 libpangoft2-1.0-0"
    return None


def render(document: Document, look: Look) -> bytes:
    """The document as a PDF; UserError where something is not installed, or the site's template has a fault."""
    if missing := problem():
        raise UserError(missing, "or choose --format html, and print it from a browser")
    from weasyprint import HTML
    from weasyprint.urls import URLFetcher

    nothing_outside = URLFetcher(allowed_protocols=("data",))  # a page has all that it shows
    html = HTML(string=page_of(document, look, paper=True), url_fetcher=nothing_outside)
    made: bytes = html.write_pdf(pdf_variant="pdf/ua-1")
    return made
