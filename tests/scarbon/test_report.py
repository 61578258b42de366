"""`scarbon report`: sums by group, clipped to the calendar, that add up as printed and as JSON."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from accounting.ledger.store import Ledger
from accounting.report import GROUPINGS
from simulator.truth import read_truth
from tests.site import Site, iso

SUMS = (
    "gpu_seconds", "gpu_energy_j", "host_energy_j", "it_energy_j", "facility_energy_j", "co2e_location_g",
    "co2e_market_g", "co2e_embodied_g",
)  # fmt: skip


@pytest.fixture(scope="module")
def month(days: Site, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Four days at the end of October, accounted; not to be written to."""
    site = days.copy(tmp_path_factory.mktemp("month"))
    site.collect()
    return site


def report(site: Site, *words: str) -> Any:
    return site.good("report", "--format", "json", *words).json


def total(sums: list[dict[str, Any]], name: str) -> float:
    return sum(one[name] or 0 for one in sums)


@pytest.mark.parametrize("by", GROUPINGS)
def test_groups_and_idle_are_the_total(month: Site, by: str) -> None:
    found = report(month, "--month", "2026-10", "--by", by)
    assert found["groups"]
    for name in SUMS:
        parts = total([*found["groups"], found["idle"]], name)
        assert parts == pytest.approx(found["total"][name], rel=1e-9), name
    assert found["total"]["gpu_energy_j"] == pytest.approx(found["meta"]["gpu_metered_j"], rel=1e-9)


def test_the_jobs_of_a_group_are_the_group(month: Site) -> None:
    """All jobs lie in the month, so an account's month is the sum of its attempts."""
    attempts = month.good("jobs", "-a", "-D", "--json", "-S", "2026-10-01").json["jobs"]
    groups = {group["key"]: group for group in report(month, "--month", "2026-10")["groups"]}
    assert set(groups) == {job["account"] for job in attempts if job["start"]}
    assert len({job["job_id_raw"] for job in attempts}) < len(attempts)  # some were requeued, or the test says little
    for account, group in groups.items():
        own = [job for job in attempts if job["account"] == account and job["start"]]
        assert group["jobs"] == len({job["job_id_raw"] for job in own})
        for name in SUMS:
            assert group[name] == pytest.approx(total(own, name), rel=1e-9), name


def test_days_make_the_month(month: Site) -> None:
    """A job that crosses midnight counts on both sides with what it used there."""
    whole = report(month, "--month", "2026-10")
    days = [report(month, "-S", f"2026-10-{day}", "-E", f"2026-10-{day + 1}") for day in range(25, 29)]
    for name in SUMS:
        assert total([day["total"] for day in days], name) == pytest.approx(whole["total"][name], rel=1e-9), name
        assert total([day["idle"] for day in days], name) == pytest.approx(total([whole["idle"]], name), rel=1e-9), name
    gpu_hours = [day["total"]["gpu_seconds"] / 3600 for day in days]
    assert gpu_hours == pytest.approx([3 * 25, 3 * 24, 3 * 24, 3 * 24], rel=1e-9)  # three GPUs, held or not
    crossing = sum(day["total"]["jobs"] for day in days) - whole["total"]["jobs"]
    assert crossing > 0


def test_a_job_across_a_months_end_counts_on_both_sides(days: Site, tmp_path: Path) -> None:
    """The recording is moved by five days, so that its third midnight is the end of October."""
    moved_s = 5 * 86_400
    site = days.copy(tmp_path / "site")
    move(site, moved_s)
    site.collect("-S", iso(days.start_s + moved_s), "-E", iso(days.end_s + moved_s))
    october, november = report(site, "--month", "2026-10"), report(site, "--month", "2026-11")
    started = [job for job in site.good("jobs", "-a", "-D", "--json", "-S", "2026-10-01").json["jobs"] if job["start"]]
    midnight = int(datetime(2026, 10, 31, 23, tzinfo=UTC).timestamp())
    across = [job for job in started if job["gpus"] and job["start"] < midnight < (job["end"] or days.end_s + moved_s)]
    assert across  # or the test says nothing
    jobs = [
        {job["job_id_raw"] for job in started if job["start"] < midnight},
        {job["job_id_raw"] for job in started if (job["end"] or days.end_s + moved_s) > midnight},
    ]
    assert [october["total"]["jobs"], november["total"]["jobs"]] == [len(of) for of in jobs]
    for name in ("gpu_energy_j", "host_energy_j", "co2e_location_g"):
        parts = total([*october["groups"], *november["groups"]], name)
        assert parts == pytest.approx(total(started, name), rel=1e-9), name
    truth = read_truth(days.folder / "truth.json")
    hours = [(hour + moved_s, energy_j) for one in truth.attempts.values() for hour, energy_j in one.by_hour.items()]
    for found, is_there in ((october, lambda hour: hour < midnight), (november, lambda hour: hour >= midnight)):
        true_j = sum(energy_j for hour, energy_j in hours if is_there(hour))
        assert total(found["groups"], "gpu_energy_j") == pytest.approx(true_j, rel=0.002)


def move(site: Site, by_s: int) -> None:
    """Move a recording in time: every time stamp is one of 2026 in whole or split seconds."""
    for path in (site.folder / "dcgm.om", site.folder / "jobs.sacct", *(site.folder / "journal").iterdir()):
        text = path.read_text()
        moved = re.sub(r"(?<=[|:\s])17[89]\d{7}(?=[|.,\s])", lambda found: str(int(found[0]) + by_s), text)
        path.write_text(moved)
    (site.folder / "intensity.csv").write_text("start,end,gco2e_per_kwh\n")


def test_the_hour_that_comes_twice_is_in_its_day(month: Site) -> None:
    day = report(month, "-S", "2026-10-25", "-E", "2026-10-26")
    assert day["meta"]["not_accounted"] == []
    assert day["total"]["gpu_seconds"] == pytest.approx(3 * 25 * 3600, rel=1e-9)


def test_what_is_not_accounted_is_said(month: Site) -> None:
    missing = [
        "gamma: 2026-10-01 00:00 to 2026-10-25 00:00 is not accounted",
        "gamma: 2026-10-29 00:00 to 2026-11-01 00:00 is not accounted",
    ]
    assert report(month, "--month", "2026-10")["meta"]["not_accounted"] == missing
    text = month.good("report", "--month", "2026-10").out
    assert all(f"Not in these figures: {line}." in text for line in missing)


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (["--month", "2026-09"], "--month 2026-10"),
        (["--quarter", "2025Q1"], "--quarter 2026-Q4"),
        (["--year", "2024"], "--year 2026"),
        (["-S", "2026-10-01", "-E", "2026-10-03"], "-S 2026-10-25 -E 2026-10-26"),
        (["-S", "2026-10-31", "-E", "2026-11-01"], "-S 2026-10-28 -E 2026-10-29"),
    ],
    ids=str,
)
def test_a_period_of_which_the_books_have_nothing(month: Site, words: list[str], near: str) -> None:
    line = month.scarbon("report", *words).refused(code=1)
    assert "is accounted; the books go from 2026-10-25 to 2026-10-28; try " + near in line
    assert month.scarbon("report", *near.split()).code == 0


def test_books_that_have_nothing_at_all(days: Site, tmp_path: Path) -> None:
    site = days.copy(tmp_path / "site")
    Ledger(site.url, "Europe/Paris").close()
    line = site.scarbon("report", "--month", "2026-10").refused(code=1)
    assert line == "scarbon: nothing is accounted yet; run scarbon collect first"


def test_the_table_adds_up_as_it_is_printed(month: Site) -> None:
    lines = month.good("report", "--month", "2026-10", "--by", "account").out.splitlines()
    assert lines[0] == "Test site, 2026-10-01 to 2026-10-31 (Europe/Paris)"
    rows = {
        line.split()[0]: line for line in lines if line and line.split()[0] in ("phys", "chem", "bio", "idle", "total")
    }
    assert list(rows)[-2:] == ["idle", "total"]

    def gpu_hours(line: str) -> float:
        return float(re.findall(r"\d+\.\d(?= )", line.replace(",", ""))[0])

    parts = sum(gpu_hours(line) for name, line in rows.items() if name != "total")
    assert parts == pytest.approx(gpu_hours(rows["total"]), abs=0.05 * len(rows))
    assert len({len(line) for line in rows.values()}) == 1


def test_without_a_contract_there_is_no_market_based_figure(days: Site, tmp_path: Path) -> None:
    site = days.copy(tmp_path / "site")
    site.change("  market: {factor_g_per_kwh: 12, coverage: 0.8, residual_mix_g_per_kwh: 60}\n", "")
    site.collect("-S", "2026-10-25", "-E", "2026-10-26")
    found = report(site, "--month", "2026-10")
    assert found["total"]["co2e_location_g"] > 0
    assert [found["total"]["co2e_market_g"], found["idle"]["co2e_market_g"]] == [None, None]
    assert {group["co2e_market_g"] for group in found["groups"]} == {None}
    assert {job["co2e_market_g"] for job in site.good("jobs", "-a", "--json", "-S", "2026-10-01").json["jobs"]} == {
        None
    }


def test_where_the_grid_is_unknown_so_are_the_emissions(days: Site, tmp_path: Path) -> None:
    """The file knows the first day up to noon, and nothing stands behind it."""
    site = days.copy(tmp_path / "site")
    site.change("[{source: file, path: intensity.csv}, {source: static}]", "[{source: file, path: intensity.csv}]")
    rows = (site.folder / "intensity.csv").read_text().splitlines()
    (site.folder / "intensity.csv").write_text("\n".join(row for row in rows if row < "2026-10-25T12" or "end" in row))
    site.collect("-S", "2026-10-25", "-E", "2026-10-26")
    found = report(site, "--month", "2026-10")
    assert found["total"]["facility_energy_j"] > 0
    assert found["total"]["co2e_location_g"] is None
    assert found["idle"]["co2e_location_g"] is None
    known = site.good("jobs", "-a", "--json", "-S", "2026-10-25", "-E", "2026-10-25T11:00").json["jobs"]
    assert any(job["co2e_location_g"] for job in known if job["end"] and job["end"] < site.start_s + 12 * 3600)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--month", "2199-01"], "2199-01 lies in the future; name a month that has begun"),
        (["--month", "2026-13"], "there is no month 2026-13; write for example 2026-10"),
        (["--month", "0000-01"], "there is no month 0000-01"),
        (["--quarter", "2026-Q5"], "there is no quarter 2026-Q5; write for example 2026-Q3"),
        (["--quarter", "autumn"], "cannot read the quarter 'autumn'; write for example 2026-Q3, this or last"),
        (["--quarter", "2199-Q1"], "2199-Q1 lies in the future; name a quarter that has begun"),
        (["--year", "2199"], "2199 lies in the future; name a year that has begun"),
        (["--year", "26"], "cannot read the year '26'; write for example 2026, this or last"),
        (["--year", "2026", "--quarter", "last"], "--quarter and --year name two periods; use one of them"),
        (["-S", "2199-01-01", "-E", "2199-01-02"], "2199-01-01 lies in the future; name days that have begun"),
        (["-S", "2026-10-26", "-E", "2026-10-26"], "is no day at all; -E is the midnight at which the period ends"),
        (["--month", "october"], "cannot read the month 'october'; write for example 2026-10, this or last"),
        (["--month", "2026-10", "-S", "2026-10-01"], "--month and -S/-E name two periods; use one of them"),
        (["-S", "2026-10-02", "-E", "2026-10-01"], "the period ends before it begins; check -S and -E"),
        (["-S", "2026-10-01T12:00"], "2026-10-01T12:00 is no midnight in Europe/Paris; reports go by whole days"),
        (["-S", "2026-10-01T00:00Z"], "2026-10-01T00:00Z is no midnight in Europe/Paris"),
        (["-S", "someday"], "cannot read the time 'someday'"),
        (["--by", "acount"], "no grouping 'acount'; did you mean 'account'?"),
        (["--by", "x"], "no grouping 'x'; group by account, user, partition, qos, wckey, tag, cluster"),
        (["--by", "tag:"], "no grouping 'tag:'"),
        (["--month", "2026-10", "--by", "tag:project"], "no label 'project' in the books; they know no label yet"),
        (["--month", "2026-10", "-A", "fysics"], "no account 'fysics' in the books; they have bio, chem, phys"),
        (["--month", "2026-10", "-A", "chem,Pyhs"], "no account 'Pyhs' in the books; did you mean 'phys'?"),
        (["--month", "2026-10", "-u", "adam"], "no user 'adam' in the books; did you mean 'ada'?"),
        (["--month", "2026-10", "-u", ","], "',' names nothing"),
        (["--month", "2026-10", "--by", "user", "--tree"], "only accounts have a tree; use --tree with --by account"),
        (["--month", "2026-10", "--language", "fr"], "--format table has no language; --language is for md, html, pdf"),
        (["--month", "2026-10", "--format", "md", "--language", "frr"], "no reports in the language 'frr'"),
        (["--format", "markdown"], "'markdown' is not one of 'table', 'md', 'csv', 'json', 'html', 'pdf'"),
        (["--top", "-1"], "-1 is not in the range 0<=x<=1000"),
        (["-M", "alpha"], "no cluster 'alpha' in the configuration; it has gamma"),
    ],
)
def test_what_cannot_be_meant(month: Site, words: list[str], says: str) -> None:
    assert says in month.scarbon("report", *words).refused(code=2)


@pytest.mark.parametrize(
    ("now", "words", "first", "last", "name"),
    [
        ("2026-10-31T22:30Z", [], "2026-10-01", "2026-10-31", "2026-10"),
        ("2026-11-01T01:00Z", ["--month", "last"], "2026-10-01", "2026-10-31", "2026-10"),
        ("2026-10-25T01:00Z", ["--month", "this"], "2026-10-01", "2026-10-31", "2026-10"),
        ("2026-12-01T01:00Z", ["--month", "2026-10"], "2026-10-01", "2026-10-31", "2026-10"),
        ("2026-12-31T23:30Z", ["--quarter", "last"], "2026-10-01", "2026-12-31", "2026-Q4"),
        ("2026-12-31T22:30Z", ["--quarter", "this"], "2026-10-01", "2026-12-31", "2026-Q4"),
        ("2027-05-01T00:00Z", ["--quarter", "2026q4"], "2026-10-01", "2026-12-31", "2026-Q4"),
        ("2027-05-01T00:00Z", ["--year", "last"], "2026-01-01", "2026-12-31", "2026"),
        ("2027-05-01T00:00Z", ["--year", "2026"], "2026-01-01", "2026-12-31", "2026"),
        ("2026-10-26T12:00Z", ["-S", "2026-10-25"], "2026-10-25", "2026-10-26", "2026-10-25..2026-10-26"),
        ("2026-10-26T12:00Z", ["-S", "now-1days", "-E", "today"], None, None, None),
        ("2026-10-26T12:00Z", ["-S", "yesterday", "-E", "today"], "2026-10-25", "2026-10-25", "2026-10-25..2026-10-25"),
    ],
    ids=str,
)
def test_every_way_to_name_a_period(
    month: Site,
    monkeypatch: pytest.MonkeyPatch,
    now: str,
    words: list[str],
    first: str | None,
    last: str | None,
    name: str | None,
) -> None:
    """The site's zone is an hour or two before UTC."""
    now_s = datetime.fromisoformat(now).timestamp()
    monkeypatch.setattr("time.time", lambda: now_s)
    if first is None:
        assert "is no midnight" in month.scarbon("report", *words).refused(code=2)
        return
    meta = report(month, *words)["meta"]
    assert (meta["first_day"], meta["last_day"], meta["period_name"]) == (first, last, name)


def test_clusters_are_told_apart(month: Site) -> None:
    (group,) = report(month, "--month", "2026-10", "--by", "cluster")["groups"]
    assert group["key"] == "gamma"
    chosen, whole = (report(month, "--month", "2026-10", *words) for words in (["-M", " gamma "], []))
    assert [row["key"] for row in chosen["groups"]] == [row["key"] for row in whole["groups"]]
    assert chosen["total"]["co2e_location_g"] == pytest.approx(whole["total"]["co2e_location_g"], rel=1e-12)


def test_gpu_models_and_the_host(month: Site) -> None:
    groups = {group["key"]: group for group in report(month, "--month", "2026-10", "--by", "gpu-model")["groups"]}
    assert set(groups) == {"NVIDIA A100-SXM4-80GB", "(host)"}
    assert groups["(host)"]["gpu_energy_j"] is None
    assert groups["NVIDIA A100-SXM4-80GB"]["host_energy_j"] is None


def test_water_by_the_sites_wue_and_who_gave_the_factors(mine: Site) -> None:
    words = ["report", *day_window(mine), "--format", "json"]
    before = mine.good(*words).json
    assert before["total"]["water_l"] is None
    mine.change("pue: 1.2", "pue: 1.2\nwue_l_per_kwh: 1.5")
    found = mine.good(*words).json
    for sums in (found["idle"], found["total"], *found["groups"]):
        assert sums["water_l"] == pytest.approx(sums["it_energy_j"] / 3.6e6 * 1.5)
    factors = {(one["kind"], one["source"]): one["share"] for one in found["meta"]["factors"]}
    assert factors == {("location", "file intensity.csv"): 1.0, ("market", "site.yaml"): 1.0, ("pue", "site.yaml"): 1.0}


def day_window(site: Site) -> list[str]:
    first = datetime.fromtimestamp(site.start_s, site.zone).date()
    return ["-S", first.isoformat(), "-E", (first + timedelta(days=1)).isoformat()]
