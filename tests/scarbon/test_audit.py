"""`scarbon audit`: the balance as it is shown, a tampered posting, and what lies in quarantine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from simulator.truth import read_truth
from tests.site import Site, change, iso, query


def test_the_books_balance(booked: Site) -> None:
    done = booked.good("audit")
    assert "The books balance." in done.out
    assert "!" not in done.out
    document = booked.good("audit", "--json").json
    assert document["balanced"] is True
    (cluster,) = document["clusters"]
    assert cluster["cluster"] == "beta"
    for line in (cluster, *cluster["devices"]):
        assert abs(line["difference_j"]) <= 1e-9 * line["metered_j"]
        assert line["metered_j"] == pytest.approx(line["attributed_j"] + line["idle_j"], rel=1e-9)
    for name in ("metered_j", "attributed_j", "idle_j"):
        assert cluster[name] == pytest.approx(sum(device[name] for device in cluster["devices"]), rel=1e-12)


def test_every_gpu_is_there_with_what_it_drew(booked: Site) -> None:
    """Each sensor has an error of its own (a factor), which the truth names; the outage and the reload are bridged."""
    truth = read_truth(booked.folder / "truth.json")
    devices = {device["uuid"]: device for device in booked.good("audit", "--json").json["clusters"][0]["devices"]}
    assert set(devices) == set(truth.devices)
    for uuid, device in truth.devices.items():
        assert devices[uuid]["node"] == device.node
        assert devices[uuid]["metered_j"] == pytest.approx(device.metered_j * device.gain, rel=0.005)


def test_a_window_of_it(booked: Site) -> None:
    whole = booked.good("audit", "--json").json["clusters"][0]["metered_j"]
    middle = iso(booked.start_s // 3600 * 3600 + 3600)
    before, after = (booked.good("audit", "--json", *words).json for words in (["-E", middle], ["-S", middle]))
    parts = [part["clusters"][0]["metered_j"] for part in (before, after)]
    assert min(parts) > 0
    assert sum(parts) == pytest.approx(whole, rel=1e-12)


def test_a_window_in_which_nothing_was_metered(booked: Site) -> None:
    says = "nothing of that time is accounted; the books go from 2026-09-22 to 2026-09-22; check -S and -E"
    for words in (["-E", "2020-01-01"], ["-S", "2027-01-01"], ["-S", "2027-01-01", "--json"]):
        assert booked.scarbon("audit", *words).refused() == f"scarbon: {says}"


# --- what is not as it was posted

TAMPERED = {
    "a job's energy": "UPDATE usage_slots SET energy_j = energy_j + 0.01 WHERE usage_id = (SELECT MIN(usage_id) "
    "FROM usage_slots WHERE energy_j > 0 AND method = 'counter' AND superseded_by IS NULL)",
    "what was idle": "UPDATE balance SET idle_j = idle_j - 0.01 WHERE balance_id = "
    "(SELECT MIN(balance_id) FROM balance WHERE idle_j > 1)",
    "what was metered": "UPDATE balance SET metered_j = metered_j * 1.0000001 WHERE balance_id = "
    "(SELECT MIN(balance_id) FROM balance)",
    "a posting that is gone": "UPDATE usage_slots SET superseded_by = run_id WHERE usage_id = (SELECT MIN(usage_id) "
    "FROM usage_slots WHERE energy_j > 0 AND method = 'counter' AND superseded_by IS NULL)",
    "a balance that is gone": "UPDATE balance SET superseded_by = run_id WHERE balance_id = (SELECT balance_id FROM "
    "balance b WHERE EXISTS (SELECT 1 FROM usage_slots u WHERE u.meter_id = b.meter_id AND u.slot_s = b.slot_s "
    "AND u.energy_j > 0) LIMIT 1)",
}


@pytest.mark.parametrize("what", TAMPERED)
def test_a_tampered_posting_is_found(mine: Site, what: str) -> None:
    assert change(mine.ledger, TAMPERED[what]) == 1
    done = mine.scarbon("audit")
    assert (done.code, done.err) == (1, "")
    assert "THE BOOKS DO NOT BALANCE; see the rows marked !" in done.out
    marked = [line for line in done.out.splitlines() if line.endswith("!")]
    assert any(line.startswith(("n1  GPU-", "n2  GPU-")) for line in marked)
    document = mine.scarbon("audit", "--json")
    assert document.code == 1
    assert document.json["balanced"] is False
    assert [device["balanced"] for device in document.json["clusters"][0]["devices"]].count(False) == 1


def test_collecting_the_window_again_mends_a_tampered_posting(mine: Site) -> None:
    change(mine.ledger, TAMPERED["a job's energy"])
    mine.collect()
    assert "The books balance." in mine.good("audit").out


def test_two_faults_that_cancel_in_the_sum_are_found_in_their_slots(mine: Site) -> None:
    """Ten joules moved from one hour of a device to another."""
    pair = (
        "(SELECT MIN(balance_id) FROM balance WHERE superseded_by IS NULL AND meter_id = 1)",
        "(SELECT MAX(balance_id) FROM balance WHERE superseded_by IS NULL AND meter_id = 1)",
    )
    for sign, which in zip("+-", pair, strict=True):
        assert change(mine.ledger, f"UPDATE balance SET idle_j = idle_j {sign} 10 WHERE balance_id = {which}") == 1
    assert mine.scarbon("audit").code == 1


# --- quarantine


def test_nothing_in_quarantine(booked: Site) -> None:
    assert booked.good("audit", "--quarantine").out == "Nothing is in quarantine.\n"
    assert booked.good("audit", "--quarantine", "--json").json == {"quarantine": []}


def test_what_is_in_quarantine_is_shown_as_it_came(fresh: Site) -> None:
    lines = ["not json\n", '{"v":9}\n', "\x1b[31mred\x00\n"]
    with (fresh.folder / "journal" / "n1.jsonl").open("a") as file:
        file.writelines(lines)
    dump = fresh.folder / "jobs.sacct"
    bad = dump.read_text().splitlines()[1].replace("|", "|x", 1)
    with dump.open("a") as file:
        file.write(f"{bad}\n")
    fresh.collect(code=3)
    rows = json.loads(fresh.good("audit", "--quarantine", "--json").out)["quarantine"]
    assert {(row["source"], row["raw"]) for row in rows} == {
        ("journal", "not json"), ("journal", '{"v":9}'), ("journal", "\x1b[31mred\\x00"), ("file", bad),
    }  # fmt: skip
    assert all(row["reason"] and row["location"] and row["cluster"] == "beta" for row in rows)
    text = fresh.good("audit", "--quarantine").out
    assert "\x1b" not in text  # a row cannot write to the terminal
    assert "not a line of JSON" in text
    summary = fresh.good("audit").out
    assert "3 rows of journal are in quarantine; see scarbon audit --quarantine" in summary
    assert "1 rows of file are in quarantine" in summary


# --- wrong use


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["-S", "someday"], "cannot read the time 'someday'"),
        (["-S", "2026-10-02", "-E", "2026-10-01"], "the window ends before it begins; check -S and -E"),
    ],
)
def test_what_cannot_be_meant(booked: Site, words: list[str], says: str) -> None:
    assert says in booked.scarbon("audit", *words).refused(code=2)


def test_audit_writes_nothing(booked: Site, tmp_path: Path) -> None:
    site = booked.copy(tmp_path / "site")
    before = site.tables()
    site.good("audit")
    site.good("audit", "--quarantine")
    assert site.tables() == before


# --- levels, roll-ups, and what was held by nobody


def test_all_three_levels(booked: Site) -> None:
    (cluster,) = booked.good("audit", "--json").json["clusters"]
    nodes = {node["node"]: node for node in cluster["nodes"]}
    assert set(nodes) == {"n1", "n2"}
    for name in ("metered_j", "attributed_j", "idle_j"):
        for host, node in nodes.items():
            on_it = [device[name] for device in cluster["devices"] if device["node"] == host]
            assert node[name] == pytest.approx(sum(on_it), rel=1e-12)
        assert cluster[name] == pytest.approx(sum(node[name] for node in nodes.values()), rel=1e-12)
    for line in (cluster, *nodes.values(), *cluster["devices"]):
        assert {"metered_j", "attributed_j", "idle_j", "difference_j", "coverage"} <= line.keys()
        assert 0 < line["coverage"] <= 1
    shown = {by: booked.good("audit", "--by", by).out for by in ("cluster", "node", "device")}
    lines = {by: out[: out.index("\n\n")].count("\n") - 1 for by, out in shown.items()}
    assert lines == {"cluster": 1, "node": 3, "device": 1 + len(cluster["devices"])}


def test_a_tampered_roll_up_is_found_and_made_anew(mine: Site) -> None:
    before = mine.good("report", "-S", "2026-09-01", "-E", "2026-12-01", "--format", "json").json["groups"]
    change(mine.ledger, "UPDATE payer_months SET energy_j = energy_j * 2 WHERE kind = 'gpu'")
    done = mine.scarbon("audit")
    assert (done.code, done.err) == (1, "")
    assert "THE ROLL-UPS ARE NOT WHAT WAS BOOKED; scarbon ledger rebuild makes them anew:" in done.out
    assert "  payer_months (month " in done.out
    found = mine.scarbon("audit", "--json")
    assert (found.code, found.json["balanced"]) == (1, False)
    assert found.json["roll_ups"]
    assert "days are summed anew" in mine.good("ledger", "rebuild").err
    assert mine.good("audit", "--json").json["roll_ups"] == []
    after = mine.good("report", "-S", "2026-09-01", "-E", "2026-12-01", "--format", "json").json["groups"]
    assert {group["key"]: group["gpu_energy_j"] for group in after} == {
        group["key"]: pytest.approx(group["gpu_energy_j"], rel=1e-12) for group in before
    }


def test_a_gpu_that_nobody_held_is_named(mine: Site) -> None:
    assert "held by no job" not in mine.good("audit").out
    change(
        mine.ledger,
        "UPDATE usage_slots SET superseded_by = run_id WHERE meter_id = (SELECT MIN(meter_id) FROM meters WHERE "
        "kind = 'gpu' AND uuid <> '')",
    )
    done = mine.scarbon("audit")
    assert "devices were metered and held by no job: n" in done.out
    assert mine.scarbon("audit", "--json").json["devices_unheld"] == 1


# --- the site's own meter


def test_the_books_against_the_sites_meter(mine: Site) -> None:
    """A meter that has a quarter more than what the books make of these hours."""
    used, idle = (
        query(mine.ledger, f"SELECT SUM({column}) FROM {table} WHERE superseded_by IS NULL")[0][0]
        for column, table in (("facility_j", "usage_slots"), ("idle_facility_j", "balance"))
    )
    kwh = (used + idle) * 1.25 / 3.6e6
    (mine.folder / "meter.csv").write_text(
        f"start,end,kwh\n{iso(mine.start_s)},{iso(mine.end_s)},{kwh!r}\n", encoding="utf-8"
    )
    assert mine.good("audit", "--json").json["site_meter"] == []
    mine.change("pue: 1.2", "site_meter: {csv: meter.csv}\npue: 1.2")
    done = mine.good("audit")
    assert "Site meter: " in done.out
    assert "+20.0% of the facility's energy" in done.out
    (whole,) = mine.good("audit", "--json").json["site_meter"]
    assert whole["share"] == pytest.approx(0.2, rel=1e-9)
    assert whole["difference_j"] == pytest.approx((used + idle) / 4, rel=1e-9)
    assert whole["facility_j"] == pytest.approx(used + idle, rel=1e-9)
    (mine.folder / "meter.csv").write_text("start,end,kwh\n2020-01-01T00:00Z,2020-01-02T00:00Z,1\n")
    assert "says nothing of the time that the books hold" in mine.good("audit").out
    (mine.folder / "meter.csv").write_text("start,end,kw\n")
    assert "meter.csv:1: the header must be start,end,kwh" in mine.scarbon("audit").refused()
