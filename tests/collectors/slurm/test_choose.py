"""`source: auto`, and what `doctor` is told of it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from collectors.slurm.choose import choose
from collectors.slurm.file import FileSource
from collectors.slurm.pyslurm import PyslurmSource
from collectors.slurm.sacct import SacctSource
from collectors.slurm.slurmrestd import SlurmrestdSource
from site_config.errors import ConfigError
from site_config.schema import Jobs

STANDINS = Path(__file__).with_name("standins")


@pytest.fixture(params=["none", "25.11.2", "24.11.0", "fatal"])
def installed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is found when pyslurm is imported."""
    version: str = request.param
    if version != "none":
        monkeypatch.syspath_prepend(str(STANDINS / version))
    monkeypatch.setitem(sys.modules, "pyslurm", None)  # whoever imports it here, and not in a child, fails
    return version


REASONS = {
    "none": "pyslurm cannot be imported: ModuleNotFoundError: No module named 'pyslurm'",
    "24.11.0": "pyslurm 24.11.0 does not say: what was allocated (GPUs), the earlier runs of requeued jobs, "
    "the parts of heterogeneous jobs",
    "fatal": "pyslurm cannot be imported: pyslurm: fatal: Could not establish a configuration source",
}


def test_auto(installed: str) -> None:
    source, reason = choose("alpha", Jobs(source="auto"))
    if installed == "25.11.2":
        assert isinstance(source, PyslurmSource)
        assert reason == "auto: pyslurm 25.11.2 says all that is needed"
    else:
        assert isinstance(source, SacctSource)
        assert reason == f"auto: {REASONS[installed]}; no slurmrestd is declared"


def test_auto_with_a_slurmrestd(installed: str) -> None:
    source, reason = choose("alpha", Jobs(source="auto", url="http://slurm:6820"))
    if installed == "25.11.2":
        assert isinstance(source, PyslurmSource)
    else:
        assert isinstance(source, SlurmrestdSource)
        assert reason == f"auto: http://slurm:6820 is declared; {REASONS[installed]}"


def test_what_is_declared_is_taken(tmp_path: Path) -> None:
    taken = [
        choose("alpha", Jobs(source="sacct", sacct=tmp_path / "sacct", timeout_s=7)),
        choose("alpha", Jobs(source="file", path=tmp_path / "dump")),
        choose("alpha", Jobs(source="slurmrestd", url="http://slurm:6820")),
        choose("alpha", Jobs(source="pyslurm")),
    ]
    assert [type(source) for source, _ in taken] == [SacctSource, FileSource, SlurmrestdSource, PyslurmSource]
    assert all(reason.startswith("declared") for _, reason in taken)
    sacct = taken[0][0]
    assert isinstance(sacct, SacctSource)
    assert (sacct.sacct, sacct.timeout_s) == (str(tmp_path / "sacct"), 7)


def test_a_token_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="token"):
        choose("alpha", Jobs(source="slurmrestd", url="http://slurm:6820", token_file=tmp_path / "token"))
