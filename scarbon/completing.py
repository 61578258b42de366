"""What a shell is told of an option's values when somebody presses the tab key.

Only then it is imported, and the options of a verb are given types that know values, by the options' names. What
cannot be known (no configuration, no books) is no error: there is nothing to offer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing

import click
from click.shell_completion import CompletionItem

Values = Callable[[str | None], Iterable[str]]


class Completed(click.types.StringParamType):
    """Text of which a shell is offered values, one after another where commas are between them."""

    def __init__(self, values: Values) -> None:
        self._values = values

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The values that begin like the last of those typed, whatever their case, behind the others."""
        before, comma, last = incomplete.rpartition(",")
        given = before.lower().split(",")
        try:
            known = sorted(set(self._values(ctx.find_root().params.get("config"))))
        except Exception:  # a shell that completes is no place for what is wrong
            return []
        return [
            CompletionItem(f"{before}{comma}{value}")
            for value in known
            if value.lower().startswith(last.lower()) and value.lower() not in given
        ]


def _of_books(sql: str) -> Values:
    """What the books answer, in a column `known`."""

    def values(config: str | None) -> list[str]:
        from accounting.ledger.reading import Books
        from site_config.kept import load_kept
        from site_config.place import find_config
        from site_config.secrets import read_secret

        ledger = load_kept(find_config(config)).ledger
        with closing(Books(ledger.url, read_secret(ledger.password_file, ledger.password_env))) as books:
            return [row["known"] for row in books.rows(sql) if row["known"]]

    return values


def _of_payers(column: str) -> Values:
    return _of_books(f"SELECT DISTINCT {column} AS known FROM payers")


def _clusters(config: str | None) -> Iterable[str]:
    from site_config.kept import load_kept
    from site_config.place import find_config

    return load_kept(find_config(config)).clusters


def _fields(config: str | None) -> Iterable[str]:
    from scarbon.fields import FIELDS

    return [field.name for field in FIELDS.values()]


def _states(config: str | None) -> Iterable[str]:
    from scarbon.choosing import STATES

    return STATES.values()


def _groupings(config: str | None) -> Iterable[str]:
    from accounting.report import GROUPINGS

    return GROUPINGS


#: By the option's name in the verbs' definitions.
VALUES: dict[str, Values] = {
    "accounts": _of_books("SELECT account AS known FROM payers UNION SELECT account FROM accounts"),
    "by": _groupings,
    "clusters": _clusters,
    "fields": _fields,
    "month": lambda config: ["this", "last", *_of_books("SELECT DISTINCT month AS known FROM payer_months")(config)],
    "partition": _of_payers("partition_name"),
    "qos": _of_payers("qos"),
    "state": _states,
    "user": _of_payers("user_name"),
    "wckeys": _of_payers("wckey"),
}


def with_values(command: click.Command) -> click.Command:
    """The command, its options and those of the verbs below it knowing their values."""
    for param in command.params:
        if isinstance(param, click.Option) and param.name in VALUES and not param.is_flag:
            param.type = Completed(VALUES[param.name])
    if isinstance(command, click.Group):
        for below in command.commands.values():
            with_values(below)
    return command
