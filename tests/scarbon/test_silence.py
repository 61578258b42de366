"""GPUs that send nothing: their time is in the books, with its energy unknown, until they count as gone."""

from __future__ import annotations

from tests.site import Site, iso, query

DAY_S = 86400
HOUR_S = 3600


def collect(site: Site, start_s: float, end_s: float) -> str:
    done = site.scarbon("collect", "-S", iso(start_s), "-E", iso(end_s))
    assert done.code in (0, 3), done
    return done.err


def balances(site: Site, start_s: float, end_s: float) -> list[tuple[object, ...]]:
    return query(
        site.ledger,
        "SELECT uuid, slot_s, known_s, metered_j, idle_s, idle_j, idle_location_g, method FROM balance "
        "JOIN meters USING (meter_id) WHERE kind = 'gpu' AND superseded_by IS NULL "
        f"AND slot_s >= {start_s} AND slot_s < {end_s} ORDER BY uuid, slot_s",
    )


def test_silent_hours_are_in_the_books_with_unknown_energy(mine: Site) -> None:
    silent_s = mine.end_s // HOUR_S * HOUR_S + HOUR_S  # the first hour without a sample
    collect(mine, mine.end_s, silent_s)
    said = collect(mine, silent_s, silent_s + 5 * HOUR_S)
    assert "warning: no GPU sent a sample" in said
    rows = balances(mine, silent_s, silent_s + 5 * HOUR_S)
    assert len(rows) == 3 * 5
    for _, _, known_s, metered_j, _, idle_j, location_g, method in rows:
        assert (known_s, metered_j, idle_j, location_g, method) == (0, None, None, None, "none")


def test_a_meter_counts_as_gone_after_a_week(mine: Site) -> None:
    for day in range(9):
        collect(mine, mine.end_s + day * DAY_S, mine.end_s + (day + 1) * DAY_S)
    last = max(int(str(row[1])) for row in balances(mine, mine.end_s, mine.end_s + 9 * DAY_S))
    assert mine.end_s + 7 * DAY_S - 2 * HOUR_S <= last <= mine.end_s + 7 * DAY_S


def test_windows_do_not_matter_for_silence(fresh: Site, mine: Site) -> None:
    until_s = fresh.end_s // HOUR_S * HOUR_S + 6 * HOUR_S
    collect(fresh, fresh.start_s, until_s)
    at_s = mine.end_s
    while at_s < until_s:
        collect(mine, at_s, min(at_s + HOUR_S, until_s))
        at_s += HOUR_S
    start_s = mine.end_s // HOUR_S * HOUR_S + HOUR_S
    assert balances(mine, start_s, until_s) == balances(fresh, start_s, until_s) != []


def test_a_report_shows_the_silence_as_coverage(mine: Site) -> None:
    first_s = int(mine.end_s // DAY_S + 1) * DAY_S  # a day later, in UTC
    collect(mine, mine.end_s, first_s + 3 * DAY_S)
    found = mine.good("report", "-S", "2026-09-23", "-E", "2026-09-24", "--format", "json").json
    assert found["total"]["gpu_seconds"] == 3 * DAY_S  # three GPUs, all day, held by jobs that still run or not
    assert found["total"]["coverage"] == 0
    assert found["total"]["gpu_energy_j"] is None
    assert mine.good("audit").code == 0


def test_a_window_before_all_samples_books_no_meter(fresh: Site) -> None:
    said = collect(fresh, fresh.start_s - 3 * DAY_S, fresh.start_s - 2 * DAY_S)
    assert "warning: no GPU sent a sample" in said
    assert balances(fresh, 0, 2**40) == []
