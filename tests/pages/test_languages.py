"""Every message has its translation in every language, and no language has another; numbers and dates by locale."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from gettext import NullTranslations
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import extract
from babel.messages.pofile import read_po

import scarbon
from accounting.document import Period
from scarbon.errors import WrongUseError
from scarbon.pages import html
from scarbon.pages.languages import CATALOGUES, Language, find_language, languages
from scarbon.pages.languages import translations as fresh_translations
from scarbon.pages.look import Look, look
from scarbon.reports import markdown
from site_config.kept import KnownReportStyle
from tests.pages import documents

HERE = Path(scarbon.__file__).parent
TRANSLATED = [code for code in languages() if code != "en"]
#: What takes a message in Python's sources (`say` is a name for `text`), and in templates.
KEYWORDS = {"text": None, "say": None, "plural": (1, 2)}
Id = str | tuple[str, str]


def messages() -> set[Id]:
    """Every message of the code and of the templates."""
    found: set[Id] = set()
    for folder in (HERE / "pages", HERE / "reports"):
        for path in folder.rglob("*.py"):
            found |= extracted("python", path, KEYWORDS)
        for path in folder.rglob("*.j2"):
            found |= extracted("jinja2.ext:babel_extract", path, {"_": None})
    return found


def extracted(method: str, path: Path, keywords: dict[str, tuple[int, ...] | None]) -> set[Id]:
    with path.open("rb") as file:
        options = {"silent": "false"}
        return {
            found if isinstance(found, str) else tuple(found)
            for _, found, _, _ in extract(method, file, keywords, options=options)
        }  # type: ignore[misc,arg-type]


def catalogue(code: str) -> Catalog:
    with (CATALOGUES / f"{code}.po").open("rb") as file:
        return read_po(file, locale=code, abort_invalid=True)


def translations(code: str) -> Iterator[tuple[Id, tuple[str, ...]]]:
    for one in catalogue(code):
        if one.id:
            yield (
                tuple(one.id) if isinstance(one.id, (list, tuple)) else one.id,
                (  # type: ignore[misc]
                    tuple(one.string) if isinstance(one.string, (list, tuple)) else (str(one.string),)
                ),
            )


def places(text: str) -> list[str]:
    """The places of a message, and its per cent signs; a sign that is neither is found, too."""
    return sorted(re.findall(r"%\(\w+\)s|%%|%.?", text))


def test_there_are_messages_and_three_languages() -> None:
    assert {"en", "fr", "de"} <= set(languages())
    assert len(messages()) > 100


@pytest.mark.parametrize("code", TRANSLATED)
def test_every_message_is_translated_and_no_other_is(code: str) -> None:
    known = {message for message, _ in translations(code)}
    assert messages() - known == set()
    assert known - messages() == set()


@pytest.mark.parametrize("code", TRANSLATED)
def test_a_translation_has_the_places_of_its_message(code: str) -> None:
    for message, said in translations(code):
        for form in said:
            assert form.strip(), message
            assert places(form) == places(message if isinstance(message, str) else message[1]), message
        if isinstance(message, tuple):
            assert len(said) == catalogue(code).num_plurals, message


@pytest.mark.parametrize("code", TRANSLATED)
def test_nothing_in_a_catalogue_is_taken_for_html_or_left_open(code: str) -> None:
    """Templates take messages as they stand."""
    text = (CATALOGUES / f"{code}.po").read_text(encoding="utf-8")
    assert not re.search(r"[<>&]", "".join("".join(said) for _, said in translations(code)))
    assert "fuzzy" not in text
    assert not catalogue(code).obsolete


def test_french_has_its_spaces_before_high_signs() -> None:
    for _, said in translations("fr"):
        for form in said:
            assert not re.search(r"[^\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}] ?[;?!»]|\w:|\w ?%%| [:;]", form), form


class Strict(NullTranslations):
    """Takes no message that the catalogue does not have."""

    def gettext(self, message: str) -> str:
        raise AssertionError(f"no translation: {message}")

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        raise AssertionError(f"no translation: {msgid1}")


@pytest.mark.parametrize("code", TRANSLATED)
def test_what_is_shown_is_in_the_catalogue(code: str) -> None:
    """Every message that is shown passes through a catalogue, also one that the search for messages overlooked."""
    found = find_language(code)
    strict = fresh_translations(code)
    strict.add_fallback(Strict())
    language = Language(found.code, found.locale, strict)
    for document in (documents.month(), documents.year(), documents.unknown(), documents.hostile()):
        assert "%(" not in html.render(document, Look(language)).replace("%(n)s %s %", "")
        markdown.render(document, Look(language))


@pytest.mark.parametrize(
    ("code", "number", "share", "day", "month", "quarter", "moment"),
    [
        ("en", "1,234.5", "12.3%", "1 October 2026", "October 2026", "4th quarter 2026", "1 Oct 2026, 02:00"),
        ("en_US", "1,234.5", "12.3%", "October 1, 2026", "October 2026", "4th quarter 2026", "Oct 1, 2026, 02:00"),
        ("fr", "1\u202f234,5", "12,3\xa0%", "1 octobre 2026", "octobre 2026", "4e trimestre 2026", "1 oct. 2026, 02:00"),  # noqa: E501
        ("de", "1.234,5", "12,3\xa0%", "1. Oktober 2026", "Oktober 2026", "4. Quartal 2026", "01.10.2026, 02:00"),
        ("de-CH", "1’234.5", "12.3%", "1. Oktober 2026", "Oktober 2026", "4. Quartal 2026", "01.10.2026, 02:00"),
    ],
)  # fmt: skip
def test_numbers_and_dates_are_those_of_the_place(
    code: str, number: str, share: str, day: str, month: str, quarter: str, moment: str
) -> None:
    language = find_language(code)
    first = date(2026, 10, 1)
    assert language.number(1234.5, 1) == number
    assert language.share(0.1234) == share
    assert language.day(first) == day
    assert language.period(Period.of("month", first)) == month
    assert language.period(Period.of("quarter", first)) == quarter
    assert language.period(Period.of("year", first)) == "2026"
    assert language.moment(1_790_812_800, ZoneInfo("Europe/Paris")) == moment


def test_figures_have_the_unit_that_fits_and_nothing_is_zero_that_is_unknown() -> None:
    language = find_language("de")
    assert language.energy(3.6e6) == "1,000\xa0kWh"
    assert language.energy(4.4e9) == "1,222\xa0MWh"
    assert language.mass(0.25) == "250,0\xa0mg"
    assert language.mass(None) == "unbekannt"
    assert language.mass(-1500.0) == "-1,500\xa0kg"
    assert language.energy(0.0) == "0\xa0Wh"


def test_shares_are_whole_only_where_they_are() -> None:
    language = find_language("en")
    said = [language.share(share) for share in (0, 1e-6, 0.5, 0.99999, 1, 1.19, None)]
    assert said == ["0%", "0.1%", "50%", "99.9%", "100%", "119%", "unknown"]


def test_months_are_said_together() -> None:
    language = find_language("en")
    assert language.months(date(2026, 10, 1), date(2026, 10, 31)) == "October 2026"
    assert language.months(date(2026, 1, 1), date(2026, 12, 31)) == "2026"
    assert language.months(date(2026, 9, 1), date(2027, 8, 31)) == "September 2026\u2009–\u2009August 2027"


def test_a_language_without_a_catalogue_is_refused_with_the_near_one() -> None:
    for name, said in (("frr", "did you mean 'fr'"), ("klingon", "klingon"), ("../fr", "../fr"), ("", "''")):
        with pytest.raises(WrongUseError) as refused:
            find_language(name)
        assert said in refused.value.what
        assert refused.value.advice == "there are de, en, fr"


def test_the_site_says_the_language_and_whoever_asks_says_it_over_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    monkeypatch.setenv("LANGUAGE", "de")
    french, none = KnownReportStyle(None, None, "fr", None), KnownReportStyle(None, None, None, "at the foot")
    assert look(none).language.code == "en"
    assert look(none).footer == "at the foot"
    assert look(french).language.code == "fr"
    assert look(french, "de").language.code == "de"
