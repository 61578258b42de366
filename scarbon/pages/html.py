"""A report as one HTML file: nothing is fetched, light and dark, for the screen and for paper.

The shipped template is made of blocks; a site's own extends `scarbon/report.html.j2` and replaces some, or stands
alone. Templates run in a sandbox, and what they write of names is escaped.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any
from unicodedata import category

from jinja2 import (
    BaseLoader,
    ChoiceLoader,
    FileSystemLoader,
    PrefixLoader,
    StrictUndefined,
    TemplateNotFound,
    TemplateSyntaxError,
)
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from accounting.document import Document
from scarbon.errors import UserError
from scarbon.pages.languages import Language
from scarbon.pages.logo import data_uri
from scarbon.pages.look import Look
from scarbon.pages.page import Page

TEMPLATES = Path(__file__).with_name("templates")
DEFAULT = "scarbon/report.html.j2"


def render(document: Document, look: Look) -> str:
    """The document as HTML; UserError where the site's template or logo has a fault."""
    return page_of(document, look, paper=False)


def page_of(document: Document, look: Look, paper: bool) -> str:
    """The HTML for a screen, or for paper, on which there is nothing to open or to point at."""
    logo = None if look.logo is None else data_uri(look.logo)
    page = Page(document, look.language, look.footer, logo)
    environment = _environment(look.language, look.template)
    name = DEFAULT if look.template is None else look.template.name
    try:
        return environment.get_template(name).render(page=page, paper=paper)
    except Exception as error:
        if look.template is None:
            raise
        raise _explained(error, look.template) from error


@lru_cache(8)  # a mailing makes hundreds of pages
def _environment(language: Language, template: Path | None) -> ImmutableSandboxedEnvironment:
    loaders: list[BaseLoader] = [PrefixLoader({"scarbon": FileSystemLoader(TEMPLATES)})]
    if template is not None:
        loaders.append(FileSystemLoader(template.parent))
    environment = ImmutableSandboxedEnvironment(
        loader=ChoiceLoader(loaders),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    installed: Any = environment  # the extension adds the method
    installed.install_gettext_translations(language.translations, newstyle=True)
    environment.globals["lang"] = language.tag
    return environment


def _printable(value: object) -> object:
    """Text without what steers a page instead of standing on it: control characters, and half of a character.

    Those that turn the direction of writing would turn that of the text after them, too.
    """
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return "".join("\N{REPLACEMENT CHARACTER}" if _steers(letter) else letter for letter in value)


def _steers(letter: str) -> bool:
    return category(letter) in ("Cc", "Cf", "Cs") and letter not in _JOINERS


_JOINERS = "\N{SOFT HYPHEN}\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"


def _explained(error: Exception, template: Path) -> UserError:
    """What is wrong with a site's template, with its name and line."""
    if isinstance(error, TemplateNotFound):
        if error.name == template.name:
            return UserError(f"there is no template {template}", "check report.template in site.yaml")
        return UserError(f"{template}: there is no template {error.name}", f"the shipped one is {DEFAULT}")
    if isinstance(error, TemplateSyntaxError):
        return UserError(f"{error.filename or template}:{error.lineno}: {error.message}", _ADVICE)
    where, trace = str(template), error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if Path(file).parent in (template.parent, TEMPLATES) and not file.endswith(".py"):
            where = f"{file}:{trace.tb_lineno}"
        trace = trace.tb_next
    return UserError(f"{where}: {' '.join(str(error).split()) or type(error).__name__}", _ADVICE)


_ADVICE = "docs/reports.md says what a template can use"
