"""`scarbon demo`: its month held against the simulation's truth, read past the program that wrote it."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from simulator.truth import Truth, read_truth
from tests.site import Done, Site, query, scarbon

MONTH = "2026-10"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Site, Done]:
    """The demo's folder, and what was printed."""
    folder = tmp_path_factory.mktemp("made") / "demo"
    done = scarbon("demo", "--folder", folder, "--month", MONTH)
    assert done.code == 0, done
    start, end = (int(datetime(2026, month, 1, tzinfo=UTC).timestamp()) for month in (10, 11))
    return Site(folder, "alpha", ZoneInfo("UTC"), start, end), done


@pytest.fixture(scope="module")
def demo(made: tuple[Site, Done]) -> Site:
    return made[0]


@pytest.fixture(scope="module")
def truth(demo: Site) -> Truth:
    return read_truth(demo.folder / "truth.json")


def test_the_total_is_the_truth_within_a_thousandth(demo: Site, truth: Truth) -> None:
    """What the postings in force say of the GPUs, job by job and idle, hour by hour."""
    ((attributed_j,),) = query(
        demo.ledger,
        "SELECT SUM(energy_j) FROM usage_slots JOIN meters USING (meter_id) "
        "WHERE superseded_by IS NULL AND kind = 'gpu'",
    )
    ((idle_j,),) = query(demo.ledger, "SELECT SUM(idle_j) FROM balance WHERE superseded_by IS NULL")
    true_j = sum(device.metered_j for device in truth.devices.values())
    assert attributed_j + idle_j == pytest.approx(true_j, rel=0.001)
    assert idle_j == pytest.approx(sum(device.idle_j for device in truth.devices.values()), rel=0.001)


def test_every_gpu_is_the_truth_within_a_thousandth(demo: Site, truth: Truth) -> None:
    rows = query(
        demo.ledger,
        "SELECT uuid, SUM(metered_j) FROM balance JOIN meters USING (meter_id) "
        "WHERE superseded_by IS NULL GROUP BY uuid",
    )
    assert {uuid for uuid, _ in rows} == set(truth.devices)
    for uuid, metered_j in rows:
        assert metered_j == pytest.approx(truth.devices[uuid].metered_j, rel=0.001)


def test_every_accounts_gpu_energy_is_the_truth(demo: Site, truth: Truth) -> None:
    lines = [line.split("|") for line in (demo.folder / "jobs.sacct").read_text().splitlines()]
    raw_id, submit, account = (lines[0].index(name) for name in ("JobIDRaw", "Submit", "Account"))
    accounts = {(int(line[raw_id]), int(line[submit])): line[account] for line in lines[1:]}
    true_j: dict[str, float] = defaultdict(float)
    for attempt in truth.attempts.values():
        true_j[accounts[attempt.key.job_id, attempt.key.submit_s]] += attempt.energy_j
    groups = demo.good("report", "--month", MONTH, "--format", "json").json["groups"]
    found = {group["key"]: group["gpu_energy_j"] for group in groups}
    assert found == pytest.approx(dict(true_j), rel=0.002)


def test_long_jobs_are_the_truth_one_by_one(demo: Site, truth: Truth) -> None:
    """Read every minute; jobs of ten minutes and more that no outage of their exporter fell into."""
    jobs = demo.good("jobs", "-a", "-D", "--json", "-S", "2026-09-01").json["jobs"]
    found = {(job["job_id_raw"], job["submit"]): job for job in jobs}
    errors = []
    for attempt in truth.attempts.values():
        job = found[attempt.key.job_id, attempt.key.submit_s]
        if job["gpus"] and job["coverage"] == 1 and job["gpu_seconds"] / job["gpus"] >= 600:
            errors.append(abs(job["gpu_energy_j"] / attempt.energy_j - 1))
    assert len(errors) > 100
    errors.sort()
    assert errors[len(errors) // 2] <= 0.001
    assert errors[int(len(errors) * 0.95)] <= 0.02


def test_days_make_the_job(demo: Site) -> None:
    """A job's figures are those of its hours in the books, and its days are sums of them."""
    jobs = {job["job_id_raw"]: job for job in demo.good("jobs", "-a", "--json", "-S", "2026-09-01").json["jobs"]}
    ((job_id, submit_s, days),) = query(
        demo.ledger,
        "SELECT job_id, submit_s, COUNT(DISTINCT day) AS days FROM usage_days JOIN attempts USING (attempt_id) "
        "GROUP BY attempt_id ORDER BY days DESC, attempt_id LIMIT 1",
    )
    assert days >= 3
    of_job = "FROM usage_slots JOIN attempts USING (attempt_id) JOIN meters USING (meter_id) "
    of_job += "WHERE superseded_by IS NULL AND job_id = ? AND submit_s = ?"
    hours = query(demo.ledger, f"SELECT slot_s, kind, energy_j, location_g {of_job}", job_id, submit_s)
    job = jobs[job_id]
    assert job["gpu_energy_j"] == pytest.approx(sum(row[2] for row in hours if row[1] == "gpu"), rel=1e-9)
    assert job["it_energy_j"] == pytest.approx(sum(row[2] for row in hours), rel=1e-9)
    assert job["co2e_location_g"] == pytest.approx(sum(row[3] for row in hours), rel=1e-9)
    by_day: dict[str, float] = defaultdict(float)
    for slot_s, _, energy_j, _ in hours:
        by_day[datetime.fromtimestamp(slot_s, UTC).date().isoformat()] += energy_j
    rolled = query(
        demo.ledger,
        "SELECT day, SUM(energy_j) FROM usage_days JOIN attempts USING (attempt_id) "
        "WHERE job_id = ? AND submit_s = ? GROUP BY day",
        job_id,
        submit_s,
    )
    assert dict(rolled) == pytest.approx(dict(by_day), rel=1e-9)


def test_groups_and_idle_are_the_total_and_the_meters(demo: Site) -> None:
    found = demo.good("report", "--month", MONTH, "--by", "user", "--format", "json").json
    for name in ("gpu_seconds", "gpu_energy_j", "host_energy_j", "facility_energy_j", "co2e_location_g"):
        parts = sum(one[name] or 0 for one in (*found["groups"], found["idle"]))
        assert parts == pytest.approx(found["total"][name], rel=1e-9), name
    assert found["total"]["gpu_seconds"] == pytest.approx(8 * 31 * 86_400, rel=1e-9)  # 8 GPUs, held or not
    assert found["total"]["gpu_energy_j"] == pytest.approx(found["meta"]["gpu_metered_j"], rel=1e-9)
    assert found["meta"]["not_accounted"] == []


def test_the_grams_follow_the_grid_hour_by_hour(demo: Site) -> None:
    """Each hour's posting is its energy × PUE × the intensity of the recording's file for that hour."""
    intensity = {}
    for line in (demo.folder / "intensity.csv").read_text().splitlines()[1:]:
        start, _, value = line.split(",")
        intensity[int(datetime.fromisoformat(start).timestamp())] = float(value)
    rows = query(demo.ledger, "SELECT slot_s, energy_j, location_g FROM usage_slots WHERE superseded_by IS NULL")
    assert len(rows) > 1000
    for slot_s, energy_j, grams in rows:
        assert grams == pytest.approx(energy_j * 1.2 * intensity[slot_s] / 3.6e6, rel=1e-9, abs=1e-12)


def test_a_second_collect_changes_no_table_but_the_list_of_runs(demo: Site, tmp_path: Path) -> None:
    site = demo.copy(tmp_path / "demo")
    before = site.tables()
    done = site.good("collect", "-S", "2026-10-01", "-E", "2026-11-01")
    assert "0 postings, 0 superseded" in done.err
    after = site.tables()
    assert {name for name in before if before[name] != after[name]} == {"runs"}
    assert after["runs"][: len(before["runs"])] == before["runs"]
    assert len(after["runs"]) == len(before["runs"]) + 31  # one for each day


def test_the_same_seed_makes_the_same_month(demo: Site, tmp_path: Path) -> None:
    done = scarbon("demo", "--folder", tmp_path / "demo", "--month", MONTH)
    assert done.code == 0
    for name in ("dcgm.om", "jobs.sacct", "intensity.csv", "truth.json", "site.yaml", "journal/n1.jsonl"):
        assert (tmp_path / "demo" / name).read_bytes() == (demo.folder / name).read_bytes(), name
    again = Site(tmp_path / "demo", "alpha", demo.zone, demo.start_s, demo.end_s)
    assert again.tables(but=("runs",)) == demo.tables(but=("runs",))


def test_what_is_shown(made: tuple[Site, Done]) -> None:
    site, done = made
    assert "JobID " in done.out
    assert "Demo HPC, 2026-10-01 to 2026-10-31 (UTC)" in done.out
    assert "The books balance." in done.out
    assert "The simulated GPUs drew" in done.out
    assert f"export SCARBON_CONFIG={site.folder}/site.yaml" in done.out
    assert "accounted 2026-10-01T00:00:00 to 2026-11-01T00:00:00" in done.err


def test_what_to_try_next_can_be_tried(made: tuple[Site, Done], monkeypatch: pytest.MonkeyPatch) -> None:
    site, done = made
    monkeypatch.setenv("SCARBON_CONFIG", str(site.config))
    tried = done.out.partition("What to try next:")[2]
    commands = [line.partition("#")[0].split()[1:] for line in tried.splitlines() if line.startswith("  scarbon ")]
    assert len(commands) >= 3
    for words in commands:
        if words != ["init"]:  # it asks
            assert scarbon(*words).code == 0, words


def test_another_seed_makes_another_month_in_the_same_folder(made: tuple[Site, Done], tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    made[0].copy(folder)
    before = json.loads((folder / "truth.json").read_text())
    assert scarbon("demo", "--folder", folder, "--month", "2026-02", "--seed", "7").code == 0
    after = json.loads((folder / "truth.json").read_text())
    assert after["start_s"] == datetime(2026, 2, 1, tzinfo=UTC).timestamp()
    assert after["devices"] != before["devices"]


def test_a_demo_that_was_changed_is_kept_but_for_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "my demo"
    folder.mkdir()
    (folder / "DEMO").touch()
    (folder / "site.yaml").write_text("pue: 1.4\n")
    (folder / "ledger.db").write_text("books")
    line = scarbon("demo", "--folder", folder).refused()
    assert line.startswith(f"scarbon: {folder}/site.yaml was changed, and would be written anew with its books; name")
    assert ((folder / "site.yaml").read_text(), (folder / "ledger.db").read_text()) == ("pue: 1.4\n", "books")
    monkeypatch.chdir(tmp_path)
    done = scarbon("demo", "--folder", "my demo", "--month", MONTH, "--force")
    assert f"export SCARBON_CONFIG='{folder}/site.yaml'" in done.out


def test_a_folder_that_it_did_not_make_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("…")
    line = scarbon("demo", "--folder", tmp_path / "mine").refused()
    assert line == f"scarbon: {tmp_path}/mine exists and was not made by scarbon demo; name another with --folder"
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "…"


@pytest.mark.parametrize(
    ("month", "says"),
    [
        ("october", "cannot read the month 'october'; write for example 2026-10"),
        ("2026-13", "cannot read the month '2026-13'"),
        ("2199-01", "the month 2199-01 is not over yet; name an earlier one"),
    ],
)
def test_a_month_that_cannot_be(tmp_path: Path, month: str, says: str) -> None:
    assert says in scarbon("demo", "--folder", tmp_path / "demo", "--month", month).refused(code=2)
    assert not (tmp_path / "demo").exists()
