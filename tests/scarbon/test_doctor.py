"""`scarbon doctor`: a line for each thing that an accounting run needs, and what to do where it is missing."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.collectors.prometheus_stub import PrometheusStub, stored, trouble
from tests.site import Site, change, scarbon


def lines(site: Site, code: int = 0) -> list[str]:
    done = site.scarbon("doctor")
    assert (done.code, done.err) == (code, ""), done
    return done.out.splitlines()


def failures(site: Site) -> list[tuple[str, str]]:
    """Each failure with its advice."""
    out = lines(site, code=1)
    return [(line[6:], out[place + 1].strip()) for place, line in enumerate(out) if line.startswith("FAIL")]


def test_all_is_well(booked: Site) -> None:
    out = lines(booked)
    late = next(place for place, line in enumerate(out) if line.startswith("warn"))  # the books end in September
    assert out[late].endswith(" days ago")
    assert out.pop(late + 1) == "      -> does the timer of scarbon collect run?"
    # The recording has jobs without an Epilog, and such: what audit counts is told here, too.
    counts = booked.good("audit", "--json").json["holders"]
    told = [line for line in out if line.startswith("warn  holders, in the last 30 days of the books: ")]
    assert len(told) == sum(count > 0 for count in counts.values()) > 0
    assert any(f": {counts['epilogs_missing']} holds of which no epilog was seen" in line for line in told)
    rest = [line for line in (*out[:late], *out[late + 1 :]) if line not in told and "docs/holders.md" not in line]
    assert {line.split()[0] for line in rest} == {"ok"}
    text = "\n".join(out)
    assert f"configuration {booked.config}: 1 cluster, Europe/Paris" in text
    assert f"ledger {booked.ledger}: beta is accounted up to 2026-09-22 03:01+02:00" in text
    age = f"the newest sample is {(time.time() - booked.end_s) / 86400:.0f} days old"
    assert f"beta: 3 GPUs on 2 nodes, 3 of them with an energy counter; {age}" in text
    for holder in ("journal", "hpc_job", "whole_node"):
        assert re.search(rf"beta: holders by {holder}: \d+ holds? in the last day of the recording", text)
    assert "beta: holders by journal: 0 holds" not in text


def test_it_writes_nothing(fresh: Site) -> None:
    assert f"ok    ledger {fresh.ledger}: none yet; the first scarbon collect makes it" in lines(fresh)
    assert not fresh.ledger.exists()


def test_no_configuration(tmp_path: Path) -> None:
    done = scarbon("--config", tmp_path / "site.yaml", "doctor")
    assert done.code == 1
    assert done.err.startswith(f"scarbon: {tmp_path}/site.yaml: no such file; write one with `scarbon init`")


def test_everything_missing_is_named_at_once(fresh: Site) -> None:
    (fresh.folder / "jobs.sacct").unlink()
    (fresh.folder / "dcgm.om").unlink()
    fresh.change("journal: journal", "journal: nowhere")
    fresh.change("sqlite:///ledger.db", "sqlite:///books/ledger.db")
    fresh.change("{source: file, path: intensity.csv}, {source: static}", "{source: file, path: nowhere.csv}")
    found = failures(fresh)
    assert len(found) == 5
    text = "\n".join(f"{what} -> {advice}" for what, advice in found)
    assert f"ledger {fresh.folder}/books/ledger.db: its folder cannot be written -> -> make it: mkdir -p" in text
    assert "grid intensity of the last day: none, with holes -> -> add {source: static} at the end" in text
    assert f"beta: jobs: the sacct dump {fresh.folder}/jobs.sacct cannot be read" in text
    assert f"beta: GPU samples: the recording {fresh.folder}/dcgm.om cannot be read" in text
    assert f"beta: holders by journal: the journal's folder {fresh.folder}/nowhere does not exist" in text


def test_a_ledger_that_is_none(mine: Site) -> None:
    for path in mine.folder.glob("ledger.db*"):
        path.unlink()
    mine.ledger.write_text("notes\n" * 100)
    ((what, advice),) = failures(mine)
    assert what.startswith(f"{mine.ledger} is not a ledger of scarbon: ")
    assert "left as it is" in advice


def test_a_ledger_of_another_calendar(mine: Site) -> None:
    change(mine.ledger, "UPDATE meta SET value = 'Asia/Tokyo' WHERE name = 'zone'")
    ((what, _),) = failures(mine)
    assert "is kept by the calendar of Asia/Tokyo, the configuration says Europe/Paris" in what


def test_gpus_without_an_energy_counter(fresh: Site) -> None:
    recording = fresh.folder / "dcgm.om"
    kept = [line for line in recording.read_text().splitlines() if "TOTAL_ENERGY" not in line]
    recording.write_text("\n".join(kept) + "\n")
    out = lines(fresh)
    (place,) = [place for place, line in enumerate(out) if line.startswith("warn")]
    assert out[place] == "warn  beta: 3 GPUs without an energy counter; their power is integrated"
    assert "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION" in out[place + 1]


def test_a_gpu_that_is_silent_while_others_are_not(fresh: Site) -> None:
    recording = fresh.folder / "dcgm.om"
    lines_of = recording.read_text().splitlines()
    uuid = (
        next(line for line in lines_of if 'Hostname="n2"' in line or "n2" in line)
        .partition('UUID="')[2]
        .partition('"')[0]
    )
    until_s = fresh.end_s - 3600
    kept = [line for line in lines_of if uuid not in line or float(line.rsplit(" ", 1)[1]) < until_s]
    recording.write_text("\n".join(kept) + "\n")
    assert f"warn  beta: 1 GPU silent for longer than others, such as {uuid} on n2" in lines(fresh)


def test_rows_of_jobs_that_cannot_be_understood(fresh: Site) -> None:
    with (fresh.folder / "jobs.sacct").open("a") as dump:
        dump.write(dump_row(fresh).replace("|", "|x", 1) + "\n")
    assert "warn  beta: 1 row of jobs cannot be understood" in lines(fresh)


def dump_row(site: Site) -> str:
    return (site.folder / "jobs.sacct").read_text().splitlines()[1]


@pytest.fixture
def stub() -> Iterator[PrometheusStub]:
    with PrometheusStub() as running:
        yield running


def test_a_prometheus_that_has_no_gpus(fresh: Site, stub: PrometheusStub) -> None:
    fresh.change("openmetrics: {path: dcgm.om}", f"prometheus: {{url: '{stub.url}'}}")
    ((what, advice),) = failures(fresh)
    assert what == "beta: no GPU has a sample of its energy or power"
    assert "gpu.match" in advice


def test_a_prometheus_in_trouble(fresh: Site, stub: PrometheusStub) -> None:
    fresh.change("openmetrics: {path: dcgm.om}", f"prometheus: {{url: '{stub.url}'}}")
    stub.answer = lambda query: trouble("HTML")
    ((what, advice),) = failures(fresh)
    assert what.startswith(f"beta: GPU samples: Prometheus at {stub.url} answered 200 with something that is not")
    assert "sign-in page" in advice


def test_a_prometheus_that_scraped_long_ago_has_nothing_now(fresh: Site, stub: PrometheusStub) -> None:
    stub.series = stored(fresh.folder / "dcgm.om")
    fresh.change("openmetrics: {path: dcgm.om}", f"prometheus: {{url: '{stub.url}'}}")
    assert [what for what, _ in failures(fresh)] == ["beta: no GPU has a sample of its energy or power"]


def test_another_distribution_with_a_package_of_our_name(
    booked: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from importlib.util import find_spec, spec_from_file_location

    (tmp_path / "accounting").mkdir()
    theirs = tmp_path / "accounting" / "__init__.py"
    theirs.write_text("")

    def found(name: str) -> object:
        return spec_from_file_location(name, theirs) if name == "accounting" else find_spec(name)

    monkeypatch.setattr("scarbon.commands.doctor.find_spec", found)
    ((what, advice),) = failures(booked)
    assert what.startswith(f"the package accounting is another one's, in {tmp_path}, not ours in ")
    assert "environment of its own" in advice
