from pathlib import Path

import pytest

from accounting.model import FactorSlot
from accounting.sources import SourceError
from collectors.grid.chain import fill
from collectors.grid.file import FileIntensity
from collectors.grid.static import StaticIntensity

HOUR = 3600.0
MIDNIGHT = 1_790_812_800.0  # 2026-10-01T00:00:00Z


def write(tmp_path: Path, text: str) -> FileIntensity:
    path = tmp_path / "intensity.csv"
    path.write_text(text)
    return FileIntensity(path)


def test_a_hole_in_the_file_is_filled_by_the_yearly_mean(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        "start,end,gco2e_per_kwh,estimated\n"
        "2026-10-01T02:00:00+02:00,2026-10-01T01:00:00Z,50,false\n"
        "2026-10-01T02:00:00Z,2026-10-01T04:00:00Z,70,true\n",
    )
    slots, report = fill([file, StaticIntensity("FRA")], MIDNIGHT, MIDNIGHT + 3 * HOUR)
    assert [(slot.start_s - MIDNIGHT, slot.end_s - MIDNIGHT, slot.value, slot.estimated) for slot in slots] == [
        (0, HOUR, 50, False),
        (HOUR, 2 * HOUR, 56.0, True),
        (2 * HOUR, 3 * HOUR, 70, True),
    ]
    assert report.seconds_by_source == {"file": 2 * HOUR, "static": HOUR}
    assert report.holes == ()


def test_what_nobody_knows_is_listed(tmp_path: Path) -> None:
    file = write(tmp_path, "start,end,gco2e_per_kwh\n2026-10-01T01:00:00Z,2026-10-01T02:00:00Z,50\n")
    slots, report = fill([file], MIDNIGHT, MIDNIGHT + 3 * HOUR)
    assert slots == (FactorSlot(MIDNIGHT + HOUR, MIDNIGHT + 2 * HOUR, 50, "file intensity.csv"),)
    assert report.holes == ((MIDNIGHT, MIDNIGHT + HOUR), (MIDNIGHT + 2 * HOUR, MIDNIGHT + 3 * HOUR))


def test_overlapping_slots_of_a_file_are_refused(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        "start,end,gco2e_per_kwh\n2026-10-01T00:00Z,2026-10-01T02:00Z,50\n2026-10-01T01:00Z,2026-10-01T02:00Z,50\n",
    )
    with pytest.raises(SourceError, match=r"intensity\.csv:3: overlaps the slot on line 2"):
        file.slots(MIDNIGHT, MIDNIGHT + HOUR)
