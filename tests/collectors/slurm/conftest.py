"""Slurm's ways out, each over the same small world."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.collectors.slurm import world
from tests.collectors.slurm.rest_server import RestServer
from tests.collectors.slurm.world import Record

#: Columns that every sacct since 20.11 knows, and those that came later.
OLD_FIELDS = [name for name in world.sacct_fields(world.RECORDS[0]) if name not in ("Restarts", "SLUID")]
NEW_FIELDS = list(world.sacct_fields(world.RECORDS[0]))


@dataclass
class FakeSlurm:
    """`sacct` and `sacctmgr` that answer out of a world of ours."""

    folder: Path
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def sacct(self) -> str:
        return str(self.folder / "bin" / "sacct")

    @property
    def sacctmgr(self) -> str:
        return str(self.folder / "bin" / "sacctmgr")

    def set(self, records: tuple[Record, ...] = world.RECORDS, **more: Any) -> None:
        """Give it rows, and whatever else of its world."""
        rows = []
        for record in records:
            eligible = world.START_S + (record.submit if record.eligible is None else record.eligible)
            rows.append(world.sacct_fields(record) | {"_eligible": eligible, "_end": world.at(record.end)})
        self.facts |= {"rows": rows} | more
        self.write()

    def write(self) -> None:
        (self.folder / "world.json").write_text(json.dumps(self.facts))

    def calls(self) -> list[list[str]]:
        """The command lines so far, of sacct and sacctmgr, without those that ask for the known fields."""
        lines = (self.folder / "world.json.calls").read_text().splitlines()
        return [call for call in map(json.loads, lines) if "--helpformat" not in call]


@pytest.fixture
def fake_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    """A fake of Slurm 22.05 with the whole world in it."""
    code = Path(__file__).with_name("fake_slurm.py").read_text()
    (tmp_path / "bin").mkdir()
    for name in ("sacct", "sacctmgr"):
        program = tmp_path / "bin" / name
        program.write_text(f"#!{sys.executable} -IS\n{code}")
        program.chmod(0o755)
    fake = FakeSlurm(tmp_path)
    clusters = {"--noheader --parsable2 show cluster format=Cluster": "alpha\nbeta\n"}
    fake.set(fields=OLD_FIELDS, sacctmgr=clusters)
    for name in ("SLURM_JWT", "SLURM_CONF_SERVER", "LD_LIBRARY_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "world.json"))
    monkeypatch.setenv("SACCT_FORMAT", "JobName")  # a person's settings must not reach sacct
    return fake


@pytest.fixture
def rest_server() -> Iterator[Callable[..., RestServer]]:
    """Starts slurmrestds of ours; they are stopped after the test."""
    servers: list[RestServer] = []

    def start(*arguments: Any, **more: Any) -> RestServer:
        servers.append(RestServer(*arguments, **more))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()
