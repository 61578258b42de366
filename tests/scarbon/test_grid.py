"""`scarbon grid`: what a person sees of the grid's intensity, with a service that answers and one that does not."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.collectors.grid.service import Answer, Service
from tests.site import Site, query, scarbon

CONFIG = """\
site: {{name: Test site, timezone: Europe/Berlin}}
ledger: sqlite:///ledger.db
clusters:
  alpha: {{jobs: {{source: file, path: jobs.sacct}}}}
pue: 1.2
grid:
  zone: DEU
  location:
    - {{source: electricity_maps, zone: DE, token_file: token, url: "{url}"}}
    - {{source: static}}
"""
#: 00:00 to 02:00 in Berlin on 1 October 2026, two hours ahead of UTC.
WINDOW = ["-S", "2026-10-01", "-E", "2026-10-01T02:00"]


def hours(*values: tuple[float | None, bool]) -> str:
    data = [
        {"zone": "DE", "carbonIntensity": value, "datetime": f"2026-09-30T{22 + number}:00:00Z", "isEstimated": guess}
        for number, (value, guess) in enumerate(values)
    ]
    return json.dumps({"zone": "DE", "data": data})


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service()
    yield made
    made.close()


@pytest.fixture
def config(tmp_path: Path, service: Service) -> Path:
    (tmp_path / "token").write_text("s3cret\n")
    path = tmp_path / "site.yaml"
    path.write_text(CONFIG.format(url=service.url))
    return path


def grid(config: Path, *words: str) -> str:
    done = scarbon("--config", config, "grid", *words)
    assert done.code == 0, done
    return done.out


def test_what_was_fetched_is_shown_without_asking_again(config: Path, service: Service) -> None:
    service.answer(hours((300, False), (400, True)))
    fetched = grid(config, "fetch", *WINDOW)
    assert "electricity_maps     100% of the period" in fetched
    assert "mean 350.0 gCO2e/kWh, from 300.0 to 400.0; 50% of it estimated" in fetched
    assert len(service.requests) == 1
    shown = json.loads(grid(config, "show", *WINDOW, "--json"))
    assert len(service.requests) == 1
    assert [(slot["value"], slot["estimated"], slot["basis"]) for slot in shown["slots"]] == [
        (300.0, False, "life cycle"),
        (400.0, True, "life cycle"),
    ]
    assert all(slot["retrieved_s"] > shown["meta"]["end"] for slot in shown["slots"])
    assert shown["meta"]["seconds_by_source"] == {"electricity_maps": 7200.0}


def test_only_the_estimate_is_asked_for_again(config: Path, service: Service) -> None:
    service.answer(hours((300, False), (400, True)))
    grid(config, "fetch", *WINDOW)
    grid(config, "fetch", *WINDOW)
    assert [request.query["start"] for request in service.requests] == ["2026-09-30T22:00:00Z", "2026-09-30T23:00:00Z"]
    grid(config, "fetch", *WINDOW, "--again")
    assert service.requests[-1].query["start"] == "2026-09-30T22:00:00Z"


def test_where_the_service_fails_the_table_stands_in_and_it_is_said(config: Path, service: Service) -> None:
    service.answer(Answer('{"error":"Invalid auth-token"}', 401))
    done = scarbon("--config", config, "grid", "fetch", *WINDOW)
    assert done.code == 0
    assert "static               100% of the period" in done.out
    assert done.err.startswith("warning: electricity_maps: refuses the key (401")
    assert "s3cret" not in done.err


def test_the_form_that_the_file_source_reads(config: Path, service: Service) -> None:
    service.answer(hours((300, False), (400.5, True)))
    grid(config, "fetch", *WINDOW)
    text = grid(config, "show", *WINDOW, "--csv")
    assert list(csv.reader(io.StringIO(text))) == [
        ["start", "end", "gco2e_per_kwh", "estimated"],
        ["2026-09-30T22:00:00+00:00", "2026-09-30T23:00:00+00:00", "300.0", "false"],
        ["2026-09-30T23:00:00+00:00", "2026-10-01T00:00:00+00:00", "400.5", "true"],
    ]
    (config.parent / "saved.csv").write_text(text)
    config.write_text(config.read_text().replace("location:", "location:\n    - {source: file, path: saved.csv}"))
    assert "file                 100% of the period" in grid(config, "show", *WINDOW)


def test_a_plot_in_the_sites_time(config: Path, service: Service) -> None:
    service.answer(hours((300, False), (400, False)))
    grid(config, "fetch", *WINDOW)
    lines = grid(config, "show", *WINDOW).splitlines()
    assert lines[0].strip() == "gCO2e/kWh, Europe/Berlin"
    assert "10-01 00:00" in lines[-3]
    assert "10-01 02:00" in lines[-3]
    assert "\x1b" not in "".join(lines)


def test_the_sources_in_their_order(config: Path, service: Service) -> None:
    before = grid(config, "sources").splitlines()
    assert before[0] == "Zone DEU: Germany, 380.9 gCO2e/kWh in 2023 (Ember and Our World in Data)"
    assert before[1].split() == ["1.", "electricity_maps", "zone", "DE", "nothing", "is", "kept", "yet"]
    assert before[2].split() == ["2.", "static", "at", "hand"]
    assert before[3:] == [
        "Contracts: none are declared: no market-based figure",
        "Forecasts, for advice alone: none",
    ]
    service.answer(hours((300, False), (400, True)))
    grid(config, "fetch", *WINDOW)
    assert "2 slots kept, 2026-10-01 00:00 to 2026-10-01 02:00, 1 of them estimates" in grid(config, "sources")


def test_a_period_of_which_nothing_is_known(config: Path, service: Service) -> None:
    config.write_text(config.read_text().replace("    - {source: static}\n", ""))
    service.answer(hours())
    done = scarbon("--config", config, "grid", "fetch", *WINDOW)
    assert done.code == 1
    assert "no source has 2026-10-01 00:00 to 2026-10-01 02:00" in done.err
    assert done.err.splitlines()[-1].startswith("scarbon: no source has anything of this period")
    shown = scarbon("--config", config, "grid", "show", *WINDOW)
    assert (shown.code, shown.out) == (0, "nothing is known of the period\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["show", "-S", "2026-10-02", "-E", "2026-10-01"], "the period ends before it begins"),
        (["show", *WINDOW, "--json", "--csv"], "--json and --csv are two forms"),
        (["fetch", "-S", "soon"], "cannot read the time 'soon'"),
    ],
)
def test_wrong_use(config: Path, words: list[str], said: str) -> None:
    assert said in scarbon("--config", config, "grid", *words).refused(2)


def test_days_that_the_books_hold_with_other_values_are_named(mine: Site) -> None:
    """The intensity's file gets another value for one hour; once that day is accounted anew, all is well."""
    assert "other values" not in mine.good("grid", "fetch", *mine.window).out
    path = mine.folder / "intensity.csv"
    lines = path.read_text().splitlines()
    number = next(n for n, line in enumerate(lines) if n and line.split(",")[1] > mine.window[1].replace("Z", "+00:00"))
    start, end, value, *rest = lines[number].split(",")
    lines[number] = ",".join([start, end, str(float(value) + 7), *rest])
    path.write_text("\n".join(lines) + "\n")
    said = mine.good("grid", "fetch", *mine.window).out.splitlines()[-1]
    assert said.startswith(f"{mine.cluster}: the books hold 1 days with other values")
    words = said.partition("scarbon collect ")[2].split()
    mine.collect("-M", mine.cluster, *mine.window)
    assert words[:2] == ["-M", mine.cluster]
    assert "other values" not in mine.good("grid", "fetch", *mine.window).out


# --- through a whole run: trouble with a service, and what it says later


def hourly_of(site: Site, value: float, estimated: bool = False) -> str:
    """Electricity Maps' answer for every hour that the site's recording touches."""
    hours_ = range(site.start_s // 3600 * 3600, site.end_s + 3600, 3600)
    data = [
        {
            "zone": "FR",
            "carbonIntensity": value,
            "datetime": datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "isEstimated": estimated,
        }
        for at_s in hours_
    ]
    return json.dumps({"zone": "FR", "data": data})


@pytest.fixture
def served(fresh: Site, service: Service, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A site that asks Electricity Maps before it takes the yearly mean."""
    monkeypatch.setattr("collectors.grid.http.sleep", lambda seconds: None)
    (fresh.folder / "token").write_text("s3cret\n")
    fresh.change(
        "[{source: file, path: intensity.csv}, {source: static}]",
        f'[{{source: electricity_maps, zone: FR, token_file: token, url: "{service.url}"}}, {{source: static}}]',
    )
    return fresh


def intensities(site: Site) -> list[tuple[float, int]]:
    """The distinct values in force, and whether they are estimates."""
    sql = "SELECT DISTINCT value, estimated FROM factors WHERE kind = 'location' AND superseded_by IS NULL"
    return [(value, bool(estimated)) for value, estimated in query(site.ledger, sql)]


def emitted_g(site: Site) -> float:
    return float(site.good("report", *day_of(site), "--format", "json").json["total"]["co2e_location_g"])


def day_of(site: Site) -> list[str]:
    first = datetime.fromtimestamp(site.start_s, site.zone).date()
    last = datetime.fromtimestamp(site.end_s, site.zone).date() + timedelta(days=1)
    return ["-S", first.isoformat(), "-E", last.isoformat()]


TROUBLES = {
    "an empty answer": '{"zone": "FR", "data": []}',
    "a wrong key": Answer('{"error": "Invalid auth-token"}', 401),
    "too often": Answer("slow down", 429, {"Retry-After": "300"}),
    "an answer that is none": "<html>the page of a proxy</html>",
    "out of order": Answer("out of order", 503),
}


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES.keys())
def test_a_run_goes_on_with_the_next_source_and_says_so(served: Site, service: Service, trouble: str | Answer) -> None:
    service.answer(trouble)
    done = served.collect()
    assert ("warning: electricity_maps: " in done.err) == (trouble is not TROUBLES["an empty answer"])
    assert "s3cret" not in done.err
    assert intensities(served) == [(56.0, True)]  # France's mean of 2023
    by_mean_g = emitted_g(served)
    # The service is there again: what was booked by the mean is superseded, and nothing is booked twice.
    service.answer(hourly_of(served, 112.0))
    served.collect()
    assert intensities(served) == [(112.0, False)]
    assert emitted_g(served) == pytest.approx(2 * by_mean_g, rel=1e-9)
    served.good("audit")
    before = served.tables()
    asked = len(service.requests)
    served.collect()
    assert len(service.requests) == asked  # all of it is final and kept
    assert {name: rows for name, rows in served.tables().items() if name != "runs"} == {
        name: rows for name, rows in before.items() if name != "runs"
    }


@pytest.mark.parametrize("value", [None, -5, 99_999], ids=["null", "negative", "absurd"])
def test_a_value_that_cannot_be_is_not_booked(served: Site, service: Service, value: float | None) -> None:
    service.answer(hourly_of(served, value))  # type: ignore[arg-type]
    done = served.collect()
    assert intensities(served) == [(56.0, True)]
    assert ("values that cannot be" in done.err) == (value is not None)


def test_a_final_value_supersedes_what_an_estimate_gave(served: Site, service: Service) -> None:
    service.answer(hourly_of(served, 100.0, estimated=True))
    served.collect()
    estimated_g = emitted_g(served)
    assert intensities(served) == [(100.0, True)]
    service.answer(hourly_of(served, 50.0))
    said = served.good("grid", "fetch", *served.window).out
    assert "the books hold 1 days with other values" in said
    served.collect()
    assert intensities(served) == [(50.0, False)]
    assert emitted_g(served) == pytest.approx(estimated_g / 2, rel=1e-9)
    (superseded,) = query(served.ledger, "SELECT COUNT(*) FROM usage_slots WHERE superseded_by IS NOT NULL")
    assert superseded[0] > 0  # the books keep what they said before
    assert "other values" not in served.good("grid", "fetch", *served.window).out


def test_where_each_factor_came_from_is_in_the_books(served: Site, service: Service) -> None:
    service.answer(hourly_of(served, 100.0))
    served.collect()
    rows = query(
        served.ledger,
        "SELECT DISTINCT kind, source, basis, retrieved_s IS NOT NULL FROM factors ORDER BY kind, source",
    )
    assert rows == [
        ("location", "Electricity Maps FR, life cycle", "life cycle", 1),
        ("market", "site.yaml", None, 0),
        ("pue", "site.yaml", None, 0),
    ]
