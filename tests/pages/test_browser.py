"""Pages as a browser shows them: nothing cut, nothing on top of each other, nothing fetched, and nothing in the way of
people who read in another way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from scarbon.pages import html
from scarbon.pages.languages import find_language
from scarbon.pages.look import Look
from tests.pages import documents
from tests.pages.browser import TROUBLES, missing, opened, running, violations

MADE = {
    "month-en": (documents.month, "en"),
    "month-fr": (documents.month, "fr"),
    "month-de": (documents.month, "de"),
    "year-de": (documents.year, "de"),
    "unknown-fr": (documents.unknown, "fr"),
    "hostile-en": (documents.hostile, "en"),
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if reason := missing():
        pytest.skip(f"PAGES WERE NOT TESTED IN A BROWSER: {reason}")
    with running() as browser:
        yield browser


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each page in a file."""
    folder = tmp_path_factory.mktemp("pages")
    logo = folder / "logo.svg"
    logo.write_text('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 60 20"><rect width="60" height="20"/></svg>')
    for name, (document, language) in MADE.items():
        look = Look(find_language(language), logo=logo, footer="Questions: green@example.org")
        (folder / f"{name}.html").write_text(html.render(document(), look), encoding="utf-8")
    return {name: folder / f"{name}.html" for name in MADE}


@pytest.mark.parametrize(
    ("name", "width"),
    [
        *((name, width) for name in ("month-de", "hostile-en") for width in (360, 1600)),
        ("month-en", 1600),
        ("month-fr", 360),
        ("year-de", 360),
        ("unknown-fr", 1600),
    ],
)
def test_everyone_can_read_the_page(browser: Browser, pages: dict[str, Path], name: str, width: int) -> None:
    """No text is cut or covered, nothing is fetched, no script of a name runs, and axe-core finds nothing."""
    with opened(browser, pages[name], width) as (page, said):
        page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.evaluate(TROUBLES) == []
        assert violations(page) == []
        page.emulate_media(color_scheme="dark")
        assert violations(page, "color-contrast") == []
        assert said == []


def test_the_chart_can_be_seen_in_both_schemes(browser: Browser, pages: dict[str, Path]) -> None:
    """Graphics need three to one against the ground, and text 4.5 (WCAG 2.2, 1.4.11 and 1.4.3)."""
    with opened(browser, pages["month-en"], 1600) as (page, _):
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
            for part, paint, least in (
                (".fill-jobs", "fill", 3.0),
                (".fill-idle", "fill", 3.0),
                (".fill-before", "fill", 3.0),
                (".tick", "fill", 4.5),
            ):
                colour = page.evaluate(f"getComputedStyle(document.querySelector('.plot {part}')).{paint}")
                assert contrast(colour, ground) >= least, (scheme, part, colour, ground)


def contrast(one: str, other: str) -> float:
    """By WCAG 2.2's definition, of two `rgb(…)`."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_contrast_is_what_the_standard_says() -> None:
    assert contrast("rgb(0, 0, 0)", "rgb(255, 255, 255)") == pytest.approx(21)
    assert contrast("rgb(119, 119, 119)", "rgb(255, 255, 255)") == pytest.approx(4.48, abs=0.01)


BROKEN = """<!DOCTYPE html><html><head><title>x</title><style>
.far { position: absolute; left: 300px; width: 200px; } .cut { width: 40px; overflow: hidden; white-space: nowrap; }
.on { position: absolute; top: 0; left: 0; }</style></head><body>
<p class="far">far out</p><p class="cut">a text that is cut</p>
<p class="on">one text here</p><p class="on">other text</p><img src="http://127.0.0.1:9/x.png"></body></html>"""


def test_the_checks_see_what_they_are_for(browser: Browser, tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    broken.write_text(BROKEN)
    with opened(browser, broken, 360) as (page, said):
        troubles = page.evaluate(TROUBLES)
        assert [kind for kind in ("outside", "cut", "overlap") if any(one.startswith(kind) for one in troubles)] == [
            "outside", "cut", "overlap"
        ]  # fmt: skip
        assert "http://127.0.0.1:9/x.png" in said
        found = {one.partition(":")[0] for one in violations(page)}
        assert {"html-has-lang", "image-alt"} <= found
