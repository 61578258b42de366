"""What can be wrong with a ledger, in words for a person."""

from __future__ import annotations

#: Written into `meta` when a ledger is made; a ledger of another version is refused by name.
SCHEMA_VERSION = "1"


class LedgerError(Exception):
    """The ledger cannot be used: `what` is wrong with it, and `advice` says what to do."""

    def __init__(self, what: str, advice: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.advice = advice


def ledger_path(url: str) -> str:
    """The file of a `sqlite:///…` ledger; LedgerError for a database that this version does not keep books in."""
    prefix = "sqlite:///"
    if not url.startswith(prefix) or url == prefix:
        raise LedgerError(
            f"this version keeps its ledger in SQLite only, not in {url.split(':')[0]}",
            "set ledger: sqlite:///PATH in the configuration",
        )
    return url.removeprefix(prefix)


def not_a_ledger(path: str, why: str) -> LedgerError:
    """The error for a file that is something else."""
    return LedgerError(
        f"{path} is not a ledger of scarbon: {why}",
        "name another file in `ledger:`; this one is left as it is",
    )


def wrong_version(path: str, found: str, wanted: str) -> LedgerError:
    """The error for a ledger of another version."""
    return LedgerError(
        f"the ledger {path} has schema {found}, and this version of scarbon reads schema {wanted}",
        "use the version of scarbon that made it",
    )
