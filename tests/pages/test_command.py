"""`scarbon report --format html|pdf` as people call it, with the look that their site declares."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

import pytest

from scarbon.pages import pdf
from tests.pages.reading import read
from tests.site import Site

SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="60" height="20"><rect width="60" height="20"/></svg>'


def declare(site: Site, *lines: str) -> None:
    """Add how reports look to the configuration."""
    site.config.write_text(site.config.read_text() + "report:\n" + "".join(f"  {line}\n" for line in lines))


def month(site: Site) -> list[str]:
    """The month of the recording."""
    return ["report", "--month", datetime.fromtimestamp(site.start_s, site.zone).strftime("%Y-%m")]


def test_a_page_of_real_books(mine: Site) -> None:
    page = read(mine.good(*month(mine), "--format", "html").out)
    found = mine.good(*month(mine), "--format", "json").json
    text = " ".join(page.texts)
    assert text.startswith("Energy and emissions by account")
    (rows,) = [rows for caption, rows in page.tables.items() if caption.startswith("Emissions and energy")]
    assert [row[0] for row in rows[1:-2]] == [group["key"] for group in found["groups"]]
    assert ("lang",) in [names for tag, names in page.elements if tag == "html"]


def test_the_site_says_how_it_looks(mine: Site) -> None:
    (mine.folder / "logo.svg").write_text(SVG)
    (mine.folder / "ours.html.j2").write_text(
        '{% extends "scarbon/report.html.j2" %}{% block method %}<p>ours</p>{% endblock %}'
    )
    declare(mine, "language: fr", "logo: logo.svg", "template: ours.html.j2", 'footer: "Ask <green@example.org>"')
    out = mine.good(*month(mine), "--format", "html").out
    assert '<html lang="fr">' in out
    assert "Énergie et émissions par compte" in out
    assert "data:image/svg+xml;base64," in out
    assert "<p>ours</p>" in out
    assert "Ask &lt;green@example.org&gt;" in out
    assert '<html lang="de-CH">' in mine.good(*month(mine), "--format", "html", "--language", "de_CH").out
    assert "Énergie" in mine.good(*month(mine), "--format", "md").out


def test_a_changed_look_is_seen_at_once(mine: Site) -> None:
    """The verb keeps what it knows of the configuration."""
    declare(mine, "language: fr")
    assert '<html lang="fr">' in mine.good(*month(mine), "--format", "html").out
    mine.change("language: fr", "language: de")
    assert '<html lang="de">' in mine.good(*month(mine), "--format", "html").out


@pytest.mark.skipif(bool(pdf.problem()), reason=f"PDF WAS NOT TESTED: {pdf.problem()}")
def test_a_pdf_goes_into_a_file(mine: Site, tmp_path: Path) -> None:
    done = mine.good(*month(mine), "--format", "pdf", "-o", tmp_path / "month.pdf")
    assert done.out == ""
    assert (tmp_path / "month.pdf").read_bytes().startswith(b"%PDF-1.")


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("language: frr", 2, r"no reports in the language 'frr'; did you mean 'fr'\?; there are de, en, fr$"),
        ("logo: absent.svg", 1, r"the logo .*absent.svg cannot be read: No such file or directory; check report.logo"),
        (
            "logo: logo.gif",
            1,
            r"site.yaml:\d+: report.logo: must be one of .svg, .png, .jpg, .jpeg, but is logo.gif",
        ),
        ("template: absent.j2", 1, r"there is no template .*absent.j2; check report.template in site.yaml"),
        ("template: wrong.j2", 1, r"wrong.j2:2: .* has no attribute 'nothing'; docs/reports.md says"),
        ("languag: fr", 1, r"site.yaml:\d+: report.languag: unknown key; did you mean 'language'\?"),
        ("language: no", 1, r"report.language: must be text, but is false; put it in quotes"),
        ("footer: ''", 1, r"report.footer: must not be empty"),
    ],
)
def test_a_wrong_look_is_one_clear_line(line: str, code: int, said: str, mine: Site) -> None:
    (mine.folder / "wrong.j2").write_text("\n{{ page.nothing }}")
    declare(mine, line)
    assert re.search(said, mine.scarbon(*month(mine), "--format", "html").refused(code))


def test_a_wrong_look_is_no_matter_to_who_makes_no_page(mine: Site) -> None:
    declare(mine, "logo: absent.svg", "template: absent.j2")
    mine.good(*month(mine), "--format", "json")
    mine.good("jobs", "-a")
