"""The page as PDF: its text and what it is tagged with, whole rows, and that it takes nothing from outside."""

from __future__ import annotations

import logging
import re
import shutil
import socket
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from scarbon.errors import UserError
from scarbon.pages import html, pdf
from scarbon.pages.languages import find_language
from scarbon.pages.look import Look
from tests.pages import documents
from tests.pages.documents import sums, total
from tests.pages.reading import read
from tests.pages.test_html import GOLDEN, stable

pytestmark = [
    pytest.mark.skipif(
        not shutil.which("pdftotext"), reason="PDF WAS NOT TESTED: there is no pdftotext (poppler-utils)"
    ),
    pytest.mark.skipif(bool(pdf.problem()), reason=f"PDF WAS NOT TESTED: {pdf.problem()}"),
]
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="60" height="20"><rect width="60" height="20"/></svg>'


@pytest.fixture(autouse=True)
def _no_warnings(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)


def text_of(content: bytes, *options: str) -> list[str]:
    """The text of each page."""
    done = subprocess.run(["pdftotext", *options, "-", "-"], input=content, capture_output=True, check=True)
    assert done.stderr == b""
    return done.stdout.decode("utf-8").split("\f")[:-1]


def objects(content: bytes) -> bytes:
    """What stands in a PDF, unpacked."""
    streams = re.findall(rb"/FlateDecode.*?stream\r?\n(.*?)\r?\nendstream", content, re.DOTALL)
    return b"".join(zlib.decompress(stream) for stream in streams)


def together(text: str) -> str:
    """Without what stands between words and in them at the end of a line, which depends on fonts."""
    return re.sub(r"[\s\N{SOFT HYPHEN}\N{HYPHEN}-]+", "", text)


@pytest.mark.parametrize("language", ["en", "fr", "de"])
def test_a_pdf_is_the_golden_one(
    language: str, golden: Callable[[Path, str], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "logo.svg").write_text(SVG)
    look = Look(find_language(language), logo=tmp_path / "logo.svg", footer="Questions: green@example.org")
    content = pdf.render(documents.month(), look)
    pages = text_of(content)
    golden(GOLDEN / f"month-{language}.pdf.txt", stable("\n".join(" ".join(page.split()) for page in pages)) + "\n")
    assert [record.getMessage() for record in caplog.records] == []
    title = read(html.render(documents.month(), look)).texts[0]
    about = subprocess.run(["pdfinfo", "-"], input=content, capture_output=True, check=True).stdout.decode("utf-8")
    assert re.search(rf"^Title: +{re.escape(title)}$", about, re.MULTILINE)
    assert re.search(r"^Tagged: +yes$", about, re.MULTILINE)
    assert re.search(r"^Page size: +595\.\d+ x 841\.\d+ pts \(A4\)$", about, re.MULTILINE)
    assert f"/Lang ({language})".encode() in objects(content)
    for number, page in enumerate(pages, start=1):
        assert together(page).endswith(f"{number}/{len(pages)}")
        assert ("Example HPC" in page.splitlines()[0]) or number == 1


def test_a_pdf_has_all_that_the_page_has() -> None:
    """Every text of the page but its title, and what tells of the chart to who does not see it."""
    look = Look(find_language("de"))
    page = read(html.page_of(documents.month(), look, paper=True))
    printed = together("".join(text_of(pdf.render(documents.month(), look))))
    drawn = {one for one in page.texts if ": Jobs " in one or "Eine Tabelle enthält" in one}
    assert len(drawn) == 31
    missing = [one for one in page.texts[1:] if one not in drawn and together(one) not in printed]
    assert missing == ["31. Okt.: unbekannt"]


def test_no_row_is_cut_and_each_page_names_the_columns() -> None:
    """Sixty accounts, some with names of several lines."""
    groups = [
        sums(f"group-{place:03} {'with a long name ' * (place % 4 * 3)}", 9.0 + place, 1, 5.0) for place in range(60)
    ]
    month = documents.month()
    document = replace(
        month, groups=tuple(groups), idle=None, total=total(groups), top_jobs=None, budgets=(), tree=(), waste=None,
        points=None, reconciliation=(),
    )  # fmt: skip
    pages = text_of(pdf.render(document, Look(find_language("en"))), "-layout")
    assert len(pages) > 4
    rows = {group.key: group for group in groups}
    for key in rows:
        word = str(key).split()[0]
        places = [(number, line) for number, page in enumerate(pages) for line in page.splitlines() if word in line]
        assert len(places) == 2, word  # in the first table and in detail
        assert all(re.search(r"\d\s*$|%\s*$", line) for _, line in places), places  # with its figures
        for number, _ in places:
            said = together(pages[number])
            assert said.count(together("with a long name")) >= str(key).count("with a long name")
    assert all("Account" in page for page in pages if "group-0" in page)


def test_hostile_names_are_printed(caplog: pytest.LogCaptureFixture) -> None:
    printed = together("".join(text_of(pdf.render(documents.hostile(), Look(find_language("en"))))))
    assert together("<script>alert('x')</script>") in printed
    assert together("{{ 7*7 }}{% raw %}") in printed
    assert [record.getMessage() for record in caplog.records] == []


def test_a_pdf_takes_nothing_from_outside(tmp_path: Path) -> None:
    """Neither from a server, nor from this machine's files, whatever a site's template or logo asks for."""
    secret = tmp_path / "secret.txt"
    secret.write_text("a secret that stays")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/x.png"
        (tmp_path / "logo.svg").write_text(
            SVG.replace("<rect", f'<image href="{url}" width="9" height="9"/><image href="file://{secret}"/><rect')
        )
        (tmp_path / "ours.html.j2").write_text(
            f"""<html><head><title>x</title><link rel="attachment" href="file://{secret}">
            <link rel="stylesheet" href="{url}"></head>
            <body><img src="{url}" alt="x"><img src="{{{{ page.logo }}}}" alt="y">text</body></html>"""
        )
        look = Look(find_language("en"), template=tmp_path / "ours.html.j2", logo=tmp_path / "logo.svg")
        content = pdf.render(documents.month(), look)
        with pytest.raises(TimeoutError):
            server.accept()
    assert b"EmbeddedFile" not in content + objects(content)
    assert "text" in text_of(content)[0]


def test_where_weasyprint_or_pango_is_missing_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "weasyprint"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    with pytest.raises(UserError) as refused:
        pdf.render(documents.month(), Look(find_language("en")))
    assert refused.value.what == "PDF needs WeasyPrint: pip install 'scarbon[pdf]'"
    assert refused.value.advice == "or choose --format html, and print it from a browser"
