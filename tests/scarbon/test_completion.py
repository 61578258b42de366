"""Completion, in the shells themselves: what is offered when the tab key is pressed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from accounting.report import GROUPINGS
from scarbon.cli import VERBS
from scarbon.fields import FIELDS
from tests.site import Site, environment, query

CHECKOUT = Path(__file__).resolve().parents[2]
SHELLS = ("bash", "zsh", "fish")

#: Asks the script's function, as bash's readline does.
BASH = """
source <(scarbon completion bash)
complete -p scarbon >/dev/null
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_scarbon_completion scarbon
printf '%s\\n' "${COMPREPLY[@]}"
"""

#: Zsh offers what is given to `compadd`, and with a line about each to `_describe`: here they print it.
ZSH = """
autoload -U compinit && compinit -u -D
source <(scarbon completion zsh)
[[ ${_comps[scarbon]} == _scarbon_completion ]]
compadd() { [[ $1 == -U && $4 == -a ]] && print -rl -- ${(P)5} }
_describe() { local item; for item in ${(P)3}; do print -r -- ${item%%:*}; done }
words=("$@") CURRENT=$#
_scarbon_completion
"""

#: Fish has a word of its own for it.
FISH = """
scarbon completion fish | source
complete --do-complete "$argv" | string split --fields 1 \\t; or true
"""

Offered = Callable[..., list[str]]


@pytest.fixture(params=SHELLS)
def offered(request: pytest.FixtureRequest, booked: Site, tmp_path: Path) -> Offered:
    """What a shell offers behind the words, the last of which is being typed."""
    shell: str = request.param
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed (tests/install-debian.sh)")
    program = tmp_path / "bin" / "scarbon"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -W error -m scarbon "$@"\n')
    program.chmod(0o755)

    def ask(*words: str, config: Path = booked.config) -> list[str]:
        command = {
            "bash": ["bash", "--norc", "-euc", BASH, "bash", "scarbon", *words],
            "zsh": ["zsh", "-fc", ZSH, "zsh", "scarbon", *words],
            "fish": ["fish", "--no-config", "-c", FISH, " ".join(("scarbon", *words))],
        }[shell]
        done = subprocess.run(
            command,
            cwd=CHECKOUT,
            env=environment(
                PATH=f"{program.parent}:{os.environ['PATH']}", SCARBON_CONFIG=str(config), HOME=str(tmp_path)
            ),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout.split()

    return ask


def test_verbs_and_values(offered: Offered, booked: Site) -> None:
    accounts = [name for (name,) in query(booked.ledger, "SELECT DISTINCT account FROM payers ORDER BY 1")]
    assert len(accounts) > 1
    assert sorted(offered("")) == sorted(VERBS)
    assert set(offered("report", "--by", "")) >= set(GROUPINGS)
    assert offered("jobs", "-A", "") == accounts


def test_a_list_goes_on_behind_its_comma(offered: Offered) -> None:
    names = sorted(field.name for field in FIELDS.values() if field.name.startswith("CO2e"))
    assert offered("jobs", "-o", "JobID,CO2e") == [f"JobID,{name}" for name in names]


def test_where_nothing_is_known_nothing_is_said(offered: Offered, tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("site: 5\n")
    assert offered("jobs", "-A", "", config=broken) == []


@pytest.mark.parametrize("offered", ["bash"], indirect=True)
def test_every_kind_of_word(offered: Offered, booked: Site, tmp_path: Path) -> None:
    assert offered("bud") == ["budget"]
    assert offered("hooks", "") == ["install", "status", "uninstall"]
    assert set(offered("budget", "--")) >= {"--accounts", "--month", "--pace", "--format", "--help"}
    assert offered("budget", "--format", "j") == ["json"]
    assert offered("jobs", "-M", "") == [booked.cluster]
    assert offered("jobs", "-s", "COMPLETED,node") == ["COMPLETED,NODE_FAIL"]
    assert offered("jobs", "-M", "", config=tmp_path / "none.yaml") == []


def test_the_books_say_what_there_is(booked: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every kind of value, past the shells."""
    from scarbon.completing import VALUES

    found = {name: list(values(str(booked.config))) for name, values in VALUES.items()}
    for name, column in (("user", "user_name"), ("partition", "partition_name"), ("qos", "qos"), ("wckeys", "wckey")):
        there = query(booked.ledger, f"SELECT DISTINCT {column} FROM payers WHERE {column} IS NOT NULL")
        assert sorted(found[name]) == sorted(value for (value,) in there), name
    months = [month for (month,) in query(booked.ledger, "SELECT DISTINCT month FROM payer_months")]
    assert found["month"] == ["this", "last", *months]


def test_a_shell_that_there_is_not(booked: Site) -> None:
    line = booked.scarbon("completion", "tcsh").refused(2)
    assert "'tcsh' is not one of 'bash', 'zsh', 'fish'" in line
