"""The command `scarbon`: its verbs, and the one place where an error becomes a line and an exit code.

Each verb lives in a module of its own that is imported only when it is called, so that `scarbon --help` and
`scarbon jobs` start quickly.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, NoReturn

import click

from scarbon import __version__
from scarbon.errors import explain

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

#: Verb, module, and the line that `scarbon --help` shows for it.
VERBS = {
    "demo": ("scarbon.commands.demo", "Simulate a small cluster's month and account it: a first look."),
    "init": ("scarbon.commands.init", "Write a commented site.yaml, asking what cannot be found out."),
    "doctor": ("scarbon.commands.doctor", "Say what is reachable, what is missing, and what to do."),
    "collect": ("scarbon.commands.collect", "Account device time: read the sources and write the books."),
    "jobs": ("scarbon.commands.jobs", "List jobs with their energy and CO2e, the way sacct does."),
    "show": ("scarbon.commands.show", "Show one job: its energy, emissions, GPUs, and where they come from."),
    "tag": ("scarbon.commands.tag", "Label a job, for a project or a phase of it."),
    "report": ("scarbon.commands.report", "Sum a month by account, with the idle line and the total."),
    "budget": ("scarbon.commands.budget", "Show what of the accounts' budgets is used, and their pace."),
    "statement": ("scarbon.commands.statement", "State what jobs used and emitted, for a paper or a program."),
    "advice": ("scarbon.commands.advice", "Say how to emit less, from a person's own jobs."),
    "audit": ("scarbon.commands.audit", "Show that the books balance, and what they could not use."),
    "export": ("scarbon.commands.export", "Write the books as tables for other programs: CSV, Parquet."),
    "restate": ("scarbon.commands.restate", "Give a period's figures anew, with the factors that are known now."),
    "period": ("scarbon.commands.period", "Close months, open them again, and show which are closed."),
    "ledger": ("scarbon.commands.ledger", "Look after the books as a database: copies, moves, upgrades."),
    "grid": ("scarbon.commands.grid", "Show the grid's intensity, fetch it, and say who gives it."),
    "hooks": ("scarbon.commands.hooks", "Install Slurm's prolog and epilog, and show their state."),
    "calculate": ("scarbon.commands.calculate", "Estimate emissions from hardware, hours and region."),
    "completion": ("scarbon.commands.completion", "Make a shell complete verbs, options and their values."),
    "man": ("scarbon.commands.man", "Make man pages from what the command says of itself."),
}


class _Verbs(click.Group):
    """A group that knows its verbs by name and imports one when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs, in the order in which a site meets them."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the verb's module; its command has the verb's name."""
        if cmd_name not in VERBS:
            return None
        command = getattr(importlib.import_module(VERBS[cmd_name][0]), cmd_name)
        assert isinstance(command, click.Command)
        if "_SCARBON_COMPLETE" in os.environ:  # a shell asks what could follow
            from scarbon.completing import with_values

            return with_values(command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the near verb where there is none of that name."""
        if args and not args[0].startswith("-") and args[0] not in VERBS:
            from difflib import get_close_matches

            close = get_close_matches(args[0], VERBS, n=1)
            hint = f"; did you mean {close[0]}?" if close else "; see scarbon --help"
            raise click.UsageError(f"no such command: {args[0]}{hint}", ctx)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The verbs, without importing them, and the options."""
        from click.shell_completion import CompletionItem

        verbs = [CompletionItem(verb, help=line) for verb, (_, line) in VERBS.items() if verb.startswith(incomplete)]
        return [*verbs, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(verb, line) for verb, (_, line) in VERBS.items()])


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="scarbon", message="%(prog)s %(version)s")
@click.option(
    "--config",
    metavar="FILE",
    help="The site's configuration. [default: $SCARBON_CONFIG, else /etc/scarbon/site.yaml]",
)
@click.pass_context
def cli(ctx: click.Context, config: str | None) -> None:
    """Carbon accounting for Slurm: what sacct is to CPU time, for energy and CO2e.

    \b
    First steps:  scarbon demo
                  scarbon init && scarbon doctor
    Every day:    scarbon jobs -S now-7days
                  scarbon report --month 2026-10 --by account

    Exit codes: 0 done, 1 failed, 2 wrong use, 3 done with new rows in quarantine.
    """
    ctx.obj = config


def main() -> NoReturn:
    """Run the command; every error that a person sees passes here."""
    try:
        code = cli.main(prog_name="scarbon", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    except BrokenPipeError:
        _give_up_stdout()  # the reader went away (`scarbon jobs | head`): nothing more to say
        code = 1
    except Exception as error:
        explained = explain(error)
        if explained is None:
            raise
        message, code = explained
        click.echo(message, err=True)
        if isinstance(error, OSError) and error.filename is None:
            _give_up_stdout()
    except KeyboardInterrupt:
        click.echo("scarbon: interrupted", err=True)
        code = 1
    sys.exit(code if isinstance(code, int) else 0)


def _give_up_stdout() -> None:
    """Nothing more is written, also not what is left in the buffer when Python closes it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
