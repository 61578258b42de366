"""The shape of the house: who may import whom, what starts quickly, and what the wheel holds.

Imports are read from the sources, so that one inside a function counts, too.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.site import Site, environment, iso

CHECKOUT = Path(__file__).resolve().parents[1]

#: Each room, and the rooms and modules that it may import besides itself (docs/architecture.md has the table).
MAY_IMPORT = {
    "site_config": (),
    "slurm_plugin": (),
    "accounting": ("site_config",),
    "collectors": (
        "accounting.model",
        "accounting.accounts",
        "accounting.sources",
        "accounting.arrays",
        "site_config",
        "slurm_plugin",
    ),
    "scarbon": ("accounting", "collectors", "site_config", "slurm_plugin", "simulator"),
    "simulator": ("accounting.model",),
}

#: The modules of `accounting` that are arithmetic: values in, values out. They know no database, no clock on the wall
#: and no file but the bundled tables; what they import of `accounting` stands here, too.
ARITHMETIC = (
    "arrays", "attribution", "calculator", "clock", "edges", "energy", "gpus", "hardware", "holders", "host", "model",
    "reading", "sharing", "sources", "timeline", "uncertainty",
)  # fmt: skip
ARITHMETIC_MAY_IMPORT = {
    "bisect", "collections", "dataclasses", "datetime", "difflib", "fractions", "functools", "itertools", "json",
    "math", "numpy", "re", "site_config", "typing", "unicodedata", "zoneinfo", "__future__",
}  # fmt: skip

#: Imports that cost more than a user's patience at each call.
HEAVY = (
    "numpy", "polars", "pandas", "matplotlib", "fastapi", "uvicorn", "sqlalchemy", "alembic", "requests", "urllib3",
    "prometheus_api_client", "prometheus_client", "rich", "jinja2", "babel", "weasyprint", "plotext", "ClusterShell",
    "pyslurm",
)  # fmt: skip


@dataclass(frozen=True)
class Import:
    """One import of one of our modules, or of another's."""

    importer: str
    imported: str
    line: int
    at_import_time: bool  # neither inside a function nor for the type checker only

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.imported}"


@cache
def imports() -> tuple[Import, ...]:
    """Every import of every module of the rooms."""
    return tuple(found for name, path in modules().items() for found in imports_of(name, path.read_text()))


@cache
def modules() -> Mapping[str, Path]:
    """Every module of the rooms by its dotted name."""
    found = {}
    for room in MAY_IMPORT:
        for path in sorted((CHECKOUT / room).rglob("*.py")):
            parts = path.relative_to(CHECKOUT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(name: str, source: str) -> Iterator[Import]:
    """The imports in one source, `from package import module` as one of the module where there is such a module."""

    def walk(node: ast.AST, now: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from (Import(name, alias.name, child.lineno, now) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{name}:{child.lineno}: imports are absolute here"
                for alias in child.names:
                    module = f"{child.module}.{alias.name}"
                    yield Import(name, module if module in modules() else str(child.module), child.lineno, now)
            elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                yield from walk(child, False)
            elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                for part in child.body:
                    yield from walk(ast.Module([part], []), False)
                for part in child.orelse:
                    yield from walk(ast.Module([part], []), now)
            else:
                yield from walk(child, now)

    yield from walk(ast.parse(source), True)


def room_of(module: str) -> str:
    return module.partition(".")[0]


def is_within(module: str, allowed: str) -> bool:
    return module == allowed or module.startswith(f"{allowed}.")


# --- who may import whom


def test_every_package_of_the_wheel_is_a_room() -> None:
    packages = {path.parent.name for path in CHECKOUT.glob("*/__init__.py")}
    assert packages == set(MAY_IMPORT)


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_what_it_may(room: str) -> None:
    wrong = [
        str(one)
        for one in imports()
        if room_of(one.importer) == room
        and room_of(one.imported) in MAY_IMPORT
        and not any(is_within(one.imported, allowed) for allowed in (room, *MAY_IMPORT[room]))
    ]
    assert wrong == []


def test_the_rooms_make_no_circle() -> None:
    graph: dict[str, set[str]] = {room: set() for room in MAY_IMPORT}
    for one in imports():
        if room_of(one.imported) in MAY_IMPORT and room_of(one.imported) != room_of(one.importer):
            graph[room_of(one.importer)].add(room_of(one.imported))
    TopologicalSorter(graph).prepare()


def test_modules_make_no_circle_when_they_are_imported() -> None:
    graph: dict[str, set[str]] = {name: set() for name in modules()}
    for one in imports():
        if one.at_import_time and one.imported in graph and one.imported != one.importer:
            graph[one.importer].add(one.imported)
    TopologicalSorter(graph).prepare()


def test_slurm_plugin_needs_the_standard_library_alone() -> None:
    wrong = [
        str(one)
        for one in imports()
        if room_of(one.importer) == "slurm_plugin" and room_of(one.imported) not in {"slurm_plugin"} | STANDARD
    ]
    assert wrong == []


STANDARD = set(sys.stdlib_module_names) | {"__future__"}


@pytest.mark.parametrize("name", ARITHMETIC)
def test_the_arithmetic_imports_nothing_above_it(name: str) -> None:
    here = {f"accounting.{one}" for one in ARITHMETIC}
    assert f"accounting.{name}" in modules()
    wrong = [
        str(one)
        for one in imports()
        if one.importer == f"accounting.{name}"
        and one.imported not in here
        and room_of(one.imported) not in ARITHMETIC_MAY_IMPORT
    ]
    assert wrong == []


def test_the_reader_of_imports_sees_every_kind() -> None:
    source = """
import numpy as np
from accounting import clock
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from accounting.model import Job
else:
    import json
def later():
    from accounting.ledger.store import Ledger
class Body:
    import os.path
try:
    import polars
except ImportError:
    pass
"""
    found = {one.imported: one.at_import_time for one in imports_of("made.up", source)}
    assert found == {
        "numpy": True, "accounting.clock": True, "typing": True, "accounting.model": False, "json": True,
        "accounting.ledger.store": False, "os.path": True, "polars": True,
    }  # fmt: skip


def test_a_circle_is_seen() -> None:
    with pytest.raises(CycleError):
        TopologicalSorter({"a": {"b"}, "b": {"a"}}).prepare()


# --- what starts quickly

LOADED = """
import runpy, sys
sys.argv = ["scarbon", *sys.argv[1:]]
try:
    runpy.run_module("scarbon", run_name="__main__")
except SystemExit as stop:
    assert not stop.code, stop.code
print(*sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""


def loaded_by(*words: str) -> set[str]:
    """The top-level modules that a command has loaded when it ends."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *words],
        cwd=CHECKOUT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize("words", [["--help"], ["--version"]], ids=" ".join)
def test_a_word_about_itself_loads_next_to_nothing(words: list[str]) -> None:
    loaded = loaded_by(*words)
    assert "scarbon" in loaded
    assert loaded & {*HEAVY, "pydantic", "yaml", "sqlite3", "accounting", "collectors"} == set()


@pytest.mark.parametrize("form", [[], ["-P", "-o", "JobID,Start,CO2e"], ["--json"], ["--helpformat"]], ids=str)
def test_jobs_loads_nothing_heavy(booked: Site, form: list[str]) -> None:
    window = ["-a", "-S", iso(booked.start_s), "-E", iso(booked.end_s)]
    loaded = loaded_by("--config", str(booked.config), "jobs", *window, *form)
    assert "accounting" in loaded
    assert loaded & set(HEAVY) == set()


# --- what the wheel holds


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, as the backend that pyproject.toml names builds it."""
    folder = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(CHECKOUT)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = folder.glob("*.whl")
    return made


def test_the_wheel_holds_the_rooms_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.partition("/")[0] for name in names}
    (information,) = [top for top in tops if top.endswith(".dist-info")]
    assert information.startswith("scarbon-")
    assert tops - {information} == set(MAY_IMPORT)
    in_wheel = {name for name in names if name.endswith(".py")}
    assert in_wheel == {str(path.relative_to(CHECKOUT)) for path in modules().values()}


def test_the_wheel_holds_the_tables_and_the_promise_of_types(wheel: Path) -> None:
    tables = {str(path.relative_to(CHECKOUT)) for path in (CHECKOUT / "site_config" / "tables").glob("*.csv")}
    assert len(tables) >= 4
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert tables <= names
    assert {f"{room}/py.typed" for room in ("accounting", "collectors", "site_config", "scarbon")} <= names


def test_the_wheel_holds_the_pages(wheel: Path) -> None:
    pages = CHECKOUT / "scarbon" / "pages"
    files = {
        str(path.relative_to(CHECKOUT)) for folder in ("catalogues", "templates") for path in (pages / folder).iterdir()
    }
    assert len(files) >= 5
    with zipfile.ZipFile(wheel) as archive:
        assert files <= set(archive.namelist())


def test_the_wheel_installs_the_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
        assert "scarbon = scarbon.cli:main" in archive.read(name).decode()


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel put into a folder of its own."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def run_installed(installed: Path, folder: Path, *words: str) -> str:
    """Run the installed command in `folder`, with the sources out of sight; its stdout."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "scarbon", *words],
        cwd=folder,
        env=environment(PYTHONPATH=str(installed), PYTHONSAFEPATH="1"),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_installed_command_runs(installed: Path, tmp_path: Path) -> None:
    where = "import scarbon, accounting; print(scarbon.__file__, accounting.__file__)"
    shown = subprocess.run(
        [sys.executable, "-c", where], cwd=tmp_path, env=environment(PYTHONPATH=str(installed)), capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    assert all(place.startswith(f"{installed}{os.sep}") for place in shown.stdout.split())
    assert run_installed(installed, tmp_path, "--version").startswith("scarbon 0.")
    assert "--list" in run_installed(installed, tmp_path, "calculate", "--help")


def test_the_installed_command_accounts_a_recording(installed: Path, recorded: Site, tmp_path: Path) -> None:
    site = recorded.copy(tmp_path / "site")
    config = ["--config", str(site.config)]
    run_installed(installed, tmp_path, *config, "collect", *site.window)
    assert "The books balance." in run_installed(installed, tmp_path, *config, "audit")


def test_the_version_is_said_once(wheel: Path) -> None:
    from scarbon import __version__

    assert wheel.name.startswith(f"scarbon-{__version__}-")
