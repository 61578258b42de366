"""The README's commands are run, and what it shows is what they print."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def run(folder: Path, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scarbon", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readme")
    made = run(folder, ["demo", "--month", "2026-10"])
    assert made.returncode == 0, made.stderr
    return folder / "scarbon-demo"


def shown() -> list[tuple[str, list[str]]]:
    """Each command of the console blocks, with the lines that stand under it."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line.removeprefix("$ "), []))
            elif line != "…":
                found[-1][1].append(line)
    return found


def test_the_readme_shows_some_output() -> None:
    assert sum(len(lines) for _, lines in shown()) >= 10


@pytest.mark.parametrize(("command", "lines"), shown(), ids=lambda value: value if isinstance(value, str) else "")
def test_what_the_readme_shows_is_printed(demo: Path, command: str, lines: list[str]) -> None:
    program, *arguments = shlex.split(command)
    assert program == "scarbon"
    done = run(demo, ["--config", "site.yaml", *arguments])
    assert done.returncode == 0, done.stderr
    printed = [line.rstrip() for line in done.stdout.splitlines()]
    assert [line for line in lines if line not in printed] == []


def test_the_two_commands_are_targets_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in ("demo", "test"):
        assert re.search(rf"^make {target} ", README, re.MULTILINE)
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


@pytest.mark.parametrize("command", sorted(set(re.findall(r"`(scarbon [a-z]+[^`]*)`", README))))
def test_the_commands_of_the_text_exist_with_their_options(command: str) -> None:
    _, verb, *arguments = shlex.split(command)
    helped = run(ROOT, [verb, "--help"])
    assert helped.returncode == 0, helped.stderr
    for option in (argument for argument in arguments if argument.startswith("-")):
        # `install --dry-run` belongs to a verb of `hooks`
        deeper = helped if option in helped.stdout else run(ROOT, [verb, arguments[0], "--help"])
        assert option in deeper.stdout, f"{verb} has no {option}"


def test_every_page_that_is_linked_is_there() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), ROOT / "CONTRIBUTING.md"]
    missing = [
        f"{page.name}: {target}"
        for page in pages
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert missing == []
