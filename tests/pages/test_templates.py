"""A site's own template and logo: what they can do, and that their faults are one clear line."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest

import scarbon.pages
from scarbon.errors import UserError
from scarbon.pages import html
from scarbon.pages.html import TEMPLATES
from scarbon.pages.languages import find_language
from scarbon.pages.logo import MOST_BYTES, data_uri
from scarbon.pages.look import Look
from scarbon.pages.page import Page
from tests.pages import documents
from tests.pages.reading import read

CHECKOUT = Path(scarbon.pages.__file__).parents[2]
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="60" height="20"><rect width="60" height="20"/></svg>'
#: The smallest picture: one pixel.
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)


def made(folder: Path, template: str, language: str = "en", name: str = "ours.html.j2") -> str:
    """The month's page by a template of the site's."""
    path = folder / name
    path.write_text(template, encoding="utf-8")
    return html.render(documents.month(), Look(find_language(language), template=path))


def test_a_site_replaces_a_block_and_keeps_the_rest(tmp_path: Path) -> None:
    ours = '{% extends "scarbon/report.html.j2" %}{% block colophon %}<p>{{ page.site }} & more</p>{% endblock %}'
    page, shipped = made(tmp_path, ours), html.render(documents.month(), Look(find_language("en")))
    assert "<p>Example HPC & more</p>" in page
    assert read(page).tables == read(shipped).tables
    assert "Made on" not in page


def test_a_site_adds_style_and_words_of_its_own_in_the_languages(tmp_path: Path) -> None:
    ours = """{% extends "scarbon/report.html.j2" %}
{% block style %}:root { --jobs: #123456; }{% endblock %}
{% block notices %}{{ super() }}<p>{{ _("Budgets") }}: {{ _("ours") }}</p>{% endblock %}"""
    page = made(tmp_path, ours, "fr")
    assert ":root { --jobs: #123456; }" in page
    assert "<p>Budgets: ours</p>" in page
    assert "quarantaine" in page


def test_a_template_may_stand_alone_and_use_the_parts(tmp_path: Path) -> None:
    ours = '{% from "scarbon/parts.html.j2" import table with context %}{{ page.title }}{{ table(page.where, "") }}'
    assert len(read(made(tmp_path, ours)).tables) == 1


def test_a_template_may_be_called_as_the_shipped_one(tmp_path: Path) -> None:
    ours = '{% extends "scarbon/report.html.j2" %}{% block masthead %}ours{% endblock %}'
    assert "ours" in made(tmp_path, ours, name="report.html.j2")


def test_a_sites_template_escapes_names_too(tmp_path: Path) -> None:
    path = tmp_path / "ours.html"
    path.write_text("<p>{{ page.site }}</p>")
    page = html.render(documents.hostile(), Look(find_language("en"), template=path))
    assert page == "<p>&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;</p>"


EXTENDS = '{% extends "scarbon/report.html.j2" %}\n'


@pytest.mark.parametrize(
    ("template", "line", "said"),
    [
        ("a\n{% if %}", 2, "Expected an expression"),
        ("a\n\n{% block x %}", 3, "Unexpected end of template"),
        ("a\n{{ page.totl }}", 2, "has no attribute 'totl'"),
        ("a\n{{ pgae.total }}", 2, "'pgae' is undefined"),
        ("a\n{{ page.total | kilos }}", 2, "No filter named 'kilos'"),
        ("a\n{{ 1 / 0 }}", 2, "division by zero"),
        ("a\n{{ page.title() }}", 2, "not callable"),
        ("a\n{{ ''.__class__.__mro__ }}", 2, "is unsafe"),
        ("a\n{{ page.__init__.__globals__ }}", 2, "is unsafe"),
        ("a\n{% for i in range(10000000) %}{% endfor %}", 2, "Range too big"),
        ("a\n{{ _('%(n)s') }}", 2, "'n'"),
        (EXTENDS + "{% block where %}\n{{ page.nothing }}{% endblock %}", 3, "has no attribute 'nothing'"),
        (
            EXTENDS + "{% block where %}{% endblock %}\n{% block where %}{% endblock %}",
            3,
            "block 'where' defined twice",
        ),
    ],
)
def test_a_fault_is_one_line_with_the_templates_name_and_line(
    template: str, line: int, said: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as refused:
        made(tmp_path, template)
    assert refused.value.what.startswith(f"{tmp_path / 'ours.html.j2'}:{line}: ")
    assert said in refused.value.what
    assert "\n" not in refused.value.what
    assert refused.value.advice == "docs/reports.md says what a template can use"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ('{% extends "report.html.j2" %}', "there is no template report.html.j2"),
        ('{% include "/etc/passwd" %}', "there is no template /etc/passwd"),
        ('{% include "../secret.txt" %}', "there is no template ../secret.txt"),
        ('{% extends "ours.html.j2" %}', "recursion"),
    ],
)
def test_a_template_that_leads_nowhere_is_told(template: str, said: str, tmp_path: Path) -> None:
    (tmp_path.parent / "secret.txt").write_text("secret")
    with pytest.raises(UserError) as refused:
        made(tmp_path, template)
    assert refused.value.what.startswith(str(tmp_path / "ours.html.j2"))
    assert said in refused.value.what


def test_a_template_that_is_not_there_or_not_text_is_told(tmp_path: Path) -> None:
    look = Look(find_language("en"), template=tmp_path / "absent.html.j2")
    with pytest.raises(UserError, match=r"there is no template .*absent.html.j2"):
        html.render(documents.month(), look)
    (tmp_path / "binary.html.j2").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"binary.html.j2: .*decode"):
        html.render(documents.month(), Look(find_language("en"), template=tmp_path / "binary.html.j2"))


def test_the_documentation_names_what_a_template_can_use() -> None:
    text = (CHECKOUT / "docs" / "reports.md").read_text(encoding="utf-8")
    blocks = set(re.findall(r"{% block (\w+) %}", (TEMPLATES / "report.html.j2").read_text(encoding="utf-8")))
    fields = {name for name in [*vars(Page), *Page.__dataclass_fields__] if not name.startswith("_")}
    assert len(blocks) > 10
    assert len(fields) > 20
    assert {name for name in blocks if f"`{name}`" not in text} == set()
    assert {name for name in fields if f"`{name}`" not in text and f"`{name}(" not in text} == set()


# --- the logo


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("logo.svg", SVG.encode(), "image/svg+xml"),
        ("LOGO.SVG", b'<?xml version="1.0"?>\n' + SVG.encode(), "image/svg+xml"),
        ("logo.png", PNG, "image/png"),
        ("logo.jpg", b"\xff\xd8\xff\xe0rest", "image/jpeg"),
    ],
)
def test_a_logo_stands_in_the_page(name: str, content: bytes, kind: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    page = read(html.render(documents.month(), Look(find_language("en"), logo=tmp_path / name)))
    (source,) = [value for tag, attribute, value in page.attributes if (tag, attribute) == ("img", "src")]
    assert source.startswith(f"data:{kind};base64,")
    assert base64.b64decode(source.partition(",")[2]) == content


def test_a_logo_is_a_picture_in_which_no_script_runs(tmp_path: Path) -> None:
    """A browser runs no script of a picture (img), and the page's policy allows none."""
    (tmp_path / "logo.svg").write_text(SVG.replace("<rect", "<script>alert(1)</script><rect"))
    page = read(html.render(documents.month(), Look(find_language("en"), logo=tmp_path / "logo.svg")))
    assert "script" not in {tag for tag, _ in page.elements}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("absent.png", None, "cannot be read: No such file or directory"),
        ("logo.png", b"GIF89a", "is no PNG picture"),
        ("logo.jpeg", PNG, "is no JPEG picture"),
        ("logo.svg", b"<html></html>", "is no SVG picture"),
        ("logo.svg", b"not xml", "is no SVG picture"),
        ("logo.png", PNG + bytes(MOST_BYTES), "has 256 KiB"),
    ],
)
def test_a_logo_that_cannot_be_shown_is_told(name: str, content: bytes | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as refused:
        data_uri(path)
    assert str(path) in refused.value.what
    assert said in refused.value.what
    assert refused.value.advice
