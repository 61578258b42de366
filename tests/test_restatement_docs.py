"""docs/restatement.md: its console blocks, run one after the other on the demo, print what they show."""

from __future__ import annotations

import re
import shlex
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from tests.site import Site, query, scarbon

PAGE = (Path(__file__).parents[1] / "docs" / "restatement.md").read_text(encoding="utf-8")

#: What happens between the commands, by the words before which it does.
FINAL, YEAR = "--dry-run", '"PUE of the year"'


def shown() -> list[tuple[str, list[str]]]:
    """Each command, with the lines under it; `…` stands for anything."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line.removeprefix("$ "), []))
            elif line:
                found[-1][1].append(line)
    return found


def test_the_page_shows_what_is_printed(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    assert scarbon("demo", "--folder", folder, "--month", "2026-10").code == 0
    start, end = (int(datetime(2026, month, 1, tzinfo=UTC).timestamp()) for month in (10, 11))
    demo = Site(folder, "alpha", ZoneInfo("UTC"), start, end)
    moment = query(demo.ledger, "SELECT MAX(finished_s) FROM runs")[0][0]
    for command, lines in shown():
        if FINAL in command:
            place = folder / "intensity.csv"
            text = re.sub(r"^(2026-10-(?:0[5-9]|1[01])T.*),[\d.]+$", r"\1,50", place.read_text(), flags=re.MULTILINE)
            place.write_text(text)
        if YEAR in command:
            demo.change("pue: 1.2", "pue: 1.25")
        _, *words = shlex.split(command.replace("MOMENT", datetime.fromtimestamp(moment + 1e-3, UTC).isoformat()))
        printed = [line.rstrip() for line in demo.good(*words).out.splitlines()]
        for line in lines:
            pattern = ".*".join(map(re.escape, line.split("…")))
            assert any(re.fullmatch(pattern, one) for one in printed), (command, line, printed)
    assert len(shown()) >= 8
