"""`scarbon show` on a small ledger: every figure against the dump, the truth, or the definition of the figure."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from scarbon.plots import svg
from simulator.truth import AttemptTruth, read_truth
from tests.collectors.prometheus_stub import PrometheusStub, StoredSeries, stored
from tests.site import CHECKOUT, Site, change, environment, iso, query

Json = dict[str, Any]


def cards(site: Site, *words: str) -> list[Json]:
    document: Json = site.good("show", "--json", *words).json
    return list(document["cards"])


def card(site: Site, *words: str) -> Json:
    (one,) = cards(site, *words)
    return one


@pytest.fixture(scope="module")
def truth(recorded: Site) -> Mapping[str, AttemptTruth]:
    """What each attempt really used, those that were never requeued, by label."""
    found = read_truth(recorded.folder / "truth.json").attempts
    labels = [one.label for one in found.values()]
    return {one.label: one for one in found.values() if labels.count(one.label) == 1}


@pytest.fixture(scope="module")
def measured(booked: Site, truth: Mapping[str, AttemptTruth]) -> str:
    """A job on whole GPUs that was measured throughout."""
    jobs = booked.good("jobs", "-a", "--json", "-S", "2026-01-01").json["jobs"]
    whole = [
        job
        for job in jobs
        if job["gpus"] and job["coverage"] == 1 and job["method"] == "counter" and job["state"] == "COMPLETED"
        and job["job_id"] in truth and len(truth[job["job_id"]].by_device) == job["gpus"] and "_" not in job["job_id"]
        and job["elapsed_s"] > 900
    ]  # fmt: skip
    assert whole
    return str(max(whole, key=lambda job: job["gpu_energy_j"])["job_id"])


# --- the figures


def test_the_figures_are_those_of_the_list(booked: Site, measured: str) -> None:
    shown = card(booked, measured)
    (listed,) = booked.good("jobs", "--json", "-j", measured).json["jobs"]
    assert shown["jobs"] == [listed]
    for name in (
        "gpu_energy_j", "host_energy_j", "it_energy_j", "facility_energy_j", "co2e_location_g", "co2e_market_g",
        "co2e_embodied_g", "co2e_low_g", "co2e_high_g", "coverage",
    ):  # fmt: skip
        assert shown[name] == pytest.approx(listed[name], rel=1e-9), name
    assert (shown["provisional"], shown["as_of"], shown["notes"]) == (False, None, [])


def test_the_gpus_are_those_that_it_really_held(booked: Site, measured: str, truth: Mapping[str, AttemptTruth]) -> None:
    held = card(booked, measured)["held"]
    really = truth[measured]
    assert {one["uuid"] for one in held} == set(really.by_device)
    for one in held:
        assert one["energy_j"] == pytest.approx(really.by_device[one["uuid"]], rel=0.06)  # the sensor's gain
        assert (one["start_s"], one["end_s"]) == (really.start_s, really.end_s)
        assert one["holder"] in ("journal", "hpc_job", "whole_node")
        assert one["mean_w"] == pytest.approx(one["energy_j"] / one["known_s"])
    (listed,) = booked.good("jobs", "--json", "-j", measured).json["jobs"]
    assert sum(one["energy_j"] for one in held) == pytest.approx(listed["gpu_energy_j"], rel=1e-9)
    assert sum(one["held_s"] for one in held) == pytest.approx(listed["gpu_seconds"], rel=1e-9)


def test_the_interval_is_made_of_its_parts(booked: Site, measured: str) -> None:
    """Half of it is 1.96 times the root of the squares of the parts, each relative to the figure."""
    shown = card(booked, measured)
    parts = shown["uncertainty"]
    assert set(parts) == {"sensor", "edges", "sharing", "model", "pue", "intensity"}
    half = 1.959964 * math.sqrt(sum(part**2 for part in parts.values())) * shown["co2e_location_g"]
    assert shown["co2e_high_g"] - shown["co2e_location_g"] == pytest.approx(half, rel=1e-6)
    assert parts["pue"] == pytest.approx(0.05 / 1.959964) and parts["intensity"] == pytest.approx(0.1 / 1.959964)


def test_the_factors_name_their_source(booked: Site, measured: str) -> None:
    shown = card(booked, measured)
    factors = {one["kind"]: one for one in shown["factors"]}
    assert set(factors) == {"pue", "location", "market"}
    assert "intensity.csv" in factors["location"]["source"]
    assert all(one["share"] == pytest.approx(1.0) for one in factors.values())
    low, high = shown["intensity_range"]
    assert low <= shown["co2e_location_g"] / shown["facility_energy_j"] * 3.6e6 <= high


def test_equivalents_by_hand(booked: Site, measured: str) -> None:
    """175 g for a kilometre by an average car (Green Algorithms)."""
    shown = card(booked, measured)
    (car,) = [one for one in shown["equivalents"] if one["per"] == "km"]
    assert car["amount"] == pytest.approx(shown["co2e_location_g"] / 175, rel=1e-9)


def test_the_power_adds_up_to_the_energy(booked: Site, measured: str) -> None:
    shown = card(booked, measured)
    times, power = shown["power"]["time_s"], shown["power"]["power_w"]
    assert len(times) == len(power) + 1
    assert (times[0], times[-1]) == (shown["start"], shown["end"])
    assert None not in power
    drawn_j = sum(watts * (b - a) for watts, a, b in zip(power, times[:-1], times[1:], strict=True))
    assert drawn_j == pytest.approx(shown["gpu_energy_j"], rel=0.02)


def test_an_array_is_the_sum_of_its_tasks(booked: Site) -> None:
    labels = [job["job_id"] for job in booked.good("jobs", "-a", "--json", "-S", "2026-01-01").json["jobs"]]
    array = next(label.partition("_")[0] for label in labels if "_" in label)
    tasks = [label for label in labels if label.startswith(f"{array}_")]
    assert len(tasks) > 1
    whole, each = card(booked, array), cards(booked, *tasks)
    assert [job["job_id"] for job in whole["jobs"]] == tasks
    for name in ("gpu_seconds", "it_energy_j", "facility_energy_j", "co2e_location_g", "co2e_embodied_g"):
        values = [one[name] for one in each if one["start"] is not None]
        expected = None if None in values else pytest.approx(sum(values), rel=1e-9)
        assert whole[name] == expected, name
    assert {one["job_id"] for one in whole["held"]} <= set(tasks)
    half = booked.good("show", "--json", f"{array}_[{tasks[0].partition('_')[2]}]").json["cards"][0]
    assert [job["job_id"] for job in half["jobs"]] == tasks[:1]
    text = booked.good("show", "--no-plot", array).out
    assert f"{len(tasks)} tasks or parts" in text and "in all" in text


def test_what_is_unknown_stays_unknown(mine: Site, measured: str) -> None:
    change(mine.ledger, "UPDATE usage_days SET energy_j = NULL WHERE kind = 'gpu'")
    shown = card(mine, measured)
    assert (shown["it_energy_j"], shown["co2e_location_g"], shown["uncertainty"]) == (None, None, None)
    text = re.sub(r"\s+", " ", mine.good("show", "--no-plot", measured).out)
    assert "Its energy is unknown, and not nothing: part of what it held has no known energy." in text
    assert "location-based unknown" in text


def test_a_gpu_that_was_left_idle_is_named(mine: Site, measured: str) -> None:
    """As drawn as an idle one: the books say so in every hour."""
    held = card(mine, measured)["held"]
    assert not any(one["left_idle"] for one in held)
    uuid, idle_w = held[0]["uuid"], held[0]["idle_w"]
    assert idle_w > 0
    change(
        mine.ledger,
        "UPDATE usage_slots SET energy_j = known_s * ? WHERE meter_id = (SELECT meter_id FROM meters WHERE uuid = ?) "
        "AND attempt_id = (SELECT attempt_id FROM attempts WHERE label = ?)",
        idle_w * 1.4, uuid, measured,
    )  # fmt: skip
    shown = card(mine, measured)
    assert {one["uuid"] for one in shown["held"] if one["left_idle"]} == {uuid}
    text = re.sub(r"\s+", " ", mine.good("show", "--no-plot", measured).out)
    assert f"Held and left idle: 1 of {len(held)} GPUs" in text


def test_what_was_purged_leaves_the_sums(mine: Site, measured: str) -> None:
    """Of old months only the days are kept: who held which GPU, and what was applied hour by hour, is gone."""
    before = card(mine, measured)
    for table in ("usage_slots", "factors"):
        change(mine.ledger, f"DELETE FROM {table}")
    after = card(mine, measured)
    assert (after["held"], after["factors"], after["power"], after["intensity_range"]) == ([], [], None, None)
    assert {name: after[name] for name in before if name.startswith(("co2e", "gpu_e", "facility"))} == {
        name: before[name] for name in before if name.startswith(("co2e", "gpu_e", "facility"))
    }
    assert "no longer kept hour by hour" in mine.good("show", "--no-plot", measured).out


def test_a_job_that_never_began_has_used_nothing(mine: Site, measured: str) -> None:
    change(mine.ledger, "UPDATE attempts SET start_s = NULL, state = 'CANCELLED' WHERE label = ?", measured)
    text = mine.good("show", measured).out
    assert re.search("began +never +it has used nothing", text)
    assert "Energy" not in text
    assert card(mine, measured)["it_energy_j"] is None


# --- as of now


@pytest.fixture
def half(recorded: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """The first half is in the books, and now is the end of the recording."""
    site = recorded.copy(tmp_path / "half")
    site.collect("-S", iso(site.start_s), "-E", iso((site.start_s + site.end_s) // 2))
    monkeypatch.setattr(time, "time", lambda: float(site.end_s))
    return site


def across(site: Site) -> list[str]:
    """The jobs that ran at the end of the books."""
    at_s = (site.start_s + site.end_s) // 2
    return [
        label
        for (label,) in query(
            site.ledger,
            "SELECT label FROM attempts WHERE start_s < ? AND (end_s IS NULL OR end_s > ?) AND gpus > 0 ORDER BY label",
            at_s,
            at_s,
        )
    ]


def test_a_running_job_is_accounted_up_to_now(half: Site, booked: Site) -> None:
    """The same as it is once all is in the books; and the books are as they were."""
    before = half.tables()
    labels = across(half)
    assert labels
    for label in labels:
        now, later = card(half, label), card(booked, label)
        assert now["provisional"] and now["as_of"] is not None
        assert "provisional, as of" in now["notes"][0]
        for name in ("gpu_seconds", "gpu_energy_j", "host_energy_j", "facility_energy_j", "co2e_location_g"):
            expected = later[name]
            assert now[name] == (None if expected is None else pytest.approx(expected, rel=1e-9)), (label, name)
        assert [one["uuid"] for one in now["held"]] == [one["uuid"] for one in later["held"]]
        assert now["factors"][0]["source"] == later["factors"][0]["source"]
    assert half.tables() == before


def test_a_job_that_is_not_in_the_books_yet(
    recorded: Site, booked: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = booked.good("jobs", "-a", "--json", "-S", "2026-01-01").json["jobs"]
    last = max((job for job in jobs if job["gpu_energy_j"] and job["end"]), key=lambda job: job["submit"])
    site = recorded.copy(tmp_path / "site")
    site.collect("-S", iso(site.start_s), "-E", iso(last["submit"] - 1))
    monkeypatch.setattr(time, "time", lambda: float(site.end_s))
    assert site.good("jobs", "-n", "-P", "-o", "JobID", "-j", last["job_id"]).out == ""
    now, later = card(site, last["job_id"]), card(booked, last["job_id"])
    assert now["provisional"]
    for name in ("gpu_energy_j", "it_energy_j", "co2e_location_g", "co2e_market_g"):
        assert now[name] == pytest.approx(later[name], rel=1e-9), name


def test_a_source_that_fails_leaves_what_is_booked(half: Site) -> None:
    (label, *_) = across(half)
    (half.folder / "dcgm.om").unlink()
    done = half.good("show", label)
    assert "up to 2026-09-22" in re.sub(r"\s+", " ", done.err)
    assert "what was used since cannot be read" in re.sub(r"\s+", " ", done.err)
    assert "no plot of its power" in re.sub(r"\s+", " ", done.err)


def test_a_job_that_nobody_knows(half: Site) -> None:
    line = half.scarbon("show", "99999999").refused()
    assert "job 99999999: not in the books (beta: booked up to 2026-09-22" in line
    assert "Slurm tells of none since" in line and "check the number" in line


def test_books_that_are_far_behind(booked: Site) -> None:
    jobs = booked.good("jobs", "-a", "-s", "R", "--json").json["jobs"]
    label = next(job["job_id"] for job in jobs if job["gpus"])
    done = booked.good("show", "--no-plot", label)
    assert "not by the end of the books" in done.out
    assert "up to 2026-09-22 03:01:41" in re.sub(r"\s+", " ", done.err)
    assert card(booked, label)["end"] is None
    line = booked.scarbon("show", "99999999").refused()
    assert line.endswith("03:01:41); check the number, or run scarbon collect for a newer job")


def test_a_task_that_its_array_has_not(booked: Site) -> None:
    labels = [job["job_id"] for job in booked.good("jobs", "-a", *booked.window, "--json").json["jobs"]]
    array = next(label for label in labels if "_" in label).partition("_")[0]
    tasks = [int(label.partition("_")[2]) for label in labels if label.startswith(f"{array}_")]
    assert tasks == list(range(min(tasks), max(tasks) + 1)) and len(tasks) > 1
    line = booked.scarbon("show", f"{array}_987").refused()
    has = f"array {array} on beta has {min(tasks)}-{max(tasks)}"
    assert line == f"scarbon: job {array}_987: there is no such task; {has}; name one of them"


def test_one_of_several_that_is_missing(half: Site) -> None:
    (label, *_) = across(half)
    done = half.scarbon("show", "--no-plot", label, "99999999")
    assert done.code == 1
    assert f"Job {label} on beta" in done.out and "job 99999999: not in the books" in done.err


def test_how_busy_a_gpu_was_and_prometheus_away(mine: Site, measured: str) -> None:
    """DCGM's gauge shows 20 % and 60 % in turn: 40 % on average. Once the server is gone, there is the card alone."""
    before = card(mine, measured)
    (held, *_) = before["held"]
    times = [held["start_s"] + 30.0 * step for step in range(1, 21)]
    labels = {"__name__": "DCGM_FI_DEV_GPU_UTIL", "UUID": held["uuid"], "job": "dcgm"}
    gauge = StoredSeries(labels, times, ["20", "60"] * 10)
    with PrometheusStub([*stored(mine.folder / "dcgm.om"), gauge]) as prometheus:
        server = f"prometheus: {{url: '{prometheus.url}', timeout_s: 5}}\n      match: {{job: dcgm}}"
        mine.change("openmetrics: {path: dcgm.om}", server)
        shown = card(mine, measured)
        assert shown["held"][0]["use"] == pytest.approx(0.4)
        assert shown["power"] == before["power"]
        assert "worked 40% of the time" in re.sub(r"\s+", " ", mine.good("show", measured).out)
    alone = card(mine, measured)
    assert (alone["power"], alone["held"]) == (None, before["held"])
    (note,) = alone["notes"]
    assert note.startswith(f"no plot of its power: Prometheus at {prometheus.url} ")
    done = mine.good("show", measured)
    assert "Energy" in done.out and "GPU power" not in done.out and "no plot of its power" in done.err
    assert "no samples to draw" in mine.scarbon("show", measured, "--svg", "x.svg").err


# --- forms


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("plot", ["--plot", "--no-plot"])
def test_no_line_is_wider_than_the_terminal(
    booked: Site, measured: str, monkeypatch: pytest.MonkeyPatch, width: int, plot: str
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    labels = [job["job_id"] for job in booked.good("jobs", "-a", "--json", "-S", "2026-01-01").json["jobs"]]
    for label in (measured, *labels[:6]):
        out = booked.good("show", plot, label).out
        assert max(map(len, out.splitlines())) <= width
        assert "\x1b" not in out
        assert not re.search(r"^\s+$", out, re.MULTILINE)


@pytest.mark.parametrize(("no_color", "bold"), [("", True), ("1", False)])
def test_headings_are_bold_on_a_terminal_only(booked: Site, measured: str, no_color: str, bold: bool) -> None:
    terminal, end = os.openpty()
    try:
        command = [sys.executable, "-m", "scarbon", "--config", str(booked.config), "show", "--no-plot", measured]
        env = environment(NO_COLOR=no_color, TERM="xterm", COLUMNS="80")
        with subprocess.Popen(command, cwd=CHECKOUT, env=env, stdout=end, stderr=subprocess.PIPE) as process:
            os.close(end)
            out = b""
            with suppress(OSError):  # the terminal is gone with the process
                while piece := os.read(terminal, 65536):
                    out += piece
            assert process.wait(60) == 0
    finally:
        os.close(terminal)
    assert (b"\x1b[1mEnergy\x1b[0m" in out) == bold
    assert (b"\x1b" in out) == bold
    assert b"Energy" in out


def test_the_card_answers_where_the_figures_come_from(booked: Site, measured: str) -> None:
    text = booked.good("show", measured).out
    for word in (
        "read from energy counters", "100% of its GPU time was measured", "g/kWh  file intensity.csv", "PUE",
        "intensity ±10%", "GPU power, W (Europe/Paris)",
    ):  # fmt: skip
        assert word in text, word


def test_the_plot_as_a_file(booked: Site, measured: str, tmp_path: Path) -> None:
    path = tmp_path / "power.svg"
    booked.good("show", "--no-plot", measured, "--svg", str(path))
    root = ET.parse(path).getroot()
    names = {"svg": "http://www.w3.org/2000/svg"}
    title = root.find("svg:title", names)
    assert title is not None and title.text == f"Power of the GPUs of job {measured} (Europe/Paris)"
    width, height = map(float, root.attrib["viewBox"].split()[2:])
    (line,) = [one for one in root.findall("svg:path", names) if one.attrib["stroke"] == "#1f77b4"]
    points = [tuple(map(float, point.split())) for point in re.split("[ML]", line.attrib["d"])[1:]]
    assert len(points) > 10 and all(0 <= x <= width and 0 <= y <= height for x, y in points)
    assert "http" not in path.read_text().replace("http://www.w3.org/2000/svg", "")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["42.batch"], "42.batch names a step, and energy is accounted by job; ask for 42"),
        (["x"], "'x' is no job id; write 42, 42_3, 42_[1-3] or 42+1"),
        (["-M", "alpha", "42"], "no cluster 'alpha' in the configuration; it has beta"),
        ([], "Missing argument 'JOB...'"),
    ],
)
def test_what_cannot_be_meant(booked: Site, words: list[str], says: str) -> None:
    assert says in booked.scarbon("show", *words).refused(code=2)


def test_the_printed_parts_add_up_to_the_printed_sum(booked: Site, measured: str) -> None:
    printed = re.findall(
        r"^  (GPUs|host|PUE overhead|together) +([\d,.]+) (\w+)", booked.good("show", measured).out, re.M
    )
    assert len({unit for _, _, unit in printed}) == 1
    *parts, together = (Decimal(figure.replace(",", "")) for _, figure, _ in printed)
    assert len(parts) == 3 and sum(parts) == together


def test_round_ticks_that_stand_in_the_picture() -> None:
    """From 19:46 on one day to 00:10 on the third, up to 1,448 W."""
    start_s = datetime(2026, 10, 2, 19, 46, 41, tzinfo=UTC).timestamp()
    drawn = svg([[(start_s, 1448.0), (start_s + 188_642, 1390.0)]], "Power", "W", ZoneInfo("UTC"))
    ticks = re.findall(r'x="([\d.]+)" y="[\d.]+" text-anchor="(middle|end)">([^<]+)<', drawn)
    assert [text for _, anchor, text in ticks if anchor == "end"] == ["W", "0", "500", "1,000", "1,500"]
    times = [(float(x), text) for x, anchor, text in ticks if anchor == "middle"]
    assert [text for _, text in times] == ["10-03 00:00", "10-03 12:00", "10-04 00:00", "10-04 12:00", "10-05 00:00"]
    assert all(40 <= x <= 760 - 40 for x, _ in times)  # eleven letters of at most 7 of the 760 units


def test_a_constant_of_nothing_is_drawn() -> None:
    assert ">1<" in svg([[(0.0, 0.0), (10.0, 0.0)]], "Power", "W", ZoneInfo("Asia/Kathmandu"))


def test_what_is_shorter_than_a_point_of_the_plot_is_said(booked: Site) -> None:
    labels = {
        job["job_id"].partition("_")[0] for job in booked.good("jobs", "-a", *booked.window, "--json").json["jobs"]
    }
    seen = set()
    for one in cards(booked, *sorted(labels)):
        if one["power"]:
            (first_s, second_s, *_) = one["power"]["time_s"]
            shorter = min(held["held_s"] for held in one["held"]) < second_s - first_s
            assert any("what ran shorter is lower in it" in note for note in one["notes"]) == shorter
            seen.add(shorter)
    assert seen == {False, True}
