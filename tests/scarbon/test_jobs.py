"""`scarbon jobs` on a small ledger: sacct's letters, what they choose, and every form of output.

What must come out is read from the sacct dump beside the books, not from the books.
"""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Callable
from typing import Any

import pytest

from tests.site import Site, iso

#: All of the recording, which lies in the past.
EVER = ("-S", "2026-01-01")

#: Fields that stay as they are while jobs run.
STILL = ("-o", "JobID,State,CO2e")

FIELDS_OF_JSON = {
    "cluster", "job_id", "job_id_raw", "submit", "start", "end", "state", "user", "account", "partition", "qos",
    "wckey", "name", "exit_code", "nodes", "elapsed_s", "uid", "gpus", "gpu_seconds", "gpu_energy_j", "host_energy_j",
    "it_energy_j", "facility_energy_j", "co2e_location_g", "co2e_market_g", "co2e_embodied_g", "co2e_low_g",
    "co2e_high_g", "intensity_g_per_kwh", "pue", "coverage", "method",
}  # fmt: skip

Row = dict[str, str]


@pytest.fixture(scope="module")
def dump(recorded: Site) -> list[Row]:
    """The attempts of the dump, as sacct wrote them, without those that began only at the period's end."""
    lines = (recorded.folder / "jobs.sacct").read_text().splitlines()
    names = lines[0].split("|")
    return [dict(zip(names, line.split("|"), strict=True)) for line in lines[1:]]


def newest(rows: list[Row]) -> list[Row]:
    """Without the earlier attempts of requeued jobs."""
    last = {row["JobIDRaw"]: row for row in rows}
    return [row for row in rows if last[row["JobIDRaw"]] is row]


def listed(site: Site, *words: str) -> list[str]:
    """The job ids that are listed, in their order."""
    return site.good("jobs", "-n", "-P", "-o", "JobID", *words).out.split()


def ids(rows: list[Row], chosen: Callable[[Row], bool] = lambda row: True) -> list[str]:
    return [row["JobID"] for row in sorted((row for row in rows if chosen(row)), key=sacct_order)]


def sacct_order(row: Row) -> tuple[int, int, int, int]:
    """As sacct lists jobs: by their submission, and arrays task by task behind the others of the same second."""
    array, _, task = row["JobID"].partition("_")
    return int(row["Submit"]), int(array) if task else 0, int(task or 0), int(row["JobIDRaw"])


# --- which jobs


def test_all_jobs_in_the_order_of_sacct(booked: Site, dump: list[Row]) -> None:
    assert listed(booked, "-a", *EVER) == ids(newest(dump))


def test_earlier_attempts_only_when_asked_for(booked: Site, dump: list[Row]) -> None:
    assert len(newest(dump)) < len(dump)  # or the test says nothing
    assert listed(booked, "-a", "-D", *EVER) == ids(dump)


@pytest.mark.parametrize(
    ("letter", "column", "value"),
    [
        ("-u", "User", "ada"),
        ("-A", "Account", "phys"),
        ("-r", "Partition", "cpu"),
        ("-q", "QOS", "normal"),
        ("--name", "JobName", "md"),
        ("-M", "Cluster", "beta"),
    ],
)
def test_a_letter_chooses_by_its_column(booked: Site, dump: list[Row], letter: str, column: str, value: str) -> None:
    expected = ids(newest(dump), lambda row: row[column] == value)
    assert expected
    assert listed(booked, *(["-a"] if letter != "-u" else []), letter, value, *EVER) == expected


def test_letters_and_lists_together(booked: Site, dump: list[Row]) -> None:
    expected = ids(newest(dump), lambda row: row["User"] in ("ada", "bob") and row["Account"] == "phys")
    assert expected
    assert listed(booked, "-u", "ada, bob,nobody", "-A", "phys", *EVER) == expected
    assert listed(booked, "-u", "ada", "-u", "bob", "-A", "phys", *EVER) == expected
    assert listed(booked, "-u", "nobody", *EVER) == []  # who is a user of this host, without jobs


@pytest.mark.parametrize(("typed", "states"), [("cd", {"COMPLETED"}), ("F,CANCELLED", {"FAILED", "CANCELLED"})])
def test_states_by_their_short_and_long_names(booked: Site, dump: list[Row], typed: str, states: set[str]) -> None:
    expected = ids(newest(dump), lambda row: row["State"].split()[0] in states)
    assert expected
    assert listed(booked, "-a", "-s", typed, *EVER, "-E", "now") == expected


def test_a_job_by_its_number_is_found_whenever_it_was(booked: Site, dump: list[Row]) -> None:
    row = newest(dump)[0]
    assert listed(booked, "-j", row["JobID"]) == [row["JobID"]]


def test_an_array_by_its_number_and_a_task_by_its_own(booked: Site, dump: list[Row]) -> None:
    task = next(row for row in dump if "_" in row["JobID"])
    array = task["JobID"].partition("_")[0]
    expected = ids(newest(dump), lambda row: row["JobID"].startswith(f"{array}_"))
    assert len(expected) > 1
    assert listed(booked, "-j", array) == expected
    assert listed(booked, "-j", task["JobID"]) == [task["JobID"]]
    assert listed(booked, "-j", f"{task['JobID']},{expected[0]}") == sorted(
        {task["JobID"], expected[0]}, key=expected.index
    )


def test_the_window_chooses_as_sacct_does_and_cuts_nothing(booked: Site, dump: list[Row]) -> None:
    """A job is there from its submission to its end; one that overlaps the window is listed whole."""
    start_s, end_s = booked.start_s + 3600, booked.start_s + 5400

    def overlaps(row: Row) -> bool:
        return int(row["Submit"]) < end_s and (row["End"] == "Unknown" or int(row["End"]) >= start_s)

    expected = ids(newest([row for row in dump if overlaps(row)]))
    assert 0 < len(expected) < len(newest(dump))
    window = ["-S", iso(start_s), "-E", iso(end_s)]
    assert listed(booked, "-a", *window) == expected
    shown, whole = (
        {job["job_id"]: {**job, "elapsed_s": None} for job in booked.good("jobs", "-a", "--json", *times).json["jobs"]}
        for times in (window, EVER)  # one that runs has run for longer each time that it is asked for
    )
    assert shown == {job_id: whole[job_id] for job_id in expected}


def test_by_default_it_is_today_and_that_is_later_than_the_recording(booked: Site, dump: list[Row]) -> None:
    """Only what has not ended is still there."""
    assert listed(booked, "-a") == ids(newest(dump), lambda row: row["End"] == "Unknown")


def test_root_sees_all_and_others_see_their_own(booked: Site, dump: list[Row], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 0)
    assert listed(booked, *EVER) == ids(newest(dump))
    monkeypatch.setattr(os, "getuid", lambda: 1002)
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: pwd.struct_passwd(("bob", "x", uid, 1002, "", "/", "/bin/sh")))
    expected = ids(newest(dump), lambda row: row["User"] == "bob")
    assert listed(booked, *EVER) == expected
    assert listed(booked, "-a", *EVER) == ids(newest(dump))
    assert listed(booked, "-j", newest(dump)[0]["JobID"]) == [newest(dump)[0]["JobID"]]  # a number names the job itself
    assert listed(booked, "-u", "1002", *EVER) == expected


# --- what is shown


def test_who_when_and_how_it_ended_are_slurms_own(booked: Site, dump: list[Row]) -> None:
    fields = "JobID,JobIDRaw,Cluster,User,UID,Account,Partition,QOS,WCKey,JobName,ElapsedRaw,State,ExitCode,NCPUS"
    out = booked.good("jobs", "-a", "-D", "-P", *EVER, "-o", fields).out.splitlines()
    shown = [dict(zip(fields.split(","), line.split("|"), strict=True)) for line in out[1:]]
    assert out[0] == fields.replace(",", "|")
    expected = []
    for row in sorted(dump, key=sacct_order):
        if row["State"] == "RUNNING":
            continue  # it has run until now
        elapsed_s = 0 if row["Start"] == "Unknown" else int(row["End"]) - int(row["Start"])
        changes = {"State": row["State"].split()[0], "ElapsedRaw": str(elapsed_s)}
        expected.append({name: changes.get(name, row.get(name, "")) for name in fields.split(",")})
    assert [row for row in shown if row["State"] != "RUNNING"] == expected


def test_times_are_the_sites_own_or_epoch_seconds(
    booked: Site, dump: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = newest(dump)[0]
    words = ["jobs", "-n", "-P", "-j", row["JobID"], "-o", "Submit"]
    # The recording begins on 2026-09-22 in Paris, two hours before UTC.
    assert booked.good(*words).out.startswith("2026-09-22T00:")
    monkeypatch.setenv("SLURM_TIME_FORMAT", "%s")
    assert booked.good(*words).out == f"{row['Submit']}\n"


def test_the_json_has_every_documented_field(booked: Site) -> None:
    document = booked.good("jobs", "-a", "--json", *EVER).json
    assert sorted(document) == ["jobs", "meta"]
    assert document["jobs"]
    assert all(set(job) >= FIELDS_OF_JSON for job in document["jobs"])
    assert document["meta"]["timezone"] == "Europe/Paris"
    assert document["meta"]["booked"] == {"beta": [[booked.start_s, booked.end_s]]}


def test_the_json_says_what_the_fields_say(booked: Site) -> None:
    """The same figures in base units by --noconvert, to the digits that it shows."""
    jobs = booked.good("jobs", "-a", "--json", *EVER).json["jobs"]
    columns = {
        "GpuEnergy": "gpu_energy_j", "HostEnergy": "host_energy_j", "ItEnergy": "it_energy_j",
        "FacilityEnergy": "facility_energy_j", "CO2e": "co2e_location_g", "CO2eMarket": "co2e_market_g",
        "CO2eEmbodied": "co2e_embodied_g", "Intensity": "intensity_g_per_kwh", "PUE": "pue", "Coverage": "coverage",
    }  # fmt: skip
    out = booked.good("jobs", "-a", "-n", "-P", "--noconvert", *EVER, "-o", ",".join(columns)).out.splitlines()
    assert len(out) == len(jobs)
    for line, job in zip(out, jobs, strict=True):
        for text, name in zip(line.split("|"), columns.values(), strict=True):
            assert (text == "") == (job[name] is None), name
            assert text == "" or float(text) == pytest.approx(job[name], abs=1e-6)


def test_the_parts_of_a_job_add_up(booked: Site) -> None:
    """By the definitions: IT = GPU + host, facility = IT × PUE, grams = facility × intensity, market by contract."""
    jobs = [job for job in booked.good("jobs", "-a", "--json", *EVER).json["jobs"] if job["it_energy_j"]]
    assert jobs
    for job in jobs:
        assert job["it_energy_j"] == pytest.approx(job["gpu_energy_j"] + job["host_energy_j"], rel=1e-9)
        assert job["facility_energy_j"] == pytest.approx(1.2 * job["it_energy_j"], rel=1e-9)
        assert job["pue"] == pytest.approx(1.2, rel=1e-9)
        kwh = job["facility_energy_j"] / 3.6e6
        assert job["co2e_location_g"] == pytest.approx(kwh * job["intensity_g_per_kwh"], rel=1e-9)
        # 80 % at 12 g/kWh and the rest at the residual mix of 60 g/kWh.
        assert job["co2e_market_g"] == pytest.approx(kwh * (0.8 * 12 + 0.2 * 60), rel=1e-9)
        # 273 kg over five years of 365.25 days, for each second that a GPU was held.
        held = 273_000 / (5 * 365.25 * 86_400) * job["gpu_seconds"]
        assert (job["co2e_embodied_g"] or 0) == pytest.approx(held, rel=1e-9)


def test_a_job_without_a_gpu_has_no_coverage_and_a_model(booked: Site, dump: list[Row]) -> None:
    job = next(row for row in newest(dump) if "gres/gpu" not in row["AllocTRES"] and row["State"] == "COMPLETED")
    (shown,) = booked.good("jobs", "--json", "-j", job["JobID"]).json["jobs"]
    assert (shown["gpus"], shown["gpu_energy_j"], shown["coverage"], shown["method"]) == (0, 0, None, "model")
    # 4 W a core and 0.3725 W a GB; the recording gives each core 4 GiB.
    cpus, seconds = int(job["NCPUS"]), int(job["End"]) - int(job["Start"])
    expected_j = seconds * (cpus * 4.0 + cpus * 4 * 1.073741824 * 0.3725)
    assert shown["host_energy_j"] == pytest.approx(expected_j, rel=1e-9)


def test_a_job_that_never_started_has_no_figures(booked: Site, dump: list[Row]) -> None:
    waiting = [row["JobID"] for row in dump if row["Start"] == "Unknown"]
    if not waiting:
        pytest.skip("the recording has none")
    for job in booked.good("jobs", "--json", "-j", ",".join(waiting)).json["jobs"]:
        assert (job["start"], job["gpu_seconds"], job["it_energy_j"], job["coverage"]) == (None, 0, None, None)


def test_where_it_ran_and_on_how_much(booked: Site, dump: list[Row]) -> None:
    on_n1 = ids(newest(dump), lambda row: row["NodeList"] in ("n1", "n[1-2]"))
    on_both = ids(newest(dump), lambda row: row["NodeList"] == "n[1-2]")
    assert on_n1 and on_both and on_n1 != on_both
    assert listed(booked, "-a", "-N", "n1", *EVER) == on_n1
    assert listed(booked, "-a", "-N", "n[1-2]", "-i", "2", *EVER) == on_both
    assert listed(booked, "-a", "-i", "0", *EVER) == ids(newest(dump))
    sizes = sorted({int(row["NCPUS"]) for row in newest(dump)})
    assert len(sizes) > 2
    middle = ids(newest(dump), lambda row: sizes[1] <= int(row["NCPUS"]) <= sizes[-2])
    assert listed(booked, "-a", "-I", f"{sizes[1]}-{sizes[-2]}", *EVER) == middle


def test_tasks_by_their_ranges(booked: Site, dump: list[Row]) -> None:
    task = next(row for row in dump if "_" in row["JobID"])
    array = task["JobID"].partition("_")[0]
    odd = ids(newest(dump), lambda row: row["JobID"] in (f"{array}_1", f"{array}_3"))
    assert odd
    assert listed(booked, "-j", f"{array}_[1-4:2]") == odd
    assert listed(booked, "-j", f"{array}_[1,3%2]") == odd
    both = ids(newest(dump), lambda row: row["JobID"] in (*odd, newest(dump)[0]["JobID"]))
    assert listed(booked, "-j", f"{array}_[1,3],{newest(dump)[0]['JobID']}") == both


def test_the_last_of_u_and_a_holds(booked: Site, dump: list[Row]) -> None:
    assert listed(booked, "-a", "-u", "ada", *EVER) == ids(newest(dump), lambda row: row["User"] == "ada")
    assert listed(booked, "-u", "ada", "-a", *EVER) == ids(newest(dump))


def test_a_number_is_slurms_own_also_where_this_host_has_another_name_for_it(
    booked: Site, dump: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = next(row["UID"] for row in dump if row["User"] == "ada")
    expected = ids(newest(dump), lambda row: row["User"] == "ada")
    assert listed(booked, "-u", uid, *EVER) == expected

    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", unknown)  # nobody's on this host, somebody's in the books
    assert listed(booked, "-u", uid, *EVER) == expected
    monkeypatch.setattr(os, "getuid", lambda: int(uid))
    assert listed(booked, *EVER) == expected


def test_names_in_large_letters(booked: Site, dump: list[Row]) -> None:
    expected = ids(newest(dump), lambda row: row["Account"] == "phys" and row["JobName"] == "md")
    assert expected
    assert listed(booked, "-a", "-A", "PHYS", "--name", "MD", *EVER) == expected


# --- forms


@pytest.mark.parametrize(
    ("words", "header"),
    [
        (["-b"], "JobID|State|ExitCode"),
        (["-b", "-o", "User"], "User|JobID|State|ExitCode"),
        (["-o", "User", "-o", "co2e"], "User|CO2e"),
    ],
)
def test_fields_by_several_options(booked: Site, words: list[str], header: str) -> None:
    assert booked.good("jobs", "-P", *words, *EVER).out.splitlines()[0] == header


def test_the_long_form_has_every_figure(booked: Site) -> None:
    names = booked.good("jobs", "-P", "-l", *EVER).out.splitlines()[0].split("|")
    assert {"JobID", "GpuEnergy", "CO2e", "CO2eLow", "CO2eHigh", "CO2eMarket", "CO2eEmbodied", "Method"} < set(names)


def test_the_environments_format(booked: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SACCT_FORMAT", "jobid%20,MaxRSS%8,state")
    assert booked.good("jobs", "-P", *EVER).out.splitlines()[0] == "JobID|State"
    monkeypatch.setenv("SCARBON_FORMAT", "jobid,co2e")
    assert booked.good("jobs", "-P", *EVER).out.splitlines()[0] == "JobID|CO2e"
    assert booked.good("jobs", "-P", "-b", *EVER).out.splitlines()[0] == "JobID|State|ExitCode"
    monkeypatch.setenv("SCARBON_FORMAT", "jobid,co2")
    monkeypatch.setenv("SCARBON_FORMAT", "jobid,bogus")
    assert "SCARBON_FORMAT: no such field: 'bogus'" in booked.scarbon("jobs").refused(2)


def test_yaml_is_the_json(booked: Site) -> None:
    yaml = pytest.importorskip("yaml")
    ended = ["-a", *EVER, "-E", "now", "-s", "CD"]
    document = booked.good("jobs", "--json", *ended).json
    other = yaml.safe_load(booked.good("jobs", "--yaml", *ended).out)
    assert other["jobs"] == document["jobs"] != []


def test_long_options_may_be_cut_short(booked: Site) -> None:
    window = ["--start=2026-01-01", "--end", "now", "--form", STILL[1]]
    assert booked.good("jobs", "--allu", "--noh", *window).out == booked.good("jobs", "-a", "-n", *EVER, *STILL).out


def test_the_window_in_words(booked: Site) -> None:
    said = booked.good("jobs", "-v", "-s", "F,TO", "-S", "2026-09-01", "-E", "2026-09-30").err
    assert "FAILED,TIMEOUT in the window from 2026-09-01T00:00:00 to 2026-09-30T00:00:00" in said


def test_states_without_times_are_those_of_the_moment(booked: Site, dump: list[Row]) -> None:
    running = ids(newest(dump), lambda row: row["State"] == "RUNNING")
    assert listed(booked, "-a", "-s", "R") == running
    assert listed(booked, "-a", "-s", "CD") == []
    assert listed(booked, "-a", "-s", "CD", *EVER) == []  # who ended in that very second


def test_the_table_is_as_wide_as_it_says(booked: Site) -> None:
    lines = booked.good("jobs", "-a", *EVER, "-o", "JobID%10,State%-12,CO2e%9").out.splitlines()
    assert lines[0] == "     JobID State             CO2e "
    assert lines[1] == "---------- ------------ --------- "
    assert {len(line) for line in lines} == {34}


def test_noheader(booked: Site) -> None:
    with_header = booked.good("jobs", "-a", *EVER, *STILL).out.splitlines()
    assert booked.good("jobs", "-a", "-n", *EVER, *STILL).out.splitlines() == with_header[2:]


@pytest.mark.parametrize(
    ("words", "header"),
    [
        (["-P"], "JobID|User|CO2e"),
        (["-p"], "JobID|User|CO2e|"),
        (["-P", "--delimiter", ";"], "JobID;User;CO2e"),
        (["-p", "--delimiter", ", "], "JobID, User, CO2e, "),
    ],
)
def test_parsable(booked: Site, words: list[str], header: str) -> None:
    lines = booked.good("jobs", "-a", *EVER, "-o", "jobid,user,co2e", *words).out.splitlines()
    assert lines[0] == header
    delimiter = words[-1] if "--delimiter" in words else "|"
    assert {line.count(delimiter) for line in lines} == {header.count(delimiter)}


def test_allocations_is_taken_and_changes_nothing(booked: Site) -> None:
    assert booked.good("jobs", "-a", "-X", *EVER, *STILL).out == booked.good("jobs", "-a", *EVER, *STILL).out


def test_helpformat_needs_no_books(tmp_path: Any) -> None:
    from tests.site import scarbon

    done = scarbon("--config", tmp_path / "none.yaml", "jobs", "--helpformat")
    assert (done.code, done.err) == (0, "")
    names = [line.split()[0] for line in done.out.splitlines()]
    assert names == sorted(names, key=str.lower)
    assert {"JobID", "CO2e", "CO2eMarket", "Coverage", "Method", "NGPUs"} <= set(names)


def test_an_empty_answer_is_an_empty_table(booked: Site) -> None:
    window = ["-a", "-S", "2020-01-01", "-E", "2020-01-02"]
    assert len(booked.good("jobs", *window).out.splitlines()) == 2
    assert booked.good("jobs", "-P", "-n", *window).out == ""
    assert json.loads(booked.good("jobs", "--json", *window).out)["jobs"] == []


# --- wrong use


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["-o", "JobID,Energie"], "no such field: 'Energie'"),
        (["-o", "JobID,GpuEnergi"], "no such field: 'GpuEnergi'; did you mean GpuEnergy?"),
        (["-s", "SLEEPING"], "no such state: 'SLEEPING'; use one of BOOT_FAIL,"),
        (["-M", "alpha"], "no cluster 'alpha' in the configuration; it has beta"),
        (["-j", "123.batch"], "123.batch names a step, and energy is accounted by job; ask for 123"),
        (["-j", "1001,7_x"], "'7_x' is no job id; write 42, 42_3, 42_[1-3] or 42+1"),
        (["-j", "7_[1-"], "'7_[1-' is no job id"),
        (["-j", "7_[3:2]"], "'7_[3:2]' is no job id"),
        (["-j", "7_[0-9999999]"], "names more than 10,000 tasks; ask for all of them: 7"),
        (["-j", ""], "'' names nothing"),
        (["-u", "addda"], "no user 'addda' in the books; did you mean ada?"),
        (["-A", "pyhs"], "no account 'pyhs' in the books; did you mean phys?"),
        (["-r", "gpuu"], "no partition 'gpuu' in the books; did you mean gpu?"),
        (["-q", "norml"], "no QOS 'norml' in the books; did you mean normal?"),
        (["-W", "x"], "no WCKey 'x' in the books"),
        (["-i", "2-"], "-i '2-' is no number; write for example -i 2 or -i 2-4"),
        (["-N", "n[1-"], "cannot read the nodes 'n[1-'"),
        (["-s", "COMPLETE"], "no such state: 'COMPLETE'; did you mean COMPLETED?"),
        (["-T"], "sacct's -T is not taken: times cut to the window"),
        (["-g", "users"], "sacct's -g is not taken: the books keep no groups; choose by account"),
        (["-o", "JobID,Timelimit"], "the books do not keep sacct's Timelimit"),
        (["-A", ","], "',' names nothing"),
        (["-u", "99999999"], "no user has the number 99999999 here or in the books"),
        (["-u", "9" * 30], f"no user has the number {'9' * 30} here or in the books"),
        (["-S", "tomorow"], "cannot read the time 'tomorow'; write for example"),
        (["-S", "2026-10-02", "-E", "2026-10-01"], "the window ends before it begins; check -S and -E"),
    ],
)
def test_what_cannot_be_meant(booked: Site, words: list[str], says: str) -> None:
    assert says in booked.scarbon("jobs", *words).refused(code=2)


def test_a_caller_without_a_name(booked: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container the caller's number may be nobody's."""
    monkeypatch.setattr(os, "getuid", lambda: 99_999_999)
    assert "no user has the number 99999999 here or in the books; name the user with -u" in booked.scarbon(
        "jobs"
    ).refused(code=2)


def test_a_number_that_no_database_holds_is_nobody(booked: Site) -> None:
    assert listed(booked, "-j", "9" * 30) == []
