"""`scarbon advice`: what a person reads, from books that were simulated and a service that looks ahead."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from tests.collectors.grid.service import Answer, Service
from tests.site import Done, Site, query

HALF_HOUR = 1800


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service()
    yield made
    made.close()


def advice(site: Site, *words: str) -> Done:
    return site.scarbon("advice", "-a", *site.window, *words)


def neso(first_s: float, *values: float) -> str:
    """Half hours from `first_s` on."""

    def at(number: int) -> str:
        return datetime.fromtimestamp(first_s + number * HALF_HOUR, UTC).strftime("%Y-%m-%dT%H:%MZ")

    entries = [
        {"from": at(number), "to": at(number + 1), "intensity": {"forecast": value, "index": "low"}}
        for number, value in enumerate(values)
    ]
    return json.dumps({"data": entries})


def test_what_came_to_nothing(booked: Site) -> None:
    jobs = booked.good("jobs", "-a", "-D", *booked.window, "--json").json["jobs"]
    bad = ("FAILED", "TIMEOUT", "OUT_OF_MEMORY", "CANCELLED", "NODE_FAIL", "PREEMPTED", "DEADLINE", "BOOT_FAIL")
    lost = [job for job in jobs if job["state"] in bad and job["it_energy_j"] is not None and job["start"] is not None]
    found = advice(booked, "--json").json
    assert {one["state"] for one in found["lost"]} == {job["state"] for job in lost}
    assert sum(one["it_energy_j"] for one in found["lost"]) == pytest.approx(sum(job["it_energy_j"] for job in lost))
    text = advice(booked).out
    for one in found["lost"]:
        assert f"{one['state']}: {one['jobs']} job" in text


def test_one_users_own_jobs_only(booked: Site) -> None:
    user = query(booked.ledger, "SELECT user_name FROM attempts WHERE start_s IS NOT NULL LIMIT 1")[0][0]
    jobs = booked.good("jobs", "-u", user, "-D", *booked.window, "--json").json["jobs"]
    found = booked.good("advice", "-u", user, *booked.window, "--json").json
    assert found["jobs"] == len({job["job_id_raw"] for job in jobs if job["start"] is not None})


def test_each_action_item_has_the_persons_own_figure(booked: Site) -> None:
    lines = advice(booked).out.partition("with your own figures:\n")[2].splitlines()
    begins = [line.strip().partition(":")[0] for line in lines]
    assert begins[:4] == ["Disclose", "Reduce waste", "Let go of idle GPUs", "Search less"]
    assert begins[-3:] == ["Mind the building", "Choose the place", "Offset what is left, and say so beside"]
    assert all(any(letter.isdigit() for letter in line) for line in lines if not line.startswith("  Search less"))
    assert "at a PUE of 1.20" in lines[-3]
    assert lines[-1].endswith("km by car (Green Algorithms).")


def test_equivalents_come_from_the_table(booked: Site) -> None:
    found = advice(booked, "--json").json
    car = next(one for one in found["equivalents"] if one["per"] == "km")
    assert car["amount"] == pytest.approx(found["co2e_location_g"] / 1000 / 0.175)


def test_without_a_source_of_forecasts_it_is_said(booked: Site) -> None:
    assert "No source of forecasts is configured (grid.advice)" in advice(booked).out
    assert advice(booked, "--json").json["start"] is None


def with_forecast(site: Site, service: Service) -> None:
    site.change("grid:\n", f'grid:\n  advice: {{source: neso, url: "{service.url}"}}\n')


def test_the_greenest_start_of_the_next_two_days(mine: Site, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job's usual length is an hour here; the fourth and fifth half hours of the forecast are the greenest."""
    now_s = float(mine.end_s // HALF_HOUR * HALF_HOUR)
    monkeypatch.setattr("scarbon.commands.advice.time", SimpleNamespace(time=lambda: now_s))
    with_forecast(mine, service)
    service.answer(neso(now_s, 200, 200, 180, 50, 70, 210, *[220] * 80))
    found = advice(mine, "--json").json["start"]
    assert found["length_s"] == 3600
    assert (found["start_s"], found["g_per_kwh"], found["now_g_per_kwh"]) == (now_s + 3 * HALF_HOUR, 60.0, 200.0)
    local = datetime.fromtimestamp(now_s + 3 * HALF_HOUR, mine.zone).strftime("%Y-%m-%d %H:%M")
    assert f"{local}, at 60 g/kWh, 70% less than now (200), by neso." in advice(mine).out


def test_a_forecast_that_fails_costs_nothing_else(
    mine: Site, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collectors.grid.http.sleep", lambda seconds: None)
    with_forecast(mine, service)
    service.answer(Answer("out of order", 503))
    done = advice(mine)
    assert done.code == 0
    assert done.err.startswith("warning: neso: failed (503: out of order)")
    assert "Reduce waste" in done.out


def test_no_jobs_to_learn_from(booked: Site) -> None:
    assert "no jobs to learn from" in booked.scarbon("advice", "-u", "nobody").refused()


def test_marginal_rates_where_the_site_has_them(mine: Site, service: Service) -> None:
    """WattTime's past: what moving would have saved is told by it, and its login is asked for first."""
    (mine.folder / "password").write_text("s3cret\n")
    mine.change(
        "grid:\n",
        "grid:\n  advice: {source: watttime, region: FR, username: ada, password_file: password, "
        f'url: "{service.url}"}}\n',
    )
    steps = range(mine.start_s // 300 * 300 - 86_400, mine.end_s + 2 * 86_400, 300)
    points = [
        {"point_time": datetime.fromtimestamp(at_s, UTC).isoformat(), "value": 1000.0 if at_s < mine.end_s else 500.0}
        for at_s in steps
    ]
    history = json.dumps({"data": points, "meta": {"region": "FR", "units": "lbs_co2_per_mwh"}})
    nothing = history.replace(json.dumps(points), "[]")
    service.by_path = {"/login": '{"token": "t"}', "/v3/historical": history, "/v3/forecast": nothing}
    found = advice(mine, "--json").json["moved"]
    assert found["by"] == "WattTime's marginal rates"
    assert found["jobs"] > 0
    # All ran at 1000 lb/MWh and could have run a day later at 500.
    assert found["saved_g"] == pytest.approx(found["emitted_g"] / 2)
