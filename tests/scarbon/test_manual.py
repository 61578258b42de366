"""Man pages and the Markdown reference: all of the command, nothing else, and readable by roff."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from scarbon.cli import VERBS, cli
from scarbon.manual import man_page, markdown
from scarbon.reference import Block, Page, pages
from tests.site import scarbon

CHECKOUT = Path(__file__).resolve().parents[2]

HOSTILE = Page(
    words=("scarbon", "x"),
    about=r"a \fB and a 'quote' – with a dash",
    usage="[OPTIONS]",
    text=(Block(".TH is no heading, 'tis \\n"), Block("'br\n  .so /etc/passwd\nfrom 1 to 2 – grün ~^`", verbatim=True)),
    options=(("--a-b", ".so /etc/passwd"),),
    verbs=(),
    examples=(Block("Examples:\n  x | y", verbatim=True),),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("man") / "man1"
    done = scarbon("man", "-o", folder)
    assert (done.code, done.out) == (0, "")
    (folder / "hostile.1").write_text(man_page(HOSTILE, "2026-10-01"), encoding="ascii")
    return folder


def commands(command: click.Command, name: str) -> dict[str, click.Command]:
    """Every command by the name of its page."""
    found = {name: command}
    if isinstance(command, click.Group):
        with click.Context(command) as ctx:
            for verb in command.list_commands(ctx):
                below = command.get_command(ctx, verb)
                assert below is not None
                found |= commands(below, f"{name}-{verb}")
    return found


def test_every_command_has_a_page_and_every_option_a_line() -> None:
    known = commands(cli, "scarbon")
    made = {page.name: page for page in pages()}
    assert list(made) == list(known)
    assert len(known) > len(VERBS) + 5
    for name, command in known.items():
        shown = [param for param in command.params if isinstance(param, click.Option) and not param.hidden]
        options = [option for param in shown for option in param.opts]
        said = [names for names, _ in made[name].options]
        for option in options:
            assert any(re.search(rf"(^|[ /]){re.escape(option)}\b", names) for names in said), (name, option)
        assert ("-h, --help", "Show this message and exit.") in made[name].options
        assert made[name].about and not made[name].about.endswith("."), name


def test_an_option_with_all_that_click_says_of_it() -> None:
    @click.command("x", help="Do it.\n\nTwice,\nat least.\n\n\b\na\n  b", epilog="\b\nExamples:\n  x")
    @click.option("-n", "--number", default=3, show_default=True, metavar="N", help="How many.")
    @click.argument("word")
    def command() -> None: ...

    from scarbon.reference import _pages

    (page,) = _pages(command, None, "x")
    assert page.text == (Block("Do it."), Block("Twice, at least."), Block("a\n  b", verbatim=True))
    assert page.options == (("-n, --number N", "How many. [default: 3]"), ("--help", "Show this message and exit."))
    assert page.usage == "[OPTIONS] WORD"
    assert page.examples == (Block("Examples:\n  x", verbatim=True),)


@pytest.mark.parametrize(
    "lint",
    [["groff", "-man", "-Tutf8", "-ww", "-z"], ["mandoc", "-T", "lint", "-W", "warning"]],
    ids=lambda lint: lint[0],
)
def test_roff_finds_nothing_to_complain_of(folder: Path, lint: list[str]) -> None:
    if shutil.which(lint[0]) is None:
        pytest.skip(f"{lint[0]} is not installed (tests/install-debian.sh)")
    for page in sorted(folder.glob("*.1")):
        done = subprocess.run([*lint, str(page)], capture_output=True, text=True, check=False)
        assert (done.stdout, done.stderr) == ("", ""), page.name


def test_what_roff_makes_of_it_is_what_was_meant(folder: Path) -> None:
    if shutil.which("groff") is None:
        pytest.skip("groff is not installed (tests/install-debian.sh)")
    command = ["groff", "-man", "-Tutf8", "-P-cbou", str(folder / "hostile.1")]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for line in (
        r"scarbon-x - a \fB and a 'quote' – with a dash",
        r".TH is no heading, 'tis \n",
        "'br",
        "         .so /etc/passwd",
        "from 1 to 2 – grün ~^`",
        "--a-b",
    ):
        assert line in text, text


def test_a_page_says_when_it_was_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1790000000")  # date -u -d @1790000000: 21 September 2026
    made = scarbon("man", "hooks", "install").out
    assert made.startswith('.TH "SCARBON\\-HOOKS\\-INSTALL" 1 "2026-09-21" "scarbon ')
    assert made.isascii()


def test_there_is_no_page_of_what_is_no_verb() -> None:
    line = scarbon("man", "job").refused(2)
    assert line == "scarbon: there is no scarbon job; did you mean scarbon jobs?"


def test_markdown_keeps_what_would_mean_something() -> None:
    made = markdown([HOSTILE])
    assert "| `--a-b` | .so /etc/passwd |" in made
    assert "### scarbon x" in made
    assert r"'tis \\n" in made


def test_the_reference_in_the_documentation_is_what_the_command_says() -> None:
    written = (CHECKOUT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert written == markdown(pages()), "docs/cli.md is not what the command says of itself: run `make docs`"
