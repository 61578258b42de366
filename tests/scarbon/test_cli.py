"""The command itself: its verbs, its help, wrong use, and how it ends."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scarbon import __version__, cli
from scarbon.cli import VERBS
from tests.site import CHECKOUT, Site, environment, scarbon, start


def test_the_version() -> None:
    assert scarbon_says("--version") == f"scarbon {__version__}\n"


def scarbon_says(*words: str) -> str:
    done = scarbon(*words)
    assert (done.code, done.err) == (0, "")
    return done.out


@pytest.mark.parametrize("words", [["--help"], ["-h"]], ids=str)
def test_help_names_every_verb_and_the_exit_codes(words: list[str]) -> None:
    text = scarbon_says(*words)
    for verb, (_, line) in VERBS.items():
        assert f"  {verb} " in text
        assert line.split()[0] in text
    assert "Exit codes: 0 done, 1 failed, 2 wrong use, 3 done with new rows in quarantine." in " ".join(text.split())


def whole_help(verb: str) -> str:
    """The help of a verb, and of the verbs below it (`hooks install`)."""
    text = scarbon_says(verb, "--help")
    below = re.findall(r"^  (\w+)  +\w", text.partition("Commands:")[2], re.MULTILINE)
    return text + "".join(scarbon_says(verb, one, "--help") for one in below)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(verb: str) -> None:
    text = whole_help(verb)
    assert text.startswith(f"Usage: scarbon {verb} ")
    assert re.search(rf"^.*scarbon (--config \S+ )?{verb}\b", text.partition("\n")[2], re.MULTILINE)


@pytest.mark.parametrize("verb", VERBS)
def test_the_examples_have_only_options_that_there_are(verb: str) -> None:
    text = whole_help(verb)
    declared = set(re.findall(r"^  .*?(--?[A-Za-z][\w-]*)", text.partition("Options:")[2], re.MULTILINE))
    declared |= set(re.findall(r"(?<=, )(--?[A-Za-z][\w-]*)", text))
    lines = [line for line in text.splitlines() if re.search(rf"scarbon {verb} .*-", line) and "Usage" not in line]
    words = " ".join(re.sub(r"\$\(.*?\)", "", line) for line in lines)
    used = set(re.findall(r"(?<=\s)(--?[A-Za-z][\w-]*)", words))
    assert used - declared == set()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["colect"], "scarbon: no such command: colect; did you mean collect?"),
        (["xyzzy"], "scarbon: no such command: xyzzy; see scarbon --help"),
        (["--colour"], "scarbon: No such option"),
        (["jobs", "--colour"], "scarbon jobs: No such option"),
        (["jobs", "-S"], "scarbon: Option '-S' requires an argument."),
        (["collect", "now"], "scarbon collect: Got unexpected extra argument (now)"),
        (["report", "--by", "colour"], "scarbon: no grouping 'colour'; did you mean 'cluster'?"),
    ],
)
def test_wrong_use_is_one_line_and_2(words: list[str], line: str) -> None:
    assert scarbon(*words).refused(code=2).startswith(line)


@pytest.mark.parametrize("words", [[], ["ledger"], ["period"]], ids=str)
def test_without_a_verb_it_shows_its_help(words: list[str]) -> None:
    done = scarbon(*words)
    assert done.code == 2
    assert done.err.startswith(f"Usage: {' '.join(['scarbon', *words])} [OPTIONS] COMMAND")


def test_only_options_that_are_near_are_suggested() -> None:
    assert scarbon("jobs", "--begin").refused(2) == "scarbon jobs: No such option '--begin'."
    assert "--starttime" in scarbon("jobs", "--startime").refused(2)


def test_mistakes_of_the_configuration_are_told_as_all_others(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text("site: {name: x, timezone: Nowhere}\npue: 0.5\n")
    done = scarbon("--config", tmp_path / "site.yaml", "audit")
    assert len(done.err.splitlines()) > 1
    assert all(line.startswith(f"scarbon: {tmp_path}/site.yaml:") for line in done.err.splitlines())


@pytest.mark.parametrize("words", [["jobs", "-a"], ["jobs", "-a", "-P"], ["jobs", "-a", "--json"]], ids=str)
def test_a_reader_that_goes_away_is_no_error(booked: Site, words: list[str]) -> None:
    """As in `scarbon jobs | head -1`: what does not fit into the pipe any more is not written, and nobody complains."""
    read, write = os.pipe()
    os.close(read)  # gone before the first line: the strictest reader
    try:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-m", "scarbon", "--config", booked.config, *words, "-S", "2026-01-01"],
            cwd=CHECKOUT, env=environment(), stdout=write, stderr=subprocess.PIPE, text=True, timeout=60,
        )  # fmt: skip
    finally:
        os.close(write)
    assert done.stderr == ""
    assert done.returncode == 1


def test_head_gets_its_line(booked: Site) -> None:
    command = f"'{sys.executable}' -m scarbon --config '{booked.config}' jobs -a -S 2026-01-01 | head -1"
    done = subprocess.run(command, shell=True, cwd=CHECKOUT, env=environment(), capture_output=True, text=True)
    assert done.stdout.startswith("JobID  ")
    assert done.stderr == ""


def test_a_full_disk_under_stdout_is_one_line(booked: Site) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "scarbon", "--config", booked.config, "jobs", "-a", "-S", "2026-01-01"],
            cwd=CHECKOUT, env=environment(), stdout=full, stderr=subprocess.PIPE, text=True, timeout=60,
        )  # fmt: skip
    assert done.stderr == "scarbon: the output cannot be written: No space left on device\n"
    assert done.returncode == 1


def test_interrupted_before_anything_has_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli._Verbs, "get_command", interrupt)
    done = scarbon("jobs")
    assert done.code == 1
    assert done.err.strip() == "scarbon: interrupted"


def test_a_fault_of_the_program_is_not_dressed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody has foreseen keeps its traceback, so that it can be mended."""
    monkeypatch.setattr(cli._Verbs, "get_command", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        scarbon("jobs")


def test_python_m_scarbon_is_the_command() -> None:
    process = start("--version")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, f"scarbon {__version__}\n", "")


def test_every_module_of_a_verb_has_its_command() -> None:
    for verb in VERBS:
        assert cli.cli.get_command(None, verb) is not None  # type: ignore[arg-type]
