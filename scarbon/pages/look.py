"""How a report looks: its language, and the site's template, logo and line at the foot."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from scarbon.pages.languages import SOURCE, Language, find_language
from site_config.kept import KnownReportStyle


@dataclass(frozen=True)
class Look:
    """What a format is made with, beside the document; only pages have a use for more than the language."""

    language: Language
    template: Path | None = None
    logo: Path | None = None
    footer: str | None = None


def look(style: KnownReportStyle, language: str | None = None) -> Look:
    """The site's look, in a language that was asked for, else the configured one, else English.

    The environment has no say: a report is for its reader, and the same from a shell, a timer and the page.
    """
    return Look(find_language(language or style.language or SOURCE), style.template, style.logo, style.footer)
