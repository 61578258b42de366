"""A GPU whose energy counter and power gauge disagree is named: by doctor before, by audit after it was accounted."""

from __future__ import annotations

from tests.site import Site

POWER = "DCGM_FI_DEV_POWER_USAGE"


def spoil(site: Site) -> str:
    """Let the gauge of one GPU show half of its power; returns the GPU's UUID."""
    samples = site.folder / "dcgm.om"
    lines = samples.read_text().splitlines()
    uuid = next(line for line in lines if line.startswith(POWER)).partition('UUID="')[2].partition('"')[0]
    for place, line in enumerate(lines):
        if line.startswith(POWER) and uuid in line:
            series, value, time = line.rsplit(" ", 2)
            lines[place] = f"{series} {float(value) / 2:.3f} {time}"
    samples.write_text("\n".join(lines) + "\n")
    return uuid


def test_a_sound_site_hears_nothing_of_it(fresh: Site) -> None:
    assert "power gauge" not in fresh.scarbon("doctor").out


def test_doctor_and_audit_name_the_gpu(fresh: Site) -> None:
    uuid = spoil(fresh)
    (line,) = [line for line in fresh.scarbon("doctor").out.splitlines() if "power gauge" in line]
    assert line.startswith("warn") and uuid in line
    fresh.collect()
    told = [line for line in fresh.good("audit").out.splitlines() if "power gauge" in line]
    assert len(told) == 1 and uuid in told[0]
    ((ratio, named),) = [
        (one["counter_over_gauge"], one["uuid"])
        for one in fresh.good("audit", "--json").json["meters"]
        if one["counter_over_gauge"] and one["counter_over_gauge"] > 1.5
    ]
    assert named == uuid and 1.8 < ratio < 2.2
