"""How a site's reports look: its logo, its own template, its language and the line at the foot of each page.

The files are read when a report is made, by `scarbon.pages`, and their faults are told then: who only accounts jobs
needs none of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from site_config.section import FilePath, Section, Text, wrong

LOGO_TYPES = {".svg": "image/svg+xml", ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}


def _logo(value: Path) -> Path:
    if value.suffix.lower() not in LOGO_TYPES:
        raise wrong(f"must be one of {', '.join(LOGO_TYPES)}, but is {value.name}")
    return value


class ReportStyle(Section):
    """What reports as HTML and PDF look like, and the language that every report is in."""

    template: FilePath | None = None  # a Jinja2 template; it may extend scarbon/report.html.j2
    logo: Annotated[FilePath, AfterValidator(_logo)] | None = None
    language: Text | None = None  # fr, or de_CH where the territory matters; absent: English
    footer: Text | None = None  # a line at the foot: whom to ask, where to read more
