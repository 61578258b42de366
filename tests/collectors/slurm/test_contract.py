"""One contract for all sources of jobs: over the same cluster, each hands out the same attempts, each once."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from accounting.model import Job
from accounting.sources import JobSource
from collectors.slurm.file import FileSource
from collectors.slurm.pyslurm import PyslurmSource, probe
from collectors.slurm.sacct import SacctSource
from collectors.slurm.slurmrestd import SlurmrestdSource
from tests.collectors.slurm import world
from tests.collectors.slurm.conftest import NEW_FIELDS, FakeSlurm
from tests.collectors.slurm.rest_server import TOKEN, RestServer
from tests.collectors.slurm.world import END_S, START_S

HERE = Path(__file__).parent


@pytest.fixture
def standin_pyslurm(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """pyslurm 25.11.2: the real one where it can be imported, else the stand-in; says which."""
    found = probe()
    which = f"the real {found}"
    if not found.usable:
        monkeypatch.syspath_prepend(str(HERE / "standins" / "25.11.2"))
        which = f"a stand-in for pyslurm 25.11.2 ({found})"
    yield which
    sys.modules.pop("pyslurm", None)
    world.PYSLURM.clear()


def dump(path: Path, columns: list[str], separator: str, closed: bool) -> Path:
    """What `sacct -P` (or `-p`: closed) writes of all records of both clusters."""
    rows = [columns] + [[world.sacct_fields(record)[name] for name in columns] for record in world.RECORDS]
    end = separator * closed + "\n"
    path.write_text("".join(separator.join(row) + end for row in rows))
    return path


#: The source, what it leaves unsaid, and how it is made.
Made = tuple[JobSource, dict[str, bool]]


@pytest.fixture(
    params=["sacct 22.05", "sacct 25.11", "sacct by the hour", "sacct -P", "sacct -p", "pyslurm"]
    + [f"{way} {version or '22.05'}" for way in ("json", "slurmrestd") for version in world.VERSIONS]
    + ["slurmrestd by socket", "slurmrestd by the hour"]
)
def made(
    request: pytest.FixtureRequest,
    fake_slurm: FakeSlurm,
    rest_server: Callable[..., RestServer],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> Made:
    name: str = request.param
    way, _, which = name.partition(" ")
    if name.startswith("sacct -"):
        if which == "-p":
            return FileSource("alpha", dump(tmp_path / "dump", NEW_FIELDS, "¦", closed=True)), {}
        # With a separator that names may hold, a name with newlines can only come last, and be alone in that.
        columns = [column for column in NEW_FIELDS if column not in ("JobName", "Comment")]
        return FileSource("alpha", dump(tmp_path / "dump", [*columns, "JobName"], "|", closed=False)), {
            "comment": False
        }
    if way == "sacct":
        fake_slurm.set(fields=NEW_FIELDS if which == "25.11" else fake_slurm.facts["fields"])
        days = 1 / 24 if which == "by the hour" else 7
        return SacctSource("alpha", fake_slurm.sacct, days_a_call=days), {"restarts": which == "25.11"}
    if way == "pyslurm":
        said = request.getfixturevalue("standin_pyslurm")
        with capsys.disabled():
            print(f"\n[pyslurm's contract runs against {said}]")
        return PyslurmSource("alpha"), {}
    version = int(which) if which.isdecimal() else None
    gaps = {"restarts": (version or 0) >= 42, "uid": False, "exit_code": (version or 0) >= 40}
    if way == "json":
        path = tmp_path / "dump.json"
        path.write_text(json.dumps(world.answer(list(world.RECORDS), version), indent=2))
        return FileSource("alpha", path), gaps
    socket = tmp_path / "socket" if which == "by socket" else None
    server = rest_server((version,), socket=socket)
    days = 1 / 24 if which == "by the hour" else 7
    return SlurmrestdSource("alpha", server.url, "ada", None if socket else TOKEN, days_a_call=days), gaps


def test_each_source_hands_out_the_same_attempts(made: Made) -> None:
    source, gaps = made
    jobs = list(source.jobs(START_S, END_S))
    assert all(isinstance(job, Job) for job in jobs), jobs
    found = {(job.job_id, job.submit_s): job for job in jobs if isinstance(job, Job)}
    assert len(found) == len(jobs)  # each once
    wanted = world.expected(**gaps)
    assert set(found) == set(wanted)
    for key, job in wanted.items():
        assert found[key] == job


def test_an_empty_window_has_no_jobs(made: Made) -> None:
    """Long before the first job."""
    source, _ = made
    assert list(source.jobs(START_S - 10 * 86400, START_S - 9 * 86400)) == []


def test_two_windows_hand_out_what_is_in_both_twice(made: Made) -> None:
    """A window is asked for by itself: a job across its edge belongs to both sides."""
    source, _ = made
    noon = START_S + 43200
    both = [
        {(job.job_id, job.submit_s) for job in source.jobs(*window) if isinstance(job, Job)}
        for window in ((START_S, noon), (noon, END_S))
    ]
    across = both[0] & both[1]
    # Still there at noon: the array that waits, and two jobs that have not ended.
    assert across == {(203, START_S + 100), (402, START_S + 1700), (601, START_S + 50)}
    assert both[0] | both[1] == set(world.expected())


def test_local_times_are_read_in_the_zone_of_the_site(tmp_path: Path) -> None:
    """As sacct writes them without SLURM_TIME_FORMAT: 02:00:10 in Paris is 00:00:10 UTC, in summer."""
    row = world.sacct_fields(world.RECORDS[0])
    row |= {"Submit": "2026-10-01T02:00:00", "Start": "2026-10-01T02:00:10", "End": "2026-10-01T02:10:00"}
    path = tmp_path / "dump"
    path.write_text("|".join(row) + "\n" + "|".join(row.values()) + "\n")
    (job,) = FileSource("alpha", path, ZoneInfo("Europe/Paris")).jobs(START_S, END_S)
    assert job == world.expected()[101, START_S]
