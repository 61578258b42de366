"""The languages of reports: words from a catalogue, numbers and dates as people there write them.

A language is one file, `catalogues/<code>.po`, read as it is when it is asked for; English is what stands in the code.
The catalogue goes by the language; numbers and dates go by the territory, too, where one is named: `de_CH` is German
with 1’234.5. Formats take a `Language`, never a code.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from gettext import NullTranslations
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_interval, format_skeleton
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal, format_percent
from babel.support import Translations

from scarbon.errors import WrongUseError
from scarbon.reports.printed import ENERGY_J, MASS_G, Ladder, column
from site_config.errors import near

if TYPE_CHECKING:
    from accounting.document import Period

CATALOGUES = Path(__file__).with_name("catalogues")
SOURCE = "en"  # the language of the code
_LOCALES = {SOURCE: "en_001"}  # of no country: 1 October 2026


def languages() -> list[str]:
    """The codes of the languages that there are."""
    return sorted([SOURCE, *(path.stem for path in CATALOGUES.glob("*.po"))])


@cache
def find_language(name: str) -> Language:
    """The language of that code: `fr`, `de_CH`, `de-CH`; WrongUseError where there is no catalogue for it."""
    code = name.replace("-", "_")
    try:
        locale = Locale.parse(_LOCALES.get(code, code))
    except (ValueError, UnknownLocaleError):
        locale = None
    if locale is None or locale.language not in languages():
        raise WrongUseError(
            f"no reports in the language {name!r}{near(name, languages())}", f"there are {', '.join(languages())}"
        )
    return Language(code, locale, translations(locale.language))


def translations(language: str) -> NullTranslations:
    """A language's catalogue, read anew."""
    if language == SOURCE:
        return NullTranslations()
    with (CATALOGUES / f"{language}.po").open("rb") as file:
        catalogue = read_po(file, locale=language, abort_invalid=True)
    compiled = io.BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return Translations(compiled)


@dataclass(frozen=True, eq=False)
class Language:
    """One language. Messages are those of the code, with their places as `%(name)s` and a per cent sign doubled."""

    code: str
    locale: Locale
    translations: NullTranslations

    @property
    def tag(self) -> str:
        """The code as HTML and PDF have it: `de-CH`."""
        return self.code.replace("_", "-")

    def text(self, message: str, /, **values: object) -> str:
        """The message in this language, its places filled."""
        return self.translations.gettext(message) % values

    def plural(self, one: str, many: str, n: int, /, **values: object) -> str:
        """The message that goes with the number `n`, which also fills the place `%(n)s`."""
        return self.translations.ngettext(one, many, n) % {"n": self.number(n), **values}

    def labelled(self, label: str, value: str) -> str:
        """Jobs: 12."""
        return f"{self.text('%(label)s:', label=label)} {value}"

    def number(self, value: Decimal | float, decimals: int = 0) -> str:
        """A number with so many decimals; its thousands apart."""
        pattern = "#,##0." + "0" * decimals if decimals else "#,##0"
        return format_decimal(value, format=pattern, locale=self.locale)

    def quantity(self, value: float | None, ladder: Ladder) -> str:
        """A figure by itself in the unit of the ladder that fits it: 1.234 kWh; `unknown` where it is None.

        What is nothing even in the smallest is 0 of the unit without a prefix, which is the second.
        """
        if value is None:
            return self.text("unknown")
        alone = column([value], value, ladder)
        assert alone.total is not None
        if not alone.total:
            return f"{self.number(0)}\N{NO-BREAK SPACE}{ladder[1][0]}"
        return f"{self.number(alone.total, alone.decimals)}\N{NO-BREAK SPACE}{alone.unit}"

    def energy(self, energy_j: float | None) -> str:
        """Joules as Wh, kWh, …"""
        return self.quantity(energy_j, ENERGY_J)

    def mass(self, mass_g: float | None) -> str:
        """Grams of CO2e as g, kg, …"""
        return self.quantity(mass_g, MASS_G)

    def share(self, ratio: float | None) -> str:
        """A ratio in per cent with a decimal where it has one; 100 % only for all of it, and 0 % only for none.

        One that is below 0 has its sign.
        """
        if ratio is None:
            return self.text("unknown")
        percent = ratio * 100
        if percent == 0 or percent > 100 - 1e-9:
            rounded = Decimal(round(percent))
        else:
            rounded = Decimal(f"{min(max(percent, 0.1), 99.9) if percent > 0 else min(percent, -0.1):.1f}")
        return format_percent(rounded.normalize() / 100, locale=self.locale, decimal_quantization=False)

    def day(self, day: date) -> str:
        """1 October 2026."""
        return format_date(day, "long", locale=self.locale)

    def month(self, day: date) -> str:
        """October 2026."""
        return format_skeleton("yMMMM", day, locale=self.locale)

    def days(self, first: date, last: date) -> str:
        """1–7 October 2026; both are included."""
        return self.day(first) if first == last else format_interval(first, last, "yMMMMd", locale=self.locale)

    def months(self, first: date, last: date) -> str:
        """October 2026, 2026, or September 2026 – August 2027: whole months, both included."""
        if (first.year, first.month) == (last.year, last.month):
            return self.month(first)
        if first.year == last.year and (first.month, last.month) == (1, 12):
            return f"{first.year:04}"
        return format_interval(first, last, "yMMMM", locale=self.locale)

    def short_day(self, day: date) -> str:
        """1 Oct."""
        return format_skeleton("MMMd", day, locale=self.locale)

    def short_month(self, day: date) -> str:
        """Oct."""
        return format_skeleton("MMM", day, locale=self.locale)

    def moment(self, time_s: float, zone: ZoneInfo) -> str:
        """1 Oct 2026, 12:00."""
        at = datetime.fromtimestamp(time_s, zone)
        return f"{format_date(at, 'medium', locale=self.locale)}, {at:%H:%M}"

    def period(self, period: Period) -> str:
        """October 2026, 4th quarter 2026, 2026, or the days."""
        first = period.first_day
        if period.kind == "month":
            return self.month(first)
        if period.kind == "quarter":
            return format_skeleton("yQQQQ", first, locale=self.locale)
        return f"{first.year:04}" if period.kind == "year" else self.days(first, period.last_day)
