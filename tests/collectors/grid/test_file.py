from pathlib import Path

import pytest

from accounting.model import FactorSlot
from accounting.sources import SourceError
from collectors.grid.file import FileIntensity

HEADER = "start,end,gco2e_per_kwh"
MIDNIGHT = 1_790_812_800.0  # 2026-10-01T00:00:00Z


def write(tmp_path: Path, *lines: str) -> FileIntensity:
    path = tmp_path / "intensity.csv"
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return FileIntensity(path)


def test_slots_of_any_length_in_any_order(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        HEADER,
        "2026-10-01T03:00:00+02:00,2026-10-01T01:00:01Z,70",
        "2026-10-01T00:00:00Z,2026-10-01T01:00:00Z,50.5",
        "",
    )
    assert list(file.slots(MIDNIGHT, MIDNIGHT + 86_400)) == [
        FactorSlot(MIDNIGHT, MIDNIGHT + 3600, 50.5, "file intensity.csv"),
        FactorSlot(MIDNIGHT + 3600, MIDNIGHT + 3601, 70, "file intensity.csv"),
    ]


def test_only_what_overlaps_the_window(tmp_path: Path) -> None:
    hours = [f"2026-10-01T{hour:02}:00Z,2026-10-01T{hour + 1:02}:00Z,{hour}" for hour in range(6)]
    file = write(tmp_path, HEADER, *hours)
    assert [slot.value for slot in file.slots(MIDNIGHT + 3600, MIDNIGHT + 2.5 * 3600)] == [1, 2]
    assert list(file.slots(MIDNIGHT - 3600, MIDNIGHT)) == []


def test_estimates_are_marked(tmp_path: Path) -> None:
    words = ["true", "False", "1", "0", "yes", "no", ""]
    rows = [f"2026-10-01T{hour:02}:00Z,2026-10-01T{hour + 1:02}:00Z,50,{word}" for hour, word in enumerate(words)]
    file = write(tmp_path, HEADER + ",estimated", *rows)
    marks = [slot.estimated for slot in file.slots(MIDNIGHT, MIDNIGHT + 86_400)]
    assert marks == [True, False, True, False, True, False, False]


def test_a_spreadsheets_byte_order_mark_and_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "intensity.csv"
    path.write_bytes(f"\ufeff{HEADER}\r\n2026-10-01T00:00Z,2026-10-01T01:00Z,50\r\n".encode())
    assert [slot.value for slot in FileIntensity(path).slots(MIDNIGHT, MIDNIGHT + 3600)] == [50]


def test_a_header_alone_knows_nothing(tmp_path: Path) -> None:
    assert list(write(tmp_path, HEADER).slots(MIDNIGHT, MIDNIGHT + 3600)) == []


GOOD = "2026-10-01T00:00Z,2026-10-01T01:00Z,50"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "1: the header must be start,end,gco2e_per_kwh"),
        (["from,to,value", GOOD], "1: the header must be start,end,gco2e_per_kwh"),
        ([GOOD], "1: the header must be"),
        ([HEADER, GOOD, "2026-10-01T00:30Z,2026-10-01T02:00Z,50"], "3: overlaps the slot on line 2"),
        ([HEADER, "2026-10-01T00:30Z,2026-10-01T02:00Z,50", GOOD], "3: overlaps the slot on line 2"),
        ([HEADER, GOOD, GOOD], "3: overlaps the slot on line 2"),
        ([HEADER, "2026-10-01T00:00,2026-10-01T01:00Z,50"], "2: '2026-10-01T00:00' has no time zone"),
        ([HEADER, "2026-10-01,2026-10-02,50"], "2: '2026-10-01' has no time zone"),
        ([HEADER, "1 October,2026-10-02T00:00Z,50"], "2: '1 October' is not a time"),
        ([HEADER, "2026-10-01T01:00Z,2026-10-01T01:00Z,50"], "2: ends at 2026-10-01T01:00Z, not after its start"),
        ([HEADER, "2026-10-01T02:00Z,2026-10-01T01:00Z,50"], "2: ends at"),
        ([HEADER, "2026-10-01T00:00Z,2026-10-01T01:00Z,-1"], "2: -1 gCO2e/kWh is not between 0 and 5000"),
        ([HEADER, "2026-10-01T00:00Z,2026-10-01T01:00Z,5001"], "2: 5001 gCO2e/kWh is not between 0 and 5000"),
        ([HEADER, "2026-10-01T00:00Z,2026-10-01T01:00Z,nan"], "2: nan gCO2e/kWh is not between"),
        ([HEADER, "2026-10-01T00:00Z,2026-10-01T01:00Z,low"], "2: 'low' is not a number"),
        ([HEADER, "2026-10-01T00:00Z,2026-10-01T01:00Z,"], "2: '' is not a number"),
        ([HEADER, "2026-10-01T00:00Z,2026-10-01T01:00Z"], "2: has 2 columns, not 3"),
        ([HEADER, GOOD + ",true"], "2: has 4 columns, not 3"),
        ([HEADER + ",estimated", GOOD + ",perhaps"], "2: estimated must be true or false, not 'perhaps'"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, lines: list[str], said: str) -> None:
    file = write(tmp_path, *lines)
    with pytest.raises(SourceError) as error:
        file.slots(MIDNIGHT, MIDNIGHT + 3600)
    assert error.value.what.startswith(f"{file.path}:{said}")
    assert error.value.advice


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"nowhere\.csv: no such file or directory"):
        FileIntensity(tmp_path / "nowhere.csv").slots(MIDNIGHT, MIDNIGHT + 3600)
    with pytest.raises(SourceError, match="is a directory"):
        FileIntensity(tmp_path).slots(MIDNIGHT, MIDNIGHT + 3600)
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SourceError, match="is not UTF-8 text"):
        FileIntensity(binary).slots(MIDNIGHT, MIDNIGHT + 3600)
