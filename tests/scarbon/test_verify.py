"""`scarbon audit --verify`: jobs accounted once more from the sources, and what no longer is as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.ledger.servers import Place
from tests.site import Done, Site, change, iso, query

#: More than the recording has.
ALL = "10000"


@pytest.fixture
def placed(recorded: Site, place: Place, tmp_path: Path) -> Site:
    """The recording, with its ledger on each database."""
    site = recorded.copy(tmp_path / "placed")
    if place.password is not None:
        (site.folder / "secret").write_text(f"{place.password}\n")
        site.change("ledger: sqlite:///ledger.db", f'ledger: {{url: "{place.url}", password_file: secret}}')
    return site


def verified(site: Site, *words: str, code: int = 0) -> Any:
    done = site.scarbon("audit", "--verify", ALL, "--seed", "1", "--json", *words)
    assert (done.code, done.err) == (code, ""), done
    return done.json


def jobs_of(site: Site) -> set[str]:
    return {
        label
        for (label,) in query(
            site.ledger, "SELECT label FROM attempts WHERE attempt_id IN (SELECT attempt_id FROM usage_days)"
        )
    }


def test_what_was_just_booked_is_the_same_on_every_database(placed: Site) -> None:
    placed.collect()
    found = verified(placed)
    assert found["jobs"] == found["same"] > 10
    assert (found["differences"], found["samples_gone"], found["jobs_gone"]) == ([], [], [])


def test_each_job_is_taken(mine: Site) -> None:
    (count,) = query(mine.ledger, "SELECT COUNT(DISTINCT attempt_id) FROM usage_days")[0]
    assert verified(mine)["jobs"] == count


def test_a_sample_is_as_large_as_asked_and_the_seed_says_which(mine: Site) -> None:
    change(mine.ledger, "UPDATE usage_slots SET energy_j = energy_j + 1")
    drawn = [
        {one["job_id"] for one in mine.scarbon("audit", "--verify", "4", "--seed", seed, "--json").json["differences"]}
        for seed in ("1", "1", "2")
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(drawn[0]) == 4
    other = mine.scarbon("audit", "--verify", "4", "--json").json
    assert other["meta"]["seed"] >= 0


def test_a_tampered_figure_is_named(mine: Site) -> None:
    usage_id, label, slot_s, energy_j = query(
        mine.ledger,
        "SELECT usage_id, label, slot_s, energy_j FROM usage_slots u JOIN attempts a ON a.attempt_id = u.attempt_id "
        "WHERE method = 'counter' AND superseded_by IS NULL ORDER BY usage_id LIMIT 1",
    )[0]
    change(mine.ledger, "UPDATE usage_slots SET energy_j = energy_j * 1.00000001 WHERE usage_id = ?", usage_id)
    found = verified(mine, code=1)
    (one,) = found["differences"]
    assert (one["cluster"], one["job_id"], one["slot_s"], one["column"]) == ("beta", label, slot_s, "energy_j")
    assert one["booked"] == pytest.approx(energy_j * 1.00000001, rel=1e-12)
    assert one["recomputed"] == pytest.approx(energy_j, rel=1e-12)
    assert found["same"] == found["jobs"] - 1
    told = mine.scarbon("audit", "--verify", ALL)
    assert told.code == 1
    assert "1 differ." in told.out
    assert f"job {label} of beta, GPU-" in told.out


def test_a_posting_that_is_gone_or_too_many_is_named(mine: Site) -> None:
    some = "(SELECT MIN(usage_id) FROM usage_slots WHERE method = 'counter' AND superseded_by IS NULL AND energy_j > 0)"
    change(mine.ledger, f"UPDATE usage_slots SET superseded_by = run_id WHERE usage_id = {some}")
    columns = {one["column"] for one in verified(mine, code=1)["differences"] if one["booked"] is None}
    assert {"held_s", "energy_j", "location_g"} <= columns
    other = "(SELECT MAX(attempt_id) FROM usage_slots)"
    change(
        mine.ledger,
        "UPDATE usage_slots SET superseded_by = NULL, attempt_id = "
        f"{other} WHERE usage_id = (SELECT MIN(usage_id) FROM usage_slots WHERE superseded_by IS NOT NULL)",
    )
    assert verified(mine, code=1)["differences"]


def test_a_factor_that_is_another_now_is_named(mine: Site) -> None:
    mine.change("pue: 1.2", "pue: 1.3")
    found = verified(mine, code=1)
    assert {one["column"] for one in found["differences"]} == {"facility_j", "location_g", "market_g"}
    for one in found["differences"]:
        assert one["recomputed"] == pytest.approx(one["booked"] / 1.2 * 1.3, rel=1e-9)
    assert found["same"] == 0


def without(site: Site, before_s: float) -> None:
    """The recording of the GPUs, as Prometheus has it once its retention has passed over the beginning."""
    file = site.folder / "dcgm.om"
    kept = [
        line
        for line in file.read_text().splitlines()
        if line.startswith("#") or float(line.split("} ")[1].split()[1]) >= before_s
    ]
    file.write_text("\n".join(kept) + "\n")


def test_samples_that_are_gone_are_no_difference(mine: Site) -> None:
    without(mine, mine.end_s + 1)
    found = verified(mine)
    on_gpus = {
        label
        for (label,) in query(
            mine.ledger,
            "SELECT DISTINCT label FROM usage_slots u JOIN attempts a ON a.attempt_id = u.attempt_id "
            "JOIN meters m ON m.meter_id = u.meter_id WHERE m.uuid <> '' AND u.measured_s > 0",
        )
    }
    assert {label for _, label in found["samples_gone"]} == on_gpus
    assert found["differences"] == []
    told = mine.good("audit", "--verify", ALL).out
    assert f"{len(found['samples_gone'])} jobs' samples are gone, in part or all, and were not compared: " in told


def test_what_is_left_of_the_samples_is_compared(mine: Site) -> None:
    """The first hour is out of reach, and a figure of the last one was changed."""
    middle = mine.start_s // 3600 * 3600 + 2 * 3600
    without(mine, middle - 600)
    usage_id, label = query(
        mine.ledger,
        "SELECT usage_id, label FROM usage_slots u JOIN attempts a ON a.attempt_id = u.attempt_id WHERE slot_s >= ? "
        "AND method = 'counter' AND superseded_by IS NULL AND energy_j > 0 ORDER BY slot_s DESC LIMIT 1",
        middle,
    )[0]
    change(mine.ledger, "UPDATE usage_slots SET energy_j = energy_j + 1 WHERE usage_id = ?", usage_id)
    found = verified(mine, code=1)
    assert found["samples_gone"]
    assert {one["job_id"] for one in found["differences"]} == {label}


def test_a_job_that_slurm_has_forgotten_is_no_difference(mine: Site) -> None:
    dump = mine.folder / "jobs.sacct"
    lines = dump.read_text().splitlines()
    raw = lines[0].split("|").index("JobIDRaw")
    gone = next(iter(sorted(jobs_of(mine))))
    dump.write_text("\n".join(line for line in lines if line.split("|")[raw] != gone) + "\n")
    found = mine.scarbon("audit", "--verify", ALL, "--json").json
    assert ["beta", gone] in found["jobs_gone"]
    assert gone not in {one["job_id"] for one in found["differences"]}


def test_a_window(mine: Site) -> None:
    change(mine.ledger, "UPDATE usage_slots SET energy_j = energy_j + 1 WHERE slot_s < ?", mine.start_s + 3600)
    assert verified(mine, "-S", iso(mine.start_s // 3600 * 3600 + 7200))["differences"] == []
    assert verified(mine, "-E", iso(mine.start_s // 3600 * 3600 + 7200), code=1)["differences"]


def test_nothing_is_written(mine: Site) -> None:
    before = mine.tables()
    verified(mine)
    assert mine.tables() == before


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--verify", "0"], 2, "--verify"),
        (["--seed", "3"], 2, "--seed says which jobs --verify takes"),
    ],
)
def test_wrong_use(mine: Site, words: list[str], code: int, says: str) -> None:
    done: Done = mine.scarbon("audit", *words)
    assert says in done.refused(code)


def test_a_source_that_cannot_be_read(mine: Site) -> None:
    (mine.folder / "jobs.sacct").unlink()
    assert "jobs.sacct" in mine.scarbon("audit", "--verify").refused()


def test_of_a_closed_month_postings_and_adjustments_together_are_compared(mine: Site) -> None:
    mine.good("period", "close", "2026-09", "--force")
    mine.change("pue: 1.2", "pue: 1.3")
    assert verified(mine, code=1)["differences"]
    mine.collect()
    assert query(mine.ledger, "SELECT COUNT(*) FROM adjustments")[0][0] > 0
    found = verified(mine)
    assert found["jobs"] == found["same"]
    change(mine.ledger, "UPDATE adjustments SET facility_j = facility_j + 1 WHERE attempt_id IS NOT NULL")
    assert {one["column"] for one in verified(mine, code=1)["differences"]} == {"facility_j"}
