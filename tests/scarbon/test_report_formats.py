"""How a report is written: a golden file for each format and book, and sums that hold as they are printed.

`pytest --update-golden` writes the golden files anew. The figures in them are those that `test_document` (accounting)
has by hand.
"""

from __future__ import annotations

import csv
import io
import json
import re
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from accounting.ledger.closing import By, close_month
from accounting.ledger.store import Ledger
from accounting.report import GROUPINGS
from scarbon import __version__
from tests.scarbon import books
from tests.site import Done, Site, change, iso

GOLDEN = Path(__file__).with_name("golden")
ADDED = (
    "gpu_seconds", "gpu_energy_j", "host_energy_j", "it_energy_j", "facility_energy_j", "co2e_location_g",
    "co2e_market_g", "co2e_embodied_g", "modelled_j", "water_l",
)  # fmt: skip
EVERY = [*GROUPINGS, "tag:project"]


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Site]:
    """Both books, made once; not to be written to."""
    folder = tmp_path_factory.mktemp("reports")
    return {"plain": books.plain(folder / "plain"), "troubled": books.troubled(folder / "troubled")}


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: float(books.NOW_S))


def report(site: Site, *words: str) -> Done:
    return site.good("report", "--month", "2026-10", *words)


@pytest.mark.parametrize(
    ("book", "name", "words"),
    [
        ("plain", "table.txt", ["--format", "table"]),
        ("plain", "everything.txt", ["--format", "table", "--tree", "--top", "3"]),
        ("plain", "tree.md", ["--format", "md", "--tree"]),
        ("plain", "phys.md", ["--format", "md", "-A", "phys", "--by", "user", "--language", "de"]),
        ("plain", "by-label.csv", ["--format", "csv", "--by", "tag:project"]),
        ("plain", "everything.json", ["--format", "json", "--tree"]),
        ("troubled", "table.txt", ["--format", "table", "--top", "5"]),
        ("troubled", "accounts.md", ["--format", "md"]),
        ("troubled", "by-cluster.csv", ["--format", "csv", "--by", "cluster"]),
        ("troubled", "by-user.json", ["--format", "json", "--by", "user", "-M", "alpha"]),
    ],
)
def test_as_it_was_found_good(
    sites: dict[str, Site], book: str, name: str, words: list[str], request: pytest.FixtureRequest
) -> None:
    found = report(sites[book], *words).out.replace(__version__, "VERSION")
    golden = GOLDEN / f"{book}-{name}"
    if request.config.getoption("--update-golden"):
        golden.write_text(found, encoding="utf-8")
    assert golden.exists(), "look at what is written, and make the file with --update-golden"
    assert found == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("book", ["plain", "troubled"])
@pytest.mark.parametrize("by", EVERY)
def test_groups_and_idle_are_the_total_as_json(sites: dict[str, Site], book: str, by: str) -> None:
    if by == "tag:project" and book == "troubled":
        by = "tag"
    found = report(sites[book], "--format", "json", "--by", by).json
    rows = [*found["groups"], found["idle"], *(one["sums"] for one in found["adjustments"])]
    for name in ADDED:
        if found["total"][name] is None:
            assert None in [row[name] for row in rows], name
        else:
            assert sum(row[name] or 0.0 for row in rows) == pytest.approx(found["total"][name], rel=1e-12), name
    if by != "gpu-model":  # where a job may be on several
        assert sum(row["jobs"] for row in rows) == found["total"]["jobs"]


@pytest.mark.parametrize("book", ["plain", "troubled"])
def test_every_grouping_has_the_same_total(sites: dict[str, Site], book: str) -> None:
    totals = [report(sites[book], "--format", "json", "--by", by).json["total"] for by in GROUPINGS]
    for total in totals[1:]:
        assert total == {
            name: pytest.approx(value, rel=1e-12) if isinstance(value, float) else value
            for name, value in totals[0].items()
        }


@pytest.mark.parametrize("by", EVERY)
@pytest.mark.parametrize("format_", ["table", "md"])
def test_groups_and_idle_are_the_total_as_printed(sites: dict[str, Site], format_: str, by: str) -> None:
    text = report(sites["plain"], "--format", format_, "--by", by).out
    for rows in printed(text, format_):
        *parts, total = rows
        for place, cell in enumerate(total):
            if cell is None:
                continue
            figures = [row[place] for row in parts if row[place] is not None]
            if figures:
                assert sum(figures) == cell, (place, text)


def printed(text: str, format_: str) -> list[list[list[Decimal | None]]]:
    """The rows of each table that has a total: figures, and None for what is none, or is no sum as the coverage."""
    tables: list[list[list[Decimal | None]]] = []
    rows: list[list[Decimal | None]] = []
    ends: list[int] = []
    for line in text.splitlines():
        if format_ == "table":
            if line.endswith("coverage"):
                ends = [found.end() for found in re.finditer(r"\S+(?: \S+)*", line)]
            named = re.fullmatch(r"(.*?)(?:\s{2,}(\d+))?", line[: ends[1] if ends else None].strip())
            cells = [*(named.groups("") if named else ()), *(line[a:b].strip() for a, b in pairwise(ends[1:]))]
        else:
            cells = [cell.strip("* ") for cell in line.strip("|").split("|")]
        if len(cells) < 3 or set(line) <= set("-|: "):
            continue
        rows.append([number(cell) for cell in cells[1:]])
        if not any(figure is not None for figure in rows[-1]):
            rows = []  # the head of a table
        if cells[0].lower() == "total":
            tables.append(rows)
            rows = []
    assert tables
    return tables


def number(cell: str) -> Decimal | None:
    return Decimal(cell.replace(",", "")) if re.fullmatch(r"-?[\d,]+(\.\d+)?", cell) else None


def test_what_idle_nodes_draw_besides_gpus_is_said_to_be_missing(sites: dict[str, Site]) -> None:
    """Eve's host energy is modelled, and of idle time nobody has any; where no job has any either nothing is said."""
    said = "What idle nodes draw besides their GPUs is in no figure: it is known for jobs only."
    for format_ in ("table", "md", "html"):
        assert said in report(sites["plain"], "--format", format_).out
        assert said not in report(sites["troubled"], "--format", format_).out
        assert said not in report(sites["plain"], "--format", format_, "-A", "phys").out
    assert report(sites["plain"], "--format", "json").json["meta"]["idle_host_missing"] is True
    assert report(sites["troubled"], "--format", "json").json["meta"]["idle_host_missing"] is False


def test_csv_is_read_back_as_what_json_says(sites: dict[str, Site]) -> None:
    """Names that look like formulas, columns or tags come back as they are."""
    found = report(sites["troubled"], "--format", "json").json
    rows = list(csv.DictReader(io.StringIO(report(sites["troubled"], "--format", "csv").out)))
    assert [row["row"] for row in rows] == ["group"] * 3 + ["idle", "total"]
    assert {row["key"] for row in rows if row["row"] == "group"} == {"phys", "a|b *c* =1+1", ""}
    for row, expected in zip(rows, [*found["groups"], found["idle"], found["total"]], strict=True):
        for name, value in expected.items():
            assert (row[name] or None) == (None if value is None else str(value)), name


def test_json_has_one_row_for_one_key_and_no_words(sites: dict[str, Site]) -> None:
    """Unknown is null; what a report on some accounts does not have, too."""
    found = report(sites["plain"], "--format", "json", "-A", "phys").json
    assert found["meta"]["accounts"] == ["phys"]
    assert found["idle"]["it_energy_j"] is None
    assert found["idle"].keys() == found["total"].keys()
    assert found["reconciliation"] == []
    assert json.loads(json.dumps(found)) == found


def test_a_branch_of_the_tree_alone(sites: dict[str, Site]) -> None:
    """Science has no jobs of its own: with --tree it is phys (390 g) and chem (240 g), without it nothing."""
    found = report(sites["plain"], "--format", "json", "-A", "science", "--tree").json
    assert found["meta"]["accounts"] == ["science", "chem", "phys"]
    assert [(one["account"], one["depth"]) for one in found["tree"]] == [("science", 0), ("phys", 1), ("chem", 1)]
    assert found["tree"][0]["sums"]["co2e_location_g"] == pytest.approx(630)
    assert found["total"]["co2e_location_g"] == pytest.approx(630)
    alone = report(sites["plain"], "--format", "json", "-A", "science").json
    assert (alone["groups"], alone["total"]["jobs"]) == ([], 0)


@pytest.mark.parametrize("format_", ["table", "csv", "json", "md", "html"])
def test_into_a_file(sites: dict[str, Site], tmp_path: Path, format_: str) -> None:
    path = tmp_path / "report"
    assert report(sites["plain"], "--format", format_, "-o", str(path)).out == ""
    assert path.read_text(encoding="utf-8") == report(sites["plain"], "--format", format_).out
    line = sites["plain"].scarbon("report", "--month", "2026-10", "-o", str(tmp_path / "no" / "where")).refused()
    assert str(tmp_path / "no" / "where") in line


def keys(found: Any) -> set[str]:
    """Every key of an object, with its way."""
    if isinstance(found, dict):
        return {f"{name}{rest}" for name, value in found.items() for rest in {"", *(f".{key}" for key in keys(value))}}
    return {key for one in found for key in keys(one)} if isinstance(found, list) else set()


def test_every_key_of_the_json_is_documented(sites: dict[str, Site]) -> None:
    text = (Path(__file__).parents[2] / "docs" / "reports.md").read_text(encoding="utf-8")
    found = report(sites["plain"], "--format", "json", "--tree").json
    missing = sorted(key for key in keys(found) if f"`{key.rpartition('.')[2]}`" not in text)
    assert not missing


@pytest.fixture
def adjusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """The plain books, where September was closed before a kilowatt-hour of its four turned out not to have been."""
    monkeypatch.setattr("time.time", lambda: float(books.NOW_S - 3 * 86_400))
    site = books.plain(tmp_path / "adjusted")
    monkeypatch.setattr("time.time", lambda: float(books.NOW_S - 2 * 86_400))
    ledger = Ledger(site.url, "UTC")
    close_month(ledger, "2026-09", By("ada", "login1", "invoiced"))
    books.september_again(ledger, 3.0)
    ledger.close()
    monkeypatch.setattr("time.time", lambda: float(books.NOW_S))
    return site


def test_an_adjustment_is_a_row_of_its_own_and_in_the_total(adjusted: Site) -> None:
    """780 g of October, less 1 kWh × 1.2 × 100 g."""
    found = report(adjusted, "--format", "json").json
    (one,) = found["adjustments"]
    assert (one["of"], one["posted_in"], one["reason"]) == ("2026-09", "2026-10", None)
    assert one["sums"]["co2e_location_g"] == pytest.approx(-120)
    assert found["total"]["co2e_location_g"] == pytest.approx(660)
    assert found["total"]["jobs"] == 4
    low, high = found["total"]["co2e_low_g"], found["total"]["co2e_high_g"]
    assert low < 660 < high
    for format_ in ("table", "md"):
        text = report(adjusted, "--format", format_).out
        for rows in printed(text, format_):
            for place, cell in enumerate(rows[-1]):
                figures = [row[place] for row in rows[:-1] if row[place] is not None]
                if cell is not None and figures:
                    assert sum(figures) == cell, text
    line = next(line for line in report(adjusted).out.splitlines() if line.startswith("adjusts 2026-09"))
    assert "-120.0" in line
    rows = list(csv.DictReader(io.StringIO(report(adjusted, "--format", "csv").out)))
    assert [row["row"] for row in rows] == ["group"] * 3 + ["idle", "adjustment", "total"]
    narrowed = report(adjusted, "--format", "json", "-A", "chem").json
    assert (narrowed["adjustments"], narrowed["total"]["co2e_location_g"]) == ([], pytest.approx(240))


def test_the_means_are_those_of_the_periods_own_energy(adjusted: Site) -> None:
    """October is 6.5 kWh × 1.2 × 100 g, whatever was found out about September: here 8 kWh and 5 kg less."""
    ledger = Ledger(adjusted.url, "UTC")
    change(adjusted.folder / "ledger.db", "UPDATE adjustments SET facility_j = ?, location_g = ?", -8 * 3.6e6, -5_000.0)
    ledger.close()
    found = report(adjusted, "--format", "json").json
    assert found["meta"]["pue"] == pytest.approx(1.2)
    assert found["meta"]["intensity_g_per_kwh"] == pytest.approx(100)
    assert found["total"]["co2e_location_g"] == pytest.approx(780 - 5_000)
    text = report(adjusted).out
    assert "Applied, weighted by energy: PUE 1.2, grid 100 g/kWh" in text
    assert "95 % interval of the total: -4." in text
    low, high = found["total"]["co2e_low_g"], found["total"]["co2e_high_g"]
    assert low < 780 - 5_000 < high
    page = report(adjusted, "--format", "md").out.replace("\xa0", " ")
    assert " × PUE" not in page
    assert "· PUE 1.20 without adjustments" in page
    assert "on average 100 g CO₂e/kWh" in page
    assert "petrol car" not in page
    assert "Share" not in page


def test_a_closed_month_says_so_and_what_came_later(adjusted: Site) -> None:
    """480 g of ada's and 120 g idle stay; 120 g less are in October."""
    words = ["report", "--month", "2026-09"]
    found = adjusted.good(*words, "--format", "json").json
    assert found["total"]["co2e_location_g"] == pytest.approx(600)
    assert [one["sums"]["co2e_location_g"] for one in found["adjusted_later"]] == [pytest.approx(-120)]
    assert found["meta"]["closed_s"] == books.NOW_S - 2 * 86_400
    text = adjusted.good(*words).out
    assert "The month was closed on 2026-10-31 05:00." in text
    assert "Later, in 2026-10, this period was changed by -120 g CO2e: in no figure here." in text


def test_a_month_that_has_nothing_but_an_adjustment(adjusted: Site) -> None:
    """Of November nothing is accounted yet, and on its second day something was found out about September."""
    ledger = Ledger(adjusted.url, "UTC")
    books.september_again(ledger, 2.0)
    ledger.close()
    found = adjusted.good("report", "--month", "2026-11", "--format", "json").json
    assert found["groups"] == []
    assert [one["sums"]["it_energy_j"] for one in found["adjustments"]] == [pytest.approx(-3.6e6)]
    assert found["total"]["co2e_low_g"] is None
    assert found["meta"]["pue"] is None
    assert "-1.000" in adjusted.good("report", "--month", "2026-11").out
    page = adjusted.good("report", "--month", "2026-11", "--format", "md").out.replace("\xa0", " ")
    assert "**Emissions from electricity, location-based: -120.0 g CO₂e**\n" in page
    assert "| **Total** | **-120.0** |" in page
    assert "Adjustment of September 2026" in page
    assert "petrol car" not in page
    assert "No job used anything in this period." in page


def test_adjustments_that_cancel_out_leave_nothing(adjusted: Site) -> None:
    """In November 1 kWh less was found out about September, and as much more of August, but for a rounding."""
    ledger = Ledger(adjusted.url, "UTC")
    books.september_again(ledger, 2.0)
    ledger.close()
    change(
        adjusted.folder / "ledger.db",
        "INSERT INTO adjustments SELECT adjustment_id + 1000, run_id, posted_day, '2026-08-03', slot_s, meter_id, "
        "attempt_id, payer_id, -held_s, -energy_j, -facility_j + 1e-9, -location_g + 1e-12, -market_g, -embodied_g "
        "FROM adjustments WHERE posted_day >= '2026-11-01'",
    )
    words = ["report", "--month", "2026-11", "--format"]
    found = adjusted.good(*words, "json").json
    assert [one["sums"]["co2e_location_g"] for one in found["adjustments"]] == [pytest.approx(120), pytest.approx(-120)]
    assert (found["total"]["co2e_location_g"], found["total"]["facility_energy_j"]) == (0.0, 0.0)
    page = adjusted.good(*words, "md").out.replace("\xa0", " ")
    assert "**Emissions from electricity, location-based: 0 g CO₂e**" in page
    assert "petrol car" not in page
    assert "Share" not in page


def test_as_the_books_stood(adjusted: Site) -> None:
    """Before the adjustment October had its own 780 g."""
    before_s = books.NOW_S - 2.5 * 86_400
    found = report(adjusted, "--format", "json", "--as-of", iso(before_s)).json
    assert found["adjustments"] == []
    assert found["total"]["co2e_location_g"] == pytest.approx(780)
    assert found["meta"]["as_of_s"] == before_s
    assert "The books as they stood on 2026-10-30 17:00." in report(adjusted, "--as-of", iso(before_s)).out
    line = adjusted.scarbon("report", "--month", "2026-10", "--as-of", "2027-01-01").refused(code=2)
    assert "lies in the future" in line
