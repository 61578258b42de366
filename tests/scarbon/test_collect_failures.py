"""What `scarbon collect` does when something is wrong: one clear line, the documented exit code, and nothing lost."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.collectors.prometheus_stub import PrometheusStub, StoredSeries, stored, trouble, wait_for
from tests.site import Site, scarbon, start, tables

OPENMETRICS = "openmetrics: {path: dcgm.om}"

#: Tables that say who ran what and when, and not what was used.
DIARY = ("runs",)


def from_prometheus(site: Site, url: str, timeout_s: float = 5.0) -> None:
    """Let a site read its samples from a Prometheus."""
    site.change(OPENMETRICS, f"prometheus: {{url: '{url}', timeout_s: {timeout_s:g}}}\n      match: {{job: dcgm}}")


def later(site: Site) -> list[str]:
    """A window that was booked already, so that a second run has something to lose."""
    return ["collect", *site.window]


# --- configuration


def test_no_configuration(tmp_path: Path) -> None:
    missing = tmp_path / "site.yaml"
    line = scarbon("--config", missing, "collect").refused()
    assert line.startswith(f"scarbon: {missing}: no such file")
    assert "scarbon init" in line


def test_no_configuration_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCARBON_CONFIG", str(tmp_path / "there.yaml"))
    assert scarbon("collect").refused().startswith(f"scarbon: {tmp_path}/there.yaml: no such file")


def test_an_unknown_key(mine: Site) -> None:
    before = mine.tables()
    mine.change("journal: journal", "journals: journal")
    done = mine.scarbon(*later(mine))
    assert (done.code, done.out) == (1, "")
    lines = done.err.splitlines()
    assert f"{mine.config}:9:" in lines[-1]
    assert "journals: unknown key; did you mean 'journal'?" in lines[-1]
    assert mine.tables() == before


def test_every_wrong_type_is_named_at_once(mine: Site) -> None:
    before = mine.tables()
    mine.change("pue: 1.2", "pue: true")
    mine.change("lifetime_years: 5", "lifetime_years: five")
    mine.change("cpu_w_per_core: 4.0", "cpu_w_per_core: [4]")
    mine.change("name: Test site", "name: 7")
    done = mine.scarbon(*later(mine))
    assert (done.code, done.out) == (1, "")
    places = re.findall(rf"^scarbon: {re.escape(str(mine.config))}:(\d+): (\S+): must be", done.err, re.MULTILINE)
    assert places == [
        ("1", "site.name"),
        ("10", "clusters.beta.host.cpu_w_per_core"),
        ("11", "clusters.beta.embodied.lifetime_years"),
        ("12", "pue"),
    ]
    assert len(done.err.splitlines()) == 4
    assert mine.tables() == before


def test_what_is_no_yaml(mine: Site) -> None:
    mine.config.write_text("site: {name: x\n")
    assert mine.scarbon("collect").refused().startswith(f"scarbon: {mine.config}:2:1: is not YAML:")


# --- Prometheus


@pytest.fixture(scope="module")
def series(recorded: Site) -> list[StoredSeries]:
    return stored(recorded.folder / "dcgm.om")


@pytest.fixture
def stub(series: list[StoredSeries]) -> Iterator[PrometheusStub]:
    with PrometheusStub(series) as running:
        yield running


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("503", "refused (503): the store starts up"),
        ("HTML", "with something that is not Prometheus's JSON"),
        ("status error", "refused (200): query timed out in expression"),
        ("warnings", "only a part of the answer: store gateway n7 is away"),
        ("cut off", "cut its answer off half way"),
        ("hangs", "did not answer within 0.3 s; raise timeout_s"),
        ("not series", "a single value where series were expected"),
    ],
)
def test_prometheus_in_trouble(mine: Site, stub: PrometheusStub, kind: str, words: str) -> None:
    before = mine.tables()
    from_prometheus(mine, stub.url, timeout_s=0.3)
    stub.answer = lambda query: trouble(kind)
    line = mine.scarbon(*later(mine)).refused()
    assert line.startswith(f"scarbon: beta: Prometheus at {stub.url} ")
    assert words in line
    assert mine.tables() == before


def test_prometheus_away(mine: Site, stub: PrometheusStub) -> None:
    before = mine.tables()
    stub.__exit__()
    from_prometheus(mine, stub.url)
    line = mine.scarbon(*later(mine)).refused()
    assert line == (
        f"scarbon: beta: Prometheus at {stub.url} cannot be reached: Connection refused; "
        "is it running, is the url right?"
    )
    assert mine.tables() == before
    stub.__enter__()  # the fixture stops it


def test_the_first_run_of_all_fails_and_the_next_one_is_whole(fresh: Site, booked: Site, stub: PrometheusStub) -> None:
    from_prometheus(fresh, stub.url)
    stub.answer = lambda query: trouble("cut off") if "POWER" in query else None
    fresh.scarbon(*later(fresh)).refused()
    assert all(rows == [] for name, rows in fresh.tables().items() if name not in ("meta", "alembic_version"))
    stub.answer = lambda query: None
    fresh.collect()
    assert fresh.tables(but=DIARY) == booked.tables(but=DIARY)


# --- Slurm's jobs


def test_an_empty_dump(mine: Site) -> None:
    before = mine.tables()
    (mine.folder / "jobs.sacct").write_text("")
    line = mine.scarbon(*later(mine)).refused()
    assert f"the sacct dump {mine.folder}/jobs.sacct is empty" in line
    assert "sacct -a -D -X -P" in line
    assert mine.tables() == before


def test_a_dump_with_no_jobs_is_not_an_empty_dump(fresh: Site) -> None:
    """A header alone says that there were no jobs: all of the GPUs' energy is idle then."""
    dump = fresh.folder / "jobs.sacct"
    dump.write_text(dump.read_text().partition("\n")[0] + "\n")
    for journal in (fresh.folder / "journal").iterdir():
        journal.write_text("")
    fresh.change("[journal, hpc_job, whole_node]", "[journal]")
    fresh.collect()
    cluster = fresh.good("audit", "--json").json["clusters"][0]
    assert cluster["attributed_j"] == 0
    assert cluster["idle_j"] == pytest.approx(cluster["metered_j"], rel=1e-9)
    assert cluster["metered_j"] > 0


@pytest.mark.parametrize("column", ["Submit", "AllocTRES", "State"])
def test_a_dump_without_a_needed_column(mine: Site, column: str) -> None:
    before = mine.tables()
    dump = mine.folder / "jobs.sacct"
    rows = [line.split("|") for line in dump.read_text().splitlines()]
    place = rows[0].index(column)
    dump.write_text("".join("|".join(row[:place] + row[place + 1 :]) + "\n" for row in rows))
    line = mine.scarbon(*later(mine)).refused()
    assert f"has no column {column}" in line
    assert "sacct -o" in line
    assert mine.tables() == before


def test_a_dump_that_was_cut_short(mine: Site) -> None:
    before = mine.tables()
    dump = mine.folder / "jobs.sacct"
    dump.write_text(dump.read_text()[:-30])
    assert "ends in the middle of a line" in mine.scarbon(*later(mine)).refused()
    assert mine.tables() == before


def test_no_dump(mine: Site) -> None:
    before = mine.tables()
    (mine.folder / "jobs.sacct").unlink()
    assert "jobs.sacct cannot be read: No such file or directory" in mine.scarbon(*later(mine)).refused()
    assert mine.tables() == before


# --- samples from a file


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda text: text[:-10], "does not end with `# EOF`: it was cut short"),
        (lambda text: text.removesuffix("# EOF\n"), "does not end with `# EOF`: it was cut short"),
        (lambda text: "", "does not end with `# EOF`: it was cut short"),
        (lambda text: text.replace("} ", "} x", 1), "line 2 is not `series value time`"),
    ],
)
def test_a_recording_that_is_not_whole(mine: Site, damage, words: str) -> None:  # type: ignore[no-untyped-def]
    before = mine.tables()
    recording = mine.folder / "dcgm.om"
    recording.write_text(damage(recording.read_text()))
    line = mine.scarbon(*later(mine)).refused()
    assert f"the recording {recording} " in line
    assert words in line
    assert mine.tables() == before


# --- the journal


def test_a_torn_last_line_goes_to_quarantine_and_the_rest_is_booked(fresh: Site, booked: Site) -> None:
    journal = fresh.folder / "journal" / "n1.jsonl"
    with journal.open("a") as file:
        file.write('{"v":1,"event":"start","time":17900')
    os.utime(journal, (1e9, 1e9))  # nobody is writing it
    done = fresh.scarbon(*later(fresh))
    assert (done.code, done.out) == (3, "")
    assert "1 row new in quarantine; see scarbon audit --quarantine" in done.err
    ignored = (*DIARY, "quarantine")
    assert fresh.tables(but=ignored) == booked.tables(but=ignored)
    shown = fresh.good("audit", "--quarantine").out
    assert f"{journal}:" in shown
    assert "the last line is torn" in shown
    assert '{"v":1,"event":"start","time":17900' in shown


def test_what_is_in_quarantine_stays_there_once_and_is_told_once(fresh: Site) -> None:
    with (fresh.folder / "journal" / "n1.jsonl").open("a") as file:
        file.write("not json\n")
    fresh.collect(code=3)
    before = fresh.tables(but=DIARY)
    fresh.collect(code=0)
    assert fresh.tables(but=DIARY) == before
    assert "not json" in fresh.good("audit", "--quarantine").out


def test_no_journal_folder(mine: Site) -> None:
    before = mine.tables()
    mine.change("journal: journal", "journal: nowhere")
    line = mine.scarbon(*later(mine)).refused()
    assert f"the journal's folder {mine.folder}/nowhere does not exist" in line
    assert mine.tables() == before


# --- the ledger


def without_ledger(site: Site) -> None:
    for path in site.folder.glob("ledger.db*"):
        path.unlink()


@pytest.mark.parametrize("verb", ["collect", "jobs", "report", "audit"])
def test_a_ledger_that_is_a_text_file(mine: Site, verb: str) -> None:
    without_ledger(mine)
    mine.ledger.write_text("These are the notes of a person who does not want to lose them.\n" * 50)
    before = mine.ledger.read_bytes()
    line = mine.scarbon(verb).refused()
    assert f"{mine.ledger} is not a ledger of scarbon: file is not a database" in line
    assert mine.ledger.read_bytes() == before


@pytest.mark.parametrize("verb", ["collect", "jobs", "report", "audit"])
def test_a_ledger_that_is_another_database(mine: Site, verb: str) -> None:
    without_ledger(mine)
    with closing(sqlite3.connect(mine.ledger)) as photos, photos:
        photos.execute("CREATE TABLE photos (name TEXT)")
        photos.execute("INSERT INTO photos VALUES ('sea')")
    before = mine.ledger.read_bytes()
    line = mine.scarbon(verb).refused()
    assert f"{mine.ledger} is not a ledger of scarbon: it is a database with other tables" in line
    assert mine.ledger.read_bytes() == before


@pytest.mark.parametrize("verb", ["collect", "jobs", "report", "audit"])
def test_a_ledger_of_another_schema(mine: Site, verb: str) -> None:
    of_another_schema(mine.ledger)
    before = mine.tables()
    line = mine.scarbon(verb).refused()
    assert f"the ledger {mine.ledger} has schema 9999" in line
    assert "use the version of scarbon that made it" in line
    assert mine.tables() == before


def of_another_schema(ledger: Path) -> None:
    with closing(sqlite3.connect(ledger)) as books, books:
        if "alembic_version" in tables(ledger):
            books.execute("UPDATE alembic_version SET version_num = '9999'")
        else:
            books.execute("UPDATE meta SET value = '9999' WHERE key = 'schema'")


@pytest.mark.parametrize("verb", ["collect", "jobs", "report", "audit"])
def test_a_ledger_of_another_time_zone(mine: Site, verb: str) -> None:
    """Its days and months are other days and months."""
    before = mine.tables()
    mine.change("timezone: Europe/Paris", "timezone: Asia/Tokyo")
    line = mine.scarbon(verb).refused()
    assert "is kept by the calendar of Europe/Paris, the configuration says Asia/Tokyo" in line
    assert mine.tables() == before


def test_a_ledger_in_a_folder_that_is_not_there(fresh: Site) -> None:
    fresh.change("sqlite:///ledger.db", "sqlite:///books/ledger.db")
    line = fresh.scarbon(*later(fresh)).refused()
    assert f"the folder of the ledger, {fresh.folder}/books, does not exist; make it: mkdir -p" in line


@pytest.mark.parametrize("verb", ["jobs", "report", "audit"])
def test_no_ledger_yet(fresh: Site, verb: str) -> None:
    line = fresh.scarbon(verb).refused()
    assert line == f"scarbon: there is no ledger at {fresh.ledger} yet; run scarbon collect first"
    assert not fresh.ledger.exists()


# --- the window


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["-S", "2026-10-32"], "cannot read the time '2026-10-32'; write for example 2026-10-01,"),
        (["-E", "now+1hour"], "the end of the window lies in the future; leave -E out"),
        (["-S", "2026-10-02", "-E", "2026-10-01"], "the window ends before it begins; check -S and -E"),
        (["-M", "alpha"], "no cluster 'alpha' in the configuration; it has beta"),
        (["-M", ""], "'' names nothing; leave the option out"),
    ],
)
def test_a_window_that_cannot_be_meant(mine: Site, words: list[str], says: str) -> None:
    before = mine.tables()
    assert says in mine.scarbon("collect", *words).refused(code=2)
    assert mine.tables() == before


def test_a_window_without_samples_is_booked_as_unknown(fresh: Site) -> None:
    """Who held what is known from the journal; what it used is not, and that is not 0 J."""
    (fresh.folder / "dcgm.om").write_text("# EOF\n")
    fresh.collect()
    window = ["-a", "-S", "2026-01-01"]
    held = [job for job in fresh.good("jobs", "--json", "-D", *window).json["jobs"] if job["gpus"] and job["start"]]
    assert held
    for job in held:
        assert job["gpu_seconds"] > 0
        assert job["coverage"] == 0
        assert job["method"] == "none"
        unknown = ("gpu_energy_j", "it_energy_j", "facility_energy_j", "co2e_location_g", "co2e_market_g", "pue")
        assert [job[name] for name in unknown] == [None] * len(unknown)
        assert job["host_energy_j"] > 0  # the model knows it
    fields = "JobIDRaw,NGPUs,GpuEnergy,ItEnergy,CO2e,Coverage,Method"
    rows = [line.split("|") for line in fresh.good("jobs", "-D", "-P", "-n", "-o", fields, *window).out.splitlines()]
    raw_ids = {str(job["job_id_raw"]) for job in held}
    assert {tuple(row[2:]) for row in rows if row[0] in raw_ids} == {("", "", "", "0%", "none")}
    table = fresh.good("jobs", *window).out.splitlines()
    (shown,) = [line for line in table if line.split()[0] == held[0]["job_id"]]
    assert shown.split()[-2:] == ["0%", "none"]
    month = fresh.good("report", "--month", "2026-09", "--format", "json").json
    assert month["total"]["gpu_energy_j"] is None
    assert month["total"]["jobs_unknown"] == len(raw_ids)  # a requeued job counts once
    assert month["total"]["coverage"] == 0
    text = fresh.good("report", "--month", "2026-09").out
    assert f"{len(raw_ids)} jobs held GPUs of whose energy nothing is known" in text
    audit = fresh.good("audit")
    assert f"{len(held)} jobs held GPUs of whose energy nothing is known (method none)." in audit.out


def test_jobs_whose_gpus_nobody_can_name_are_booked_as_unknown(fresh: Site) -> None:
    (fresh.folder / "dcgm.om").write_text("# EOF\n")
    fresh.change("[journal, hpc_job, whole_node]", "[hpc_job]")
    fresh.collect()
    held = [job for job in fresh.good("jobs", "--json", "-a", "-S", "2026-01-01").json["jobs"] if job["gpus"]]
    assert held
    for job in held:
        assert (job["gpu_energy_j"], job["coverage"], job["method"]) == (None, 0, "none")
        assert job["gpu_seconds"] > 0


# --- two at once, and Ctrl-C


def test_two_at_once(mine: Site) -> None:
    """The second says who is at work, and changes nothing."""
    from accounting.ledger.store import Ledger

    before = mine.tables()
    ledger = Ledger(mine.url, "Europe/Paris")
    try:
        with ledger.lock():
            collect = start("--config", mine.config, *later(mine))
            out, err = collect.communicate(timeout=60)
    finally:
        ledger.close()
    assert (collect.returncode, out) == (1, "")
    (line,) = err.splitlines()
    assert re.search(rf"another run is writing to {mine.ledger}: process \d+ on \S+ since \d{{4}}-\d\d-\d\dT", line)
    assert "let it end" in line
    assert mine.tables() == before
    mine.collect()  # the lock is gone


@pytest.fixture
def slow(days: Site, tmp_path: Path) -> Iterator[tuple[Site, PrometheusStub]]:
    """Four days that a Prometheus gives, and the server to make slow."""
    site = days.copy(tmp_path / "site")
    with PrometheusStub(stored(days.folder / "dcgm.om")) as running:
        from_prometheus(site, running.url, timeout_s=60)
        yield site, running


def interrupted(site: Site, stub: PrometheusStub, after_day: int) -> subprocess.CompletedProcess[str]:
    """Run collect, and press Ctrl-C while the day after the first `after_day` is read."""

    def booked() -> int:
        return len(tables(site.ledger).get("runs", []))

    stub.answer = lambda query: trouble("hangs") if booked() >= after_day else None
    collect = start("--config", site.config, *later(site))
    wait_for(lambda: booked() >= after_day and stub.answer(stub.asked[-1][0]) is not None, "it waits for the day")
    asked = len(stub.asked)
    wait_for(lambda: len(stub.asked) > asked or booked() >= after_day, "the next day is asked for")
    collect.send_signal(signal.SIGINT)
    out, err = collect.communicate(timeout=60)
    return subprocess.CompletedProcess(collect.args, collect.returncode, out, err)


def test_ctrl_c_keeps_the_days_that_are_done_and_the_next_run_goes_on(
    slow: tuple[Site, PrometheusStub], days: Site, tmp_path: Path
) -> None:
    site, stub = slow
    done = interrupted(site, stub, after_day=2)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == ("scarbon: gamma: interrupted (accounted up to 2026-10-27T00:00:00); run it again to go on\n")
    with closing(sqlite3.connect(site.ledger)) as books:
        assert books.execute("SELECT start_s, end_s FROM booked").fetchall() == [
            (site.start_s, site.start_s + 49 * 3600)  # of 25 and 24 hours
        ]
    stub.answer = lambda query: None
    site.collect("-E", site.window[-1])
    whole = days.copy(tmp_path / "whole")
    whole.collect()
    assert site.tables(but=DIARY) == whole.tables(but=DIARY)


def test_ctrl_c_before_the_first_day_is_done_leaves_the_books_as_they_were(
    slow: tuple[Site, PrometheusStub],
) -> None:
    site, stub = slow
    stub.answer = lambda query: trouble("hangs")
    collect = start("--config", site.config, *later(site))
    wait_for(lambda: bool(stub.asked), "it asks for the first day")
    collect.send_signal(signal.SIGINT)
    out, err = collect.communicate(timeout=60)
    assert (collect.returncode, out) == (1, "")
    assert err == "scarbon: gamma: interrupted; the books are as they were; run it again to go on\n"
    assert all(rows == [] for name, rows in site.tables().items() if name not in ("meta", "alembic_version"))


def test_killed_in_the_middle_and_started_again(slow: tuple[Site, PrometheusStub], days: Site, tmp_path: Path) -> None:
    site, stub = slow
    stub.answer = lambda query: trouble("hangs") if len(tables(site.ledger).get("runs", [])) >= 1 else None
    collect = start("--config", site.config, *later(site))
    wait_for(lambda: len(tables(site.ledger).get("runs", [])) == 1, "the first day is booked")
    collect.kill()
    collect.communicate(timeout=60)
    stub.answer = lambda query: None
    site.collect("-E", site.window[-1])
    whole = days.copy(tmp_path / "whole")
    whole.collect()
    assert site.tables(but=DIARY) == whole.tables(but=DIARY)
