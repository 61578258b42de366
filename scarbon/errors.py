"""Every error that a person sees: what is wrong, where, and what to do.

Nobody sees a traceback for a mistake of their own; one that is seen is a fault of the program.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable

import click

FAILED = 1
WRONG_USE = 2
QUARANTINED = 3


class UserError(Exception):
    """Something that the caller can mend: `what` is wrong, and `advice` says what to do."""

    def __init__(self, what: str, advice: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.advice = advice


class WrongUseError(UserError):
    """The command was called in a way that cannot be meant."""


def near(name: str, known: Iterable[str]) -> str | None:
    """The known name that is nearest to one that is not known; None where none is near."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(name, list(known), n=1)), None)


def explain(error: BaseException) -> tuple[str, int] | None:
    """The line for a person and the exit code, or None for what is a fault of the program."""
    if isinstance(error, click.Abort):
        return "scarbon: interrupted", FAILED
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return error.format_message(), WRONG_USE  # the help itself
    if isinstance(error, click.UsageError):
        command = error.ctx.command_path if error.ctx else "scarbon"
        if isinstance(error, click.NoSuchOption):  # click's idea of what is near is wide
            close = near(error.option_name.lstrip("-"), [one.lstrip("-") for one in error.possibilities or ()])
            nearest = [one for one in error.possibilities or () if one.lstrip("-") == close]
            error = click.NoSuchOption(error.option_name, possibilities=nearest)
        return f"{command}: {error.format_message()}", WRONG_USE
    if isinstance(error, click.ClickException):
        return f"scarbon: {error.format_message()}", FAILED
    what = getattr(error, "what", None)
    if isinstance(what, str):  # UserError, and accounting's SourceError and LedgerError
        advice = getattr(error, "advice", "")
        line = f"scarbon: {what}" + (f"; {advice}" if advice else "")
        return line, WRONG_USE if isinstance(error, WrongUseError) else FAILED
    if type(error).__name__ == "ConfigError":  # by name: reading a configuration is not always needed
        return "\n".join(f"scarbon: {line}" for line in str(error).splitlines()), FAILED
    if isinstance(error, OSError) and error.filename:
        return f"scarbon: {error.filename}: {error.strerror}", FAILED
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
        return f"scarbon: the output cannot be written: {error.strerror}", FAILED
    return None
