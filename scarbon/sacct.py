"""How sacct takes its options, as far as a command of ours does too, and those that it refuses with a reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from scarbon.errors import WrongUseError

F = TypeVar("F", bound=Callable[..., Any])

#: sacct's options that have no meaning here: names, whether a value follows, why, and what to do.
REFUSED: tuple[tuple[tuple[str, ...], bool, str, str], ...] = (
    (("-B", "--batch-script"), False, "the books keep no scripts", "ask sacct for it"),
    (("-c", "--completion"), False, "energy is in the books only", "leave it out"),
    (("-C", "--constraints"), True, "the books keep no constraints", "ask sacct which jobs, and name them with -j"),
    (("--env-vars",), False, "the books keep no environments", "ask sacct for it"),
    (("-f", "--file"), True, "jobs are read from the books", "name other books with scarbon --config"),
    (("--federation",), False, "federations are not told apart", "name the clusters with -M"),
    (("-F", "--flags"), True, "the books keep no flags", "ask sacct which jobs, and name them with -j"),
    (("-g", "--gid", "--group"), True, "the books keep no groups", "choose by account (-A) or user (-u)"),
    (("-k", "--timelimit-min"), True, "the books keep no limits", "ask sacct which jobs, and name them with -j"),
    (("-K", "--timelimit-max"), True, "the books keep no limits", "ask sacct which jobs, and name them with -j"),
    (("--local",), False, "federations are not told apart", "name the cluster with -M"),
    (("-R", "--reason"), True, "the books keep no reasons", "ask sacct which jobs, and name them with -j"),
    (
        ("-T", "--truncate"), False, "times cut to the window would stand beside energy that is not cut",
        "scarbon report cuts both to a period",
    ),
    (("--use-local-uid",), False, "the numbers of users are Slurm's", "leave it out"),
    (("-x", "--associations"), True, "the books keep no associations", "choose by account (-A) and user (-u)"),
)  # fmt: skip


class SacctLike(click.Command):
    """A command whose long options may be cut short, as getopt takes them: `--start` for `--starttime`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Write abbreviated names out where they can only mean one option."""
        known = {name for param in self.params for name in param.opts if name.startswith("--")} | {"--help"}
        return super().parse_args(ctx, [_written_out(arg, known) for arg in args])


def _written_out(arg: str, known: set[str]) -> str:
    name, equals, value = arg.partition("=")
    if not name.startswith("--") or name == "--" or name in known:
        return arg
    meant = [one for one in known if one.startswith(name)]
    return f"{meant[0]}{equals}{value}" if len(meant) == 1 else arg


def refused_options(command: F) -> F:
    """Take sacct's remaining options in order to say why they are refused."""
    for names, has_value, why, advice in reversed(REFUSED):
        command = _refused(names, has_value, why, advice)(command)
    return command


def _refused(names: Sequence[str], has_value: bool, why: str, advice: str) -> Callable[[F], F]:
    def refuse(ctx: click.Context, param: click.Parameter, value: Any) -> None:
        if value:
            raise WrongUseError(f"sacct's {names[0]} is not taken: {why}", advice)

    return click.option(*names, is_flag=not has_value, expose_value=False, hidden=True, callback=refuse)
