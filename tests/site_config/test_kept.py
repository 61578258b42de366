"""The kept configuration says what the file says, and no longer than the file does."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from site_config import kept
from site_config.errors import ConfigError
from site_config.kept import load_kept
from site_config.load import load

SITE = """\
site: {name: "Zürich HPC", timezone: Europe/Zurich}
ledger: {url: "postgresql+psycopg://scarbon@db/books", password_file: secret}
clusters:
  alpha:
    jobs: {source: file, path: jobs.sacct}
    gpu: {prometheus: {url: "http://127.0.0.1:9090"}, match: {job: dcgm}, journal: journal}
    host: {method: model, cpu_w_per_core: 4.0}
    embodied: {gpu_kgco2e: {low: 130, best: 273, high: 320}, lifetime_years: 5}
  beta: {jobs: {source: sacct}}
uncertainty: {sensor: 0.1}
wue_l_per_kwh: 1.8
pue: [{from: 2026-01-01, to: 2027-01-01, value: 1.2}, {from: 2027-01-01, value: 1.15}]
grid:
  zone: FRA
  location: [{source: file, path: intensity.csv}, {source: static}]
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "scarbon"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    path = tmp_path / "site.yaml"
    path.write_text(SITE, encoding="utf-8")
    return path


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were read by the schema."""
    paths: list[Path] = []

    def spy(path: Path) -> Any:
        paths.append(path)
        return load(path)

    monkeypatch.setattr("site_config.load.load", spy)
    return paths


def test_what_is_kept_is_what_the_file_says(site: Path, read: list[Path]) -> None:
    load_kept(site)
    again = load_kept(site)
    assert read == [site]
    real = load(site)
    assert (again.site.name, again.site.timezone, again.site.zone) == ("Zürich HPC", "Europe/Zurich", real.site.zone)
    assert vars(again.ledger) == vars(real.ledger)
    assert {name: one.host.method for name, one in again.clusters.items()} == {"alpha": "model", "beta": "none"}
    assert vars(again.uncertainty) == vars(real.uncertainty)
    assert again.uncertainty.sensor == 0.1
    assert again.wue_l_per_kwh == real.wue_l_per_kwh == 1.8


def test_a_file_that_changed_is_read_again(site: Path, read: list[Path]) -> None:
    load_kept(site)
    before = site.stat()
    site.write_text(SITE.replace("books", "tomes"), encoding="utf-8")
    os.utime(site, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert load_kept(site).ledger.url.endswith("/tomes")
    assert len(read) == 2


def test_a_file_that_became_wrong_is_refused(site: Path) -> None:
    load_kept(site)
    site.write_text(SITE.replace("zone: FRA", "zoen: FRA"), encoding="utf-8")
    with pytest.raises(ConfigError, match="zoen"):
        load_kept(site)


def test_another_version_of_the_code_reads_for_itself(
    site: Path, read: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    load_kept(site)
    (tmp_path / "schema.py").touch()
    monkeypatch.setattr(kept, "HERE", tmp_path)
    load_kept(site)
    assert len(read) == 2


def test_the_same_text_elsewhere_has_its_own_paths(site: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "site.yaml"
    other.parent.mkdir()
    other.write_text(SITE, encoding="utf-8")
    for _ in range(2):
        assert load_kept(site).ledger.password_file == tmp_path / "secret"
        assert load_kept(other).ledger.password_file == tmp_path / "other" / "secret"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"key": 1}', "null"])
def test_what_is_broken_is_read_anew(site: Path, read: list[Path], folder: Path, content: str) -> None:
    load_kept(site)
    (place,) = folder.iterdir()
    place.write_text(content)
    assert load_kept(site).site.name == "Zürich HPC"
    assert len(read) == 2
    json.loads(place.read_text())


def test_nobody_else_may_read_what_is_kept(site: Path, folder: Path) -> None:
    load_kept(site)
    (place,) = folder.iterdir()
    assert (folder.stat().st_mode & 0o777, place.stat().st_mode & 0o777) == (0o700, 0o600)


def test_without_a_place_to_keep_it_the_file_is_read_each_time(
    site: Path, read: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert [load_kept(site).site.name for _ in range(2)] == ["Zürich HPC"] * 2
    assert len(read) == 2


def test_a_file_that_is_not_there_is_told_as_ever(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_kept(tmp_path / "none.yaml")
    assert not folder.exists()
