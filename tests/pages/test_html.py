"""The page as HTML: what it says, that it adds up as printed, and that no name can harm it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from accounting.document import Document
from accounting.report import Chosen
from accounting.sections import Stretch
from scarbon import __version__
from scarbon.pages import html
from scarbon.pages.languages import find_language
from scarbon.pages.look import Look
from tests.pages import documents
from tests.pages.documents import HOSTILE, KWH, sums, total
from tests.pages.reading import Read, read

GOLDEN = Path(__file__).with_name("golden")
Golden = Callable[[Path, str], None]
WHERE = "Emissions and energy, and each one’s share of the total"
DETAIL = "All figures, with the total"


def made(document: Document, language: str = "en") -> Read:
    return read(html.render(document, Look(find_language(language))))


def stable(page: str) -> str:
    """Without its style, and of any version."""
    page = re.sub(r"<style>.*?</style>", "<style></style>", page, flags=re.DOTALL)
    return page.replace(f"Scarbon {__version__}.", "Scarbon VERSION.")


def test_the_page_is_the_golden_one(golden: Golden) -> None:
    page = html.render(documents.month(), Look(find_language("en"), footer="Questions: green@example.org"))
    golden(GOLDEN / "month.html", stable(page))


@pytest.mark.parametrize("language", ["fr", "de"])
def test_its_text_is_the_golden_one(language: str, golden: Golden) -> None:
    golden(GOLDEN / f"month-{language}.txt", stable(made(documents.month(), language).text + "\n"))


# --- figures


def test_the_first_figure_is_the_total_with_its_comparison() -> None:
    """1 MWh of IT energy at a PUE of 1.25 and 40 g/kWh are 50 kg; before it were 40 kg, a year ago 62.5 kg."""
    group = sums("climate", 1000.0, jobs=3, hours=500.0)
    month = documents.month()
    assert month.before and month.year_before
    document = replace(
        month, groups=(group,), idle=None, total=replace(group, key=None),
        before=replace(month.before, total=total([sums("x", 800.0)])),
        year_before=replace(month.year_before, total=total([sums("x", 1250.0)]), accounted=1.0),
    )  # fmt: skip
    text = made(document).text
    assert "50.00\xa0kg\xa0CO₂e" in text
    assert "95% interval: 42.50\xa0kg to 57.50\xa0kg · on average 40.0\xa0g\xa0CO₂e/kWh" in text  # 34 and 46 g/kWh
    assert "IT energy 1.000\xa0MWh × PUE 1.25" in text
    assert "by the site’s electricity contracts · on average 12.0\xa0g\xa0CO₂e/kWh" in text
    assert "Period before: September 2026\n25% more\nagainst 40.00\xa0kg" in text
    assert "A year earlier: October 2025\n20% less\nagainst 62.50\xa0kg" in text
    assert "1.250\xa0MWh" in text  # at the facility
    assert "15.00\xa0kg\xa0CO₂e" in text  # market-based, 12 g/kWh
    assert "3.100\xa0kg\xa0CO₂e" in text  # embodied, 6.2 g an hour
    assert "500 h" in text
    assert "400.0\xa0L" in text  # 0.4 L/kWh
    assert "As much as an average petrol car emits over 286 km." in text  # 50 / 0.175


@pytest.mark.parametrize("name", ["month", "year", "hostile"])
@pytest.mark.parametrize("caption", [WHERE, DETAIL])
def test_groups_idle_and_adjustments_are_the_total_as_printed(name: str, caption: str) -> None:
    document = getattr(documents, name)()
    heads, *rows, bottom = made(document).tables[caption]
    assert len(rows) == len(document.groups) + 1 + len(document.adjustments)
    for place, head in enumerate(heads):
        if place == 0 or head in ("Jobs", "Measured"):
            continue
        figures = [Decimal(row[place].replace(",", "")) for row in rows]
        assert sum(figures) == Decimal(bottom[place].replace(",", "")), head


def test_meters_and_what_they_did_not_see_are_jobs_and_idle_as_printed() -> None:
    _, *rows = made(documents.month()).tables["What the meters say, and what this report has of it"]
    assert [row[0] for row in rows] == ["GPUs", "Rest of the nodes"]
    for row in rows:
        metered, unseen, jobs, idle, both = (Decimal(cell) for cell in row[1:])
        assert metered + unseen == both
        assert jobs + idle == both


def test_days_of_the_chart_are_the_tables() -> None:
    document = documents.month()
    page = made(document)
    days = page.tables["The figures of the chart by day"]
    assert len(days) == 1 + 31 + 1
    assert days[31][1:] == ["unknown"] * 5  # the 31st is not in the books, and September had none
    assert Decimal(days[1][3]) == Decimal("29.0")  # 1 September, as the document has it
    bars = [each for each in page.attributes if each[:2] == ("rect", "class") and each[2] == "fill-jobs"]
    in_chart = len([one for one in document.points or () if one.jobs_co2e_g])
    in_groups, budgets, legend = len(document.groups), 1, 1
    assert len(bars) == in_chart + in_groups + budgets + legend


def test_what_is_unknown_is_never_zero_and_draws_no_chart() -> None:
    page = made(documents.unknown())
    assert page.tables[WHERE][-1] == ["Total", "unknown", "unknown", "unknown"]
    assert "IT energy\nunknown" in page.text
    assert "svg" not in {tag for tag, _ in page.elements}
    assert not re.search(r"\b0\.0+ ", page.text)
    assert "2 jobs held GPUs of whose energy nothing is known: that energy is in no sum." in page.text


def test_accounts_without_jobs_have_a_page() -> None:
    document = documents.unknown()
    page = made(replace(document, groups=(), idle=None, total=replace(document.total, jobs=0, gpu_seconds=0.0)))
    assert page.tables == {}
    assert "No job used anything in this period." in page.text
    assert "unknown" not in page.text


def test_where_emissions_are_unknown_the_energy_is_shown() -> None:
    month = documents.month()
    page = made(replace(month, total=replace(month.total, co2e_location_g=None), before=None, year_before=None))
    assert "IT energy by day" in page.text
    assert page.tables[WHERE][-1][1:3] == ["unknown", "100"]  # shares of the energy


def test_a_report_on_some_has_no_idle_time_and_says_so() -> None:
    month = documents.month()
    group = month.groups[0]
    narrowed = replace(
        month, groups=(group,), idle=None, total=replace(group, key=None), reconciliation=(),
        chosen=Chosen(accounts=("climate",)),
    )  # fmt: skip
    page = made(narrowed)
    assert "This report is of some of the site’s jobs only; it has no idle time, which is the site’s." in page.text
    assert "Only accounts:\nclimate" in page.text
    assert not any("Idle" in row[0] for row in page.tables[WHERE])
    assert "idle included" not in page.text
    assert not any("idle" in heading for heading in page.tables["The figures of the chart by day"][0])
    assert "Jobs\nIdle" not in page.text  # the legend


def test_nothing_is_said_of_what_was_not_asked_for() -> None:
    text = made(documents.year()).text
    assert "Largest jobs" not in text
    assert "came to nothing" not in text
    assert "Budgets" not in text
    assert "Period before" not in text


def test_every_source_is_named_and_every_number_leads_to_one() -> None:
    document = documents.month()
    page = made(document)
    targets = {value for _, name, value in page.attributes if name == "id"}
    links = [value for tag, name, value in page.attributes if (tag, name) == ("a", "href")]
    assert len(links) == 5  # PUE, two of the grid, contracts, the car
    assert all(link.removeprefix("#") in targets for link in links)
    text = " ".join(page.texts)
    assert "RTE éCO2mix, direct emissions, 98.2% of the time, 3% estimated, fetched 1 Nov 2026, 07:00" in text
    assert "Ember 2025, France, life cycle, 1.8% of the time, 100% estimated" in text
    assert text.count("declared by the site") == 2


def test_gaps_are_told_and_forbid_a_comparison() -> None:
    """A day of 31 is more than the hundredth that a comparison may lack."""
    gap = Stretch("alpha", documents.at(2026, 10, 29, 23), documents.at(2026, 10, 30, 23))
    text = made(replace(documents.month(), not_accounted=(gap,), accounted=30 / 31)).text
    assert "Period before: September 2026\n710.0\xa0kg\nA year" in text
    assert "Not accounted yet, and in no figure: alpha, 30 Oct 2026, 00:00 to 31 Oct 2026, 00:00." in text
    assert "2 rows of the sources could not be understood and are in quarantine." in text


def test_budgets_are_told() -> None:
    """2.41 of 3 t are 80.3 %; 1,074 of 900 kWh are 119.3 %, which is 119."""
    text = made(documents.month()).text
    assert "– 2.410\xa0t of 3.000\xa0t used in 2026 (80.3%)" in text
    assert "At this pace 2.890\xa0t by its end." in text
    assert "– 1.074\xa0MWh of 900.0\xa0kWh used in October 2026 (119%)" in text


# --- safety


def test_names_are_text_whatever_stands_in_them() -> None:
    """A page with names that attack it has the elements of one with tame names, and shows them as they are."""
    tame = documents.hostile_with(tuple(f"name{place}" for place in range(len(HOSTILE))))
    attacked = made(documents.hostile())
    assert attacked.elements == made(tame).elements
    assert {tag for tag, _ in attacked.elements} & {"script", "img", "iframe", "object", "link"} == set()
    assert not [name for _, name, _ in attacked.attributes if name.startswith("on")]
    text = " ".join(attacked.texts)
    for name in HOSTILE:
        assert name.replace("\u202e", "\N{REPLACEMENT CHARACTER}") in text
    assert "\u202e" not in text
    assert "49" not in [row[0] for row in attacked.tables[WHERE]]


def test_half_a_character_of_a_name_can_be_written() -> None:
    """What was read with surrogateescape."""
    page = html.render(documents.hostile_with(("caf\udce9", "b")), Look(find_language("en")))
    assert "caf\N{REPLACEMENT CHARACTER}" in page.encode("utf-8").decode("utf-8")


@pytest.mark.parametrize("document", [documents.month(), documents.hostile()], ids=["month", "hostile"])
def test_a_page_fetches_nothing(document: Document) -> None:
    page = made(document)
    loads = [value for _, name, value in page.attributes if name in ("src", "href", "srcset", "data", "action")]
    assert all(value.startswith("#") for value in loads)
    assert "url(" not in page.style
    assert "@import" not in page.style
    policy = [value for tag, name, value in page.attributes if (tag, name) == ("meta", "content") and "src" in value]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_tables_say_what_their_cells_belong_to() -> None:
    page = made(documents.month())
    assert all("scope" in names for tag, names in page.elements if tag == "th")
    assert len([tag for tag, _ in page.elements if tag == "caption"]) == len(
        [tag for tag, _ in page.elements if tag == "table"]
    )
    assert len(page.tables) == len([tag for tag, _ in page.elements if tag == "table"])  # each has another caption


def test_the_energy_of_the_shares_is_a_hundred() -> None:
    _, *rows, bottom = made(documents.month()).tables[WHERE]
    assert bottom[2] == "100"
    assert sum(Decimal(row[2]) for row in rows) == 100
    assert KWH == 3.6e6


def test_a_budget_of_which_less_than_nothing_is_used_has_an_empty_bar() -> None:
    """Adjustments took back 300 kg of a limit of 3 t."""
    negative = documents.standing("climate", "co2e_location_g", ["2026-10"], 3e6, -3e5, -3e5)
    page = made(replace(documents.month(), budgets=(negative,)))
    assert "-300.0\xa0kg of 3.000\xa0t used in October 2026 (-10%)" in page.text
    assert not [each for each in page.attributes if each[1] == "width" and str(each[2]).startswith("-")]
